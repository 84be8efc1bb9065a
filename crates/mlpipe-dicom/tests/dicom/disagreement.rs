//! Hostile series, second table: slices that are sound one by one and do not go together, numbers that no scanner writes,
//! and things in folders that are no files.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};

use crate::hostile::Expect::{Refused, Sound, Warned};
use crate::hostile::{change, check, compressed, find, number, one, with, without};
use crate::images::{Folder, Image, orientation, position, series, short, slice, text, write, write_as};

/// The later half of eight slices edited.
fn half(edit: impl Fn(&mut Image)) -> Folder {
    series(8, |index, image| {
        if index >= 4 {
            edit(image);
        }
    })
}

fn all(tag: dicom_core::Tag, value: &'static str) -> Folder {
    series(4, |_, image| text(image, tag, value))
}

/// Eight slices, two at each of four positions, the second four edited; of those the last may be left out.
fn repeated(complete: bool, edit: impl Fn(usize, &mut Image)) -> Folder {
    let folder = series(8, |index, image| {
        position(image, [20.0 - 4.0 * (index % 4) as f64, -7.0, 30.0]);
        edit(index / 4, image);
    });
    if !complete {
        std::fs::remove_file(folder.join("007.dcm")).expect("removed");
    }
    folder
}

#[test]
fn slices_that_disagree_about_whose_they_are() {
    let id = |tag, value: &'static str| half(move |i| drop(i.put(DataElement::new(tag, VR::LO, value))));
    let named = |value: [&'static str; 2]| {
        series(8, move |index, i| drop(i.put(DataElement::new(tags::PATIENT_NAME, VR::PN, value[index / 4]))))
    };
    check(vec![
        ("two ids", Refused("several_patients", "PatientID (0010,0020)"), id(tags::PATIENT_ID, "B")),
        ("two names, one id", Refused("several_patients", "PatientName (0010,0010)"), named(["A^B", "C^D"])),
        ("a name in one half", Sound(1), id(tags::PATIENT_NAME, "A^B")),
        ("two modalities", Refused("several_modalities", "Modality (0008,0060)"), with(tags::MODALITY, "CT")),
        (
            "two kinds of object",
            Refused("several_modalities", "SOPClassUID (0008,0016)"),
            with(tags::SOP_CLASS_UID, uids::CT_IMAGE_STORAGE),
        ),
        (
            "head first and feet first",
            Refused("several_patient_positions", "PatientPosition (0018,5100)"),
            series(8, |index, i| text(i, tags::PATIENT_POSITION, ["HFS", "FFS"][index / 4])),
        ),
        (
            "one slice is inverted",
            Refused("several_photometric_interpretations", "PhotometricInterpretation (0028,0004)"),
            with(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1"),
        ),
        ("no frame of reference at all", Warned("no_frame_of_reference"), {
            series(4, |_, i| {
                i.remove_element(tags::FRAME_OF_REFERENCE_UID);
            })
        }),
        (
            "no study",
            Warned("no_study"),
            series(4, |_, i| {
                i.remove_element(tags::STUDY_INSTANCE_UID);
            }),
        ),
        ("one without study", Refused("several_studies", "StudyInstanceUID"), without(tags::STUDY_INSTANCE_UID)),
    ]);
}

#[test]
fn slices_that_disagree_about_their_values() {
    let rescaled = |slope: [&'static str; 2], intercept: [&'static str; 2]| {
        series(8, move |index, image| {
            for (tag, value) in [(tags::RESCALE_SLOPE, slope), (tags::RESCALE_INTERCEPT, intercept)] {
                if !value[index / 4].is_empty() {
                    text(image, tag, value[index / 4]);
                }
            }
        })
    };
    check(vec![
        ("two slopes", Warned("rescale_differs"), rescaled(["1", "2"], ["0", "0"])),
        ("two intercepts", Warned("rescale_differs"), rescaled(["1", "1"], ["0", "-1024"])),
        ("half without intercept", Refused("mixed_rescale", "RescaleIntercept"), rescaled(["1", "1"], ["0", ""])),
        ("half without rescale", Refused("mixed_rescale", "RescaleSlope"), rescaled(["1", ""], ["0", ""])),
        (
            "two units",
            Refused("mixed_rescale", "RescaleType (0028,1054)"),
            series(8, |index, i| text(i, tags::RESCALE_TYPE, ["HU", "US"][index / 4])),
        ),
        ("a table in one", Refused("mixed_rescale", "ModalityLUT"), one(modality_lut)),
        ("negative slope", Warned("negative_rescale_slope"), all(tags::RESCALE_SLOPE, "-1")),
        ("slope beyond numbers", Refused("bad_rescale", "RescaleSlope (0028,1053)"), all(tags::RESCALE_SLOPE, "1e38")),
        ("CT without rescale", Warned("no_rescale"), all(tags::MODALITY, "CT")),
        (
            "fewer bits in one",
            Warned("mixed_pixel_format"),
            one(|i| {
                short(i, tags::BITS_STORED, 12);
                short(i, tags::HIGH_BIT, 11);
            }),
        ),
        ("signed in one", Warned("mixed_pixel_format"), number(tags::PIXEL_REPRESENTATION, 1)),
        ("two thicknesses", Warned("mixed_thickness"), with(tags::SLICE_THICKNESS, "1")),
        ("burned in text", Warned("burned_in_annotation"), all(tags::BURNED_IN_ANNOTATION, "YES")),
        (
            "no photometric interpretation",
            Warned("no_photometric_interpretation"),
            series(4, |_, i| {
                i.remove_element(tags::PHOTOMETRIC_INTERPRETATION);
            }),
        ),
        ("fragments under a native syntax", Refused("undecodable_pixels", "compressed fragments"), {
            series(3, |_, image| {
                let mut bytes = vec![0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0x00, 0xE0];
                bytes.resize(30, 1);
                image.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes.into())));
            })
        }),
    ]);
}

fn modality_lut(image: &mut Image) {
    let mut item = Image::new_empty();
    let words = |values: &[u16]| PrimitiveValue::U16(values.into());
    item.put(DataElement::new(tags::LUT_DESCRIPTOR, VR::US, words(&[4, 0, 16])));
    item.put(DataElement::new(tags::LUT_DATA, VR::OW, words(&[1, 2, 3, 4])));
    image.put(DataElement::new(tags::MODALITY_LUT_SEQUENCE, VR::SQ, DataSetSequence::from(vec![item])));
}

#[test]
fn places_that_no_scanner_writes() {
    check(vec![
        ("kilometres away", Refused("bad_position", "ImagePositionPatient (0020,0032)"), {
            series(4, |index, i| text(i, tags::IMAGE_POSITION_PATIENT, &format!("{}e9\\0\\0", index + 1)))
        }),
        ("huge pixels", Refused("bad_spacing", "PixelSpacing (0028,0030)"), all(tags::PIXEL_SPACING, "1e10\\1e10")),
        ("tiny pixels", Refused("bad_spacing", "PixelSpacing (0028,0030)"), all(tags::PIXEL_SPACING, "1e-10\\1e-10")),
        ("tilt only said", Warned("gantry_tilt"), all(tags::GANTRY_DETECTOR_TILT, "15")),
        ("slices far thinner than their distance", Warned("sparse_slices"), all(tags::SLICE_THICKNESS, "2")),
        ("half with other pixels", Warned("mixed_grid"), half(|i| text(i, tags::PIXEL_SPACING, "2\\2"))),
        ("one slice turned", Refused("missing_slice", "ImagePositionPatient"), {
            let folder = series(5, |index, i| {
                if index == 2 {
                    orientation(i, [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]);
                }
            });
            std::fs::remove_file(folder.join("002.dcm")).expect("removed");
            folder
        }),
        ("radial slices", Warned("mixed_orientation"), {
            series(4, |index, i| {
                let angle = 0.5 * index as f64;
                orientation(i, [angle.cos(), angle.sin(), 0.0], [0.0, 0.0, -1.0]);
            })
        }),
        ("second time lacks its last slice", Warned("fewer_slices"), {
            repeated(false, |echo, i| text(i, tags::ECHO_TIME, ["12", "98"][echo]))
        }),
        ("two times by AcquisitionTime", Sound(2), {
            repeated(true, |time, i| text(i, tags::ACQUISITION_TIME, ["101500", "101600"][time]))
        }),
    ]);
}

/// A pipe would never end, a device neither.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_without_being_read() {
    let folder = series(4, |_, _| {});
    let status = std::process::Command::new("mkfifo").arg(folder.join("pipe.dcm")).status().expect("mkfifo runs");
    assert!(status.success());
    for (target, link) in [("/dev/zero", "zero.dcm"), ("nowhere", "dangling.dcm"), ("loop", "loop"), (".", "self")] {
        std::os::unix::fs::symlink(target, folder.join(link)).expect("linked");
    }
    std::fs::create_dir(folder.join("folder.dcm")).expect("made");
    let scan = folder.scan();
    let refused: Vec<&str> = scan.rejected_files.iter().map(|file| file.code.as_str()).collect();
    assert_eq!(refused, ["unreadable_file"; 4], "{:?}", scan.rejected_files);
    assert!(scan.series[0].volumes[0].is_usable());
    assert!(mlpipe_dicom::scan(&[folder.join("pipe.dcm")]).is_err());
}

#[test]
fn header_that_claims_gigabytes_is_not_read() {
    let folder = Folder::new();
    write(&slice(0), &folder.join("0.dcm"));
    change(&folder.join("0.dcm"), |bytes| {
        let at = find(bytes, b"\x08\0\x08\0CS");
        bytes.truncate(at);
        bytes.extend(b"\x09\0\x10\x10OB\0\0\0\0\0\xf0");
    });
    let file = std::fs::OpenOptions::new().write(true).open(folder.join("0.dcm")).expect("opens");
    file.set_len(0xF000_0400).expect("a sparse file");
    let codes: Vec<String> = folder.scan().rejected_files.into_iter().map(|file| file.code).collect();
    assert_eq!(codes, ["too_large"]);
}

#[test]
fn file_replaced_after_the_scan_is_noticed() {
    let folder = series(4, |_, _| {});
    let plan = folder.plan();
    let mut other = slice(1);
    short(&mut other, tags::BITS_STORED, 12);
    write_as(&other, &folder.join("001.dcm"), uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let file = std::fs::File::options().append(true).open(folder.join("001.dcm")).expect("opens");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("an older file takes its place");
    let message = mlpipe_dicom::load_volume(&plan).expect_err("changed").to_string();
    assert!(message.contains("001.dcm") && message.contains("has changed"), "{message}");
}

#[test]
fn compressed_frames_of_another_syntax_are_read_as_what_they_are_or_refused() {
    check(vec![(
        "RLE under JPEG 2000",
        Refused("undecodable_pixels", "neither JPEG"),
        compressed(uids::JPEG2000_LOSSLESS, &[1, 0, 0, 0, 64, 0, 0, 0]),
    )]);
}
