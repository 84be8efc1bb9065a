//! From the stored bytes of one compressed frame to its samples. No byte string can make it panic or allocate more than
//! a few times Rows x Columns: what a stream claims is compared with the header first.
//!
//! JPEG 2000 and HTJ2K are decoded by dicom-pixeldata, JPEG XL (feature `jpeg-xl`) by jxl-oxide. The rest is decoded by our
//! own code, since dicom-pixeldata 0.10.1 and its jpeg-decoder 0.3.2 do not give these frames safely:
//!
//! - RLE: panics on damaged input, has no 32 bits.
//! - JPEG of 8 bits: a stream whose end marker comes early is filled up with invented pixels instead of refused, and 2 to
//!   4 % of the pixels of whole streams differ by 1 from libjpeg's, which most readers and pydicom use.
//! - JPEG of 12 bits: not decoded.
//! - JPEG lossless: the same with early ends; wrong pixels and no error for point transforms other than 0 and for restart
//!   intervals; 8-bit streams in 16 allocated bits come out misplaced.
//! - JPEG-LS: needs CharLS, which is C++.

mod fragments;
mod jpeg;
mod jpeg2000;
mod jpeg_ls;
#[cfg(feature = "jpeg-xl")]
mod jpeg_xl;
mod library;
mod quiet;
mod rle;

use dicom_dictionary_std::uids;

use crate::frame::PixelFormat;

pub(crate) use fragments::{frames, joined};
pub(crate) use quiet::catching_panics;

/// The samples of one frame, `[row, column]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Samples {
    /// The bits of each sample, at the low end.
    pub(crate) bits: Vec<u32>,
    /// Bits of a sample as the stream itself says; none when it does not (RLE).
    pub(crate) precision: Option<u16>,
    /// Whether the stream itself says that negative values are stored as such (JPEG 2000).
    pub(crate) signed: bool,
}

/// Why a frame cannot be decoded: stable code, message.
pub(crate) type Failure = (&'static str, String);

/// Returns whether [`decode`] takes the compressed frames of a transfer syntax.
pub(crate) fn is_compressed(transfer_syntax: &str) -> bool {
    COMPRESSED.contains(&transfer_syntax) || cfg!(feature = "jpeg-xl") && JPEG_XL.contains(&transfer_syntax)
}

/// Transfer syntaxes of builds with the feature `jpeg-xl`.
pub(crate) const JPEG_XL: [&str; 3] = [uids::JPEGXL_LOSSLESS, uids::JPEGXLJPEG_RECOMPRESSION, uids::JPEGXL];

/// Compressed transfer syntaxes of every build.
const COMPRESSED: [&str; 12] = [
    uids::RLE_LOSSLESS,
    uids::JPEG_BASELINE8_BIT,
    uids::JPEG_EXTENDED12_BIT,
    uids::JPEG_LOSSLESS,
    uids::JPEG_LOSSLESS_SV1,
    uids::JPEGLS_LOSSLESS,
    uids::JPEGLS_NEAR_LOSSLESS,
    uids::JPEG2000_LOSSLESS,
    uids::JPEG2000,
    uids::HTJ2K_LOSSLESS,
    uids::HTJ2K_LOSSLESS_RPCL,
    uids::HTJ2K,
];

/// Decodes one frame of a compressed transfer syntax. The stream decides how it is decoded (a JPEG stream under the UID
/// of another JPEG process is read as what it is); its size must be that of the header.
pub(crate) fn decode(stream: &[u8], transfer_syntax: &str, format: &PixelFormat) -> Result<Samples, Failure> {
    let broken = |message: String| ("undecodable_pixels", message);
    if transfer_syntax == uids::RLE_LOSSLESS {
        let bytes = usize::from(format.bits_allocated / 8);
        let bits = rle::decode(stream, format.rows * format.columns, bytes).map_err(broken)?;
        return Ok(Samples { bits, precision: None, signed: false });
    }
    #[cfg(feature = "jpeg-xl")]
    if jpeg_xl::is_jpeg_xl(stream) {
        return jpeg_xl::decode(stream, format);
    }
    let size = [format.rows, format.columns];
    match stream.get(..2) {
        Some([0xFF, 0xD8]) if is_jpeg_ls(stream) => jpeg_ls::decode(stream, size).map_err(broken),
        Some([0xFF, 0xD8]) => jpeg::decode(stream, size),
        Some([0xFF, 0x4F] | [0, 0]) => jpeg2000::decode(stream, transfer_syntax, format).map_err(broken),
        _ => Err(broken("the compressed frame is neither JPEG, JPEG-LS nor JPEG 2000".into())),
    }
}

/// JPEG-LS has a frame header of its own (SOF55).
fn is_jpeg_ls(stream: &[u8]) -> bool {
    Segments { stream, at: 2 }.any(|segment| matches!(segment, Ok((0xF7, _, _))))
}

/// Marker, payload, offset after it.
type Segment<'a> = (u8, &'a [u8], usize);

/// The marker segments of a JPEG stream up to its first scan.
struct Segments<'a> {
    stream: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    fn segment(&mut self) -> Result<Option<Segment<'a>>, String> {
        let ends = || "the compressed stream ends in its header".to_owned();
        loop {
            let [0xFF, marker] = *self.stream.get(self.at..self.at + 2).ok_or_else(ends)? else {
                return Err(format!("byte {} of the compressed stream is not a marker", self.at));
            };
            match marker {
                0xFF => self.at += 1,
                0x01 | 0xD0..=0xD8 => self.at += 2,
                0xD9 => return Ok(None),
                _ => {
                    let length = self.stream.get(self.at + 2..self.at + 4).ok_or_else(ends)?;
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    let payload = self.stream.get(self.at + 4..self.at + 2 + length).ok_or_else(ends)?;
                    self.at += 2 + length;
                    return Ok(Some((marker, payload, self.at)));
                }
            }
        }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Result<Segment<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.stream.len() {
            return None;
        }
        let segment = self.segment();
        match &segment {
            Ok(Some((0xDA, _, _))) | Err(_) => self.at = self.stream.len(),
            _ => {}
        }
        segment.transpose()
    }
}

/// The one frame header a grey-scale stream may have: precision, rows, columns.
#[derive(Debug, Clone, Copy)]
struct FrameHeader {
    precision: u8,
    quantisation: u8,
}

/// Reads a frame header (ISO/IEC 10918-1 B.2.2) and compares its size with the one expected.
fn frame_header(payload: &[u8], size: [usize; 2]) -> Result<FrameHeader, String> {
    let [precision, r0, r1, c0, c1, components, rest @ ..] = payload else {
        return Err("the frame header of the compressed stream is too short".into());
    };
    let found = [u16::from_be_bytes([*r0, *r1]), u16::from_be_bytes([*c0, *c1])].map(usize::from);
    if found != size {
        return Err(size_message(found, size));
    }
    if *components != 1 {
        return Err(format!("the compressed image has {components} components where SamplesPerPixel is 1"));
    }
    let quantisation = rest.get(2).copied().unwrap_or_default();
    Ok(FrameHeader { precision: *precision, quantisation })
}

fn size_message([rows, columns]: [usize; 2], [wanted_rows, wanted_columns]: [usize; 2]) -> String {
    format!("the compressed image is {rows} x {columns} where Rows and Columns are {wanted_rows} and {wanted_columns}")
}
