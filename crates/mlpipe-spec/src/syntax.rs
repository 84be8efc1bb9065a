//! From a file to its tree, with the usual causes of YAML errors explained.

use std::sync::Arc;

use crate::diagnostics::Collector;
use crate::source::{SourceFile, Span};
use crate::yaml::{self, Node};

/// Returns the tree of a file; `None` after reporting that it is not YAML.
pub(crate) fn tree(source: &Arc<SourceFile>, out: &mut Collector) -> Option<Node> {
    match yaml::parse(source) {
        Ok(tree) => Some(tree),
        Err(error) => {
            let (line, _) = source.position(error.offset);
            let trap = [line, line.saturating_sub(1)].into_iter().find_map(|line| unquoted_expression(source, line));
            let span = trap.unwrap_or(Span { start: error.offset, end: error.offset });
            let help = if trap.is_some() {
                Some("inside `{ }` and `[ ]` an expression must be quoted: \"${{ params.name }}\"")
            } else if source.line(line).starts_with('\t') || source.line(line).trim_start_matches(' ').starts_with('\t')
            {
                Some("YAML is indented with spaces, not tabs")
            } else {
                None
            };
            out.report(source, span, format!("not valid YAML: {}", error.message)).help_if(help);
            None
        }
    }
}

/// Returns the place of a `${{` on a line that is not in quotes but in a flow mapping or list.
fn unquoted_expression(source: &SourceFile, line: usize) -> Option<Span> {
    let text = source.line(line);
    let mut quote = None;
    let mut is_in_flow = false;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            (None, '$') if text[at..].starts_with("${{") && is_in_flow => {
                let start = source.lines(line, line).start + at;
                let length = text[at..].find("}}").map_or(3, |end| end + 2);
                return Some(Span { start, end: start + length });
            }
            (None, '{' | '[') => is_in_flow = true,
            (None, '#') => return None,
            _ => {}
        }
    }
    None
}
