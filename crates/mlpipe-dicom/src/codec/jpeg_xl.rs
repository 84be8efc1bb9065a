//! JPEG XL through jxl-oxide. Its own adapter in dicom-rs 0.10.1 spreads the samples of a stream over the range of
//! BitsAllocated, which turns 12 bits in 16 into other values; here they stay what the stream stores.

use jxl_oxide::color::ColourSpace;
use jxl_oxide::image::BitDepth;
use jxl_oxide::{AllocTracker, ImageHeader, JpegReconstructionStatus, JxlImage};

use super::{Failure, Samples, catching_panics, jpeg, size_message};
use crate::frame::PixelFormat;

/// Returns whether a stream is a JPEG XL codestream or such a file (ISO/IEC 18181-2).
pub(super) fn is_jpeg_xl(stream: &[u8]) -> bool {
    stream.starts_with(&[0xFF, 0x0A]) || stream.starts_with(b"\0\0\0\x0CJXL \r\n\x87\n")
}

/// Decodes a stream. A JPEG that was recompressed is put together again and decoded as that JPEG.
pub(super) fn decode(stream: &[u8], format: &PixelFormat) -> Result<Samples, Failure> {
    let decoded = catching_panics(|| rendered(stream, format));
    decoded.unwrap_or_else(|| Err(broken("the decoder failed on a damaged stream")))
}

fn rendered(stream: &[u8], format: &PixelFormat) -> Result<Samples, Failure> {
    /// Memory of the decoder itself, and for each pixel: a few buffers of 4 bytes.
    const OWN: usize = 64 << 20;
    const EACH: usize = 64;
    let library =
        |error: Box<dyn std::error::Error + Send + Sync>| broken(&format!("the stream cannot be decoded: {error}"));
    let memory = AllocTracker::with_limit(OWN + EACH * format.rows * format.columns);
    let image = JxlImage::builder().alloc_tracker(memory).read(stream).map_err(library)?;
    let precision = precision(image.image_header(), format)?;
    if !image.is_loading_done() {
        return Err(broken("the stream ends before the image is complete"));
    }
    if image.num_loaded_keyframes() != 1 {
        return Err(broken(&format!("the stream holds {} images", image.num_loaded_keyframes())));
    }
    if matches!(image.jpeg_reconstruction_status(), JpegReconstructionStatus::Available) {
        let mut original = Vec::new();
        image.reconstruct_jpeg(&mut original).map_err(library)?;
        return jpeg::decode(&original, [format.rows, format.columns]);
    }
    let planes = image.render_frame(0).map_err(library)?.image_planar();
    let [plane] = planes.as_slice() else {
        return Err(broken(&format!("the stream holds {} channels where SamplesPerPixel is 1", planes.len())));
    };
    // The library gives the part of the largest number of so many bits, exactly enough for 16 of them.
    let largest = ((1_u32 << precision) - 1) as f32;
    let bits = plane.buf().iter().map(|part| (part * largest).round().clamp(0.0, largest) as u32).collect();
    Ok(Samples { bits, precision: Some(precision), signed: false })
}

/// Compares what the stream claims with the header. Returns its bits per sample.
fn precision(header: &ImageHeader, format: &PixelFormat) -> Result<u16, Failure> {
    let found = [header.size.height, header.size.width].map(|side| side as usize);
    if found != [format.rows, format.columns] {
        return Err(broken(&size_message(found, [format.rows, format.columns])));
    }
    let metadata = &header.metadata;
    if metadata.colour_encoding.colour_space() != ColourSpace::Grey || !metadata.ec_info.is_empty() {
        return Err(broken("the stream holds colour or further channels where SamplesPerPixel is 1"));
    }
    if metadata.orientation != 1 {
        return Err(broken("the stream asks for its image to be turned"));
    }
    match metadata.bit_depth {
        BitDepth::IntegerSample { bits_per_sample } if bits_per_sample <= u32::from(format.bits_allocated) => {
            Ok(bits_per_sample as u16)
        }
        BitDepth::IntegerSample { bits_per_sample } => {
            let allocated = format.bits_allocated;
            Err(broken(&format!("the stream has {bits_per_sample} bits per sample where BitsAllocated is {allocated}")))
        }
        BitDepth::FloatSample { .. } => Err(broken("the stream holds floating point numbers")),
    }
}

fn broken(message: &str) -> Failure {
    ("undecodable_pixels", message.to_owned())
}
