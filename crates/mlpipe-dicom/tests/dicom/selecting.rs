//! Selection, manifests, and the documents of the command.

use dicom_dictionary_std::tags;
use mlpipe_dicom::{
    SelectionRules, SeriesManifest, Status, inspect, load_series, load_volume, select, write_volume, write_volumes,
};
use serde_json::{Value, json};

use crate::images::{Folder, SERIES, orientation, position, series, slice, text, write};

fn rules(value: Value) -> SelectionRules {
    SelectionRules::from_json(value.as_object().expect("an object")).expect("rules")
}

/// A sagittal series, an axial one, and one with a missing slice.
fn study() -> Folder {
    let folder = series(5, |_, _| {});
    for index in 0..5 {
        let mut axial = slice(index);
        text(&mut axial, tags::SERIES_INSTANCE_UID, "1.2.3.20");
        text(&mut axial, tags::SOP_INSTANCE_UID, &format!("1.2.3.20.{index}"));
        orientation(&mut axial, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
        position(&mut axial, [0.0, 0.0, 3.0 * index as f64]);
        write(&axial, &folder.join(&format!("axial{index}")));
        let mut gap = slice(index);
        text(&mut gap, tags::SERIES_INSTANCE_UID, "1.2.3.30");
        text(&mut gap, tags::SOP_INSTANCE_UID, &format!("1.2.3.30.{index}"));
        if index != 2 {
            write(&gap, &folder.join(&format!("gap{index}")));
        }
    }
    folder
}

#[test]
fn every_choice_and_omission_has_its_reason() {
    let scan = study().scan();
    let selection = select(&scan, &rules(json!({"Modality": "MR", "plane": "sagittal", "min_instances": 5})));
    let chosen = &selection.chosen[..];
    assert_eq!((chosen.len(), chosen[0].key.as_str(), chosen[0].instances), (1, SERIES, 5));
    assert_eq!(chosen[0].why, "Modality is MR, plane is sagittal, 5 instances");
    assert_eq!(chosen[0].plan(&scan).map(|plan| plan.status), Some(Status::Ok));
    let left: Vec<(&str, &str)> =
        selection.left_out.iter().map(|left| (left.series_instance_uid.as_str(), left.code.as_str())).collect();
    assert_eq!(left, [("1.2.3.20", "plane"), ("1.2.3.30", "missing_slice")]);
    assert_eq!(selection.left_out[0].reason, "plane is axial, the rule asks for sagittal");
}

#[test]
fn attribute_rules_compare_values() {
    let scan = series(5, |_, _| {}).scan();
    let chosen = |value| select(&scan, &rules(value)).chosen.len();
    assert_eq!(chosen(json!({"EchoTime": 98, "ImageType": "PRIMARY"})), 1);
    assert_eq!(chosen(json!({"EchoTime": [12, 98]})), 1);
    assert_eq!(chosen(json!({"SeriesDescription": "T2"})), 0);
    assert_eq!(chosen(json!({"min_instances": 6})), 0);
    let left = select(&scan, &rules(json!({"Modality": ["CT", "PT"]}))).left_out;
    assert_eq!(
        (left[0].code.as_str(), left[0].reason.as_str()),
        ("modality", "Modality is MR, the rule asks for CT or PT")
    );
}

#[test]
fn two_volumes_of_a_series_have_two_keys_and_two_manifests() {
    let folder = series(8, |index, image| {
        position(image, [20.0 - 4.0 * (index % 4) as f64, -7.0, 30.0]);
        text(image, tags::ECHO_TIME, ["12", "98"][index / 4]);
    });
    let scan = folder.scan();
    let selection = select(&scan, &SelectionRules::default());
    let keys: Vec<&str> = selection.chosen.iter().map(|chosen| chosen.key.as_str()).collect();
    assert_eq!(keys, ["1.2.3.10-v0", "1.2.3.10-v1"]);
    let plan = selection.chosen[1].plan(&scan).expect("a plan");
    let volume = load_series(&SeriesManifest::of(plan).expect("a manifest")).expect("loads");
    assert_eq!(volume.voxels[[0, 0, 0]], 400.0);
}

#[test]
fn manifest_survives_saving_and_loads_the_same_volume() {
    let folder = series(5, |_, _| {});
    let plan = folder.plan();
    let manifest = SeriesManifest::of(&plan).expect("a manifest");
    manifest.save(&folder.join("series.json")).expect("saves");
    let loaded = SeriesManifest::load(&folder.join("series.json")).expect("loads");
    assert_eq!(loaded, manifest);
    assert_eq!(load_series(&loaded).expect("loads"), load_volume(&plan).expect("loads"));
}

#[test]
fn digest_is_the_same_in_another_folder_with_other_names_and_changes_with_a_pixel() {
    let one = SeriesManifest::of(&series(3, |_, _| {}).plan()).expect("a manifest");
    let folder = Folder::new();
    for index in 0..3 {
        write(&slice(index), &folder.join(["z", "y", "x"][index]));
    }
    let two = SeriesManifest::of(&folder.plan()).expect("a manifest");
    assert_eq!(one.digest(), two.digest());
    let mut bytes = std::fs::read(folder.join("x")).expect("read");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::write(folder.join("x"), bytes).expect("written");
    assert_ne!(SeriesManifest::of(&folder.plan()).expect("a manifest").digest(), one.digest());
    assert!(load_series(&two).expect_err("changed").to_string().contains("has changed"));
}

#[test]
fn volumes_are_written_and_one_refused_does_not_stop_the_others() {
    let folder = study();
    let out = Folder::new();
    let document = write_volumes(&[folder.path().to_path_buf()], out.path()).expect("writes");
    assert_eq!((document.volumes.len(), document.refused.len()), (2, 1));
    assert_eq!(document.refused[0].code, "missing_slice");
    let json = serde_json::to_value(&document).expect("serialises");
    assert_eq!(json["volumes"][0]["shape"], json!([5, 3, 4]));
    assert_eq!(json["volumes"][0]["plane"], "sagittal");
    let voxels: ndarray::Array3<f32> = ndarray_npy::read_npy(&document.volumes[0].path).expect("an array");
    assert_eq!(voxels[[4, 2, 3]], 423.0);
}

#[test]
fn one_series_is_written_by_uid() {
    let folder = study();
    let paths = [folder.path().to_path_buf()];
    let out = Folder::new();
    let document = write_volume(&paths, "1.2.3.20", None, &out.join("one.npy")).expect("writes");
    assert!(document.volumes[0].path.is_file());
    assert_eq!(write_volume(&paths, "1.2.3.30", None, &out.join("two.npy")).expect("refuses").refused.len(), 1);
    assert!(write_volume(&paths, "9.9", None, &out.join("three.npy")).is_err());
    assert!(write_volume(&paths, "1.2.3.20", Some(1), &out.join("four.npy")).is_err());
    assert!(write_volume(&paths, "1.2.3.20", None, &out.join("five.nii.gz")).is_err());
}

#[test]
fn hostile_uids_do_not_leave_the_folder() {
    let folder = series(3, |_, image| text(image, tags::SERIES_INSTANCE_UID, "../../up"));
    let out = Folder::new();
    let document = write_volumes(&[folder.path().to_path_buf()], out.path()).expect("writes");
    assert_eq!(document.volumes[0].path.parent(), Some(out.path()));
}

#[test]
fn inspect_document_has_the_agreed_fields_and_a_table() {
    let folder = study();
    let document = inspect(&[folder.path().to_path_buf()]).expect("inspects");
    assert!(document.has_usable_volume());
    let json = serde_json::to_value(&document).expect("serialises");
    let volume = &json["volumes"][2];
    for field in
        ["series_instance_uid", "volume", "modality", "plane", "obliquity_deg", "shape", "spacing_mm", "instances"]
    {
        assert!(volume.get(field).is_some(), "{field}");
    }
    assert_eq!((&volume["status"], &volume["code"]), (&json!("reject"), &json!("missing_slice")));
    let table = document.table();
    assert!(table.starts_with("STATUS  SERIES"), "{table}");
    assert!(table.contains("reject  1.2.3.30 volume 0: "), "{table}");
    assert!(!inspect(&[folder.join("gap0")]).expect("inspects").table().is_empty());
}
