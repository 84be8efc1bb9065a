//! Stored bytes to numbers in modality units: every bit layout of DICOM PS3.5 section 8, native or compressed, by slope
//! and intercept or by Modality LUT, rounded once, to f32.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use crate::codec::{self, Failure, Samples};
use crate::element::{EXPLICIT_BIG_ENDIAN, Layout, PixelData};
use crate::frame::{PixelFormat, SourceFile};
use crate::header::read_pixel_source;
use crate::lut::Table;
use crate::{Error, Frame, Limits, Result, bytes};

/// Whole numbers up to this are f32 numbers.
const EXACT_IN_F32: f64 = 16_777_216.0;

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
    let image = OpenImage::read(&frames[0].file, limits, Vec::new())?;
    let pairs = frames.par_iter().zip(values.par_chunks_mut(size));
    pairs.try_for_each(|(frame, voxels)| image.decode(frame, voxels))?;
    Ok(Pixels { shape: [format.frames, format.rows, format.columns], values })
}

/// An image file in memory, ready to give its frames.
pub(crate) struct OpenImage<'a> {
    source: &'a SourceFile,
    bytes: Vec<u8>,
    stored: Stored,
}

/// How the pixels of a file are stored.
enum Stored {
    /// One after the other, in this range.
    Native { range: Range<usize>, big_endian: bool },
    /// The fragments of each frame.
    Compressed(Vec<Vec<Range<usize>>>),
}

impl<'a> OpenImage<'a> {
    /// Reads a file over what `bytes` held: large buffers are cheap to reuse and expensive to get.
    pub(crate) fn read(source: &'a SourceFile, limits: Limits, mut bytes: Vec<u8>) -> Result<Self> {
        let read = bytes::whole(&source.path, source.stamp, limits.memory, &mut bytes);
        let layout = read.map_err(|error| Error::Read { path: source.path.clone(), source: error })?;
        let layout = layout.filter(|layout| layout.transfer_syntax == source.transfer_syntax);
        let pixel_data = layout.as_ref().and_then(|layout| layout.pixel_data);
        let (Some(layout), Some(data)) = (layout, pixel_data) else {
            return Err(Error::Changed { path: source.path.clone() });
        };
        let stored = stored(source, &mut bytes, &layout, data)
            .map_err(|message| pixels_error(source, ("undecodable_pixels", message)))?;
        Ok(OpenImage { source, bytes, stored })
    }

    /// Returns the memory of the file, to be used for the next one.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Fills `voxels`, `[row, column]`, with a frame in modality units.
    pub(crate) fn decode(&self, frame: &Frame, voxels: &mut [f32]) -> Result<()> {
        match &self.stored {
            Stored::Native { range, big_endian } => self.native(&self.bytes[range.clone()], *big_endian, frame, voxels),
            Stored::Compressed(streams) => {
                let fragments =
                    streams.get(frame.number).ok_or_else(|| Error::Changed { path: self.source.path.clone() })?;
                self.compressed(&codec::joined(&self.bytes, fragments), frame, voxels)
            }
        }
    }

    fn compressed(&self, stream: &[u8], frame: &Frame, voxels: &mut [f32]) -> Result<()> {
        let failed = |failure| pixels_error(self.source, failure);
        let format = &self.source.pixel_format;
        let samples = codec::decode(stream, &self.source.transfer_syntax, format).map_err(failed)?;
        let stored = StoredBits::of(&samples, format).map_err(failed)?;
        if samples.bits.len() != voxels.len() {
            return Err(failed(("undecodable_pixels", format!("decoding gives {} pixels", samples.bits.len()))));
        }
        Scale::of(frame, format).fill(voxels, samples.bits.iter().copied(), stored);
        Ok(())
    }

    fn native(&self, bytes: &[u8], big_endian: bool, frame: &Frame, voxels: &mut [f32]) -> Result<()> {
        let format = &self.source.pixel_format;
        let size = format.rows * format.columns;
        let bits = size * usize::from(format.bits_allocated);
        let first_bit = frame.number * bits;
        let raw = bytes.get(first_bit / 8..(first_bit + bits).div_ceil(8)).ok_or_else(|| {
            let message = format!("frame {} needs bytes that are not there", frame.number);
            pixels_error(self.source, ("truncated_file", message))
        })?;
        let (scale, stored) = (Scale::of(frame, format), StoredBits::native(format));
        match (format.bits_allocated, format.float, big_endian) {
            (1, ..) => {
                scale.fill(voxels, (first_bit % 8..).map(|bit| u32::from(raw[bit / 8] >> (bit % 8) & 1)), stored);
            }
            (8, ..) => scale.fill(voxels, raw.iter().map(|byte| u32::from(*byte)), stored),
            (16, _, false) => scale.fill(voxels, numbers(raw, |pair| u16::from_le_bytes(pair).into()), stored),
            (16, _, true) => scale.fill(voxels, numbers(raw, |pair| u16::from_be_bytes(pair).into()), stored),
            (32, false, false) => scale.fill(voxels, numbers(raw, u32::from_le_bytes), stored),
            (32, false, true) => scale.fill(voxels, numbers(raw, u32::from_be_bytes), stored),
            (32, true, false) => scale.fill_floats(voxels, numbers(raw, |quad| f32::from_le_bytes(quad).into())),
            (32, true, true) => scale.fill_floats(voxels, numbers(raw, |quad| f32::from_be_bytes(quad).into())),
            (.., false) => scale.fill_floats(voxels, numbers(raw, f64::from_le_bytes)),
            (.., true) => scale.fill_floats(voxels, numbers(raw, f64::from_be_bytes)),
        }
        Ok(())
    }
}

fn stored(source: &SourceFile, bytes: &mut [u8], layout: &Layout, data: PixelData) -> Result<Stored, String> {
    let compressed = codec::is_compressed(&layout.transfer_syntax);
    let Some(length) = data.length else {
        return codec::frames(bytes, data.value, source.pixel_format.frames).map(Stored::Compressed);
    };
    if compressed {
        return Err("has a defined length, which compressed pixels cannot have".into());
    }
    const FIRST_ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
    if length as u128 > source.pixel_format.stored_bytes() + 1
        && bytes.get(data.value..).is_some_and(|value| value.starts_with(&FIRST_ITEM))
    {
        return Err(format!("holds compressed fragments, TransferSyntaxUID says {}", source.transfer_syntax));
    }
    let end = data.value.saturating_add(length).min(bytes.len());
    let range = data.value.min(end)..end;
    let big_endian = layout.transfer_syntax == EXPLICIT_BIG_ENDIAN;
    if big_endian && data.vr == Some(*b"OW") && source.pixel_format.bits_allocated <= 8 {
        // Two samples share a word of OW, the first in its low byte (DICOM PS3.5 8.1.1, 7.3).
        bytes[range.clone()].as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.swap(0, 1));
    }
    Ok(Stored::Native { range, big_endian })
}

fn numbers<const N: usize, T>(raw: &[u8], number: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    raw.as_chunks::<N>().0.iter().map(move |bytes| number(*bytes))
}

/// Modality units of stored values (DICOM PS3.3 C.11.1.1.2).
enum Scale<'a> {
    Table(&'a Table),
    /// Slope and intercept that f32 arithmetic does not round: twice as fast, and the same numbers.
    Whole(f32, f32),
    Linear(f64, f64),
}

impl<'a> Scale<'a> {
    fn of(frame: &'a Frame, format: &PixelFormat) -> Self {
        if let Some(table) = &frame.file.lut {
            return Scale::Table(table);
        }
        let (slope, intercept) = (frame.slope, frame.intercept);
        let largest = slope.abs() * 2_f64.powi(format.bits_stored.into()) + intercept.abs();
        let whole = slope.fract() == 0.0 && intercept.fract() == 0.0 && largest <= EXACT_IN_F32;
        if whole { Scale::Whole(slope as f32, intercept as f32) } else { Scale::Linear(slope, intercept) }
    }

    #[inline]
    fn fill(&self, voxels: &mut [f32], samples: impl Iterator<Item = u32>, stored: StoredBits) {
        match *self {
            Scale::Table(table) => fill(voxels, samples, |bits| table.value(stored.value(bits)) as f32),
            Scale::Linear(slope, intercept) => {
                fill(voxels, samples, |bits| (slope * stored.value(bits) + intercept) as f32);
            }
            Scale::Whole(slope, intercept) if stored.signed => {
                fill(voxels, samples, |bits| slope * stored.signed(bits) as f32 + intercept);
            }
            // At most 24 bits are left: as a signed number they convert in one instruction.
            Scale::Whole(slope, intercept) => {
                fill(voxels, samples, |bits| slope * (stored.unsigned(bits) as i32) as f32 + intercept);
            }
        }
    }

    #[inline]
    fn fill_floats(&self, voxels: &mut [f32], samples: impl Iterator<Item = f64>) {
        match *self {
            Scale::Table(table) => fill(voxels, samples, |value| table.value(value) as f32),
            Scale::Whole(slope, intercept) => {
                fill(voxels, samples, |value| (f64::from(slope) * value + f64::from(intercept)) as f32);
            }
            Scale::Linear(slope, intercept) => fill(voxels, samples, |value| (slope * value + intercept) as f32),
        }
    }
}

/// Returns the least and the largest value in modality units that a frame can have, when all of them are whole numbers.
pub(crate) fn whole_range(frame: &Frame) -> Option<[f64; 2]> {
    let format = &frame.file.pixel_format;
    let Scale::Whole(slope, intercept) = Scale::of(frame, format) else { return None };
    let values = 2_f64.powi(format.bits_stored.into());
    let stored = match format.signed {
        _ if format.float => return None,
        // A JPEG 2000 stream may say of itself that its numbers are signed; they are as long as it says then, see `StoredBits::of`.
        _ if codec::is_compressed(&frame.file.transfer_syntax) => {
            let half = 2_f64.powi(i32::from(format.bits_allocated) - 1);
            [-half, half.max(values) - 1.0]
        }
        true => [-values / 2.0, values / 2.0 - 1.0],
        false => [0.0, values - 1.0],
    };
    let [first, last] = stored.map(|value| f64::from(slope) * value + f64::from(intercept));
    Some([first.min(last), first.max(last)])
}

#[inline]
fn fill<T>(voxels: &mut [f32], samples: impl Iterator<Item = T>, value: impl Fn(T) -> f32) {
    voxels.iter_mut().zip(samples).for_each(|(voxel, sample)| *voxel = value(sample));
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
        if self.signed { self.signed(sample).into() } else { self.unsigned(sample).into() }
    }

    #[inline]
    fn signed(self, sample: u32) -> i32 {
        ((sample << self.left) as i32) >> self.right
    }

    #[inline]
    fn unsigned(self, sample: u32) -> u32 {
        sample << self.left >> self.right
    }
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
