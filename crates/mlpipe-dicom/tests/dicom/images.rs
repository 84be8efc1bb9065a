//! Makes small DICOM series for tests. Slice `k` of the plain series is sagittal, 3 rows x 4 columns, 4 mm after its
//! neighbour along the normal, with stored values `100 k + 10 row + column`. Each test edits what it is about.

use std::path::{Path, PathBuf};

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use mlpipe_dicom::{Scan, Status, VolumePlan, scan};
use tempfile::TempDir;

pub(crate) const ROWS: usize = 3;
pub(crate) const COLUMNS: usize = 4;
pub(crate) const SERIES: &str = "1.2.3.10";

pub(crate) type Image = InMemDicomObject;

/// A folder of files that vanishes with the value.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn scan(&self) -> Scan {
        scan(&[self.path().to_path_buf()]).expect("the folder can be read")
    }

    /// The one volume of the one series.
    pub(crate) fn plan(&self) -> VolumePlan {
        let scan = self.scan();
        assert_eq!(scan.series.len(), 1, "one series");
        let mut volumes = scan.series[0].volumes.clone();
        assert_eq!(volumes.len(), 1, "one volume: {volumes:#?}");
        volumes.remove(0)
    }

    /// Asserts that the one volume is rejected with a code and a file, and returns the whole text.
    pub(crate) fn rejection(&self, code: &str) -> String {
        let plan = self.plan();
        assert_eq!(plan.status, Status::Reject, "{plan:#?}");
        let problem = plan.reason.expect("a reason");
        assert_eq!(problem.code, code, "{problem}");
        assert!(problem.file.is_some(), "names the file: {problem}");
        assert!(mlpipe_dicom::load_volume(&self.plan()).is_err(), "cannot be loaded");
        problem.to_string()
    }

    pub(crate) fn warning_codes(&self) -> Vec<String> {
        let plan = self.plan();
        assert_eq!(plan.status, Status::Warn, "{plan:#?}");
        plan.warnings.into_iter().map(|warning| warning.code).collect()
    }
}

/// Writes `slices` plain slices after `edit` has changed each.
pub(crate) fn series(slices: usize, edit: impl Fn(usize, &mut Image)) -> Folder {
    let folder = Folder::new();
    for index in 0..slices {
        let mut image = slice(index);
        edit(index, &mut image);
        write(&image, &folder.join(&format!("{index:03}.dcm")));
    }
    folder
}

/// Returns plain slice `index`.
pub(crate) fn slice(index: usize) -> Image {
    let mut image = InMemDicomObject::new_empty();
    text(&mut image, tags::SOP_CLASS_UID, uids::MR_IMAGE_STORAGE);
    text(&mut image, tags::SOP_INSTANCE_UID, &format!("1.2.3.10.{}", index + 1));
    text(&mut image, tags::STUDY_INSTANCE_UID, "1.2.3");
    text(&mut image, tags::SERIES_INSTANCE_UID, SERIES);
    text(&mut image, tags::FRAME_OF_REFERENCE_UID, "1.2.3.4");
    text(&mut image, tags::MODALITY, "MR");
    text(&mut image, tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\M");
    text(&mut image, tags::ECHO_TIME, "98");
    text(&mut image, tags::INSTANCE_NUMBER, &(index + 1).to_string());
    text(&mut image, tags::SLICE_THICKNESS, "3.5");
    text(&mut image, tags::PIXEL_SPACING, "0.8\\0.5");
    text(&mut image, tags::IMAGE_ORIENTATION_PATIENT, "0\\1\\0\\0\\0\\-1");
    position(&mut image, [20.0 - 4.0 * index as f64, -7.0, 30.0]);
    text(&mut image, tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, ROWS as u16),
        (tags::COLUMNS, COLUMNS as u16),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 16),
        (tags::HIGH_BIT, 15),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        short(&mut image, tag, value);
    }
    words(&mut image, &stored(index));
    image
}

/// The stored values of plain slice `index`.
pub(crate) fn stored(index: usize) -> Vec<u16> {
    (0..ROWS * COLUMNS).map(|at| (100 * index + 10 * (at / COLUMNS) + at % COLUMNS) as u16).collect()
}

pub(crate) fn text(image: &mut Image, tag: Tag, value: &str) {
    let vr = match tag {
        tags::IMAGE_POSITION_PATIENT | tags::IMAGE_ORIENTATION_PATIENT | tags::PIXEL_SPACING => VR::DS,
        tags::SLICE_THICKNESS | tags::ECHO_TIME | tags::RESCALE_SLOPE | tags::RESCALE_INTERCEPT => VR::DS,
        tags::SPACING_BETWEEN_SLICES | tags::TRIGGER_TIME | tags::GANTRY_DETECTOR_TILT => VR::DS,
        tags::WINDOW_CENTER | tags::WINDOW_WIDTH => VR::DS,
        tags::INSTANCE_NUMBER | tags::NUMBER_OF_FRAMES | tags::ACQUISITION_NUMBER => VR::IS,
        tags::MODALITY | tags::IMAGE_TYPE | tags::PHOTOMETRIC_INTERPRETATION | tags::VOILUT_FUNCTION => VR::CS,
        tags::STACK_ID => VR::SH,
        tags::SERIES_DESCRIPTION => VR::LO,
        _ => VR::UI,
    };
    let values: Vec<String> = value.split('\\').map(str::to_owned).collect();
    image.put(DataElement::new(tag, vr, PrimitiveValue::Strs(values.into())));
}

pub(crate) fn short(image: &mut Image, tag: Tag, value: u16) {
    image.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}

pub(crate) fn words(image: &mut Image, values: &[u16]) {
    image.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.into())));
}

pub(crate) fn position(image: &mut Image, lps: [f64; 3]) {
    text(image, tags::IMAGE_POSITION_PATIENT, &lps.map(|value| format!("{value:.6}")).join("\\"));
}

pub(crate) fn orientation(image: &mut Image, column_axis: [f64; 3], row_axis: [f64; 3]) {
    let cosines = [column_axis, row_axis].concat();
    let texts: Vec<String> = cosines.iter().map(|value| format!("{value:.6}")).collect();
    text(image, tags::IMAGE_ORIENTATION_PATIENT, &texts.join("\\"));
}

pub(crate) fn write(image: &Image, path: &Path) {
    write_as(image, path, uids::EXPLICIT_VR_LITTLE_ENDIAN);
}

pub(crate) fn write_as(image: &Image, path: &Path, transfer_syntax: &str) {
    let meta = FileMetaTableBuilder::new().transfer_syntax(transfer_syntax);
    image.clone().with_meta(meta).expect("a file meta table").write_to_file(path).expect("the file is written");
}

/// Says on stderr that a test was not run, and why.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}
