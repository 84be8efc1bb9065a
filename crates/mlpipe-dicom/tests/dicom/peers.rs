//! The same as other readers: values and shades as pydicom's, places in the patient as dcm2niix's. Both are those of the
//! Python that `MLPIPE_TEST_PYDICOM` names (PyPI: pydicom, nibabel, dcm2niix); without them the tests say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use mlpipe_dicom::{Limits, read_pixels, read_presentation, scan, write_volume};

use crate::images::{Folder, Image, series, short, skipped, slice, text, words, write};

/// Runs a script in the Python of the tests; none, with a word why, when it ends with an error.
pub(crate) fn python(script: &str, arguments: &[&Path]) -> Option<String> {
    let python = std::env::var("MLPIPE_TEST_PYDICOM").unwrap_or_else(|_| "python3".into());
    let output = Command::new(&python).arg("-c").arg(script).args(arguments).output().ok()?;
    if !output.status.success() {
        skipped(&format!("`{python}`: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()));
        return None;
    }
    String::from_utf8(output.stdout).ok()
}

/// One line per file: the values in modality units, a bar, the shades from 0 to 1.
const VALUES_AND_SHADES: &str = r#"
import sys, numpy as np, pydicom
from pydicom.pixels import apply_modality_lut, apply_voi_lut
for path in sys.argv[1:]:
    d = pydicom.dcmread(path)
    values = apply_modality_lut(d.pixel_array, d)
    shades = apply_voi_lut(values, d).astype(float)
    if "VOILUTSequence" in d:
        shades = shades / (2 ** d.VOILUTSequence[0].LUTDescriptor[2] - 1)
    else:
        low, high = (-2 ** (d.BitsStored - 1), 2 ** (d.BitsStored - 1) - 1) if d.PixelRepresentation else (0, 2 ** d.BitsStored - 1)
        if "ModalityLUTSequence" in d:
            low, high = 0, 2 ** d.ModalityLUTSequence[0].LUTDescriptor[2] - 1
        elif "RescaleSlope" in d:
            low, high = (bound * d.RescaleSlope + d.RescaleIntercept for bound in (low, high))
        shades = (shades - low) / (high - low)
    print(*values.astype(float).ravel(), "|", *shades.ravel())
"#;

fn window(image: &mut Image, center: &str, width: &str, function: &str) {
    text(image, tags::WINDOW_CENTER, center);
    text(image, tags::WINDOW_WIDTH, width);
    if !function.is_empty() {
        text(image, tags::VOILUT_FUNCTION, function);
    }
}

fn twelve_bits(image: &mut Image, signed: u16) {
    short(image, tags::BITS_STORED, 12);
    short(image, tags::HIGH_BIT, 11);
    short(image, tags::PIXEL_REPRESENTATION, signed);
    // The four upper bits are an overlay's.
    words(image, &[0, 1, 0x7FF, 0x800, 0xFFF, 0xF123, 0x3456, 0x1800, 100, 200, 300, 0x8FFF]);
}

fn lut(image: &mut Image, sequence: dicom_core::Tag, descriptor: [u16; 3], values: &[u16]) {
    let mut item = Image::new_empty();
    item.put(DataElement::new(tags::LUT_DESCRIPTOR, VR::US, PrimitiveValue::U16(descriptor.as_slice().into())));
    item.put(DataElement::new(tags::LUT_DATA, VR::OW, PrimitiveValue::U16(values.into())));
    item.put(DataElement::new(tags::MODALITY_LUT_TYPE, VR::LO, "US"));
    image.put(DataElement::new(sequence, VR::SQ, DataSetSequence::from(vec![item])));
}

type Edit = fn(&mut Image);

const PRESENTED: [(&str, Edit); 8] = [
    ("linear", |i| window(i, "15", "20", "")),
    ("linear, two windows", |i| window(i, "15\\5", "20\\2", "LINEAR")),
    ("exact", |i| window(i, "15", "20.5", "LINEAR_EXACT")),
    ("sigmoid", |i| window(i, "15", "20", "SIGMOID")),
    ("rescaled, twelve bits under an overlay", |i| {
        twelve_bits(i, 0);
        text(i, tags::RESCALE_SLOPE, "2");
        text(i, tags::RESCALE_INTERCEPT, "-1024");
        window(i, "40", "400", "");
    }),
    ("twelve signed bits under an overlay", |i| {
        twelve_bits(i, 1);
        window(i, "40", "400", "");
    }),
    ("modality table, then a window", |i| {
        lut(i, tags::MODALITY_LUT_SEQUENCE, [4, 10, 16], &[5, 600, 7000, 65000]);
        window(i, "7000", "9000", "");
    }),
    ("table of values of interest", |i| {
        lut(i, tags::VOILUT_SEQUENCE, [8, 2, 12], &[1, 2, 4, 8, 1000, 2000, 3000, 4095])
    }),
];

#[test]
fn values_and_shades_are_those_of_pydicom() {
    const TOLERANCE: f64 = 1e-6;
    let folder = Folder::new();
    let paths: Vec<PathBuf> = (0..PRESENTED.len()).map(|index| folder.join(&index.to_string())).collect();
    for (path, (_, edit)) in paths.iter().zip(PRESENTED) {
        let mut image = slice(0);
        edit(&mut image);
        write(&image, path);
    }
    let arguments: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let Some(expected) = python(VALUES_AND_SHADES, &arguments) else { return };
    for ((line, path), (name, _)) in expected.lines().zip(&paths).zip(PRESENTED) {
        let numbers = |text: &str| text.split_whitespace().map(|n| n.parse().expect("a number")).collect::<Vec<f64>>();
        let (values, shades) = line.split_once('|').expect("a bar");
        let found = read_pixels(path, Limits::default()).expect("decodes").values;
        let found: Vec<f64> = found.into_iter().map(f64::from).collect();
        assert_eq!(found, numbers(values), "{name}");
        let shown = read_presentation(path, 0, Limits::default()).expect("reads");
        for (value, expected) in found.iter().zip(numbers(shades)) {
            let shade = shown.shade(*value).expect("a shade");
            assert!((shade - expected).abs() < TOLERANCE, "{name}: {value} is {shade}, not {expected}");
        }
    }
    assert_eq!(expected.lines().count(), PRESENTED.len());
}

#[test]
fn windows_that_make_no_sense_are_refused_and_monochrome1_is_inverted() {
    let read = |edit: Edit| {
        let folder = series(1, |_, image| edit(image));
        read_presentation(&folder.join("000.dcm"), 0, Limits::default())
    };
    let refused: [Edit; 4] = [
        |i| window(i, "15", "0", ""),
        |i| window(i, "15\\3", "20", ""),
        |i| window(i, "x", "20", ""),
        |i| window(i, "15", "20", "CUBIC"),
    ];
    for edit in refused {
        assert!(read(edit).expect_err("refused").to_string().contains("bad_window"));
    }
    assert_eq!(read(|_| {}).expect("reads").shade(3.0), None);
    let inverted = read(|i| {
        text(i, tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1");
        window(i, "15", "20", "LINEAR_EXACT");
    });
    assert_eq!(inverted.expect("reads").shade(5.0), Some(1.0));
}

/// Converts a folder with dcm2niix and compares place and value of a thousand voxels of our file with those of its.
const COMPARE_WITH_DCM2NIIX: &str = r#"
import glob, subprocess, sys, nibabel, numpy as np
from dcm2niix import bin
ours, source, out = sys.argv[1:]
subprocess.run([bin, "-z", "n", "-b", "n", "-f", "theirs", "-o", out, source], check=True, stdout=subprocess.DEVNULL)
[theirs] = glob.glob(out + "/theirs*.nii")
ours, theirs = nibabel.load(ours), nibabel.load(theirs)
index = np.random.default_rng(1).integers(0, ours.shape, (1000, 3))
place = nibabel.affines.apply_affine(np.linalg.inv(theirs.affine) @ ours.affine, index)
there = np.rint(place).astype(int)
values = theirs.get_fdata()[tuple(there.T)] - ours.get_fdata()[tuple(index.T)]
print(np.abs(place - there).max(), np.abs(values).max())
"#;

#[test]
fn voxels_lie_where_dcm2niix_puts_them() {
    const TOLERANCE_VOXELS: f64 = 0.02;
    let data = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    for name in [
        "dcm_qa_decubitus/HFS_sag",
        "spine_dicom_dev/VB3_01/sag",
        "spine_dicom_dev/VB3_01/ax",
        "spine_dicom_dev/VB3_01/cor",
    ] {
        let source = data.join(name);
        if !source.is_dir() {
            skipped(&format!("../shared/data/{name} is absent"));
            continue;
        }
        let folder = Folder::new();
        let uid = &scan(std::slice::from_ref(&source)).expect("scans").series[0].series_instance_uid;
        let ours = folder.join("ours.nii");
        write_volume(std::slice::from_ref(&source), uid, None, &ours, Limits::default()).expect("writes");
        let Some(found) = python(COMPARE_WITH_DCM2NIIX, &[&ours, &source, folder.path()]) else { return };
        let found: Vec<f64> = found.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        assert!(found[0] < TOLERANCE_VOXELS && found[1] == 0.0, "{name}: {found:?}");
    }
}
