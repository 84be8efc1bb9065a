//! Results are given out as hard links into the store. Whoever changes such a file damages the stored result: that is noticed,
//! named, and the work is done again.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lines::{Bench, done, files, without_digests};
use mlpipe_engine::{OutputPaths, RunDocument};

mod lines;

const NOTHING: &[&str] = &[];

fn score(document: &RunDocument, key: &str) -> PathBuf {
    let OutputPaths::ByKey(paths) = &document.outputs["scores"] else { panic!("one per text") };
    paths[key].clone()
}

/// What a user does who wants to correct an artifact by hand.
fn edit(path: &Path, text: &str) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("mode set");
    fs::write(path, text).expect("written");
}

/// As [`edit`], and nothing but the time of the change tells.
fn edit_in_secret(path: &Path, text: &str) {
    let before = fs::metadata(path).expect("metadata");
    assert_eq!(before.len(), text.len() as u64, "the size stays");
    edit(path, text);
    fs::set_permissions(path, before.permissions()).expect("mode set");
    let times = FileTimes::new().set_modified(before.modified().expect("a time"));
    File::open(path).expect("opened").set_times(times).expect("times set");
}

#[test]
fn damaged_result_is_named_and_made_again() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 4] = [
        ("edited", |path| edit(path, "mine\n")),
        ("cut short", |path| edit(path, "a")),
        ("emptied", |path| edit(path, "")),
        ("edited in secret", |path| edit_in_secret(path, "aa\nw1\n3\n")),
    ];
    for (what, damage) in damages {
        let bench = Bench::new();
        let first = bench.run(&[]);
        assert_eq!(fs::read_to_string(score(&first, "one")).expect("read"), "aa\nw1\n2\n");
        assert_eq!(bench.plan(&[]), NOTHING, "{what}");
        damage(&score(&first, "one"));

        let planned: Vec<String> = bench.plan(&[]).iter().map(|line| without_digests(line)).collect();
        assert_eq!(planned[0], "score[one]: its stored result is damaged: #", "{what}");
        assert!(bench.plan(&[])[0].contains("damaged: cas/"), "{what}: the place is told");
        let second = bench.run(&[]);
        assert_eq!(done(&second), ["score[one]"], "{what}: the result is the same, nothing behind it moves");
        assert_eq!(fs::read_to_string(score(&second, "one")).expect("read"), "aa\nw1\n2\n", "{what}");
        assert_eq!(bench.plan(&[]), NOTHING, "{what}");
        assert_eq!(done(&bench.run(&[])), NOTHING, "{what}");
    }
}

#[test]
fn damage_that_another_result_shares_is_found_by_both() {
    let bench = Bench::new();
    bench.write("texts/two", "AA\n");
    let first = bench.run(&[]);
    assert_eq!(done(&first).len(), 4, "the cleaned texts are the same content: one score is made, and reused at once");
    edit(&score(&first, "two"), "mine\n");
    let second = bench.run(&[]);
    let repaired: Vec<PathBuf> = ["one", "two"].map(|key| score(&second, key)).into();
    for path in repaired {
        assert_eq!(fs::read_to_string(path).expect("read"), "aa\nw1\n2\n");
    }
    assert_eq!(bench.plan(&[]), NOTHING);
}

#[test]
fn removed_content_is_made_again() {
    let bench = Bench::new();
    bench.run(&[]);
    for path in files(&bench.path(".mlpipe/cas")) {
        fs::remove_file(path).expect("removed");
    }
    assert_eq!(bench.plan(&[])[0], "clean[one]: its stored result is incomplete");
    assert_eq!(done(&bench.run(&[])).len(), 5);
    assert_eq!(bench.plan(&[]), NOTHING);
}

#[test]
fn damaged_memory_of_digests_costs_time_and_nothing_else() {
    let bench = Bench::new();
    let first = bench.run(&[]);
    for path in files(&bench.path(".mlpipe/digests")) {
        fs::write(path, "no digests at all").expect("written");
    }
    assert_eq!(done(&bench.run(&[])), NOTHING);
    edit_in_secret(&score(&first, "one"), "aa\nw1\n3\n");
    assert_eq!(done(&bench.run(&[])), ["score[one]"]);
}
