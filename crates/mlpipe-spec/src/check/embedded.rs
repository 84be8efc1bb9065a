//! A step that is a pipeline: the file it names, and what it says about that pipeline's inputs.
//!
//! Each file is read once, however many steps name it. What the pipeline in it says is checked for each of these steps
//! anew, since it depends on what they give it: see `inside.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::expression::{Lookup, bare};
use crate::fields::Fields;
use crate::paths::{local_path, shown, tidy};
use crate::source::{SourceFile, Span};
use crate::yaml::{Key, Node};
use crate::{source, syntax};

use super::Checker;

/// Pipelines nested deeper than this are a slip.
const DEEPEST: usize = 16;

/// Keys that are about one process, which a step with a pipeline does not have.
const OF_A_PROCESS: [&str; 4] = ["project", "entry_point", "batch", "timeout"];

/// What a step says about the pipeline that it is.
pub(super) struct Embedded<'n> {
    /// `None` after reporting why it cannot be used.
    pub(super) file: Option<Arc<PipelineFile>>,
    /// Where the file is named.
    pub(super) at: Span,
    /// What stands for the inputs of that pipeline; `None` for what has a mistake.
    pub(super) inputs: Vec<(&'n Key, Option<Lookup>)>,
}

/// A pipeline file that a step names.
#[derive(Debug)]
pub(super) struct PipelineFile {
    pub(super) place: FilePlace,
    pub(super) source: Arc<SourceFile>,
    pub(super) tree: Node,
}

/// Where a pipeline file lies.
#[derive(Debug, Clone)]
pub(super) struct FilePlace {
    /// Absolute.
    pub(super) path: PathBuf,
    /// The same without symbolic links: two names of one file have one of these.
    real: PathBuf,
}

impl FilePlace {
    pub(super) fn new(path: PathBuf) -> Self {
        FilePlace { real: fs::canonicalize(&path).unwrap_or_else(|_| path.clone()), path }
    }
}

impl PipelineFile {
    pub(super) fn directory(&self) -> PathBuf {
        self.place.path.parent().unwrap_or(Path::new("/")).to_path_buf()
    }
}

impl Checker<'_> {
    /// Returns what a step says about its pipeline, after reporting what is wrong with it.
    pub(super) fn embedded<'n>(
        &mut self,
        step: &str,
        (key, node): (&Key, &Node),
        fields: &Fields<'n>,
        uses: &mut Vec<(usize, Span)>,
    ) -> Embedded<'n> {
        for other in OF_A_PROCESS {
            if let Some((other, _)) = fields.entry(other) {
                let message = format!("`{}` is for a step with a `project`, and this one has a `pipeline`", other.text);
                let help = match other.text.as_str() {
                    "project" => "remove one of them",
                    _ => "say it in the steps of that pipeline, or under its `defaults`",
                };
                self.reader.report(other.span, message).help(help);
            }
        }
        let file = self.pipeline_file(step, key, node);
        let entries = fields.get("inputs").and_then(|node| self.reader.entries(node, "`inputs`")).unwrap_or_default();
        let inputs = entries.into_iter().map(|(key, node)| (key, self.stand_in(node, uses))).collect();
        Embedded { file, at: node.span, inputs }
    }

    /// Returns what stands for an input, after reporting that it is no collection.
    fn stand_in(&mut self, node: &Node, uses: &mut Vec<(usize, Span)>) -> Option<Lookup> {
        let scalar = self.reader.scalar(node, "a collection")?;
        match bare(node, scalar) {
            Ok(lookup @ Lookup::Input(_)) => Some(lookup),
            Ok(Lookup::Output { step, output }) => {
                uses.push((self.step_index(&step)?, step.span));
                Some(Lookup::Output { step, output })
            }
            Ok(_) => {
                let message = format!("`{}` is not a collection", scalar.text);
                let help = "an input of the pipeline can be inputs.<input> or <step>.outputs.<output>";
                self.reader.report(node.span, message).help(help);
                None
            }
            Err(mistake) => {
                self.reader.report(mistake.span, mistake.message).help_if(mistake.help);
                None
            }
        }
    }

    fn pipeline_file(&mut self, step: &str, key: &Key, node: &Node) -> Option<Arc<PipelineFile>> {
        let text = self.text(node, "`pipeline`")?;
        if text.is_empty() {
            self.reader.report(node.span, "`pipeline` is empty");
            return None;
        }
        let path = local_path(&text, &self.directory)
            .map_err(|mismatch| self.reader.report(node.span, mismatch.message).help_if(mismatch.help))
            .ok()?;
        let path = tidy(Path::new(&path));
        let file = match self.shared.files.get(&path) {
            Some(known) => known.clone()?,
            None => {
                let file = self.read_pipeline(step, node, &path);
                self.shared.files.insert(path, file.clone());
                file?
            }
        };
        self.check_nesting(key, node, &file)?;
        Some(file)
    }

    /// Reports a pipeline that is part of itself.
    fn check_nesting(&mut self, key: &Key, node: &Node, file: &PipelineFile) -> Option<()> {
        if let Some(start) = self.frame.files.iter().position(|outer| outer.real == file.place.real) {
            let chain = self.frame.files[start..].iter().chain([&file.place]);
            let names: Vec<String> = chain.map(|place| shown(&place.path, &self.here).display().to_string()).collect();
            self.reader.report(node.span, format!("a pipeline is part of itself: {}", names.join(" -> ")));
            return None;
        }
        if self.frame.files.len() >= DEEPEST {
            self.reader.report(key.span, format!("pipelines are nested more than {DEEPEST} deep"));
            return None;
        }
        Some(())
    }

    fn read_pipeline(&mut self, step: &str, node: &Node, path: &Path) -> Option<Arc<PipelineFile>> {
        let name = shown(path, &self.here);
        let included = self.options.included.and_then(|included| included.get(path));
        let bytes = match included.map_or_else(|| fs::read(path), |text| Ok(text.clone().into_bytes())) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.reader.report(node.span, format!("cannot read `{}`: {error}", name.display()));
                return None;
            }
        };
        let (source, mistake) = source::decoded(name, bytes);
        let through = self.through(step, node.span);
        let before = self.reader.out.reach_through(Some(through));
        let tree = match mistake {
            Some(mistake) => {
                self.reader.out.report(&source, mistake, source::NOT_UTF_8);
                None
            }
            None => syntax::tree(&source, self.reader.out),
        };
        self.reader.out.reach_through(before);
        Some(Arc::new(PipelineFile { place: FilePlace::new(path.to_path_buf()), source, tree: tree? }))
    }

    /// Says which step a pipeline is, for mistakes in it, and where that one stands.
    pub(super) fn through(&self, step: &str, at: Span) -> String {
        let (line, column) = self.reader.source.position(at.start);
        let own = format!("used by step `{step}` in {}:{line}:{column}", self.reader.source.name().display());
        self.reader.out.through().map_or_else(|| own.clone(), |outer| format!("{own}, {outer}"))
    }
}
