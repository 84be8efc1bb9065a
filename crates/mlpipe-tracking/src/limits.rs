//! What MLflow allows as keys, names and values (`mlflow/utils/validation.py` of version 3.17.2).
//!
//! A key or name that is not allowed is refused. A value that is too long is cut, as MLflow does by default. Lengths
//! are counted in characters.

use crate::{Error, Result};

/// The longest key of a param, metric or tag.
pub const MAX_KEY_CHARS: usize = 250;
/// The longest value of a param.
pub const MAX_PARAM_VALUE_CHARS: usize = 6000;
/// The longest value of a run's tag.
pub const MAX_TAG_VALUE_CHARS: usize = 8000;
/// The longest value of an experiment's tag.
pub(crate) const MAX_EXPERIMENT_TAG_CHARS: usize = 20_000;
/// The longest value of a tag in the model registry.
pub(crate) const MAX_REGISTRY_TAG_CHARS: usize = 100_000;
/// The longest name of an experiment.
pub const MAX_EXPERIMENT_NAME_CHARS: usize = 500;

/// Refuses a key that MLflow does not allow; `kind` is "param", "metric" or "tag".
pub(crate) fn check_key(run_id: &str, kind: &'static str, key: &str) -> Result<()> {
    match key_fault(key) {
        None => Ok(()),
        Some(reason) => Err(Error::InvalidKey { run_id: run_id.to_owned(), kind, key: key.to_owned(), reason }),
    }
}

/// Says in MLflow's words what is wrong with a key; `kind` is "param", "metric" or "tag".
pub(crate) fn key_message(kind: &str, key: &str, reason: &str) -> String {
    let (what, parameter) = match kind {
        "metric" => ("Metric name", "name"),
        "param" => ("Param key", "key"),
        _ => ("key", "key"),
    };
    if is_longer(key, MAX_KEY_CHARS) {
        return format!("'{what}' exceeds the maximum length of {MAX_KEY_CHARS} characters");
    }
    format!("Invalid value {} for parameter '{parameter}' supplied: {reason}", serde_json::json!(key))
}

/// Refuses a name that MLflow does not allow for an experiment.
pub(crate) fn check_experiment_name(name: &str) -> Result<()> {
    let refused = |reason| Err(Error::InvalidExperimentName { name: name.to_owned(), reason });
    if name.trim().is_empty() {
        return refused("it is empty");
    }
    if is_longer(name, MAX_EXPERIMENT_NAME_CHARS) {
        return refused("it has more than 500 characters");
    }
    Ok(())
}

/// Returns the value of a param as it is stored.
pub(crate) fn cut_param_value<'a>(run_id: &str, key: &str, value: &'a str) -> &'a str {
    cut(run_id, "param", key, value, MAX_PARAM_VALUE_CHARS)
}

/// Returns the value of a tag as it is stored.
pub(crate) fn cut_tag_value<'a>(run_id: &str, key: &str, value: &'a str) -> &'a str {
    cut(run_id, "tag", key, value, MAX_TAG_VALUE_CHARS)
}

fn cut<'a>(run_id: &str, kind: &str, key: &str, value: &'a str, max_chars: usize) -> &'a str {
    let Some((end, _)) = value.char_indices().nth(max_chars).filter(|_| value.len() > max_chars) else { return value };
    tracing::warn!(run_id, key, "the value of a {kind} is cut to {max_chars} characters");
    &value[..end]
}

/// Refuses a tag of an experiment or of a model that MLflow does not allow.
pub(crate) fn check_tag(key: &str, value: &str, max_chars: usize) -> Result<()> {
    if let Some(reason) = key_fault(key) {
        return Err(Error::invalid(key_message("tag", key, reason)));
    }
    if is_longer(value, max_chars) {
        return Err(Error::invalid(format!(
            "'value' exceeds the maximum length of {max_chars} characters (tag '{key}')"
        )));
    }
    Ok(())
}

fn key_fault(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("it is empty");
    }
    if is_longer(key, MAX_KEY_CHARS) {
        return Some("it has more than 250 characters");
    }
    if !key.chars().all(|character| character.is_alphanumeric() || "_-. :/".contains(character)) {
        return Some(
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and \
             slashes (/).",
        );
    }
    // Keys may be paths, so two keys must not be the same path.
    if key.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Some(
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such.",
        );
    }
    None
}

/// Returns whether a text has more than `max_chars` characters.
pub(crate) fn is_longer(text: &str, max_chars: usize) -> bool {
    text.len() > max_chars && text.chars().count() > max_chars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_mlflow_takes_are_taken() {
        for key in ["a", "train/loss", "mlflow.source.name", "Größe 1", "a:b_c-d", "..a", &"ä".repeat(250)] {
            assert_eq!(key_fault(key), None, "{key}");
        }
    }

    #[test]
    fn keys_that_mlflow_refuses_are_refused() {
        for key in ["", "/a", "a/", "a//b", "../a", "a/..", ".", "a\nb", "a=b", "a\0", &"ä".repeat(251)] {
            assert!(key_fault(key).is_some(), "{key}");
        }
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let run_id = "0123";
        let long = "ä".repeat(MAX_PARAM_VALUE_CHARS + 1);
        assert_eq!(cut_param_value(run_id, "k", &long).chars().count(), MAX_PARAM_VALUE_CHARS);
        let fits = "ä".repeat(MAX_TAG_VALUE_CHARS);
        assert_eq!(cut_tag_value(run_id, "k", &fits), fits);
    }

    #[test]
    fn experiment_names_are_neither_empty_nor_too_long() {
        assert!(check_experiment_name("schmorl").is_ok());
        for name in ["", "  ", &"x".repeat(501)] {
            assert!(matches!(check_experiment_name(name), Err(Error::InvalidExperimentName { .. })));
        }
    }
}
