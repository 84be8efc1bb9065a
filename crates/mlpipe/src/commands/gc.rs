//! `mlpipe gc`: removes what nothing refers to, and says what takes space.

use std::time::Duration;

use mlpipe_engine::{GarbageDocument, GarbageRequest, Share, Workspace};
use mlpipe_tracking::{RunSearch, ViewType};
use serde::Serialize;

use crate::commands::tracked::pages;
use crate::failure::{Exit, Failure, Outcome};
use crate::{state, text};

/// Arguments of `mlpipe gc`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only say what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Also runs (journals, logs, artifacts) that ended longer ago, as in 30d, 12h or 90m, and results that only they used
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,

    /// Also runs except for this many of the newest; together with --older-than both must hold
    #[arg(long, value_name = "N")]
    keep_runs: Option<usize>,

    /// Also remove for good the tracked runs that `mlpipe runs delete` deleted, with their artifacts; with --older-than those
    /// deleted longer ago
    #[arg(long)]
    deleted: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    collected: GarbageDocument,
    removed_bytes: u64,
    /// Tracked runs that were, or would be, removed for good.
    deleted_runs: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let request =
        GarbageRequest { older_than: arguments.older_than, keep_runs: arguments.keep_runs, dry_run: arguments.dry_run };
    let workspace = state::open()?;
    let deleted_runs = if arguments.deleted { purge(&workspace, arguments)? } else { 0 };
    let collected = mlpipe_engine::collect_garbage(&workspace, &request)?;
    if arguments.json {
        let removed_bytes = collected.removed_bytes();
        text::json(&Document { collected, removed_bytes, deleted_runs });
        return Ok(Exit::Ok);
    }
    print(&collected);
    if arguments.deleted {
        let goes = if arguments.dry_run { "would go" } else { "removed" };
        text::line(&format!("deleted runs {goes}: {deleted_runs}"));
    }
    Ok(Exit::Ok)
}

/// Removes deleted runs for good, and then the artifacts of those that are gone; returns how many.
fn purge(workspace: &Workspace, arguments: &Arguments) -> Result<usize, Failure> {
    let store = workspace.store()?;
    let experiment_ids = store.experiments()?.into_iter().map(|experiment| experiment.experiment_id).collect();
    let search = RunSearch { experiment_ids, view: ViewType::DeletedOnly, ..RunSearch::default() };
    let mut runs = pages(&store, search, 0)?;
    if arguments.dry_run {
        return Ok(runs.len());
    }
    store.purge_deleted(arguments.older_than.unwrap_or_default())?;
    let mut gone = 0;
    for run in runs.drain(..) {
        if store.run(&run.run_id)?.is_none() {
            gone += 1;
            // The directory above belongs to the run alone. One that is left does no harm.
            if let Some(place) = workspace.artifact_directory(&run.experiment_id, &run.run_id).parent() {
                let _ = std::fs::remove_dir_all(place);
            }
        }
    }
    Ok(gone)
}

fn print(collected: &GarbageDocument) {
    let goes = if collected.dry_run { "would go" } else { "removed" };
    let row = |name: &str, share: &Share| {
        let cells = [
            name.to_owned(),
            share.kept.to_string(),
            text::bytes(share.kept_bytes),
            share.removed.to_string(),
            text::bytes(share.removed_bytes),
        ];
        cells.to_vec()
    };
    let rows = [
        ["", "kept", "", goes, ""].map(str::to_owned).to_vec(),
        row("runs: logs and journals", &collected.runs),
        row("finished results", &collected.results),
        row("content", &collected.content),
        row("leftovers", &collected.leftovers),
    ];
    text::line(&text::table(&rows));
    text::line(&format!("{goes}: {}", text::bytes(collected.removed_bytes())));
    if collected.in_use {
        let runs: Vec<&str> = collected.under_way.iter().map(|run| text::short_run(run.as_str())).collect();
        let who =
            if runs.is_empty() { "mlpipe runs".to_owned() } else { format!("run {} is under way", runs.join(", ")) };
        text::error_line(&format!(
            "{who} here: only leftovers are removed. Runs, results and content can go once it has ended"
        ));
    }
}

/// `30d`, `12h`, `90m`, `45s`.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number and a unit, as in 30d, 12h, 90m or 45s".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_need_a_unit() {
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(age("0s"), Ok(Duration::ZERO));
        for wrong in ["30", "d", "1w", "-1d", "99999999999999999999d"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
