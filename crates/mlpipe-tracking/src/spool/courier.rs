//! Hands the lines of one spool to the server, and notes what it has.
//!
//! One that is refused for good is told of and left out, so that it does not hold up what follows; a server that is away is an
//! error, after which [`Courier::deliver`] goes on where it was.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::actions::{Action, Actions, Creation};
use super::entry::{Ack, RemoteHandle};
use super::file::{NoteFile, Notes, read};
use crate::files::files_below;
use crate::limits::{cut_param_value, cut_tag_value};
use crate::rest::{Client, NewRun, Pair, RemoteExperiment};
use crate::{Error, Result, RunId, tags};

/// The reference in a param to an artifact of a run.
const RUNS_SCHEME: &str = "runs:/";

/// Hands over one spool.
pub(super) struct Courier {
    client: Client,
    spool: PathBuf,
    experiment_name: String,
    experiment: Option<RemoteExperiment>,
    notes: Notes,
    note_file: NoteFile,
    /// Runs of which more than one may have been made.
    doubtful: HashSet<RunId>,
    /// Runs of other spools on this server, by their id here.
    origins: HashMap<String, Option<String>>,
}

/// Files to be sent to a run.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) at: u64,
    pub(super) run: RemoteHandle,
    pub(super) directory: PathBuf,
    pub(super) paths: Vec<String>,
}

impl Courier {
    /// Takes over a spool where it was left.
    pub(super) fn new(client: Client, spool: &Path, experiment_name: String) -> Result<Self> {
        let notes = Notes::read(spool)?;
        Ok(Self {
            client,
            spool: spool.to_owned(),
            experiment_name,
            experiment: None,
            note_file: NoteFile::open(spool)?,
            doubtful: notes.creating.clone(),
            notes,
            origins: HashMap::new(),
        })
    }

    /// Where the next line begins that is to be delivered.
    pub(super) fn position(&self) -> u64 {
        self.notes.delivered
    }

    pub(super) fn lines(&self) -> usize {
        self.notes.lines
    }

    /// Makes the experiment unless it is known; returns its id.
    pub(super) fn prepare(&mut self) -> Result<String> {
        Ok(self.ensure_experiment()?.experiment_id)
    }

    /// Returns the uploads that were not done when the spool was left.
    pub(super) fn open_uploads(&self) -> Result<Vec<Upload>> {
        let mut uploads = Vec::new();
        let mut position = 0;
        while position < self.notes.delivered {
            let window = read(&self.spool, position, self.notes.delivered)?;
            position = window.end;
            uploads.extend(Actions::of(window.entries).actions.into_iter().filter_map(|action| self.upload(action)));
        }
        Ok(uploads)
    }

    /// Delivers what lies before `end`, or a part of it. `created` hears of each run as soon as it is there; uploads are
    /// returned, for somebody else to do.
    pub(super) fn deliver(&mut self, end: u64, created: impl Fn(&RunId, &RemoteHandle)) -> Result<Vec<Upload>> {
        let window = read(&self.spool, self.notes.delivered, end)?;
        let (bytes, lines) = (window.end, self.notes.lines + window.entries.len());
        let actions = Actions::of(window.entries);
        for creation in actions.creations {
            let run_id = creation.run_id.clone();
            self.create(creation)?;
            if let Some(remote) = self.notes.runs.get(&run_id) {
                created(&run_id, remote);
            }
        }
        let mut uploads = Vec::new();
        for action in actions.actions {
            match action {
                Action::Upload { .. } => uploads.extend(self.upload(action)),
                action => settled(self.act(&action))?,
            }
        }
        self.note(Ack::Delivered { bytes, lines })?;
        Ok(uploads)
    }

    /// Deletes the runs that were made twice, because an answer was lost and its request still under way. Called when all is
    /// delivered.
    pub(super) fn clear_doubts(&mut self) -> Result<()> {
        for run_id in std::mem::take(&mut self.doubtful) {
            let Some(kept) = self.notes.runs.get(&run_id).map(|run| run.remote.clone()) else { continue };
            for run in self.with_local_id(run_id.as_str())? {
                if run.info.run_id != kept && run.info.lifecycle_stage != "deleted" {
                    settled(self.client.delete_run(&run.info.run_id))?;
                }
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        let remote = |run_id: &RunId| self.notes.runs.get(run_id).map(|run| run.remote.clone());
        match action {
            Action::Log { run_id, metrics, params, tags } => {
                let Some(remote) = remote(run_id) else { return Ok(()) };
                let params: Vec<Pair> = params
                    .iter()
                    .map(|(key, value)| {
                        let value = self.translated(value);
                        (key.clone(), cut_param_value(run_id.as_str(), key, &value).to_owned()).into()
                    })
                    .collect();
                let tags = self.tags_for(run_id, tags);
                match self.client.log(&remote, metrics, &params, &tags) {
                    Err(error) if !error.is_server_unavailable() => self.log_singly(&remote, metrics, &params, &tags),
                    other => other,
                }
            }
            Action::Inputs { run_id, inputs } => match remote(run_id) {
                Some(remote) => self.client.log_inputs(&remote, inputs),
                None => Ok(()),
            },
            Action::Update { run_id, status, end_time_ms } => match remote(run_id) {
                Some(remote) => self.client.update_run(&remote, *status, *end_time_ms),
                None => Ok(()),
            },
            Action::Upload { .. } => unreachable!("uploads are handed on"),
        }
    }

    /// Logs one thing at a time, so that one that is refused takes no other along.
    fn log_singly(&self, remote: &str, metrics: &[crate::Metric], params: &[Pair], tags: &[Pair]) -> Result<()> {
        for metric in metrics {
            settled(self.client.log(remote, std::slice::from_ref(metric), &[], &[]))?;
        }
        for param in params {
            settled(self.client.log(remote, &[], std::slice::from_ref(param), &[]))?;
        }
        for tag in tags {
            settled(self.client.log(remote, &[], &[], std::slice::from_ref(tag)))?;
        }
        Ok(())
    }

    fn create(&mut self, creation: Creation) -> Result<()> {
        let run_id = creation.run_id.clone();
        if self.notes.runs.contains_key(&run_id) {
            return Ok(());
        }
        let experiment_id = self.ensure_experiment()?.experiment_id;
        let origin = creation.tags.iter().find(|(key, _)| key == tags::CACHED_FROM).map(|(_, origin)| origin.clone());
        let holder = origin.map(|origin| self.origin(&origin)).transpose()?.flatten();
        if self.notes.creating.contains(&run_id) {
            self.doubtful.insert(run_id.clone());
            if let Some(found) = self.with_local_id(run_id.as_str())?.into_iter().next() {
                return self.adopt(run_id, found.info.run_id, found.info.artifact_uri, holder);
            }
        } else {
            self.note(Ack::Creating { run_id: run_id.clone() })?;
        }
        let new = NewRun {
            experiment_id,
            user: creation.tags.iter().find(|(key, _)| key == tags::USER).map_or_else(String::new, |tag| tag.1.clone()),
            name: creation.name,
            start_time_ms: creation.start_time_ms,
            tags: self.creation_tags(&run_id, &creation.tags, holder.as_deref()),
        };
        match self.client.create_run(&new) {
            Ok(run) => self.adopt(run_id, run.info.run_id, run.info.artifact_uri, holder),
            Err(error) => {
                // Refused for good: there is no such run, and what follows about it is left out.
                settled(Err(error))
            }
        }
    }

    fn adopt(&mut self, run_id: RunId, remote: String, artifact_uri: String, holder: Option<String>) -> Result<()> {
        self.note(Ack::Created { run_id, remote: RemoteHandle { remote, artifact_uri, holder } })
    }

    fn note(&mut self, ack: Ack) -> Result<()> {
        self.note_file.append(&ack)?;
        self.notes.note(ack);
        Ok(())
    }

    fn ensure_experiment(&mut self) -> Result<RemoteExperiment> {
        if self.experiment.is_none() {
            self.experiment = Some(self.client.ensure_experiment(&self.experiment_name, &[])?);
        }
        Ok(self.experiment.clone().expect("set above"))
    }

    /// Tags of a new run: references to runs are those of the server.
    fn creation_tags(&self, run_id: &RunId, given: &[(String, String)], holder: Option<&str>) -> Vec<Pair> {
        let mut pairs = self.tags_for(run_id, given);
        if let (Some(holder), Some(pair)) = (holder, pairs.iter_mut().find(|pair| pair.key == tags::CACHED_FROM)) {
            pair.value = holder.to_owned();
        }
        pairs.push(Pair { key: tags::LOCAL_RUN_ID.to_owned(), value: run_id.to_string() });
        pairs
    }

    fn tags_for(&self, run_id: &RunId, given: &[(String, String)]) -> Vec<Pair> {
        let known = |id: &str| self.notes.runs.get(&id.parse::<RunId>().ok()?);
        let pair = |(key, value): &(String, String)| {
            let value = match key.as_str() {
                // A parent that the server refused leaves its parts without one.
                tags::PARENT_RUN_ID => known(value)?.remote.clone(),
                _ => cut_tag_value(run_id.as_str(), key, value).to_owned(),
            };
            Some(Pair { key: key.clone(), value })
        };
        given.iter().filter_map(pair).collect()
    }

    /// A param with the server's run in place of ours: `runs:/RUN/path`.
    fn translated(&self, value: &str) -> String {
        let translate = || {
            let (run_id, path) = value.strip_prefix(RUNS_SCHEME)?.split_once('/')?;
            let run = self.notes.runs.get(&run_id.parse::<RunId>().ok()?)?;
            Some(format!("{RUNS_SCHEME}{}/{path}", run.holder()))
        };
        translate().unwrap_or_else(|| value.to_owned())
    }

    /// The run on this server that did the work which one of ours reuses; none when it was never sent there.
    fn origin(&mut self, local: &str) -> Result<Option<String>> {
        if let Some(run) = local.parse::<RunId>().ok().and_then(|run_id| self.notes.runs.get(&run_id)) {
            return Ok(Some(run.remote.clone()));
        }
        if let Some(known) = self.origins.get(local) {
            return Ok(known.clone());
        }
        let mut found = self.with_local_id(local)?.into_iter().filter(|run| run.info.lifecycle_stage != "deleted");
        let origin = found.next().map(|run| run.info.run_id);
        self.origins.insert(local.to_owned(), origin.clone());
        Ok(origin)
    }

    fn with_local_id(&mut self, local: &str) -> Result<Vec<crate::rest::RemoteRun>> {
        let experiment_id = self.ensure_experiment()?.experiment_id;
        self.client.runs_with_tag(&experiment_id, tags::LOCAL_RUN_ID, local)
    }

    /// An upload that is still to be done; the outputs of reused work lie with the run that did it.
    fn upload(&self, action: Action) -> Option<Upload> {
        let Action::Upload { at, run_id, directory, paths } = action else { return None };
        let run = self.notes.runs.get(&run_id)?.clone();
        let wanted = run.holder.is_none() && !self.notes.uploaded.contains(&at);
        wanted.then_some(Upload { at, run, directory, paths })
    }
}

/// Lets a server that is away be an error, and tells of what it refuses for good.
pub(super) fn settled(result: Result<()>) -> Result<()> {
    match result {
        Err(error @ (Error::RefusedByServer { .. } | Error::InvalidAnswer { .. } | Error::NotProxied { .. }))
            if !error.is_server_unavailable() =>
        {
            tracing::warn!("not taken by the tracking server, and left out: {error}");
            Ok(())
        }
        other => other,
    }
}

/// Sends the files of an upload.
pub(super) fn send_files(client: &Client, root: &Path, upload: &Upload) -> Result<()> {
    for path in &upload.paths {
        let start = root.join(&upload.directory).join(path);
        let files = files_below(&start, path.trim_end_matches('/'))?;
        if files.is_empty() && !start.exists() {
            tracing::warn!(path = %start.display(), "an artifact was removed before it was sent to the tracking server");
        }
        for (name, file) in files {
            settled(client.upload(&upload.run.artifact_uri, &name, &file))?;
        }
    }
    Ok(())
}

/// Notes that the artifacts of a line are on the server.
pub(super) fn note_upload(notes: &Mutex<NoteFile>, at: u64) -> Result<()> {
    notes.lock().expect("no thread panics while it holds this").append(&Ack::Uploaded { at })
}
