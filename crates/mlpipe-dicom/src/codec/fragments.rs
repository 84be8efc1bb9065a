//! Which fragments of encapsulated pixel data belong to which frame (DICOM PS3.5 A.4).

use std::borrow::Cow;
use std::ops::Range;

/// Returns where the fragments of each of `frames` frames lie. `value` is the offset of the pixel data's value in `bytes`.
pub(crate) fn frames(bytes: &[u8], value: usize, frames: usize) -> Result<Vec<Vec<Range<usize>>>, String> {
    let items = items(bytes, value)?;
    let (table, fragments) = items.split_first().ok_or("has no offset table")?;
    let offsets: Vec<usize> =
        bytes[table.clone()].as_chunks::<4>().0.iter().map(|offset| u32::from_le_bytes(*offset) as usize).collect();
    if frames == 1 && !fragments.is_empty() {
        return Ok(vec![fragments.to_vec()]);
    }
    if fragments.len() == frames {
        return Ok(fragments.chunks(1).map(<[Range<usize>]>::to_vec).collect());
    }
    let starts = starts_by_table(fragments, &offsets).unwrap_or_else(|| starts_by_stream(bytes, fragments));
    if starts.len() != frames || starts.first() != Some(&0) {
        return Err(format!("has {} fragments, which cannot be told apart into {frames} frames", fragments.len()));
    }
    let ends = starts.iter().skip(1).copied().chain([fragments.len()]);
    Ok(starts.iter().zip(ends).map(|(start, end)| fragments[*start..end].to_vec()).collect())
}

/// Returns the compressed bytes of one frame; copied only when they are in several fragments.
pub(crate) fn joined<'a>(bytes: &'a [u8], fragments: &[Range<usize>]) -> Cow<'a, [u8]> {
    match fragments {
        [fragment] => Cow::Borrowed(&bytes[fragment.clone()]),
        _ => Cow::Owned(fragments.iter().flat_map(|fragment| &bytes[fragment.clone()]).copied().collect()),
    }
}

/// Returns the values of all items up to the sequence delimiter.
fn items(bytes: &[u8], value: usize) -> Result<Vec<Range<usize>>, String> {
    const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
    const SEQUENCE_END: [u8; 4] = [0xFE, 0xFF, 0xDD, 0xE0];
    let mut items = Vec::new();
    let mut at = value;
    loop {
        let head = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).ok_or("ends before its delimiter")?;
        let (tag, length) = (&head[..4], u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize);
        match tag {
            _ if tag == SEQUENCE_END => return Ok(items),
            _ if tag == ITEM && bytes.len() - at - 8 >= length => items.push(at + 8..at + 8 + length),
            _ => return Err("holds something that is not a fragment".into()),
        }
        at += 8 + length;
    }
}

/// Indices of the fragments that the offset table points to; none when it does not point to fragments in order.
fn starts_by_table(fragments: &[Range<usize>], offsets: &[usize]) -> Option<Vec<usize>> {
    let base = fragments.first()?.start;
    let find = |offset: &usize| fragments.binary_search_by_key(&(base + offset), |fragment| fragment.start).ok();
    let starts = offsets.iter().map(find).collect::<Option<Vec<usize>>>()?;
    (!starts.is_empty() && starts.is_sorted_by(|a, b| a < b)).then_some(starts)
}

/// Indices of the fragments that begin with the start of a JPEG or JPEG 2000 stream.
fn starts_by_stream(bytes: &[u8], fragments: &[Range<usize>]) -> Vec<usize> {
    let starts = |index: &usize| {
        let fragment = &bytes[fragments[*index].clone()];
        fragment.starts_with(&[0xFF, 0xD8, 0xFF]) || fragment.starts_with(&[0xFF, 0x4F, 0xFF, 0x51])
    };
    (0..fragments.len()).filter(starts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encapsulated(table: &[u32], fragments: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let table: Vec<u8> = table.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        for item in std::iter::once(&table[..]).chain(fragments.iter().copied()) {
            bytes.extend([0xFE, 0xFF, 0x00, 0xE0]);
            bytes.extend((item.len() as u32).to_le_bytes());
            bytes.extend(item);
        }
        bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        bytes
    }

    fn streams(bytes: &[u8], count: usize) -> Vec<Vec<u8>> {
        let frames = frames(bytes, 0, count).expect("frames");
        frames.iter().map(|fragments| joined(bytes, fragments).into_owned()).collect()
    }

    #[test]
    fn fragments_are_joined_by_count_table_or_stream_start() {
        let one = encapsulated(&[], &[&[1, 2], &[3, 4]]);
        assert_eq!(streams(&one, 1), [vec![1, 2, 3, 4]]);
        assert_eq!(streams(&one, 2), [vec![1, 2], vec![3, 4]]);
        let table = encapsulated(&[0, 20], &[&[1, 2], &[3, 4], &[5, 6]]);
        assert_eq!(streams(&table, 2), [vec![1, 2, 3, 4], vec![5, 6]]);
        let starts = encapsulated(&[], &[&[0xFF, 0xD8, 0xFF, 1], &[2], &[0xFF, 0xD8, 0xFF, 3]]);
        assert_eq!(streams(&starts, 2)[0].len(), 5);
    }

    #[test]
    fn fragments_that_cannot_be_told_apart_are_refused() {
        let bytes = encapsulated(&[], &[&[1, 2], &[3, 4], &[5, 6]]);
        assert!(frames(&bytes, 0, 2).expect_err("two of three").contains("cannot be told apart"));
        assert!(frames(&bytes[..20], 0, 1).is_err());
        assert!(frames(&encapsulated(&[], &[]), 0, 1).is_err());
    }
}
