//! Small series whose geometry and patient are known by construction, and documents about them.

use std::path::Path;

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use mlpipe_report::{
    BoxOnSlice, BoxPx, Endplate, ExaminedEndplate, FINDINGS_FORMAT, Finding, FindingsDocument, ModelReference,
    VERTEBRAE_FORMAT, Vertebra, VertebraeDocument,
};

pub(crate) const SERIES: &str = "1.2.826.0.1.3680043.10.999.2";
pub(crate) const SLICES: usize = 9;
const ROWS: u16 = 72;
const COLUMNS: u16 = 60;
/// Rows and columns of the image are 1.5 and 1.25 mm apart, slices 4 mm.
const SPACING: &str = "1.5\\1.25";

/// How a series is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// A file per slice.
    Classic,
    /// One enhanced multi-frame file, frames in reverse.
    Enhanced,
}

/// A text as its bytes, in the character set that the images declare.
pub(crate) type Bytes<'a> = &'a [u8];

/// Who the images are of.
#[derive(Clone, Copy)]
pub(crate) struct Patient<'a> {
    pub(crate) character_set: Bytes<'a>,
    pub(crate) name: Bytes<'a>,
    pub(crate) id: Bytes<'a>,
    pub(crate) birth_date: &'a str,
}

pub(crate) const MULLER: Patient = Patient {
    character_set: b"ISO_IR 100",
    name: b"M\xfcller-Zqxw^J\xf6rg",
    id: b"ZQXWJKV-4711",
    birth_date: "19570223",
};

pub(crate) const YAMADA: Patient = Patient {
    character_set: b"\\ISO 2022 IR 87",
    name: b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
    id: b"ZQXWJKV-4712",
    birth_date: "19600101",
};

pub(crate) fn sop_instance_uid(slice: usize) -> String {
    format!("{SERIES}.{}", slice + 1)
}

fn text(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    let value = if value.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(value) };
    object.put(DataElement::new(tag, vr, value));
}

fn number(object: &mut InMemDicomObject, tag: Tag, value: u16) {
    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}

fn bytes(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: Bytes) {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(b' ');
    }
    object.put(DataElement::new(tag, vr, PrimitiveValue::U8(value.into())));
}

fn items(object: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// Sagittal, 10 degrees oblique: columns run to the back, rows to the feet, slices to the left.
fn orientation() -> String {
    let (sine, cosine) = 10_f64.to_radians().sin_cos();
    format!("{:.10}\\{:.10}\\0\\0\\0\\-1", -sine, cosine)
}

fn position(slice: usize) -> String {
    let (sine, cosine) = 10_f64.to_radians().sin_cos();
    // The normal of the slices, columns x rows, points to the right: the first slice is the leftmost.
    let along = 4.0 * slice as f64;
    format!("{:.6}\\{:.6}\\80.25", -cosine * along, -sine * along - 40.0)
}

fn header(patient: &Patient, sop_class_uid: &str, sop_instance_uid: &str) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    bytes(&mut object, tags::SPECIFIC_CHARACTER_SET, VR::CS, patient.character_set);
    bytes(&mut object, tags::PATIENT_NAME, VR::PN, patient.name);
    bytes(&mut object, tags::PATIENT_ID, VR::LO, patient.id);
    text(&mut object, tags::PATIENT_BIRTH_DATE, VR::DA, patient.birth_date);
    text(&mut object, tags::PATIENT_SEX, VR::CS, "O");
    text(&mut object, tags::PATIENT_WEIGHT, VR::DS, "71.5");
    text(&mut object, tags::SOP_CLASS_UID, VR::UI, sop_class_uid);
    text(&mut object, tags::SOP_INSTANCE_UID, VR::UI, sop_instance_uid);
    text(&mut object, tags::STUDY_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.999.1");
    text(&mut object, tags::SERIES_INSTANCE_UID, VR::UI, SERIES);
    text(&mut object, tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.826.0.1.3680043.10.999.9");
    text(&mut object, tags::STUDY_DATE, VR::DA, "20240229");
    text(&mut object, tags::STUDY_TIME, VR::TM, "101112");
    text(&mut object, tags::ACCESSION_NUMBER, VR::SH, "A-1");
    text(&mut object, tags::STUDY_ID, VR::SH, "7");
    text(&mut object, tags::REFERRING_PHYSICIAN_NAME, VR::PN, "");
    text(&mut object, tags::MODALITY, VR::CS, "MR");
    text(&mut object, tags::SERIES_NUMBER, VR::IS, "4");
    text(&mut object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    number(&mut object, tags::SAMPLES_PER_PIXEL, 1);
    number(&mut object, tags::ROWS, ROWS);
    number(&mut object, tags::COLUMNS, COLUMNS);
    number(&mut object, tags::BITS_ALLOCATED, 16);
    number(&mut object, tags::BITS_STORED, 12);
    number(&mut object, tags::HIGH_BIT, 11);
    number(&mut object, tags::PIXEL_REPRESENTATION, 0);
    object
}

fn pixels(slice: usize) -> impl Iterator<Item = u16> {
    (0..ROWS).flat_map(move |row| (0..COLUMNS).map(move |column| 10 * row + 7 * column + 50 * slice as u16))
}

fn write(object: InMemDicomObject, sop_class_uid: &str, sop_instance_uid: &str, path: &Path) {
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(sop_class_uid)
        .media_storage_sop_instance_uid(sop_instance_uid)
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .build()
        .expect("a complete table");
    object.with_exact_meta(meta).write_to_file(path).expect("the file can be written");
}

/// Writes the series into a folder.
pub(crate) fn write_series(folder: &Path, storage: Storage, patient: &Patient) {
    match storage {
        Storage::Classic => (0..SLICES).for_each(|slice| write_slice(folder, slice, patient)),
        Storage::Enhanced => write_enhanced(folder, patient),
    }
}

fn write_slice(folder: &Path, slice: usize, patient: &Patient) {
    let uid = sop_instance_uid(slice);
    let mut object = header(patient, uids::MR_IMAGE_STORAGE, &uid);
    text(&mut object, tags::INSTANCE_NUMBER, VR::IS, &(slice + 1).to_string());
    text(&mut object, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &orientation());
    text(&mut object, tags::IMAGE_POSITION_PATIENT, VR::DS, &position(slice));
    text(&mut object, tags::PIXEL_SPACING, VR::DS, SPACING);
    text(&mut object, tags::SLICE_THICKNESS, VR::DS, "3.5");
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels(slice).collect())));
    // Names in another order than the slices.
    write(object, uids::MR_IMAGE_STORAGE, &uid, &folder.join(format!("{}.dcm", SLICES - slice)));
}

fn write_enhanced(folder: &Path, patient: &Patient) {
    let class = uids::ENHANCED_MR_IMAGE_STORAGE;
    let mut object = header(patient, class, SERIES_FILE);
    let group = |tag, put: &dyn Fn(&mut InMemDicomObject)| {
        let (mut groups, mut item) = (InMemDicomObject::new_empty(), InMemDicomObject::new_empty());
        put(&mut item);
        items(&mut groups, tag, vec![item]);
        groups
    };
    let mut shared = group(tags::PIXEL_MEASURES_SEQUENCE, &|item| {
        text(item, tags::PIXEL_SPACING, VR::DS, SPACING);
        text(item, tags::SLICE_THICKNESS, VR::DS, "3.5");
    });
    let plane = group(tags::PLANE_ORIENTATION_SEQUENCE, &|item| {
        text(item, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &orientation());
    });
    plane.into_iter().for_each(|element| drop(shared.put(element)));
    let frames = (0..SLICES).rev().map(|slice| {
        group(tags::PLANE_POSITION_SEQUENCE, &|item| text(item, tags::IMAGE_POSITION_PATIENT, VR::DS, &position(slice)))
    });
    items(&mut object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames.collect());
    items(&mut object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
    text(&mut object, tags::INSTANCE_NUMBER, VR::IS, "1");
    text(&mut object, tags::NUMBER_OF_FRAMES, VR::IS, &SLICES.to_string());
    let all: Vec<u16> = (0..SLICES).rev().flat_map(pixels).collect();
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(all.into())));
    write(object, class, SERIES_FILE, &folder.join("enhanced.dcm"));
}

/// SOPInstanceUID of the enhanced file.
pub(crate) const SERIES_FILE: &str = "1.2.826.0.1.3680043.10.999.2.100";

pub(crate) fn model(name: &str, digit: &str) -> ModelReference {
    ModelReference {
        name: name.to_owned(),
        version: "3".to_owned(),
        sha256: digit.repeat(64),
        backend: "rten 0.27.0".to_owned(),
    }
}

/// Where documents find the image behind a slice of the volume.
pub(crate) type Images<'a> = &'a dyn Fn(usize) -> Option<String>;

fn vertebra(images: Images, number: usize, level: Option<&str>, box_px: BoxPx) -> Vertebra {
    let on = |slice: usize, [x0, y0, x1, y1]: BoxPx| BoxOnSlice {
        slice,
        sop_instance_uid: images(slice),
        box_px: [x0, y0, x1, y1],
        score: 0.8123,
    };
    let [x0, y0, x1, y1] = box_px;
    Vertebra {
        id: format!("v{number}"),
        level: level.map(str::to_owned),
        level_candidates: Vec::new(),
        level_basis: level.map_or("no sacrum in view", |_| "counted up from the sacrum").to_owned(),
        score: 0.912345,
        slice: 2,
        sop_instance_uid: images(2),
        box_px,
        center_lps: [0.0; 3],
        slices: vec![on(1, [x0 + 0.5, y0, x1 - 1.25, y1]), on(2, box_px), on(3, [x0, y0 + 1.0, x1, y1])],
    }
}

/// Three vertebrae from head to foot; the level of the first is not known.
pub(crate) fn vertebrae(images: Images) -> VertebraeDocument {
    let levels = [(None, 4.0), (Some("L1"), 26.25), (Some("L2"), 50.0)];
    let bodies = levels.into_iter().enumerate();
    VertebraeDocument {
        format: VERTEBRAE_FORMAT.to_owned(),
        series_instance_uid: SERIES.to_owned(),
        model: model("vertebra-detector", "a"),
        threshold: 0.4,
        vertebrae: bodies
            .map(|(i, (level, top))| vertebra(images, i + 1, level, [12.0, top, 38.5, top + 17.0]))
            .collect(),
    }
}

/// Both endplates of a vertebra examined, with a node where the probability reaches the threshold.
pub(crate) fn findings(vertebra: &Vertebra, superior: f64, inferior: f64) -> FindingsDocument {
    let sides = [(Endplate::Superior, superior), (Endplate::Inferior, inferior)];
    let [x0, y0, _, y1] = vertebra.box_px;
    let examined = |(endplate, probability)| ExaminedEndplate {
        vertebra_id: vertebra.id.clone(),
        level: vertebra.level.clone(),
        endplate,
        probability,
        slice: vertebra.slice,
        sop_instance_uid: vertebra.sop_instance_uid.clone(),
        vertebra_box_px: vertebra.box_px,
    };
    let node = |(endplate, probability): &(Endplate, f64)| Finding {
        vertebra_id: vertebra.id.clone(),
        level: vertebra.level.clone(),
        endplate: *endplate,
        finding: "schmorl_node".to_owned(),
        probability: *probability,
        slice: vertebra.slice,
        sop_instance_uid: vertebra.sop_instance_uid.clone(),
        box_px: match endplate {
            Endplate::Superior => [x0 + 6.3, y0, x0 + 13.8, y0 + 4.4],
            Endplate::Inferior => [x0 + 5.0, y1 - 4.0, x0 + 12.0, y1],
        },
        width_mm: 8.125,
        depth_mm: 5.1,
    };
    FindingsDocument {
        format: FINDINGS_FORMAT.to_owned(),
        series_instance_uid: SERIES.to_owned(),
        model: model("schmorl-classifier", "b"),
        threshold: 0.5,
        findings: sides.iter().filter(|(_, probability)| *probability >= 0.5).map(node).collect(),
        examined: sides.into_iter().map(examined).collect(),
    }
}
