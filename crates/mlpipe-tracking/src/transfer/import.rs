//! From a tracking server to a store.
//!
//! A run keeps the id that it has on the server, or the one that it had in the store that it was once sent from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Copied, Progress, leave_out, state_of};
use crate::rest::{Client, ModelVersion, RegisteredModel, RemoteExperiment, RemoteRun};
use crate::{
    DatasetInput, Error, Metric, NewModelVersion, Record, Result, RunId, RunStatus, Search, Stage, Store, tags,
};

/// What the tag of a run says that is being copied.
const BEGUN: &str = "begun";

/// Copies the experiments of a server, or one, to a store, and the registered models whose runs are copied. Artifacts are
/// put below `artifact_root`.
///
/// # Errors
/// When the store or the server cannot be used, or there is no such experiment.
pub fn import(
    store: &Store,
    client: &Client,
    artifact_root: &Path,
    experiment: Option<&str>,
    progress: Progress<'_>,
) -> Result<Copied> {
    let mut import = Import { store, client, artifact_root, copied: Copied::default(), runs: HashMap::new(), progress };
    let mut experiments = client.experiments()?;
    experiments.retain(|found| experiment.is_none_or(|name| name == found.name));
    if let (Some(name), true) = (experiment, experiments.is_empty()) {
        return Err(Error::ExperimentNotFound { experiment: name.to_owned() });
    }
    for found in experiments {
        import.experiment(&found)?;
    }
    for model in client.registered_models("")? {
        import.model(&model)?;
    }
    Ok(import.copied)
}

struct Import<'a> {
    store: &'a Store,
    client: &'a Client,
    artifact_root: &'a Path,
    copied: Copied,
    /// The runs of the server by their id there: their id here, where their artifacts are here, and where there.
    runs: HashMap<String, (RunId, PathBuf, String)>,
    progress: Progress<'a>,
}

impl Import<'_> {
    fn experiment(&mut self, experiment: &RemoteExperiment) -> Result<()> {
        let root = self.artifact_root.display().to_string();
        let here = self.store.ensure_experiment(&experiment.name, &root)?.experiment_id;
        self.copied.experiments += 1;
        let runs = self.client.search_runs(std::slice::from_ref(&experiment.experiment_id), "", &[], false, 0)?;
        for run in &runs {
            if let Some(run_id) = local_id(run) {
                let place = self.artifact_root.join(&here).join(run_id.as_str()).join("artifacts");
                self.runs.insert(run.info.run_id.clone(), (run_id, place, run.info.artifact_uri.clone()));
            }
        }
        for run in &runs {
            if let Err(error) = self.run(run, &here) {
                leave_out(&format!("run {}", run.info.run_id), error, &mut self.copied)?;
            }
            (self.progress)(&self.copied);
        }
        Ok(())
    }

    fn run(&mut self, run: &RemoteRun, experiment_id: &str) -> Result<()> {
        let known = self.runs.get(&run.info.run_id).cloned();
        let (run_id, place, _) = known.ok_or_else(|| Error::InvalidRunId { text: run.info.run_id.clone() })?;
        let status: RunStatus = run.info.status.parse()?;
        let end_time_ms = (run.info.end_time != 0).then_some(run.info.end_time);
        let state = state_of(status, end_time_ms);
        if let Some(here) = self.store.run(&run_id)? {
            // One without the tag is our own: it was sent to the server from here.
            if here.tags.get(tags::IMPORTED).is_none_or(|tag| *tag == state) {
                self.copied.runs_there += 1;
                return Ok(());
            }
        }
        let create = Record::CreateRun {
            run_id: run_id.clone(),
            experiment_id: experiment_id.to_owned(),
            name: run.info.run_name.clone(),
            start_time_ms: run.info.start_time,
            end_time_ms: None,
            status: RunStatus::Running,
            artifact_uri: place.display().to_string(),
            tags: self.tags_of(run, BEGUN),
            params: run.data.params.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect(),
        };
        self.store.apply(&[create, Record::Metrics { run_id: run_id.clone(), metrics: self.histories(run)? }])?;
        self.inputs(run, &run_id)?;
        match self.client.download_folder(&run.info.artifact_uri, &place) {
            Ok(files) => self.copied.files += files,
            Err(error @ Error::NotProxied { .. }) => tracing::warn!("artifacts of run {run_id} are left out: {error}"),
            Err(Error::RefusedByServer { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        // Last, so that a copy that was cut off goes on.
        self.store.apply(&[
            Record::Tags { run_id: run_id.clone(), tags: vec![(tags::IMPORTED.to_owned(), state)] },
            Record::UpdateRun { run_id, status, end_time_ms },
        ])?;
        self.copied.runs += 1;
        Ok(())
    }

    /// Tags, with our ids of other runs.
    fn tags_of(&self, run: &RemoteRun, state: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for pair in &run.data.tags {
            let is_ours = [tags::LOCAL_RUN_ID, tags::EXPORTED, tags::IMPORTED].contains(&pair.key.as_str());
            let names_a_run = [tags::PARENT_RUN_ID, tags::CACHED_FROM].contains(&pair.key.as_str());
            let known = self.runs.get(&pair.value).filter(|_| names_a_run).map(|(run_id, _, _)| run_id.to_string());
            if !is_ours {
                all.push((pair.key.clone(), known.unwrap_or_else(|| pair.value.clone())));
            }
        }
        all.push((tags::IMPORTED.to_owned(), state.to_owned()));
        all
    }

    fn histories(&self, run: &RemoteRun) -> Result<Vec<Metric>> {
        let mut all = Vec::new();
        for metric in &run.data.metrics {
            let history = self.client.metric_history(&run.info.run_id, &metric.key)?;
            all.extend(history.into_iter().map(Metric::from));
        }
        Ok(all)
    }

    fn inputs(&self, run: &RemoteRun, run_id: &RunId) -> Result<()> {
        let inputs: Vec<DatasetInput> = run.inputs.dataset_inputs.iter().cloned().map(DatasetInput::from).collect();
        if inputs.is_empty() { Ok(()) } else { self.store.log_inputs(run_id.as_str(), &inputs, &[]) }
    }

    fn model(&mut self, model: &RegisteredModel) -> Result<()> {
        let versions = self.client.model_versions(&model.name)?;
        if !versions.is_empty() && !versions.iter().any(|version| self.runs.contains_key(&version.run_id)) {
            return Ok(());
        }
        let pairs: Vec<(String, String)> =
            model.tags.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
        let description = Some(model.description.as_str()).filter(|text| !text.is_empty());
        match self.store.registered_model(&model.name) {
            Ok(_) => {}
            Err(error) if error.is_store_unavailable() => return Err(error),
            Err(_) => drop(self.store.create_registered_model(&model.name, description, &pairs)?),
        }
        let filter = format!("name = '{}'", model.name.replace('\'', "''"));
        let here = self.store.search_model_versions(&Search { filter, ..Search::default() })?.items;
        let there: HashMap<String, i64> = here
            .into_iter()
            .filter_map(|version| Some((version.tags.get(tags::ORIGIN_VERSION)?.clone(), version.version)))
            .collect();
        for version in &versions {
            if let Err(error) = self.version(model, version, there.get(&version.version).copied()) {
                let what = format!("version {} of model `{}`", version.version, model.name);
                leave_out(&what, error, &mut self.copied)?;
            }
        }
        Ok(())
    }

    fn version(&mut self, model: &RegisteredModel, version: &ModelVersion, there: Option<i64>) -> Result<()> {
        let own = version.tags.iter().find(|tag| tag.key == tags::ORIGIN_VERSION);
        let number = match there {
            Some(number) => number,
            // It was sent to the server from here, and is still here.
            None if own.is_some_and(|own| self.store.model_version(&model.name, &own.value).is_ok()) => return Ok(()),
            None => {
                let (run_id, source) = self.source(version)?;
                let mut pairs: Vec<(String, String)> =
                    version.tags.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
                pairs.retain(|(key, _)| key != tags::ORIGIN_VERSION);
                pairs.push((tags::ORIGIN_VERSION.to_owned(), version.version.clone()));
                let made = self.store.create_model_version(&NewModelVersion {
                    name: model.name.clone(),
                    source,
                    run_id: Some(run_id.to_string()),
                    description: Some(version.description.clone()).filter(|text| !text.is_empty()),
                    tags: pairs,
                    ..NewModelVersion::default()
                })?;
                self.copied.model_versions += 1;
                made.version
            }
        };
        let number = number.to_string();
        for alias in model.aliases.iter().filter(|alias| alias.version == version.version) {
            self.store.set_registered_model_alias(&model.name, &alias.alias, &number)?;
        }
        match version.current_stage.parse::<Stage>() {
            Ok(stage) if stage != Stage::None => {
                self.store.transition_model_version_stage(&model.name, &number, stage, false).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The run of a version here, and where its files lie. Files that lie elsewhere on the server are fetched into the run.
    fn source(&mut self, version: &ModelVersion) -> Result<(RunId, String)> {
        let known = self.runs.get(&version.run_id).cloned();
        let (run_id, place, remote) = known.ok_or_else(|| Error::InvalidAnswer {
            url: version.source.clone(),
            reason: "the run that made it was not copied".to_owned(),
        })?;
        let location = self.client.download_uri(&version.name, &version.version)?;
        if let Some(path) = location.strip_prefix(&remote) {
            return Ok((run_id, format!("{}{path}", place.display())));
        }
        let folder = place.join("registered").join(&version.name).join(&version.version);
        self.copied.files += self.client.download_folder(&location, &folder)?;
        Ok((run_id, folder.display().to_string()))
    }
}

/// The id that a run of a server has, or gets, here; none where it cannot have it.
fn local_id(run: &RemoteRun) -> Option<RunId> {
    let sent_from_here = run.tag(tags::LOCAL_RUN_ID).and_then(|id| id.parse().ok());
    sent_from_here.or_else(|| run.info.run_id.parse().ok())
}
