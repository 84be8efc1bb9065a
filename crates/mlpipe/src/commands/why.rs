//! `mlpipe why`: says everything about one task.

use mlpipe_engine::{Answer, LastTime, MadeBy, Scope, StepStatus, WhyDocument};

use crate::commands::request::{PipelineArguments, run_request, step_named};
use crate::commands::task::TaskName;
use crate::failure::{Exit, Outcome};
use crate::text::{line, local_time, short_run};
use crate::{environment, sources, state, text};

/// Arguments of `mlpipe why`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,

    /// The task: `STEP`, or `STEP[KEY]` for one item
    #[arg(value_name = "STEP[KEY]")]
    task: TaskName,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let pipeline = arguments.pipeline.load()?;
    let step = step_named(&pipeline, &arguments.task.step)?;
    let workspace = state::open()?;
    let found = sources::find(&pipeline, workspace.content().known())?;
    let environment = environment::facts();
    let request = run_request(
        &pipeline,
        &found.inputs,
        &environment,
        arguments.pipeline.limits(),
        Scope::default().only(&pipeline, step),
    )?;
    let ask = |key: Option<&str>| mlpipe_engine::why(&workspace, &request, step, key);
    let document = match ask(arguments.task.key.as_deref())? {
        Answer::Known(document) => document,
        Answer::NoSuchItem { known } | Answer::NoItemNamed { known } => {
            let known: Vec<Option<&str>> = known.iter().map(|key| Some(key.as_str())).collect();
            match ask(arguments.task.choose(&known)?)? {
                Answer::Known(document) => document,
                _ => unreachable!("the key is one of those that are known"),
            }
        }
    };
    if arguments.json {
        text::json(&document);
    } else {
        print(&document);
    }
    Ok(Exit::Ok)
}

fn print(document: &WhyDocument) {
    let label = document.key.as_ref().map_or_else(|| document.name.clone(), |key| format!("{}[{key}]", document.name));
    let action = serde_json::to_value(document.action).expect("a word");
    line(&format!("task         {label}"));
    line(&format!("a run would  {}: {}", action.as_str().unwrap_or_default(), document.reason));
    if let Some(fingerprint) = &document.fingerprint {
        line(&format!("fingerprint  {fingerprint}"));
    }
    if let Some(made_by) = &document.made_by {
        line(&format!("made by      {}", origin(made_by)));
    }
    if !document.waits_for.is_empty() {
        line(&format!("waits for    {}", document.waits_for.join(", ")));
    }
    if let Some(last_time) = &document.last_time {
        print_last_time(last_time);
    }
    if let Some(compared_with) = &document.compared_with {
        line(&format!("\nchanged since it was finished by {}", origin(compared_with)));
        for change in &document.changes {
            line(&format!("  {change}"));
        }
    }
    if !document.facts.is_empty() {
        line("\nfacts");
        let rows: Vec<_> =
            document.facts.iter().map(|(name, value)| vec![format!("  {name}"), value.clone()]).collect();
        line(&text::table(&rows));
    }
}

fn origin(made_by: &MadeBy) -> String {
    let of = made_by.pipeline_run_id.as_ref().map(|run| format!(" of run {}", short_run(run.as_str())));
    let when = made_by.start_time_ms.map(|time| format!(", {}", local_time(time)));
    format!("{}{}{}", short_run(made_by.run_id.as_str()), of.unwrap_or_default(), when.unwrap_or_default())
}

fn print_last_time(last_time: &LastTime) {
    let status = match last_time.status {
        Some(StepStatus::Done) => "done",
        Some(StepStatus::Cached) => "reused",
        Some(StepStatus::Failed) => "failed",
        Some(StepStatus::Skipped) => "skipped",
        Some(StepStatus::Killed) => "killed",
        None => "not ended",
    };
    let cause = match last_time.status {
        Some(StepStatus::Failed | StepStatus::Killed) => last_time.error.as_deref(),
        Some(StepStatus::Skipped) => last_time.reason.as_deref(),
        _ => None,
    };
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    line(&format!("last time    {status} in run {}{cause}", short_run(last_time.pipeline_run_id.as_str())));
    if let Some(log) = &last_time.log {
        line(&format!("log          {}", log.display()));
    }
}
