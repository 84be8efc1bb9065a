//! What a run's results depend on, pinned down so that the run can be done again and what has changed since can be named.
//!
//! Written to every run's directory (`mlpipe.run/1`) and, with the results, to lock files (`mlpipe.lock/1`). Facts about
//! content are digests; parameters that name a place are kept beside them, since where content lies changes no result.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use mlpipe_artifacts::{DigestCache, place_atomically_via};
use mlpipe_spec::{Argument, ParameterKind, Pipeline, Step};
use serde::{Deserialize, Serialize};

use crate::driver::RunRequest;
use crate::error::{Error, Result};
use crate::prepare::{Preparer, literal_paths};
use crate::workspace::Workspace;

const RUN_FORMAT: &str = "mlpipe.run/1";
const RUN_FILE: &str = "pipeline.json";

/// Facts by name.
pub type Facts = BTreeMap<String, String>;

/// Everything that a run's results depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Parameters that were given on the command line.
    pub given: Vec<String>,
    /// Parameters that name a place, relative to the directory of the pipeline file; absolute where the two share nothing.
    pub paths: Facts,
    /// The other parameters.
    pub params: Facts,
    /// Facts about this machine's tools.
    pub environment: Facts,
    /// Digest of each input item, as in `studies[1.2.3]`.
    pub inputs: Facts,
    /// Digest of each file of each project, by path relative to the directory of the pipeline file.
    pub projects: Facts,
    /// Digest of what each step is given by path or URI, as in `detect.model`.
    pub contents: Facts,
    /// What else the pipeline says about a step, as in `detect: threshold`.
    pub steps: Facts,
}

/// One fact that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// `params`, `environment`, `inputs`, `projects`, `contents` or `steps`.
    pub kind: &'static str,
    /// Name of the fact.
    pub name: String,
    /// Its value in the record; none when it is new.
    pub old: Option<String>,
    /// Its value now; none when it is gone.
    pub new: Option<String>,
}

impl Pinned {
    /// Takes down the facts of a run that is asked for. Reads the projects and what parameters name.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn of(request: &RunRequest<'_>) -> Result<Self> {
        Self::with(request, &mut Preparer::new(request, &DigestCache::default()))
    }

    /// The same, with digests that were taken already.
    pub(crate) fn with(request: &RunRequest<'_>, preparer: &mut Preparer<'_>) -> Result<Self> {
        let pipeline = request.pipeline;
        let mut pinned = Self {
            pipeline: pipeline.name.clone(),
            given: pipeline.params.iter().filter(|(_, param)| param.overridden).map(|(name, _)| name.clone()).collect(),
            environment: request.environment.clone(),
            ..Self::default()
        };
        for (name, param) in &pipeline.params {
            let value = param.value.to_string();
            match param.kind {
                ParameterKind::Path | ParameterKind::Uri => {
                    pinned.paths.insert(name.clone(), relative(Path::new(&value), &pipeline.directory))
                }
                _ => pinned.params.insert(name.clone(), value),
            };
        }
        for (name, items) in request.inputs {
            let digests = items.iter().map(|(key, item)| (format!("{name}[{key}]"), item.digest.to_string()));
            pinned.inputs.extend(digests);
        }
        for step in &pipeline.steps {
            pinned.add_step(pipeline, step, preparer)?;
        }
        Ok(pinned)
    }

    fn add_step(&mut self, pipeline: &Pipeline, step: &Step, preparer: &mut Preparer<'_>) -> Result<()> {
        let directory = relative(&step.project.directory, &pipeline.directory);
        for entry in &preparer.project_tree(step)?.entries {
            self.projects.insert(format!("{directory}/{}", entry.path), entry.digest.to_string());
        }
        let fact = |name: &str| format!("{}: {name}", step.name);
        self.steps.insert(fact("entry_point"), step.entry_point.clone());
        if let Some(condition) = &step.condition {
            self.steps.insert(fact("if"), condition.text.clone());
        }
        for (name, value) in &step.env {
            self.steps.insert(fact(&format!("env {name}")), value.clone());
        }
        for argument in &step.arguments {
            let paths = literal_paths(pipeline, step, argument)?;
            if paths.is_empty() {
                self.steps.insert(fact(&argument.name), written(argument));
            }
            for path in paths {
                // Of the values of a sweep each is pinned under its own path.
                let of_value = match argument.value.as_text() {
                    Some(_) => String::new(),
                    None => format!(" {}", relative(&path, &pipeline.directory)),
                };
                let digest = preparer.content_digest(step, argument, path)?;
                self.contents.insert(format!("{}.{}{of_value}", step.name, argument.name), digest.to_string());
            }
        }
        Ok(())
    }

    /// Returns what differs now from what is pinned here.
    pub fn drift(&self, now: &Self) -> Vec<Drift> {
        let kinds = ["params", "environment", "inputs", "projects", "contents", "steps"];
        let pairs = self.facts().into_iter().zip(now.facts());
        kinds.into_iter().zip(pairs).flat_map(|(kind, (old, new))| drift(kind, old, new)).collect()
    }

    fn facts(&self) -> [&Facts; 6] {
        [&self.params, &self.environment, &self.inputs, &self.projects, &self.contents, &self.steps]
    }

    /// Returns the parameters that were given, as they are given again; `directory` is that of the pipeline file.
    pub fn overrides(&self, directory: &Path) -> Vec<(String, String)> {
        let value = |name: &String| {
            let path = || self.paths.get(name).map(|path| directory.join(path).display().to_string());
            Some((name.clone(), self.params.get(name).cloned().or_else(path)?))
        };
        self.given.iter().filter_map(value).collect()
    }
}

impl std::fmt::Display for Drift {
    /// `params threshold: 0.5 -> 0.6`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let change = crate::fingerprint::Change {
            fact: format!("{} {}", self.kind, self.name),
            old: self.old.clone(),
            new: self.new.clone(),
        };
        change.fmt(f)
    }
}

fn drift(kind: &'static str, old: &Facts, new: &Facts) -> Vec<Drift> {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let drift =
        |name: &String| Drift { kind, name: name.clone(), old: old.get(name).cloned(), new: new.get(name).cloned() };
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).map(drift).collect()
}

/// A parameter's value as text; where it depends on the task, how.
fn written(argument: &Argument) -> String {
    match argument.value.as_text() {
        Some(text) => text.to_owned(),
        None => serde_json::to_string(&argument.value).expect("a template has string keys"),
    }
}

/// A path as seen from a directory; as it is when the two share nothing but the root.
fn relative(path: &Path, directory: &Path) -> String {
    let (path, directory) = (tidy(path), tidy(directory));
    let shared = path.components().zip(directory.components()).take_while(|(a, b)| a == b).count();
    if shared <= 1 {
        return path.display().to_string();
    }
    let up = directory.components().skip(shared).map(|_| Component::ParentDir);
    let seen: PathBuf = up.chain(path.components().skip(shared)).collect();
    if seen.as_os_str().is_empty() { ".".into() } else { seen.display().to_string() }
}

/// A path without `.` and `..`.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(tidy.pop()),
            other => tidy.push(other),
        }
    }
    tidy
}

/// What a run was asked to do: `pipeline.json` in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    format: String,
    /// Absolute path of the pipeline file.
    pub path: PathBuf,
    /// Its text.
    pub source: String,
    /// Absolute path and text of the pipelines that its steps name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub included: BTreeMap<PathBuf, String>,
    /// What the results depend on.
    #[serde(flatten)]
    pub pinned: Pinned,
}

impl RunRecord {
    /// Writes what a run that begins was asked to do.
    pub(crate) fn write(
        workspace: &Workspace,
        directory: &Path,
        request: &RunRequest<'_>,
        preparer: &mut Preparer<'_>,
    ) -> Result<()> {
        let record = Self {
            format: RUN_FORMAT.into(),
            path: request.pipeline.path.clone(),
            source: request.pipeline.source.clone(),
            included: request.pipeline.included.clone(),
            pinned: Pinned::with(request, preparer)?,
        };
        let bytes = serde_json::to_vec(&record).expect("a record has string keys");
        Ok(place_atomically_via(&workspace.attempts_directory(), &directory.join(RUN_FILE), &bytes)?)
    }

    /// Reads what a run was asked to do.
    ///
    /// # Errors
    /// [`Error::Record`] when there is no such record or it is of another format.
    pub fn read(workspace: &Workspace, run: &mlpipe_tracking::RunId) -> Result<Self> {
        let path = workspace.run_directory(run).join(RUN_FILE);
        let record: Self = read_record(&path)?;
        check_format(&path, &record.format, RUN_FORMAT)?;
        Ok(record)
    }
}

/// Reads a JSON file of ours.
pub(crate) fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let wrong = |message: String| Error::Record { path: path.to_owned(), message };
    let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}

pub(crate) fn check_format(path: &Path, found: &str, expected: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let message = format!("its format is `{found}`, this mlpipe reads `{expected}`");
    Err(Error::Record { path: path.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_as_seen_from_the_pipeline() {
        for (path, directory, expected) in [
            ("/lab/data/a", "/lab/pipelines", "../data/a"),
            ("/lab/pipelines/../data/a", "/lab/pipelines", "../data/a"),
            ("/lab/pipelines/x", "/lab/pipelines", "x"),
            ("/lab/pipelines", "/lab/pipelines", "."),
            ("/data/a", "/lab/pipelines", "/data/a"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(directory)), expected);
        }
    }

    fn pinned(threshold: &str, studies: &str) -> Pinned {
        let facts = |name: &str, value: &str| Facts::from([(name.to_owned(), value.to_owned())]);
        Pinned {
            given: vec!["threshold".into(), "studies".into()],
            params: facts("threshold", threshold),
            paths: facts("studies", studies),
            ..Pinned::default()
        }
    }

    #[test]
    fn drift_names_old_and_new_value_and_places_do_not_count() {
        let drift = pinned("0.5", "../a").drift(&pinned("0.6", "../b"));
        let lines: Vec<String> = drift.iter().map(Drift::to_string).collect();
        assert_eq!(lines, ["params threshold: 0.5 -> 0.6"]);
    }

    #[test]
    fn given_parameters_are_given_again_with_paths_from_the_pipeline() {
        let overrides = pinned("0.5", "../a").overrides(Path::new("/lab/pipelines"));
        let expected = [("threshold", "0.5"), ("studies", "/lab/pipelines/../a")];
        assert_eq!(overrides, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
