//! The data model: MLflow's entities under MLflow's names. Times are milliseconds since 1970-01-01 UTC.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, RunId, RunInputsOutputs, tags};

/// What has become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// It is being executed.
    Running,
    /// It waits for its turn.
    Scheduled,
    /// It succeeded.
    Finished,
    /// It failed.
    Failed,
    /// It was interrupted.
    Killed,
}

impl RunStatus {
    const ALL: [Self; 5] = [Self::Running, Self::Scheduled, Self::Finished, Self::Failed, Self::Killed];

    /// Returns MLflow's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Scheduled => "SCHEDULED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }

    /// Returns whether the run is over.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for RunStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| Error::InvalidRunStatus { text: text.to_owned() })
    }
}

/// Whether an experiment or a run is in use or deleted; what is deleted can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LifecycleStage {
    /// In use.
    Active,
    /// Deleted: hidden from queries, and not written to.
    Deleted,
}

/// A named group of runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// A decimal number. The experiment `Default` has `0`.
    pub experiment_id: String,
    /// The name, unique among all experiments, deleted ones included.
    pub name: String,
    /// The URI below which the artifacts of its runs lie.
    pub artifact_location: String,
    /// Whether it is in use.
    pub lifecycle_stage: LifecycleStage,
    /// When it was made.
    pub creation_time_ms: i64,
    /// When it was last changed.
    pub last_update_time_ms: i64,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The name of the metric.
    pub key: String,
    /// The value; NaN and the infinities are values too, in JSON `"NaN"`, `"Infinity"` and `"-Infinity"`. The sign of
    /// zero is not kept.
    #[serde(with = "crate::record::any_f64")]
    pub value: f64,
    /// When it was measured.
    pub timestamp_ms: i64,
    /// The position in a sequence of measurements, such as the epoch; 0 when there is only one.
    pub step: i64,
}

/// One execution of something, with what went in and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub run_id: RunId,
    /// Its name, which need not be unique.
    pub name: String,
    /// The experiment it belongs to.
    pub experiment_id: String,
    /// Who runs it; may be empty.
    #[serde(default)]
    pub user_id: String,
    /// What has become of it.
    pub status: RunStatus,
    /// When it began.
    pub start_time_ms: i64,
    /// When it ended.
    pub end_time_ms: Option<i64>,
    /// The URI of the directory of its artifacts.
    pub artifact_uri: String,
    /// Whether it is in use.
    pub lifecycle_stage: LifecycleStage,
    /// What it was given.
    pub params: BTreeMap<String, String>,
    /// What else is known about it.
    pub tags: BTreeMap<String, String>,
    /// The latest value of each metric, by key: the one with the greatest step, then timestamp, then value.
    pub metrics: Vec<Metric>,
    /// The datasets and models it read, the models it wrote.
    #[serde(default)]
    pub inputs_outputs: RunInputsOutputs,
}

impl Run {
    /// Returns the latest value of a metric.
    pub fn metric(&self, key: &str) -> Option<f64> {
        self.metrics.iter().find(|metric| metric.key == key).map(|metric| metric.value)
    }

    /// Returns the id of the run that this one is a part of.
    pub fn parent_run_id(&self) -> Option<RunId> {
        self.tags.get(tags::PARENT_RUN_ID)?.parse().ok()
    }
}

/// Which runs to return: those that meet every condition given. Deleted runs are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// The experiment, by name, or by id when none has that name.
    pub experiment: Option<String>,
    /// Only direct parts of this run.
    pub parent: Option<RunId>,
    /// Only runs that are not part of another one.
    pub top_level_only: bool,
    /// Only runs of this status.
    pub status: Option<RunStatus>,
    /// How many at most; 0 for all.
    pub limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_written_as_in_mlflow() {
        for status in RunStatus::ALL {
            assert_eq!(status.to_string().parse::<RunStatus>().expect("own text parses"), status);
            assert_eq!(serde_json::to_string(&status).expect("serialises"), format!("\"{status}\""));
        }
        assert!("finished".parse::<RunStatus>().is_err());
    }
}
