//! The size a compressed image gives for itself. Decoders fill what they have: an image smaller than Rows and Columns
//! would leave the rest at zero without a word, so the two are compared first.

/// Returns `[rows, columns]` of a JPEG or JPEG 2000 stream; none when it is neither or has no size.
pub(crate) fn size(stream: &[u8]) -> Option<[usize; 2]> {
    match stream.get(..2)? {
        [0xFF, 0x4F] => jpeg2000_size(stream),
        [0xFF, 0xD8] => jpeg_size(stream),
        _ => None,
    }
}

/// The SIZ marker follows the start of the codestream (ISO/IEC 15444-1 A.5.1).
fn jpeg2000_size(stream: &[u8]) -> Option<[usize; 2]> {
    if stream.get(2..4)? != [0xFF, 0x51] {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(stream.get(at..at + 4)?.try_into().ok()?));
    let [width, height, left, top] = [number(8)?, number(12)?, number(16)?, number(20)?];
    Some([height.checked_sub(top)? as usize, width.checked_sub(left)? as usize])
}

/// The frame header is the first SOF marker (ISO/IEC 10918-1 B.2.2), also in JPEG-LS.
fn jpeg_size(stream: &[u8]) -> Option<[usize; 2]> {
    let number = |at: usize| Some(usize::from(u16::from_be_bytes(stream.get(at..at + 2)?.try_into().ok()?)));
    let mut at = 2;
    loop {
        let [0xFF, marker] = *stream.get(at..at + 2)? else { return None };
        match marker {
            0xFF => at += 1,
            0xC4 | 0xC8 | 0xCC => at += 2 + number(at + 2)?,
            0xC0..=0xCF | 0xF7 => return Some([number(at + 5)?, number(at + 7)?]),
            _ => at += 2 + number(at + 2)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_the_headers() {
        let jpeg = [0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xC3, 0, 11, 16, 1, 0, 2, 0];
        assert_eq!(size(&jpeg), Some([256, 512]));
        let mut jpeg2000 = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        jpeg2000.extend([0, 0, 2, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(size(&jpeg2000), Some([256, 512]));
    }

    #[test]
    fn streams_without_a_size_give_none() {
        for stream in [&[][..], &[0xFF, 0xD8, 0xFF], &[0xFF, 0x4F, 0xFF, 0x51, 0], &[1, 2, 3, 4]] {
            assert_eq!(size(stream), None);
        }
    }
}
