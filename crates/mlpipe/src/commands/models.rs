//! `mlpipe models`: the model registry.

use std::path::{Path, PathBuf};

use mlpipe_tracking::rest::NewRun;
use mlpipe_tracking::{NewModelVersion, Record, RunId, RunStatus, Search, Stage, Store, tags};
use serde::Serialize;

use crate::commands::artifacts;
use crate::commands::place::{ModelReference, version_in, version_on};
use crate::commands::tracked::Tracked;
use crate::commands::tracking::TrackingArguments;
use crate::failure::{Exit, Failure, Outcome};
use crate::text;

/// The experiment of the runs that hold models which were registered from a folder.
const EXPERIMENT: &str = "models";
/// The folder of such a model in its run.
const FOLDER: &str = "model";

/// Subcommands of `mlpipe models`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List registered models
    List(ListArguments),
    /// Show a model with its versions
    Show(ShowArguments),
    /// Register a version: a folder, or what a run has made
    Register(RegisterArguments),
    /// Make an alias name a version
    Alias(AliasArguments),
    /// Move a version to a stage
    Stage(StageArguments),
    /// Fetch the files of a version
    Download(DownloadArguments),
}

/// Arguments of `mlpipe models list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArguments {
    /// In MLflow's grammar, as in "name LIKE 'vertebra%'"
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,

    #[command(flatten)]
    tracking: TrackingArguments,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe models show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArguments {
    /// The model
    name: String,

    #[command(flatten)]
    tracking: TrackingArguments,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe models register`.
#[derive(Debug, clap::Args)]
pub(crate) struct RegisterArguments {
    /// The model; made when there is none
    name: String,

    /// A folder, which is copied, or runs:/RUN/path
    source: String,

    /// What is special about this version
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,

    /// Make this alias name it
    #[arg(long)]
    alias: Option<String>,

    #[command(flatten)]
    tracking: TrackingArguments,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe models alias`.
#[derive(Debug, clap::Args)]
pub(crate) struct AliasArguments {
    /// The model
    name: String,

    /// The alias
    alias: String,

    /// The version
    #[arg(value_name = "VERSION", required_unless_present = "delete")]
    number: Option<u64>,

    /// Remove the alias
    #[arg(long, conflicts_with = "number")]
    delete: bool,

    #[command(flatten)]
    tracking: TrackingArguments,
}

/// Arguments of `mlpipe models stage`.
#[derive(Debug, clap::Args)]
pub(crate) struct StageArguments {
    /// The model
    name: String,

    /// The version
    #[arg(value_name = "VERSION")]
    number: u64,

    /// None, Staging, Production or Archived
    #[arg(value_parser = |text: &str| text.parse::<Stage>().map_err(|error| error.to_string()))]
    stage: Stage,

    #[command(flatten)]
    tracking: TrackingArguments,
}

/// Arguments of `mlpipe models download`.
#[derive(Debug, clap::Args)]
pub(crate) struct DownloadArguments {
    /// The version: models:/NAME/3, NAME/3, NAME@alias
    model: String,

    /// Where to write it; must not exist
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,

    #[command(flatten)]
    tracking: TrackingArguments,
}

#[derive(Debug, Serialize)]
struct Model {
    name: String,
    description: String,
    aliases: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    versions: Vec<Version>,
}

#[derive(Debug, Serialize)]
struct Version {
    version: String,
    stage: String,
    aliases: Vec<String>,
    description: String,
    source: String,
    run_id: String,
    created_ms: i64,
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::List(arguments) => list(arguments),
        Command::Show(arguments) => show(arguments),
        Command::Register(arguments) => register(arguments),
        Command::Alias(arguments) => alias(arguments),
        Command::Stage(arguments) => stage(arguments),
        Command::Download(arguments) => {
            let reference = ModelReference::parse(&arguments.model)?;
            let tracked = Tracked::open(&arguments.tracking)?;
            let (name, version) = match &tracked {
                Tracked::Local(_, store) => {
                    let version = version_in(store, reference)?;
                    (version.name, version.version.to_string())
                }
                Tracked::Server(client) => {
                    let version = version_on(client, reference)?;
                    (version.name, version.version)
                }
            };
            let count = artifacts::fetch(&tracked, &format!("models:/{name}/{version}"), &arguments.output)?;
            text::line(&format!("{}: version {version} of {name}, {count} files", arguments.output.display()));
            Ok(Exit::Ok)
        }
    }
}

fn list(arguments: &ListArguments) -> Outcome {
    let models = match Tracked::open(&arguments.tracking)? {
        Tracked::Local(_, store) => local_models(&store, &arguments.filter)?,
        Tracked::Server(client) => client.registered_models(&arguments.filter)?.into_iter().map(remote_model).collect(),
    };
    if arguments.json {
        text::json(&serde_json::json!({ "models": models }));
        return Ok(Exit::Ok);
    }
    if models.is_empty() {
        text::error_line("no models; `mlpipe models register NAME FOLDER` makes one");
        return Ok(Exit::Ok);
    }
    let header = ["model", "aliases", "description"].map(str::to_owned).to_vec();
    let row = |model: &Model| {
        let aliases: Vec<String> = model.aliases.iter().map(|(alias, version)| format!("{alias}={version}")).collect();
        vec![model.name.clone(), aliases.join(" "), model.description.clone()]
    };
    text::line(&text::table(&[header].into_iter().chain(models.iter().map(row)).collect::<Vec<_>>()));
    Ok(Exit::Ok)
}

fn show(arguments: &ShowArguments) -> Outcome {
    let model = match Tracked::open(&arguments.tracking)? {
        Tracked::Local(_, store) => {
            let model = local_model(store.registered_model(&arguments.name)?);
            let filter = format!("name = '{}'", arguments.name.replace('\'', "''"));
            let mut versions = Vec::new();
            let mut search = Search { filter, ..Search::default() };
            loop {
                let page = store.search_model_versions(&search)?;
                versions.extend(page.items);
                search.page_token = page.next_page_token;
                if search.page_token.is_none() {
                    break;
                }
            }
            versions.sort_by_key(|version| version.version);
            Model { versions: versions.into_iter().map(local_version).collect(), ..model }
        }
        Tracked::Server(client) => {
            let found = client.registered_model(&arguments.name)?;
            let found = found.ok_or_else(|| Failure::bad_input(format!("there is no model `{}`", arguments.name)))?;
            let versions = client.model_versions(&arguments.name)?;
            let model = remote_model(found);
            let version = |version: mlpipe_tracking::rest::ModelVersion| Version {
                aliases: model
                    .aliases
                    .iter()
                    .filter(|(_, of)| *of == version.version)
                    .map(|(alias, _)| alias.clone())
                    .collect(),
                version: version.version,
                stage: version.current_stage,
                description: version.description,
                source: version.source,
                run_id: version.run_id,
                created_ms: version.creation_timestamp,
            };
            Model { versions: versions.into_iter().map(version).collect(), ..model }
        }
    };
    if arguments.json {
        text::json(&model);
        return Ok(Exit::Ok);
    }
    text::line(&format!("model  {}", model.name));
    if !model.description.is_empty() {
        text::line(&model.description);
    }
    let header = ["version", "stage", "aliases", "registered", "run", "source"].map(str::to_owned).to_vec();
    let row = |version: &Version| {
        vec![
            version.version.clone(),
            version.stage.clone(),
            version.aliases.join(" "),
            text::local_time(version.created_ms),
            text::short_run(&version.run_id).to_owned(),
            version.source.clone(),
        ]
    };
    text::line(&text::table(&[header].into_iter().chain(model.versions.iter().map(row)).collect::<Vec<_>>()));
    Ok(Exit::Ok)
}

fn register(arguments: &RegisterArguments) -> Outcome {
    let tracked = Tracked::open(&arguments.tracking)?;
    let (run_id, source) = match arguments.source.strip_prefix("runs:/") {
        Some(rest) => {
            let (run, path) = rest.split_once('/').unwrap_or((rest, ""));
            let run = tracked.find(run)?;
            (
                run.run_id.to_string(),
                format!("{}/{path}", run.artifact_uri.trim_end_matches('/')).trim_end_matches('/').to_owned(),
            )
        }
        None => hold(&tracked, &arguments.name, Path::new(&arguments.source))?,
    };
    let version = match &tracked {
        Tracked::Local(_, store) => {
            if store.registered_model(&arguments.name).is_err() {
                store.create_registered_model(&arguments.name, None, &[])?;
            }
            let made = store.create_model_version(&NewModelVersion {
                name: arguments.name.clone(),
                source,
                run_id: Some(run_id),
                description: Some(arguments.description.clone()).filter(|text| !text.is_empty()),
                ..NewModelVersion::default()
            })?;
            made.version.to_string()
        }
        Tracked::Server(client) => {
            client.ensure_registered_model(&arguments.name, "", &[])?;
            client.create_model_version(&arguments.name, &source, Some(&run_id), &arguments.description, &[])?.version
        }
    };
    if let Some(alias) = &arguments.alias {
        set_alias(&tracked, &arguments.name, alias, &version)?;
    }
    if arguments.json {
        text::json(&serde_json::json!({ "name": arguments.name, "version": version }));
    } else {
        text::line(&format!("models:/{}/{version}", arguments.name));
    }
    Ok(Exit::Ok)
}

/// Makes a run that holds a copy of a folder; returns its id and where the copy lies.
fn hold(tracked: &Tracked, name: &str, folder: &Path) -> Result<(String, String), Failure> {
    if !folder.exists() {
        return Err(Failure::bad_input(format!("`{}` does not exist", folder.display())));
    }
    let now = chrono::Utc::now().timestamp_millis();
    let run_tags = [(tags::SOURCE_TYPE, "LOCAL"), (tags::SOURCE_NAME, "mlpipe models register")];
    let run_tags = run_tags.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    match tracked {
        Tracked::Local(workspace, store) => {
            let experiment =
                store.ensure_experiment(EXPERIMENT, &workspace.root().join("artifacts").display().to_string())?;
            let run_id = RunId::random();
            let place = workspace.artifact_directory(&experiment.experiment_id, &run_id);
            std::fs::create_dir_all(&place)?;
            artifacts::copy(folder, &place.join(FOLDER))?;
            let create = Record::CreateRun {
                run_id: run_id.clone(),
                experiment_id: experiment.experiment_id,
                name: name.to_owned(),
                start_time_ms: now,
                end_time_ms: Some(now),
                status: RunStatus::Finished,
                artifact_uri: place.display().to_string(),
                tags: run_tags,
                params: Vec::new(),
            };
            store.apply(&[create])?;
            Ok((run_id.to_string(), place.join(FOLDER).display().to_string()))
        }
        Tracked::Server(client) => {
            let experiment = client.ensure_experiment(EXPERIMENT, &[])?;
            let run = client.create_run(&NewRun {
                experiment_id: experiment.experiment_id,
                name: name.to_owned(),
                start_time_ms: now,
                tags: run_tags.into_iter().map(Into::into).collect(),
                ..NewRun::default()
            })?;
            artifacts::upload(client, folder, &run.info.artifact_uri, FOLDER)?;
            client.update_run(&run.info.run_id, RunStatus::Finished, Some(now))?;
            Ok((run.info.run_id, format!("{}/{FOLDER}", run.info.artifact_uri)))
        }
    }
}

fn alias(arguments: &AliasArguments) -> Outcome {
    let tracked = Tracked::open(&arguments.tracking)?;
    match (arguments.number, &tracked) {
        (Some(version), _) => set_alias(&tracked, &arguments.name, &arguments.alias, &version.to_string())?,
        (None, Tracked::Local(_, store)) => store.delete_registered_model_alias(&arguments.name, &arguments.alias)?,
        (None, Tracked::Server(client)) => client.delete_alias(&arguments.name, &arguments.alias)?,
    }
    Ok(Exit::Ok)
}

fn set_alias(tracked: &Tracked, name: &str, alias: &str, version: &str) -> Result<(), Failure> {
    match tracked {
        Tracked::Local(_, store) => store.set_registered_model_alias(name, alias, version)?,
        Tracked::Server(client) => client.set_alias(name, alias, version)?,
    }
    Ok(())
}

fn stage(arguments: &StageArguments) -> Outcome {
    let version = arguments.number.to_string();
    match Tracked::open(&arguments.tracking)? {
        Tracked::Local(_, store) => {
            store.transition_model_version_stage(&arguments.name, &version, arguments.stage, false)?;
        }
        Tracked::Server(client) => drop(client.set_stage(&arguments.name, &version, arguments.stage.as_str())?),
    }
    Ok(Exit::Ok)
}

fn local_models(store: &Store, filter: &str) -> Result<Vec<Model>, Failure> {
    let mut models = Vec::new();
    let mut search = Search { filter: filter.to_owned(), ..Search::default() };
    loop {
        let page = store.search_registered_models(&search)?;
        models.extend(page.items.into_iter().map(local_model));
        search.page_token = page.next_page_token;
        if search.page_token.is_none() {
            return Ok(models);
        }
    }
}

fn local_model(model: mlpipe_tracking::RegisteredModel) -> Model {
    Model {
        name: model.name,
        description: model.description.unwrap_or_default(),
        aliases: model.aliases.into_iter().map(|(alias, version)| (alias, version.to_string())).collect(),
        versions: Vec::new(),
    }
}

fn remote_model(model: mlpipe_tracking::rest::RegisteredModel) -> Model {
    Model {
        name: model.name,
        description: model.description,
        aliases: model.aliases.into_iter().map(|alias| (alias.alias, alias.version)).collect(),
        versions: Vec::new(),
    }
}

fn local_version(version: mlpipe_tracking::ModelVersion) -> Version {
    Version {
        version: version.version.to_string(),
        stage: version.current_stage.as_str().to_owned(),
        aliases: version.aliases,
        description: version.description,
        source: version.source,
        run_id: version.run_id,
        created_ms: version.creation_timestamp_ms,
    }
}
