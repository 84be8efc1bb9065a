//! How a step runs: retries, timeout, resources and the like, from the step or else from `defaults:`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fields::{Fields, Keys};
use crate::pipeline::{OnItemError, Resources};
use crate::quantity;
use crate::yaml::{Node, Scalar, ScalarKind, Value};

use super::Checker;

const DEFAULTS: Keys = Keys {
    of: "`defaults`",
    known: &["retries", "timeout", "resources", "on_item_error", "cache", "env"],
    not_yet: &["secrets", "matrix"],
};
const RESOURCES: Keys = Keys { of: "`resources`", known: &["cpu", "memory"], not_yet: &["gpu"] };

const ITEM_ERRORS: [(&str, OnItemError); 2] = [("fail", OnItemError::Fail), ("collect", OnItemError::Collect)];

/// Set by the engine for every step.
const RESERVED_VARIABLES: [&str; 4] =
    ["MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLPIPE_OUTPUT_DIR"];

/// More retries than this are a slip of the finger.
const MOST_RETRIES: u32 = 100;

/// How a step runs.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) retries: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) resources: Resources,
    pub(super) on_item_error: OnItemError,
    pub(super) cache: bool,
    pub(super) env: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            retries: 0,
            timeout: None,
            resources: Resources::default(),
            on_item_error: OnItemError::default(),
            cache: true,
            env: BTreeMap::new(),
        }
    }
}

impl Checker<'_> {
    /// Returns the settings of steps that say nothing themselves.
    pub(super) fn defaults(&mut self, fields: &Fields) -> Settings {
        let fields = fields.get("defaults").and_then(|node| self.reader.fields(node, "`defaults`", &DEFAULTS));
        fields.map_or_else(Settings::default, |fields| self.settings(&fields, &Settings::default()))
    }

    /// Returns the settings in `fields`, those of `defaults` where there are none or where they have mistakes.
    pub(super) fn settings(&mut self, fields: &Fields, defaults: &Settings) -> Settings {
        let mut settings = defaults.clone();
        if let Some(retries) = fields.get("retries").and_then(|node| self.retries(node)) {
            settings.retries = retries;
        }
        if let Some(timeout) = fields.get("timeout").and_then(|node| self.timeout(node)) {
            settings.timeout = Some(timeout);
        }
        if let Some(node) = fields.get("resources") {
            self.resources(node, &mut settings.resources);
        }
        if let Some(node) = fields.get("on_item_error") {
            let word = self.reader.word(node, "`on_item_error`", &ITEM_ERRORS);
            settings.on_item_error = word.unwrap_or(settings.on_item_error);
        }
        if let Some(node) = fields.get("cache") {
            settings.cache = self.reader.truth(node, "`cache`").unwrap_or(settings.cache);
        }
        if let Some(node) = fields.get("env") {
            self.env(node, &mut settings.env);
        }
        settings
    }

    fn retries(&mut self, node: &Node) -> Option<u32> {
        if matches!(node.value, Value::Map(_)) {
            let message = "retries as a mapping of max, on and backoff are not supported yet";
            self.reader.report(node.span, message).help("write a number: retries: 1");
            return None;
        }
        self.reader.integer(node, "`retries`", 0..=MOST_RETRIES)
    }

    fn timeout(&mut self, node: &Node) -> Option<Duration> {
        let scalar = self.reader.scalar(node, "`timeout`")?;
        let duration = quantity::duration(&scalar.text);
        if duration.is_none() {
            let message = format!("`{}` is not a duration", scalar.text);
            self.reader.report(node.span, message).help(with_unit(scalar, "s", "durations are like 90s, 10m, 1h30m"));
        }
        duration
    }

    fn resources(&mut self, node: &Node, resources: &mut Resources) {
        let Some(fields) = self.reader.fields(node, "`resources`", &RESOURCES) else { return };
        if let Some(cpu) = fields.get("cpu").and_then(|node| self.reader.integer(node, "`cpu`", 1..=4096)) {
            resources.cpu = cpu;
        }
        let Some(node) = fields.get("memory") else { return };
        let Some(scalar) = self.reader.scalar(node, "`memory`") else { return };
        match quantity::memory_bytes(&scalar.text) {
            Some(bytes) => resources.memory_bytes = bytes,
            None => {
                let message = format!("`{}` is not an amount of memory", scalar.text);
                let help = with_unit(scalar, "GiB", "amounts are like 512MiB, 4GiB");
                self.reader.report(node.span, message).help(help);
            }
        }
    }

    fn env(&mut self, node: &Node, env: &mut BTreeMap<String, String>) {
        for (key, node) in self.reader.entries(node, "`env`").unwrap_or_default() {
            let name = key.text.as_str();
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(fits) || name.as_bytes()[0].is_ascii_digit() {
                self.reader.report(key.span, format!("`{name}` cannot be the name of an environment variable"));
            } else if RESERVED_VARIABLES.contains(&name) {
                self.reader.report(key.span, format!("`{name}` is set by mlpipe"));
            } else if let Some(value) = self.text(node, "`env`") {
                env.insert(name.to_owned(), value);
            }
        }
    }
}

fn with_unit(scalar: &Scalar, unit: &str, otherwise: &str) -> String {
    match scalar.kind {
        ScalarKind::Int(number) if number > 0 => format!("add a unit: {number}{unit}"),
        _ => otherwise.to_owned(),
    }
}
