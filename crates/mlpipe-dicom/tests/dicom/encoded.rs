//! Streams of the encoders that HTJ2K and JPEG XL come from, OpenJPH and libjxl, decode to what was encoded: exactly where
//! the stream is lossless, else to what those libraries decode. They are those of the Python that `MLPIPE_TEST_PYDICOM` names (PyPI:
//! imagecodecs); without it the tests say so. JPEG XL needs the feature `jpeg-xl`.

use std::fs;

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use mlpipe_dicom::{Limits, read_pixels, write_volume};

use crate::images::{Folder, Image, SERIES, position, short, slice, text, write_as};
use crate::peers::python;

const ROWS: u16 = 37;
const COLUMNS: u16 = 53;

/// Encodes one image with twelve bits in sixteen, and one with eight, in every way; writes NAME.stream and NAME.values, the
/// decoded values as little endian words.
const ENCODE: &str = r#"
import sys, pathlib, numpy as np, imagecodecs as ic
folder = pathlib.Path(sys.argv[1])
row, column = np.mgrid[:37, :53]
wide = ((97 * row + 31 * column + row * column) % 4096).astype("u2")
smooth = (2000 + 1500 * np.sin(row / 9) * np.cos(column / 7)).astype("u2")
bytes_ = (smooth // 16).astype("u1")
def keep(name, stream, values):
    (folder / f"{name}.stream").write_bytes(stream)
    (folder / f"{name}.values").write_bytes(np.ascontiguousarray(values, "<u2").tobytes())
keep("htj2k-16", ic.htj2k_encode(wide, reversible=True), wide)
deep = (wide.astype("i4") * 16 - 32768).astype("i2")
keep("htj2k-signed", ic.htj2k_encode(deep, reversible=True), deep.view("u2"))
keep("htj2k-8", ic.htj2k_encode(bytes_, reversible=True), bytes_)
for bits, image in ((16, wide), (12, wide), (8, bytes_)):
    for container in (False, True):
        stream = ic.jpegxl_encode(image, lossless=True, bitspersample=bits, usecontainer=container)
        keep(f"xl-{bits}{'-file' if container else ''}", stream, image)
keep("xl-colour", ic.jpegxl_encode(np.stack([bytes_] * 3, axis=-1), lossless=True), bytes_)
lossy = ic.jpegxl_encode(bytes_, distance=1.0)
keep("xl-lossy", lossy, ic.jpegxl_decode(lossy))
jpeg = ic.jpeg8_encode(bytes_, level=90)
keep("xl-of-jpeg", ic.jpegxl_encode_jpeg(jpeg), ic.jpeg8_decode(jpeg))
"#;

struct Case {
    name: &'static str,
    transfer_syntax: &'static str,
    bits: u16,
    signed: u16,
    /// Largest difference from what the encoder's own library decodes.
    tolerance: f32,
}

const fn case(name: &'static str, transfer_syntax: &'static str, bits: u16) -> Case {
    Case { name, transfer_syntax, bits, signed: 0, tolerance: 0.0 }
}

/// A folder with all of them; none where the encoders are not.
fn encoded_images() -> Option<Folder> {
    let folder = Folder::new();
    python(ENCODE, &[folder.path()]).map(|_| folder)
}

/// What the encoder wrote: `stream` or `values`.
fn encoded(folder: &Folder, case: &Case, kind: &str) -> Vec<u8> {
    fs::read(folder.join(&format!("{}.{kind}", case.name))).expect("the encoder wrote it")
}

/// An image of such a stream.
fn image(case: &Case, stream: Vec<u8>) -> Image {
    let mut image = slice(0);
    for (tag, value) in [
        (tags::ROWS, ROWS),
        (tags::COLUMNS, COLUMNS),
        (tags::BITS_ALLOCATED, if case.bits == 8 { 8 } else { 16 }),
        (tags::BITS_STORED, case.bits),
        (tags::HIGH_BIT, case.bits - 1),
        (tags::PIXEL_REPRESENTATION, case.signed),
    ] {
        short(&mut image, tag, value);
    }
    image.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(vec![stream])));
    image
}

fn decoded(image: &Image, case: &Case, folder: &Folder) -> mlpipe_dicom::Result<Vec<f32>> {
    let path = folder.join("image");
    write_as(image, &path, case.transfer_syntax);
    read_pixels(&path, Limits::default()).map(|pixels| pixels.values)
}

fn check(case: &Case, folder: &Folder) {
    let image = image(case, encoded(folder, case, "stream"));
    let found = decoded(&image, case, folder).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let words = encoded(folder, case, "values");
    let values = words.as_chunks().0.iter().map(|word| u16::from_le_bytes(*word));
    let expected: Vec<f32> =
        values.map(|word| if case.signed == 1 { f32::from(word as i16) } else { f32::from(word) }).collect();
    assert_eq!(found.len(), expected.len(), "{}", case.name);
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= case.tolerance, "{}: a value differs by {worst}", case.name);
}

#[test]
fn htj2k_of_openjph_is_decoded_exactly() {
    let Some(folder) = encoded_images() else { return };
    for case in [
        case("htj2k-16", uids::HTJ2K_LOSSLESS, 16),
        Case { signed: 1, ..case("htj2k-signed", uids::HTJ2K, 16) },
        case("htj2k-8", uids::HTJ2K_LOSSLESS_RPCL, 8),
    ] {
        check(&case, &folder);
    }
}

/// The header says twelve bits, the stream sixteen signed ones: with the intercept they do not fit int16 any more.
#[test]
fn numbers_that_a_stream_says_are_longer_than_bits_stored_do_not_wrap_in_nifti() {
    let Some(folder) = encoded_images() else { return };
    let case = Case { signed: 1, ..case("htj2k-signed", uids::HTJ2K, 12) };
    let series = Folder::new();
    for index in 0..3 {
        let mut image = image(&case, encoded(&folder, &case, "stream"));
        text(&mut image, tags::SOP_INSTANCE_UID, &format!("1.2.3.10.{}", index + 1));
        position(&mut image, [20.0 - 4.0 * f64::from(index), -7.0, 30.0]);
        text(&mut image, tags::RESCALE_SLOPE, "1");
        text(&mut image, tags::RESCALE_INTERCEPT, "-1024");
        write_as(&image, &series.join(&index.to_string()), case.transfer_syntax);
    }
    let out = folder.join("out.nii");
    write_volume(&[series.path().to_path_buf()], SERIES, None, &out, Limits::default()).expect("writes");
    let bytes = fs::read(&out).expect("read");
    let least = bytes[352..].as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).fold(0.0, f32::min);
    assert_eq!((&bytes[70..72], least), (&[16, 0][..], -32768.0 - 1024.0));
}

#[cfg(feature = "jpeg-xl")]
#[test]
fn jpeg_xl_of_libjxl_is_decoded_as_libjxl_does() {
    let Some(folder) = encoded_images() else { return };
    for case in [
        case("xl-16", uids::JPEGXL_LOSSLESS, 16),
        case("xl-16-file", uids::JPEGXL, 16),
        // The values stay those of twelve bits.
        case("xl-12", uids::JPEGXL_LOSSLESS, 12),
        case("xl-12-file", uids::JPEGXL_LOSSLESS, 12),
        case("xl-8", uids::JPEGXL_LOSSLESS, 8),
        case("xl-8-file", uids::JPEGXL_LOSSLESS, 8),
        Case { tolerance: 1.0, ..case("xl-lossy", uids::JPEGXL, 8) },
        case("xl-of-jpeg", uids::JPEGXLJPEG_RECOMPRESSION, 8),
    ] {
        check(&case, &folder);
    }
}

#[cfg(feature = "jpeg-xl")]
#[test]
fn jpeg_xl_that_is_damaged_or_not_as_the_header_says_is_refused() {
    let Some(folder) = encoded_images() else { return };
    let refusal = |image: &Image, case: &Case| decoded(image, case, &folder).expect_err("refused").to_string();
    let colour = case("xl-colour", uids::JPEGXL_LOSSLESS, 8);
    let message = refusal(&image(&colour, encoded(&folder, &colour, "stream")), &colour);
    assert!(message.contains("colour"), "{message}");
    let wide = case("xl-12", uids::JPEGXL_LOSSLESS, 12);
    let stream = encoded(&folder, &wide, "stream");
    let mut taller = image(&wide, stream.clone());
    short(&mut taller, tags::ROWS, ROWS + 1);
    let message = refusal(&taller, &wide);
    assert!(message.contains("37 x 53"), "{message}");
    for length in (2..stream.len()).step_by(stream.len() / 40) {
        refusal(&image(&wide, stream[..length].to_vec()), &wide);
    }
    // There is no checksum in a stream: a flipped bit may well give another image, but never a panic or one of another size.
    for at in (2..stream.len()).step_by(7) {
        let mut damaged = stream.clone();
        damaged[at] ^= 1 << (at % 8);
        if let Ok(values) = decoded(&image(&wide, damaged), &wide, &folder) {
            assert_eq!(values.len(), usize::from(ROWS) * usize::from(COLUMNS));
        }
    }
}
