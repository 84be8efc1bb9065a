//! What a finished task offers to others: its declared outputs, each with a digest, found in the tree that it wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use mlpipe_artifacts::{Digest, Tree, TreeEntry, TreeKind};
use mlpipe_spec::{OutputDeclaration, OutputKind};

/// Outputs of a finished task.
#[derive(Debug, Clone)]
pub(crate) struct Outputs {
    /// Where the files lie for this run; none while planning.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) by_name: IndexMap<String, Output>,
}

/// One declared output.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// Path below the output directory.
    pub(crate) path: String,
    pub(crate) digest: Digest,
    /// Digest of each entry, for a collection.
    pub(crate) entries: Option<IndexMap<String, Digest>>,
}

impl Outputs {
    /// Finds the declared outputs in what a task wrote.
    ///
    /// # Errors
    /// A message that names the output which is missing or of another kind.
    pub(crate) fn find(tree: &Tree, declared: &IndexMap<String, OutputDeclaration>) -> Result<Self, String> {
        let by_name = declared
            .iter()
            .map(|(name, declaration)| Ok((name.clone(), find_one(tree, name, declaration)?)))
            .collect::<Result<_, String>>()?;
        Ok(Self { directory: None, by_name })
    }

    /// Entries of the collection outputs, by output.
    pub(crate) fn collections(&self) -> BTreeMap<String, Vec<String>> {
        let collections = self.by_name.iter().filter_map(|(name, output)| Some((name, output.entries.as_ref()?)));
        collections.map(|(name, entries)| (name.clone(), entries.keys().cloned().collect())).collect()
    }

    /// Local path of an output of a run that is under way.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let directory = self.directory.as_ref().expect("outputs are placed before they are used");
        directory.join(&self.by_name[name].path)
    }
}

fn find_one(tree: &Tree, name: &str, declaration: &OutputDeclaration) -> Result<Output, String> {
    let path = declaration.path.trim_end_matches('/');
    let wants_directory = matches!(declaration.kind, OutputKind::Directory | OutputKind::Collection);
    let part = match part_of(tree, path) {
        Some(part) if (part.kind == TreeKind::Directory) == wants_directory => part,
        Some(_) if wants_directory => {
            return Err(format!("output `{name}`: `{path}` is a file, a directory was declared"));
        }
        Some(_) => return Err(format!("output `{name}`: `{path}` is a directory, a file was declared")),
        None => return Err(format!("output `{name}`: `{path}` was not written")),
    };
    let entries = (declaration.kind == OutputKind::Collection).then(|| entries_of(&part));
    Ok(Output { path: path.into(), digest: part.digest(), entries })
}

/// The part of a tree at a path, with paths relative to it; none when nothing lies there.
fn part_of(tree: &Tree, path: &str) -> Option<Tree> {
    if let Some(file) = tree.entries.iter().find(|entry| entry.path == path) {
        return Some(Tree {
            entries: vec![TreeEntry { path: String::new(), ..file.clone() }],
            ..empty(TreeKind::File)
        });
    }
    let below = |full: &str| full.strip_prefix(path)?.strip_prefix('/').map(str::to_owned);
    let part = Tree {
        kind: TreeKind::Directory,
        entries: tree
            .entries
            .iter()
            .filter_map(|file| Some(TreeEntry { path: below(&file.path)?, ..file.clone() }))
            .collect(),
        empty_directories: tree.empty_directories.iter().filter_map(|directory| below(directory)).collect(),
    };
    let exists = !part.entries.is_empty()
        || !part.empty_directories.is_empty()
        || tree.empty_directories.iter().any(|directory| directory == path);
    exists.then_some(part)
}

fn empty(kind: TreeKind) -> Tree {
    Tree { kind, entries: Vec::new(), empty_directories: Vec::new() }
}

/// Digest of each first-level entry, in natural order of the names.
fn entries_of(collection: &Tree) -> IndexMap<String, Digest> {
    let mut parts: IndexMap<String, Tree> = IndexMap::new();
    for file in &collection.entries {
        let (name, rest) = file.path.split_once('/').unwrap_or((&file.path, ""));
        let kind = if rest.is_empty() { TreeKind::File } else { TreeKind::Directory };
        let part = parts.entry(name.into()).or_insert_with(|| empty(kind));
        part.entries.push(TreeEntry { path: rest.into(), ..file.clone() });
    }
    for directory in &collection.empty_directories {
        let (name, rest) = directory.split_once('/').unwrap_or((directory, ""));
        let part = parts.entry(name.into()).or_insert_with(|| empty(TreeKind::Directory));
        part.empty_directories.extend((!rest.is_empty()).then(|| rest.to_owned()));
    }
    parts.sort_by(|a, _, b, _| natural(a).cmp(&natural(b)));
    parts.into_iter().map(|(name, part)| (name, part.digest())).collect()
}

/// Sorts `v2` before `v10`.
fn natural(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.into(), name[stem.len()..].parse().unwrap_or(0), name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str], empty_directories: &[&str]) -> Tree {
        let entry = |path: &&str| TreeEntry {
            path: (*path).into(),
            digest: Digest::of(path.as_bytes()),
            size: path.len() as u64,
            executable: false,
        };
        let empty_directories = empty_directories.iter().map(|path| (*path).into()).collect();
        Tree { kind: TreeKind::Directory, entries: files.iter().map(entry).collect(), empty_directories }
    }

    fn declared(path: &str, kind: OutputKind) -> IndexMap<String, OutputDeclaration> {
        IndexMap::from([("out".to_owned(), OutputDeclaration { path: path.into(), kind, compare: Vec::new() })])
    }

    fn keys(tree: &Tree) -> Vec<String> {
        let outputs = Outputs::find(tree, &declared("items", OutputKind::Collection)).expect("the collection is there");
        outputs.collections()["out"].clone()
    }

    #[test]
    fn collection_keys_are_entry_names_in_natural_order() {
        assert_eq!(
            keys(&tree(&["items/v10/a", "items/v2/a", "items/v2/b", "items/x.json", "other"], &[])),
            ["v2", "v10", "x.json"]
        );
    }

    #[test]
    fn empty_entries_and_empty_collections_count() {
        assert_eq!(keys(&tree(&["items/b/f"], &["items/a"])), ["a", "b"]);
        assert_eq!(keys(&tree(&["log"], &["items"])), Vec::<String>::new());
    }

    #[test]
    fn missing_output_and_wrong_kind_are_named() {
        let missing = Outputs::find(&tree(&["a"], &[]), &declared("boxes.json", OutputKind::Json));
        assert_eq!(missing.expect_err("nothing lies there"), "output `out`: `boxes.json` was not written");
        let wrong = Outputs::find(&tree(&["a"], &[]), &declared("a", OutputKind::Directory));
        assert!(wrong.expect_err("a is a file").contains("is a file, a directory was declared"));
    }
}
