//! The DICOM files of a phantom: MR Image Storage, explicit VR little endian, 12 bits stored.
//!
//! UIDs come from the seed (`2.25.` and 128 bits of BLAKE3, PS3.5 B.2); file names come from the SOP instance UID, so their
//! order says nothing. The patient module is empty but for the PatientID `PHANTOM`: nobody stands behind these images.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use super::arithmetic::{Vec3, cross, dot};
use super::image::{Series, Study};

/// Implementation class of the writer, fixed so that the bytes do not depend on the version of a library.
const IMPLEMENTATION_CLASS_UID: &str = "2.25.195799961297107266025817067040015015360";
const IMPLEMENTATION_VERSION_NAME: &str = "MLPIPE_PHANTOM_1";

/// Which series of the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sagittal,
    Axial,
    Localizer,
}

/// All of them, the one to be found first.
pub(super) const KINDS: [Kind; 3] = [Kind::Sagittal, Kind::Axial, Kind::Localizer];

impl Kind {
    pub(super) fn series(self, study: &Study) -> &Series {
        match self {
            Kind::Sagittal => &study.sagittal,
            Kind::Axial => &study.axial,
            Kind::Localizer => &study.localizer,
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Kind::Sagittal => "T2 TSE SAG",
            Kind::Axial => "T2 TSE AX",
            Kind::Localizer => "LOCALIZER",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Sagittal => "sagittal",
            Kind::Axial => "axial",
            Kind::Localizer => "localizer",
        }
    }

    fn number(self) -> i32 {
        match self {
            Kind::Localizer => 1,
            Kind::Sagittal => 2,
            Kind::Axial => 3,
        }
    }

    fn image_type(self) -> &'static str {
        if self == Kind::Localizer { "ORIGINAL\\PRIMARY\\LOCALIZER" } else { "ORIGINAL\\PRIMARY\\M\\SE" }
    }
}

/// UIDs of a series and its images.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    seed: u64,
    kind: Kind,
    pub(super) series_instance_uid: String,
}

impl Identity {
    pub(super) fn new(seed: u64, kind: Kind) -> Self {
        Identity { seed, kind, series_instance_uid: uid(seed, &format!("series/{}", kind.name())) }
    }

    /// Returns the SOPInstanceUID of an image.
    pub(super) fn sop_instance_uid(&self, index: usize) -> String {
        uid(self.seed, &format!("instance/{}/{index}", self.kind.name()))
    }

    /// Returns the name of an image's file.
    pub(super) fn file_name(&self, index: usize) -> String {
        let digest = blake3::hash(self.sop_instance_uid(index).as_bytes()).to_hex();
        format!("{}.dcm", &digest[..8])
    }
}

/// Returns the StudyInstanceUID.
pub(super) fn study_instance_uid(seed: u64) -> String {
    uid(seed, "study")
}

fn uid(seed: u64, what: &str) -> String {
    let digest = blake3::hash(format!("mlpipe.phantom.uid/1\0{seed}\0{what}").as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_bytes()[..16]);
    format!("2.25.{}", u128::from_be_bytes(half))
}

/// Returns the bytes of a DICOM file.
pub(super) fn encode(
    study: &Study,
    series: &Series,
    identity: &Identity,
    index: usize,
    pixels: &[u16],
) -> Result<Vec<u8>, String> {
    let sop_instance_uid = identity.sop_instance_uid(index);
    let mut object = InMemDicomObject::new_empty();
    put_identity(&mut object, identity, &sop_instance_uid, index);
    put_acquisition(&mut object, identity.kind, series);
    put_geometry(&mut object, study, series, index);
    put_pixels(&mut object, series, index, pixels);
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uids::MR_IMAGE_STORAGE)
        .media_storage_sop_instance_uid(sop_instance_uid)
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(IMPLEMENTATION_VERSION_NAME)
        .build()
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    object.with_exact_meta(meta).write_all(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn text(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    let value = if value.is_empty() {
        PrimitiveValue::Empty
    } else {
        PrimitiveValue::Strs(value.split('\\').map(str::to_owned).collect())
    };
    object.put(DataElement::new(tag, vr, value));
}

fn number(object: &mut InMemDicomObject, tag: Tag, value: u16) {
    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}

/// Decimal string with at most `places` decimals: 16 characters hold it.
fn decimal(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn decimals(values: &[f64], places: usize) -> String {
    values.iter().map(|&value| decimal(value, places)).collect::<Vec<_>>().join("\\")
}

fn put_identity(object: &mut InMemDicomObject, identity: &Identity, sop_instance_uid: &str, index: usize) {
    let kind = identity.kind;
    text(object, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    text(object, tags::IMAGE_TYPE, VR::CS, kind.image_type());
    text(object, tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE);
    text(object, tags::SOP_INSTANCE_UID, VR::UI, sop_instance_uid);
    text(object, tags::STUDY_INSTANCE_UID, VR::UI, &study_instance_uid(identity.seed));
    text(object, tags::SERIES_INSTANCE_UID, VR::UI, &identity.series_instance_uid);
    text(object, tags::FRAME_OF_REFERENCE_UID, VR::UI, &uid(identity.seed, "frame"));
    for (tag, vr) in [
        (tags::STUDY_DATE, VR::DA),
        (tags::STUDY_TIME, VR::TM),
        (tags::ACCESSION_NUMBER, VR::SH),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        (tags::PATIENT_NAME, VR::PN),
        (tags::PATIENT_BIRTH_DATE, VR::DA),
        (tags::PATIENT_SEX, VR::CS),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO),
    ] {
        text(object, tag, vr, "");
    }
    text(object, tags::MODALITY, VR::CS, "MR");
    text(object, tags::MANUFACTURER, VR::LO, "mlpipe phantom");
    text(object, tags::STUDY_DESCRIPTION, VR::LO, "SYNTHETIC LUMBAR SPINE");
    text(object, tags::SERIES_DESCRIPTION, VR::LO, kind.description());
    text(object, tags::PATIENT_ID, VR::LO, "PHANTOM");
    text(object, tags::BODY_PART_EXAMINED, VR::CS, "LSPINE");
    text(object, tags::PATIENT_POSITION, VR::CS, "HFS");
    text(object, tags::STUDY_ID, VR::SH, "1");
    text(object, tags::SERIES_NUMBER, VR::IS, &kind.number().to_string());
    text(object, tags::INSTANCE_NUMBER, VR::IS, &(index + 1).to_string());
}

fn put_acquisition(object: &mut InMemDicomObject, kind: Kind, series: &Series) {
    let (repetition_ms, echo_ms, train) =
        if kind == Kind::Localizer { ("700", "90", "128") } else { ("3500", "102", "17") };
    text(object, tags::SCANNING_SEQUENCE, VR::CS, "SE");
    text(object, tags::SEQUENCE_VARIANT, VR::CS, "SK");
    text(object, tags::SCAN_OPTIONS, VR::CS, "");
    text(object, tags::MR_ACQUISITION_TYPE, VR::CS, "2D");
    text(object, tags::SLICE_THICKNESS, VR::DS, &decimal(series.thickness_mm, 3));
    text(object, tags::REPETITION_TIME, VR::DS, repetition_ms);
    text(object, tags::ECHO_TIME, VR::DS, echo_ms);
    text(object, tags::ECHO_TRAIN_LENGTH, VR::IS, train);
    text(object, tags::SPACING_BETWEEN_SLICES, VR::DS, &decimal(series.spacing_between_slices_mm, 3));
}

fn put_geometry(object: &mut InMemDicomObject, study: &Study, series: &Series, index: usize) {
    let plane = &series.slices[index].plane;
    let position = study.point_lps(plane.origin);
    let columns = study.direction_lps(plane.along_columns);
    let rows = study.direction_lps(plane.along_rows);
    let normal: Vec3 = cross(columns, rows);
    text(object, tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&position, 6));
    text(object, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &decimals(&[columns, rows].concat(), 9));
    text(object, tags::SLICE_LOCATION, VR::DS, &decimal(dot(normal, position), 4));
    text(object, tags::PIXEL_SPACING, VR::DS, &decimals(&[plane.spacing_mm, plane.spacing_mm], 4));
}

fn put_pixels(object: &mut InMemDicomObject, series: &Series, index: usize, pixels: &[u16]) {
    let plane = &series.slices[index].plane;
    let largest = pixels.iter().copied().max().unwrap_or(0);
    number(object, tags::SAMPLES_PER_PIXEL, 1);
    text(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    number(object, tags::ROWS, plane.rows as u16);
    number(object, tags::COLUMNS, plane.columns as u16);
    number(object, tags::BITS_ALLOCATED, 16);
    number(object, tags::BITS_STORED, 12);
    number(object, tags::HIGH_BIT, 11);
    number(object, tags::PIXEL_REPRESENTATION, 0);
    text(object, tags::WINDOW_CENTER, VR::DS, &decimal(f64::from(largest) * 0.4, 0));
    text(object, tags::WINDOW_WIDTH, VR::DS, &decimal(f64::from(largest) * 0.8, 0));
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.iter().copied().collect())));
}
