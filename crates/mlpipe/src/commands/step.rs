//! `mlpipe step`: the built-in radiology steps. A pipeline runs the same command lines that a person can try by hand.

use std::path::PathBuf;

use mlpipe_dicom::{Limits, Plane};
use mlpipe_steps::{Code, Error, Runtime, Summary, batch, deidentify, detect, extract, nodes, report, results};

use super::deid;
use crate::failure::{Exit, Failure, Outcome};
use crate::text;

/// Subcommands of `mlpipe step`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Series -> volume in one plane (mlpipe.volume/1)
    ExtractPlane(ExtractArguments),
    /// Sagittal volume -> vertebrae.json (mlpipe.vertebrae/1) and a folder per vertebra
    DetectVertebrae(DetectArguments),
    /// Volume and one vertebra -> findings.json (mlpipe.findings/1)
    FindNodes(NodesArguments),
    /// Volume, vertebrae and findings -> report.html
    Report(ReportArguments),
    /// Series, volume, vertebrae and findings -> DICOM SR, SEG, key images and PDF, report.pdf, fhir.json
    WriteResults(ResultsArguments),
    /// Series -> its files without who the patient is (DICOM PS3.15 Annex E)
    Deidentify(DeidentifyArguments),
}

/// Where a step writes, and how it says so.
#[derive(Debug, clap::Args)]
pub(crate) struct Output {
    /// Folder for the step's outputs
    #[arg(short, long, env = "MLPIPE_OUTPUT_DIR")]
    output_dir: PathBuf,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe step extract-plane`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExtractArguments {
    /// A series manifest (mlpipe.series/1), or a folder with the files of one series
    #[arg(long)]
    series: PathBuf,

    /// sagittal, coronal or axial
    #[arg(long)]
    plane: Plane,

    /// Pixel spacing of the slices
    #[arg(long, default_value_t = 1.0)]
    spacing_mm: f64,

    /// Most memory the volume may take, such as 4GiB; in a pipeline it is the step's `resources: {memory: ...}`
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "MLPIPE_MAX_MEMORY")]
    max_memory: Limits,

    #[command(flatten)]
    output: Output,
}

/// Arguments of `mlpipe step detect-vertebrae`.
#[derive(Debug, clap::Args)]
pub(crate) struct DetectArguments {
    /// Volume folder (mlpipe.volume/1)
    #[arg(long)]
    volume: PathBuf,

    /// MLflow model folder of the detector
    #[arg(long)]
    model: PathBuf,

    /// Score that a vertebra must reach
    #[arg(long, default_value_t = 0.5)]
    threshold: f64,

    #[command(flatten)]
    output: Output,
}

/// Arguments of `mlpipe step find-nodes`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("items").required(true).args(["batch", "volume"])))]
pub(crate) struct NodesArguments {
    /// Volume folder (mlpipe.volume/1)
    #[arg(long, requires_all = ["vertebra", "model", "output_dir"])]
    volume: Option<PathBuf>,

    /// Entry of the vertebrae collection
    #[arg(long)]
    vertebra: Option<PathBuf>,

    /// MLflow model folder of the classifier
    #[arg(long)]
    model: Option<PathBuf>,

    /// Probability from which a node is reported
    #[arg(long, default_value_t = 0.5)]
    threshold: f64,

    /// Folder for the step's outputs
    #[arg(short, long, env = "MLPIPE_OUTPUT_DIR")]
    output_dir: Option<PathBuf>,

    /// Many items in one process: a batch file (mlpipe.batch/1)
    #[arg(long, conflicts_with_all = ["volume", "vertebra", "model"])]
    batch: Option<PathBuf>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe step report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArguments {
    /// Volume folder (mlpipe.volume/1)
    #[arg(long)]
    volume: PathBuf,

    /// vertebrae.json (mlpipe.vertebrae/1)
    #[arg(long)]
    vertebrae: PathBuf,

    /// One findings.json, or a folder of them (mlpipe.findings/1)
    #[arg(long)]
    findings: PathBuf,

    /// Run that is named in the report
    #[arg(long, env = "MLFLOW_RUN_ID")]
    run_id: Option<String>,

    #[command(flatten)]
    output: Output,
}

/// Arguments of `mlpipe step write-results`.
#[derive(Debug, clap::Args)]
pub(crate) struct ResultsArguments {
    /// A series manifest (mlpipe.series/1), or a folder with the files of one series
    #[arg(long)]
    series: PathBuf,

    /// Volume folder (mlpipe.volume/1) made from it
    #[arg(long)]
    volume: PathBuf,

    /// vertebrae.json (mlpipe.vertebrae/1)
    #[arg(long)]
    vertebrae: PathBuf,

    /// One findings.json, or a folder of them (mlpipe.findings/1)
    #[arg(long)]
    findings: PathBuf,

    /// Code of a Schmorl's node: scheme^value^meaning
    #[arg(long, default_value = "99MLPIPE^SCHMORL^Schmorl's node")]
    node_code: Code,

    /// Most memory that the headers of the series may claim, such as 4GiB; in a pipeline it is the step's
    /// `resources: {memory: ...}`
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "MLPIPE_MAX_MEMORY")]
    max_memory: Limits,

    #[command(flatten)]
    output: Output,
}

/// Arguments of `mlpipe step deidentify`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeidentifyArguments {
    /// A series manifest (mlpipe.series/1), or a folder
    #[arg(long)]
    series: PathBuf,

    /// Id of the key, as `mlpipe dicom deid --key-id` prints it; another key is refused
    #[arg(long)]
    key_id: String,

    #[command(flatten)]
    settings: deid::Settings,

    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(command: &Command) -> Outcome {
    let summary = match command {
        Command::ExtractPlane(arguments) => extract::run(&extract::Args {
            series: arguments.series.clone(),
            plane: arguments.plane,
            spacing_mm: arguments.spacing_mm,
            limits: arguments.max_memory,
            output_dir: arguments.output.output_dir.clone(),
        }),
        Command::DetectVertebrae(arguments) => runtime().and_then(|runtime| {
            detect::run(&detect::Args {
                volume: arguments.volume.clone(),
                model: arguments.model.clone(),
                threshold: arguments.threshold,
                output_dir: arguments.output.output_dir.clone(),
                runtime,
            })
        }),
        Command::FindNodes(arguments) => find_nodes(arguments),
        Command::Report(arguments) => report::run(&report::Args {
            volume: arguments.volume.clone(),
            vertebrae: arguments.vertebrae.clone(),
            findings: arguments.findings.clone(),
            run_id: arguments.run_id.clone(),
            output_dir: arguments.output.output_dir.clone(),
        }),
        Command::WriteResults(arguments) => results::run(&results::Args {
            series: arguments.series.clone(),
            volume: arguments.volume.clone(),
            vertebrae: arguments.vertebrae.clone(),
            findings: arguments.findings.clone(),
            node: arguments.node_code.clone(),
            limits: arguments.max_memory,
            output_dir: arguments.output.output_dir.clone(),
        }),
        Command::Deidentify(arguments) => deidentify::run(&deidentify::Args {
            series: arguments.series.clone(),
            key: arguments.settings.key()?,
            key_id: arguments.key_id.clone(),
            options: arguments.settings.options(),
            output_dir: arguments.output.output_dir.clone(),
        }),
    };
    print(&summary.map_err(failure)?, command.wants_json());
    Ok(Exit::Ok)
}

fn find_nodes(arguments: &NodesArguments) -> mlpipe_steps::Result<Summary> {
    if let Some(batch_file) = &arguments.batch {
        return batch::run(batch_file, runtime()?);
    }
    let given = |path: &Option<PathBuf>| path.clone().expect("the command line was checked: --volume requires it");
    nodes::run(&nodes::Args {
        volume: given(&arguments.volume),
        vertebra: given(&arguments.vertebra),
        model: given(&arguments.model),
        threshold: arguments.threshold,
        output_dir: given(&arguments.output_dir),
        runtime: runtime()?,
    })
}

/// The backend that the environment names, on the cores that the engine gave this step.
fn runtime() -> mlpipe_steps::Result<Runtime> {
    let cores = std::env::var("MLPIPE_CPU").ok().and_then(|cores| cores.parse().ok());
    let runtime = Runtime::from_environment()?;
    Ok(Runtime { threads: cores.unwrap_or(runtime.threads), ..runtime })
}

impl Command {
    fn wants_json(&self) -> bool {
        match self {
            Self::ExtractPlane(arguments) => arguments.output.json,
            Self::DetectVertebrae(arguments) => arguments.output.json,
            Self::FindNodes(arguments) => arguments.json,
            Self::Report(arguments) => arguments.output.json,
            Self::WriteResults(arguments) => arguments.output.json,
            Self::Deidentify(arguments) => arguments.output.json,
        }
    }
}

fn print(summary: &Summary, json: bool) {
    if json {
        return text::json(summary);
    }
    for note in &summary.notes {
        text::error_line(&format!("note: {note}"));
    }
    for output in &summary.outputs {
        text::line(&output.display().to_string());
    }
}

fn failure(error: Error) -> Failure {
    let exit = if error.is_bad_input() { Exit::BadInput } else { Exit::StoreUnavailable };
    Failure::new(exit, error)
}
