//! Stored values become modality units exactly.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use mlpipe_dicom::{Volume, load_volume};

use crate::images::{Folder, series, short, slice, text, words, write_as};

fn load(folder: &Folder) -> Volume {
    load_volume(&folder.plan()).expect("loads")
}

#[test]
fn voxels_are_slice_row_column() {
    let volume = load(&series(5, |_, _| {}));
    for ((slice, row, column), value) in volume.voxels.indexed_iter() {
        assert_eq!(*value, (100 * slice + 10 * row + column) as f32);
    }
}

#[test]
fn rescale_is_taken_from_each_slice() {
    let folder = series(3, |index, image| {
        text(image, tags::RESCALE_SLOPE, ["1", "0.5", "200"][index]);
        text(image, tags::RESCALE_INTERCEPT, "-1024");
    });
    let volume = load(&folder);
    assert_eq!(volume.voxels[[0, 2, 3]], 23.0 - 1024.0);
    assert_eq!(volume.voxels[[1, 2, 3]], 61.5 - 1024.0);
    assert_eq!(volume.voxels[[2, 2, 3]], 44600.0 - 1024.0);
}

#[test]
fn twelve_bit_signed_values_are_signed() {
    let folder = series(3, |_, image| {
        short(image, tags::BITS_STORED, 12);
        short(image, tags::HIGH_BIT, 11);
        short(image, tags::PIXEL_REPRESENTATION, 1);
        words(image, &[0x0FFF; 12]);
    });
    assert!(load(&folder).voxels.iter().all(|value| *value == -1.0));
}

#[test]
fn eight_bit_images_with_odd_pixel_counts_are_read() {
    let folder = series(3, |_, image| {
        short(image, tags::COLUMNS, 3);
        short(image, tags::BITS_ALLOCATED, 8);
        short(image, tags::BITS_STORED, 8);
        short(image, tags::HIGH_BIT, 7);
        let bytes: Vec<u8> = (0..10).collect();
        image.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes.into())));
    });
    assert_eq!(load(&folder).voxels[[2, 2, 2]], 8.0);
}

#[test]
fn monochrome1_is_flagged_and_not_inverted() {
    let folder = series(3, |_, image| text(image, tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1"));
    assert!(folder.plan().monochrome1);
    assert_eq!(load(&folder).voxels[[1, 2, 3]], 123.0);
}

#[test]
fn byte_orders_give_the_same_voxels() {
    let expected = load(&series(3, |_, _| {})).voxels;
    for syntax in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2"] {
        let folder = Folder::new();
        for index in 0..3 {
            write_as(&slice(index), &folder.join(&index.to_string()), syntax);
        }
        assert_eq!(load(&folder).voxels, expected);
    }
}

#[test]
fn file_cut_after_the_scan_is_an_error_not_a_panic() {
    let folder = series(3, |_, _| {});
    let plan = folder.plan();
    let path = folder.join("001.dcm");
    let bytes = std::fs::read(&path).expect("read");
    std::fs::write(&path, &bytes[..bytes.len() - 6]).expect("cut");
    let message = load_volume(&plan).expect_err("cut").to_string();
    assert!(message.contains("001.dcm"), "{message}");
    std::fs::write(&path, "gone").expect("replaced");
    assert!(load_volume(&plan).is_err());
}

#[test]
fn damaged_compressed_stream_is_refused() {
    let folder = Folder::new();
    for index in 0..3 {
        let mut image = slice(index);
        let fragments = dicom_core::value::PixelFragmentSequence::new_fragments(vec![vec![0xFF_u8, 0x4F, 1, 2]]);
        image.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
        write_as(&image, &folder.join(&index.to_string()), "1.2.840.10008.1.2.4.90");
    }
    let message = load_volume(&folder.plan()).expect_err("damaged").to_string();
    assert!(message.contains("undecodable_pixels"), "{message}");
}
