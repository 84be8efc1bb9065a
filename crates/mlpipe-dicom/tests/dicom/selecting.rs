//! Selection, manifests, and the documents of the command.

use dicom_dictionary_std::tags;
use mlpipe_dicom::{
    Limits, SelectionRules, SeriesManifest, Status, inspect, load_series, load_volume, select, write_volume,
    write_volumes,
};
use serde_json::{Value, json};

use crate::images::{Folder, SERIES, orientation, position, series, short, slice, text, write};

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
    let volume = load_series(&SeriesManifest::of(plan).expect("a manifest"), Limits::default()).expect("loads");
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
    assert_eq!(load_series(&loaded, Limits::default()).expect("loads"), load_volume(&plan).expect("loads"));
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
    assert!(load_series(&two, Limits::default()).expect_err("changed").to_string().contains("has changed"));
}

#[test]
fn volumes_are_written_and_one_refused_does_not_stop_the_others() {
    let folder = study();
    let out = Folder::new();
    let document = write_volumes(&[folder.path().to_path_buf()], out.path(), Limits::default()).expect("writes");
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
    let document = write_volume(&paths, "1.2.3.20", None, &out.join("one.npy"), Limits::default()).expect("writes");
    assert!(document.volumes[0].path.is_file());
    assert_eq!(
        write_volume(&paths, "1.2.3.30", None, &out.join("two.npy"), Limits::default()).expect("refuses").refused.len(),
        1
    );
    assert!(write_volume(&paths, "9.9", None, &out.join("three.npy"), Limits::default()).is_err());
    assert!(write_volume(&paths, "1.2.3.20", Some(1), &out.join("four.npy"), Limits::default()).is_err());
    assert!(write_volume(&paths, "1.2.3.20", None, &out.join("five.nrrd"), Limits::default()).is_err());
}

#[test]
fn hostile_uids_do_not_leave_the_folder() {
    let folder = series(3, |_, image| text(image, tags::SERIES_INSTANCE_UID, "../../up"));
    let out = Folder::new();
    let document = write_volumes(&[folder.path().to_path_buf()], out.path(), Limits::default()).expect("writes");
    assert_eq!(document.volumes[0].path.parent(), Some(out.path()));
}

#[test]
fn inspect_document_has_the_agreed_fields_and_a_table() {
    let folder = study();
    let document = inspect(&[folder.path().to_path_buf()], Limits::default()).expect("inspects");
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
    assert!(!inspect(&[folder.join("gap0")], Limits::default()).expect("inspects").table().is_empty());
}

#[test]
fn series_table_has_one_line_per_series_and_no_control_characters() {
    let folder = study();
    let mut named = slice(9);
    text(&mut named, tags::SERIES_INSTANCE_UID, "1.2.3.40");
    text(&mut named, tags::SERIES_DESCRIPTION, "T2 \u{1b}[31m\u{7}sag");
    write(&named, &folder.join("named"));
    let table = mlpipe_dicom::series_table(&folder.scan());
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[0].starts_with("STATUS  MODALITY") && lines[4].contains("T2 [31m sag"), "{table}");
    assert!(lines[3].starts_with("reject") && lines[2].contains("axial"), "{table}");
}

#[test]
fn nifti_holds_the_voxels_column_first_after_its_header() {
    type Rescale = (&'static str, &'static str, u16);
    // Slope, intercept, BitsStored; the bytes of a voxel; what 3 and 421 become.
    let cases: [(Rescale, usize, [f32; 2]); 6] = [
        (("1", "-1024", 12), 2, [-1021.0, -603.0]),
        (("-2", "0", 12), 2, [-6.0, -842.0]),
        (("0.5", "0", 12), 4, [1.5, 210.5]),
        // The largest of twelve bits would be 40,950.
        (("10", "0", 12), 4, [30.0, 4210.0]),
        (("1", "0", 15), 2, [3.0, 421.0]),
        (("1", "0", 16), 4, [3.0, 421.0]),
    ];
    for ((slope, intercept, bits), width, expected) in cases {
        let folder = series(5, |_, image| {
            text(image, tags::RESCALE_SLOPE, slope);
            text(image, tags::RESCALE_INTERCEPT, intercept);
            short(image, tags::BITS_STORED, bits);
            short(image, tags::HIGH_BIT, bits - 1);
        });
        for name in ["one.nii", "one.nii.gz"] {
            let bytes = nifti(&folder, name);
            assert_eq!(bytes.len(), 352 + 5 * 3 * 4 * width, "{slope} {intercept} {bits}");
            assert_eq!(bytes[70..74], if width == 2 { [4, 0, 16, 0] } else { [16, 0, 32, 0] });
            let voxel = |[slice, row, column]: [usize; 3]| {
                let at = &bytes[352 + width * (column + 4 * (row + 3 * slice))..][..width];
                match at {
                    [low, high] => f32::from(i16::from_le_bytes([*low, *high])),
                    _ => f32::from_le_bytes(at.try_into().expect("4 bytes")),
                }
            };
            assert_eq!([voxel([0, 0, 3]), voxel([4, 2, 1])], expected, "{slope} {intercept} {bits}");
        }
    }
}

/// The bytes of the series' only volume as NIfTI, inflated.
fn nifti(folder: &Folder, name: &str) -> Vec<u8> {
    let out = folder.join(name);
    write_volume(&[folder.path().to_path_buf()], SERIES, None, &out, Limits::default()).expect("writes");
    let bytes = std::fs::read(&out).expect("read");
    if !name.ends_with("gz") {
        return bytes;
    }
    let mut inflated = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut inflated).expect("inflates");
    inflated
}

/// nibabel, of the Python of the pydicom test, must place each voxel where the volume places it.
#[test]
fn nibabel_places_voxels_where_the_volume_does() {
    let python = std::env::var("MLPIPE_TEST_PYDICOM").unwrap_or_else(|_| "python3".into());
    let folder = series(5, |index, image| {
        let (sine, cosine) = 0.3_f64.sin_cos();
        orientation(image, [0.0, cosine, -sine], [0.0, -sine, -cosine]);
        position(image, [20.0 - 4.0 * index as f64, -7.0, 30.0]);
    });
    let out = folder.join("oblique.nii.gz");
    let document = write_volume(&[folder.path().to_path_buf()], SERIES, None, &out, Limits::default());
    assert_eq!(document.expect("writes").volumes.len(), 1);
    let script = "import sys, nibabel; n = nibabel.load(sys.argv[1]); print(*(n.affine @ [3, 2, 4, 1])[:3], \
                  *(n.get_qform() @ [3, 2, 4, 1])[:3], n.get_fdata()[3, 2, 4])";
    let output = std::process::Command::new(&python).args(["-c", script]).arg(&out).output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        crate::images::skipped(&format!("`{python}` has no nibabel; set MLPIPE_TEST_PYDICOM to a Python that has it"));
        return;
    };
    let text = String::from_utf8(output.stdout).expect("text");
    let found: Vec<f64> = text.split_whitespace().map(|value| value.parse().expect("a number")).collect();
    let geometry = folder.scan().series[0].volumes[0].geometry.clone().expect("a geometry");
    let [left, posterior, superior] = geometry.index_to_lps([4.0, 2.0, 3.0]);
    let expected = [-left, -posterior, superior, -left, -posterior, superior, 423.0];
    assert!(
        found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-4),
        "{found:?} {expected:?}"
    );
}

#[test]
fn volumes_beyond_the_memory_allowed_are_refused_naming_the_option() {
    let folder = series(5, |_, _| {});
    let limits = "100".parse().expect("a size");
    let document = inspect(&[folder.path().to_path_buf()], limits).expect("inspects");
    assert_eq!(document.volumes[0].code.as_deref(), Some("too_large"));
    assert!(document.volumes[0].reason.as_ref().is_some_and(|reason| reason.contains("--max-memory")));
}

#[test]
fn one_volume_of_a_study_is_preferred_and_the_others_say_to_which_they_lost() {
    let folder = study();
    let prefer = |word: &str| {
        let selection = select(&folder.scan(), &rules(json!({"prefer": word})));
        assert_eq!(selection.chosen.len(), 1, "{selection:#?}");
        let lost = selection.left_out.iter().find(|left| left.code == "not_preferred").expect("one lost");
        (selection.chosen[0].key.clone(), lost.reason.clone())
    };
    let (key, reason) = prefer("thinnest");
    assert_eq!(key, "1.2.3.20");
    assert_eq!(reason, "it has 4.000 mm between slices; 1.2.3.20 of the same study has 3.000 mm between slices");
    let (key, reason) = prefer("largest");
    assert_eq!((key.as_str(), reason.ends_with("has 5 slices, which comes first")), (SERIES, true), "{reason}");
    assert_eq!(prefer("newest").0, SERIES);
}

#[test]
fn conditions_choose_by_expression_range_relation_and_exclusion() {
    let scan = series(5, |_, _| {}).scan();
    let chosen = |value| select(&scan, &rules(value)).chosen.len();
    assert_eq!(chosen(json!({"ImageType": "/prim/i", "EchoTime": {"min": 90, "max": 110}})), 1);
    assert_eq!(chosen(json!({"SliceThickness": "<= 3.5", "SeriesDescription": "!/local/i"})), 1);
    assert_eq!(chosen(json!({"SliceThickness": "< 3.5"})), 0);
    let left = select(&scan, &rules(json!({"ImageType": ["!PRIMARY"]}))).left_out;
    assert_eq!(left[0].reason, "ImageType is ORIGINAL\\PRIMARY\\M, the rule asks for !PRIMARY");
}
