//! A study with planted names, ids, dates and UIDs is de-identified, by command and as a pipeline step: none of what was
//! planted is in a result, an audit, what is printed, or a record.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Place, Ran, phantom, ran, repository, text};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// 32 bytes that look random, in hexadecimal.
const KEY: &str = "7c2e91f05ab3d4686f1e8c3b9d0a57e4c61f2ab98e7d30455b6c1d9fa2e8f713";
const OTHER_KEY: &str = "e1f7a3c94b2d8860d3915ef27ac4b81694c7205d6eb8f31a0f42d97b5c6e83a1";
/// Birth date and part of every UID.
const DATE: &str = "19570317";
const NUMBER: &str = "975318642";
const WORD: &str = "PLANTED";
const ALL: &[&str] = &[WORD, DATE, NUMBER, KEY];
/// Keys of items are SeriesInstanceUIDs, which records may hold.
const ALL_BUT_UIDS: &[&str] = &[WORD, DATE, KEY];

fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
}

/// Puts what identifies into a data set or an item.
fn plant(object: &mut InMemDicomObject) {
    for (tag, vr, value) in [
        (tags::ACCESSION_NUMBER, VR::SH, "PLANTEDACC"),
        (tags::INSTITUTION_NAME, VR::LO, "PLANTEDHOSPITAL"),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, "PLANTEDPHYSICIAN"),
        (tags::PERFORMING_PHYSICIAN_NAME, VR::PN, "PLANTEDPHYSICIAN"),
        (tags::PATIENT_NAME, VR::PN, "PLANTEDDOE^JANE"),
        (tags::PATIENT_ID, VR::LO, "PLANTEDID4711"),
        (tags::PATIENT_BIRTH_DATE, VR::DA, DATE),
        (tags::PATIENT_COMMENTS, VR::LT, "PLANTEDCOMMENT"),
        (tags::IMAGE_COMMENTS, VR::LT, "PLANTEDCOMMENT"),
        (Tag(0x0019, 0x0010), VR::LO, "PLANTEDCREATOR"),
        (Tag(0x0019, 0x1001), VR::LO, "PLANTEDPRIVATE"),
        (Tag(0x0012, 0xF001), VR::SH, "PLANTEDUNKNOWN"),
        (tags::SECONDARY_REVIEWER_NAME, VR::PN, "PLANTEDREVIEWER"),
        (tags::INSTANCE_CREATION_DATE, VR::DA, DATE),
    ] {
        put(object, tag, vr, value);
    }
}

/// Copies the phantom study with everything planted, file names too.
fn planted_study(place: &Place) -> PathBuf {
    let folder = place.path("study/PLANTEDDOE");
    fs::create_dir_all(&folder).expect("a folder");
    for (number, entry) in fs::read_dir(phantom()).expect("committed").enumerate() {
        let mut object = dicom_object::open_file(entry.expect("an entry").path()).expect("readable").into_inner();
        plant(&mut object);
        for tag in [tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID, tags::FRAME_OF_REFERENCE_UID] {
            let uid = object.element(tag).expect("is there").to_str().expect("text").into_owned();
            put(&mut object, tag, VR::UI, &format!("1.2.{NUMBER}.{}", &uid[uid.len() - 9..].trim_start_matches('0')));
        }
        put(&mut object, tags::SOP_INSTANCE_UID, VR::UI, &format!("1.2.{NUMBER}.1.{number}"));
        let mut inner = InMemDicomObject::new_empty();
        plant(&mut inner);
        let mut item = InMemDicomObject::new_empty();
        plant(&mut item);
        put(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &format!("1.2.{NUMBER}.1.{number}"));
        item.put(DataElement::new(
            tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
            VR::SQ,
            DataSetSequence::from(vec![inner]),
        ));
        object.put(DataElement::new(tags::REFERENCED_IMAGE_SEQUENCE, VR::SQ, DataSetSequence::from(vec![item])));
        let meta = dicom_object::FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
        let object = object.with_meta(meta).expect("a meta group");
        object.write_to_file(folder.join(format!("PLANTEDDOE-{number}.dcm"))).expect("written");
    }
    place.path("study")
}

/// Returns the files below a folder that hold something planted, or the key.
fn leaks(folder: &Path, planted: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if holds(path.file_name().expect("a name").as_encoded_bytes(), planted) {
            found.push(path.clone());
        }
        if path.is_dir() {
            // Manifests name the input files, as docs/architecture.md says.
            if !path.ends_with("inputs") {
                found.extend(leaks(&path, planted));
            }
        } else if holds(&fs::read(&path).expect("readable"), planted) {
            found.push(path);
        }
    }
    found
}

fn holds(bytes: &[u8], planted: &[&str]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    planted.iter().any(|planted| text.contains(planted))
}

fn expect_silence(ran: &Ran) {
    assert!(!holds(ran.stdout.as_bytes(), ALL), "{}", ran.stdout);
    assert!(!holds(ran.stderr.as_bytes(), ALL), "{}", ran.stderr);
}

fn with_key(place: &Place, key: &str, arguments: &[&str]) -> Ran {
    ran(place.command(arguments).env("MLPIPE_DEID_KEY", key).output().expect("the command starts"))
}

#[test]
fn nothing_planted_is_in_results_audit_or_what_is_printed() {
    for dates in ["remove", "shift"] {
        let place = Place::new();
        let study = text(&planted_study(&place));
        let whole = with_key(&place, KEY, &["dicom", "deid", &study, "-o", "out", "--dates", dates, "--json"]);
        assert_eq!(whole.code, 0, "{}", whole.stderr);
        assert_eq!(whole.json()["written"], 21);
        expect_silence(&whole);
        assert_eq!(leaks(&place.path("out"), ALL), Vec::<PathBuf>::new());
        let inspected = place.mlpipe(&["dicom", "inspect", "out", "--json"]);
        assert_eq!(inspected.code, 0, "{}", inspected.stderr);
        let cut = place.path("study/PLANTEDDOE/PLANTEDCUT.dcm");
        let bytes = fs::read(place.path("study/PLANTEDDOE/PLANTEDDOE-0.dcm")).expect("readable");
        fs::write(cut, &bytes[..900]).expect("written");
        let partly = with_key(&place, KEY, &["dicom", "deid", &study, "-o", "partly", "--dates", dates]);
        partly.expect(4, &["refused file 1 (", "[damaged_file]", "21 files written", "hint: --show-paths"]);
        expect_silence(&partly);
        assert_eq!(leaks(&place.path("partly"), ALL), Vec::<PathBuf>::new());
        let shown = with_key(&place, KEY, &["dicom", "deid", &study, "-o", "shown", "--show-paths"]);
        shown.expect(4, &["PLANTEDCUT.dcm: "]);
    }
}

#[test]
fn pipeline_step_leaves_nothing_planted_in_any_record_and_its_images_are_inputs_of_the_next() {
    let place = Place::new();
    let study = text(&planted_study(&place));
    let pipeline = text(&repository().join("pipelines/deidentify.yaml"));
    let id = |key| with_key(&place, key, &["dicom", "deid", "--key-id"]).stdout.trim().to_owned();
    let run = |key, id: &str| {
        let (study, id) = (format!("studies={study}"), format!("key_id={id}"));
        with_key(&place, key, &["run", &pipeline, "-P", &study, "-P", &id, "--json"])
    };
    let first = run(KEY, &id(KEY));
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(!holds(first.stderr.as_bytes(), ALL_BUT_UIDS), "{}", first.stderr);
    assert_eq!(leaks(&place.path(".mlpipe"), ALL_BUT_UIDS), Vec::<PathBuf>::new());
    let images = first.json()["outputs"]["images"].as_object().expect("by series").clone();
    for path in images.values().map(|path| Path::new(path.as_str().expect("a path"))) {
        assert_eq!(leaks(path, ALL), Vec::<PathBuf>::new());
    }
    let next = place.mlpipe(&["dicom", "ls", images.values().next().and_then(|path| path.as_str()).expect("a path")]);
    assert_eq!(next.code, 0, "{}", next.stderr);

    let statuses = |ran: &Ran| {
        let document = ran.json();
        let steps = document["steps"].as_array().expect("steps").clone();
        steps.iter().map(|step| step["status"].as_str().expect("a status").to_owned()).collect::<Vec<_>>()
    };
    assert!(statuses(&run(KEY, &id(KEY))).iter().all(|status| status == "cached"));
    let other = run(OTHER_KEY, &id(OTHER_KEY));
    assert!(statuses(&other).iter().all(|status| status == "done"), "another key is other work");
    let third = "0123456789abcdef";
    let wrong = run(KEY, third);
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("the key that was given has another id"), "{}", wrong.stderr);
}

#[test]
fn missing_weak_or_open_key_is_refused_with_the_cure_before_anything_is_written() {
    let place = Place::new();
    let study = text(&phantom());
    let arguments = ["dicom", "deid", &study, "-o", "out"];
    place.mlpipe(&arguments).expect(4, &["no key", "head -c 32 /dev/urandom"]);
    let weak = with_key(&place, "correct horse battery staple, forty bytes", &arguments);
    weak.expect(4, &["key `MLPIPE_DEID_KEY`: it is text", "head -c 32 /dev/urandom"]);
    place.write("key", KEY);
    let open = place.mlpipe(&["dicom", "deid", &study, "-o", "out", "--key-file", "key"]);
    open.expect(4, &["key `key`: every user of this machine has access to it; `chmod 600` it"]);
    assert!(!place.path("out").exists());
}
