//! What can be named in filters and orders, by what is searched.

use crate::{Error, Result};

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// Runs.
    Runs,
    /// Experiments.
    Experiments,
    /// Logged models.
    LoggedModels,
    /// Registered models.
    RegisteredModels,
    /// Versions of registered models.
    ModelVersions,
}

/// What kind of thing a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The latest value of a metric.
    Metric,
    /// A param.
    Param,
    /// A tag.
    Tag,
    /// A property that every entity has.
    Attribute,
    /// A property of a dataset that a run read.
    Dataset,
}

impl Kind {
    /// Returns MLflow's word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Param => "parameter",
            Self::Tag => "tag",
            Self::Attribute => "attribute",
            Self::Dataset => "dataset",
        }
    }
}

/// Something that is compared or ordered by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Column {
    pub(crate) kind: Kind,
    /// The key; of an attribute the name of the column it is in.
    pub(crate) key: String,
}

impl Grammar {
    /// Returns the attributes that are text, with the columns they are in.
    fn texts(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Runs => &[
                ("run_id", "run_id"),
                ("run_name", "name"),
                ("run name", "name"),
                ("Run name", "name"),
                ("Run Name", "name"),
                ("status", "status"),
                ("user_id", "user_id"),
                ("artifact_uri", "artifact_uri"),
            ],
            Self::Experiments => &[("name", "name")],
            Self::LoggedModels => &[
                ("name", "name"),
                ("model_id", "model_id"),
                ("model_type", "model_type"),
                ("status", "status"),
                ("source_run_id", "source_run_id"),
                ("artifact_location", "artifact_uri"),
            ],
            Self::RegisteredModels => &[("name", "name")],
            Self::ModelVersions => &[("name", "name"), ("run_id", "run_id"), ("source_path", "source")],
        }
    }

    /// Returns the attributes that are numbers, with the columns they are in.
    fn numbers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Runs => &[
                ("start_time", "start_time"),
                ("end_time", "end_time"),
                ("created", "start_time"),
                ("Created", "start_time"),
            ],
            Self::Experiments => &[
                ("experiment_id", "experiment_id"),
                ("creation_time", "creation_time"),
                ("last_update_time", "last_update_time"),
            ],
            Self::LoggedModels => &[
                ("creation_timestamp", "creation_timestamp"),
                ("creation_timestamp_ms", "creation_timestamp"),
                ("creation_time", "creation_timestamp"),
                ("last_updated_timestamp", "last_updated_timestamp"),
                ("last_updated_timestamp_ms", "last_updated_timestamp"),
            ],
            Self::RegisteredModels => &[
                ("creation_timestamp", "creation_timestamp"),
                ("last_updated_timestamp", "last_updated_timestamp"),
                ("timestamp", "last_updated_timestamp"),
            ],
            Self::ModelVersions => &[
                ("version_number", "version"),
                ("creation_timestamp", "creation_timestamp"),
                ("last_updated_timestamp", "last_updated_timestamp"),
            ],
        }
    }

    /// Returns the attributes that cannot be in a filter.
    fn only_ordered(self) -> &'static [&'static str] {
        match self {
            Self::RegisteredModels => &["creation_timestamp", "last_updated_timestamp", "timestamp"],
            Self::ModelVersions => &["creation_timestamp", "last_updated_timestamp"],
            _ => &[],
        }
    }

    /// Returns the attributes that can be compared with a list.
    pub(super) fn listable(self) -> &'static [&'static str] {
        match self {
            Self::Runs | Self::Experiments => &["run_id"],
            Self::LoggedModels => &["name", "model_id", "model_type", "status", "source_run_id", "artifact_location"],
            Self::RegisteredModels => &["name"],
            Self::ModelVersions => &["name", "run_id"],
        }
    }

    /// Returns whether `IS NULL` can be asked.
    pub(super) fn has_null_tests(self, kind: Kind) -> bool {
        match self {
            Self::Runs => matches!(kind, Kind::Tag | Kind::Param),
            Self::Experiments => kind == Kind::Tag,
            _ => false,
        }
    }

    /// Returns what a word before the first dot stands for.
    fn kind(self, prefix: &str) -> Result<Kind> {
        let kind = match prefix {
            "metric" | "metrics" => Kind::Metric,
            "param" | "params" | "parameter" | "parameters" => Kind::Param,
            "tag" | "tags" => Kind::Tag,
            "attribute" | "attributes" | "attr" | "run" => Kind::Attribute,
            "dataset" | "datasets" => Kind::Dataset,
            _ => return Err(self.no_kind(prefix)),
        };
        let is_known = match self {
            Self::Runs => true,
            Self::LoggedModels => kind != Kind::Dataset,
            Self::Experiments | Self::RegisteredModels | Self::ModelVersions => {
                matches!(kind, Kind::Attribute | Kind::Tag)
            }
        };
        if is_known { Ok(kind) } else { Err(self.no_kind(prefix)) }
    }

    fn no_kind(self, prefix: &str) -> Error {
        let valid = match self {
            Self::Runs => "Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
            Self::LoggedModels => "Expected one of ['attributes', 'metrics', 'params', 'tags']",
            _ => "Valid entity types are ('attribute', 'tag', 'tags')",
        };
        Error::invalid(format!("Invalid entity type '{prefix}'. {valid}"))
    }

    /// Returns what a name in a filter stands for.
    pub(super) fn filtered(self, name: &str) -> Result<Column> {
        self.column(name, self.only_ordered())
    }

    /// Returns what a name in an order stands for.
    pub(super) fn ordered(self, name: &str) -> Result<Column> {
        self.column(name, &[])
    }

    fn column(self, name: &str, except: &[&str]) -> Result<Column> {
        let (kind, key) = match split(name) {
            (None, key) => (Kind::Attribute, key),
            (Some(prefix), key) => (self.kind(&unquoted(prefix))?, key),
        };
        let key = unquoted(key);
        match kind {
            Kind::Attribute => {
                let known = || self.texts().iter().chain(self.numbers()).filter(|(name, _)| !except.contains(name));
                let found = known().find(|(name, _)| *name == key);
                let column = found.map(|(_, column)| (*column).to_owned()).ok_or_else(|| {
                    let keys = known().map(|(name, _)| format!("'{name}'")).collect::<Vec<_>>().join(", ");
                    Error::invalid(format!("Invalid attribute key '{key}' specified. Valid keys are '{{{keys}}}'"))
                })?;
                Ok(Column { kind, key: column })
            }
            Kind::Dataset if !["name", "digest", "context"].contains(&key.as_str()) => Err(Error::invalid(format!(
                "Invalid dataset key '{key}' specified. Valid keys are '{{'name', 'digest', 'context'}}'"
            ))),
            _ => Ok(Column { kind, key }),
        }
    }

    /// Returns the name under which an attribute may be in a list of [`Grammar::listable`].
    pub(super) fn attribute_name(self, column: &Column) -> &'static str {
        let found = self.texts().iter().chain(self.numbers()).find(|(_, key)| *key == column.key);
        found.map_or("", |(name, _)| name)
    }
}

/// Returns whether what a column holds is a number.
pub(crate) fn is_number(grammar: Grammar, column: &Column) -> bool {
    match column.kind {
        Kind::Metric => true,
        Kind::Attribute => grammar.numbers().iter().any(|(_, key)| *key == column.key),
        _ => false,
    }
}

/// Splits a name at its first dot that is not within quotes.
fn split(name: &str) -> (Option<&str>, &str) {
    let mut quote = None;
    for (at, letter) in name.char_indices() {
        match (quote, letter) {
            (None, '`' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '.') => return (Some(&name[..at]), &name[at + 1..]),
            _ => {}
        }
    }
    (None, name)
}

/// Removes the quotes around a name.
fn unquoted(name: &str) -> String {
    let inner = |quote: char| name.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('`').or_else(|| inner('"')).unwrap_or(name).to_owned()
}
