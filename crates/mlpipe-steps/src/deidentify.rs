//! Step `deidentify`: a series in, its files without who the patient is out, as input for another pipeline.
//!
//! The key is a secret and in no fingerprint. So that a result of one key is never taken for that of another, the step is
//! told which key it must be by its id, a parameter: with another key it fails, with another id it is other work.

use std::path::PathBuf;

use mlpipe_dicom::{DeidDocument, DeidKey, DeidOptions, DeidOutput, SeriesManifest, deidentify, deidentify_series};

use crate::extract::is_manifest;
use crate::{Error, Result, Summary};

/// What `deidentify` needs.
#[derive(Debug, Clone)]
pub struct Args {
    /// A series manifest (`mlpipe.series/1`), a DICOM file, or a folder.
    pub series: PathBuf,
    /// The secret.
    pub key: DeidKey,
    /// Which key it must be ([`DeidKey::id`]).
    pub key_id: String,
    /// What becomes of dates and of pixels that may show a name.
    pub options: DeidOptions,
    /// Receives `images/STUDY/SERIES/INSTANCE.dcm`, `deid-audit.ndjson` and `metrics.json`.
    pub output_dir: PathBuf,
}

/// Runs the step.
///
/// # Errors
/// When the key is another one, a file of the series must not be written, or an output cannot be written.
pub fn run(args: &Args) -> Result<Summary> {
    check_key(args)?;
    let output = DeidOutput::beside_images(&args.output_dir);
    let document = if is_manifest(&args.series) {
        deidentify_series(&SeriesManifest::load(&args.series)?, &output, &args.key, &args.options)?
    } else {
        deidentify(std::slice::from_ref(&args.series), &output, &args.key, &args.options)?
    };
    check_complete(args, &document)?;
    let mut summary = Summary { outputs: vec![output.folder, output.audit], ..Summary::default() };
    for (flag, files) in &document.flags {
        summary.notes.push(format!("{files} files: {}", flag.description()));
    }
    let counts = document.counts;
    for (name, count) in [
        ("files", document.written),
        ("elements_removed", counts.removed),
        ("elements_emptied", counts.emptied),
        ("elements_replaced", counts.replaced),
        ("uids_replaced", counts.uids),
        ("dates_moved", counts.dates),
    ] {
        summary.metric(name, count as f64);
    }
    summary.write_metrics(&args.output_dir)?;
    Ok(summary)
}

fn check_key(args: &Args) -> Result<()> {
    if args.key.id() == args.key_id {
        return Ok(());
    }
    let message = "the key that was given has another id; `mlpipe dicom deid --key-id` prints it";
    Err(Error::Parameter { name: "key_id", value: format!("`{}`", args.key_id), message })
}

/// A series with files missing must not pass for the whole.
fn check_complete(args: &Args, document: &DeidDocument) -> Result<()> {
    match document.refused.first() {
        Some(first) => {
            let count = document.refused.len();
            let message =
                format!("{count} of its files must not be written; the first: {} [{}]", first.message, first.code);
            Err(Error::unsuitable(&args.series, message))
        }
        None if document.written == 0 => Err(Error::unsuitable(&args.series, "it holds no DICOM files")),
        None => Ok(()),
    }
}
