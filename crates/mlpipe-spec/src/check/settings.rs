//! How a step runs: retries, timeout, resources and the like, from the step or else from `defaults:`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diagnostics::listed;
use crate::fields::{Fields, Keys};
use crate::pipeline::{OnItemError, Resources};
use crate::quantity;
use crate::retries::{Retries, RetryOn};
use crate::source::Span;
use crate::yaml::{Node, Scalar, ScalarKind, Value};

use super::Checker;

pub(crate) const DEFAULTS: Keys = Keys {
    of: "`defaults`",
    known: &["retries", "timeout", "resources", "on_item_error", "cache", "env", "secrets"],
    not_yet: &[],
};
pub(crate) const RETRIES: Keys = Keys { of: "`retries`", known: &["max", "on", "backoff"], not_yet: &[] };
pub(crate) const RESOURCES: Keys = Keys { of: "`resources`", known: &["cpu", "memory", "gpu"], not_yet: &[] };

pub(crate) const ITEM_ERRORS: [(&str, OnItemError); 2] =
    [("fail", OnItemError::Fail), ("collect", OnItemError::Collect)];

/// Set by the engine for every step.
const RESERVED_VARIABLES: [&str; 7] = [
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_ID",
    "MLPIPE_OUTPUT_DIR",
    "MLPIPE_CPU",
    "MLPIPE_MAX_MEMORY",
    "MLPIPE_ATTEMPT",
];

/// Set by the engine for steps that hold GPUs.
const DEVICES_VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// More retries than this are a slip of the finger.
pub(crate) const MOST_RETRIES: u32 = 100;
/// No machine has more GPUs than this.
pub(crate) const MOST_DEVICES: u32 = 1024;

/// What is said about how steps run; `None` where nothing is.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    retries: Option<Retries>,
    timeout: Option<Duration>,
    cpu: Option<u32>,
    memory_bytes: Option<u64>,
    gpu: Option<u32>,
    on_item_error: Option<OnItemError>,
    cache: Option<bool>,
    env: BTreeMap<String, String>,
    secrets: Vec<String>,
}

/// How a step runs.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) retries: Retries,
    pub(super) timeout: Option<Duration>,
    pub(super) resources: Resources,
    pub(super) on_item_error: OnItemError,
    pub(super) cache: bool,
    pub(super) env: BTreeMap<String, String>,
    pub(super) secrets: Vec<String>,
}

impl Settings {
    /// Returns these settings, and where they say nothing those of `base`.
    pub(super) fn over(self, base: &Settings) -> Settings {
        let mut secrets = base.secrets.clone();
        secrets.extend(self.secrets.into_iter().filter(|name| !base.secrets.contains(name)));
        Settings {
            retries: self.retries.or_else(|| base.retries.clone()),
            timeout: self.timeout.or(base.timeout),
            cpu: self.cpu.or(base.cpu),
            memory_bytes: self.memory_bytes.or(base.memory_bytes),
            gpu: self.gpu.or(base.gpu),
            on_item_error: self.on_item_error.or(base.on_item_error),
            cache: self.cache.or(base.cache),
            env: base.env.clone().into_iter().chain(self.env).collect(),
            secrets,
        }
    }

    pub(super) fn settled(self) -> Settled {
        let usual = Resources::default();
        Settled {
            retries: self.retries.unwrap_or_default(),
            timeout: self.timeout,
            resources: Resources {
                cpu: self.cpu.unwrap_or(usual.cpu),
                memory_bytes: self.memory_bytes.unwrap_or(usual.memory_bytes),
                gpu: self.gpu.unwrap_or(usual.gpu),
            },
            on_item_error: self.on_item_error.unwrap_or_default(),
            cache: self.cache.unwrap_or(true),
            env: self.env,
            secrets: self.secrets,
        }
    }
}

impl Checker<'_> {
    /// Returns the settings of steps that say nothing themselves: those of the pipeline step that this pipeline is used
    /// in, else those under `defaults:`.
    pub(super) fn defaults(&mut self, fields: &Fields) -> Settings {
        let fields = fields.get("defaults").and_then(|node| self.reader.fields(node, "`defaults`", &DEFAULTS));
        let own = fields.map_or_else(Settings::default, |fields| self.settings(&fields, &Settings::default()));
        self.frame.settings.clone().over(&own)
    }

    /// Returns the settings in `fields`, those of `defaults` where there are none or where they have mistakes.
    pub(super) fn settings(&mut self, fields: &Fields, defaults: &Settings) -> Settings {
        let mut settings = defaults.clone();
        if let Some(retries) = fields.get("retries").and_then(|node| self.retries(node)) {
            settings.retries = Some(retries);
        }
        if let Some(timeout) = fields.get("timeout").and_then(|node| self.duration(node, "`timeout`")) {
            settings.timeout = Some(timeout);
        }
        if let Some(node) = fields.get("resources") {
            self.resources(node, &mut settings);
        }
        if let Some(node) = fields.get("on_item_error") {
            settings.on_item_error = self.reader.word(node, "`on_item_error`", &ITEM_ERRORS).or(settings.on_item_error);
        }
        if let Some(node) = fields.get("cache") {
            settings.cache = self.reader.truth(node, "`cache`").or(settings.cache);
        }
        if let Some(node) = fields.get("env") {
            self.env(node, &mut settings.env);
        }
        if let Some(node) = fields.get("secrets") {
            self.secrets(node, &mut settings);
        }
        if let (Some(1..), true) = (settings.gpu, settings.env.contains_key(DEVICES_VARIABLE))
            && let Some((key, _)) = fields.entry("resources").or_else(|| fields.entry("env"))
        {
            let message = format!("`{DEVICES_VARIABLE}` is set by mlpipe for a step with GPUs");
            self.reader.report(key.span, message).help("remove it from `env`, or `gpu` from `resources`");
        }
        settings
    }

    fn retries(&mut self, node: &Node) -> Option<Retries> {
        if !matches!(node.value, Value::Map(_)) {
            let max = self.reader.integer(node, "`retries`", 0..=MOST_RETRIES)?;
            return Some(Retries { max, ..Retries::default() });
        }
        let fields = self.reader.fields(node, "`retries`", &RETRIES)?;
        let Some(max) = fields.get("max") else {
            self.reader.report(node.span, "`retries` has no `max`").help("add max: and how often to try again");
            return None;
        };
        let max = self.reader.integer(max, "`max`", 0..=MOST_RETRIES);
        let on = fields.get("on").map_or(Some(Vec::new()), |node| self.retry_causes(node));
        let backoff = match fields.get("backoff") {
            Some(node) => self.duration(node, "`backoff`"),
            None => Some(Duration::ZERO),
        };
        Some(Retries { max: max?, on: on?, backoff: backoff? })
    }

    fn retry_causes(&mut self, node: &Node) -> Option<Vec<RetryOn>> {
        let mut causes = Vec::new();
        for item in self.reader.items(node, "`on`")? {
            let scalar = self.reader.scalar(item, "a cause")?;
            let Some(cause) = RetryOn::named(&scalar.text) else {
                let known = listed(["timeout", "signal", "exit", "exit 75"].into_iter());
                let message = format!("`{}` is not a cause of failure", scalar.text);
                self.reader.report(item.span, message).help(format!("causes: {known}"));
                return None;
            };
            causes.push(cause);
        }
        if causes.is_empty() {
            self.reader.report(node.span, "`on` is empty: nothing would be tried again").help("leave it out for all");
            return None;
        }
        Some(causes)
    }

    fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let scalar = self.reader.scalar(node, what)?;
        let duration = quantity::duration(&scalar.text);
        if duration.is_none() {
            let message = format!("`{}` is not a duration", scalar.text);
            self.reader.report(node.span, message).help(with_unit(scalar, "s", "durations are like 90s, 10m, 1h30m"));
        }
        duration
    }

    fn resources(&mut self, node: &Node, settings: &mut Settings) {
        let Some(fields) = self.reader.fields(node, "`resources`", &RESOURCES) else { return };
        if let Some(cpu) = fields.get("cpu").and_then(|node| self.reader.integer(node, "`cpu`", 1..=4096)) {
            settings.cpu = Some(cpu);
        }
        if let Some(gpu) = fields.get("gpu").and_then(|node| self.reader.integer(node, "`gpu`", 0..=MOST_DEVICES)) {
            settings.gpu = Some(gpu);
        }
        let Some(node) = fields.get("memory") else { return };
        let Some(scalar) = self.reader.scalar(node, "`memory`") else { return };
        match quantity::memory_bytes(&scalar.text) {
            Some(bytes) => settings.memory_bytes = Some(bytes),
            None => {
                let message = format!("`{}` is not an amount of memory", scalar.text);
                let help = with_unit(scalar, "GiB", "amounts are like 512MiB, 4GiB");
                self.reader.report(node.span, message).help(help);
            }
        }
    }

    fn env(&mut self, node: &Node, env: &mut BTreeMap<String, String>) {
        for (key, node) in self.reader.entries(node, "`env`").unwrap_or_default() {
            if self.is_variable(&key.text, key.span)
                && let Some(value) = self.text(node, "`env`")
            {
                env.insert(key.text.clone(), value);
            }
        }
    }

    /// Adds names of secrets, after reporting those that are not set.
    fn secrets(&mut self, node: &Node, settings: &mut Settings) {
        for item in self.reader.items(node, "`secrets`").unwrap_or_default() {
            let Some(scalar) = self.reader.scalar(item, "a secret") else { continue };
            let name = scalar.text.as_str();
            if !self.is_variable(name, item.span) {
                continue;
            }
            if settings.env.contains_key(name) {
                self.reader.report(item.span, format!("`{name}` is both in `env` and a secret")).help("remove one");
            } else if std::env::var_os(name).is_none() {
                let message = format!("the secret `{name}` is not set in the environment of mlpipe");
                self.reader.report(item.span, message).help(format!("export {name} before running mlpipe"));
            } else if !settings.secrets.iter().any(|known| known == name) {
                settings.secrets.push(name.to_owned());
            }
        }
    }

    /// Returns whether a step may be given an environment variable of that name, after reporting that it may not.
    fn is_variable(&mut self, name: &str, span: Span) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(fits) || name.as_bytes()[0].is_ascii_digit() {
            self.reader.report(span, format!("`{name}` cannot be the name of an environment variable"));
            return false;
        }
        if RESERVED_VARIABLES.contains(&name) {
            self.reader.report(span, format!("`{name}` is set by mlpipe"));
            return false;
        }
        true
    }
}

fn with_unit(scalar: &Scalar, unit: &str, otherwise: &str) -> String {
    match scalar.kind {
        ScalarKind::Int(number) if number > 0 => format!("add a unit: {number}{unit}"),
        _ => otherwise.to_owned(),
    }
}
