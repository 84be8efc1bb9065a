//! `mlpipe dicom deid`, and the key that the pipeline step `deidentify` takes too.

use std::path::{Path, PathBuf};

use mlpipe_dicom::{BurnedIn, Dates, DeidDocument, DeidKey, DeidOptions, DeidOutput, Limits, deidentify};

use crate::failure::{Exit, Failure, Outcome};
use crate::text;

/// Variable that holds the key itself, as hexadecimal or base64.
const KEY_VARIABLE: &str = "MLPIPE_DEID_KEY";

/// What both commands take.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// File with the key, 32 random bytes or more; without it MLPIPE_DEID_KEY holds the key in hexadecimal or base64
    #[arg(long, value_name = "FILE", env = "MLPIPE_DEID_KEY_FILE")]
    key_file: Option<PathBuf>,

    /// `remove` dates and times, or `shift` them back by 1 to 3650 days, the same for all files of a patient
    #[arg(long, default_value_t)]
    dates: Dates,

    /// Files whose pixels may show a name (declared, secondary captures, ultrasound, screen shots): `refuse` or `keep`
    #[arg(long, default_value_t)]
    burned_in: BurnedIn,

    /// Longest file, also when inflated, such as 4GiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "MLPIPE_MAX_MEMORY")]
    max_memory: Limits,
}

/// Arguments of `mlpipe dicom deid`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files or folders
    #[arg(required_unless_present = "key_id")]
    paths: Vec<PathBuf>,

    /// New folder for STUDY/SERIES/INSTANCE.dcm and deid-audit.ndjson
    #[arg(short, long, value_name = "DIR", required_unless_present = "key_id")]
    output: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,

    /// Name refused files by their paths; often these hold names of patients
    #[arg(long)]
    show_paths: bool,

    /// Print the id of the key, by which pipelines name it, and do nothing
    #[arg(long, conflicts_with_all = ["paths", "output"])]
    key_id: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl Settings {
    pub(crate) fn options(&self) -> DeidOptions {
        DeidOptions { dates: self.dates, burned_in: self.burned_in, show_paths: false, limits: self.max_memory }
    }

    /// Reads the key from the file or the variable; never from the command line, which every user of the machine can see.
    ///
    /// # Errors
    /// When there is none, or it is weak.
    pub(crate) fn key(&self) -> Result<DeidKey, Failure> {
        if let Some(path) = &self.key_file {
            return Ok(DeidKey::read(path)?);
        }
        match std::env::var_os(KEY_VARIABLE) {
            Some(value) => Ok(DeidKey::from_bytes(KEY_VARIABLE, value.as_encoded_bytes())?),
            None => Err(Failure::bad_input("no key: neither --key-file nor MLPIPE_DEID_KEY is given").hint(
                "make one with `(umask 077; head -c 32 /dev/urandom > KEY)`, keep it secret, and give --key-file KEY",
            )),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let key = arguments.settings.key()?;
    let Some(output) = arguments.output.as_deref().filter(|_| !arguments.key_id) else {
        text::line(key.id());
        return Ok(Exit::Ok);
    };
    let options = DeidOptions { show_paths: arguments.show_paths, ..arguments.settings.options() };
    let document = deidentify(&arguments.paths, &DeidOutput::in_folder(output), &key, &options).map_err(failure)?;
    if arguments.json {
        text::json(&document);
    }
    print(&document, output);
    Ok(if document.refused.is_empty() && document.written > 0 { Exit::Ok } else { Exit::BadInput })
}

fn print(document: &DeidDocument, output: &Path) {
    for refused in &document.refused {
        let name = match &refused.path {
            Some(path) => path.display().to_string(),
            None => format!("file {} ({}..)", refused.number, refused.input_digest.get(..12).unwrap_or("unread")),
        };
        text::error_line(&format!("refused {name}: {} [{}]", refused.message, refused.code));
    }
    if !document.refused.is_empty() && document.refused.iter().all(|refused| refused.path.is_none()) {
        text::error_line("hint: --show-paths names refused files by their paths, which may hold names of patients");
    }
    for (flag, files) in &document.flags {
        text::error_line(&format!("flag {}: {files} files", serde_word(flag)));
    }
    let counts = document.counts;
    text::error_line(&format!(
        "{} files written to {}, {} duplicates, {} refused, {} not DICOM; elements: {} removed, {} emptied, {} replaced, \
         {} UIDs, {} dates moved (key {})",
        document.written,
        output.display(),
        document.duplicates,
        document.refused.len(),
        document.other_files,
        counts.removed,
        counts.emptied,
        counts.replaced,
        counts.uids,
        counts.dates,
        document.key_id,
    ));
}

fn serde_word(flag: &mlpipe_dicom::Flag) -> String {
    serde_json::to_value(flag).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn failure(error: mlpipe_dicom::Error) -> Failure {
    match error {
        mlpipe_dicom::Error::Write { .. } => Failure::new(Exit::StoreUnavailable, error),
        error => Failure::bad_input(error),
    }
}
