//! Tests of the written study as a whole: bytes, geometry, truth.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("folder is readable") {
            let path = entry.expect("entry is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below the folder").to_owned();
                files.insert(name, std::fs::read(&path).expect("file is readable"));
            }
        }
    }
    files
}

fn written(seed: u64) -> (tempfile::TempDir, PhantomSummary) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let summary =
        write_phantom(&PhantomOptions { seed, output: folder.path().to_owned() }).expect("phantom is written");
    (folder, summary)
}

/// The phantom of seed 1, written once.
fn first() -> &'static (tempfile::TempDir, PhantomSummary) {
    static FIRST: std::sync::OnceLock<(tempfile::TempDir, PhantomSummary)> = std::sync::OnceLock::new();
    FIRST.get_or_init(|| written(1))
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("file is readable")).expect("file is JSON")
}

/// Also proves that the same seed gives the same bytes: the committed ones came from another process.
#[test]
fn the_committed_phantom_is_what_seed_1_writes_and_seed_2_differs() {
    let committed = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata"));
    let mut expected = files_below(committed);
    expected.retain(|name, _| name.starts_with("studies/phantom-1") || name.to_string_lossy().starts_with("truth_"));
    let (first, summary) = first();
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    let files = files_below(first.path());
    assert_eq!(names(&files), names(&expected));
    for (name, bytes) in &files {
        assert!(bytes == &expected[name], "{} differs from the committed file", name.display());
    }
    assert!(files.values().map(Vec::len).sum::<usize>() < 5_000_000);

    let other = Study::new(2);
    let pixels = |study: &Study| study.pixels(&study.axial, &study.axial.slices[0]);
    assert_ne!(pixels(&other), pixels(&Study::new(1)));
    assert_ne!(dicom::study_instance_uid(2), summary.study_instance_uid);
    assert_ne!(truth::Truth::of(&other).nodes(), summary.nodes);
}

#[test]
fn the_files_are_three_oblique_series_whose_names_and_numbers_say_nothing_about_order() {
    let (_folder, summary) = first();
    assert_eq!(summary.series.iter().map(|series| series.instances).collect::<Vec<_>>(), [13, 5, 3]);
    let scan = positions(summary, &summary.series[0].series_instance_uid);
    let along: Vec<f64> = scan.iter().map(|(_, along)| *along).collect();
    let by_number: Vec<i64> = scan.iter().map(|(number, _)| *number).collect();
    let mut sorted = by_number.clone();
    sorted.sort_unstable();
    assert_ne!(by_number, sorted, "files sorted by name are in order");
    let mut pairs: Vec<(i64, f64)> = by_number.into_iter().zip(along).collect();
    pairs.sort_by_key(|pair| pair.0);
    let steps: Vec<f64> = pairs.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert!(steps.iter().all(|step| (-4.45..-3.95).contains(step) && (step - steps[0]).abs() < 1e-4), "{steps:?}");
}

/// InstanceNumber and position along the normal of the files of a series, in the order of the file names.
fn positions(summary: &PhantomSummary, series: &str) -> Vec<(i64, f64)> {
    let mut positions = Vec::new();
    for name in files_below(&summary.study).keys() {
        let object = dicom_object::open_file(summary.study.join(name)).expect("file is DICOM");
        let text = |keyword: &str| {
            object.element_by_name(keyword).expect("element is present").to_str().expect("element is text").into_owned()
        };
        let numbers = |keyword: &str| -> Vec<f64> {
            text(keyword).split('\\').map(|part| part.parse().expect("a number")).collect()
        };
        assert_eq!((text("PatientID").as_str(), text("PatientName").as_str()), ("PHANTOM", ""));
        if text("SeriesInstanceUID") == series {
            let orientation = numbers("ImageOrientationPatient");
            let position = numbers("ImagePositionPatient");
            let half = |from: usize| [orientation[from], orientation[from + 1], orientation[from + 2]];
            let normal = arithmetic::cross(half(0), half(3));
            assert!(normal[0].abs() > 0.98 && normal[0].abs() < 0.9998, "sagittal, a little oblique: {normal:?}");
            let along = arithmetic::dot(normal, [position[0], position[1], position[2]]);
            positions.push((text("InstanceNumber").parse().expect("a number"), along));
        }
    }
    positions
}

#[test]
fn truth_boxes_hold_marrow_and_their_upper_edge_a_dark_plate() {
    let study = Study::new(1);
    let truth = truth::Truth::of(&study);
    let series = &study.sagittal;
    let pixels = study.pixels(series, &series.slices[6]);
    let columns = series.slices[6].plane.columns;
    let mean = |rows: std::ops::RangeInclusive<usize>, centre: usize, reach: usize| {
        let values: Vec<f64> = rows
            .flat_map(|row| (centre - reach..=centre + reach).map(move |column| (row, column)))
            .map(|(row, column)| f64::from(pixels[row * columns + column]))
            .collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    assert!(truth.bodies.len() >= 6);
    for body in &truth.bodies {
        let region = body.regions[6].expect("the middle slice shows every body");
        let (row, column) = (region.cy as usize, region.cx as usize);
        let marrow = mean(row - 4..=row + 4, column, 4);
        let darkest = (region.y0.saturating_sub(2)..row).map(|row| mean(row..=row, column, 0)).fold(f64::MAX, f64::min);
        assert!(marrow > 1.8 * darkest, "marrow {marrow}, plate {darkest}");
    }
}

#[test]
fn every_seed_shows_l1_to_l5_and_all_its_nodes_on_2_to_4_slices() {
    for seed in 0..5 {
        let study = Study::new(seed);
        let truth = truth::Truth::of(&study);
        let levels = truth.levels();
        assert!(levels.ends_with(&["L1", "L2", "L3", "L4", "L5"].map(str::to_owned)), "seed {seed}: {levels:?}");
        let document = truth.schmorl_document();
        let nodes = document["cases"][0]["nodes"].as_array().expect("nodes are listed");
        assert_eq!(nodes.len(), study.anatomy.nodes.len());
        for node in nodes {
            assert!(node["mask_label"].is_u64(), "seed {seed}: {node}");
            let number = |key: &str| node[key].as_f64().expect("a number");
            assert!((2.0..=4.0).contains(&number("slabs")), "seed {seed}: {node}");
            assert!((5.0..=12.0).contains(&number("width_mm")), "seed {seed}: {node}");
            assert!((3.5..=7.6).contains(&number("depth_mm")), "seed {seed}: {node}");
        }
    }
}

#[test]
fn both_truth_files_name_the_series_and_its_files() {
    let (_folder, summary) = first();
    let vertebrae = json_of(&summary.truth_vertebrae);
    let schmorl = json_of(&summary.truth_schmorl);
    for case in [&vertebrae[0], &schmorl["cases"][0]] {
        assert_eq!(case["series_instance_uid"], summary.series[0].series_instance_uid.as_str());
        for slice in case["slices"].as_array().expect("slices are listed") {
            assert!(summary.study.join(slice["file"].as_str().expect("a name")).is_file());
        }
    }
}
