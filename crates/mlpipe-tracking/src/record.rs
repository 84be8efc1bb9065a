//! [`Record`], one thing that happens to a run. Records are what journals and spools hold, so each goes through JSON
//! unchanged.

use serde::{Deserialize, Serialize};

use crate::{DatasetInput, Metric, RunId, RunStatus};

/// One thing that happens to a run. Records are applied in order; applying one again changes nothing.
///
/// In JSON: `{"record": "update_run", "run_id": "...", ...}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A run begins to exist. When it exists already, in the same experiment, only params and tags are set.
    CreateRun {
        /// The run.
        run_id: RunId,
        /// The experiment, which must exist.
        experiment_id: String,
        /// Its name; becomes the tag `mlflow.runName` too.
        name: String,
        /// When it began, in milliseconds since 1970-01-01 UTC.
        start_time_ms: i64,
        /// When it ended, for a run that is over.
        #[serde(default)]
        end_time_ms: Option<i64>,
        /// Its first status.
        status: RunStatus,
        /// The URI of the directory of its artifacts.
        artifact_uri: String,
        /// Its first tags.
        #[serde(default)]
        tags: Vec<(String, String)>,
        /// Its first params.
        #[serde(default)]
        params: Vec<(String, String)>,
    },
    /// A run gets another status.
    UpdateRun {
        /// The run.
        run_id: RunId,
        /// The status.
        status: RunStatus,
        /// When it ended, in milliseconds since 1970-01-01 UTC. Without one, a run that is over keeps the time it has,
        /// and one that is not has none.
        #[serde(default)]
        end_time_ms: Option<i64>,
    },
    /// Params are set. A param that has a value cannot get another.
    Params {
        /// The run.
        run_id: RunId,
        /// Keys and values.
        params: Vec<(String, String)>,
    },
    /// Metrics are added to their histories.
    Metrics {
        /// The run.
        run_id: RunId,
        /// The values.
        metrics: Vec<Metric>,
    },
    /// Datasets become inputs. The same dataset again changes nothing but its tags.
    Inputs {
        /// The run.
        run_id: RunId,
        /// The datasets.
        datasets: Vec<DatasetInput>,
    },
    /// Tags are set, replacing the values they have.
    Tags {
        /// The run.
        run_id: RunId,
        /// Keys and values.
        tags: Vec<(String, String)>,
    },
}

impl Record {
    /// Returns the run that the record is about.
    pub fn run_id(&self) -> &RunId {
        match self {
            Self::CreateRun { run_id, .. }
            | Self::UpdateRun { run_id, .. }
            | Self::Params { run_id, .. }
            | Self::Metrics { run_id, .. }
            | Self::Inputs { run_id, .. }
            | Self::Tags { run_id, .. } => run_id,
        }
    }
}

/// Writes an `f64` as MLflow's JSON does: numbers as numbers, the rest as text, where JSON itself would lose it.
pub(crate) mod any_f64 {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match *value {
            value if value.is_nan() => serializer.serialize_str("NaN"),
            f64::INFINITY => serializer.serialize_str("Infinity"),
            f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
            value => serializer.serialize_f64(value),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        deserializer.deserialize_any(AnyF64)
    }

    struct AnyF64;

    #[expect(clippy::cast_precision_loss, reason = "the field is a double, whatever way its JSON is written")]
    impl de::Visitor<'_> for AnyF64 {
        type Value = f64;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
        }

        fn visit_f64<E: de::Error>(self, value: f64) -> Result<f64, E> {
            Ok(value)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
            match text {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(value: f64) -> Metric {
        Metric { key: "loss".to_owned(), value, timestamp_ms: 1, step: 2 }
    }

    #[test]
    fn every_record_survives_json() {
        let run_id = RunId::random();
        let pair = || vec![("key".to_owned(), "value".to_owned())];
        let records = [
            Record::CreateRun {
                run_id: run_id.clone(),
                experiment_id: "1".to_owned(),
                name: "größe".to_owned(),
                start_time_ms: 5,
                end_time_ms: Some(6),
                status: RunStatus::Scheduled,
                artifact_uri: "artifacts/x".to_owned(),
                tags: pair(),
                params: pair(),
            },
            Record::UpdateRun { run_id: run_id.clone(), status: RunStatus::Killed, end_time_ms: None },
            Record::Params { run_id: run_id.clone(), params: pair() },
            Record::Metrics { run_id: run_id.clone(), metrics: vec![metric(0.1), metric(f64::NEG_INFINITY)] },
            Record::Inputs {
                run_id: run_id.clone(),
                datasets: vec![DatasetInput { tags: pair(), ..Default::default() }],
            },
            Record::Tags { run_id: run_id.clone(), tags: pair() },
        ];
        for record in records {
            let json = serde_json::to_string(&record).expect("serialises");
            assert_eq!(serde_json::from_str::<Record>(&json).expect("own JSON parses"), record);
            assert_eq!(record.run_id(), &run_id);
        }
    }

    #[test]
    fn metric_values_that_json_lacks_are_texts() {
        for (value, text) in
            [(f64::NAN, "\"NaN\""), (f64::INFINITY, "\"Infinity\""), (f64::NEG_INFINITY, "\"-Infinity\"")]
        {
            let json = serde_json::to_string(&metric(value)).expect("serialises");
            assert!(json.contains(text), "{json}");
            let back: Metric = serde_json::from_str(&json).expect("own JSON parses");
            assert!(back.value == value || back.value.is_nan() && value.is_nan());
        }
        let parse = |value: &str| {
            serde_json::from_str::<Metric>(&format!(r#"{{"key":"k","value":{value},"timestamp_ms":0,"step":0}}"#))
        };
        assert_eq!(parse("3").expect("an integer is a number").value, 3.0);
        assert_eq!(parse("-3").expect("an integer is a number").value, -3.0);
        assert!(parse("\"3\"").is_err());
        assert!(parse("null").is_err());
    }
}
