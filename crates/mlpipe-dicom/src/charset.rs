//! Text in the character sets of DICOM (PS3.3 C.12.1.1.2), with code extensions (PS3.5 6.1.2.5): only for text that is
//! shown or compared. What cannot be decoded becomes replacement characters; no text is ever a reason to refuse a file.

use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

use crate::codec::catching_panics;

const ESCAPE: u8 = 0x1B;

/// Escape sequences and the character set that each brings in; none for ASCII. Japanese decoders want theirs kept.
const ESCAPES: [(&[u8], &str); 17] = [
    (b"\x1b(B", ""),
    (b"\x1b(J", ""),
    (b"\x1b)I", "ISO 2022 IR 13"),
    (b"\x1b$B", JAPANESE),
    (b"\x1b$)C", "ISO 2022 IR 149"),
    (b"\x1b$)A", "ISO 2022 IR 58"),
    (b"\x1b-A", "ISO 2022 IR 100"),
    (b"\x1b-B", "ISO 2022 IR 101"),
    (b"\x1b-C", "ISO 2022 IR 109"),
    (b"\x1b-D", "ISO 2022 IR 110"),
    (b"\x1b-L", "ISO 2022 IR 144"),
    (b"\x1b-G", "ISO 2022 IR 127"),
    (b"\x1b-F", "ISO 2022 IR 126"),
    (b"\x1b-H", "ISO 2022 IR 138"),
    (b"\x1b-M", "ISO 2022 IR 148"),
    (b"\x1b-T", "ISO 2022 IR 166"),
    (b"\x1b$(D", "ISO 2022 IR 159"),
];
const JAPANESE: &str = "ISO 2022 IR 87";

/// Returns bytes as text; `declared` is the value of SpecificCharacterSet, several joined by backslashes.
pub(crate) fn decode(raw: &[u8], declared: &str) -> String {
    let codes: Vec<&str> = declared.split('\\').map(str::trim).collect();
    if !raw.contains(&ESCAPE) {
        let code = codes.iter().rev().find(|code| SpecificCharacterSet::from_code(code).is_some());
        return piece(raw, code.copied().unwrap_or_default());
    }
    let first = codes.first().copied().unwrap_or_default();
    let mut text = String::new();
    let (mut code, mut rest) = (first, raw);
    loop {
        // The escape sequence of a Japanese piece is its first byte, and is no new one.
        let kept = usize::from(code == JAPANESE && rest.first() == Some(&ESCAPE));
        let end = rest.iter().skip(kept).position(|byte| *byte == ESCAPE).map(|at| at + kept);
        let (before, after) = rest.split_at(end.unwrap_or(rest.len()));
        text.push_str(&piece(before, code));
        if after.is_empty() {
            return text;
        }
        let known = ESCAPES.iter().find(|(escape, _)| after.starts_with(escape));
        (code, rest) = match known {
            Some((_, JAPANESE)) => (JAPANESE, after),
            Some((escape, "")) => (first, &after[escape.len()..]),
            Some((escape, code)) => (*code, &after[escape.len()..]),
            None => (first, &after[1..]),
        };
    }
}

fn piece(raw: &[u8], code: &str) -> String {
    let codec = SpecificCharacterSet::from_code(code).filter(|_| !raw.is_ascii() || code == JAPANESE);
    let decoded = codec.and_then(|codec| catching_panics(|| codec.decode(raw).ok()).flatten());
    decoded.unwrap_or_else(|| String::from_utf8_lossy(raw).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first four are the examples of PS3.5 Annexes H, I, J and K.
    #[test]
    fn escape_sequences_switch_the_character_set() {
        for (declared, raw, text) in [
            ("\\ISO 2022 IR 87", &b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"[..], "山田^太郎"),
            ("\\ISO 2022 IR 149", b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "洪^吉洞"),
            ("GB18030", b"\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东"),
            ("\\ISO 2022 IR 58", b"\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "张^小东"),
            ("ISO 2022 IR 100\\ISO 2022 IR 144", b"\xc4nd\x1b-L\xbb\xee", "ÄndЛю"),
            ("ISO_IR 192", "Wirbelsäule".as_bytes(), "Wirbelsäule"),
            ("ISO_IR 100", b"Wirbels\xe4ule", "Wirbelsäule"),
            ("", b"T2 TSE", "T2 TSE"),
        ] {
            assert_eq!(decode(raw, declared), text, "{declared}");
        }
    }

    #[test]
    fn unknown_sets_and_stray_escapes_lose_letters_not_the_text() {
        assert_eq!(decode(b"T2 \x1b\x1b$", "KLINGON"), "T2 $");
        assert!(decode(b"T2 \xff", "KLINGON").starts_with("T2 "));
        assert!(decode(b"\x1b$B\x1b$B;", "").len() < 10);
    }
}
