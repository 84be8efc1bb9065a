//! Compares text line by line, and says where bytes begin to differ.

use super::tally::{Compared, Difference};

/// Compares lines; a line that holds one of the `ignored` texts does not count, on either side.
pub(super) fn compare_lines(original: &[u8], rerun: &[u8], ignored: &[String]) -> Compared {
    let mut compared = Compared::default();
    let (mut ours, mut theirs) = (counting(original, ignored), counting(rerun, ignored));
    loop {
        let (number, first, second) = match (ours.next(), theirs.next()) {
            (None, None) => return compared,
            (Some((_, a)), Some((_, b))) if a == b => continue,
            (Some((number, a)), b) => (number, Some(a), b.map(|(_, line)| line)),
            (None, Some((number, b))) => (number, None, Some(b)),
        };
        let text = |line: Option<&[u8]>| {
            line.map(|line| Difference::values("", String::from_utf8_lossy(line), "").original).unwrap_or_default()
        };
        compared.differ(Difference {
            original: text(first),
            rerun: text(second),
            ..Difference::at(format!("line {}", number + 1))
        });
    }
}

/// Returns the lines that count.
pub(super) fn what_counts(bytes: &[u8], ignored: &[String]) -> Vec<u8> {
    let lines: Vec<&[u8]> = counting(bytes, ignored).map(|(_, line)| line).collect();
    lines.join(&b'\n')
}

/// Says where two files that differ begin to differ: the line when both are text, else the byte.
pub(super) fn compare_bytes(original: &[u8], rerun: &[u8]) -> Compared {
    if std::str::from_utf8(original).is_ok() && std::str::from_utf8(rerun).is_ok() {
        return compare_lines(original, rerun, &[]);
    }
    let mut compared = Compared::default();
    let same = original.iter().zip(rerun).take_while(|(a, b)| a == b).count();
    compared.differ(match (original.get(same), rerun.get(same)) {
        (Some(a), Some(b)) => Difference::values(format!("byte {same}"), format!("{a:#04x}"), format!("{b:#04x}")),
        _ => Difference::values("size", format!("{} bytes", original.len()), format!("{} bytes", rerun.len())),
    });
    compared
}

/// Number (from 0) and text of the lines that count.
fn counting<'b>(bytes: &'b [u8], ignored: &[String]) -> impl Iterator<Item = (usize, &'b [u8])> {
    let holds = |line: &[u8], text: &String| line.windows(text.len().max(1)).any(|window| window == text.as_bytes());
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines.filter(move |(_, line)| !ignored.iter().any(|text| holds(line, text)))
}
