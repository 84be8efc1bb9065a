//! A table of hostile series: what each is, what must come of it, and what the message must name.

use std::path::Path;

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use mlpipe_dicom::{Error, Status, load_volume};

use crate::images::{Folder, Image, orientation, position, series, short, slice, text, words, write, write_as};
use crate::series::{enhanced, enhanced_frames};

/// What must come of a case.
pub(crate) enum Expect {
    /// No volume can be loaded; some problem has this code, names a file and says this.
    Refused(&'static str, &'static str),
    /// All volumes can be loaded; a warning has this code.
    Warned(&'static str),
    /// So many volumes, all of them sound.
    Sound(usize),
}
use Expect::{Refused, Sound, Warned};

struct Found {
    usable: usize,
    volumes: usize,
    warnings: Vec<String>,
    /// Code, file is named, message.
    problems: Vec<(String, bool, String)>,
}

fn look(folder: &Folder) -> Found {
    let scan = folder.scan();
    let mut found = Found { usable: 0, volumes: 0, warnings: Vec::new(), problems: Vec::new() };
    for file in scan.rejected_files {
        found.problems.push((file.code, file.path.is_file(), file.message));
    }
    for plan in scan.series.iter().flat_map(|series| &series.volumes) {
        found.volumes += 1;
        found.warnings.extend(plan.warnings.iter().map(|warning| warning.code.clone()));
        if let Some(reason) = &plan.reason {
            found.problems.push((reason.code.clone(), reason.file.is_some(), reason.message.clone()));
        }
        match load_volume(plan) {
            Ok(_) => found.usable += 1,
            Err(Error::Pixels { path, code, message }) => found.problems.push((code, path.is_file(), message)),
            Err(error) => assert_eq!(plan.status, Status::Reject, "{error}"),
        }
    }
    found
}

fn wrong(expected: &Expect, found: &Found) -> Option<String> {
    let right = match expected {
        Refused(code, says) => {
            let named =
                |(found, file, message): &(String, bool, String)| found == code && *file && message.contains(says);
            found.usable == 0 && found.problems.iter().any(named)
        }
        Warned(code) => found.usable == found.volumes && found.warnings.iter().any(|warning| warning == code),
        Sound(count) => found.usable == *count && found.volumes == *count && found.problems.is_empty(),
    };
    (!right).then(|| {
        format!(
            "{} of {} usable, warnings {:?}, problems {:#?}",
            found.usable, found.volumes, found.warnings, found.problems
        )
    })
}

pub(crate) fn check(cases: Vec<(&str, Expect, Folder)>) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(name, expected, folder)| Some(format!("{name}: {}", wrong(expected, &look(folder))?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Four slices, the second of them edited.
pub(crate) fn one(edit: impl Fn(&mut Image)) -> Folder {
    series(4, |index, image| {
        if index == 1 {
            edit(image);
        }
    })
}

pub(crate) fn with(tag: Tag, value: &'static str) -> Folder {
    one(|image| text(image, tag, value))
}

pub(crate) fn without(tag: Tag) -> Folder {
    one(|image| {
        image.remove_element(tag);
    })
}

pub(crate) fn number(tag: Tag, value: u16) -> Folder {
    one(|image| short(image, tag, value))
}

/// Three slices of a compressed transfer syntax whose only fragment holds these bytes.
pub(crate) fn compressed(syntax: &str, fragment: &[u8]) -> Folder {
    let folder = Folder::new();
    for index in 0..3 {
        let mut image = slice(index);
        let fragments = PixelFragmentSequence::new_fragments(vec![fragment.to_vec()]);
        image.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
        write_as(&image, &folder.join(&index.to_string()), syntax);
    }
    folder
}

/// A plain series whose second file's bytes are changed.
fn bytes(edit: impl Fn(&mut Vec<u8>)) -> Folder {
    let folder = series(4, |_, _| {});
    change(&folder.join("001.dcm"), edit);
    folder
}

pub(crate) fn change(path: &Path, edit: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("read");
    edit(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

pub(crate) fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).expect("the part is there")
}

/// Puts bytes before the element ImageType, the second of the data set.
fn insert(part: &[u8]) -> Folder {
    bytes(|bytes| {
        let at = find(bytes, b"\x08\0\x08\0CS");
        bytes.splice(at..at, part.iter().copied());
    })
}

fn multi_frame(edit: impl Fn(&mut Image)) -> Folder {
    let folder = Folder::new();
    let mut image = enhanced(4);
    edit(&mut image);
    write(&image, &folder.join("enhanced.dcm"));
    folder
}

#[test]
fn attributes_that_are_missing_or_make_no_sense() {
    check(vec![
        (
            "no position",
            Refused("missing_attribute", "ImagePositionPatient (0020,0032)"),
            without(tags::IMAGE_POSITION_PATIENT),
        ),
        (
            "no orientation",
            Refused("missing_attribute", "ImageOrientationPatient (0020,0037)"),
            without(tags::IMAGE_ORIENTATION_PATIENT),
        ),
        ("no pixel spacing", Refused("missing_attribute", "PixelSpacing (0028,0030)"), without(tags::PIXEL_SPACING)),
        ("no rows", Refused("missing_attribute", "Rows (0028,0010)"), without(tags::ROWS)),
        ("no columns", Refused("missing_attribute", "Columns (0028,0011)"), without(tags::COLUMNS)),
        ("no bits allocated", Refused("missing_attribute", "BitsAllocated (0028,0100)"), without(tags::BITS_ALLOCATED)),
        ("no bits stored", Refused("missing_attribute", "BitsStored (0028,0101)"), without(tags::BITS_STORED)),
        (
            "no sign",
            Refused("missing_attribute", "PixelRepresentation (0028,0103)"),
            without(tags::PIXEL_REPRESENTATION),
        ),
        (
            "no instance uid",
            Refused("missing_attribute", "SOPInstanceUID (0008,0018)"),
            without(tags::SOP_INSTANCE_UID),
        ),
        ("position of 2 values", Refused("not_a_number", "1\\2"), with(tags::IMAGE_POSITION_PATIENT, "1\\2")),
        (
            "position of 4 values",
            Refused("not_a_number", "1\\2\\3\\4"),
            with(tags::IMAGE_POSITION_PATIENT, "1\\2\\3\\4"),
        ),
        ("position is NaN", Refused("not_a_number", "NaN"), with(tags::IMAGE_POSITION_PATIENT, "NaN\\2\\3")),
        ("position is text", Refused("not_a_number", "left"), with(tags::IMAGE_POSITION_PATIENT, "left\\2\\3")),
        ("decimal comma", Refused("not_a_number", "1,5"), with(tags::IMAGE_POSITION_PATIENT, "1,5\\2\\3")),
        ("empty component", Refused("not_a_number", "1\\\\3"), with(tags::IMAGE_POSITION_PATIENT, "1\\\\3")),
        ("position is infinite", Refused("not_a_number", "1e999"), with(tags::IMAGE_POSITION_PATIENT, "1e999\\2\\3")),
        (
            "orientation of 5 values",
            Refused("not_a_number", "ImageOrientationPatient"),
            with(tags::IMAGE_ORIENTATION_PATIENT, "0\\1\\0\\0\\0"),
        ),
        (
            "orientation not of unit length",
            Refused("bad_orientation", "(0020,0037)"),
            with(tags::IMAGE_ORIENTATION_PATIENT, "0\\1.1\\0\\0\\0\\-1"),
        ),
        (
            "orientation skewed",
            Refused("bad_orientation", "(0020,0037)"),
            with(tags::IMAGE_ORIENTATION_PATIENT, "0\\1\\0\\0\\0.1\\-0.995"),
        ),
        (
            "orientation zero",
            Refused("bad_orientation", "(0020,0037)"),
            with(tags::IMAGE_ORIENTATION_PATIENT, "0\\0\\0\\0\\0\\0"),
        ),
        (
            "orientation twice the same",
            Refused("bad_orientation", "(0020,0037)"),
            with(tags::IMAGE_ORIENTATION_PATIENT, "0\\1\\0\\0\\1\\0"),
        ),
        ("spacing zero", Refused("bad_spacing", "PixelSpacing (0028,0030)"), with(tags::PIXEL_SPACING, "0\\0.5")),
        (
            "spacing negative",
            Refused("bad_spacing", "PixelSpacing (0028,0030)"),
            with(tags::PIXEL_SPACING, "0.8\\-0.5"),
        ),
        ("one spacing", Refused("not_a_number", "PixelSpacing (0028,0030)"), with(tags::PIXEL_SPACING, "0.8")),
        ("slope zero", Refused("bad_rescale", "RescaleSlope (0028,1053)"), with(tags::RESCALE_SLOPE, "0")),
        ("slope is text", Refused("not_a_number", "RescaleSlope (0028,1053)"), with(tags::RESCALE_SLOPE, "steep")),
        (
            "intercept infinite",
            Refused("not_a_number", "RescaleIntercept (0028,1052)"),
            with(tags::RESCALE_INTERCEPT, "inf"),
        ),
    ]);
}

#[test]
fn pixel_layouts_that_cannot_be() {
    let format = "unsupported_pixel_format";
    check(vec![
        ("no rows at all", Refused("empty_image", "Rows 0"), number(tags::ROWS, 0)),
        ("no columns at all", Refused("empty_image", "Columns 0"), number(tags::COLUMNS, 0)),
        (
            "12 bits allocated",
            Refused(format, "BitsAllocated (0028,0100) 12"),
            series(3, |_, i| short(i, tags::BITS_ALLOCATED, 12)),
        ),
        ("17 of 16 bits stored", Refused(format, "BitsStored 17"), series(3, |_, i| short(i, tags::BITS_STORED, 17))),
        ("no bits stored", Refused(format, "BitsStored 0"), series(3, |_, i| short(i, tags::BITS_STORED, 0))),
        ("high bit above the sample", Refused(format, "HighBit 16"), series(3, |_, i| short(i, tags::HIGH_BIT, 16))),
        ("high bit below the stored bits", Refused(format, "HighBit 7"), series(3, |_, i| short(i, tags::HIGH_BIT, 7))),
        ("sign 2", Refused(format, "PixelRepresentation 2"), series(3, |_, i| short(i, tags::PIXEL_REPRESENTATION, 2))),
        (
            "three samples",
            Refused("colour", "SamplesPerPixel is 3"),
            series(3, |_, i| short(i, tags::SAMPLES_PER_PIXEL, 3)),
        ),
        (
            "palette",
            Refused("colour", "PALETTE COLOR"),
            series(3, |_, i| text(i, tags::PHOTOMETRIC_INTERPRETATION, "PALETTE COLOR")),
        ),
        (
            "mosaic",
            Refused("mosaic", "MOSAIC"),
            series(3, |_, i| text(i, tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\M\\MOSAIC")),
        ),
        (
            "frames that are no number",
            Refused("not_a_number", "NumberOfFrames (0028,0008)"),
            with(tags::NUMBER_OF_FRAMES, "1A"),
        ),
        ("no frames", Refused("empty_image", "NumberOfFrames 0"), with(tags::NUMBER_OF_FRAMES, "0")),
        ("negative frames", Refused("not_a_number", "NumberOfFrames (0028,0008)"), with(tags::NUMBER_OF_FRAMES, "-3")),
        (
            "two billion frames",
            Refused("truncated_file", "NumberOfFrames 2000000000"),
            with(tags::NUMBER_OF_FRAMES, "2000000000"),
        ),
        (
            "frames without geometry",
            Refused("multi_frame_without_geometry", "(5200,9230)"),
            multi_frame(|image| {
                image.remove_element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
            }),
        ),
        (
            "fewer groups than frames",
            Refused("frame_count", "NumberOfFrames is 3"),
            multi_frame(|i| text(i, tags::NUMBER_OF_FRAMES, "3")),
        ),
        ("pixel data too short", Refused("truncated_file", "need 24"), one(|image| words(image, &[1, 2, 3]))),
        ("pixel data of nothing", Refused("truncated_file", "has 0 bytes"), one(|image| words(image, &[]))),
        ("huge compressed claim", Refused("too_large", "Rows 65535"), {
            let folder = compressed(uids::JPEG2000, &[0xFF, 0x4F, 0xFF, 0x51]);
            for name in ["0", "1", "2"] {
                change(&folder.join(name), |bytes| {
                    for tag in [b"\x28\0\x10\0US\x02\0", b"\x28\0\x11\0US\x02\0"] {
                        let at = find(bytes, tag) + 8;
                        bytes[at..at + 2].copy_from_slice(&[0xFF, 0xFF]);
                    }
                });
            }
            folder
        }),
    ]);
}

#[test]
fn damaged_bytes() {
    let broken = "undecodable_pixels";
    let deflated = uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN;
    check(vec![
        (
            "cut in the pixels",
            Refused("truncated_file", "PixelData (7FE0,0010) claims 24 bytes"),
            bytes(|b| b.truncate(b.len() - 5)),
        ),
        (
            "cut in the header",
            Refused("truncated_file", "ends inside an element header"),
            bytes(|b| b.truncate(b.len() - 90)),
        ),
        (
            "element claims 4 GB",
            Refused("truncated_file", "claims 4026531840 bytes"),
            insert(b"\x08\0\x05\0UN\0\0\0\0\0\xf0"),
        ),
        (
            "sequence without end",
            Refused("truncated_file", ""),
            insert(b"\x08\0\x06\0SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"),
        ),
        (
            "nested 200 deep",
            Refused("truncated_file", "nested more than"),
            insert(&b"\x08\0\x06\0SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff".repeat(200)),
        ),
        (
            "unknown sequence without end",
            Refused("truncated_file", ""),
            insert(b"\x09\0\x10\x10UN\0\0\xff\xff\xff\xff"),
        ),
        (
            "no value representation",
            Refused("truncated_file", "no value representation"),
            insert(b"\x08\0\x06\0\0\0\x04\0"),
        ),
        (
            "fragments without end",
            Refused("truncated_file", "PixelData (7FE0,0010) ends before its sequence delimiter"),
            {
                let folder = compressed(uids::RLE_LOSSLESS, &[0; 64]);
                change(&folder.join("1"), |bytes| bytes.truncate(bytes.len() - 8));
                folder
            },
        ),
        ("fragment longer than the file", Refused("truncated_file", "fragment of"), {
            let folder = compressed(uids::RLE_LOSSLESS, &[0; 64]);
            change(&folder.join("1"), |bytes| {
                let at = bytes.len() - 8 - 64 - 2;
                bytes[at] = 9;
            });
            folder
        }),
        ("unknown transfer syntax", Refused("unsupported_transfer_syntax", "1.2.840.10008.1.2.9"), {
            let folder = series(3, |_, _| {});
            for name in ["000.dcm", "001.dcm", "002.dcm"] {
                change(&folder.join(name), |bytes| {
                    let at = find(bytes, b"1.2.840.10008.1.2.1\0");
                    bytes[at + 18] = b'9';
                });
            }
            folder
        }),
        (
            "MPEG",
            Refused("unsupported_transfer_syntax", "1.2.840.10008.1.2.4.100"),
            compressed("1.2.840.10008.1.2.4.100", &[0; 8]),
        ),
        ("empty JPEG 2000", Refused(broken, "PixelData (7FE0,0010)"), compressed(uids::JPEG2000, &[0xFF, 0x4F, 1, 2])),
        (
            "empty HTJ2K",
            Refused(broken, "PixelData (7FE0,0010)"),
            compressed(uids::HTJ2K_LOSSLESS, &[0xFF, 0x4F, 0xFF, 0x51]),
        ),
        (
            "JPEG without scan",
            Refused(broken, "no scan"),
            compressed(uids::JPEG_LOSSLESS_SV1, &[0xFF, 0xD8, 0xFF, 0xD9]),
        ),
        (
            "JPEG of another size",
            Refused(broken, "256 x 512"),
            compressed(uids::JPEG_LOSSLESS_SV1, &[0xFF, 0xD8, 0xFF, 0xC3, 0, 11, 16, 1, 0, 2, 0, 1, 1, 0x11, 0, 0]),
        ),
        (
            "JPEG of three components",
            Refused(broken, "3 components"),
            compressed(uids::JPEG_BASELINE8_BIT, &[0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0, 3, 0, 4, 3, 1, 0x11, 0, 0]),
        ),
        (
            "progressive JPEG",
            Refused("unsupported_transfer_syntax", "progressive"),
            compressed(uids::JPEG_BASELINE8_BIT, &[0xFF, 0xD8, 0xFF, 0xC2, 0, 11, 8, 0, 3, 0, 4, 1, 1, 0x11, 0, 0]),
        ),
        (
            "JPEG-LS cut short",
            Refused(broken, "ends before its image"),
            compressed(
                uids::JPEGLS_LOSSLESS,
                &[
                    0xFF, 0xD8, 0xFF, 0xF7, 0, 11, 16, 0, 3, 0, 4, 1, 1, 0x11, 0, 0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 0, 0,
                    7, 0,
                ],
            ),
        ),
        (
            "JPEG-LS of another size",
            Refused(broken, "Rows and Columns are 3 and 4"),
            compressed(uids::JPEGLS_LOSSLESS, &[0xFF, 0xD8, 0xFF, 0xF7, 0, 11, 16, 0, 9, 0, 4, 1, 1, 0x11, 0, 0xFF]),
        ),
        ("RLE of no segments", Refused(broken, "0 segments"), compressed(uids::RLE_LOSSLESS, &[0; 64])),
        ("compressed pixels are text", Refused(broken, "neither JPEG"), compressed(uids::JPEG2000, b"no image")),
        ("deflated garbage", Refused("truncated_file", "deflated"), {
            let folder = Folder::new();
            write_as(&slice(0), &folder.join("0"), uids::EXPLICIT_VR_LITTLE_ENDIAN);
            change(&folder.join("0"), |bytes| {
                let at = find(bytes, b"1.2.840.10008.1.2.1\0");
                let mut head = bytes[..at].to_vec();
                head[at - 2] = deflated.len() as u8;
                head.extend(deflated.as_bytes());
                *bytes = [head, vec![0xFF; 50]].concat();
            });
            folder
        }),
    ]);
}

#[test]
fn series_that_are_not_one_volume() {
    let moved = |at: usize, to: [f64; 3]| {
        series(6, move |index, image| {
            if index == at {
                position(image, to)
            }
        })
    };
    check(vec![
        ("a slice is missing", Refused("missing_slice", "ImagePositionPatient"), moved(2, [100.0, -7.0, 30.0])),
        (
            "two slices at one place",
            Refused("duplicate_position", "ImagePositionPatient"),
            moved(2, [16.0, -7.0, 30.0]),
        ),
        ("a slice out of step", Refused("uneven_spacing", "off an even spacing"), moved(2, [11.0, -7.0, 30.0])),
        ("a slice aside", Refused("tilted_stack", "sideways"), moved(2, [12.0, -5.0, 30.0])),
        (
            "gantry tilt",
            Refused("tilted_stack", "degrees from the normal"),
            series(6, |index, image| {
                position(image, [20.0 - 4.0 * index as f64, -7.0 + index as f64, 30.0]);
            }),
        ),
        (
            "all slices at one place",
            Refused("duplicate_position", "nothing tells the two apart"),
            series(3, |_, i| position(i, [0.0; 3])),
        ),
        (
            "two patients",
            Refused("several_patients", "PatientID (0010,0020)"),
            series(4, |index, image| {
                image.put(DataElement::new(tags::PATIENT_ID, VR::LO, format!("P{}", index / 2)));
            }),
        ),
        (
            "two studies",
            Refused("several_studies", "StudyInstanceUID (0020,000D)"),
            with(tags::STUDY_INSTANCE_UID, "1.9"),
        ),
        (
            "two frames of reference",
            Refused("several_frames_of_reference", "(0020,0052)"),
            with(tags::FRAME_OF_REFERENCE_UID, "1.9"),
        ),
        (
            "no frame of reference in one",
            Refused("several_frames_of_reference", "none here"),
            without(tags::FRAME_OF_REFERENCE_UID),
        ),
        (
            "one uid, two contents",
            Refused("duplicate_sop_instance_uid", "SOPInstanceUID"),
            with(tags::SOP_INSTANCE_UID, "1.2.3.10.1"),
        ),
        (
            "one slice without thickness",
            Refused("single_slice", "SliceThickness (0018,0050)"),
            series(1, |_, image| {
                image.remove_element(tags::SLICE_THICKNESS);
            }),
        ),
        ("localizer", Warned("localizer"), series(3, |_, i| text(i, tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\LOCALIZER"))),
        ("one slice", Warned("single_slice"), series(1, |_, _| {})),
        ("two slices", Warned("few_slices"), series(2, |_, _| {})),
        (
            "claimed spacing is another",
            Warned("spacing_disagrees"),
            series(4, |_, i| text(i, tags::SPACING_BETWEEN_SLICES, "2")),
        ),
        (
            "two orientations",
            Warned("mixed_orientation"),
            series(8, |index, image| {
                if index >= 4 {
                    orientation(image, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
                    position(image, [0.0, 0.0, 5.0 * index as f64]);
                }
            }),
        ),
        ("more pixel data than needed", Warned("extra_pixel_data"), one(|image| words(image, &[7; 20]))),
        (
            "pixel data for twice the frames",
            Refused("pixel_data_length", "need 24"),
            one(|image| words(image, &[7; 24])),
        ),
        (
            "two echoes",
            Sound(2),
            series(8, |index, image| {
                position(image, [20.0 - 4.0 * (index % 4) as f64, -7.0, 30.0]);
                text(image, tags::ECHO_TIME, ["12", "98"][index / 4]);
            }),
        ),
        (
            "three times",
            Sound(3),
            series(12, |index, image| {
                position(image, [20.0 - 4.0 * (index % 4) as f64, -7.0, 30.0]);
                text(image, tags::TRIGGER_TIME, ["0", "100", "200"][index / 4]);
            }),
        ),
    ]);
}

#[test]
fn unusual_but_sound_series() {
    let mixed = Folder::new();
    for (index, syntax) in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"].into_iter().enumerate() {
        write_as(&slice(index), &mixed.join(&index.to_string()), syntax);
    }
    check(vec![
        ("mixed transfer syntaxes", Sound(1), mixed),
        ("shuffled frames", Sound(1), {
            let folder = Folder::new();
            write(&enhanced_frames(&[2, 0, 3, 1]), &folder.join("shuffled"));
            folder
        }),
        ("low values bright", Sound(1), series(3, |_, i| text(i, tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1"))),
        (
            "odd character set",
            Sound(1),
            series(3, |_, image| {
                text(image, tags::SPECIFIC_CHARACTER_SET, "\\ISO 2022 IR 87");
                text(image, tags::SERIES_DESCRIPTION, "T2 \u{1b}$B9x");
            }),
        ),
        ("unknown character set", Sound(1), series(3, |_, i| text(i, tags::SPECIFIC_CHARACTER_SET, "KLINGON"))),
        ("empty description", Sound(1), series(3, |_, i| text(i, tags::SERIES_DESCRIPTION, ""))),
        (
            "no modality",
            Sound(1),
            series(3, |_, image| {
                image.remove_element(tags::MODALITY);
            }),
        ),
        ("without preamble", Sound(1), bytes(|bytes| drop(bytes.drain(..128)))),
        (
            "sequence of unknown kind that ends",
            Sound(1),
            insert(b"\x09\0\x10\x10UN\0\0\xff\xff\xff\xff\xfe\xff\xdd\xe0\0\0\0\0"),
        ),
    ]);
}
