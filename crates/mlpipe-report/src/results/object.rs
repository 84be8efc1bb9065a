//! Data sets of result objects: writing values, and the modules that all of them share (PS3.3 C.7.1 to C.7.6, C.12.1).

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, StandardDataDictionary};

use super::code::{self, Code, PRIVATE_SCHEME};
use super::identity::{Device, ascii, lasting_uid};
use super::source::{COPIED, SourceImage};
use super::{Context, ResultFile};
use crate::{Error, Result};

/// A data set or an item of a sequence.
pub(super) type DataSet = InMemDicomObject;

/// Implementation class of the writer, fixed so that the bytes do not depend on the version of a library.
const IMPLEMENTATION_CLASS_UID: &str = "2.25.195799961297107266025817067040015015361";
const IMPLEMENTATION_VERSION_NAME: &str = "MLPIPE_RESULTS_1";
/// Date of results whose source tells none: a date is mandatory in them.
pub(super) const NO_DATE: (&str, &str) = ("19000101", "000000");
/// What must be said on every result.
pub(super) const NOTICE: &str = "RESEARCH USE ONLY";

fn vr_of(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

/// Puts a text, several separated by backslashes; the empty text is an attribute without a value.
pub(super) fn put(object: &mut DataSet, tag: Tag, value: &str) {
    let vr = vr_of(tag);
    let value = match vr {
        _ if value.is_empty() => PrimitiveValue::Empty,
        VR::UT | VR::LT | VR::ST => PrimitiveValue::from(value),
        _ => PrimitiveValue::Strs(value.split('\\').map(str::to_owned).collect()),
    };
    object.put(DataElement::new(tag, vr, value));
}

/// Puts numbers of 16 bits.
pub(super) fn put_u16(object: &mut DataSet, tag: Tag, value: u16) {
    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}

/// Puts numbers of 32 bits.
pub(super) fn put_u32(object: &mut DataSet, tag: Tag, values: &[u32]) {
    object.put(DataElement::new(tag, VR::UL, PrimitiveValue::U32(values.iter().copied().collect())));
}

/// Puts floating point numbers of 32 bits.
pub(super) fn put_f32(object: &mut DataSet, tag: Tag, values: &[f32]) {
    object.put(DataElement::new(tag, VR::FL, PrimitiveValue::F32(values.iter().copied().collect())));
}

/// Puts bytes, padded to an even number.
pub(super) fn put_bytes(object: &mut DataSet, tag: Tag, mut bytes: Vec<u8>) {
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    object.put(DataElement::new(tag, VR::OB, PrimitiveValue::U8(bytes.into())));
}

/// Puts the tag of another attribute.
pub(super) fn put_tag(object: &mut DataSet, tag: Tag, value: Tag) {
    object.put(DataElement::new(tag, VR::AT, PrimitiveValue::Tags([value].into_iter().collect())));
}

/// Puts a sequence.
pub(super) fn put_items(object: &mut DataSet, tag: Tag, items: Vec<DataSet>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// Puts a sequence of one code.
pub(super) fn put_code(object: &mut DataSet, tag: Tag, code: &Code) {
    let mut item = DataSet::new_empty();
    put(&mut item, tags::CODE_VALUE, &code.value);
    put(&mut item, tags::CODING_SCHEME_DESIGNATOR, &code.scheme);
    put(&mut item, tags::CODE_MEANING, &code.meaning);
    put_items(object, tag, vec![item]);
}

/// Returns a number as a decimal string: at most 16 characters (PS3.5 6.2).
pub(super) fn decimal(value: f64) -> String {
    let trimmed = |places: usize| {
        let text = format!("{value:.places$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        if text == "-0" { "0".to_owned() } else { text.to_owned() }
    };
    (0..=10).rev().map(trimmed).find(|text| text.len() <= 16).unwrap_or_else(|| format!("{value:.8e}"))
}

/// Returns numbers as decimal strings, separated by backslashes.
pub(super) fn decimals(values: &[f64]) -> String {
    values.iter().map(|&value| decimal(value)).collect::<Vec<_>>().join("\\")
}

/// Returns a reference to an image, to its frame where it has several.
pub(super) fn reference(image: &SourceImage) -> DataSet {
    let mut item = DataSet::new_empty();
    put(&mut item, tags::REFERENCED_SOP_CLASS_UID, &image.sop_class_uid);
    put(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, &image.sop_instance_uid);
    if let Some(frame) = image.frame {
        put(&mut item, tags::REFERENCED_FRAME_NUMBER, &frame.to_string());
    }
    item
}

/// Returns references to the instances of the source series, each once.
pub(super) fn referenced_instances(context: &Context) -> Vec<DataSet> {
    let mut seen = std::collections::BTreeSet::new();
    let whole = |image: &SourceImage| reference(&SourceImage { frame: None, ..image.clone() });
    let images = context.source.images.iter().filter(|image| seen.insert(image.sop_instance_uid.clone()));
    images.map(whole).collect()
}

/// Returns references to the instances of the source series, below their series: in the sequence `instances`, which the
/// evidence of a report (PS3.3 C.17.2.1) and Common Instance Reference (C.12.2) name differently.
pub(super) fn referenced_series(context: &Context, instances: Tag) -> DataSet {
    let mut series = DataSet::new_empty();
    put(&mut series, tags::SERIES_INSTANCE_UID, &context.source.series_instance_uid);
    put_items(&mut series, instances, referenced_instances(context));
    series
}

/// Says which instances an image object refers to (Common Instance Reference, PS3.3 C.12.2).
pub(super) fn put_instance_references(object: &mut DataSet, context: &Context) {
    let series = referenced_series(context, tags::REFERENCED_INSTANCE_SEQUENCE);
    put_items(object, tags::REFERENCED_SERIES_SEQUENCE, vec![series]);
}

/// What tells one result object from the others.
pub(super) struct Kind {
    pub(super) sop_class_uid: &'static str,
    pub(super) modality: &'static str,
    /// Also names its UIDs.
    pub(super) file_name: String,
    /// Objects of one series share it.
    pub(super) series: &'static str,
    /// Added to 100 times the number of the source series.
    pub(super) series_number: u32,
    pub(super) series_description: &'static str,
    pub(super) instance_number: usize,
}

impl Kind {
    pub(super) fn sop_instance_uid(&self, context: &Context) -> String {
        context.identity.uid(&format!("instance/{}", self.file_name))
    }

    pub(super) fn series_instance_uid(&self, context: &Context) -> String {
        context.identity.uid(&format!("series/{}", self.series))
    }
}

/// Returns a data set with the modules that all results share.
pub(super) fn begin(context: &Context, kind: &Kind) -> DataSet {
    let mut object = DataSet::new_empty();
    put_patient_and_study(&mut object, context);
    put(&mut object, tags::SOP_CLASS_UID, kind.sop_class_uid);
    put(&mut object, tags::SOP_INSTANCE_UID, &kind.sop_instance_uid(context));
    put(&mut object, tags::MODALITY, kind.modality);
    put(&mut object, tags::SERIES_INSTANCE_UID, &kind.series_instance_uid(context));
    put(&mut object, tags::SERIES_NUMBER, &series_number(context, kind.series_number).to_string());
    put(&mut object, tags::SERIES_DESCRIPTION, &format!("{} - {NOTICE}", kind.series_description));
    put(&mut object, tags::INSTANCE_NUMBER, &kind.instance_number.to_string());
    let (date, time) = context.date_and_time();
    put(&mut object, tags::CONTENT_DATE, &date);
    put(&mut object, tags::CONTENT_TIME, &time);
    put_equipment(&mut object, context);
    object
}

/// Numbers that have no room for two more digits in an integer string are left alone.
fn series_number(context: &Context, added: u32) -> u32 {
    match context.source.number() {
        Some(number) if (1..1_000_000).contains(&number) => 100 * number + added,
        _ => 9000 + added,
    }
}

/// Copies what files the object under the right patient and study. Text keeps its bytes and its character set; all other
/// texts of a result are ASCII, which every character set of PS3.3 C.12.1.1.2 holds.
fn put_patient_and_study(object: &mut DataSet, context: &Context) {
    put(object, tags::STUDY_INSTANCE_UID, &context.volume().study_instance_uid);
    let mandatory = [
        tags::STUDY_DATE,
        tags::STUDY_TIME,
        tags::ACCESSION_NUMBER,
        tags::REFERRING_PHYSICIAN_NAME,
        tags::PATIENT_NAME,
        tags::PATIENT_ID,
        tags::PATIENT_BIRTH_DATE,
        tags::PATIENT_SEX,
        tags::STUDY_ID,
    ];
    mandatory.into_iter().for_each(|tag| put(object, tag, ""));
    for tag in COPIED {
        let Some((vr, bytes)) = context.source.header.stored(tag) else { continue };
        let value = match vr {
            VR::DS | VR::IS => context.source.header.text(tag).map_or(PrimitiveValue::Empty, PrimitiveValue::from),
            _ if bytes.is_empty() => PrimitiveValue::Empty,
            _ => PrimitiveValue::U8(bytes.into()),
        };
        if !(matches!(value, PrimitiveValue::Empty) && tag == tags::SPECIFIC_CHARACTER_SET) {
            object.put(DataElement::new(tag, vr_of(tag), value));
        }
    }
    // Who removed an identity must say how (PS3.3 C.7.1.1); not every source does.
    let header = &context.source.header;
    if header.text(tags::PATIENT_IDENTITY_REMOVED) == Some("YES")
        && header.text(tags::DEIDENTIFICATION_METHOD).is_none()
    {
        put(object, tags::DEIDENTIFICATION_METHOD, "not told in words by the source images");
    }
}

fn put_equipment(object: &mut DataSet, context: &Context) {
    let program = &context.devices[0];
    put(object, tags::MANUFACTURER, "mlpipe");
    put(object, tags::MANUFACTURER_MODEL_NAME, "mlpipe");
    put(object, tags::DEVICE_SERIAL_NUMBER, &context.serial_number());
    put(object, tags::SOFTWARE_VERSIONS, &program.version);
    put_items(object, tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, context.devices.iter().map(contribution).collect());
}

/// The program or a model as equipment that contributed (PS3.3 C.12.1.1.5).
fn contribution(device: &Device) -> DataSet {
    let mut item = DataSet::new_empty();
    put(&mut item, tags::MANUFACTURER, "mlpipe");
    put(&mut item, tags::MANUFACTURER_MODEL_NAME, short(&device.name));
    put(&mut item, tags::SOFTWARE_VERSIONS, short(&device.version));
    put(&mut item, tags::DEVICE_UID, &device.uid);
    if let Some(sha256) = &device.sha256 {
        put(&mut item, tags::CONTRIBUTION_DESCRIPTION, &format!("model weights, sha256 {sha256}"));
    }
    put_code(&mut item, tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &code::processing_equipment());
    item
}

/// The part of a text that a long string holds.
pub(super) fn short(text: &str) -> &str {
    text.get(..64).unwrap_or(text)
}

/// Says what the private coding schemes are that an object uses (PS3.3 C.12.1.1.7).
pub(super) fn put_schemes(object: &mut DataSet, used: &[&Code]) {
    let mut schemes: Vec<&str> =
        used.iter().filter(|code| code.is_private()).map(|code| code.scheme.as_str()).collect();
    schemes.sort_unstable();
    schemes.dedup();
    let item = |scheme: &&str| {
        let mut item = DataSet::new_empty();
        put(&mut item, tags::CODING_SCHEME_DESIGNATOR, scheme);
        if *scheme == PRIVATE_SCHEME {
            put(&mut item, tags::CODING_SCHEME_UID, &scheme_uid());
            put(&mut item, tags::CODING_SCHEME_NAME, "mlpipe: findings of the spine without a standard code");
            put(&mut item, tags::CODING_SCHEME_RESPONSIBLE_ORGANIZATION, "mlpipe");
        } else {
            put(&mut item, tags::CODING_SCHEME_NAME, &format!("private coding scheme {}", ascii(scheme)));
        }
        item
    };
    if !schemes.is_empty() {
        put_items(object, tags::CODING_SCHEME_IDENTIFICATION_SEQUENCE, schemes.iter().map(item).collect());
    }
}

/// Returns the UID of the private coding scheme.
pub(super) fn scheme_uid() -> String {
    lasting_uid(&["scheme", PRIVATE_SCHEME])
}

/// Encodes an object as a DICOM file, Explicit VR Little Endian.
pub(super) fn finish(context: &Context, kind: &Kind, object: DataSet) -> Result<ResultFile> {
    let failed = |error: String| Error::Encode { object: kind.file_name.clone(), message: error };
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(kind.sop_class_uid)
        .media_storage_sop_instance_uid(kind.sop_instance_uid(context))
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(IMPLEMENTATION_VERSION_NAME)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    object.with_exact_meta(meta).write_all(&mut bytes).map_err(|error| failed(error.to_string()))?;
    Ok(ResultFile { name: kind.file_name.clone(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_keep_to_sixteen_characters() {
        let texts = [0.0, -0.0, 4.6, 91.2345, -123.456789012345, 1.0 / 3.0, 1e-12, 123456789012.5].map(decimal);
        assert_eq!(texts[..5], ["0", "0", "4.6", "91.2345", "-123.4567890123"].map(str::to_owned));
        assert!(texts.iter().all(|text| text.len() <= 16 && text.parse::<f64>().is_ok()), "{texts:?}");
    }
}
