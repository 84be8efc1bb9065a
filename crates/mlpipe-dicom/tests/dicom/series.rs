//! Which series are volumes: one hostile series per rule, each with the code that names the problem.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use mlpipe_dicom::{Plane, Status};

use crate::images::{Folder, Image, SERIES, orientation, position, series, short, slice, text, words, write, write_as};

#[test]
fn plain_series_is_ok_and_its_geometry_is_known() {
    let plan = series(5, |_, _| {}).plan();
    assert_eq!((plan.status, plan.plane, plan.shape), (Status::Ok, Some(Plane::Sagittal), [5, 3, 4]));
    assert_eq!(plan.spacing_mm, [Some(4.0), Some(0.8), Some(0.5)]);
    let geometry = plan.geometry.expect("a geometry");
    assert_eq!(geometry.slice_axis, [-1.0, 0.0, 0.0]);
    assert_eq!((geometry.row_axis, geometry.column_axis), ([0.0, 0.0, -1.0], [0.0, 1.0, 0.0]));
    assert_eq!(geometry.index_to_lps([2.0, 1.0, 3.0]), [12.0, -5.5, 29.2]);
    assert_eq!(plan.transfer_syntaxes, [uids::EXPLICIT_VR_LITTLE_ENDIAN]);
}

#[test]
fn order_is_by_position_whatever_names_and_instance_numbers_say() {
    let folder = Folder::new();
    for index in 0..5 {
        let mut image = slice(index);
        text(&mut image, tags::INSTANCE_NUMBER, &(9 - index).to_string());
        write(&image, &folder.join(["q", "b", "z", "a", "m"][index]));
    }
    let plan = folder.plan();
    let found: Vec<&str> = plan.frames.iter().map(|frame| frame.sop_instance_uid()).collect();
    assert_eq!(found, ["1.2.3.10.1", "1.2.3.10.2", "1.2.3.10.3", "1.2.3.10.4", "1.2.3.10.5"]);
}

#[test]
fn missing_slice_is_refused_naming_the_file_after_the_gap() {
    let folder = series(6, |_, _| {});
    std::fs::remove_file(folder.join("003.dcm")).expect("removed");
    let message = folder.rejection("missing_slice");
    assert!(message.contains("004.dcm") && message.contains("ImagePositionPatient"), "{message}");
}

#[test]
fn second_slice_missing_of_three_is_noticed_by_the_claimed_spacing() {
    let folder = series(5, |_, image| text(image, tags::SPACING_BETWEEN_SLICES, "4"));
    for name in ["001.dcm", "003.dcm"] {
        std::fs::remove_file(folder.join(name)).expect("removed");
    }
    assert_eq!(folder.warning_codes(), ["spacing_disagrees"]);
}

#[test]
fn uneven_spacing_is_warned_about_then_refused() {
    let moved = |by: f64| {
        series(6, move |index, image| {
            let shift = if index == 2 { by } else { 0.0 };
            position(image, [20.0 - 4.0 * index as f64 - shift, -7.0, 30.0]);
        })
    };
    assert_eq!(moved(0.005).plan().status, Status::Ok);
    assert_eq!(moved(0.1).warning_codes(), ["uneven_spacing"]);
    moved(0.8).rejection("uneven_spacing");
}

#[test]
fn two_images_at_one_position_are_refused() {
    let folder = series(5, |index, image| {
        if index == 3 {
            position(image, [12.0, -7.0, 30.0]);
        }
    });
    folder.rejection("duplicate_position");
}

#[test]
fn copy_of_a_file_is_left_aside_with_a_warning() {
    let folder = series(4, |_, _| {});
    std::fs::copy(folder.join("001.dcm"), folder.join("copy.dcm")).expect("copied");
    assert_eq!(folder.warning_codes(), ["duplicate_file"]);
    assert_eq!(folder.plan().shape[0], 4);
}

#[test]
fn one_sop_instance_uid_with_two_contents_is_refused() {
    let folder = series(4, |index, image| {
        if index == 3 {
            text(image, tags::SOP_INSTANCE_UID, "1.2.3.10.1");
        }
    });
    folder.rejection("duplicate_sop_instance_uid");
}

#[test]
fn tilted_stack_is_refused() {
    let folder = series(5, |index, image| {
        position(image, [20.0 - 4.0 * index as f64, -7.0, 30.0 + 0.5 * index as f64]);
    });
    let message = folder.rejection("tilted_stack");
    assert!(message.contains("7.13 degrees"), "{message}");
}

#[test]
fn slight_drift_is_warned_about() {
    let folder = series(5, |index, image| {
        position(image, [20.0 - 4.0 * index as f64, -7.0, 30.0 + 0.05 * index as f64]);
    });
    assert_eq!(folder.warning_codes(), ["tilted_stack"]);
}

#[test]
fn cosine_noise_of_one_in_ten_thousand_is_tolerated() {
    let folder = series(5, |index, image| {
        let noise = if index % 2 == 0 { 1e-4 } else { -1e-4 };
        orientation(image, [noise, 1.0, -noise], [-noise, noise, -1.0]);
    });
    assert_eq!(folder.plan().status, Status::Ok);
}

#[test]
fn missing_position_is_refused_with_file_and_attribute() {
    let folder = series(5, |index, image| {
        if index == 2 {
            image.remove_element(tags::IMAGE_POSITION_PATIENT);
        }
    });
    let message = folder.rejection("missing_attribute");
    assert!(message.contains("002.dcm") && message.contains("ImagePositionPatient (0020,0032)"), "{message}");
    assert_eq!(folder.scan().rejected_files[0].code, "missing_attribute");
}

#[test]
fn each_required_attribute_is_missed() {
    for tag in [tags::IMAGE_ORIENTATION_PATIENT, tags::PIXEL_SPACING, tags::ROWS, tags::BITS_ALLOCATED] {
        let folder = series(4, |_, image| {
            image.remove_element(tag);
        });
        folder.rejection("missing_attribute");
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for (tag, value) in [
        (tags::IMAGE_POSITION_PATIENT, "nan\\0\\0"),
        (tags::PIXEL_SPACING, "inf\\1"),
        (tags::IMAGE_POSITION_PATIENT, "1\\2"),
        (tags::RESCALE_SLOPE, "abc"),
    ] {
        let folder = series(4, |index, image| {
            if index == 1 {
                text(image, tag, value);
            }
        });
        let message = folder.rejection("not_a_number");
        assert!(message.contains(value), "{message}");
    }
}

#[test]
fn impossible_spacing_orientation_and_rescale_are_refused() {
    let with = |tag, value: &'static str| series(4, move |_, image| text(image, tag, value));
    with(tags::PIXEL_SPACING, "0\\1").rejection("bad_spacing");
    with(tags::IMAGE_ORIENTATION_PATIENT, "0\\1\\0\\0\\1\\0").rejection("bad_orientation");
    with(tags::RESCALE_SLOPE, "0").rejection("bad_rescale");
}

#[test]
fn truncated_file_is_named_before_anything_is_decoded_and_refuses_its_volume() {
    let folder = series(5, |_, _| {});
    let last = folder.join("004.dcm");
    let bytes = std::fs::read(&last).expect("read");
    std::fs::write(&last, &bytes[..bytes.len() - 5]).expect("cut");
    let message = folder.rejection("truncated_file");
    assert!(message.contains("004.dcm") && message.contains("claims 24 bytes where 19 are left"), "{message}");
    let scan = folder.scan();
    assert_eq!((scan.rejected_files.len(), scan.rejected_files[0].path.clone()), (1, last));
}

#[test]
fn file_truncated_inside_its_header_refuses_its_volume() {
    let folder = series(5, |_, _| {});
    let last = folder.join("004.dcm");
    let bytes = std::fs::read(&last).expect("read");
    std::fs::write(&last, &bytes[..bytes.len() - 90]).expect("cut");
    folder.rejection("truncated_file");
}

#[test]
fn pixel_data_shorter_than_rows_and_columns_need_is_refused() {
    let folder = series(4, |index, image| {
        if index == 3 {
            words(image, &[1, 2, 3]);
        }
    });
    let message = folder.rejection("truncated_file");
    assert!(message.contains("6 bytes") && message.contains("need 24"), "{message}");
}

#[test]
fn colour_mosaic_and_odd_bit_depths_are_refused() {
    series(4, |_, image| short(image, tags::SAMPLES_PER_PIXEL, 3)).rejection("colour");
    series(4, |_, image| text(image, tags::PHOTOMETRIC_INTERPRETATION, "PALETTE COLOR")).rejection("colour");
    series(4, |_, image| text(image, tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\M\\MOSAIC")).rejection("mosaic");
    series(4, |_, image| short(image, tags::BITS_ALLOCATED, 12)).rejection("unsupported_pixel_format");
}

#[test]
fn two_frames_of_reference_are_refused() {
    let folder = series(4, |index, image| {
        if index > 1 {
            text(image, tags::FRAME_OF_REFERENCE_UID, "1.2.3.5");
        }
    });
    folder.rejection("several_frames_of_reference");
}

#[test]
fn two_echoes_become_two_volumes_and_say_so() {
    let folder = two_of_each(|copy, image| text(image, tags::ECHO_TIME, ["12", "98.0"][copy]));
    assert_eq!(splits(&folder), [["EchoTime 12"], ["EchoTime 98"]]);
}

#[test]
fn image_types_and_acquisitions_become_volumes_too() {
    let types = ["ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P"];
    let folder = two_of_each(|copy, image| text(image, tags::IMAGE_TYPE, types[copy]));
    assert_eq!(splits(&folder), [["ImageType ORIGINAL\\PRIMARY\\M"], ["ImageType ORIGINAL\\PRIMARY\\P"]]);
    let folder = two_of_each(|copy, image| text(image, tags::ACQUISITION_NUMBER, ["1", "2"][copy]));
    assert_eq!(splits(&folder), [["AcquisitionNumber 1"], ["AcquisitionNumber 2"]]);
}

#[test]
fn acquisition_torn_in_two_by_its_image_types_is_warned_about() {
    let types = ["ORIGINAL\\PRIMARY\\A", "ORIGINAL\\PRIMARY\\B"];
    let folder = series(8, |index, image| text(image, tags::IMAGE_TYPE, types[index % 2]));
    let volumes = &folder.scan().series[0].volumes;
    assert_eq!(volumes.len(), 2);
    assert!(volumes.iter().all(|volume| volume.warnings[0].code == "interleaved_volumes"), "{volumes:#?}");
}

#[test]
fn damage_refuses_only_volumes_it_may_belong_to() {
    let folder = series(4, |_, _| {});
    let mut capture = slice(8);
    text(&mut capture, tags::SOP_CLASS_UID, uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
    capture.remove_element(tags::IMAGE_POSITION_PATIENT);
    write(&capture, &folder.join("capture.dcm"));
    let statuses: Vec<Status> = folder.scan().series[0].volumes.iter().map(|volume| volume.status).collect();
    assert_eq!(statuses, [Status::Ok, Status::Reject]);
}

#[test]
fn sizes_nobody_has_are_not_believed() {
    let folder = series(2, |_, image| {
        short(image, tags::ROWS, u16::MAX);
        short(image, tags::COLUMNS, u16::MAX);
        let fragments = dicom_core::value::PixelFragmentSequence::new_fragments(vec![vec![0_u8; 64]]);
        image.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
    });
    folder.rejection("too_large");
}

#[test]
fn mixed_orientations_become_volumes_with_a_warning() {
    let folder = series(8, |index, image| {
        if index >= 4 {
            orientation(image, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
            position(image, [0.0, 0.0, 5.0 * index as f64]);
        }
    });
    let volumes = &folder.scan().series[0].volumes;
    let planes: Vec<_> = volumes.iter().map(|volume| volume.plane).collect();
    assert_eq!(planes, [Some(Plane::Sagittal), Some(Plane::Axial)]);
    assert!(volumes.iter().all(|volume| volume.warnings[0].code == "mixed_orientation"));
}

#[test]
fn single_slices_and_localizers_are_marked() {
    assert_eq!(series(1, |_, _| {}).warning_codes(), ["single_slice"]);
    let folder = series(2, |_, image| text(image, tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\LOCALIZER"));
    assert_eq!(folder.warning_codes(), ["localizer", "few_slices"]);
    let folder = series(1, |_, image| {
        image.remove_element(tags::SLICE_THICKNESS);
    });
    folder.rejection("single_slice");
}

#[test]
fn unsupported_transfer_syntax_is_refused_with_the_cure() {
    let folder = Folder::new();
    for index in 0..3 {
        let path = folder.join(&format!("{index}.dcm"));
        write(&slice(index), &path);
        let bytes = std::fs::read(&path).expect("read");
        let plain = b"1.2.840.10008.1.2.1\0";
        let at = bytes.windows(plain.len()).position(|part| part == plain).expect("a transfer syntax");
        let mut changed = bytes.clone();
        changed[at..at + plain.len()].copy_from_slice(b"1.2.840.10008.1.2.9\0");
        std::fs::write(&path, changed).expect("written");
    }
    assert!(folder.rejection("unsupported_transfer_syntax").contains("Explicit VR Little Endian"));
}

#[test]
fn objects_without_pixels_and_other_files_do_not_disturb() {
    let folder = series(4, |_, _| {});
    let mut report = slice(9);
    report.remove_element(tags::PIXEL_DATA);
    write(&report, &folder.join("report.dcm"));
    std::fs::write(folder.join("notes.txt"), "no image").expect("written");
    std::fs::write(folder.join("empty.dcm"), "").expect("written");
    let scan = folder.scan();
    let codes: Vec<&str> = scan.rejected_files.iter().map(|file| file.code.as_str()).collect();
    assert_eq!((codes, scan.other_files), (vec!["not_dicom", "not_an_image"], 1));
    assert_eq!(scan.series[0].volumes[0].status, Status::Ok);
}

#[test]
fn files_without_preamble_or_meta_and_of_other_byte_orders_are_read() {
    let folder = Folder::new();
    for (index, syntax) in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"]
        .into_iter()
        .enumerate()
    {
        write_as(&slice(index), &folder.join(&index.to_string()), syntax);
    }
    write(&slice(3), &folder.join("3"));
    let bytes = std::fs::read(folder.join("3")).expect("read");
    std::fs::write(folder.join("3"), &bytes[128..]).expect("without preamble");
    write(&slice(4), &folder.join("4"));
    let bytes = std::fs::read(folder.join("4")).expect("read");
    let start = bytes.windows(6).position(|part| part == b"\x08\0\x08\0CS").expect("ImageType");
    std::fs::write(folder.join("4"), &bytes[start..]).expect("data set alone");
    assert_eq!((folder.plan().status, folder.plan().shape[0]), (Status::Ok, 5));
}

#[test]
fn paths_that_overlap_are_read_once() {
    let folder = series(4, |_, _| {});
    let paths = [folder.path().to_path_buf(), folder.join("002.dcm"), folder.path().to_path_buf()];
    let scan = mlpipe_dicom::scan(&paths).expect("scans");
    assert_eq!((scan.series[0].instances, scan.series[0].volumes[0].status), (4, Status::Ok));
    assert!(mlpipe_dicom::scan(&[folder.join("absent")]).is_err());
}

#[test]
fn enhanced_multi_frame_is_read_frame_by_frame() {
    let folder = Folder::new();
    write(&enhanced(4), &folder.join("enhanced.dcm"));
    let plan = folder.plan();
    assert_eq!((plan.status, plan.shape, plan.instances), (Status::Ok, [4, 3, 4], 1));
    let volume = mlpipe_dicom::load_volume(&plan).expect("loads");
    assert_eq!(volume.voxels[[0, 1, 2]], 4.0 * 312.0, "frames are stored against the normal");
    assert_eq!(volume.voxels[[3, 1, 2]], 12.0);
}

#[test]
fn shuffled_frames_are_ordered_by_place_and_each_keeps_its_rescale() {
    let folder = Folder::new();
    write(&enhanced_frames(&[2, 0, 3, 1]), &folder.join("shuffled.dcm"));
    let volume = mlpipe_dicom::load_volume(&folder.plan()).expect("loads");
    let found: Vec<f32> = (0..4).map(|slice| volume.voxels[[slice, 1, 2]]).collect();
    assert_eq!(found, [3.0 * 212.0, 12.0, 4.0 * 312.0, 2.0 * 112.0], "by place: 3, 2, 1, 0 against the normal");
}

#[test]
fn multi_frame_without_functional_groups_is_refused() {
    let folder = Folder::new();
    let mut image = enhanced(4);
    image.remove_element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    write(&image, &folder.join("frames.dcm"));
    folder.rejection("multi_frame_without_geometry");
}

/// An enhanced image of `frames` frames that lie against the normal.
pub(crate) fn enhanced(frames: usize) -> Image {
    enhanced_frames(&(0..frames).collect::<Vec<usize>>())
}

/// An enhanced image whose frames lie at these multiples of 4 mm, frame `n` with slope `n + 1`.
pub(crate) fn enhanced_frames(places: &[usize]) -> Image {
    let frames = places.len();
    let mut image = slice(0);
    for tag in [tags::IMAGE_POSITION_PATIENT, tags::IMAGE_ORIENTATION_PATIENT, tags::PIXEL_SPACING] {
        image.remove_element(tag);
    }
    text(&mut image, tags::NUMBER_OF_FRAMES, &frames.to_string());
    let mut shared = Image::new_empty();
    let mut measures = Image::new_empty();
    text(&mut measures, tags::PIXEL_SPACING, "0.8\\0.5");
    sequence(&mut shared, tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
    let mut plane = Image::new_empty();
    text(&mut plane, tags::IMAGE_ORIENTATION_PATIENT, "0\\1\\0\\0\\0\\-1");
    sequence(&mut shared, tags::PLANE_ORIENTATION_SEQUENCE, vec![plane]);
    sequence(&mut image, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
    let per_frame = places.iter().enumerate().map(|(number, place)| {
        let [mut groups, mut plane, mut values] = [(); 3].map(|()| Image::new_empty());
        position(&mut plane, [4.0 * *place as f64, 0.0, 0.0]);
        sequence(&mut groups, tags::PLANE_POSITION_SEQUENCE, vec![plane]);
        text(&mut values, tags::RESCALE_SLOPE, &(number + 1).to_string());
        text(&mut values, tags::RESCALE_INTERCEPT, "0");
        sequence(&mut groups, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, vec![values]);
        groups
    });
    sequence(&mut image, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, per_frame.collect());
    words(&mut image, &(0..frames).flat_map(crate::images::stored).collect::<Vec<u16>>());
    image
}

fn sequence(image: &mut Image, tag: dicom_core::Tag, items: Vec<Image>) {
    image.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// Two images at each of four positions, told apart by `edit`.
fn two_of_each(edit: impl Fn(usize, &mut Image)) -> Folder {
    series(8, |index, image| {
        position(image, [20.0 - 4.0 * (index % 4) as f64, -7.0, 30.0]);
        edit(index / 4, image);
    })
}

fn splits(folder: &Folder) -> Vec<Vec<String>> {
    let scan = folder.scan();
    let volumes = &scan.series[0].volumes;
    assert!(volumes.iter().all(|volume| volume.status == Status::Ok && volume.shape[0] == 4), "{volumes:#?}");
    assert_eq!(scan.series[0].series_instance_uid, SERIES);
    volumes.iter().map(|volume| volume.split_by.clone()).collect()
}
