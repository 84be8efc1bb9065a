//! From a file to the image planes it holds: attributes, pixel layout, place in the patient. Headers only.
//! Whether planes fit together is decided in `group` and `check`; what a single file lacks is found here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{DefaultDicomObject, FileMetaTableBuilder, InMemDicomObject};

use crate::element::{self, Layout, Stop, name, walk};
use crate::frame::{PixelFormat, SourceFile};
use crate::plane::{PlaneGeometry, Reader};
use crate::{Problem, RejectedFile};

/// Bytes read at first; the headers of nearly all single-frame images are shorter.
const FIRST_READ: u64 = 1 << 16;
/// Text attributes longer than this are not kept for selection.
const LONGEST_ATTRIBUTE: usize = 1024;

/// What a file turned out to be.
#[derive(Debug)]
pub(crate) enum FileKind {
    /// Not DICOM, or a DICOMDIR.
    Other,
    /// DICOM, but of no use and of no known series.
    Rejected(RejectedFile),
    /// An image, perhaps one with a problem.
    Image(Box<ImageFile>),
}

/// An image file as far as its header tells.
#[derive(Debug)]
pub(crate) struct ImageFile {
    pub(crate) source: Arc<SourceFile>,
    pub(crate) series_instance_uid: String,
    pub(crate) study_instance_uid: String,
    pub(crate) modality: String,
    pub(crate) series_description: String,
    pub(crate) sop_class_uid: String,
    pub(crate) frame_of_reference: Option<String>,
    pub(crate) monochrome1: bool,
    pub(crate) attributes: BTreeMap<Tag, String>,
    pub(crate) planes: Vec<ImagePlane>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) warnings: Vec<Problem>,
}

/// Why an image cannot be used.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// It is of a kind that is not supported, and forms a volume of its own.
    Kind(Problem),
    /// It is a slice that cannot be read: the volume it belongs to is incomplete without it.
    Damage(Problem),
}

/// One frame of an image file.
#[derive(Debug, Clone)]
pub(crate) struct ImagePlane {
    pub(crate) number: usize,
    pub(crate) geometry: PlaneGeometry,
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
    /// What tells volumes of one series apart, as `Keyword value`, in a fixed order.
    pub(crate) labels: Vec<String>,
}

/// Reads the header of a file.
pub(crate) fn read_header(path: &Path) -> FileKind {
    match read_skeleton(path) {
        Err(error) => FileKind::Rejected(RejectedFile {
            path: path.to_path_buf(),
            code: "unreadable_file".into(),
            message: format!("the file cannot be read: {error}; check its permissions and the disk"),
        }),
        Ok(Skeleton::NotDicom) if has_dicom_extension(path) => {
            rejected(path, damage("not_dicom", "it has no DICOM header"))
        }
        Ok(Skeleton::NotDicom) => FileKind::Other,
        Ok(Skeleton::Walked { bytes, layout, broken, file_length }) => {
            let problem = broken.map(|message| damage("truncated_file", &message));
            interpret(path, &bytes, &layout, problem, file_length)
        }
    }
}

/// Opens the data set between two offsets of a file as an object with its transfer syntax.
pub(crate) fn parse(data_set: &[u8], transfer_syntax: &str) -> Result<DefaultDicomObject, String> {
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid("")
        .media_storage_sop_instance_uid("")
        .transfer_syntax(transfer_syntax)
        .build()
        .map_err(|error| error.to_string())?;
    let mut head = b"DICM".to_vec();
    meta.write(&mut head).map_err(|error| error.to_string())?;
    dicom_object::from_reader(Cursor::new(head).chain(data_set)).map_err(|error| with_causes(&error))
}

enum Skeleton {
    NotDicom,
    Walked { bytes: Vec<u8>, layout: Layout, broken: Option<String>, file_length: u64 },
}

fn read_skeleton(path: &Path) -> std::io::Result<Skeleton> {
    let mut file = File::open(path)?;
    let file_length = file.metadata()?.len();
    let mut bytes = Vec::new();
    let mut wanted = FIRST_READ;
    loop {
        let missing = wanted.min(file_length).saturating_sub(bytes.len() as u64);
        if file.by_ref().take(missing).read_to_end(&mut bytes)? as u64 != missing {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (layout, broken) = match walk(&bytes, file_length) {
            Err(Stop::NotDicom) => return Ok(Skeleton::NotDicom),
            Err(Stop::NeedMore) => {
                wanted *= 4;
                continue;
            }
            Err(Stop::Damaged { message, so_far }) => (*so_far, Some(message)),
            Ok(layout) => {
                let broken = broken_pixel_data(&mut file, file_length, &layout);
                (layout, broken)
            }
        };
        return Ok(Skeleton::Walked { bytes, layout, broken, file_length });
    }
}

/// Says what is wrong with the pixel data element, should it not lie in the file as a whole.
fn broken_pixel_data(file: &mut File, file_length: u64, layout: &Layout) -> Option<String> {
    let pixel_data = layout.pixel_data?;
    match pixel_data.length {
        Some(length) => {
            let left = file_length.saturating_sub(pixel_data.value as u64);
            (length as u64 > left)
                .then(|| format!("{} claims {length} bytes where {left} are left", name(pixel_data.tag)))
        }
        None => element::fragments_end(pixel_data.value, file_length, |at, head| {
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(head)
        })
        .err()
        .map(|message| format!("{} {message}", name(pixel_data.tag))),
    }
}

fn interpret(path: &Path, bytes: &[u8], layout: &Layout, broken: Option<Problem>, file_length: u64) -> FileKind {
    if layout.transfer_syntax == element::DEFLATED_LITTLE_ENDIAN {
        return rejected(path, unsupported_transfer_syntax(&layout.transfer_syntax));
    }
    let data_set = bytes.get(layout.data_set..layout.header_end).unwrap_or_default();
    let object = match parse(data_set, element::header_syntax(&layout.transfer_syntax)) {
        Ok(object) => object,
        Err(message) => return rejected(path, broken.unwrap_or_else(|| damage("unreadable_header", &message))),
    };
    if object.get(tags::DIRECTORY_RECORD_SEQUENCE).is_some() {
        return FileKind::Other;
    }
    if broken.is_none() && layout.pixel_data.is_none() {
        return rejected(path, no_image(&object));
    }
    let Some(series_instance_uid) = text(&object, tags::SERIES_INSTANCE_UID) else {
        let missing = || missing(tags::SERIES_INSTANCE_UID);
        return rejected(path, broken.unwrap_or_else(missing));
    };
    FileKind::Image(Box::new(image_file(path, &object, series_instance_uid, layout, broken, file_length)))
}

fn image_file(
    path: &Path,
    object: &InMemDicomObject,
    series_instance_uid: String,
    layout: &Layout,
    broken: Option<Problem>,
    file_length: u64,
) -> ImageFile {
    let sop_instance_uid = text(object, tags::SOP_INSTANCE_UID);
    let format = pixel_format(object);
    let mut warnings = Vec::new();
    let mut trouble = broken.map(Trouble::Damage);
    let mut note = |found: Option<Trouble>| trouble = trouble.take().or(found);
    if sop_instance_uid.is_none() {
        note(Some(Trouble::Damage(missing(tags::SOP_INSTANCE_UID))));
    }
    note(unsupported_kind(object, layout));
    note(format.as_ref().err().cloned());
    let pixel_format = format.unwrap_or_default();
    note(wrong_length(&pixel_format, layout, file_length, &mut warnings).map(Trouble::Damage));
    let planes = if trouble.is_none() { planes(object, pixel_format.frames) } else { Ok(Vec::new()) };
    let trouble = trouble.or(planes.as_ref().err().cloned()).map(|trouble| trouble.in_file(path));
    let get = |tag| text(object, tag).unwrap_or_default();
    ImageFile {
        source: Arc::new(SourceFile {
            path: path.to_path_buf(),
            sop_instance_uid: sop_instance_uid.unwrap_or_default(),
            transfer_syntax: layout.transfer_syntax.clone(),
            pixel_format,
        }),
        series_instance_uid,
        study_instance_uid: get(tags::STUDY_INSTANCE_UID),
        modality: get(tags::MODALITY),
        series_description: get(tags::SERIES_DESCRIPTION),
        sop_class_uid: get(tags::SOP_CLASS_UID),
        frame_of_reference: text(object, tags::FRAME_OF_REFERENCE_UID),
        monochrome1: get(tags::PHOTOMETRIC_INTERPRETATION) == "MONOCHROME1",
        attributes: attributes(object),
        planes: planes.unwrap_or_default(),
        trouble,
        warnings: warnings.into_iter().map(|warning| warning.in_file(path)).collect(),
    }
}

impl Trouble {
    pub(crate) fn problem(&self) -> &Problem {
        match self {
            Trouble::Kind(problem) | Trouble::Damage(problem) => problem,
        }
    }

    fn in_file(self, path: &Path) -> Self {
        match self {
            Trouble::Kind(problem) => Trouble::Kind(problem.in_file(path)),
            Trouble::Damage(problem) => Trouble::Damage(problem.in_file(path)),
        }
    }
}

/// Images that are whole but of a kind this crate does not turn into voxels.
fn unsupported_kind(object: &InMemDicomObject, layout: &Layout) -> Option<Trouble> {
    let image_type = text(object, tags::IMAGE_TYPE).unwrap_or_default();
    let photometric = text(object, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    let samples = number(object, tags::SAMPLES_PER_PIXEL).unwrap_or(1);
    let problem = if image_type.split('\\').any(|value| value == "MOSAIC") {
        Problem::new(
            "mosaic",
            format!("ImageType is {image_type}: a Siemens mosaic, many slices tiled into one image"),
            "export the series from the scanner without mosaic, or as enhanced MR",
        )
    } else if samples != 1 || !matches!(photometric.as_str(), "" | "MONOCHROME1" | "MONOCHROME2") {
        Problem::new(
            "colour",
            format!("SamplesPerPixel is {samples} and PhotometricInterpretation is {photometric}: a colour image"),
            "choose a series of grey-scale images",
        )
    } else if object.get(tags::MODALITY_LUT_SEQUENCE).is_some() {
        Problem::new(
            "modality_lut",
            "ModalityLUTSequence (0028,3000) maps the stored values; such tables are not supported",
            "export the series with RescaleSlope and RescaleIntercept",
        )
    } else if layout.pixel_data.is_some_and(|data| data.tag != tags::PIXEL_DATA) {
        Problem::new(
            "unsupported_pixel_format",
            "the pixels are floating point numbers (FloatPixelData or DoubleFloatPixelData)",
            "export the series with integer PixelData",
        )
    } else if !can_decode(&layout.transfer_syntax) {
        unsupported_transfer_syntax(&layout.transfer_syntax)
    } else {
        return None;
    };
    Some(Trouble::Kind(problem))
}

/// Returns whether pixels of a transfer syntax can be decoded by this build.
pub(crate) fn can_decode(transfer_syntax: &str) -> bool {
    let decodable = [
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        element::EXPLICIT_BIG_ENDIAN,
        uids::RLE_LOSSLESS,
        uids::JPEG_BASELINE8_BIT,
        uids::JPEG_LOSSLESS,
        uids::JPEG_LOSSLESS_SV1,
        uids::JPEG2000_LOSSLESS,
        uids::JPEG2000,
    ];
    let jpeg_ls = [uids::JPEGLS_LOSSLESS, uids::JPEGLS_NEAR_LOSSLESS];
    decodable.contains(&transfer_syntax) || cfg!(feature = "charls") && jpeg_ls.contains(&transfer_syntax)
}

fn unsupported_transfer_syntax(uid: &str) -> Problem {
    let jpeg_ls = uid == uids::JPEGLS_LOSSLESS || uid == uids::JPEGLS_NEAR_LOSSLESS;
    let note = if jpeg_ls { ", or use a build with the `charls` feature" } else { "" };
    Problem::new(
        "unsupported_transfer_syntax",
        format!("TransferSyntaxUID is {uid}, which cannot be decoded"),
        format!("convert the files to Explicit VR Little Endian (for example `gdcmconv --raw`){note}"),
    )
}

fn no_image(object: &InMemDicomObject) -> Problem {
    let class = text(object, tags::SOP_CLASS_UID).unwrap_or_else(|| "unknown".into());
    Problem::new(
        "not_an_image",
        format!("the object has no PixelData (SOPClassUID {class})"),
        "nothing to do unless an image was expected here",
    )
}

fn pixel_format(object: &InMemDicomObject) -> Result<PixelFormat, Trouble> {
    let need = |tag| number(object, tag).ok_or_else(|| Trouble::Damage(missing(tag)));
    let rows = need(tags::ROWS)?;
    let columns = need(tags::COLUMNS)?;
    let bits_allocated = need(tags::BITS_ALLOCATED)?;
    let bits_stored = number(object, tags::BITS_STORED).unwrap_or(bits_allocated);
    let high_bit = number(object, tags::HIGH_BIT).unwrap_or(bits_stored.saturating_sub(1));
    let signed = number(object, tags::PIXEL_REPRESENTATION).unwrap_or(0);
    let frames = number(object, tags::NUMBER_OF_FRAMES).unwrap_or(1);
    let fits = bits_stored >= 1 && bits_stored <= high_bit + 1 && high_bit < bits_allocated;
    if !matches!(bits_allocated, 8 | 16 | 32) || !fits || signed > 1 {
        return Err(Trouble::Kind(Problem::new(
            "unsupported_pixel_format",
            format!(
                "BitsAllocated {bits_allocated}, BitsStored {bits_stored}, HighBit {high_bit}, PixelRepresentation \
                 {signed} do not describe a supported image"
            ),
            "export the series with 8, 16 or 32 bits allocated",
        )));
    }
    if rows == 0 || columns == 0 || frames == 0 {
        return Err(Trouble::Damage(Problem::new(
            "empty_image",
            format!("Rows {rows}, Columns {columns}, NumberOfFrames {frames}: the image has no pixels"),
            "export the file again",
        )));
    }
    Ok(PixelFormat {
        rows: rows as usize,
        columns: columns as usize,
        bits_allocated: bits_allocated as u16,
        bits_stored: bits_stored as u16,
        high_bit: high_bit as u16,
        signed: signed == 1,
        frames: frames as usize,
    })
}

/// Compares the length of native pixel data with what the header promises.
fn wrong_length(
    format: &PixelFormat,
    layout: &Layout,
    file_length: u64,
    warnings: &mut Vec<Problem>,
) -> Option<Problem> {
    let length = layout.pixel_data?.length? as u128;
    let expected = format.stored_bytes();
    let named = format!(
        "PixelData (7FE0,0010) has {length} bytes where Rows {}, Columns {}, BitsAllocated {} and NumberOfFrames {} \
         need {expected}",
        format.rows, format.columns, format.bits_allocated, format.frames
    );
    if length < expected {
        return Some(damage("truncated_file", &format!("{named} (file length {file_length})")));
    }
    if length > expected + expected % 2 {
        warnings.push(Problem::new("extra_pixel_data", named, "the first bytes are used; compare with the scanner"));
    }
    None
}

fn planes(object: &InMemDicomObject, frames: usize) -> Result<Vec<ImagePlane>, Trouble> {
    let per_frame = items(object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    if per_frame.is_empty() && frames > 1 {
        return Err(Trouble::Kind(Problem::new(
            "multi_frame_without_geometry",
            format!("NumberOfFrames is {frames} but there is no PerFrameFunctionalGroupsSequence (5200,9230)"),
            "export the series as single-frame or enhanced multi-frame images",
        )));
    }
    if !per_frame.is_empty() && per_frame.len() != frames {
        return Err(Trouble::Damage(Problem::new(
            "frame_count",
            format!(
                "NumberOfFrames is {frames} but PerFrameFunctionalGroupsSequence (5200,9230) has {} items",
                per_frame.len()
            ),
            "export the file again",
        )));
    }
    let shared = items(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    (0..frames)
        .map(|number| Reader { object, shared, frame: per_frame.get(number) }.plane(number).map_err(Trouble::Damage))
        .collect()
}

fn attributes(object: &InMemDicomObject) -> BTreeMap<Tag, String> {
    object
        .iter()
        .filter(|element| matches!(element.header().tag.0, 0x0008 | 0x0018 | 0x0020 | 0x0028 | 0x0040 | 0x0054))
        .filter(|element| is_selectable(element.vr()))
        .filter_map(|element| Some((element.header().tag, text(object, element.header().tag)?)))
        .filter(|(_, value)| value.len() <= LONGEST_ATTRIBUTE)
        .collect()
}

/// Returns whether attributes of this kind can be used in selection rules: text and numbers, never person names.
pub(crate) fn is_selectable(vr: VR) -> bool {
    !matches!(
        vr,
        VR::PN | VR::SQ | VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN | VR::UT | VR::LT | VR::AT
    )
}

/// Returns a text value without padding; several values stay joined by backslashes. None when absent or empty.
pub(crate) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let values = object.get(tag)?.value().to_multi_str().ok()?;
    let joined = values.iter().map(|value| value.trim_matches(['\0', ' '])).collect::<Vec<_>>().join("\\");
    (!joined.trim_matches('\\').is_empty()).then_some(joined)
}

pub(crate) fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|element| element.items()).unwrap_or_default()
}

fn number(object: &InMemDicomObject, tag: Tag) -> Option<u32> {
    object.get(tag)?.value().to_multi_int::<u32>().ok()?.first().copied()
}

pub(crate) fn missing(tag: Tag) -> Problem {
    Problem::new(
        "missing_attribute",
        format!("{} is missing or empty", name(tag)),
        "export the series again with complete headers, or leave this file out",
    )
}

fn damage(code: &str, message: &str) -> Problem {
    Problem::new(code, message, "copy or export the file again")
}

fn rejected(path: &Path, problem: Problem) -> FileKind {
    FileKind::Rejected(problem.into_rejected_file(path))
}

fn has_dicom_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["dcm", "dicom", "ima"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        message = format!("{message}: {next}");
        cause = next.source();
    }
    message
}
