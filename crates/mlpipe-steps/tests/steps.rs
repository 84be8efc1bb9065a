//! Steps from files to files, on synthetic volumes and tiny networks (`data/make_models.py`) whose answers are known.

use std::path::{Path, PathBuf};

use mlpipe_dicom::{Limits, Plane, SeriesManifest, SourceSlice, Volume, VolumeGeometry, scan};
use mlpipe_infer::BackendChoice;
use mlpipe_report::{Endplate, FindingsDocument, VertebraeDocument};
use mlpipe_steps::detect::VertebraEntry;
use mlpipe_steps::{Code, Runtime, batch, detect, extract, nodes, report, results};
use ndarray::{Array3, s};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

const SHAPE: [usize; 3] = [6, 200, 120];
const RTEN: Runtime = Runtime { backend: BackendChoice::Rten, threads: 1 };

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn read<T: DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).expect("the file is there")).expect("the document is valid")
}

/// Sagittal, 4 mm slices, 1 mm pixels; the stored images begin two columns before the volume.
fn volume(voxels: Array3<f32>) -> Volume {
    let geometry = VolumeGeometry {
        shape: SHAPE,
        origin_lps: [0.0; 3],
        slice_axis: [1.0, 0.0, 0.0],
        row_axis: [0.0, 0.0, -1.0],
        column_axis: [0.0, 1.0, 0.0],
        spacing_mm: [4.0, 1.0, 1.0],
    };
    let source = |slice: usize| SourceSlice {
        sop_instance_uid: format!("1.2.3.{slice}"),
        shape: [SHAPE[1], SHAPE[2] + 2],
        origin_lps: geometry.index_to_lps([slice as f64, 0.0, -2.0]),
        row_axis: geometry.row_axis,
        column_axis: geometry.column_axis,
        spacing_mm: [1.0, 1.0],
    };
    let sources = (0..SHAPE[0]).map(|slice| Some(source(slice))).collect();
    let uid = str::to_owned;
    Volume {
        voxels,
        sources,
        series_instance_uid: uid("1.2.3"),
        study_instance_uid: uid("1.2"),
        modality: uid("MR"),
        geometry,
    }
}

/// Four bodies on slices 1 to 4, the lowest bright enough to be marked as L5.
fn spots() -> Array3<f32> {
    let mut voxels = Array3::zeros(SHAPE);
    for slice in 1..=4 {
        for (row, value) in [(30, 140.0), (66, 140.0), (102, 140.0), (138, 200.0)] {
            voxels[[slice, row, 60]] = value;
        }
    }
    voxels
}

fn detect_in(directory: &Path, voxels: Array3<f32>) -> detect::Args {
    let path = directory.join("volume");
    volume(voxels).save(&path).expect("the volume can be written");
    let output_dir = directory.join("out");
    detect::Args { volume: path, model: model("spot_detector"), threshold: 0.5, output_dir, runtime: RTEN }
}

#[test]
fn vertebrae_are_found_and_cut_out() {
    let directory = folder();
    let args = detect_in(directory.path(), spots());
    let summary = detect::run(&args).expect("the step runs");
    assert_eq!((summary.metrics["vertebrae"], summary.metrics["labelled_vertebrae"]), (4.0, 0.0));
    let document: VertebraeDocument = read(&args.output_dir.join("vertebrae.json"));
    let levels: Vec<String> = document.vertebrae.iter().map(|vertebra| vertebra.level_candidates.join("|")).collect();
    assert_eq!(levels, ["L2|L1|L3", "L3|L2|L4", "L4|L3|L5", "L5|L4|S1"], "this detector knows no sacrum");
    let upper = &document.vertebrae[0];
    // The cell of row 30, column 60 is centred on row 29.5, column 61.5 of the volume, two more in the stored image.
    assert_eq!(upper.box_px, [63.5 - 15.5, 29.5 - 12.5, 63.5 + 15.5, 29.5 + 12.5]);
    assert_eq!(upper.center_lps, [2.5 * 4.0, 61.5, -29.5]);
    assert_eq!((upper.id.as_str(), upper.slice, upper.slices.len(), upper.score), ("v1", 1, 4, 0.7));
    assert_eq!(upper.sop_instance_uid.as_deref(), Some("1.2.3.1"));
    assert_eq!((document.model.name.as_str(), document.model.backend.as_str()), ("spot-detector", "rten 0.27.0"));

    let entry: VertebraEntry = read(&args.output_dir.join("vertebrae/v2/vertebra.json"));
    assert_eq!((entry.series_instance_uid.as_str(), &entry.vertebra), ("1.2.3", &document.vertebrae[1]));
    assert_eq!((entry.crop_offset, entry.crop_shape), ([0, 38, 31], [6, 56, 62]));
    let crop: Array3<f32> = ndarray_npy::read_npy(args.output_dir.join("vertebrae/v2/crop.npy")).expect("an array");
    assert_eq!((crop.shape(), crop[[1, 66 - 38, 60 - 31]]), ([6, 56, 62].as_slice(), 140.0));
    let metrics: Value = read(&args.output_dir.join("metrics.json"));
    assert_eq!(metrics["vertebrae"], 4.0);
}

#[test]
fn a_second_run_replaces_the_entries_of_the_first() {
    let directory = folder();
    detect::run(&detect_in(directory.path(), spots())).expect("the step runs");
    let mut fewer = spots();
    fewer.slice_mut(s![.., ..40, ..]).fill(0.0);
    let args = detect_in(directory.path(), fewer);
    detect::run(&args).expect("the step runs");
    let names = std::fs::read_dir(args.output_dir.join("vertebrae")).expect("it is a folder");
    let mut names: Vec<String> =
        names.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, ["v1", "v2", "v3"]);
    assert_eq!(std::fs::read_dir(&args.output_dir).expect("it is a folder").count(), 3, "nothing temporary is left");
}

#[test]
fn an_image_without_a_spine_gives_an_empty_list_and_a_note() {
    let directory = folder();
    let mut voxels = Array3::zeros(SHAPE);
    voxels[[2, 50, 60]] = 100.0;
    let args = detect_in(directory.path(), voxels);
    let summary = detect::run(&args).expect("the step runs");
    assert!(summary.notes[0].starts_with("no spine found"), "{:?}", summary.notes);
    let document: VertebraeDocument = read(&args.output_dir.join("vertebrae.json"));
    assert!(document.vertebrae.is_empty());
    assert!(args.output_dir.join("vertebrae").is_dir(), "an empty collection is still one");
}

#[test]
fn an_image_without_contrast_gives_an_empty_list() {
    let directory = folder();
    let args = detect_in(directory.path(), Array3::from_elem(SHAPE, 7.0));
    assert_eq!(detect::run(&args).expect("the step runs").metrics["vertebrae"], 0.0);
}

#[test]
fn inputs_that_cannot_be_used_are_named() {
    let directory = folder();
    let good = detect_in(directory.path(), spots());
    let message = |args: &detect::Args| {
        let error = detect::run(args).expect_err("it is refused");
        assert!(error.is_bad_input(), "{error}");
        error.to_string()
    };
    let missing = detect::Args { volume: directory.path().join("absent"), ..good.clone() };
    assert!(message(&missing).contains("absent"));
    let wrong_model = detect::Args { model: model("brightness_classifier"), ..good.clone() };
    assert!(message(&wrong_model).contains("metadata `canvas` is missing"));
    let threshold = detect::Args { threshold: f64::NAN, ..good };
    assert!(message(&threshold).contains("parameter `threshold` is NaN"));
}

/// The classifier's probability is the brightness of the middle slice: only slice 2 is bright.
fn bright_slice() -> Array3<f32> {
    let mut voxels = Array3::zeros(SHAPE);
    voxels.slice_mut(s![2, .., ..]).fill(100.0);
    voxels
}

/// Writes the entries of [`spots`] and a volume that is bright on slice 2; returns the folder of vertebra `v3`.
fn nodes_in(directory: &Path) -> nodes::Args {
    let detect = detect_in(directory, spots());
    detect::run(&detect).expect("the step runs");
    volume(bright_slice()).save(&detect.volume).expect("the volume can be written");
    nodes::Args {
        volume: detect.volume,
        vertebra: detect.output_dir.join("vertebrae/v3"),
        model: model("brightness_classifier"),
        threshold: 0.5,
        output_dir: directory.join("nodes"),
        runtime: RTEN,
    }
}

#[test]
fn nodes_are_found_on_both_endplates_of_their_best_slice() {
    let directory = folder();
    let args = nodes_in(directory.path());
    let summary = nodes::run(&args).expect("the step runs");
    assert_eq!((summary.metrics["endplates"], summary.metrics["nodes"]), (2.0, 2.0));
    let document: FindingsDocument = read(&args.output_dir.join("findings.json"));
    let [superior, inferior] = &document.findings[..] else { panic!("two nodes, got {:?}", document.findings) };
    assert_eq!((superior.endplate, inferior.endplate), (Endplate::Superior, Endplate::Inferior));
    assert_eq!((superior.vertebra_id.as_str(), superior.level.as_deref()), ("v3", None));
    assert_eq!((superior.slice, superior.sop_instance_uid.as_deref()), (2, Some("1.2.3.2")));
    assert_eq!(superior.probability, 1.0);
    // The body spans rows 89 to 114; 8 patch px of 0.75 mm lie 6 mm inside it. 12 x 4 patch px are 9 x 3 mm.
    assert_eq!(superior.box_px, [63.5 - 4.0, 95.0 - 1.0, 63.5 + 4.0, 95.0 + 1.0]);
    assert_eq!(inferior.box_px, [63.5 - 4.0, 108.0 - 1.0, 63.5 + 4.0, 108.0 + 1.0]);
    assert_eq!((superior.width_mm, superior.depth_mm), (9.0, 3.0));
    assert_eq!(document.examined[0].vertebra_box_px, [48.0, 89.0, 79.0, 114.0]);
}

#[test]
fn endplates_below_the_threshold_are_examined_but_not_reported() {
    let directory = folder();
    let args = nodes_in(directory.path());
    let mut dim = bright_slice();
    dim.slice_mut(s![0, .., ..]).fill(400.0);
    volume(dim).save(&args.volume).expect("the volume can be written");
    nodes::run(&args).expect("the step runs");
    let document: FindingsDocument = read(&args.output_dir.join("findings.json"));
    assert_eq!((document.examined.len(), document.findings.len()), (2, 0));
    assert_eq!(document.examined[0].probability, 0.25);
}

#[test]
fn slices_that_show_only_the_rim_of_the_body_are_not_looked_at() {
    let directory = folder();
    let args = nodes_in(directory.path());
    let path = args.vertebra.join("vertebra.json");
    let mut entry: VertebraEntry = read(&path);
    let bright = entry.vertebra.slices.iter_mut().find(|on_slice| on_slice.slice == 2).expect("it is on slice 2");
    bright.box_px[2] = bright.box_px[0] + 12.0;
    std::fs::write(&path, serde_json::to_vec(&entry).expect("it is JSON")).expect("the file can be written");
    nodes::run(&args).expect("the step runs");
    let document: FindingsDocument = read(&args.output_dir.join("findings.json"));
    assert!(document.findings.is_empty() && document.examined[0].slice != 2, "{document:?}");
}

#[test]
fn a_vertebra_of_another_series_is_refused() {
    let directory = folder();
    let args = nodes_in(directory.path());
    let mut other = volume(bright_slice());
    other.series_instance_uid = "9.9".to_owned();
    other.save(&args.volume).expect("the volume can be written");
    let message = nodes::run(&args).expect_err("it is refused").to_string();
    assert!(message.contains("it belongs to series 1.2.3, the volume to 9.9"), "{message}");
}

#[test]
fn one_bad_item_of_a_batch_does_not_stop_the_others() {
    let directory = folder();
    let args = nodes_in(directory.path());
    let item = |key: &str, name: &str, value: Value| {
        let vertebra = args.vertebra.with_file_name(key);
        let mut parameters =
            json!({"volume": args.volume, "vertebra": vertebra, "model": args.model, "threshold": "0.5"});
        parameters[name] = value;
        json!({"key": key, "parameters": parameters, "output_dir": directory.path().join("batch").join(key)})
    };
    let results = directory.path().join("results.ndjson");
    let items = json!([
        item("v1", "threshold", json!(0.5)),
        item("v2", "volume", json!(directory.path().join("absent"))),
        item("v3", "threshold", json!("half")),
        item("v4", "model", json!(directory.path())),
        item("v9", "threshold", json!("0.5")),
        item("v2", "threshold", json!("0.5")),
    ]);
    let file = directory.path().join("batch.json");
    let batch = json!({"format": "mlpipe.batch/1", "items": items, "results": results});
    std::fs::write(&file, batch.to_string()).expect("the file can be written");
    let summary = batch::run(&file, RTEN).expect("the batch runs");
    assert_eq!((summary.metrics["items"], summary.metrics["failed_items"]), (6.0, 4.0));
    let lines = std::fs::read_to_string(&results).expect("results were written");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines.iter().filter(|line| line["status"] == "ok" && line["error"].is_null()).count(), 2);
    let failed = |text: &str| lines.iter().any(|line| line["error"].as_str().is_some_and(|error| error.contains(text)));
    assert!(failed("absent") && failed("`\"half\"` is not a number"), "{lines:?}");
    assert!(failed("no `MLmodel` file") && failed("v9"), "{lines:?}");
    let alone: FindingsDocument = read(&directory.path().join("batch/v2/findings.json"));
    assert_eq!((alone.findings.len(), alone.examined[0].vertebra_id.as_str()), (2, "v2"));
}

#[test]
fn the_report_collects_the_findings_of_all_vertebrae() {
    let directory = folder();
    let args = nodes_in(directory.path());
    let all = directory.path().join("all");
    for id in ["v1", "v2"] {
        let vertebra = args.vertebra.with_file_name(id);
        nodes::run(&nodes::Args { vertebra, output_dir: all.join(id), ..args.clone() }).expect("the step runs");
    }
    let report = report::Args {
        volume: args.volume.clone(),
        vertebrae: directory.path().join("out/vertebrae.json"),
        findings: all.clone(),
        run_id: Some("abc123".to_owned()),
        output_dir: directory.path().join("report"),
    };
    let summary = report::run(&report).expect("the step runs");
    assert_eq!((summary.metrics["vertebrae"], summary.metrics["endplates"], summary.metrics["nodes"]), (4.0, 4.0, 4.0));
    let page = std::fs::read_to_string(report.output_dir.join("report.html")).expect("it was written");
    assert!(page.contains("abc123") && page.contains("</html>"));
    let single = report::Args { findings: all.join("v2/findings.json"), ..report.clone() };
    assert_eq!(report::run(&single).expect("the step runs").metrics["endplates"], 2.0);
    std::fs::write(all.join("v3"), "{}").expect("the file can be written");
    let message = report::run(&report).expect_err("it is refused").to_string();
    assert!(message.contains("v3` is not a valid mlpipe.findings/1 document"), "{message}");
}

/// The phantom study that comes with the sources: one sagittal series, an axial one and a localizer.
fn phantom_study() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/studies/phantom-1")
}

/// Writes the manifest of the phantom's longest series of a plane.
fn phantom_manifest(directory: &Path, plane: Plane) -> PathBuf {
    let found = scan(&[phantom_study()]).expect("the study can be read");
    let plans = found.series.iter().flat_map(|series| &series.volumes);
    let usable = plans.filter(|plan| plan.plane == Some(plane) && plan.is_usable());
    let plan = usable.max_by_key(|plan| plan.shape[0]).expect("there is such a series");
    let path = directory.join(format!("{plane}.json"));
    SeriesManifest::of(plan).and_then(|manifest| manifest.save(&path)).expect("the manifest can be written");
    path
}

#[test]
fn the_native_plane_keeps_its_slices_in_canonical_orientation() {
    let directory = folder();
    let series = phantom_manifest(directory.path(), Plane::Sagittal);
    let output_dir = directory.path().join("out");
    let limits = Limits::default();
    let args = extract::Args { series, plane: Plane::Sagittal, spacing_mm: 1.0, limits, output_dir };
    let summary = extract::run(&args).expect("the step runs");
    assert!(summary.notes.is_empty(), "{:?}", summary.notes);
    let volume = Volume::load(&args.output_dir.join("volume")).expect("a volume was written");
    assert!(volume.sources.iter().all(Option::is_some), "every slice has its stored image");
    assert_eq!(volume.geometry.spacing_mm[1..], [1.0, 1.0]);
    assert!(volume.geometry.row_axis[2] < -0.7 && volume.geometry.column_axis[1] > 0.7, "{:?}", volume.geometry);
}

#[test]
fn results_are_written_for_the_series_of_the_volume_alone() {
    let directory = folder();
    let series = phantom_manifest(directory.path(), Plane::Sagittal);
    let output_dir = directory.path().join("slices");
    let limits = Limits::default();
    let extracted =
        extract::Args { series: series.clone(), plane: Plane::Sagittal, spacing_mm: 1.0, limits, output_dir };
    extract::run(&extracted).expect("the step runs");
    let volume = Volume::load(&extracted.output_dir.join("volume")).expect("a volume was written");
    let model = json!({"name": "none", "version": "1", "sha256": "ab", "backend": "none"});
    let document = json!({"format": "mlpipe.vertebrae/1", "series_instance_uid": volume.series_instance_uid,
        "model": model, "threshold": 0.5, "vertebrae": []});
    std::fs::write(directory.path().join("vertebrae.json"), document.to_string()).expect("written");
    std::fs::create_dir(directory.path().join("findings")).expect("a folder");
    let args = results::Args {
        series,
        volume: extracted.output_dir.join("volume"),
        vertebrae: directory.path().join("vertebrae.json"),
        findings: directory.path().join("findings"),
        node: Code::schmorl_node(),
        limits: Limits::default(),
        output_dir: directory.path().join("results"),
    };
    let summary = results::run(&args).expect("the step runs");
    // Report, key image and PDF; nothing to outline, and the phantom tells no date.
    assert_eq!((summary.metrics["dicom_objects"], summary.notes.len()), (3.0, 2), "{:?}", summary.notes);
    assert!(summary.outputs.iter().all(|path| path.is_file()));
    let other = results::Args { series: phantom_manifest(directory.path(), Plane::Axial), ..args };
    let error = results::run(&other).expect_err("it is refused");
    assert!(error.is_bad_input() && error.to_string().contains("source images"), "{error}");
}

#[test]
fn planes_that_would_be_invented_are_refused_with_the_reason() {
    let directory = folder();
    let series = phantom_manifest(directory.path(), Plane::Axial);
    let (limits, output_dir) = (Limits::default(), directory.path().join("out"));
    let args = extract::Args { series, plane: Plane::Sagittal, spacing_mm: 0.5, limits, output_dir };
    let error = extract::run(&args).expect_err("it is refused");
    assert!(error.is_bad_input() && error.to_string().contains("to sagittal"), "{error}");
    assert!(!args.output_dir.exists(), "nothing is written");
    let tiny = extract::Args { spacing_mm: 0.0, ..args };
    assert!(extract::run(&tiny).expect_err("it is refused").to_string().contains("`spacing_mm` is 0"));
}

#[test]
fn folders_with_several_volumes_or_none_are_refused() {
    let message = |series: PathBuf| extract::load(&series, Limits::default()).expect_err("it is refused").to_string();
    assert!(message(phantom_study()).contains("volumes; give the folder of one of them"));
    let empty = folder();
    assert!(message(empty.path().to_owned()).ends_with("it holds no DICOM images"));
    assert!(message(empty.path().join("absent")).contains("absent"));
}
