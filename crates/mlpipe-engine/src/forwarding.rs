//! Tracked runs on their way to a tracking server, beside the local store: the run that is under way, and what earlier ones left.
//!
//! How they are delivered is decided by `mlpipe_tracking::spool`; here is decided what is sent, when a run that ends stops
//! waiting, and which variables tell a step of its run there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use mlpipe_tracking::rest::{Client, TrackingUri};
use mlpipe_tracking::spool::{Delivered, Entry, Forwarder, deliver, waiting};
use mlpipe_tracking::{Record, RunId};
use serde::Serialize;

use crate::document::RunOutcome;
use crate::error::{Error, Result};
use crate::recover::put_in_order;
use crate::workspace::Workspace;

/// Variables that tell MLflow in a step where to log.
pub(crate) const TRACKING_VARIABLES: [&str; 3] = ["MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"];
/// How long a run that has ended waits for a server that answers: after that the rest is left for later.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a run that was interrupted.
const PATIENCE_WHEN_KILLED: Duration = Duration::from_secs(2);

/// What became of the runs that were to be sent to a tracking server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrackingDocument {
    /// The server.
    pub uri: String,
    /// Records that wait to be delivered, of this run and of earlier ones.
    pub waiting: usize,
    /// Why they do.
    pub reason: Option<String>,
}

/// Sends the runs of one pipeline run, and in the background those that earlier ones left.
#[derive(Debug)]
pub(crate) struct Forwarding {
    forwarder: Arc<Forwarder>,
    leftovers: Receiver<()>,
    spool: PathBuf,
}

/// How a step's process learns of its run on the server.
#[derive(Debug, Clone)]
pub(crate) struct RemoteRun {
    forwarder: Arc<Forwarder>,
    run_id: RunId,
}

impl Forwarding {
    pub(crate) fn start(workspace: &Workspace, run_id: &RunId, experiment: &str, client: &Client) -> Result<Self> {
        let spool = workspace.spool_directory();
        let forwarder = Arc::new(Forwarder::start(&spool, run_id, experiment, client)?);
        let (done, leftovers) = mpsc::channel();
        let (store, directory, client) = (workspace.store()?, spool.clone(), client.clone());
        let send = move || {
            // An error is told by the forwarder of this run, which asks the same server; what is left waits.
            let _ = deliver_to(&directory, &client, &store);
            let _ = done.send(());
        };
        // Without the thread, what is left waits for the next run.
        let _ = std::thread::Builder::new().name("mlpipe-leftover".into()).spawn(send);
        Ok(Self { forwarder, leftovers, spool })
    }

    pub(crate) fn record(&self, record: &Record) -> Result<()> {
        Ok(self.forwarder.record(record)?)
    }

    /// Sends files of a run; `directory` is below the state directory.
    pub(crate) fn artifacts(&self, run_id: &RunId, directory: PathBuf, paths: Vec<String>) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        Ok(self.forwarder.append(&Entry::Artifacts { run_id: run_id.clone(), directory, paths })?)
    }

    pub(crate) fn remote_run(&self, run_id: &RunId) -> RemoteRun {
        RemoteRun { forwarder: self.forwarder.clone(), run_id: run_id.clone() }
    }

    /// Waits for what can be delivered, and says what is left.
    pub(crate) fn finish(&self, outcome: RunOutcome) -> TrackingDocument {
        let patience = if outcome == RunOutcome::Killed { PATIENCE_WHEN_KILLED } else { PATIENCE };
        let own = self.forwarder.finish(patience);
        // A server that is away for this run is away for the others.
        let rest = if own.reason.is_some() { Duration::ZERO } else { patience };
        if let Err(RecvTimeoutError::Timeout) = self.leftovers.recv_timeout(rest) {
            tracing::debug!("runs of earlier pipeline runs are still on their way to the tracking server");
        }
        let uri = self.forwarder.client().uri().to_string();
        let all = waiting(&self.spool).unwrap_or_default();
        let left: usize = all.iter().filter(|spool| spool.uri == uri).map(|spool| spool.lines).sum();
        TrackingDocument { uri, waiting: left, reason: own.reason }
    }
}

impl RemoteRun {
    /// Returns the variables with which MLflow in a step logs to the step's own run on the server; none when the server does
    /// not have it in time.
    pub(crate) fn variables(&self) -> Option<[(&'static str, String); 3]> {
        let run = self.forwarder.remote_id(&self.run_id)?;
        let values = [self.forwarder.client().uri().with_credentials(), run.run_id, run.experiment_id];
        let mut values = values.into_iter();
        Some(TRACKING_VARIABLES.map(|name| (name, values.next().unwrap_or_default())))
    }
}

/// Delivers the spools of one server.
fn deliver_to(
    directory: &std::path::Path,
    client: &Client,
    store: &mlpipe_tracking::Store,
) -> mlpipe_tracking::Result<()> {
    for spool in waiting(directory)? {
        if spool.uri == client.uri().as_str() {
            deliver(&spool.path, client, store)?;
        }
    }
    Ok(())
}

/// What became of a spool, for `mlpipe tracking`.
#[derive(Debug, Clone, Serialize)]
pub struct SpoolRow {
    /// The run of the pipeline.
    pub run_id: RunId,
    /// The server.
    pub uri: String,
    /// Records that waited before.
    pub records: usize,
    /// `waiting`, `delivered`, `under way` or `failed`.
    pub status: &'static str,
    /// Why it failed.
    pub error: Option<String>,
}

/// Says what waits to be delivered to tracking servers.
///
/// # Errors
/// When the spools cannot be read.
pub fn waiting_spools(workspace: &Workspace) -> Result<Vec<SpoolRow>> {
    let all = waiting(&workspace.spool_directory())?;
    Ok(all
        .into_iter()
        .map(|spool| SpoolRow {
            run_id: spool.run_id,
            uri: spool.uri,
            records: spool.lines,
            status: "waiting",
            error: None,
        })
        .collect())
}

/// Delivers what waits, each to its server. `client` makes the client for an address.
///
/// # Errors
/// When the state directory or the tracking store cannot be used. A server that is away is told of in its row.
pub fn sync_spools(workspace: &Workspace, client: impl Fn(TrackingUri) -> Client) -> Result<Vec<SpoolRow>> {
    let (_use, store) = put_in_order(workspace)?;
    let mut rows = Vec::new();
    for spool in waiting(&workspace.spool_directory())? {
        let outcome = TrackingUri::parse(&spool.uri).and_then(|uri| deliver(&spool.path, &client(uri), &store));
        let (status, error) = match outcome {
            Ok(Delivered::All) => ("delivered", None),
            Ok(Delivered::Held) => ("under way", None),
            Err(error) => ("failed", Some(crate::error::with_causes(&Error::Tracking(error)))),
        };
        rows.push(SpoolRow { run_id: spool.run_id, uri: spool.uri, records: spool.lines, status, error });
    }
    Ok(rows)
}
