//! From a store to a tracking server.

use std::collections::HashMap;
use std::path::Path;

use super::{Copied, Progress, experiments_of, leave_out, runs_of, state_of};
use crate::files::files_below;
use crate::rest::{Client, DatasetInput, FileInfo, NewRun, Pair, RemoteExperiment, RemoteRun};
use crate::{Error, Metric, ModelVersion, RegisteredModel, Result, Run, Search, Store, tags};

/// Copies the experiments of a store, or one, to a server, and with all of them the registered models.
///
/// # Errors
/// When the store or the server cannot be used, or there is no such experiment.
pub fn export(store: &Store, client: &Client, experiment: Option<&str>, progress: Progress<'_>) -> Result<Copied> {
    let mut export = Export { store, client, copied: Copied::default(), runs: HashMap::new(), progress };
    for found in experiments_of(store, experiment)? {
        let pairs: Vec<Pair> = found.tags.into_iter().map(Pair::from).collect();
        let remote = client.ensure_experiment(&found.name, &pairs)?;
        export.copied.experiments += 1;
        export.experiment(&found.experiment_id, &remote)?;
    }
    export.models()?;
    Ok(export.copied)
}

struct Export<'a> {
    store: &'a Store,
    client: &'a Client,
    copied: Copied,
    /// Runs that are on the server, by their id here.
    runs: HashMap<String, RemoteRun>,
    progress: Progress<'a>,
}

impl Export<'_> {
    fn experiment(&mut self, experiment_id: &str, remote: &RemoteExperiment) -> Result<()> {
        let filter = format!("tags.`{}` IS NOT NULL", tags::LOCAL_RUN_ID);
        let there = self.client.search_runs(std::slice::from_ref(&remote.experiment_id), &filter, &[], true, 0)?;
        let local_id = |run: &RemoteRun| run.tag(tags::LOCAL_RUN_ID).unwrap_or_default().to_owned();
        self.runs.extend(there.into_iter().map(|run| (local_id(&run), run)));
        for run in runs_of(self.store, experiment_id)? {
            if let Err(error) = self.run(&run, remote) {
                leave_out(&format!("run {}", run.run_id), error, &mut self.copied)?;
            }
            (self.progress)(&self.copied);
        }
        Ok(())
    }

    fn run(&mut self, run: &Run, experiment: &RemoteExperiment) -> Result<()> {
        let state = state_of(run.status, run.end_time_ms);
        let there = self.runs.get(run.run_id.as_str());
        if there.and_then(|there| there.tag(tags::EXPORTED)) == Some(state.as_str()) {
            self.copied.runs_there += 1;
            return Ok(());
        }
        let (remote, files_there) = match there.cloned() {
            Some(there) => {
                let files = self.files_of(&there, "")?;
                (there, files)
            }
            None => (self.create(run, experiment)?, Vec::new()),
        };
        let remote_id = &remote.info.run_id;
        let params: Vec<Pair> = run.params.clone().into_iter().map(Pair::from).collect();
        self.client.log(remote_id, &self.histories(run)?, &params, &self.tags_of(run))?;
        self.client.log_inputs(remote_id, &inputs_of(run))?;
        self.send_files(run, &remote, &files_there)?;
        self.client.update_run(remote_id, run.status, run.end_time_ms)?;
        self.client.set_tag(remote_id, tags::EXPORTED, &state)?;
        self.runs.insert(run.run_id.to_string(), remote);
        self.copied.runs += 1;
        Ok(())
    }

    fn create(&self, run: &Run, experiment: &RemoteExperiment) -> Result<RemoteRun> {
        let mut first_tags = self.tags_of(run);
        first_tags.push(Pair { key: tags::LOCAL_RUN_ID.to_owned(), value: run.run_id.to_string() });
        self.client.create_run(&NewRun {
            experiment_id: experiment.experiment_id.clone(),
            name: run.name.clone(),
            user: run.tags.get(tags::USER).cloned().unwrap_or_default(),
            start_time_ms: run.start_time_ms,
            tags: first_tags,
        })
    }

    /// Tags, with the server's ids of other runs.
    fn tags_of(&self, run: &Run) -> Vec<Pair> {
        let pair = |(key, value): (&String, &String)| {
            let names_a_run = key == tags::PARENT_RUN_ID || key == tags::CACHED_FROM;
            let known = self.runs.get(value).filter(|_| names_a_run).map(|run| run.info.run_id.clone());
            Pair { key: key.clone(), value: known.unwrap_or_else(|| value.clone()) }
        };
        run.tags.iter().filter(|(key, _)| *key != tags::IMPORTED).map(pair).collect()
    }

    fn histories(&self, run: &Run) -> Result<Vec<Metric>> {
        let mut all = Vec::new();
        for metric in &run.metrics {
            all.extend(self.store.metric_history(&run.run_id, &metric.key)?);
        }
        Ok(all)
    }

    fn send_files(&mut self, run: &Run, remote: &RemoteRun, there: &[FileInfo]) -> Result<()> {
        let root = run.artifact_uri.strip_prefix("file://").unwrap_or(&run.artifact_uri);
        for (name, file) in files_below(Path::new(root), "")? {
            let size = file.metadata().map_or(-1, |metadata| i64::try_from(metadata.len()).unwrap_or(-1));
            if !there.iter().any(|known| known.path == name && known.file_size == size) {
                self.client.upload(&remote.info.artifact_uri, &name, &file)?;
                self.copied.files += 1;
            }
        }
        Ok(())
    }

    fn files_of(&self, run: &RemoteRun, path: &str) -> Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for file in self.client.list_artifacts(&run.info.run_id, path)? {
            match file.is_dir {
                true => files.extend(self.files_of(run, &file.path)?),
                false => files.push(file),
            }
        }
        Ok(files)
    }

    fn models(&mut self) -> Result<()> {
        let mut search = Search::default();
        loop {
            let page = self.store.search_registered_models(&search)?;
            for model in page.items {
                self.model(&model)?;
            }
            search.page_token = page.next_page_token;
            if search.page_token.is_none() {
                return Ok(());
            }
        }
    }

    fn model(&mut self, model: &RegisteredModel) -> Result<()> {
        let mut search = Search { filter: format!("name = '{}'", model.name.replace('\'', "''")), ..Search::default() };
        let mut versions = Vec::new();
        loop {
            let page = self.store.search_model_versions(&search)?;
            versions.extend(page.items);
            search.page_token = page.next_page_token;
            if search.page_token.is_none() {
                break;
            }
        }
        versions.sort_by_key(|version| version.version);
        let is_wanted = |version: &ModelVersion| self.runs.contains_key(&version.run_id);
        if !versions.is_empty() && !versions.iter().any(is_wanted) {
            // Another experiment is being copied.
            return Ok(());
        }
        let pairs: Vec<Pair> = model.tags.clone().into_iter().map(Pair::from).collect();
        self.client.ensure_registered_model(&model.name, model.description.as_deref().unwrap_or_default(), &pairs)?;
        let there: HashMap<String, String> = self
            .client
            .model_versions(&model.name)?
            .into_iter()
            .filter_map(|version| {
                let origin = version.tags.iter().find(|tag| tag.key == tags::ORIGIN_VERSION)?;
                Some((origin.value.clone(), version.version.clone()))
            })
            .collect();
        for version in &versions {
            if let Err(error) = self.version(model, version, there.get(&version.version.to_string())) {
                let what = format!("version {} of model `{}`", version.version, model.name);
                leave_out(&what, error, &mut self.copied)?;
            }
        }
        Ok(())
    }

    fn version(&mut self, model: &RegisteredModel, version: &ModelVersion, there: Option<&String>) -> Result<()> {
        let number = match there {
            Some(number) => number.clone(),
            None => {
                let (run, source) = self.source(version)?;
                let mut pairs: Vec<Pair> = version.tags.clone().into_iter().map(Pair::from).collect();
                pairs.push(Pair { key: tags::ORIGIN_VERSION.to_owned(), value: version.version.to_string() });
                let description = &version.description;
                let made = self.client.create_model_version(&model.name, &source, Some(&run), description, &pairs)?;
                self.copied.model_versions += 1;
                made.version
            }
        };
        for (alias, _) in model.aliases.iter().filter(|(_, of)| **of == version.version) {
            self.client.set_alias(&model.name, alias, &number)?;
        }
        if version.current_stage != crate::Stage::None {
            self.client.set_stage(&model.name, &number, version.current_stage.as_str())?;
        }
        Ok(())
    }

    /// The run of a version on the server, and where its files lie there.
    fn source(&self, version: &ModelVersion) -> Result<(String, String)> {
        let nowhere = |reason: &str| Error::InvalidAnswer { url: version.source.clone(), reason: reason.to_owned() };
        let remote = self.runs.get(&version.run_id).ok_or_else(|| nowhere("the run that made it was not copied"))?;
        let run = self.store.get_run(&version.run_id)?;
        let path = version.storage_location.strip_prefix(&run.artifact_uri);
        let path = path.ok_or_else(|| nowhere("it does not lie below the artifacts of its run"))?;
        Ok((remote.info.run_id.clone(), format!("{}{path}", remote.info.artifact_uri)))
    }
}

fn inputs_of(run: &Run) -> Vec<DatasetInput> {
    run.inputs_outputs.datasets.iter().map(DatasetInput::from).collect()
}
