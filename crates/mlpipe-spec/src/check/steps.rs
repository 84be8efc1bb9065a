//! Reading one step as far as that is possible without the other steps.

use std::sync::Arc;

use crate::expression::{Formula, Lookup, Name, Piece, bare, condition};
use crate::fields::{Fields, Keys, is_name};
use crate::pipeline::{MATRIX_VARIABLE, Matrix, StepName};
use crate::project::{EntryPoint, Project};
use crate::project_file::Loaded;
use crate::source::Span;
use crate::yaml::{Key, Node};

use super::Checker;
use super::embedded::Embedded;
use super::settings::Settings;

pub(crate) const STEP: Keys = Keys {
    of: "a step",
    known: &[
        "project",
        "entry_point",
        "pipeline",
        "inputs",
        "for_each",
        "matrix",
        "parameters",
        "needs",
        "if",
        "always",
        "batch",
        "retries",
        "timeout",
        "resources",
        "on_item_error",
        "cache",
        "env",
        "secrets",
        "description",
    ],
    not_yet: &[],
};

const MAIN: &str = "main";

/// A step that was read; `None` stands for what has a mistake.
pub(super) struct Draft<'n> {
    pub(super) key: &'n Key,
    pub(super) step_name: Option<StepName>,
    pub(super) project: Option<Arc<Project>>,
    /// An entry point that `project` has.
    pub(super) entry_point: Option<String>,
    /// For a step that is a pipeline.
    pub(super) embedded: Option<Embedded<'n>>,
    pub(super) loops: Option<Vec<Loop>>,
    /// `None` without one, `Some(None)` for one with a mistake; so too for `condition`.
    pub(super) matrix: Option<Option<Matrix>>,
    /// The expression and its text.
    pub(super) condition: Option<Option<(Formula, String)>>,
    pub(super) always: bool,
    /// The values given, with their expressions read.
    pub(super) parameters: Vec<(&'n Key, &'n Node, Option<Vec<Piece>>)>,
    /// Where a missing parameter is reported.
    pub(super) parameters_at: Span,
    pub(super) needs: Vec<usize>,
    /// The steps used, by their places in declared order, and where.
    pub(super) uses: Vec<(usize, Span)>,
    pub(super) batch: Option<(u32, Span)>,
    pub(super) settings: Settings,
}

/// A variable of `for_each:`.
pub(super) struct Loop {
    pub(super) variable: Name,
    pub(super) source: LoopSource,
}

/// What a variable ranges over; steps are places in declared order.
pub(super) enum LoopSource {
    Input(Name),
    Step { step: usize, name: Name },
    Output { step: usize, output: Name },
}

impl Draft<'_> {
    pub(super) fn name(&self) -> &str {
        &self.key.text
    }

    pub(super) fn entry(&self) -> Option<&EntryPoint> {
        self.project.as_ref()?.entry_points.get(self.entry_point.as_ref()?)
    }
}

impl Checker<'_> {
    /// Returns what a step says; its defaults come from `defaults`.
    pub(super) fn draft<'n>(&mut self, key: &'n Key, node: &'n Node, defaults: &Settings) -> Draft<'n> {
        let step_name = StepName::new(&key.text);
        if step_name.is_none() {
            self.reader
                .report(key.span, format!("`{}` cannot be the name of a step", key.text))
                .help("names are lower-case letters, digits, `_` and `-`, starting with a letter");
        }
        let mut draft = Draft {
            key,
            step_name,
            project: None,
            entry_point: None,
            embedded: None,
            loops: None,
            matrix: None,
            condition: None,
            always: false,
            parameters: Vec::new(),
            parameters_at: key.span,
            needs: Vec::new(),
            uses: Vec::new(),
            batch: None,
            settings: defaults.clone(),
        };
        let Some(fields) = self.reader.fields(node, &format!("step `{}`", key.text), &STEP) else { return draft };
        match fields.entry("pipeline") {
            Some((key, node)) => {
                // What the step says goes before the `defaults` of that pipeline; those of this one are for its own steps.
                draft.settings = self.settings(&fields, &Settings::default());
                draft.embedded = Some(self.embedded(&draft.key.text, (key, node), &fields, &mut draft.uses));
            }
            None => {
                draft.settings = self.settings(&fields, defaults);
                draft.project = self.project(&fields, &mut draft);
            }
        }
        draft.loops = self.loops(&fields, &mut draft.uses);
        draft.matrix = fields.get("matrix").map(|node| self.matrix(node));
        self.check_one_matrix(&fields, &draft);
        draft.condition = fields.get("if").map(|node| self.condition(node, &mut draft.uses));
        draft.always = fields.get("always").and_then(|node| self.reader.truth(node, "`always`")).unwrap_or(false);
        draft.batch = fields
            .get("batch")
            .and_then(|node| self.reader.integer(node, "`batch`", 1..=1_000_000).map(|batch| (batch, node.span)));
        self.parameters(&fields, &mut draft);
        self.needs(&fields, &mut draft);
        draft
    }

    fn project(&mut self, fields: &Fields, draft: &mut Draft) -> Option<Arc<Project>> {
        let Some(node) = fields.get("project") else {
            let message = format!("step `{}` has no `project`", draft.name());
            self.reader.report(draft.key.span, message).help("add project: and the path of an MLproject directory");
            return None;
        };
        if let Some((key, _)) = fields.entry("inputs") {
            let help = "a step with a `project` takes items with `for_each`";
            self.reader.report(key.span, "`inputs` is for a step with a `pipeline`").help(help);
        }
        let text = self.text(node, "`project`")?;
        let directory = crate::paths::local_path(&text, &self.directory)
            .map_err(|mismatch| self.reader.report(node.span, mismatch.message).help_if(mismatch.help))
            .ok()?;
        let project = match self.shared.projects.load(directory.as_ref(), &self.here, self.reader.out) {
            Loaded::Good(project) => project,
            Loaded::Broken => return None,
            Loaded::Absent(why) => {
                self.reader.report(node.span, why);
                return None;
            }
        };
        let (wanted, span) = match fields.get("entry_point") {
            Some(node) => (self.reader.scalar(node, "`entry_point`")?.text.as_str(), node.span),
            None => (MAIN, node.span),
        };
        if project.entry_points.contains_key(wanted) {
            draft.entry_point = Some(wanted.to_owned());
        } else {
            let message = format!("project `{}` has no entry point `{wanted}`", project.name);
            let known = project.entry_points.keys().map(String::as_str);
            self.reader.out.unknown(&self.reader.source, span, message, wanted, known);
        }
        Some(project)
    }

    fn loops(&mut self, fields: &Fields, uses: &mut Vec<(usize, Span)>) -> Option<Vec<Loop>> {
        let Some((key, node)) = fields.entry("for_each") else { return Some(Vec::new()) };
        let entries = self.reader.entries(node, "`for_each`")?;
        if entries.is_empty() {
            self.reader.report(key.span, "`for_each` has no variable").help("write for_each: {variable: source}");
            return None;
        }
        let loops: Vec<Option<Loop>> = entries.into_iter().map(|(key, node)| self.one_loop(key, node, uses)).collect();
        loops.into_iter().collect()
    }

    fn one_loop(&mut self, key: &Key, node: &Node, uses: &mut Vec<(usize, Span)>) -> Option<Loop> {
        let fits = self.reader.is_name(key, "a variable");
        let scalar = self.reader.scalar(node, &format!("`{}`", key.text))?;
        let source = match bare(node, scalar) {
            Ok(Lookup::Input(name)) => LoopSource::Input(name),
            Ok(Lookup::Step(name)) => {
                if !self.step_names.contains_key(&name.text) && self.inputs.contains_key(&name.text) {
                    let message = format!("there is no step `{}`", name.text);
                    self.reader.report(name.span, message).help(format!("did you mean `inputs.{}`?", name.text));
                    return None;
                }
                let step = self.step_index(&name)?;
                uses.push((step, name.span));
                LoopSource::Step { step, name }
            }
            Ok(Lookup::Output { step: name, output }) => {
                let step = self.step_index(&name)?;
                uses.push((step, name.span));
                LoopSource::Output { step, output }
            }
            Ok(_) => {
                let message = format!("`{}` is not a collection", scalar.text);
                self.reader
                    .report(node.span, message)
                    .help("a variable ranges over inputs.<input>, <step> or <step>.outputs.<output>");
                return None;
            }
            Err(mistake) => {
                self.reader.report(mistake.span, mistake.message).help_if(mistake.help);
                return None;
            }
        };
        if key.text == MATRIX_VARIABLE && !matches!(source, LoopSource::Step { .. }) {
            let message = "`matrix` is the variable of the combinations of a matrix";
            self.reader.report(key.span, message).help("name a step with `matrix:`, or choose another name");
            return None;
        }
        fits.then(|| Loop { variable: Name { text: key.text.clone(), span: key.span }, source })
    }

    fn parameters<'n>(&mut self, fields: &Fields<'n>, draft: &mut Draft<'n>) {
        let Some((key, node)) = fields.entry("parameters") else { return };
        draft.parameters_at = key.span;
        for (key, node) in self.reader.entries(node, "`parameters`").unwrap_or_default() {
            let scalar = self.reader.scalar(node, &format!("`{}`", key.text));
            let pieces = scalar.and_then(|scalar| self.pieces(node, scalar));
            for piece in pieces.iter().flatten() {
                match piece {
                    Piece::Text(_) => {}
                    Piece::Lookup(lookup) => self.use_of(lookup, &mut draft.uses),
                    Piece::Formula(formula) => self.uses_of(formula, &mut draft.uses),
                }
            }
            draft.parameters.push((key, node, pieces));
        }
    }

    fn condition(&mut self, node: &Node, uses: &mut Vec<(usize, Span)>) -> Option<(Formula, String)> {
        let scalar = self.reader.scalar(node, "`if`")?;
        match condition(node, scalar) {
            Ok((formula, text)) => {
                self.uses_of(&formula, uses);
                Some((formula, text.to_owned()))
            }
            Err(mistake) => {
                self.reader.report(mistake.span, mistake.message).help_if(mistake.help);
                None
            }
        }
    }

    fn uses_of(&mut self, formula: &Formula, uses: &mut Vec<(usize, Span)>) {
        formula.for_each_lookup(&mut |lookup| self.use_of(lookup, uses));
    }

    /// Notes the step that a lookup uses, after reporting that there is no such step.
    fn use_of(&mut self, lookup: &Lookup, uses: &mut Vec<(usize, Span)>) {
        if let Lookup::Output { step, .. } | Lookup::Gather { step, .. } = lookup
            && let Some(used) = self.step_index(step)
        {
            uses.push((used, step.span));
        }
    }

    fn check_one_matrix(&mut self, fields: &Fields, draft: &Draft) {
        let bound = draft.loops.iter().flatten().any(|one| one.variable.text == MATRIX_VARIABLE);
        if let (true, Some((key, _))) = (bound, fields.entry("matrix")) {
            let message = "this step has a matrix of its own and one in `for_each`";
            self.reader.report(key.span, message).help("a step has one matrix: remove one of them");
        }
    }

    fn needs(&mut self, fields: &Fields, draft: &mut Draft) {
        let Some(node) = fields.get("needs") else { return };
        for item in self.reader.items(node, "`needs`").unwrap_or_default() {
            let Some(scalar) = self.reader.scalar(item, "a step name") else { continue };
            let text = scalar.text.strip_prefix("steps.").filter(|rest| is_name(rest)).unwrap_or(&scalar.text);
            if let Some(step) = self.step_index(&Name { text: text.to_owned(), span: item.span }) {
                if !draft.needs.contains(&step) {
                    draft.needs.push(step);
                }
                draft.uses.push((step, item.span));
            }
        }
    }
}
