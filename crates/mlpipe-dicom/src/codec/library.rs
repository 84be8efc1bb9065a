//! Decoding by dicom-pixeldata: the one frame is put into a fresh object that holds nothing but header values that have
//! been checked. A panic inside the library is a refusal.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{DefaultDicomObject, FileMetaTableBuilder, InMemDicomObject};
use dicom_pixeldata::PixelDecoder;

use super::catching_panics;
use crate::frame::PixelFormat;

/// Decodes one frame: 1 byte per sample where BitsAllocated is 8, else 2 (little endian). `signed` is what the stream
/// says; it decides how samples are extended to 32 bits.
pub(super) fn decode(
    stream: &[u8],
    transfer_syntax: &str,
    format: &PixelFormat,
    signed: bool,
) -> Result<Vec<u32>, String> {
    let object = object(stream, transfer_syntax, format)?;
    let decoded = catching_panics(|| object.decode_pixel_data().map(|pixels| pixels.data().to_vec()));
    let decoded = decoded.ok_or("the decoder failed on a damaged stream")?;
    let bytes = decoded.map_err(|error| format!("the stream cannot be decoded: {}", whole_message(&error)))?;
    if bytes.len() != format.rows * format.columns * usize::from(format.bits_allocated / 8) {
        return Err("the decoder gave an image of another size".into());
    }
    Ok(match (format.bits_allocated, signed) {
        (8, true) => bytes.iter().map(|byte| i32::from(*byte as i8) as u32).collect(),
        (8, false) => bytes.iter().map(|byte| u32::from(*byte)).collect(),
        (_, true) => pairs(&bytes).map(|pair| i32::from(i16::from_le_bytes(pair)) as u32).collect(),
        (_, false) => pairs(&bytes).map(|pair| u32::from(u16::from_le_bytes(pair))).collect(),
    })
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    bytes.as_chunks().0.iter().copied()
}

/// An image file of this one frame.
fn object(stream: &[u8], transfer_syntax: &str, format: &PixelFormat) -> Result<DefaultDicomObject, String> {
    let side = |pixels: usize| u16::try_from(pixels).map_err(|_| "Rows or Columns exceed 65535".to_owned());
    let numbers = [
        (tags::ROWS, side(format.rows)?),
        (tags::COLUMNS, side(format.columns)?),
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::BITS_ALLOCATED, format.bits_allocated),
        (tags::BITS_STORED, format.bits_stored),
        (tags::HIGH_BIT, format.high_bit),
        (tags::PIXEL_REPRESENTATION, format.signed.into()),
    ];
    let number = |(tag, value)| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let mut object = InMemDicomObject::from_element_iter(numbers.map(number));
    object.put(DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"));
    let fragments = dicom_core::value::PixelFragmentSequence::new_fragments(vec![stream.to_vec()]);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(transfer_syntax)
        .media_storage_sop_class_uid(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)
        .media_storage_sop_instance_uid("1.2.3");
    Ok(object.with_exact_meta(meta.build().map_err(|error| error.to_string())?))
}

/// An error with all its causes.
fn whole_message(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
