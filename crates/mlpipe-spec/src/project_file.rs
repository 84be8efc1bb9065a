//! Reading MLproject files.
//!
//! Stock `mlflow run` must accept the same file, so its keys keep their meaning; ours (`outputs`, `batch_command`,
//! bounds and choices of parameters) are keys it ignores.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::command_line::placeholders;
use crate::compare::{self, ForeignComparator};
use crate::declaration;
use crate::diagnostics::Collector;
use crate::fields::{Fields, Keys, Reader};
use crate::params::ParameterDeclaration;
use crate::paths::shown;
use crate::project::{EntryPoint, OutputDeclaration, OutputKind, Project};
use crate::source::{SourceFile, Span};
use crate::syntax;
use crate::yaml::{Key, Node, Scalar, Value};

pub(crate) const PROJECT: Keys = Keys {
    of: "an MLproject",
    known: &["name", "python_env", "conda_env", "entry_points", "description"],
    not_yet: &["docker_env"],
};
pub(crate) const ENTRY_POINT: Keys = Keys {
    of: "an entry point",
    known: &["parameters", "command", "batch_command", "outputs", "description"],
    not_yet: &[],
};
pub(crate) const OUTPUT: Keys =
    Keys { of: "an output", known: &["path", "type", "compare", "description"], not_yet: &[] };

pub(crate) const OUTPUT_KINDS: [(&str, OutputKind); 4] = [
    ("file", OutputKind::File),
    ("json", OutputKind::Json),
    ("directory", OutputKind::Directory),
    ("collection", OutputKind::Collection),
];

/// What is known of a project directory.
#[derive(Debug, Clone)]
pub(crate) enum Loaded {
    Good(Arc<Project>),
    /// Its MLproject has mistakes, which were reported there.
    Broken,
    /// There is none to read, and why.
    Absent(String),
}

/// The projects read so far: each directory is read once, however many steps use it.
#[derive(Debug)]
pub(crate) struct Projects {
    by_directory: HashMap<PathBuf, Loaded>,
    comparators: Vec<ForeignComparator>,
}

impl Projects {
    /// Starts without any; `comparators` may be named beside our own.
    pub(crate) fn new(comparators: &[ForeignComparator]) -> Self {
        Projects { by_directory: HashMap::new(), comparators: comparators.to_vec() }
    }

    /// Returns the project in an absolute directory; places are shown relative to `here`.
    pub(crate) fn load(&mut self, directory: &Path, here: &Path, out: &mut Collector) -> Loaded {
        if let Some(loaded) = self.by_directory.get(directory) {
            return loaded.clone();
        }
        let loaded = load(directory, here, &self.comparators, out);
        self.by_directory.insert(directory.to_path_buf(), loaded.clone());
        loaded
    }
}

fn load(directory: &Path, here: &Path, comparators: &[ForeignComparator], out: &mut Collector) -> Loaded {
    let name = shown(directory, here);
    if !directory.is_dir() {
        return Loaded::Absent(format!("there is no directory `{}`", name.display()));
    }
    let Some(file) = project_file(directory) else {
        return Loaded::Absent(format!("`{}` has no MLproject file", name.display()));
    };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) => return Loaded::Absent(format!("cannot read `{}`: {error}", shown(&file, here).display())),
    };
    let source = Arc::new(SourceFile::new(shown(&file, here), text));
    let before = out.count();
    let project = syntax::tree(&source, out).and_then(|tree| {
        let reader = Reader { source, out };
        ProjectReader { reader, directory, comparators }.project(&tree)
    });
    match project {
        Some(project) if out.count() == before => Loaded::Good(Arc::new(project)),
        _ => Loaded::Broken,
    }
}

/// Returns the MLproject of a directory; MLflow does not mind the case of its name.
fn project_file(directory: &Path) -> Option<PathBuf> {
    let usual = directory.join("MLproject");
    if usual.is_file() {
        return Some(usual);
    }
    let entries = fs::read_dir(directory).ok()?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    names.filter(|name| name.eq_ignore_ascii_case("MLproject")).min().map(|name| directory.join(name))
}

struct ProjectReader<'a> {
    reader: Reader<'a>,
    directory: &'a Path,
    comparators: &'a [ForeignComparator],
}

impl ProjectReader<'_> {
    fn project(&mut self, tree: &Node) -> Option<Project> {
        let fields = self.reader.fields(tree, "an MLproject", &PROJECT)?;
        let given = fields.get("name").and_then(|node| self.reader.scalar(node, "`name`"));
        let of_directory = || self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let environment = self.environment(&fields);
        let mut entry_points = IndexMap::new();
        match fields.get("entry_points") {
            None => self.reader.report(tree.span, "the MLproject has no `entry_points`").help("add entry_points: main"),
            Some(node) => {
                for (key, node) in self.reader.entries(node, "`entry_points`").unwrap_or_default() {
                    if let Some(entry_point) = self.entry_point(key, node) {
                        entry_points.insert(key.text.clone(), entry_point);
                    }
                }
            }
        }
        let name = given.map_or_else(of_directory, |scalar| scalar.text.clone());
        Some(Project { directory: self.directory.to_path_buf(), name, entry_points, environment })
    }

    fn environment(&mut self, fields: &Fields) -> Option<String> {
        let given: Vec<_> = ["python_env", "conda_env"].into_iter().filter_map(|name| fields.entry(name)).collect();
        if let [_, (second, _)] = given.as_slice() {
            self.reader.report(second.span, "a project has one environment: `python_env` or `conda_env`");
        }
        let (key, node) = given.first()?;
        let scalar = self.reader.scalar(node, &format!("`{}`", key.text))?;
        let file = self.directory.join(&scalar.text);
        if !file.is_file() {
            self.reader.report(node.span, format!("there is no file `{}` in the project", scalar.text));
        }
        Some(file.to_string_lossy().into_owned())
    }

    fn entry_point(&mut self, key: &Key, node: &Node) -> Option<EntryPoint> {
        let what = format!("entry point `{}`", key.text);
        let fields = self.reader.fields(node, &what, &ENTRY_POINT)?;
        let parameters = fields.get("parameters").map(|node| self.parameters(node)).unwrap_or_default();
        let outputs = fields.get("outputs").map(|node| self.outputs(node)).unwrap_or_default();
        let batch_command = fields.get("batch_command").and_then(|node| self.batch_command(node));
        let Some(node) = fields.get("command") else {
            self.reader.report(key.span, format!("{what} has no `command`"));
            return None;
        };
        let command = self.command(node, parameters.keys().map(String::as_str))?;
        Some(EntryPoint { parameters, command, batch_command, outputs })
    }

    fn parameters(&mut self, node: &Node) -> IndexMap<String, ParameterDeclaration> {
        let mut parameters = IndexMap::new();
        for (key, node) in self.reader.entries(node, "`parameters`").unwrap_or_default() {
            if !self.reader.is_name(key, "a parameter") {
                continue;
            }
            // A parameter with a mistake still is one: the command may name it.
            let declaration = self.parameter(key, node).unwrap_or(ParameterDeclaration {
                kind: crate::params::ParameterKind::String,
                default: None,
                min: None,
                max: None,
                choices: Vec::new(),
            });
            parameters.insert(key.text.clone(), declaration);
        }
        parameters
    }

    fn parameter(&mut self, key: &Key, node: &Node) -> Option<ParameterDeclaration> {
        let declared = declaration::read(&mut self.reader, key, node, false)?;
        let mut declaration = declared.declaration;
        if let Some((scalar, span)) = declared.default {
            match declaration.value_of(&scalar.text, self.directory) {
                Ok(value) => declaration.default = Some(value.to_string()),
                Err(mismatch) => {
                    let message = format!("default of `{}`: {}", key.text, mismatch.message);
                    self.reader.report(span, message).help_if(mismatch.help);
                }
            }
        }
        Some(declaration)
    }

    fn command<'p>(&mut self, node: &Node, known: impl Iterator<Item = &'p str> + Clone) -> Option<String> {
        let scalar = self.reader.scalar(node, "`command`")?;
        let names = self.checked_command(node, scalar)?;
        for name in names {
            if !known.clone().any(|parameter| parameter == name) {
                let span = placeholder_span(node, scalar, name);
                let message = format!("the command uses `{{{name}}}`, which is not a parameter");
                self.reader.out.unknown(&self.reader.source, span, message, name, known.clone());
            }
        }
        Some(scalar.text.trim().to_owned())
    }

    fn batch_command(&mut self, node: &Node) -> Option<String> {
        let scalar = self.reader.scalar(node, "`batch_command`")?;
        let names = self.checked_command(node, scalar)?;
        if let Some(name) = names.iter().find(|name| **name != "batch") {
            let span = placeholder_span(node, scalar, name);
            self.reader
                .report(span, format!("the batch command uses `{{{name}}}`; only `{{batch}}` can be used"))
                .help("{batch} is the path of a list of items with their parameters");
        } else if names.is_empty() {
            self.reader.report(node.span, "the batch command does not use `{batch}`, the path of the list of items");
        }
        Some(scalar.text.trim().to_owned())
    }

    fn checked_command<'s>(&mut self, node: &Node, scalar: &'s Scalar) -> Option<Vec<&'s str>> {
        if scalar.text.trim().is_empty() {
            self.reader.report(node.span, "the command is empty");
            return None;
        }
        match placeholders(&scalar.text) {
            Ok(names) => Some(names),
            Err(message) => {
                self.reader.report(node.span, message);
                None
            }
        }
    }

    fn outputs(&mut self, node: &Node) -> IndexMap<String, OutputDeclaration> {
        let mut outputs: IndexMap<String, OutputDeclaration> = IndexMap::new();
        for (key, node) in self.reader.entries(node, "`outputs`").unwrap_or_default() {
            if !self.reader.is_name(key, "an output") {
                continue;
            }
            let Some(output) = self.output(key, node) else { continue };
            let path = Path::new(&output.path);
            let clash = outputs.iter().find(|(_, other)| {
                let other = Path::new(&other.path);
                other.starts_with(path) || path.starts_with(other)
            });
            if let Some((other, _)) = clash {
                self.reader.report(key.span, format!("outputs `{other}` and `{}` write to the same place", key.text));
            }
            outputs.insert(key.text.clone(), output);
        }
        outputs
    }

    fn output(&mut self, key: &Key, node: &Node) -> Option<OutputDeclaration> {
        let name = &key.text;
        if let Value::Scalar(scalar) = &node.value {
            let help = format!("write {name}: {{path: {}, type: file}}", scalar.text);
            self.reader.report(node.span, format!("output `{name}` must be a mapping")).help(help);
            return None;
        }
        let fields = self.reader.fields(node, &format!("output `{name}`"), &OUTPUT)?;
        let kind = match fields.get("type") {
            Some(node) => self.reader.word(node, "`type`", &OUTPUT_KINDS)?,
            None => OutputKind::default(),
        };
        let compare = match fields.get("compare") {
            Some(node) => compare::read(&mut self.reader, node, kind, self.comparators)?,
            None => Vec::new(),
        };
        let Some(node) = fields.get("path") else {
            self.reader.report(key.span, format!("output `{name}` has no `path`"));
            return None;
        };
        let scalar = self.reader.scalar(node, "`path`")?;
        if !stays_inside(&scalar.text) {
            let message = format!("the path of an output must lie in the output directory, not `{}`", scalar.text);
            self.reader.report(node.span, message).help("write a relative path without `..`");
            return None;
        }
        Some(OutputDeclaration { path: scalar.text.clone(), kind, compare })
    }
}

fn stays_inside(path: &str) -> bool {
    let mut components = Path::new(path).components().peekable();
    components.peek().is_some() && components.all(|component| matches!(component, Component::Normal(_)))
}

fn placeholder_span(node: &Node, scalar: &Scalar, name: &str) -> Span {
    let at = scalar.text.find(&format!("{{{name}}}"));
    match (scalar.verbatim_at, at) {
        (Some(start), Some(at)) => Span { start: start + at, end: start + at + name.len() + 2 },
        _ => node.span,
    }
}
