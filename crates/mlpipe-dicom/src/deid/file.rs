//! One file: its bytes in, the bytes of the de-identified file out, or the reason why there are none. Pure: reads and
//! writes nothing.

use std::io::Write;

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::profile::{Circumstances, EDITION};
use super::rewrite::{Addition, Counts, Rules, is_of_the_standard, new_uid, rewrite, write_element};
use super::risk::{Flag, check_class, flags, is_plain_image};
use super::{BurnedIn, Dates, DeidKey, DeidOptions};
use crate::data_set::DataSet;
use crate::element::{
    DEFLATED_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, Encoding, IMPLICIT_LITTLE_ENDIAN, Layout, Stop, walk,
};
use crate::{Problem, bytes};

/// Implementation class of files written here, the same for all versions.
const IMPLEMENTATION_CLASS_UID: &str = "2.25.173270925203586246061377826839026401457";
const IMPLEMENTATION_VERSION_NAME: &str = "MLPIPE_DEID_1";

/// A file without what identifies.
#[derive(Debug)]
pub(super) struct Deidentified {
    pub(super) bytes: Vec<u8>,
    pub(super) study_instance_uid: String,
    pub(super) series_instance_uid: String,
    pub(super) sop_instance_uid: String,
    pub(super) counts: Counts,
    pub(super) flags: Vec<Flag>,
}

/// Why there is no de-identified file. No text in it comes from the file.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) problem: Problem,
    pub(super) flags: Vec<Flag>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Refusal { problem, flags: Vec::new() }
    }
}

/// Returns the de-identified file; none for what is no DICOM file, or is a DICOMDIR.
pub(super) fn deidentify(file: Vec<u8>, key: &DeidKey, options: &DeidOptions) -> Result<Option<Deidentified>, Refusal> {
    let Some((bytes, layout)) = walked(file, options.limits.memory)? else { return Ok(None) };
    let header = DataSet::of(&bytes, &layout);
    // Directories have no SOP class in their data set (PS3.3 F.3.2.2).
    if header.element(tags::DIRECTORY_RECORD_SEQUENCE).is_some() {
        return Ok(None);
    }
    let class = one_uid(&header, tags::SOP_CLASS_UID, "SOPClassUID (0008,0016)")?;
    check_class(&class)?;
    let mut found = flags(&header, &class);
    let identity = Identity::of(&header, key)?;
    let encoding = Encoding::of(&layout.transfer_syntax);
    let rules = rules(&header, &class, key, options)?;
    let additions = additions(encoding, options.dates, &rules.pseudonym);
    let rewritten =
        rewrite(&bytes, layout.data_set, encoding, &rules, &additions).map_err(|damage| at_byte(damage.at))?;
    found.extend(rewritten.overlay_in_pixels.then_some(Flag::OverlayInPixelData));
    found.extend(rewritten.trailing_bytes.then_some(Flag::TrailingBytes));
    found.sort_unstable();
    refuse_burned_in(&found, options.burned_in)?;
    let mut out = file_meta(&class, &identity.sop_instance, &layout.transfer_syntax);
    append(&mut out, &rewritten.bytes, &layout.transfer_syntax);
    Ok(Some(Deidentified {
        bytes: out,
        study_instance_uid: identity.study,
        series_instance_uid: identity.series,
        sop_instance_uid: identity.sop_instance,
        counts: rewritten.counts,
        flags: found,
    }))
}

/// Returns the bytes, inflated where the transfer syntax deflates them, and where things lie in them.
fn walked(file: Vec<u8>, memory: u64) -> Result<Option<(Vec<u8>, Layout)>, Problem> {
    let length = file.len() as u64;
    let (bytes, layout) = match walk(&file, length) {
        Ok(layout) if layout.transfer_syntax == DEFLATED_LITTLE_ENDIAN => bytes::inflated(file, layout, memory),
        walked => (file, walked),
    };
    match layout {
        Ok(layout) if is_known(&layout.transfer_syntax) => Ok(Some((bytes, layout))),
        Ok(_) => Err(Problem::new(
            "unknown_transfer_syntax",
            "TransferSyntaxUID (0002,0010) is not one of the DICOM standard",
            "convert the file to a standard transfer syntax",
        )),
        Err(Stop::NotDicom) => Ok(None),
        Err(Stop::NeedMore) => Err(at_byte(bytes.len())),
        // The message of the walk names tags; in a damaged file they can be pieces of text.
        Err(Stop::Damaged { so_far, .. }) => Err(at_byte(so_far.header_end)),
    }
}

/// Transfer syntaxes of the standard all begin with that of implicit little endian (PS3.6 Annex A).
fn is_known(transfer_syntax: &str) -> bool {
    let rest = transfer_syntax.strip_prefix(IMPLICIT_LITTLE_ENDIAN);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) && is_of_the_standard(transfer_syntax)
}

fn at_byte(at: usize) -> Problem {
    Problem::new(
        "damaged_file",
        format!("its elements make no sense from byte {at} on (of the inflated file, where it is deflated)"),
        "get the file again; a part that cannot be read cannot be de-identified",
    )
}

fn one_uid(header: &DataSet<'_>, tag: Tag, name: &str) -> Result<String, Problem> {
    match header.text(tag) {
        Some(uid) if !uid.contains('\\') => Ok(uid),
        _ => Err(Problem::new(
            "missing_uid",
            format!("{name} does not have one value"),
            "repair the file, or leave it out",
        )),
    }
}

/// The new UIDs that become folder and file names.
struct Identity {
    study: String,
    series: String,
    sop_instance: String,
}

impl Identity {
    fn of(header: &DataSet<'_>, key: &DeidKey) -> Result<Self, Problem> {
        let new = |tag, name| one_uid(header, tag, name).map(|old| new_uid(key, &old));
        Ok(Identity {
            study: new(tags::STUDY_INSTANCE_UID, "StudyInstanceUID (0020,000D)")?,
            series: new(tags::SERIES_INSTANCE_UID, "SeriesInstanceUID (0020,000E)")?,
            sop_instance: new(tags::SOP_INSTANCE_UID, "SOPInstanceUID (0008,0018)")?,
        })
    }
}

fn rules<'a>(header: &DataSet<'_>, class: &str, key: &'a DeidKey, options: &DeidOptions) -> Result<Rules<'a>, Problem> {
    // Nobody knows who else has no PatientID: such a patient is this study's own.
    let patient = match header.text(tags::PATIENT_ID) {
        Some(id) => format!("patient\0{id}"),
        None => format!("study\0{}", one_uid(header, tags::STUDY_INSTANCE_UID, "StudyInstanceUID (0020,000D)")?),
    };
    let move_dates = options.dates == Dates::Shift;
    Ok(Rules {
        key,
        circumstances: Circumstances { plain_image: is_plain_image(class), move_dates },
        pseudonym: key.pseudonym(&patient),
        days: key.shift_days(&patient),
    })
}

/// What PS3.15 E.1.1 asks to be said about what was done (C.7.1.1, C.12.1, C.7.6.1), sorted by tag.
fn additions(encoding: Encoding, dates: Dates, pseudonym: &str) -> Vec<Addition> {
    let text = |tag, vr, value: &str| Addition { tag, vr, value: value.as_bytes().to_vec() };
    let (method, modified, codes) = match dates {
        Dates::Remove => ("dates removed", "REMOVED", &METHODS[..1]),
        Dates::Shift => ("dates shifted", "MODIFIED", &METHODS[..]),
    };
    let method = format!("mlpipe.deid/1\\PS3.15 {EDITION} Basic Profile, {method}");
    let codes: Vec<u8> = codes.iter().flat_map(|code| code_item(encoding, code)).collect();
    vec![
        text(tags::PATIENT_NAME, VR::PN, pseudonym),
        text(tags::PATIENT_ID, VR::LO, pseudonym),
        text(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES"),
        text(tags::DEIDENTIFICATION_METHOD, VR::LO, &method),
        Addition { tag: tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, vr: VR::SQ, value: codes },
        text(tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, VR::CS, modified),
    ]
}

/// Code value and meaning (PS3.16 CID 7050).
const METHODS: [(&str, &str); 2] = [
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
];

fn code_item(encoding: Encoding, (value, meaning): &(&str, &str)) -> Vec<u8> {
    let mut elements = Vec::new();
    for (tag, vr, text) in [
        (tags::CODE_VALUE, VR::SH, *value),
        (tags::CODING_SCHEME_DESIGNATOR, VR::SH, "DCM"),
        (tags::CODE_MEANING, VR::LO, *meaning),
    ] {
        let written = encoding.explicit.then(|| vr.to_bytes());
        write_element(&mut elements, encoding, tag, written, vr, text.as_bytes());
    }
    let mut item = Vec::new();
    // The header of an item looks like that of an implicit element.
    write_element(&mut item, Encoding { explicit: false, ..encoding }, Tag(0xFFFE, 0xE000), None, VR::OB, &elements);
    item
}

fn refuse_burned_in(flags: &[Flag], burned_in: BurnedIn) -> Result<(), Refusal> {
    let reasons: Vec<&str> = flags.iter().filter(|flag| flag.is_burned_in()).map(|flag| flag.description()).collect();
    if reasons.is_empty() || burned_in == BurnedIn::Keep {
        return Ok(());
    }
    let code = if flags.contains(&Flag::BurnedInAnnotation) { "burned_in_annotation" } else { "burned_in_risk" };
    let cure = "look at the picture; when it names nobody, give --burned-in keep";
    let problem = Problem::new(code, format!("its pixels may show a name: {}", reasons.join("; ")), cure);
    Err(Refusal { problem, flags: flags.to_vec() })
}

/// Returns preamble, prefix and file meta group (PS3.10 7.1). Nothing of the file's own is kept: preamble, application
/// entities and private information can identify.
pub(super) fn file_meta(class: &str, sop_instance: &str, transfer_syntax: &str) -> Vec<u8> {
    let encoding = Encoding::of(EXPLICIT_LITTLE_ENDIAN);
    let mut group = Vec::new();
    let mut put = |element, vr: VR, value: &[u8]| {
        write_element(&mut group, encoding, Tag(0x0002, element), Some(vr.to_bytes()), vr, value);
    };
    put(0x0001, VR::OB, &[0, 1]);
    put(0x0002, VR::UI, class.as_bytes());
    put(0x0003, VR::UI, sop_instance.as_bytes());
    put(0x0010, VR::UI, transfer_syntax.as_bytes());
    put(0x0012, VR::UI, IMPLEMENTATION_CLASS_UID.as_bytes());
    put(0x0013, VR::SH, IMPLEMENTATION_VERSION_NAME.as_bytes());
    let mut meta = vec![0; 128];
    meta.extend(b"DICM");
    let length = (group.len() as u32).to_le_bytes();
    write_element(&mut meta, encoding, Tag(0x0002, 0x0000), Some(*b"UL"), VR::UL, &length);
    meta.extend(group);
    meta
}

pub(super) fn append(out: &mut Vec<u8>, data_set: &[u8], transfer_syntax: &str) {
    if transfer_syntax != DEFLATED_LITTLE_ENDIAN {
        return out.extend_from_slice(data_set);
    }
    let mut encoder = flate2::write::DeflateEncoder::new(&mut *out, flate2::Compression::default());
    encoder.write_all(data_set).expect("writing into memory does not fail");
    encoder.finish().expect("writing into memory does not fail");
    if !out.len().is_multiple_of(2) {
        out.push(0);
    }
}
