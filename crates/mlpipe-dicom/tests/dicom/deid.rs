//! De-identification of folders and of real files: what is written where, what is refused, and that pydicom (and
//! dciodvfy, where it is installed) find nothing that the profile takes away. `deid_check.py` has its own rules.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use mlpipe_dicom::{
    BurnedIn, Dates, DeidDocument, DeidKey, DeidOptions, DeidOutput, Error, SeriesManifest, deidentify,
    deidentify_series,
};

use crate::images::{Folder, Image, series, slice, text, write};
use crate::pydicom::test_files;

fn key() -> DeidKey {
    DeidKey::from_bytes("KEY", blake3::hash(b"a secret for tests").as_bytes()).expect("strong")
}

fn into(inputs: &[PathBuf], output: &Path, options: &DeidOptions) -> Result<DeidDocument, Error> {
    deidentify(inputs, &DeidOutput::in_folder(output), &key(), options)
}

/// Bytes of every file below a folder, by path.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(current).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_path_buf();
                found.insert(name, std::fs::read(path).expect("readable"));
            }
        }
    }
    found
}

fn code(document: &DeidDocument) -> Vec<&str> {
    document.refused.iter().map(|refused| refused.code.as_str()).collect()
}

#[test]
fn names_of_results_are_new_uids_and_the_rerun_is_the_same_byte_for_byte() {
    let input = series(3, |_, image| patient(image));
    let output = Folder::new();
    let target = output.join("out");
    let document = into(&[input.path().into()], &target, &DeidOptions::default()).expect("written");
    assert_eq!((document.written, document.refused.len()), (3, 0));
    let first = contents(&target);
    assert_eq!(first.len(), 4);
    for name in first.keys().filter(|name| name.as_path() != Path::new("deid-audit.ndjson")) {
        let parts: Vec<String> = name.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        assert_eq!(parts.len(), 3, "study, series, instance");
        assert!(parts.iter().all(|part| part.trim_end_matches(".dcm").chars().all(|c| c.is_ascii_digit() || c == '.')));
    }
    let other = output.join("elsewhere");
    into(&[input.path().into()], &other, &DeidOptions::default()).expect("written");
    assert_eq!(contents(&other), first, "in another folder");
    into(&[input.path().into()], &target, &DeidOptions::default()).expect("the same result may lie there");
    assert_eq!(contents(&target), first, "in the same folder");
    let plan = mlpipe_dicom::scan(&[target]).expect("scans").series[0].volumes[0].clone();
    assert!(plan.is_usable() && mlpipe_dicom::load_volume(&plan).is_ok(), "it is still one volume");
}

fn patient(image: &mut Image) {
    for (tag, vr, value) in [
        (tags::PATIENT_NAME, VR::PN, "Doe^Jane"),
        (tags::PATIENT_ID, VR::LO, "4711"),
        (tags::STUDY_DATE, VR::DA, "20200301"),
    ] {
        image.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
}

#[test]
fn lost_file_of_an_interrupted_run_is_written_again() {
    let input = series(3, |_, image| patient(image));
    let output = Folder::new();
    let target = output.join("out");
    into(&[input.path().into()], &target, &DeidOptions::default()).expect("written");
    let first = contents(&target);
    let lost = first.keys().next().expect("a file");
    std::fs::rename(target.join(lost), target.join(format!("{}.123.tmp", lost.display()))).expect("renamed");
    into(&[input.path().into()], &target, &DeidOptions::default()).expect("goes on");
    assert_eq!(contents(&target), first);
}

#[test]
fn output_that_is_not_this_result_or_lies_in_the_input_is_refused_untouched() {
    let input = series(2, |_, image| patient(image));
    let output = Folder::new();
    let refusal = |target: &Path, options: &DeidOptions| {
        into(&[input.path().into()], target, options).expect_err("refused").to_string()
    };
    let taken = output.join("taken");
    std::fs::create_dir_all(&taken).expect("a folder");
    std::fs::write(taken.join("notes.txt"), "mine").expect("written");
    assert!(refusal(&taken, &DeidOptions::default()).contains("not empty"));
    assert_eq!(contents(&taken).len(), 1);
    let done = output.join("done");
    into(&[input.path().into()], &done, &DeidOptions::default()).expect("written");
    let before = contents(&done);
    assert!(refusal(&done, &DeidOptions { dates: Dates::Shift, ..DeidOptions::default() }).contains("not empty"));
    assert_eq!(contents(&done), before);
    for inside in
        [input.join("out"), input.path().to_path_buf(), input.path().parent().expect("a parent").to_path_buf()]
    {
        assert!(refusal(&inside, &DeidOptions::default()).contains("lies in the input or holds it"), "{inside:?}");
    }
}

#[test]
fn refused_file_is_named_without_its_path_and_the_others_are_written() {
    let input = series(2, |_, image| patient(image));
    let mut capture = slice(7);
    text(&mut capture, tags::SOP_CLASS_UID, uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
    write(&capture, &input.join("doe_jane.dcm"));
    std::fs::write(input.join("doe_cut.dcm"), &std::fs::read(input.join("000.dcm")).expect("read")[..400])
        .expect("written");
    std::fs::write(input.join("doe.txt"), "hello").expect("written");
    let output = Folder::new();
    let document = into(&[input.path().into()], &output.join("out"), &DeidOptions::default()).expect("the rest");
    assert_eq!((document.written, document.other_files), (2, 1));
    assert_eq!(code(&document), ["damaged_file", "burned_in_risk"]);
    assert!(!format!("{document:?}").contains("doe"));
    let shown = DeidOptions { show_paths: true, burned_in: BurnedIn::Keep, ..DeidOptions::default() };
    let document = into(&[input.path().into()], &output.join("kept"), &shown).expect("the rest");
    assert_eq!(document.written, 3);
    assert!(document.refused[0].path.as_ref().is_some_and(|path| path.ends_with("doe_cut.dcm")));
    assert_eq!(document.flags.values().sum::<usize>(), 1);
}

#[test]
fn files_that_claim_one_uid_for_different_contents_are_refused_and_equal_ones_written_once() {
    let input = series(2, |_, image| patient(image));
    std::fs::copy(input.join("000.dcm"), input.join("copy.dcm")).expect("copied");
    let output = Folder::new();
    let document = into(&[input.path().into()], &output.join("out"), &DeidOptions::default()).expect("written");
    assert_eq!((document.written, document.duplicates), (2, 1));
    let mut other = slice(0);
    text(&mut other, tags::ECHO_TIME, "12");
    write(&other, &input.join("other.dcm"));
    let document = into(&[input.path().into()], &output.join("again"), &DeidOptions::default()).expect("written");
    assert_eq!(code(&document), ["conflicting_instances"; 3]);
    assert_eq!(contents(&output.join("again")).len(), 2, "one image and the audit");
}

#[test]
fn references_between_files_still_lead_to_each_other() {
    let input = series(2, |index, image| {
        let mut item = Image::new_empty();
        text(&mut item, tags::REFERENCED_SOP_CLASS_UID, uids::MR_IMAGE_STORAGE);
        text(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, &format!("1.2.3.10.{}", 2 - index));
        let items = dicom_core::value::DataSetSequence::from(vec![item]);
        image.put(DataElement::new(tags::REFERENCED_IMAGE_SEQUENCE, VR::SQ, items));
    });
    let output = Folder::new();
    into(&[input.path().into()], &output.join("out"), &DeidOptions::default()).expect("written");
    let files = contents(&output.join("out"));
    let objects: Vec<_> = files.values().filter_map(|bytes| dicom_object::from_reader(&bytes[..]).ok()).collect();
    let uid = |image: &Image, tag| image.element(tag).expect("is there").to_str().expect("text").into_owned();
    let reference = |image: &Image| {
        let items = image.element(tags::REFERENCED_IMAGE_SEQUENCE).expect("kept").items().expect("items");
        uid(&items[0], tags::REFERENCED_SOP_INSTANCE_UID)
    };
    assert_eq!(reference(&objects[0]), uid(&objects[1], tags::SOP_INSTANCE_UID));
    assert_eq!(reference(&objects[1]), uid(&objects[0], tags::SOP_INSTANCE_UID));
}

#[test]
fn file_that_has_changed_since_its_series_was_selected_is_refused() {
    let input = series(2, |_, image| patient(image));
    let manifest = SeriesManifest::of(&input.plan()).expect("a manifest");
    let output = Folder::new();
    let into = |name: &str| {
        let output = DeidOutput::beside_images(&output.join(name));
        deidentify_series(&manifest, &output, &key(), &DeidOptions::default())
    };
    assert_eq!(into("first").expect("written").written, 2);
    write(&slice(5), &input.join("001.dcm"));
    assert_eq!(code(&into("second").expect("the rest")), ["changed_file"]);
}

/// De-identifies files one by one and returns the lines for `deid_check.py`.
fn pairs(files: &[PathBuf], output: &Folder, dates: Dates) -> Vec<String> {
    let options = DeidOptions { dates, burned_in: BurnedIn::Keep, ..DeidOptions::default() };
    let mut lines = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let target = output.join(&format!("{dates}-{number}"));
        let document = into(std::slice::from_ref(file), &target, &options).expect("files are refused one by one");
        let result = contents(&target).into_keys().find(|name| name.extension().is_some_and(|end| end == "dcm"));
        assert_eq!(document.written, usize::from(result.is_some()));
        lines.extend(result.map(|name| format!("{}\t{}\t{dates}", file.display(), target.join(name).display())));
    }
    lines
}

#[test]
fn pydicom_finds_nothing_that_identifies_in_its_own_files_and_pixels_unchanged() {
    let Some(folder) = test_files() else { return };
    let files: Vec<PathBuf> = contents(&folder).into_keys().map(|name| folder.join(name)).collect();
    let output = Folder::new();
    let mut lines = pairs(&files, &output, Dates::Remove);
    assert!(lines.len() > 100, "only {} files were written", lines.len());
    lines.extend(pairs(&files, &output, Dates::Shift));
    let python = std::env::var("MLPIPE_TEST_PYDICOM").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dicom/deid_check.py");
    let mut check = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python starts");
    check.stdin.take().expect("piped").write_all(lines.join("\n").as_bytes()).expect("written");
    let output = check.wait_with_output().expect("python ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim_end().ends_with(&format!("checked {}", lines.len())), "{said}");
    assert!(output.stdout.is_empty(), "{said}");
}
