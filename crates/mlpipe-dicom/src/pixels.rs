//! Stored bytes to numbers: native pixels by our own path, compressed ones through dicom-pixeldata, always as raw
//! stored values that are rescaled here, so that no intermediate integer type can overflow.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_dictionary_std::tags;
use dicom_pixeldata::PixelDecoder;

use crate::element::{EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Layout, walk};
use crate::frame::{PixelFormat, SourceFile};
use crate::header::parse;
use crate::{Error, Frame, Result, codestream};

/// Decodes frames of one file, each given with the voxels it is to fill (`[row, column]`, modality units).
pub(crate) fn decode_file(source: &SourceFile, frames: Vec<(&Frame, &mut [f32])>) -> Result<()> {
    let stored = stored_bytes(source)?;
    let frame_bytes = source.pixel_format.frame_bytes() as usize;
    for (frame, voxels) in frames {
        let start = frame.number * frame_bytes;
        let raw = stored.bytes.get(start..start + frame_bytes).ok_or_else(|| {
            let message = format!("frame {} needs {frame_bytes} bytes that are not there", frame.number);
            pixels_error(source, "truncated_file", &message)
        })?;
        rescale_into(raw, &source.pixel_format, stored.big_endian, [frame.slope, frame.intercept], voxels);
    }
    Ok(())
}

struct Stored {
    bytes: Vec<u8>,
    big_endian: bool,
}

/// Returns the stored values of all frames, uncompressed.
fn stored_bytes(source: &SourceFile) -> Result<Stored> {
    let mut bytes =
        std::fs::read(&source.path).map_err(|error| Error::Read { path: source.path.clone(), source: error })?;
    let layout = layout_as_scanned(source, &bytes)?;
    let Some(data) = layout.pixel_data else { return Err(Error::Changed { path: source.path.clone() }) };
    let native = [IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN];
    match data.length {
        Some(length) if native.contains(&source.transfer_syntax.as_str()) => {
            bytes.truncate(data.value.saturating_add(length));
            bytes.drain(..data.value.min(bytes.len()));
            Ok(Stored { bytes, big_endian: source.transfer_syntax == EXPLICIT_BIG_ENDIAN })
        }
        _ => {
            let data_set = bytes.get(layout.data_set..).unwrap_or_default();
            Ok(Stored { bytes: decompress(source, data_set)?, big_endian: false })
        }
    }
}

fn layout_as_scanned(source: &SourceFile, bytes: &[u8]) -> Result<Layout> {
    match walk(bytes, bytes.len() as u64) {
        Ok(layout) if layout.transfer_syntax == source.transfer_syntax => Ok(layout),
        _ => Err(Error::Changed { path: source.path.clone() }),
    }
}

/// Decodes compressed pixels. A decoder that panics on a damaged stream is a refusal, not a crash.
fn decompress(source: &SourceFile, data_set: &[u8]) -> Result<Vec<u8>> {
    let broken = |message: &str| pixels_error(source, "undecodable_pixels", message);
    let object = parse(data_set, &source.transfer_syntax).map_err(|message| broken(&message))?;
    let size = [source.pixel_format.rows, source.pixel_format.columns];
    let fragments = object.get(tags::PIXEL_DATA).and_then(|element| element.fragments()).unwrap_or_default();
    if let Some(found) = fragments.iter().filter_map(|fragment| codestream::size(fragment)).find(|found| *found != size)
    {
        return Err(broken(&format!("the compressed image is {found:?} where Rows and Columns are {size:?}")));
    }
    let decoded = catch_unwind(AssertUnwindSafe(|| object.decode_pixel_data().map(|decoded| decoded.data().to_vec())));
    let bytes = match decoded {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(broken(&error.to_string())),
        Err(_) => return Err(broken("the decoder failed on a damaged stream")),
    };
    let expected = source.pixel_format.stored_bytes();
    if bytes.len() as u128 != expected {
        return Err(broken(&format!("decoding gives {} bytes where {expected} are needed", bytes.len())));
    }
    Ok(bytes)
}

/// Turns raw samples into modality units: `slope * stored + intercept` (DICOM PS3.3 C.11.1.1.2), in f64, then f32.
fn rescale_into(raw: &[u8], format: &PixelFormat, big_endian: bool, [slope, intercept]: [f64; 2], voxels: &mut [f32]) {
    let value = |stored: u32| (slope * stored_value(stored, format) + intercept) as f32;
    match format.bits_allocated {
        8 => voxels.iter_mut().zip(raw).for_each(|(voxel, byte)| *voxel = value((*byte).into())),
        16 => {
            let read = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
            let (pairs, _) = raw.as_chunks::<2>();
            voxels.iter_mut().zip(pairs).for_each(|(voxel, pair)| *voxel = value(read(*pair).into()));
        }
        _ => {
            let read = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
            let (quads, _) = raw.as_chunks::<4>();
            voxels.iter_mut().zip(quads).for_each(|(voxel, quad)| *voxel = value(read(*quad)));
        }
    }
}

/// Returns the number in the stored bits, ignoring bits outside HighBit and BitsStored (old overlays live there).
#[inline]
fn stored_value(sample: u32, format: &PixelFormat) -> f64 {
    let left = 31 - u32::from(format.high_bit);
    let right = 32 - u32::from(format.bits_stored);
    let aligned = sample << left;
    if format.signed { f64::from((aligned as i32) >> right) } else { f64::from(aligned >> right) }
}

fn pixels_error(source: &SourceFile, code: &'static str, message: &str) -> Error {
    Error::Pixels {
        path: source.path.clone(),
        code,
        message: format!("PixelData (7FE0,0010): {message}; copy or export the file again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(bits_allocated: u16, bits_stored: u16, high_bit: u16, signed: bool) -> PixelFormat {
        PixelFormat { rows: 1, columns: 1, bits_allocated, bits_stored, high_bit, signed, frames: 1 }
    }

    #[test]
    fn twelve_signed_bits_are_sign_extended_and_overlay_bits_ignored() {
        assert_eq!(stored_value(0xF800, &format(16, 12, 11, true)), -2048.0);
        assert_eq!(stored_value(0x07FF, &format(16, 12, 11, true)), 2047.0);
        assert_eq!(stored_value(0xF123, &format(16, 12, 11, false)), f64::from(0x123));
    }

    #[test]
    fn bits_stored_at_the_high_end_are_shifted_down() {
        assert_eq!(stored_value(0x1230, &format(16, 12, 15, false)), f64::from(0x123));
    }

    #[test]
    fn rescale_beyond_sixteen_bits_is_exact() {
        let mut voxels = [0.0];
        rescale_into(&[0xFF, 0xFF], &format(16, 16, 15, false), false, [2.0, -1.0], &mut voxels);
        assert_eq!(voxels, [131_069.0]);
    }

    #[test]
    fn thirty_two_bits_of_either_byte_order_are_read() {
        let mut voxels = [0.0];
        rescale_into(&[0, 1, 0, 0], &format(32, 32, 31, false), true, [1.0, 0.0], &mut voxels);
        assert_eq!(voxels, [65_536.0]);
    }
}
