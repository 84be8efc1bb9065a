//! From a file to the image planes it holds: attributes, pixel layout, place in the patient. Headers only.
//! Whether planes fit together is decided in `group` and `check`; what a single file lacks is found here.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};

use crate::bytes::{self, Stamp};
use crate::codec;
use crate::data_set::{DataSet, Element};
use crate::element::{self, Layout, PixelData, Stop, name, walk};
use crate::frame::{PixelFormat, SourceFile};
use crate::limits::size_text;
use crate::lut::Table;
use crate::plane::{PlaneGeometry, Reader};
use crate::{Error, Frame, Limits, Problem, RejectedFile};

/// Bytes read at first; the headers of nearly all single-frame images are shorter.
const FIRST_READ: u64 = 1 << 13;
/// Where they are longer, this many times as much is read.
const READ_MORE: u64 = 8;
/// Headers of enhanced images of thousands of frames have some megabytes; beyond this a length is taken for a lie.
const LONGEST_HEADER: u64 = 1 << 28;
/// Text attributes longer than this are not kept for selection.
const LONGEST_ATTRIBUTE: usize = 1024;

/// What tells one patient from another, the id first.
pub(crate) const PATIENT_ATTRIBUTES: [(Tag, &str); 3] = [
    (tags::PATIENT_ID, "PatientID (0010,0020)"),
    (tags::PATIENT_NAME, "PatientName (0010,0010)"),
    (tags::PATIENT_BIRTH_DATE, "PatientBirthDate (0010,0030)"),
];

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
    /// Digests of [`PATIENT_ATTRIBUTES`], to tell patients apart without keeping who they are.
    pub(crate) patient: [Option<blake3::Hash>; 3],
    pub(crate) monochrome1: bool,
    pub(crate) attributes: Attributes,
    pub(crate) planes: Vec<ImagePlane>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) warnings: Vec<Problem>,
}

/// The text and number attributes of a file, in the order of their tags. One text holds all values: ten thousand files
/// with forty attributes each would be as many allocations.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    text: String,
    ends: Vec<(Tag, usize)>,
}

impl Attributes {
    fn of(object: &DataSet) -> Self {
        let selectable = |element: &&Element| is_selected_group(element.tag) && is_selectable(element.vr);
        let selected = || object.elements().iter().filter(selectable);
        let (count, length) = selected()
            .fold((0, 0), |(count, sum), element| (count + 1, sum + element.stored_length().min(LONGEST_ATTRIBUTE)));
        let mut attributes = Attributes { text: String::with_capacity(length), ends: Vec::with_capacity(count) };
        for element in selected() {
            if let Some(value) = object.value(element).filter(|value| value.len() <= LONGEST_ATTRIBUTE) {
                attributes.text.push_str(&value);
                attributes.ends.push((element.tag, attributes.text.len()));
            }
        }
        attributes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Tag, &str)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, (tag, end))| (*tag, &self.text[start..*end]))
    }

    pub(crate) fn get(&self, tag: Tag) -> Option<&str> {
        self.iter().find(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

fn is_selected_group(tag: Tag) -> bool {
    matches!(tag.0, 0x0008 | 0x0018 | 0x0020 | 0x0028 | 0x0040 | 0x0054)
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
    /// Whether both slope and intercept are said; none when neither is.
    pub(crate) rescaled: Option<Rescaled>,
    /// What tells volumes of one series apart, as `Keyword value`, in a fixed order.
    pub(crate) labels: Vec<String>,
}

/// How stored values become modality units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rescaled {
    SlopeAndIntercept,
    OneOfTheTwo,
    Table,
}

/// Reads the header of a file. `buffer` is memory for its bytes, to be used for the next one.
pub(crate) fn read_header(path: &Path, limits: Limits, buffer: &mut Vec<u8>) -> FileKind {
    match read_beginning(path, limits, std::mem::take(buffer)) {
        Err(error) => FileKind::Rejected(RejectedFile {
            path: path.to_path_buf(),
            code: "unreadable_file".into(),
            message: format!("the file cannot be read: {error}; check its permissions and the disk"),
        }),
        Ok(None) if has_dicom_extension(path) => rejected(path, damage("not_dicom", "it has no DICOM header")),
        Ok(None) => FileKind::Other,
        Ok(Some(walked)) => {
            let kind = interpret(path, &walked, limits);
            if walked.bytes.capacity() as u64 <= FIRST_READ {
                *buffer = walked.bytes;
            }
            kind
        }
    }
}

/// The beginning of a DICOM file.
struct Walked {
    bytes: Vec<u8>,
    layout: Layout,
    broken: Option<Problem>,
    /// Length of the file, inflated.
    file_length: u64,
    stamp: Stamp,
}

impl Walked {
    fn of(bytes: Vec<u8>, (layout, broken): (Layout, Option<Problem>), file_length: u64, stamp: Stamp) -> Self {
        Walked { bytes, layout, broken, file_length, stamp }
    }
}

/// Reads as much of a file as its header takes; none when it is not DICOM.
fn read_beginning(path: &Path, limits: Limits, mut bytes: Vec<u8>) -> std::io::Result<Option<Walked>> {
    bytes.clear();
    let mut file = File::open(path)?;
    let stamp = Stamp::of(&file)?;
    let file_length = stamp.length;
    let mut wanted = FIRST_READ;
    let longest = limits.memory.min(LONGEST_HEADER);
    loop {
        let before = bytes.len();
        bytes.resize(wanted.min(file_length) as usize, 0);
        file.read_exact(&mut bytes[before..])?;
        let walked = match walk(&bytes, file_length) {
            Err(Stop::NotDicom) => return Ok(None),
            Err(Stop::NeedMore) if bytes.len() as u64 >= longest => {
                let message = format!("its header is longer than {}", size_text(longest.into()));
                (Layout::default(), Some(damage("too_large", &message)))
            }
            Err(Stop::NeedMore) => {
                wanted = wanted.saturating_mul(READ_MORE).min(longest);
                continue;
            }
            Err(Stop::Damaged { message, so_far }) => (*so_far, Some(damage("truncated_file", &message))),
            Ok(layout) if layout.transfer_syntax == element::DEFLATED_LITTLE_ENDIAN => {
                file.take(limits.memory).read_to_end(&mut bytes)?;
                return Ok(inflated_beginning(bytes, layout, stamp, limits));
            }
            Ok(layout) => {
                let broken = broken_pixel_data(&mut file, file_length, &layout);
                (layout, broken.map(|message| damage("truncated_file", &message)))
            }
        };
        return Ok(Some(Walked::of(bytes, walked, file_length, stamp)));
    }
}

fn inflated_beginning(bytes: Vec<u8>, layout: Layout, stamp: Stamp, limits: Limits) -> Option<Walked> {
    let (mut bytes, walked) = bytes::inflated(bytes, layout, limits.memory);
    let file_length = bytes.len() as u64;
    let walked = match walked {
        Ok(layout) => {
            let length = layout.pixel_data.and_then(|data| Some((data, data.length?)));
            let broken = length.and_then(|(data, length)| too_long(data, length, file_length));
            bytes.truncate(layout.header_end);
            (layout, broken.map(|message| damage("truncated_file", &message)))
        }
        Err(Stop::Damaged { message, so_far }) => (*so_far, Some(damage("truncated_file", &message))),
        Err(Stop::NotDicom | Stop::NeedMore) => return None,
    };
    Some(Walked::of(bytes, walked, file_length, stamp))
}

fn too_long(data: PixelData, length: usize, file_length: u64) -> Option<String> {
    let left = file_length.saturating_sub(data.value as u64);
    (length as u64 > left).then(|| format!("{} claims {length} bytes where {left} are left", name(data.tag)))
}

/// Says what is wrong with the pixel data element, should it not lie in the file as a whole.
fn broken_pixel_data(file: &mut File, file_length: u64, layout: &Layout) -> Option<String> {
    let pixel_data = layout.pixel_data?;
    match pixel_data.length {
        Some(length) => too_long(pixel_data, length, file_length),
        None => element::fragments_end(pixel_data.value, file_length, |at, head| {
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(head)
        })
        .err()
        .map(|message| format!("{} {message}", name(pixel_data.tag))),
    }
}

fn interpret(path: &Path, walked: &Walked, limits: Limits) -> FileKind {
    let object = DataSet::of(&walked.bytes, &walked.layout);
    if object.element(tags::DIRECTORY_RECORD_SEQUENCE).is_some() {
        return FileKind::Other;
    }
    let broken = walked.broken.clone();
    if broken.is_none() && walked.layout.pixel_data.is_none() {
        return rejected(path, no_image(&object));
    }
    let Some(series_instance_uid) = object.text(tags::SERIES_INSTANCE_UID) else {
        let missing = || missing(tags::SERIES_INSTANCE_UID);
        return rejected(path, broken.unwrap_or_else(missing));
    };
    FileKind::Image(Box::new(image_file(path, &object, series_instance_uid, walked, limits)))
}

fn image_file(
    path: &Path,
    object: &DataSet,
    series_instance_uid: String,
    walked: &Walked,
    limits: Limits,
) -> ImageFile {
    let sop_instance_uid = object.text(tags::SOP_INSTANCE_UID);
    let PixelPart { format: pixel_format, lut, trouble: unreadable, warnings } = PixelPart::of(object, walked, limits);
    let nameless = sop_instance_uid.is_none().then(|| Trouble::Damage(missing(tags::SOP_INSTANCE_UID)));
    let trouble = walked.broken.clone().map(Trouble::Damage).or(nameless).or(unreadable);
    let planes = if trouble.is_none() { planes(object, &pixel_format) } else { Ok(Vec::new()) };
    let trouble = trouble.or(planes.as_ref().err().cloned()).map(|trouble| trouble.in_file(path));
    let get = |tag| object.text(tag).unwrap_or_default();
    ImageFile {
        source: Arc::new(SourceFile {
            path: path.to_path_buf(),
            stamp: walked.stamp,
            sop_instance_uid: sop_instance_uid.unwrap_or_default(),
            transfer_syntax: walked.layout.transfer_syntax.clone(),
            pixel_format,
            lut,
        }),
        series_instance_uid,
        study_instance_uid: get(tags::STUDY_INSTANCE_UID),
        modality: get(tags::MODALITY),
        series_description: get(tags::SERIES_DESCRIPTION),
        sop_class_uid: get(tags::SOP_CLASS_UID),
        frame_of_reference: object.text(tags::FRAME_OF_REFERENCE_UID),
        patient: PATIENT_ATTRIBUTES.map(|(tag, _)| {
            // `DOE^JOHN^^` and `Doe^John` are written for one person.
            let said = object.text(tag)?.trim_end_matches('^').to_uppercase();
            Some(blake3::hash(said.as_bytes()))
        }),
        monochrome1: get(tags::PHOTOMETRIC_INTERPRETATION) == "MONOCHROME1",
        attributes: Attributes::of(object),
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

/// What a header says of the pixels, and why they cannot be read.
struct PixelPart {
    format: PixelFormat,
    lut: Option<Arc<Table>>,
    trouble: Option<Trouble>,
    warnings: Vec<Problem>,
}

impl PixelPart {
    fn of(object: &DataSet, walked: &Walked, limits: Limits) -> Self {
        let layout = &walked.layout;
        let read = pixel_format(object, layout);
        let unreadable = read.as_ref().err().cloned();
        let format = read.unwrap_or_default();
        let mut warnings = Vec::new();
        let lut = Table::modality(object, format.signed);
        let trouble = unsupported_kind(object, layout)
            .or(unreadable)
            .or_else(|| wrong_length(&format, walked, &mut warnings).map(Trouble::Damage))
            .or_else(|| too_large(&format, walked, limits).map(Trouble::Kind))
            .or_else(|| lut.as_ref().err().cloned().map(Trouble::Kind));
        PixelPart { format, lut: lut.unwrap_or_default().map(Arc::new), trouble, warnings }
    }
}

/// Images that are whole but of a kind this crate does not turn into voxels.
fn unsupported_kind(object: &DataSet, layout: &Layout) -> Option<Trouble> {
    let image_type = object.text(tags::IMAGE_TYPE).unwrap_or_default();
    let photometric = object.text(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    let samples = number(object, tags::SAMPLES_PER_PIXEL).ok().flatten().unwrap_or(1);
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
    } else if !can_decode(&layout.transfer_syntax) {
        unsupported_transfer_syntax(&layout.transfer_syntax)
    } else {
        return None;
    };
    Some(Trouble::Kind(problem))
}

/// Returns whether pixels of a transfer syntax can be decoded.
pub(crate) fn can_decode(transfer_syntax: &str) -> bool {
    is_native(transfer_syntax) || codec::is_compressed(transfer_syntax)
}

fn is_native(transfer_syntax: &str) -> bool {
    let native = [
        element::IMPLICIT_LITTLE_ENDIAN,
        element::EXPLICIT_LITTLE_ENDIAN,
        element::EXPLICIT_BIG_ENDIAN,
        element::DEFLATED_LITTLE_ENDIAN,
    ];
    native.contains(&transfer_syntax)
}

fn unsupported_transfer_syntax(uid: &str) -> Problem {
    let cure = if codec::JPEG_XL.contains(&uid) {
        "build mlpipe with `--features jpeg-xl`, or convert the files to Explicit VR Little Endian"
    } else {
        "convert the files to Explicit VR Little Endian (for example `gdcmconv --raw`)"
    };
    Problem::new("unsupported_transfer_syntax", format!("TransferSyntaxUID is {uid}, which cannot be decoded"), cure)
}

fn no_image(object: &DataSet) -> Problem {
    let class = object.text(tags::SOP_CLASS_UID).unwrap_or_else(|| "unknown".into());
    Problem::new(
        "not_an_image",
        format!("the object has no PixelData (SOPClassUID {class})"),
        "nothing to do unless an image was expected here",
    )
}

fn pixel_format(object: &DataSet, layout: &Layout) -> Result<PixelFormat, Trouble> {
    let need = |tag| number(object, tag)?.ok_or_else(|| Trouble::Damage(missing(tag)));
    let float = layout.pixel_data.is_some_and(|data| data.tag != tags::PIXEL_DATA);
    let rows = need(tags::ROWS)?;
    let columns = need(tags::COLUMNS)?;
    let bits_allocated = need(tags::BITS_ALLOCATED)?;
    let bits_stored = if float { bits_allocated } else { need(tags::BITS_STORED)? };
    let high_bit = number(object, tags::HIGH_BIT)?.unwrap_or(bits_stored.saturating_sub(1));
    let signed = if float { 0 } else { need(tags::PIXEL_REPRESENTATION)? };
    let frames = number(object, tags::NUMBER_OF_FRAMES)?.unwrap_or(1);
    let fits = bits_stored >= 1 && bits_stored <= high_bit.saturating_add(1) && high_bit < bits_allocated;
    let allowed = match (float, is_native(&layout.transfer_syntax)) {
        (true, _) => layout.pixel_data.is_some_and(|data| {
            bits_allocated == if data.tag == tags::FLOAT_PIXEL_DATA { 32 } else { 64 } && data.length.is_some()
        }),
        (false, true) => matches!(bits_allocated, 1 | 8 | 16 | 32) && fits && signed <= 1,
        (false, false) => {
            let rle = layout.transfer_syntax == uids::RLE_LOSSLESS;
            (matches!(bits_allocated, 8 | 16) || rle && bits_allocated == 32) && fits && signed <= 1
        }
    };
    if !allowed {
        return Err(Trouble::Kind(Problem::new(
            "unsupported_pixel_format",
            format!(
                "BitsAllocated (0028,0100) {bits_allocated}, BitsStored {bits_stored}, HighBit {high_bit}, \
                 PixelRepresentation {signed} do not describe a supported image"
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
        float,
        frames: frames as usize,
    })
}

/// Refuses sizes that only claims stand for. Native pixels are there; compressed ones can claim any size.
fn too_large(format: &PixelFormat, walked: &Walked, limits: Limits) -> Option<Problem> {
    let compressed = !is_native(&walked.layout.transfer_syntax);
    let voxels = format.pixels() * format.frames as u128;
    if walked.file_length > limits.memory {
        let message = format!(
            "the file has {}, more than the {} allowed",
            size_text(walked.file_length.into()),
            size_text(limits.memory.into())
        );
        return Some(Problem::new("too_large", message, "split the file, or allow more with --max-memory"));
    }
    if voxels * 4 <= u128::from(limits.memory) && !(compressed && format.pixels() > limits.compressed_pixels()) {
        return None;
    }
    let message = format!(
        "Rows {}, Columns {} and NumberOfFrames {} need more than the {} allowed",
        format.rows,
        format.columns,
        format.frames,
        size_text(limits.memory.into())
    );
    Some(Problem::new("too_large", message, "check Rows and Columns, or allow more with --max-memory"))
}

fn refused(path: &Path, problem: &Problem) -> Error {
    Error::Pixels {
        path: path.to_path_buf(),
        code: problem.code.clone(),
        message: format!("{}; {}", problem.message, problem.cure),
    }
}

fn walked(path: &Path, limits: Limits) -> crate::Result<Walked> {
    match read_beginning(path, limits, Vec::new()).map_err(|source| Error::Read { path: path.to_path_buf(), source })? {
        Some(walked) => Ok(walked),
        None => Err(refused(path, &damage("not_dicom", "it has no DICOM header"))),
    }
}

/// Gives the attributes of a file to `read`.
pub(crate) fn with_header<T>(
    path: &Path,
    limits: Limits,
    read: impl FnOnce(&DataSet) -> Result<T, Problem>,
) -> crate::Result<T> {
    let walked = walked(path, limits)?;
    let object = DataSet::of(&walked.bytes, &walked.layout);
    let answer = walked.broken.as_ref().map_or_else(|| read(&object), |problem| Err(problem.clone()));
    answer.map_err(|problem| refused(path, &problem))
}

/// Reads what is needed to decode all frames of a file, wherever they lie in the patient.
pub(crate) fn read_pixel_source(path: &Path, limits: Limits) -> crate::Result<Vec<Frame>> {
    let refused = |problem: &Problem| refused(path, problem);
    let walked = walked(path, limits)?;
    let object = DataSet::of(&walked.bytes, &walked.layout);
    if walked.broken.is_none() && walked.layout.pixel_data.is_none() {
        return Err(refused(&no_image(&object)));
    }
    let part = PixelPart::of(&object, &walked, limits);
    if let Some(problem) = walked.broken.as_ref().or(part.trouble.as_ref().map(Trouble::problem)) {
        return Err(refused(problem));
    }
    let file = Arc::new(SourceFile {
        path: path.to_path_buf(),
        stamp: walked.stamp,
        sop_instance_uid: object.text(tags::SOP_INSTANCE_UID).unwrap_or_default(),
        transfer_syntax: walked.layout.transfer_syntax.clone(),
        pixel_format: part.format,
        lut: part.lut,
    });
    let per_frame = object.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let shared = object.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    let shared = shared.first();
    (0..file.pixel_format.frames)
        .map(|number| {
            let reader = Reader { object: &object, shared, frame: per_frame.get(number) };
            let (slope, intercept) = reader.rescale().map_err(|problem| refused(&problem))?;
            Ok(Frame { file: file.clone(), number, slope, intercept })
        })
        .collect()
}

/// Compares the length of native pixel data with what the header promises.
fn wrong_length(format: &PixelFormat, walked: &Walked, warnings: &mut Vec<Problem>) -> Option<Problem> {
    let file_length = walked.file_length;
    let length = walked.layout.pixel_data?.length? as u128;
    let expected = format.stored_bytes();
    let named = format!(
        "PixelData (7FE0,0010) has {length} bytes where Rows {}, Columns {}, BitsAllocated {} and NumberOfFrames {} \
         need {expected}",
        format.rows, format.columns, format.bits_allocated, format.frames
    );
    if length < expected {
        return Some(damage("truncated_file", &format!("{named} (file length {file_length})")));
    }
    if length >= 2 * expected {
        return Some(Problem::new(
            "pixel_data_length",
            named,
            "compare NumberOfFrames and BitsAllocated with the scanner",
        ));
    }
    if length > expected + expected % 2 {
        warnings.push(Problem::new("extra_pixel_data", named, "the first bytes are used; compare with the scanner"));
    }
    None
}

fn planes(object: &DataSet, format: &PixelFormat) -> Result<Vec<ImagePlane>, Trouble> {
    let frames = format.frames;
    let per_frame = object.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
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
    let shared = object.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    let shared = shared.first();
    let size = format!("Rows {} Columns {}", format.rows, format.columns);
    let plane = |number| Reader { object, shared, frame: per_frame.get(number) }.plane(number, &size);
    (0..frames).map(|number| plane(number).map_err(Trouble::Damage)).collect()
}

/// Returns whether attributes of this kind can be used in selection rules: text and numbers, never person names.
pub(crate) fn is_selectable(vr: VR) -> bool {
    !matches!(
        vr,
        VR::PN | VR::SQ | VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN | VR::UT | VR::LT | VR::AT
    )
}

/// Returns a whole number; none when the attribute is absent or empty.
fn number(object: &DataSet, tag: Tag) -> Result<Option<u32>, Trouble> {
    if let Some([value]) = object.numbers(tag).as_deref()
        && value.fract() == 0.0
        && (0.0..=f64::from(u32::MAX)).contains(value)
    {
        return Ok(Some(*value as u32));
    }
    let Some(written) = object.text(tag) else { return Ok(None) };
    Err(Trouble::Damage(Problem::new(
        "not_a_number",
        format!("{} is `{written}`, where one whole number should be", name(tag)),
        "export the file again",
    )))
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
