//! `mlpipe runs export` and `import`: everything tracked, to a server and back.

use std::io::{IsTerminal, Write};

use mlpipe_tracking::rest::TrackingUri;
use mlpipe_tracking::transfer::{self, Copied};

use crate::commands::tracking::client;
use crate::failure::{Exit, Failure, Outcome};
use crate::{state, text};

/// Arguments of `mlpipe runs export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArguments {
    /// The server, mlpipe's or MLflow's, as in http://host:5000
    #[arg(long, value_name = "URL")]
    to: String,

    #[command(flatten)]
    what: What,
}

/// Arguments of `mlpipe runs import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArguments {
    /// The server, mlpipe's or MLflow's, as in http://host:5000
    #[arg(long, value_name = "URL")]
    from: String,

    #[command(flatten)]
    what: What,
}

#[derive(Debug, clap::Args)]
struct What {
    /// Only this experiment, and the models that its runs made
    #[arg(long)]
    experiment: Option<String>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn export(arguments: &ExportArguments) -> Outcome {
    let store = state::open()?.store()?;
    let client = client(address(&arguments.to)?);
    let copied = transfer::export(&store, &client, arguments.what.experiment.as_deref(), &mut show)?;
    report(&copied, &arguments.what)
}

pub(super) fn import(arguments: &ImportArguments) -> Outcome {
    let workspace = state::open()?;
    let store = workspace.store()?;
    let client = client(address(&arguments.from)?);
    let root = workspace.root().join("artifacts");
    let copied = transfer::import(&store, &client, &root, arguments.what.experiment.as_deref(), &mut show)?;
    report(&copied, &arguments.what)
}

fn address(text: &str) -> Result<TrackingUri, Failure> {
    TrackingUri::parse(text).map_err(|error| Failure::new(Exit::Usage, error))
}

/// One line that changes, for people who look.
fn show(copied: &Copied) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let _ =
            write!(stderr, "\r{} runs copied, {} were there, {} files", copied.runs, copied.runs_there, copied.files);
        let _ = stderr.flush();
    }
}

fn report(copied: &Copied, what: &What) -> Outcome {
    if what.json {
        text::json(copied);
    } else {
        text::line(&format!(
            "{}{} runs of {} experiments copied, {} were there; {} files, {} model versions; {} left out",
            if std::io::stderr().is_terminal() { "\n" } else { "" },
            copied.runs,
            copied.experiments,
            copied.runs_there,
            copied.files,
            copied.model_versions,
            copied.left_out
        ));
    }
    Ok(if copied.left_out == 0 { Exit::Ok } else { Exit::BadInput })
}
