//! Compares an output of a reproduced run with the original: byte by byte, or as its project declares with `compare:`.
//!
//! Files are paired by their path below the output. Which comparator takes a file of a directory is decided by the end of its
//! name: `json` takes `.json`, `array` takes `.npy`, a comparator that the command brings takes what it says, `text` takes
//! all others. What none takes must be equal byte by byte.

mod json;
mod npy;
mod tally;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mlpipe_artifacts::{Digest, Tree, TreeEntry, TreeKind};
use mlpipe_spec::Comparator;
use serde::Serialize;
use serde_json::{Map, Value};

pub use tally::{Compared, Difference};

/// How an output compares with the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The same bytes.
    Identical,
    /// Other bytes, but the same within what the project declares with `compare:`.
    Equivalent,
    /// Not the same.
    Different,
    /// One of the two was not made.
    Missing,
}

/// Compares the original with the file of the rerun, given the settings; an error is why one of them cannot be compared.
pub type CompareFiles = fn(&Path, &Path, &Map<String, Value>) -> Result<Compared, String>;

/// A comparator for files of a format that the engine does not know.
#[derive(Debug, Clone, Copy)]
pub struct FileComparator {
    /// Its key under `compare:`.
    pub name: &'static str,
    /// End of the names of the files that it takes within a directory, as in `.dcm`.
    pub suffix: &'static str,
    /// Compares two files.
    pub compare: CompareFiles,
}

/// What comparing one output gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The answer.
    pub verdict: Verdict,
    /// The first difference that counts; none when there is none.
    pub difference: Option<Difference>,
    /// Places that differ by more than is allowed.
    pub differences: u64,
    /// Largest absolute difference of two numbers that were compared with a tolerance.
    pub max_absolute: f64,
    /// The same relative to the original.
    pub max_relative: f64,
}

impl Comparison {
    /// Nothing differs.
    pub fn identical() -> Self {
        Self { verdict: Verdict::Identical, difference: None, differences: 0, max_absolute: 0.0, max_relative: 0.0 }
    }

    /// One thing differs, or is missing.
    pub fn one(verdict: Verdict, difference: Difference) -> Self {
        Self { verdict, difference: Some(difference), differences: 1, ..Self::identical() }
    }
}

/// Compares two outputs, files or directories, by the comparators that are declared for them.
///
/// # Errors
/// When one of them cannot be read.
pub fn compare_outputs(
    original: &Path,
    rerun: &Path,
    declared: &[Comparator],
    known: &[FileComparator],
) -> mlpipe_artifacts::Result<Comparison> {
    let (first, second) = (Tree::read(original, &[])?, Tree::read(rerun, &[])?);
    if first.digest() == second.digest() {
        return Ok(Comparison::identical());
    }
    if first.kind != second.kind {
        let kinds = [first.kind, second.kind].map(|kind| format!("a {kind:?}").to_lowercase());
        return Ok(Comparison::one(Verdict::Different, Difference::values("kind", &kinds[0], &kinds[1])));
    }
    let mut tally = Compared::default();
    compare_directories(&first, &second, &mut tally);
    let theirs: BTreeMap<&str, &TreeEntry> = second.entries.iter().map(|entry| (&*entry.path, entry)).collect();
    for entry in &first.entries {
        let Some(other) = theirs.get(&*entry.path).filter(|other| other.digest != entry.digest) else { continue };
        let comparator = comparator_for(first.kind, &entry.path, declared, known);
        let at = |root: &Path| if entry.path.is_empty() { root.to_owned() } else { root.join(&other.path) };
        let compared = compare_files(&at(original), &at(rerun), comparator, known)?;
        tally.add(compared, &entry.path);
    }
    Ok(Comparison {
        verdict: if tally.differences == 0 { Verdict::Equivalent } else { Verdict::Different },
        difference: tally.first,
        differences: tally.differences,
        max_absolute: tally.max_absolute,
        max_relative: tally.max_relative,
    })
}

/// Notes the files and empty directories that only one of the two has.
fn compare_directories(first: &Tree, second: &Tree, tally: &mut Compared) {
    let names = |tree: &Tree| -> std::collections::BTreeSet<String> {
        let directories = tree.empty_directories.iter().map(|directory| format!("{directory}/"));
        tree.entries.iter().map(|entry| entry.path.clone()).chain(directories).collect()
    };
    let (ours, theirs) = (names(first), names(second));
    for name in ours.difference(&theirs) {
        tally.differ(Difference { original: Some("is there".into()), ..Difference::at(name) });
    }
    for name in theirs.difference(&ours) {
        tally.differ(Difference { rerun: Some("is there".into()), ..Difference::at(name) });
    }
}

/// The comparator that takes a file; none when its bytes must be equal.
fn comparator_for<'c>(
    kind: TreeKind,
    path: &str,
    declared: &'c [Comparator],
    known: &[FileComparator],
) -> Option<&'c Comparator> {
    if kind == TreeKind::File {
        return declared.first();
    }
    let by_suffix = |comparator: &&Comparator| match comparator {
        Comparator::Json { .. } => path.ends_with(".json"),
        Comparator::Array(_) => path.ends_with(".npy"),
        Comparator::Text { .. } => false,
        Comparator::Foreign { name, .. } => {
            known.iter().any(|known| known.name == name && path.ends_with(known.suffix))
        }
    };
    let text = || declared.iter().find(|comparator| matches!(comparator, Comparator::Text { .. }));
    declared.iter().find(by_suffix).or_else(text)
}

fn compare_files(
    original: &Path,
    rerun: &Path,
    comparator: Option<&Comparator>,
    known: &[FileComparator],
) -> mlpipe_artifacts::Result<Compared> {
    let read = |path: &Path| {
        let error = |source| mlpipe_artifacts::Error::Io { action: "read", path: path.to_owned(), source };
        fs::read(path).map_err(error)
    };
    let compared = match comparator {
        None => Ok(text::compare_bytes(&read(original)?, &read(rerun)?)),
        Some(Comparator::Json { tolerance, ignore }) => {
            json::compare(&read(original)?, &read(rerun)?, *tolerance, ignore)
        }
        Some(Comparator::Array(tolerance)) => npy::compare(&read(original)?, &read(rerun)?, *tolerance),
        Some(Comparator::Text { ignore_lines }) => {
            Ok(text::compare_lines(&read(original)?, &read(rerun)?, ignore_lines))
        }
        Some(Comparator::Foreign { name, settings }) => match known.iter().find(|known| known.name == name) {
            Some(known) => (known.compare)(original, rerun, settings),
            None => Err(format!("this command has no comparator `{name}`")),
        },
    };
    Ok(compared.unwrap_or_else(|message| {
        let mut compared = Compared::default();
        compared.differ(Difference::values("cannot be compared", &message, &message));
        compared
    }))
}

/// Returns the digest of what counts of an output, when its comparators leave something out in a way that does not need the
/// original: ignored lines, ignored values of JSON without a tolerance. Equal ones mean equivalent outputs.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn comparable_digest(path: &Path, declared: &[Comparator]) -> mlpipe_artifacts::Result<Option<Digest>> {
    let mut tree = Tree::read(path, &[])?;
    let mut left_out = false;
    for entry in &mut tree.entries {
        let file = if entry.path.is_empty() { path.to_owned() } else { path.join(&entry.path) };
        let bytes = || {
            fs::read(&file).map_err(|source| mlpipe_artifacts::Error::Io { action: "read", path: file.clone(), source })
        };
        let counts = match comparator_for(tree.kind, &entry.path, declared, &[]) {
            Some(Comparator::Text { ignore_lines }) => Some(text::what_counts(&bytes()?, ignore_lines)),
            Some(Comparator::Json { tolerance, ignore }) if tolerance.rtol == 0.0 && tolerance.atol == 0.0 => {
                json::what_counts(&bytes()?, ignore)
            }
            _ => None,
        };
        if let Some(counts) = counts {
            entry.digest = Digest::of(&counts);
            left_out = true;
        }
    }
    Ok(left_out.then(|| tree.digest()))
}

#[cfg(test)]
mod tests;
