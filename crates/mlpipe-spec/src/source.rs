//! The text of a file and places in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stretch of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// How the file is named to the user.
    name: PathBuf,
    text: String,
    /// The text with `?` for the bytes of control characters, byte for byte; `None` when it has none.
    harmless: Option<String>,
    line_starts: Vec<usize>,
}

/// What is said of a file that is no text.
pub(crate) const NOT_UTF_8: &str = "not valid UTF-8: a pipeline is text in UTF-8";

/// Returns the file with these bytes, and the place of the first that is no UTF-8; it is shown as `\u{fffd}`.
pub(crate) fn decoded(name: PathBuf, bytes: Vec<u8>) -> (Arc<SourceFile>, Option<Span>) {
    let (text, mistake) = match String::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            // A byte order mark is no part of the text.
            let mark = text.strip_prefix('\u{feff}').map_or(0, |_| '\u{feff}'.len_utf8());
            let start = error.utf8_error().valid_up_to() - mark;
            (text, Some(Span { start, end: start + 1 }))
        }
    };
    (Arc::new(SourceFile::new(name, text)), mistake)
}

impl SourceFile {
    pub(crate) fn new(name: PathBuf, text: String) -> SourceFile {
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        let after_newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        let is_harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        let harmless = text.chars().any(is_harmful).then(|| {
            let letters = text.chars().map(|c| if is_harmful(c) { "?".repeat(c.len_utf8()) } else { c.to_string() });
            letters.collect()
        });
        SourceFile { name, text, harmless, line_starts }
    }

    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text for a terminal, with everything at the same byte.
    pub(crate) fn harmless_text(&self) -> &str {
        self.harmless.as_deref().unwrap_or(&self.text)
    }

    /// Returns line and column of a byte, both from 1, the column in characters.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let before = self.text.get(self.line_starts[line - 1]..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// Returns the byte at a line and column, both from 1; the nearest one that exists.
    pub(crate) fn offset_of(&self, line: usize, column: usize) -> usize {
        let line = line.clamp(1, self.line_starts.len());
        let text = self.line(line);
        let within = text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
        self.line_starts[line - 1] + within
    }

    /// Returns a line, from 1, without its end.
    pub(crate) fn line(&self, line: usize) -> &str {
        let Some(start) = line.checked_sub(1).and_then(|index| self.line_starts.get(index)) else { return "" };
        let end = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        self.text[*start..end].trim_end_matches(['\n', '\r'])
    }

    /// Returns the bytes from the start of the first line to the end of the last, both from 1 and clamped.
    pub(crate) fn lines(&self, first: usize, last: usize) -> Span {
        let first = first.clamp(1, self.line_starts.len());
        let end = self.line_starts.get(last).copied().unwrap_or(self.text.len());
        Span { start: self.line_starts[first - 1], end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_counts_characters_not_bytes() {
        let source = SourceFile::new("a.yaml".into(), "é: 1\nß: ü x\n".into());
        let offset = source.text().find('x').expect("x is there");
        assert_eq!(source.position(offset), (2, 6));
        assert_eq!(source.offset_of(2, 6), offset);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let source = SourceFile::new("a.yaml".into(), "a\u{1b}[2J\u{9b}b\tc\n".into());
        assert_eq!(source.harmless_text(), "a?[2J??b\tc\n");
    }

    #[test]
    fn places_outside_the_file_are_moved_inside() {
        let source = SourceFile::new("a.yaml".into(), "ab\ncd".into());
        assert_eq!(source.offset_of(9, 9), 5);
        assert_eq!(source.position(5), (2, 3));
        assert_eq!(source.line(7), "");
    }
}
