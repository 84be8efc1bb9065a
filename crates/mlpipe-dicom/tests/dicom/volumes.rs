//! What can be done with a loaded volume: display orientation, pixel mapping, resampling, reformatting, saving.

use dicom_dictionary_std::tags;
use mlpipe_dicom::{Plane, Volume, load_volume};
use ndarray::Array3;

use crate::images::{Folder, orientation, position, series, short, slice, text, words, write};

const TOLERANCE: f64 = 1e-9;

fn plain() -> Volume {
    load_volume(&series(5, |_, _| {}).plan()).expect("loads")
}

fn near(a: [f64; 2], b: [f64; 2]) -> bool {
    (a[0] - b[0]).abs() < TOLERANCE && (a[1] - b[1]).abs() < TOLERANCE
}

/// An axial acquisition of 20 slices x 30 rows x 40 columns, 2 mm x 1 mm x 1 mm, whose voxels are `f(L, P, S)` in mm.
fn axial(f: impl Fn([f64; 3]) -> f64) -> Volume {
    let folder = Folder::new();
    for index in 0..20 {
        let mut image = slice(index);
        short(&mut image, tags::ROWS, 30);
        short(&mut image, tags::COLUMNS, 40);
        text(&mut image, tags::PIXEL_SPACING, "1\\1");
        orientation(&mut image, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
        position(&mut image, [-20.0, -15.0, 2.0 * index as f64]);
        let value = |at: usize| f([(at % 40) as f64 - 20.0, (at / 40) as f64 - 15.0, 2.0 * index as f64]);
        words(&mut image, &(0..1200).map(|at| value(at).round() as u16).collect::<Vec<_>>());
        write(&image, &folder.join(&index.to_string()));
    }
    load_volume(&folder.plan()).expect("loads")
}

#[test]
fn display_orientation_keeps_voxels_at_their_place_in_the_patient() {
    let stored = plain();
    let shown = stored.canonical();
    assert_eq!(shown.geometry.slice_axis, [1.0, 0.0, 0.0]);
    assert_eq!(shown.sources[0].as_ref().expect("a source").sop_instance_uid, "1.2.3.10.5");
    for ((slice, row, column), value) in shown.voxels.indexed_iter() {
        let lps = shown.geometry.index_to_lps([slice as f64, row as f64, column as f64]);
        let index = stored.geometry.lps_to_index(lps).map(|value| value.round() as usize);
        assert_eq!(stored.voxels[index], *value);
    }
}

#[test]
fn transposed_and_flipped_storage_is_shown_upright_and_maps_back() {
    // Rows run front to back reversed and columns feet to head: everything a sagittal picture should not be.
    let folder = series(5, |index, image| {
        orientation(image, [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]);
        position(image, [3.0 * index as f64, 50.0, -80.0]);
    });
    let stored = load_volume(&folder.plan()).expect("loads");
    let shown = stored.canonical();
    let geometry = &shown.geometry;
    assert_eq!((geometry.row_axis, geometry.column_axis), ([0.0, 0.0, -1.0], [0.0, 1.0, 0.0]));
    assert_eq!((geometry.shape, geometry.spacing_mm), ([5, 4, 3], [3.0, 0.5, 0.8]));
    for ((slice, row, column), value) in shown.voxels.indexed_iter() {
        let [x, y] = shown.source_px(slice, column as f64, row as f64).expect("a source");
        let stored_value = 10.0 * y.round() + x.round();
        assert_eq!(*value % 100.0, stored_value as f32);
        assert!(near(shown.volume_px(slice, x, y).expect("a source"), [column as f64, row as f64]));
    }
}

#[test]
fn oblique_sagittal_is_sagittal_and_maps_back_after_resampling() {
    let (a, b) = (9.0_f64.to_radians(), 4.0_f64.to_radians());
    let column = [a.sin(), a.cos(), 0.0];
    let row = [b.sin() * a.cos(), -b.sin() * a.sin(), -b.cos()];
    let normal = [
        column[1] * row[2] - column[2] * row[1],
        column[2] * row[0] - column[0] * row[2],
        column[0] * row[1] - column[1] * row[0],
    ];
    let folder = series(7, |index, image| {
        orientation(image, column, row);
        position(image, normal.map(|value| value * 4.4 * index as f64));
    });
    let plan = folder.plan();
    assert_eq!(plan.plane, Some(Plane::Sagittal));
    assert!((plan.obliquity_deg.expect("an angle") - 9.84).abs() < 0.02, "{:?}", plan.obliquity_deg);
    let volume = load_volume(&plan).expect("loads").canonical().resampled_in_plane(0.3);
    let [x, y] = volume.source_px(2, 4.0, 5.0).expect("a source");
    assert!(near(volume.volume_px(2, x, y).expect("a source"), [4.0, 5.0]));
    assert!(near([x, y], [4.5 * 0.3 / 0.5 - 0.5, 5.5 * 0.3 / 0.8 - 0.5]), "{x} {y}");
}

#[test]
fn resampling_keeps_constants_ramps_and_edges() {
    let mut volume = plain();
    assert_eq!(volume.resampled_in_plane(f64::NAN), volume);
    volume.geometry.spacing_mm = [4.0, 0.5, 0.5];
    volume.geometry.shape = [1, 40, 60];
    volume.voxels = Array3::from_shape_fn((1, 40, 60), |(_, row, column)| (3 * row + column) as f32);
    volume.sources.truncate(1);
    assert_eq!(volume.resampled_in_plane(0.5004), volume);
    let halved = volume.resampled_in_plane(1.0);
    assert_eq!(halved.geometry.shape, [1, 20, 30]);
    assert_eq!(halved.voxels[[0, 5, 7]], 3.0 * 10.5 + 14.5);
    let finer = volume.resampled_in_plane(0.25);
    assert_eq!(finer.geometry.shape, [1, 80, 120]);
    assert!((finer.voxels[[0, 11, 21]] - (3.0 * 5.25 + 10.25)).abs() < 1e-4);
    let first_edge = |volume: &Volume| {
        let half = volume.geometry.spacing_mm.map(|spacing| spacing / 2.0);
        volume.geometry.origin_lps[1] - half[2]
    };
    assert!((first_edge(&halved) - first_edge(&volume)).abs() < TOLERANCE);
    assert!((first_edge(&finer) - first_edge(&volume)).abs() < TOLERANCE);
}

#[test]
fn axial_acquisition_is_reformatted_to_sagittal_where_it_belongs() {
    let ramp = |[left, posterior, superior]: [f64; 3]| 1000.0 + 4.0 * left + 2.0 * posterior + superior;
    let sagittal = axial(ramp).reformatted(Plane::Sagittal, 1.0).expect("allowed");
    let geometry = &sagittal.geometry;
    assert_eq!((geometry.plane(), geometry.spacing_mm), (Plane::Sagittal, [4.0, 1.0, 1.0]));
    assert_eq!(geometry.shape, [10, 40, 30]);
    assert_eq!(geometry.row_axis, [0.0, 0.0, -1.0]);
    assert!(sagittal.sources.iter().all(Option::is_none));
    assert_eq!(sagittal.source_px(3, 1.0, 1.0), None);
    let lps = geometry.index_to_lps([4.0, 20.0, 12.0]);
    assert!((f64::from(sagittal.voxels[[4, 20, 12]]) - ramp(lps)).abs() < 1e-3);
}

#[test]
fn reformatting_that_would_invent_the_picture_is_refused() {
    let volume = axial(|_| 1.0);
    let message = volume.reformatted(Plane::Coronal, 0.3).expect_err("too fine").to_string();
    assert!(message.contains("2.00 mm apart"), "{message}");
    assert!(volume.reformatted(Plane::Sagittal, -1.0).is_err());
    let message = plain().reformatted(Plane::Axial, 1.0).expect_err("few slices").to_string();
    assert!(message.contains("5 slices"), "{message}");
}

#[test]
fn reformatting_to_its_own_plane_keeps_sources() {
    let volume = axial(|_| 1.0).reformatted(Plane::Axial, 1.0).expect("allowed");
    assert!(volume.sources.iter().all(Option::is_some));
}

#[test]
fn saved_volume_is_loaded_unchanged() {
    let folder = Folder::new();
    let volume = plain().canonical();
    volume.save(&folder.join("volume")).expect("saves");
    assert_eq!(Volume::load(&folder.join("volume")).expect("loads"), volume);
    let names = std::fs::read_dir(folder.join("volume")).expect("listed").count();
    assert_eq!(names, 2, "nothing temporary is left");
}

#[test]
fn damaged_saved_volumes_are_refused() {
    let folder = Folder::new();
    plain().save(folder.path()).expect("saves");
    let json = std::fs::read_to_string(folder.join("volume.json")).expect("read");
    std::fs::write(folder.join("volume.json"), json.replace("volume/1", "volume/9")).expect("written");
    assert!(Volume::load(folder.path()).expect_err("format").to_string().contains("mlpipe.volume/9"));
    std::fs::write(folder.join("volume.json"), &json).expect("written");
    std::fs::write(folder.join("volume.npy"), "no array").expect("written");
    assert!(Volume::load(folder.path()).is_err());
}
