//! The same on real series, where they lie beside the repository.

use std::path::PathBuf;

use dicom_dictionary_std::tags;
use mlpipe_dicom::{Plane, Scan, SelectionRules, Status, Volume, VolumePlan, load_volume, scan, select};

use crate::images::{Folder, short, skipped, text};

fn data(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    if path.is_dir() {
        return Some(path);
    }
    skipped(&format!("../shared/data/{name} is absent"));
    None
}

fn scanned(name: &str) -> Option<Scan> {
    Some(scan(&[data(name)?]).expect("the folder can be read"))
}

fn plans(scan: &Scan) -> Vec<&VolumePlan> {
    scan.series.iter().flat_map(|series| &series.volumes).collect()
}

fn of_plane(plans: &[&VolumePlan], plane: Plane) -> usize {
    plans.iter().filter(|plan| plan.plane == Some(plane)).count()
}

fn maps_back(volume: &Volume) {
    let shown = volume.canonical();
    for slice in [0, shown.geometry.shape[0] - 1] {
        let [x, y] = shown.source_px(slice, 3.0, 2.0).expect("a source");
        assert!((x - x.round()).abs() < 1e-6 && (y - y.round()).abs() < 1e-6, "{x} {y}");
        let uid = &shown.sources[slice].as_ref().expect("a source").sop_instance_uid;
        let stored =
            volume.sources.iter().position(|source| source.as_ref().is_some_and(|s| s.sop_instance_uid == *uid));
        let value = volume.voxels[[stored.expect("the slice"), y.round() as usize, x.round() as usize]];
        assert_eq!(shown.voxels[[slice, 2, 3]], value);
    }
}

#[test]
fn spine_series_are_nine_sagittal_one_axial_one_coronal() {
    let Some(scan) = scanned("spine_dicom_dev") else { return };
    let plans = plans(&scan);
    assert!(plans.iter().all(|plan| plan.status == Status::Ok), "{plans:#?}");
    assert_eq!(of_plane(&plans, Plane::Sagittal), 9);
    assert_eq!((of_plane(&plans, Plane::Axial), of_plane(&plans, Plane::Coronal)), (1, 1));
    for plan in plans.iter().step_by(4) {
        maps_back(&load_volume(plan).expect("loads"));
    }
    let rules = serde_json::json!({"Modality": "MR", "plane": "sagittal", "min_instances": 5});
    let rules = SelectionRules::from_json(rules.as_object().expect("an object")).expect("rules");
    assert_eq!(select(&scan, &rules).chosen.len(), 9);
}

#[test]
fn reformat_of_the_axial_spine_shows_the_sagittal_acquisition() {
    let Some(scan) = scanned("spine_dicom_dev/VB3_01") else { return };
    let plans = plans(&scan);
    let load = |plane| {
        let plan = plans.iter().find(|plan| plan.plane == Some(plane)).expect("the plane");
        load_volume(plan).expect("loads")
    };
    let truth = load(Plane::Sagittal).reformatted(Plane::Sagittal, 1.0).expect("allowed");
    let cut = load(Plane::Axial).reformatted(Plane::Sagittal, 1.0).expect("allowed");
    let (mut pairs, mut sums) = (0.0_f64, [0.0_f64; 5]);
    for ((slice, row, column), value) in truth.voxels.indexed_iter() {
        let lps = truth.geometry.index_to_lps([slice as f64, row as f64, column as f64]);
        let index = cut.geometry.lps_to_index(lps).map(f64::round);
        if (0..3).all(|axis| index[axis] >= 0.0 && index[axis] < cut.geometry.shape[axis] as f64) {
            let (a, b) = (f64::from(*value), f64::from(cut.voxels[index.map(|value| value as usize)]));
            pairs += 1.0;
            for (sum, term) in sums.iter_mut().zip([a, b, a * a, b * b, a * b]) {
                *sum += term;
            }
        }
    }
    let [a, b, aa, bb, ab] = sums.map(|sum| sum / pairs);
    let correlation = (ab - a * b) / ((aa - a * a) * (bb - b * b)).sqrt();
    assert!(pairs > 1e5 && correlation > 0.9, "correlation {correlation:.3} over {pairs} voxels");
}

/// The files are mosaics of one series, which are refused; relabelled as single images of their own series they show
/// what each encoding decodes to.
#[test]
fn nine_encodings_of_one_image_give_the_same_pixels_or_are_refused() {
    let Some(folder) = data("dcm_qa_ts/In") else { return };
    let copies = Folder::new();
    for number in 1..=9 {
        let mut image = dicom_object::open_file(folder.join(format!("{number}.dcm"))).expect("opens");
        text(&mut image, tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\M");
        text(&mut image, tags::SERIES_INSTANCE_UID, &format!("1.2.3.{number}"));
        image.write_to_file(copies.join(&number.to_string())).expect("written");
    }
    let scan = copies.scan();
    let (usable, refused): (Vec<&VolumePlan>, Vec<&VolumePlan>) =
        plans(&scan).into_iter().partition(|plan| plan.is_usable());
    let volumes: Vec<Volume> = usable.iter().map(|plan| load_volume(plan).expect("loads")).collect();
    assert!(volumes[0].voxels.iter().any(|value| *value > 0.0));
    assert!(volumes.iter().all(|volume| volume.voxels == volumes[0].voxels));
    assert_eq!((volumes.len(), refused.len()), (9, 0), "{refused:#?}");
}

#[test]
fn compressed_image_of_another_size_than_its_header_is_refused() {
    let Some(folder) = data("dcm_qa_ts/In") else { return };
    for number in [5, 8, 9] {
        let mut image = dicom_object::open_file(folder.join(format!("{number}.dcm"))).expect("opens");
        text(&mut image, tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\M");
        short(&mut image, tags::ROWS, 385);
        let copy = Folder::new();
        image.write_to_file(copy.join("image")).expect("written");
        let plan = copy.plan();
        assert!(!plan.is_usable() || load_volume(&plan).is_err(), "{number}");
    }
}

#[test]
fn siemens_mosaics_are_refused() {
    let Some(scan) = scanned("dcm_qa_orientation") else { return };
    let plans = plans(&scan);
    assert!(!plans.is_empty());
    assert!(
        plans.iter().all(|plan| plan.reason.as_ref().is_some_and(|problem| problem.code == "mosaic")),
        "{plans:#?}"
    );
}

#[test]
fn siemens_sagittal_brain_is_thirty_five_slices() {
    let Some(scan) = scanned("dcm_qa_decubitus") else { return };
    let plans = plans(&scan);
    assert_eq!(plans.len(), 1);
    let plan = plans[0];
    assert_eq!((plan.plane, plan.shape[0]), (Some(Plane::Sagittal), 35), "{plan:#?}");
    assert!(plan.is_usable());
    maps_back(&load_volume(plan).expect("loads"));
}

#[test]
fn cord_series_have_their_planes() {
    let Some(scan) = scanned("sct_dicom") else { return };
    let plans = plans(&scan);
    assert_eq!((of_plane(&plans, Plane::Sagittal), of_plane(&plans, Plane::Axial)), (1, 1), "{plans:#?}");
    assert!(plans.iter().all(|plan| plan.is_usable()), "{plans:#?}");
}
