//! Where the state directory lies.

use std::path::PathBuf;

use mlpipe_engine::{STATE_DIRECTORY, Workspace};

use crate::failure::Failure;

/// Name of the machine's settings file; the state directory lies beside it.
const SETTINGS_FILE: &str = "mlpipe.toml";

/// Returns `.mlpipe` beside the nearest `mlpipe.toml` above the working directory, else in the working directory.
pub(crate) fn directory() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir()?;
    let beside = here.ancestors().find(|directory| directory.join(SETTINGS_FILE).is_file());
    Ok(beside.unwrap_or(&here).join(STATE_DIRECTORY))
}

/// Opens the state directory.
pub(crate) fn open() -> Result<Workspace, Failure> {
    Ok(Workspace::open(&directory()?)?)
}
