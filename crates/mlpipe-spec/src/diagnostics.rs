//! Mistakes in what the user wrote, each with its place, and how they are shown.
//!
//! Checks put what they find into a [`Collector`] and go on; the caller shows [`Diagnostics`] as text or as JSON.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceSpan};
use serde::Serialize;

use crate::source::{SourceFile, Span};

/// Names this alike are offered as "did you mean": Jaro-Winkler similarity, 1 for equal names.
const ALIKE: f64 = 0.8;

/// Names compared for "did you mean" in one load at most; beyond it mistakes come without suggestions.
const MOST_COMPARISONS: usize = 2_000_000;

/// All mistakes found in a pipeline and its projects, in order of file and place.
///
/// As JSON: a list of [`Diagnostic`].
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
}

/// One mistake.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnostic {
    /// The file, relative to the working directory when it lies below it.
    pub file: PathBuf,
    /// Line of the mistake, from 1.
    pub line: usize,
    /// Column of the mistake in characters, from 1.
    pub column: usize,
    /// What is wrong, without a place: a lower-case fragment.
    pub message: String,
    /// What to do about it, such as "did you mean `study`?".
    pub help: Option<String>,
    /// The line of the file.
    pub excerpt: String,
    /// For a file that a step of another pipeline names: that step and its place.
    pub through: Option<String>,
    #[serde(skip)]
    span: Span,
    #[serde(skip)]
    source: Arc<SourceFile>,
}

impl Diagnostics {
    /// Returns the mistakes; there is at least one.
    pub fn items(&self) -> &[Diagnostic] {
        &self.items
    }

    /// Returns all mistakes as text for people: place, source excerpt, caret and help, wrapped at `width` columns.
    pub fn render(&self, colour: bool, width: usize) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false);
        let mut text = String::new();
        for item in &self.items {
            if handler.render_report(&mut text, &Shown(item)).is_err() {
                text.push_str(&item.to_string());
            }
            text.push('\n');
        }
        text
    }
}

impl fmt::Display for Diagnostics {
    /// Writes one line per mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            write!(f, "{}{item}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { file, line, column, message, help, through, .. } = self;
        write!(f, "{}:{line}:{column}: {message}", file.display())?;
        help.iter().try_for_each(|help| write!(f, " ({help})"))?;
        through.iter().try_for_each(|through| write!(f, " ({through})"))
    }
}

/// A diagnostic as miette sees it.
#[derive(Debug)]
struct Shown<'a>(&'a Diagnostic);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let lines: Vec<&str> = self.0.help.iter().chain(&self.0.through).map(String::as_str).collect();
        (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&*self.0.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Span { start, end } = self.0.span;
        // A caret of one column when the place has no length; never longer than the line it starts on.
        let rest = self.0.source.text().get(start..).unwrap_or_default();
        let length = rest.find(['\n', '\r']).unwrap_or(rest.len()).min(end.saturating_sub(start));
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(None, (start, length)))))
    }
}

impl miette::SourceCode for SourceFile {
    /// As miette's own for strings, but finds the lines without reading the file from its start.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, MietteError> {
        let (line, column) = self.position(span.offset());
        let (last_line, _) = self.position(span.offset() + span.len());
        let first = line.saturating_sub(lines_before).max(1);
        let window = self.lines(first, last_line + lines_after);
        let data = &self.harmless_text().as_bytes()[window.start..window.end];
        let place = SourceSpan::from((window.start, window.end - window.start));
        let start_column = if lines_before == 0 { column - 1 } else { 0 };
        let name = self.name().display().to_string();
        Ok(Box::new(MietteSpanContents::new_named(name, data, place, first - 1, start_column, last_line - first + 1)))
    }
}

/// Where checks put what they find.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    items: Vec<Diagnostic>,
    comparisons: Cell<usize>,
    through: Option<String>,
}

impl Collector {
    /// Adds a mistake.
    pub(crate) fn report(&mut self, source: &Arc<SourceFile>, span: Span, message: impl AsRef<str>) -> Help<'_> {
        let (line, column) = source.position(span.start);
        self.items.push(Diagnostic {
            file: source.name().to_path_buf(),
            line,
            column,
            message: printable(message.as_ref()),
            help: None,
            excerpt: printable(source.line(line)),
            through: self.through.clone(),
            span,
            source: Arc::clone(source),
        });
        Help(self.items.last_mut())
    }

    /// Adds that a name is not one of those there are, with the nearest of them or, when they are few, all.
    pub(crate) fn unknown<'n>(
        &mut self,
        source: &Arc<SourceFile>,
        span: Span,
        message: impl AsRef<str>,
        name: &str,
        candidates: impl Iterator<Item = &'n str> + Clone,
    ) {
        let help = self.did_you_mean(name, candidates);
        self.report(source, span, message).help_if(help);
    }

    /// Returns a help text that names the candidate most like `name` or, when none is and they are few, all of them.
    pub(crate) fn did_you_mean<'n>(
        &self,
        name: &str,
        candidates: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<String> {
        const FEW: usize = 12;
        if self.comparisons.get() > MOST_COMPARISONS {
            return None;
        }
        let mut compared = 0;
        let alike =
            candidates.clone().inspect(|_| compared += 1).map(|candidate| (alikeness(name, candidate), candidate));
        let best = alike.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
        self.comparisons.set(self.comparisons.get() + compared);
        match best {
            Some((_, candidate)) => Some(format!("did you mean `{candidate}`?")),
            None if (1..=FEW).contains(&compared) => Some(format!("known: {}", listed(candidates))),
            None => None,
        }
    }

    /// Says through which step the files are reached that are looked at from now on; returns what was said before.
    pub(crate) fn reach_through(&mut self, through: Option<String>) -> Option<String> {
        std::mem::replace(&mut self.through, through)
    }

    /// Returns through which step the files are reached that are looked at now.
    pub(crate) fn through(&self) -> Option<&str> {
        self.through.as_deref()
    }

    /// Returns whether nothing was found so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns how many mistakes were found so far.
    pub(crate) fn count(&self) -> usize {
        self.items.len()
    }

    /// Returns what was found, sorted by file (the first reported file first) and place, each once.
    pub(crate) fn finish(self, first_file: &std::path::Path) -> Diagnostics {
        let mut items = self.items;
        items.sort_by(|a, b| {
            let order = |item: &Diagnostic| (item.file != first_file, item.file.clone(), item.span.start);
            order(a).cmp(&order(b))
        });
        let mut seen = HashSet::new();
        items.retain(|item| seen.insert((item.file.clone(), item.span, item.message.clone())));
        Diagnostics { items }
    }
}

/// A mistake just reported, to which help can be added.
pub(crate) struct Help<'a>(Option<&'a mut Diagnostic>);

impl Help<'_> {
    pub(crate) fn help(self, help: impl AsRef<str>) {
        self.help_if(Some(help));
    }

    pub(crate) fn help_if(self, help: Option<impl AsRef<str>>) {
        if let (Some(item), Some(help)) = (self.0, help) {
            item.help = Some(printable(help.as_ref()));
        }
    }
}

/// Returns names as "`a`, `b`, `c`".
pub(crate) fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Returns how alike two names are, from 0 to 1; case and the kind of dash do not count.
fn alikeness(a: &str, b: &str) -> f64 {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    strsim::jaro_winkler(&plain(a), &plain(b)).max(strsim::normalized_damerau_levenshtein(&plain(a), &plain(b)))
}

/// Returns the text with control characters escaped: names come from files and go to terminals.
fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
