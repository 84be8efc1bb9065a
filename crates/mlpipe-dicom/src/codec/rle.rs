//! RLE Lossless (DICOM PS3.5 Annex G): one PackBits segment per byte of a sample, most significant byte first.

/// Number of 32-bit words in the header of a frame.
const HEADER_BYTES: usize = 64;

/// Decodes a frame of `pixels` samples of `bytes` bytes each.
pub(super) fn decode(stream: &[u8], pixels: usize, bytes: usize) -> Result<Vec<u32>, String> {
    let header = stream.get(..HEADER_BYTES).ok_or("the RLE header is cut short")?;
    let (words, _) = header.as_chunks::<4>();
    let words: Vec<usize> = words.iter().map(|word| u32::from_le_bytes(*word) as usize).collect();
    if words[0] != bytes {
        return Err(format!("the RLE header names {} segments where {bytes} are needed", words[0]));
    }
    let mut samples = Vec::new();
    for segment in 1..=bytes {
        let start = words[segment];
        let end = if segment < bytes { words[segment + 1] } else { stream.len() };
        let packed = stream.get(start..end).filter(|_| start >= HEADER_BYTES);
        let packed = packed.ok_or_else(|| format!("RLE segment {segment} lies outside the frame"))?;
        let plane = unpack(packed, pixels).map_err(|message| format!("RLE segment {segment} {message}"))?;
        match segment {
            1 => samples = plane.into_iter().map(u32::from).collect(),
            _ => samples.iter_mut().zip(plane).for_each(|(sample, byte)| *sample = *sample << 8 | u32::from(byte)),
        }
    }
    Ok(samples)
}

/// Unpacks one segment, stopping when `pixels` bytes are there: what follows is padding.
fn unpack(mut packed: &[u8], pixels: usize) -> Result<Vec<u8>, String> {
    // A pair of bytes gives at most 128: the claim of Rows and Columns is compared before anything is allocated.
    if pixels > packed.len().div_ceil(2).saturating_mul(128) {
        return Err(format!("has {} bytes, too few for {pixels} pixels", packed.len()));
    }
    let mut plane = Vec::with_capacity(pixels);
    while plane.len() < pixels {
        let (control, rest) = packed.split_first().ok_or_else(|| format!("gives {} of {pixels} bytes", plane.len()))?;
        packed = rest;
        let left = pixels - plane.len();
        match *control as i8 {
            -128 => {}
            count @ 0.. => {
                let count = count as usize + 1;
                let literal = packed.get(..count.min(left)).ok_or("ends inside a literal run")?;
                plane.extend_from_slice(literal);
                packed = packed.get(count..).unwrap_or_default();
            }
            count => {
                let (byte, rest) = packed.split_first().ok_or("ends inside a replicated run")?;
                packed = rest;
                plane.resize(plane.len() + (1 - isize::from(count)).unsigned_abs().min(left), *byte);
            }
        }
    }
    Ok(plane)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut words = vec![segments.len() as u32];
        let mut offset = HEADER_BYTES;
        for segment in segments {
            words.push(offset as u32);
            offset += segment.len();
        }
        words.resize(16, 0);
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        segments.iter().for_each(|segment| bytes.extend(*segment));
        bytes
    }

    #[test]
    fn runs_and_literals_of_two_segments_make_sixteen_bits() {
        let stream = frame(&[&[0xFE, 1, 0], &[2, 7, 8, 9]]);
        assert_eq!(decode(&stream, 3, 2), Ok(vec![0x107, 0x108, 0x109]));
    }

    #[test]
    fn wrong_headers_and_short_segments_are_refused() {
        let good = frame(&[&[2, 7, 8, 9]]);
        for (stream, pixels, bytes, part) in [
            (&good[..63], 3, 1, "cut short"),
            (&good[..], 3, 2, "names 1 segments"),
            (&good[..], 4, 1, "gives 3 of 4"),
            (&good[..67], 3, 1, "inside a literal"),
            (&good[..], 1 << 30, 1, "too few"),
            (&frame(&[&[0xFE]])[..], 3, 1, "inside a replicated"),
        ] {
            let message = decode(stream, pixels, bytes).expect_err(part);
            assert!(message.contains(part), "{message}");
        }
        let mut outside = good.clone();
        outside[4] = 200;
        assert!(decode(&outside, 3, 1).expect_err("outside").contains("outside the frame"));
    }
}
