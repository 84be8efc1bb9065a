//! `mlpipe plan`: says what a run would do, and why.

use indexmap::IndexMap;
use mlpipe_dicom::Selection;
use mlpipe_engine::{PlanDocument, PlannedAction};
use serde::Serialize;

use crate::commands::request::{PipelineArguments, ScopeArguments, run_request};
use crate::failure::{Exit, Outcome};
use crate::{environment, sources, state, text};

/// Arguments of `mlpipe plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,

    #[command(flatten)]
    scope: ScopeArguments,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,

    /// Print the steps as a graph in Graphviz's language
    #[arg(long, conflicts_with = "json")]
    dot: bool,

    /// Print the steps as a graph in Mermaid's language, which Markdown on GitHub shows
    #[arg(long, conflicts_with_all = ["json", "dot"])]
    mermaid: bool,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    plan: &'a PlanDocument,
    inputs: &'a IndexMap<String, Selection>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let pipeline = arguments.pipeline.load()?;
    if arguments.dot {
        text::line(mlpipe_engine::dot(&pipeline).trim_end());
        return Ok(Exit::Ok);
    }
    if arguments.mermaid {
        text::line(mlpipe_engine::mermaid(&pipeline).trim_end());
        return Ok(Exit::Ok);
    }
    let scope = arguments.scope.scope(&pipeline)?;
    let workspace = state::open()?;
    let found = sources::find(&pipeline, workspace.content().known())?;
    let environment = environment::facts();
    let request = run_request(&pipeline, &found.inputs, &environment, arguments.pipeline.limits(), scope)?;
    let plan = mlpipe_engine::plan(&workspace, &request)?;
    if arguments.json {
        text::json(&Document { plan: &plan, inputs: &found.selections });
        return Ok(Exit::Ok);
    }
    sources::explain(&found.selections);
    print(&plan);
    Ok(Exit::Ok)
}

fn print(plan: &PlanDocument) {
    let row = |task: &mlpipe_engine::PlannedTask| {
        let key = task.key.as_deref().map_or_else(String::new, |key| format!("[{}]", text::short_key(key)));
        vec![word(task.action).to_owned(), format!("{}{key}", task.name), task.reason.clone()]
    };
    text::line(&text::table(&plan.tasks.iter().map(row).collect::<Vec<_>>()));
    let count = |action: PlannedAction| plan.tasks.iter().filter(|task| task.action == action).count();
    text::error_line(&format!(
        "{}: {} to run, {} to reuse, {} decided later",
        plan.pipeline,
        count(PlannedAction::Run),
        count(PlannedAction::Reuse),
        count(PlannedAction::Decide)
    ));
}

fn word(action: PlannedAction) -> &'static str {
    match action {
        PlannedAction::Run => "run",
        PlannedAction::Reuse => "reuse",
        PlannedAction::Decide => "later",
        PlannedAction::Skip => "skip",
    }
}
