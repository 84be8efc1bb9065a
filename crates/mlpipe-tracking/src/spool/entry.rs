//! The lines of a spool and of what is noted beside it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Record, RunId};

/// Value of `format` in the first line of a spool.
pub const SPOOL_FORMAT: &str = "mlpipe.spool/1";

/// One line of a spool.
///
/// In JSON: `{"entry": "record", "record": {"record": "update_run", ...}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// Where everything goes: the first line.
    Began {
        /// [`SPOOL_FORMAT`].
        format: String,
        /// The run of the pipeline.
        run_id: RunId,
        /// The address of the server, without credentials.
        uri: String,
        /// The name of the experiment, which the server has or gets.
        experiment: String,
    },
    /// Something that happened to a run.
    Record {
        /// What.
        record: Record,
    },
    /// A run has artifacts.
    Artifacts {
        /// The run.
        run_id: RunId,
        /// Where they lie, below the state directory.
        directory: PathBuf,
        /// Files and folders below `directory` that are sent.
        paths: Vec<String>,
    },
}

/// One line of what is noted about a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ack", rename_all = "snake_case")]
pub(super) enum Ack {
    /// A run is about to be made: whoever reads this and no `created` must look whether it was.
    Creating { run_id: RunId },
    /// A run was made.
    Created {
        run_id: RunId,
        #[serde(flatten)]
        remote: RemoteHandle,
    },
    /// Everything before this byte of the spool is delivered, but for artifacts.
    Delivered { bytes: u64, lines: usize },
    /// The artifacts of the line that begins at this byte are delivered.
    Uploaded { at: u64 },
}

/// A run on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RemoteHandle {
    /// Its id there.
    pub(super) remote: String,
    /// Where its artifacts lie.
    pub(super) artifact_uri: String,
    /// The run there that has its artifacts, where that is another one: the one that did the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) holder: Option<String>,
}

impl RemoteHandle {
    /// Returns the run of which `runs:/` URIs are true.
    pub(super) fn holder(&self) -> &str {
        self.holder.as_deref().unwrap_or(&self.remote)
    }
}
