//! Tests of the content store.

use super::*;
use crate::digest_tree;
use std::os::unix::fs::symlink;

/// A store and a directory beside it, on the same file system.
struct Fixture {
    directory: tempfile::TempDir,
    store: ContentStore,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = ContentStore::open(&directory.path().join(".mlpipe")).expect("opened");
        Self { directory, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `(path, content)` pairs below `name`; a path that ends in `/` is a directory.
    fn write(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = self.path(name);
        fs::create_dir_all(&root).expect("made");
        for (path, content) in files {
            let path_on_disk = root.join(path);
            fs::create_dir_all(path_on_disk.parent().expect("has a parent")).expect("made");
            if path.ends_with('/') {
                fs::create_dir_all(&path_on_disk).expect("made");
            } else {
                fs::write(&path_on_disk, content).expect("written");
            }
        }
        root
    }

    fn commit(&self, name: &str, files: &[(&str, &str)]) -> Tree {
        self.store.commit(&self.write(name, files)).expect("committed")
    }

    fn stored_files(&self) -> usize {
        walk_count(&self.path(".mlpipe/cas"))
    }
}

fn walk_count(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).expect("listed").map(|entry| entry.expect("listed").path());
    entries.map(|path| if path.is_dir() { walk_count(&path) } else { 1 }).sum()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

const FILES: [(&str, &str); 5] =
    [("a.txt", "one"), ("b/größe.json", "two"), ("b/copy", "one"), ("empty", ""), ("vacant/", "")];

#[test]
fn committed_directory_comes_back_with_the_same_content() {
    let fixture = Fixture::new();
    let root = fixture.write("output", &FILES);
    let before = digest_tree(&root, &[]).expect("digested");
    let tree = fixture.store.commit(&root).expect("committed");
    assert_eq!(tree.digest(), before);
    assert!(!root.exists());
    assert!(fixture.store.contains(&tree));
    assert_eq!(fixture.stored_files(), 3, "equal contents are stored once");

    let back = fixture.path("deep/er/back");
    fixture.store.materialize(&tree, &back).expect("materialised");
    assert_eq!(digest_tree(&back, &[]).expect("digested"), before);
    assert!(back.join("vacant").is_dir());
    assert_eq!(mode(&back.join("a.txt")), 0o444);
    assert_eq!(fs::read_dir(fixture.path("deep/er")).expect("listed").count(), 1, "nothing else is left there");
    fixture.store.verify(&tree).expect("undamaged");
}

#[test]
fn committed_file_comes_back_without_a_copy() {
    let fixture = Fixture::new();
    let path = fixture.write("output", &[("boxes.json", "[]")]).join("boxes.json");
    let inode = fs::metadata(&path).expect("metadata").ino();
    let tree = fixture.store.commit(&path).expect("committed");
    assert_eq!((tree.kind, tree.entries[0].path.as_str(), tree.entries[0].size), (TreeKind::File, "", 2));
    let back = fixture.path("back.json");
    fixture.store.materialize(&tree, &back).expect("materialised");
    assert_eq!(fs::metadata(&back).expect("metadata").ino(), inode);
}

#[test]
fn committing_the_same_content_again_changes_nothing() {
    let fixture = Fixture::new();
    let first = fixture.commit("first", &FILES);
    let stored = fixture.store.content_path(first.entries[0].digest);
    let inode = fs::metadata(&stored).expect("metadata").ino();
    let second = fixture.commit("second", &FILES);
    assert_eq!(first, second);
    assert_eq!(fs::metadata(&stored).expect("metadata").ino(), inode);
    assert_eq!(fixture.stored_files(), 3);
}

#[test]
fn materialised_files_can_be_committed_again() {
    let fixture = Fixture::new();
    let tree = fixture.commit("output", &FILES);
    fixture.store.materialize(&tree, &fixture.path("back")).expect("materialised");
    assert_eq!(fixture.store.commit(&fixture.path("back")).expect("committed"), tree);
    assert!(fixture.store.contains(&tree));
}

#[test]
fn empty_directory_is_content() {
    let fixture = Fixture::new();
    let tree = fixture.commit("output", &[]);
    assert_eq!((tree.entries.len(), tree.empty_directories.len()), (0, 0));
    fixture.store.materialize(&tree, &fixture.path("back")).expect("materialised");
    assert!(fixture.path("back").is_dir());
}

#[test]
fn executable_file_stays_executable_and_its_content_is_shared() {
    let fixture = Fixture::new();
    let root = fixture.write("output", &[("run.sh", "exit 0"), ("run.txt", "exit 0")]);
    fs::set_permissions(root.join("run.sh"), Permissions::from_mode(0o755)).expect("mode set");
    let tree = fixture.store.commit(&root).expect("committed");
    assert_eq!(fixture.stored_files(), 1);
    fixture.store.materialize(&tree, &root).expect("materialised");
    assert_eq!((mode(&root.join("run.sh")), mode(&root.join("run.txt"))), (0o555, 0o444));
}

#[test]
fn missing_or_short_content_is_not_contained() {
    let fixture = Fixture::new();
    let tree = fixture.commit("output", &FILES);
    let stored = fixture.store.content_path(tree.entries[0].digest);
    fs::remove_file(&stored).expect("removed");
    assert!(!fixture.store.contains(&tree));
    let error = fixture.store.materialize(&tree, &fixture.path("back")).expect_err("refused");
    assert!(matches!(&error, Error::BlobMissing { path, .. } if path == "a.txt"), "{error}");
    assert!(!fixture.path("back").exists());
    assert!(matches!(fixture.store.verify(&tree), Err(Error::BlobMissing { .. })));

    fs::write(&stored, "on").expect("written");
    assert!(!fixture.store.contains(&tree));
    assert_eq!(fixture.commit("again", &FILES), tree);
    assert!(fixture.store.contains(&tree), "a commit repairs a content of the wrong size");
}

#[test]
fn damage_of_the_same_size_is_found_by_verify() {
    let fixture = Fixture::new();
    let tree = fixture.commit("output", &FILES);
    let stored = fixture.store.content_path(tree.entries[0].digest);
    fs::remove_file(&stored).expect("removed");
    fs::write(&stored, "0ne").expect("written");
    assert!(fixture.store.contains(&tree));
    assert!(matches!(fixture.store.verify(&tree), Err(Error::BlobDamaged { .. })));
}

impl Fixture {
    /// Whether a content would be believed without being read.
    fn is_known(&self, store: &ContentStore, digest: Digest) -> bool {
        let stored = store.content_path(digest);
        let stamp = Stamp::of(&fs::metadata(&stored).expect("metadata"));
        store.known().known(&stored, stamp) == Some(digest)
    }

    /// The store as another process sees it.
    fn reopened(&self) -> ContentStore {
        self.store.known().save(&self.path(".mlpipe/tmp")).expect("saved");
        ContentStore::open(&self.path(".mlpipe")).expect("opened")
    }
}

#[test]
fn stored_content_is_known_and_giving_it_back_does_not_change_that() {
    let fixture = Fixture::new();
    let tree = fixture.commit("output", &FILES);
    let known = |entry: &TreeEntry| fixture.is_known(&fixture.store, entry.digest);
    assert!(tree.entries.iter().all(known));
    fixture.store.materialize(&tree, &fixture.path("back")).expect("materialised");
    assert!(tree.entries.iter().all(known));
    fs::remove_dir_all(fixture.path("back")).expect("removed");
    assert!(!tree.entries.iter().any(known), "somebody else has changed the names: it is read again");
    fixture.store.verify(&tree).expect("undamaged");
}

#[test]
fn damage_through_a_file_that_was_given_back_is_found_whatever_it_looks_like() {
    let write = |path: &Path, text: &str| {
        fs::set_permissions(path, Permissions::from_mode(0o644)).expect("mode set");
        fs::write(path, text).expect("written");
        fs::set_permissions(path, Permissions::from_mode(0o444)).expect("mode set");
    };
    let edit: &dyn Fn(&Path) = &|path| write(path, "changed by a user");
    let truncate: &dyn Fn(&Path) = &|path| write(path, "on");
    let flip_and_restore_the_time: &dyn Fn(&Path) = &|path| {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).expect("metadata");
        write(path, "onf");
        let file = File::open(path).expect("opened");
        file.set_times(fs::FileTimes::new().set_modified(modified)).expect("times set");
    };
    for (name, damage) in [("edit", edit), ("truncate", truncate), ("flip", flip_and_restore_the_time)] {
        let fixture = Fixture::new();
        let tree = fixture.commit("output", &FILES);
        fixture.store.materialize(&tree, &fixture.path("back")).expect("materialised");
        let store = fixture.reopened();
        store.verify(&tree).expect("undamaged");
        damage(&fixture.path("back/a.txt"));
        let found = store.verify(&tree).expect_err("damaged");
        assert!(
            matches!(&found, Error::BlobDamaged { path, .. } if path.ends_with(hex_tail(&tree))),
            "{name}: {found}"
        );
        assert_eq!(fixture.commit("again", &FILES), tree, "{name}");
        fixture.reopened().verify(&tree).expect("a commit repairs what is damaged");
    }
}

fn hex_tail(tree: &Tree) -> String {
    tree.entries[0].digest.to_string()[2..].to_owned()
}

#[test]
fn discarded_content_is_missing_and_files_with_it_stay() {
    let fixture = Fixture::new();
    let tree = fixture.commit("output", &[("a", "x")]);
    fixture.store.materialize(&tree, &fixture.path("back")).expect("materialised");
    for _ in 0..2 {
        fixture.store.discard(tree.entries[0].digest).expect("gone now, or before");
        assert!(matches!(fixture.store.verify(&tree), Err(Error::BlobMissing { .. })));
    }
    assert_eq!(fs::read_to_string(fixture.path("back/a")).expect("read"), "x");
}

#[test]
fn file_with_another_name_elsewhere_is_copied_and_left_writable() {
    let fixture = Fixture::new();
    let root = fixture.write("output", &[("data", "mine")]);
    let other = fixture.path("other");
    fs::hard_link(root.join("data"), &other).expect("linked");
    let tree = fixture.store.commit(&root).expect("committed");
    assert_eq!(mode(&other) & 0o200, 0o200);
    fs::write(&other, "ours").expect("written");
    fixture.store.verify(&tree).expect("undamaged");
}

#[test]
fn links_inside_become_files_and_links_out_are_refused() {
    let fixture = Fixture::new();
    let root = fixture.write("output", &[("a", "x")]);
    symlink("a", root.join("b")).expect("linked");
    let tree = fixture.store.commit(&root).expect("committed");
    assert_eq!(tree.entries.len(), 2);

    let root = fixture.write("output", &[("a", "x")]);
    symlink(fixture.path(".mlpipe"), root.join("b")).expect("linked");
    assert!(matches!(fixture.store.commit(&root), Err(Error::SymlinkEscapes { .. })));
    assert!(root.join("a").exists());

    symlink(root.join("a"), fixture.path("link")).expect("linked");
    assert!(matches!(fixture.store.commit(&fixture.path("link")), Err(Error::SymlinkCommitted { .. })));
}

#[test]
fn name_that_is_not_utf8_is_refused_before_anything_moves() {
    use std::os::unix::ffi::OsStrExt;
    let fixture = Fixture::new();
    let root = fixture.write("output", &[("a", "x")]);
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), "y").expect("written");
    assert!(matches!(fixture.store.commit(&root), Err(Error::NotUtf8 { .. })));
    assert_eq!(fixture.stored_files(), 0);
    digest_tree(&root, &[]).expect("a digest needs no text");
}

#[test]
fn destination_that_exists_is_refused_unless_it_is_an_empty_directory() {
    let fixture = Fixture::new();
    let directory = fixture.commit("output", &FILES);
    let file = fixture.store.commit(&fixture.write("other", &[("f", "x")]).join("f")).expect("committed");
    let taken = fixture.write("taken", &[("file", "mine")]);
    for (tree, destination) in [
        (&directory, taken.clone()),
        (&directory, taken.join("file")),
        (&file, taken.clone()),
        (&file, taken.join("file")),
    ] {
        let refused = fixture.store.materialize(tree, &destination);
        assert!(matches!(refused, Err(Error::DestinationExists { .. })), "{destination:?}: {refused:?}");
    }
    assert_eq!(fs::read_to_string(taken.join("file")).expect("read"), "mine");
    fixture.store.materialize(&directory, &fixture.write("vacant", &[])).expect("materialised");
}

#[test]
fn tree_with_paths_that_lead_out_is_refused() {
    let fixture = Fixture::new();
    let good = fixture.commit("output", &[("a", "x")]);
    for path in ["../a", "/a", "", "a//b", "a/..", "./a", "a/", "a\0b"] {
        let mut tree = good.clone();
        tree.entries[0].path = path.to_owned();
        let refused = fixture.store.materialize(&tree, &fixture.path("back"));
        assert!(matches!(refused, Err(Error::InvalidTree { .. })), "{path:?}");
    }
    let file = Tree { kind: TreeKind::File, ..good };
    assert!(matches!(fixture.store.materialize(&file, &fixture.path("back")), Err(Error::InvalidTree { .. })));
}

#[test]
fn many_threads_commit_the_same_contents_at_once() {
    let fixture = Fixture::new();
    let names: Vec<_> = (0..8).map(|index| format!("output-{index}")).collect();
    let contents: Vec<_> = (0..40).map(|index| (format!("file-{index}"), format!("content {}", index / 2))).collect();
    let files: Vec<_> = contents.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
    let trees: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(|| fixture.commit(name, &files))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(trees.iter().all(|tree| *tree == trees[0]));
    assert_eq!(fixture.stored_files(), 20);
    assert_eq!(fs::read_dir(fixture.path(".mlpipe/tmp")).expect("listed").count(), 0);
    fixture.store.verify(&trees[0]).expect("undamaged");
}

#[test]
fn content_from_another_file_system_is_copied() {
    let fixture = Fixture::new();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let path = elsewhere.path().join("file");
    fs::write(&path, "x").expect("written");
    let tree = fixture.store.commit(&path).expect("committed");
    assert!(!path.exists());
    assert_eq!(mode(&fixture.store.content_path(tree.entries[0].digest)), 0o444);
    fixture.store.materialize(&tree, &path).expect("materialised by copying");
    assert_eq!((fs::read_to_string(&path).expect("read"), mode(&path)), ("x".to_owned(), 0o444));
}
