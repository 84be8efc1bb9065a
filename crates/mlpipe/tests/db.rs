//! Care of the tracking store: migrate, check, back up.

mod common;

use std::fs;

use common::Place;

/// Where an SQLite file has its `user_version`, four bytes, the highest first (https://sqlite.org/fileformat2.html#the_database_header).
const USER_VERSION: std::ops::Range<usize> = 60..64;

#[test]
fn store_is_made_checked_and_copied() {
    let place = Place::new();
    place.mlpipe(&["db", "check"]).expect(6, &["there is no tracking store"]);
    let made = place.mlpipe(&["db", "migrate", "--json"]);
    made.expect(0, &[]);
    assert_eq!((&made.json()["from_version"], &made.json()["version"]), (&serde_json::Value::Null, &2.into()));
    let again = place.mlpipe(&["db", "migrate", "--json"]);
    assert_eq!(again.json()["from_version"], 2);
    place.mlpipe(&["db", "check"]).expect(0, &[]);
    place.mlpipe(&["db", "backup", "copy.db"]).expect(0, &[]);
    place.mlpipe(&["db", "backup", "copy.db"]).expect(4, &["exists already"]);
    let copy = place.mlpipe(&["db", "check", "--store", "copy.db", "--json"]);
    assert_eq!(copy.json()["problems"], serde_json::json!([]));
}

#[test]
fn store_of_a_newer_program_is_refused_by_every_command() {
    let place = Place::new();
    place.mlpipe(&["db", "migrate"]).expect(0, &[]);
    let path = place.path(".mlpipe/store.db");
    let mut bytes = fs::read(&path).expect("the store");
    bytes[USER_VERSION].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&path, bytes).expect("written");
    for command in [&["db", "migrate"][..], &["db", "check"], &["db", "backup", "copy.db"], &["runs", "list"]] {
        place.mlpipe(command).expect(6, &["schema version 99", "a newer one is needed"]);
    }
}
