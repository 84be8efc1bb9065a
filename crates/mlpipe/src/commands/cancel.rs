//! `mlpipe cancel`: stops a run from another terminal.

use mlpipe_engine::Cancelled;

use crate::failure::{Exit, Failure, Outcome};
use crate::text::short_run;
use crate::{state, text};

/// Arguments of `mlpipe cancel`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Id of the pipeline run, the beginning of it, or `latest`
    run: String,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let workspace = state::open()?;
    let run = workspace.find_pipeline_run(&arguments.run)?;
    let short = short_run(run.as_str());
    match mlpipe_engine::cancel(&workspace, &run)? {
        Cancelled::Asked => {
            text::error_line(&format!(
                "run {short} was asked to stop; once more ends its steps at once. It will be recorded as KILLED"
            ));
            Ok(Exit::Ok)
        }
        Cancelled::NotUnderWay => {
            let failure = Failure::new(Exit::BadInput, format!("run {short} is not under way"));
            Err(failure.hint(format!("`mlpipe runs show {short}` says how it ended")))
        }
        Cancelled::DriverElsewhere => {
            let message = format!("run {short} is under way, but not as a process that can be seen from here");
            Err(Failure::new(Exit::BadInput, message)
                .hint("run `mlpipe cancel` on the machine and in the container where the run was started"))
        }
    }
}
