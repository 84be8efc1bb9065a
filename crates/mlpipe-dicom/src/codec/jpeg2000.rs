//! JPEG 2000 and HTJ2K through dicom-pixeldata (openjp2, a port of OpenJPEG to Rust). What the stream claims is compared
//! with the header first.

use dicom_dictionary_std::uids;

use super::{Samples, library, size_message};
use crate::frame::PixelFormat;

const SYNTAXES: [&str; 5] =
    [uids::JPEG2000_LOSSLESS, uids::JPEG2000, uids::HTJ2K_LOSSLESS, uids::HTJ2K_LOSSLESS_RPCL, uids::HTJ2K];

/// Decodes a codestream, bare or in a JP2 file.
pub(super) fn decode(stream: &[u8], transfer_syntax: &str, format: &PixelFormat) -> Result<Samples, String> {
    let size = [format.rows, format.columns];
    let claim = codestream(stream).and_then(Claim::of).ok_or("the JPEG 2000 stream has no usable SIZ marker")?;
    if claim.size != size {
        return Err(size_message(claim.size, size));
    }
    if claim.components != 1 {
        return Err(format!("the compressed image has {} components where SamplesPerPixel is 1", claim.components));
    }
    if claim.precision > format.bits_allocated {
        let (precision, allocated) = (claim.precision, format.bits_allocated);
        return Err(format!("the stream has {precision} bits per sample where BitsAllocated is {allocated}"));
    }
    // Files say of themselves that they are JPEG and hold JPEG 2000.
    let transfer_syntax = if SYNTAXES.contains(&transfer_syntax) { transfer_syntax } else { uids::JPEG2000 };
    let bits = library::decode(stream, transfer_syntax, format, claim.signed)?;
    Ok(Samples { bits, precision: Some(claim.precision), signed: claim.signed })
}

/// What the SIZ segment says.
struct Claim {
    size: [usize; 2],
    components: u16,
    precision: u16,
    signed: bool,
}

impl Claim {
    /// Reads the SIZ segment, which follows the start of the codestream (ISO/IEC 15444-1 A.5.1).
    fn of(codestream: &[u8]) -> Option<Self> {
        let [0xFF, 0x4F, 0xFF, 0x51] = *codestream.first_chunk()? else { return None };
        let number = |at: usize| big_endian(codestream, at);
        let [width, height, left, top] = [number(8)?, number(12)?, number(16)?, number(20)?];
        let [c0, c1, depth, 1, 1] = *codestream.get(40..)?.first_chunk()? else { return None };
        Some(Claim {
            size: [height.checked_sub(top)? as usize, width.checked_sub(left)? as usize],
            components: u16::from_be_bytes([c0, c1]),
            precision: u16::from(depth & 0x7F) + 1,
            signed: depth & 0x80 != 0,
        })
    }
}

/// The codestream itself, which in a JP2 file is a box after others (ISO/IEC 15444-1 I.4).
fn codestream(stream: &[u8]) -> Option<&[u8]> {
    let mut rest = stream;
    while !rest.starts_with(&[0xFF, 0x4F]) {
        let length = big_endian(rest, 0)? as usize;
        match (length, rest.get(4..8)?) {
            (1, b"jp2c") => rest = rest.get(16..)?,
            (_, b"jp2c") => rest = rest.get(8..)?,
            (8.., _) => rest = rest.get(length..)?,
            _ => return None,
        }
    }
    Some(rest)
}

fn big_endian(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(height: u8, components: u8, depth: u8) -> Vec<u8> {
        let mut stream = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        stream.extend([0, 0, 2, 0, 0, 0, 1, height, 0, 0, 0, 0, 0, 0, 0, 3]);
        stream.extend([0; 16]);
        stream.extend([0, components, depth, 1, 1]);
        stream
    }

    fn refusal(stream: &[u8]) -> String {
        let format = PixelFormat { rows: 256, columns: 512, bits_allocated: 16, frames: 1, ..PixelFormat::default() };
        decode(stream, uids::JPEG2000, &format).expect_err("refused")
    }

    #[test]
    fn claims_are_compared_before_anything_is_decoded() {
        for (stream, wanted) in [
            (header(4, 1, 15), "257 x 512"),
            (header(3, 3, 15), "3 components"),
            (header(3, 1, 23), "24 bits per sample"),
            (header(3, 1, 15), "cannot be decoded"),
            (vec![0xFF, 0x4F, 0xFF], "SIZ"),
        ] {
            let message = refusal(&stream);
            assert!(message.contains(wanted), "{message}");
        }
    }

    #[test]
    fn the_codestream_is_found_in_its_box_and_not_in_another() {
        let boxed =
            |kind: &[u8; 4], content: &[u8]| [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat();
        let decoy = boxed(b"uuid", &header(3, 1, 15));
        let file = [decoy.clone(), boxed(b"jp2c", &header(9, 1, 15))].concat();
        assert!(refusal(&file).contains("262 x 512"));
        assert!(refusal(&decoy).contains("SIZ"));
    }

    #[test]
    fn the_library_has_a_decoder_for_every_syntax() {
        let format = PixelFormat { rows: 256, columns: 512, bits_allocated: 16, frames: 1, ..PixelFormat::default() };
        for syntax in SYNTAXES {
            let message = decode(&header(3, 1, 15), syntax, &format).expect_err("nothing follows the header");
            assert!(message.contains("jpeg2k decoder failure"), "{syntax}: {message}");
        }
    }

    #[test]
    fn sign_and_precision_are_those_of_the_stream() {
        let claim = Claim::of(&header(3, 1, 0x8B)).expect("a SIZ segment");
        assert_eq!((claim.precision, claim.signed), (12, true));
    }
}
