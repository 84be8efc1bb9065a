//! The images that results speak of: their place, how they are referred to, and the patient and study that a result must
//! be filed under. Values of the patient's attributes are handed on as bytes and never looked at.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use mlpipe_dicom::{Attributes, SourceSlice, VolumeGeometry, VolumePlan, read_attributes};

use crate::{Error, Result};

/// Attributes of the Patient, Patient Study, General Study and Frame of Reference modules that results take over, and
/// the character set of all of them (PS3.3 A.1.3 says which modules belong to patient and study).
pub(super) const COPIED: [Tag; 21] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_DESCRIPTION,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_BIRTH_TIME,
    tags::PATIENT_SEX,
    tags::OTHER_PATIENT_NAMES,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
    tags::PATIENT_COMMENTS,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::DEIDENTIFICATION_METHOD,
    tags::STUDY_ID,
];

/// What else is asked of a header.
const DESCRIBING: [Tag; 18] = [
    tags::SOP_CLASS_UID,
    tags::SERIES_NUMBER,
    tags::FRAME_OF_REFERENCE_UID,
    tags::POSITION_REFERENCE_INDICATOR,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::IMAGE_POSITION_PATIENT,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::PIXEL_SPACING,
    tags::SLICE_THICKNESS,
    tags::SERIES_DATE,
    tags::SERIES_TIME,
    tags::ACQUISITION_DATE,
    tags::ACQUISITION_TIME,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
];

/// The stored series behind a volume.
#[derive(Debug, Clone)]
pub struct SourceSeries {
    pub(super) series_instance_uid: String,
    /// The grid of the stored slices, which are those of `images`.
    pub(super) geometry: VolumeGeometry,
    /// In slice order of `geometry`.
    pub(super) images: Vec<SourceImage>,
    /// Header of the first slice.
    pub(super) header: Attributes,
    /// [`SeriesManifest::digest`](mlpipe_dicom::SeriesManifest::digest).
    pub(super) digest: [u8; 32],
}

/// One stored image, or one frame of a multi-frame image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SourceImage {
    pub(super) sop_class_uid: String,
    pub(super) sop_instance_uid: String,
    /// From 1; none in a single-frame image.
    pub(super) frame: Option<usize>,
    /// Rows and columns of the stored image.
    pub(super) shape: [usize; 2],
    /// ImagePositionPatient as it is written in the file; none where functional groups hold it.
    pub(super) position: Option<String>,
}

impl SourceSeries {
    /// Reads the headers of a volume's files; `digest` is that of its manifest.
    ///
    /// # Errors
    /// When the plan is rejected, or a header cannot be read or lacks what identifies the image.
    pub fn read(plan: &VolumePlan, digest: [u8; 32]) -> Result<SourceSeries> {
        let refused = || Error::NoSource { series_instance_uid: plan.series_instance_uid.clone() };
        let geometry = plan.geometry.clone().ok_or_else(refused)?;
        let wanted = [&COPIED[..], &DESCRIBING].concat();
        let mut files = std::collections::HashMap::new();
        for path in plan.files() {
            files.insert(path, read_attributes(path, &wanted)?);
        }
        let images: Option<Vec<SourceImage>> =
            plan.frames.iter().map(|frame| SourceImage::of(frame, files.get(frame.path())?)).collect();
        let first = plan.frames.first().and_then(|frame| files.remove(frame.path()));
        let (Some(images), Some(header)) = (images, first) else { return Err(refused()) };
        Ok(SourceSeries { series_instance_uid: plan.series_instance_uid.clone(), geometry, images, header, digest })
    }

    /// Returns the index of the image behind a slice of a volume. None when it is not among the images, or when the
    /// slice is only a part of it, as with the tiles of a mosaic.
    pub(super) fn index_of(&self, slice: &SourceSlice) -> Option<usize> {
        let distance = |index: usize| {
            let position = self.geometry.index_to_lps([index as f64, 0.0, 0.0]);
            (0..3).map(|axis| (position[axis] - slice.origin_lps[axis]).powi(2)).sum::<f64>().sqrt()
        };
        (0..self.images.len())
            .filter(|&index| self.images[index].sop_instance_uid == slice.sop_instance_uid)
            .map(|index| (index, distance(index)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|&(index, distance)| {
                distance < 0.1 * self.geometry.spacing_mm[0] && self.images[index].shape == slice.shape
            })
            .map(|(index, _)| index)
    }

    /// Returns date and time of the study, else of the series, else of the first image: what results carry as their own
    /// date, since the time of writing would make every rerun another object. None when the images tell no date.
    pub(super) fn date_and_time(&self) -> Option<(String, String)> {
        let dates = [
            (tags::STUDY_DATE, tags::STUDY_TIME),
            (tags::SERIES_DATE, tags::SERIES_TIME),
            (tags::ACQUISITION_DATE, tags::ACQUISITION_TIME),
        ];
        dates.into_iter().find_map(|(date, time)| {
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let date = self.header.text(date).filter(|date| date.len() == 8 && digits(date))?;
            let time = self.header.text(time).filter(|time| digits(time)).unwrap_or("000000");
            Some((date.to_owned(), time.to_owned()))
        })
    }

    /// Returns the number of the source series, if it has a usable one.
    pub(super) fn number(&self) -> Option<u32> {
        self.header.text(tags::SERIES_NUMBER)?.parse().ok()
    }
}

impl SourceImage {
    fn of(frame: &mlpipe_dicom::Frame, header: &Attributes) -> Option<SourceImage> {
        let count = |tag| header.text(tag)?.parse::<usize>().ok();
        let frames = count(tags::NUMBER_OF_FRAMES).unwrap_or(1);
        Some(SourceImage {
            sop_class_uid: header.text(tags::SOP_CLASS_UID)?.to_owned(),
            sop_instance_uid: frame.sop_instance_uid().to_owned(),
            frame: (frames > 1).then(|| frame.number() + 1),
            shape: [count(tags::ROWS)?, count(tags::COLUMNS)?],
            position: header.text(tags::IMAGE_POSITION_PATIENT).map(str::to_owned),
        })
    }
}
