//! `mlpipe.deid/1`: what was done to each file, without any of its values, and the document that sums it up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::profile::EDITION;
use super::{BurnedIn, Counts, Dates, DeidKey, DeidOptions, Flag};

pub(super) const FORMAT: &str = "mlpipe.deid/1";

/// A line of `deid-audit.ndjson`: one input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// Always `mlpipe.deid/1`.
    pub format: &'static str,
    /// Keyed digest of the input file, 64 hexadecimal digits: only who has the key can tell which file it was.
    pub input_digest: String,
    /// `written`, `duplicate` (of a file with the same result) or `refused`.
    pub status: &'static str,
    /// New SOPInstanceUID; none when refused.
    pub sop_instance_uid: Option<String>,
    /// Where the result lies in the output folder; none when refused.
    pub path: Option<String>,
    /// Stable code of the refusal.
    pub code: Option<String>,
    /// The profile and its edition.
    pub profile: String,
    /// What became of dates.
    pub dates: Dates,
    /// What becomes of pixels that may show a name.
    pub burned_in: BurnedIn,
    /// Tells keys apart.
    pub key_id: String,
    /// What was done to the elements.
    pub counts: Counts,
    /// What a person should know.
    pub flags: Vec<Flag>,
}

impl AuditLine {
    pub(super) fn new(input_digest: String, key: &DeidKey, options: &DeidOptions) -> Self {
        AuditLine {
            format: FORMAT,
            input_digest,
            status: "refused",
            sop_instance_uid: None,
            path: None,
            code: None,
            profile: format!("PS3.15 {EDITION} Basic Application Level Confidentiality Profile"),
            dates: options.dates,
            burned_in: options.burned_in,
            key_id: key.id().to_owned(),
            counts: Counts::default(),
            flags: Vec::new(),
        }
    }
}

/// An input file that was not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedInput {
    /// Its place in the sorted list of input files, from 1.
    pub number: usize,
    /// Its path, when asked for.
    pub path: Option<PathBuf>,
    /// Its line in the audit.
    pub input_digest: String,
    /// Stable `snake_case` code.
    pub code: String,
    /// What is wrong and the cure.
    pub message: String,
}

/// What a de-identification did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeidDocument {
    /// Always `mlpipe.deid/1`.
    pub format: &'static str,
    /// Tells keys apart.
    pub key_id: String,
    /// What became of dates.
    pub dates: Dates,
    /// What becomes of pixels that may show a name.
    pub burned_in: BurnedIn,
    /// Folder of the de-identified files.
    pub output: PathBuf,
    /// The audit file.
    pub audit: PathBuf,
    /// How many files were written or were there already.
    pub written: usize,
    /// How many of the input files have the same result as another.
    pub duplicates: usize,
    /// Input files that were not written.
    pub refused: Vec<RefusedInput>,
    /// How many input files are not DICOM (or a DICOMDIR).
    pub other_files: usize,
    /// Sums over all files written.
    pub counts: Counts,
    /// How many files have a flag.
    pub flags: BTreeMap<Flag, usize>,
}
