//! `mlpipe phantom`: writes a synthetic study.

use std::path::PathBuf;

use mlpipe_steps::phantom::{PhantomOptions, write_phantom};

use crate::failure::{Exit, Failure, Outcome};
use crate::text;

/// Arguments of `mlpipe phantom`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Anatomy, contrast and nodes vary with the seed; the same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Folder to write into
    #[arg(short, long)]
    output: PathBuf,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let options = PhantomOptions { seed: arguments.seed, output: arguments.output.clone() };
    let summary = write_phantom(&options).map_err(|error| Failure::new(Exit::StoreUnavailable, error))?;
    if arguments.json {
        text::json(&summary);
    } else {
        text::line(&summary.study.display().to_string());
        text::line(&summary.truth_vertebrae.display().to_string());
        text::line(&summary.truth_schmorl.display().to_string());
    }
    Ok(Exit::Ok)
}
