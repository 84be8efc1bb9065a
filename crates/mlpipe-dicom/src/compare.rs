//! Comparing two DICOM files attribute by attribute: what a reproduced run is held against.
//!
//! Some attributes differ whenever an object is made (SOPInstanceUID, ContentTime); they can be left out, at any depth.
//! Values are told only where they cannot identify a person: numbers, codes and UIDs outside the patient's group.

use std::collections::BTreeMap;
use std::path::Path;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::header::HasLength;
use dicom_core::value::Value;
use dicom_core::{DataElement, Tag, VR};
use dicom_object::mem::InMemElement;
use dicom_object::{InMemDicomObject, StandardDataDictionary, open_file};

use crate::element::name;
use crate::{Error, Result};

/// Longest value that is told.
const LONGEST_SHOWN: usize = 80;

/// An attribute in which two files differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeDifference {
    /// Keyword and tag; within sequences with the path to it, as in `ROIContourSequence (3006,0039)[0] > ...`.
    pub attribute: String,
    /// What the first file has; none when it lacks the attribute or the value is not told.
    pub first: Option<String>,
    /// What the second file has.
    pub second: Option<String>,
}

/// Attributes that do not count, at any depth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IgnoredAttributes(Vec<Tag>);

impl IgnoredAttributes {
    /// Reads keywords (`SOPInstanceUID`) and tags (`(0008,0018)`, `00080018`).
    ///
    /// # Errors
    /// [`Error::Rule`] for a text that is neither.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self> {
        let tag = |text: &str| {
            let found = StandardDataDictionary.parse_tag(text);
            found.ok_or_else(|| Error::Rule { key: text.into(), message: "it is no DICOM keyword and no tag".into() })
        };
        texts.into_iter().map(tag).collect::<Result<_>>().map(Self)
    }
}

/// Returns the attributes in which two files differ, in the order of their tags; the file meta group first.
///
/// # Errors
/// When a file cannot be read as DICOM.
pub fn compare_files(first: &Path, second: &Path, ignored: &IgnoredAttributes) -> Result<Vec<AttributeDifference>> {
    let open = |path: &Path| {
        open_file(path).map_err(|error| Error::Format {
            path: path.to_path_buf(),
            format: "DICOM",
            message: error.to_string(),
        })
    };
    let (first, second) = (open(first)?, open(second)?);
    let mut comparison = Comparison { ignored, found: Vec::new() };
    comparison.data_sets(&meta(&first), &meta(&second), "");
    comparison.data_sets(&first, &second, "");
    Ok(comparison.found)
}

/// The file meta group as a data set; its length is no content.
fn meta(file: &dicom_object::DefaultDicomObject) -> InMemDicomObject {
    let elements = file.meta().to_element_iter().filter(|element| element.header().tag != Tag(0x0002, 0x0000));
    let plain = |element: DataElement<_, _>| match element.value().primitive() {
        Some(value) => DataElement::new(element.header().tag, element.header().vr, value.clone()),
        None => DataElement::empty(element.header().tag, element.header().vr),
    };
    InMemDicomObject::from_element_iter(elements.map(plain))
}

struct Comparison<'a> {
    ignored: &'a IgnoredAttributes,
    found: Vec<AttributeDifference>,
}

impl Comparison<'_> {
    fn data_sets(&mut self, first: &InMemDicomObject, second: &InMemDicomObject, above: &str) {
        let mut tags: BTreeMap<Tag, ()> = BTreeMap::new();
        tags.extend(first.iter().chain(second.iter()).map(|element| (element.header().tag, ())));
        for tag in tags.into_keys().filter(|tag| !self.ignored.0.contains(tag)) {
            let (first, second) = (first.get(tag), second.get(tag));
            match (first.map(DataElement::value), second.map(DataElement::value)) {
                (Some(Value::Sequence(a)), Some(Value::Sequence(b))) if a.items().len() == b.items().len() => {
                    for (number, (a, b)) in a.items().iter().zip(b.items()).enumerate() {
                        self.data_sets(a, b, &format!("{above}{}[{number}] > ", name(tag)));
                    }
                }
                (Some(a), Some(b)) if equal(a, b) => {}
                _ => self.found.push(AttributeDifference {
                    attribute: format!("{above}{}", name(tag)),
                    first: first.map(shown),
                    second: second.map(shown),
                }),
            }
        }
    }
}

type DicomValue = Value<InMemDicomObject, dicom_core::value::InMemFragment>;

fn equal(a: &DicomValue, b: &DicomValue) -> bool {
    match (a, b) {
        // Padding is no content: texts are compared without it.
        (Value::Primitive(a), Value::Primitive(b)) => a == b || (is_text(a) && is_text(b) && texts(a) == texts(b)),
        _ => a == b,
    }
}

fn is_text(value: &dicom_core::PrimitiveValue) -> bool {
    matches!(value, dicom_core::PrimitiveValue::Str(_) | dicom_core::PrimitiveValue::Strs(_))
}

fn texts(value: &dicom_core::PrimitiveValue) -> Vec<String> {
    value.to_multi_str().iter().map(|text| text.trim_end_matches([' ', '\0']).to_owned()).collect()
}

/// The value, where it cannot identify a person; else how long it is.
fn shown(element: &InMemElement) -> String {
    const TOLD: [VR; 14] = [
        VR::AT,
        VR::CS,
        VR::DS,
        VR::FD,
        VR::FL,
        VR::IS,
        VR::SL,
        VR::SS,
        VR::SV,
        VR::UI,
        VR::UL,
        VR::US,
        VR::UV,
        VR::UR,
    ];
    let header = element.header();
    // The dictionary decides for private and unknown attributes too: they are not told.
    let known = StandardDataDictionary.by_tag(header.tag).is_some_and(|entry| TOLD.contains(&entry.vr().relaxed()));
    match element.value() {
        Value::Sequence(sequence) => format!("{} items", sequence.items().len()),
        Value::PixelSequence(pixels) => format!("{} fragments", pixels.fragments().len()),
        Value::Primitive(value) if known && TOLD.contains(&header.vr) && header.tag.group() != 0x0010 => {
            let text = value.to_str();
            let short: String = text.trim_end_matches([' ', '\0']).chars().take(LONGEST_SHOWN).collect();
            if short.len() < text.trim_end_matches([' ', '\0']).len() { format!("{short}...") } else { short }
        }
        value => value.length().get().map_or_else(|| "a value".to_owned(), |bytes| format!("a value of {bytes} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::PrimitiveValue;
    use dicom_dictionary_std::{tags, uids};
    use dicom_object::FileMetaTableBuilder;

    use super::*;

    /// A small object; `edit` makes the second one differ.
    fn differences(ignore: &[&str], edit: impl Fn(&mut InMemDicomObject)) -> Vec<AttributeDifference> {
        let folder = tempfile::tempdir().expect("a folder");
        let item = InMemDicomObject::from_element_iter([DataElement::new(tags::CONTENT_TIME, VR::TM, "101112")]);
        let mut object = InMemDicomObject::from_element_iter([
            DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3"),
            DataElement::new(tags::PATIENT_NAME, VR::PN, "SECRET^ONE"),
            DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(4_u16)),
            DataElement::new(tags::SLICE_THICKNESS, VR::DS, "4.0"),
            DataElement::new(
                tags::REFERENCED_SERIES_SEQUENCE,
                VR::SQ,
                dicom_core::value::DataSetSequence::from(vec![item]),
            ),
        ]);
        let write = |object: &InMemDicomObject, name: &str| {
            let meta = FileMetaTableBuilder::new()
                .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
                .media_storage_sop_class_uid(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)
                .media_storage_sop_instance_uid("1.2.3");
            let path = folder.path().join(name);
            object.clone().with_exact_meta(meta.build().expect("a meta group")).write_to_file(&path).expect("written");
            path
        };
        let first = write(&object, "first.dcm");
        edit(&mut object);
        let second = write(&object, "second.dcm");
        let ignored = IgnoredAttributes::parse(ignore.iter().copied()).expect("known attributes");
        compare_files(&first, &second, &ignored).expect("both are DICOM")
    }

    #[test]
    fn equal_objects_do_not_differ() {
        assert_eq!(differences(&[], |_| {}), []);
        let padded = |object: &mut InMemDicomObject| {
            object.put(DataElement::new(tags::SLICE_THICKNESS, VR::DS, "4.0 "));
        };
        assert_eq!(differences(&[], padded), []);
    }

    #[test]
    fn changed_numbers_are_told_with_both_values_and_ignored_ones_are_not() {
        let edit = |object: &mut InMemDicomObject| {
            object.put(DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(5_u16)));
        };
        let found = differences(&[], edit);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].attribute, "Rows (0028,0010)");
        assert_eq!((found[0].first.as_deref(), found[0].second.as_deref()), (Some("4"), Some("5")));
        for ignore in ["Rows", "(0028,0010)", "00280010"] {
            assert_eq!(differences(&[ignore], edit), [], "{ignore}");
        }
    }

    #[test]
    fn a_difference_within_a_sequence_is_found_and_ignored_at_its_depth() {
        let edit = |object: &mut InMemDicomObject| {
            let item = InMemDicomObject::from_element_iter([DataElement::new(tags::CONTENT_TIME, VR::TM, "111111")]);
            let items = dicom_core::value::DataSetSequence::from(vec![item]);
            object.put(DataElement::new(tags::REFERENCED_SERIES_SEQUENCE, VR::SQ, items));
        };
        let found = differences(&[], edit);
        assert_eq!(found[0].attribute, "ReferencedSeriesSequence (0008,1115)[0] > ContentTime (0008,0033)");
        assert_eq!(differences(&["ContentTime"], edit), []);
    }

    #[test]
    fn what_names_a_person_is_not_told() {
        let edit = |object: &mut InMemDicomObject| {
            object.put(DataElement::new(tags::PATIENT_NAME, VR::PN, "SECRET^TWO"));
            object.put(DataElement::new(Tag(0x0011, 0x1001), VR::UI, "1.9"));
        };
        let found = differences(&[], edit);
        assert_eq!(found.len(), 2);
        assert!(!format!("{found:?}").contains("SECRET") && !format!("{found:?}").contains("1.9"), "{found:?}");
    }

    #[test]
    fn an_unknown_attribute_and_a_file_that_is_no_dicom_are_refused() {
        assert!(IgnoredAttributes::parse(["SOPInstanceUid"]).is_err());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("text");
        std::fs::write(&path, "no DICOM").expect("written");
        assert!(compare_files(&path, &path, &IgnoredAttributes::default()).is_err());
    }
}
