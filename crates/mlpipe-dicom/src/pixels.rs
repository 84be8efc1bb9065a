//! Stored bytes to numbers in modality units: every bit layout of DICOM PS3.5 section 8, native or compressed, by slope
//! and intercept or by Modality LUT, in f64, then f32.

use std::borrow::Cow;
use std::path::Path;

use rayon::prelude::*;

use crate::codec::{self, Failure, Samples};
use crate::element::{EXPLICIT_BIG_ENDIAN, Layout, PixelData};
use crate::frame::{PixelFormat, SourceFile};
use crate::header::read_pixel_source;
use crate::{Error, Frame, Limits, Result, bytes};

/// The values of an image file without regard to where they lie in the patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    /// Number of frames, rows, columns.
    pub shape: [usize; 3],
    /// `[frame, row, column]` in modality units, C order.
    pub values: Vec<f32>,
}

/// Decodes all frames of one grey-scale image file, whether or not it has a place in the patient.
///
/// # Errors
/// When the file cannot be read, is not a grey-scale image, or its pixels cannot be decoded within `limits`.
pub fn read_pixels(path: &Path, limits: Limits) -> Result<Pixels> {
    let frames = read_pixel_source(path, limits)?;
    let format = frames[0].file.pixel_format.clone();
    let size = format.rows * format.columns;
    let mut values = vec![0.0; size * format.frames];
    decode_file(&frames[0].file, frames.iter().zip(values.chunks_mut(size)).collect(), limits)?;
    Ok(Pixels { shape: [format.frames, format.rows, format.columns], values })
}

/// Decodes frames of one file, each given with the voxels it is to fill (`[row, column]`, modality units).
pub(crate) fn decode_file(source: &SourceFile, frames: Vec<(&Frame, &mut [f32])>, limits: Limits) -> Result<()> {
    let read = bytes::whole(&source.path, limits.memory);
    let (bytes, layout) = read.map_err(|error| Error::Read { path: source.path.clone(), source: error })?;
    let changed = || Error::Changed { path: source.path.clone() };
    let layout = layout.ok().filter(|layout| layout.transfer_syntax == source.transfer_syntax).ok_or_else(changed)?;
    let data = layout.pixel_data.ok_or_else(changed)?;
    match data.length {
        Some(length) if !codec::COMPRESSED.contains(&layout.transfer_syntax.as_str()) => {
            let end = data.value.saturating_add(length).min(bytes.len());
            let native = Native::new(source, &bytes[data.value.min(end)..end], &layout, data);
            frames.into_iter().try_for_each(|(frame, voxels)| native.read(frame, voxels))
        }
        _ => decode_compressed(source, &bytes, data, frames),
    }
}

fn decode_compressed(
    source: &SourceFile,
    bytes: &[u8],
    data: PixelData,
    frames: Vec<(&Frame, &mut [f32])>,
) -> Result<()> {
    let streams = match data.length {
        None => codec::frames(bytes, data.value, source.pixel_format.frames),
        Some(_) => Err("has a defined length, which compressed pixels cannot have".into()),
    };
    let streams = streams.map_err(|message| pixels_error(source, ("undecodable_pixels", message)))?;
    frames.into_par_iter().try_for_each(|(frame, voxels)| {
        let failed = |failure| pixels_error(source, failure);
        let stream = streams.get(frame.number).ok_or_else(|| Error::Changed { path: source.path.clone() })?;
        let samples = codec::decode(stream, &source.transfer_syntax, &source.pixel_format).map_err(failed)?;
        let stored = StoredBits::of(&samples, &source.pixel_format).map_err(failed)?;
        if samples.bits.len() != voxels.len() {
            return Err(failed(("undecodable_pixels", format!("decoding gives {} pixels", samples.bits.len()))));
        }
        let scale = Scale::of(frame);
        voxels.iter_mut().zip(&samples.bits).for_each(|(voxel, bits)| *voxel = scale.apply(stored.value(*bits)));
        Ok(())
    })
}

/// Modality units of a stored value (DICOM PS3.3 C.11.1.1.2).
struct Scale<'a>(&'a Frame);

impl<'a> Scale<'a> {
    fn of(frame: &'a Frame) -> Self {
        Scale(frame)
    }

    #[inline]
    fn apply(&self, stored: f64) -> f32 {
        match &self.0.file.lut {
            None => (self.0.slope * stored + self.0.intercept) as f32,
            Some(lut) => lut.value(stored) as f32,
        }
    }
}

/// Which bits of a sample are the number. Bits outside HighBit and BitsStored are ignored: old overlays live there.
#[derive(Clone, Copy)]
struct StoredBits {
    left: u32,
    right: u32,
    signed: bool,
}

impl StoredBits {
    fn native(format: &PixelFormat) -> Self {
        StoredBits {
            left: 31 - u32::from(format.high_bit),
            right: 32 - u32::from(format.bits_stored),
            signed: format.signed,
        }
    }

    /// Decoders give samples at the low end. What a stream says of itself comes before what the header says, but
    /// numbers that do not fit BitsStored mean that one of the two is wrong.
    fn of(samples: &Samples, format: &PixelFormat) -> std::result::Result<Self, Failure> {
        let Some(precision) = samples.precision else { return Ok(StoredBits::native(format)) };
        if precision > format.bits_allocated {
            let message =
                format!("the stream has {precision} bits per sample where BitsAllocated is {}", format.bits_allocated);
            return Err(("undecodable_pixels", message));
        }
        if samples.signed {
            return Ok(StoredBits { left: 0, right: 0, signed: true });
        }
        let bits = u32::from(precision.min(format.bits_stored));
        let unexpected = |sample: &u32| u64::from(*sample) >> format.bits_stored != 0;
        if !format.signed && precision > format.bits_stored && samples.bits.iter().any(unexpected) {
            let message = format!("the stream holds numbers of more than BitsStored {} bits", format.bits_stored);
            return Err(("undecodable_pixels", message));
        }
        Ok(StoredBits { left: 32 - bits, right: 32 - bits, signed: format.signed })
    }

    #[inline]
    fn value(self, sample: u32) -> f64 {
        let aligned = sample << self.left;
        if self.signed { f64::from((aligned as i32) >> self.right) } else { f64::from(aligned >> self.right) }
    }
}

/// Uncompressed pixel data.
struct Native<'a> {
    source: &'a SourceFile,
    bytes: Cow<'a, [u8]>,
    big_endian: bool,
}

impl<'a> Native<'a> {
    fn new(source: &'a SourceFile, bytes: &'a [u8], layout: &Layout, data: PixelData) -> Self {
        let big_endian = layout.transfer_syntax == EXPLICIT_BIG_ENDIAN;
        let swapped = big_endian && data.vr == Some(*b"OW") && source.pixel_format.bits_allocated <= 8;
        // Two samples share a word of OW, the first in its low byte (DICOM PS3.5 8.1.1, 7.3).
        let bytes = if swapped {
            Cow::Owned(bytes.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect())
        } else {
            Cow::Borrowed(bytes)
        };
        Native { source, bytes, big_endian }
    }

    fn read(&self, frame: &Frame, voxels: &mut [f32]) -> Result<()> {
        let format = &self.source.pixel_format;
        let scale = Scale::of(frame);
        let size = format.rows * format.columns;
        let first_bit = frame.number * size * usize::from(format.bits_allocated);
        let bits = size * usize::from(format.bits_allocated);
        let raw = self.bytes.get(first_bit / 8..(first_bit + bits).div_ceil(8)).ok_or_else(|| {
            let message = format!("frame {} needs bytes that are not there", frame.number);
            pixels_error(self.source, ("truncated_file", message))
        })?;
        let stored = StoredBits::native(format);
        let scaled = |sample: u32| scale.apply(stored.value(sample));
        match (format.bits_allocated, format.float) {
            (1, _) => fill(voxels, (first_bit % 8..).map(|bit| u32::from(raw[bit / 8] >> (bit % 8) & 1)), scaled),
            (8, _) => fill(voxels, raw.iter().map(|byte| u32::from(*byte)), scaled),
            // The common case: without a look at the table in the loop it is vectorised.
            (16, _) if !self.big_endian && self.source.lut.is_none() => {
                let (slope, intercept) = (frame.slope, frame.intercept);
                let value = |bits: u32| (slope * stored.value(bits) + intercept) as f32;
                fill(voxels, raw.as_chunks().0.iter().map(|pair| u32::from(u16::from_le_bytes(*pair))), value);
            }
            (16, _) => {
                let read = if self.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
                fill(voxels, raw.as_chunks().0.iter().map(|pair| u32::from(read(*pair))), scaled);
            }
            (32, false) => {
                let read = if self.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
                fill(voxels, raw.as_chunks().0.iter().map(|quad| read(*quad)), scaled);
            }
            (32, true) => {
                let read = if self.big_endian { f32::from_be_bytes } else { f32::from_le_bytes };
                fill(voxels, raw.as_chunks().0.iter().map(|quad| read(*quad)), |value| scale.apply(value.into()));
            }
            _ => {
                let read = if self.big_endian { f64::from_be_bytes } else { f64::from_le_bytes };
                fill(voxels, raw.as_chunks().0.iter().map(|eight| read(*eight)), |value| scale.apply(value));
            }
        }
        Ok(())
    }
}

#[inline]
fn fill<T>(voxels: &mut [f32], samples: impl Iterator<Item = T>, value: impl Fn(T) -> f32) {
    voxels.iter_mut().zip(samples).for_each(|(voxel, sample)| *voxel = value(sample));
}

fn pixels_error(source: &SourceFile, (code, message): Failure) -> Error {
    Error::Pixels {
        path: source.path.clone(),
        code: code.to_owned(),
        message: format!("PixelData (7FE0,0010): {message}; copy or export the file again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(bits_allocated: u16, bits_stored: u16, high_bit: u16, signed: bool) -> PixelFormat {
        PixelFormat { rows: 1, columns: 1, bits_allocated, bits_stored, high_bit, signed, float: false, frames: 1 }
    }

    fn stored_value(sample: u32, format: &PixelFormat) -> f64 {
        StoredBits::native(format).value(sample)
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
    fn streams_of_fewer_bits_are_extended_from_their_own_sign() {
        let samples = |bits, precision| Samples { bits, precision: Some(precision), signed: false };
        let value = |samples: &Samples, format: &PixelFormat| {
            StoredBits::of(samples, format).map(|stored| stored.value(samples.bits[0]))
        };
        assert_eq!(value(&samples(vec![0xFFF], 12), &format(16, 16, 15, true)), Ok(-1.0));
        assert_eq!(value(&samples(vec![0xFFFF], 16), &format(16, 12, 11, true)), Ok(-1.0));
        assert_eq!(value(&samples(vec![0xFFF], 16), &format(16, 12, 11, false)), Ok(4095.0));
        assert!(value(&samples(vec![0x1FFF], 16), &format(16, 12, 11, false)).is_err());
        assert!(value(&samples(vec![1], 16), &format(8, 8, 7, false)).is_err());
    }
}
