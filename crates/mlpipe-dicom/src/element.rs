//! The skeleton of a DICOM file: where its data set starts, whether every element fits into the file, and where the
//! pixel data lies. Walks bytes only; what the attributes mean is read elsewhere. Because every claimed length is
//! compared with what is there, a small file cannot make a later reader allocate gigabytes.

use dicom_core::Tag;
use dicom_core::VR;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_object::StandardDataDictionary;

/// Sequences nested deeper than this are taken for damage; real data stays under 10.
const MAX_DEPTH: usize = 32;

pub(crate) const ITEM: Tag = Tag(0xFFFE, 0xE000);
pub(crate) const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
pub(crate) const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const TRANSFER_SYNTAX_UID: Tag = Tag(0x0002, 0x0010);

pub(crate) const IMPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
pub(crate) const EXPLICIT_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub(crate) const DEFLATED_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1.99";

/// Where things lie in a DICOM file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) transfer_syntax: String,
    /// Offset of the first element after the file meta group.
    pub(crate) data_set: usize,
    /// Offset of the header of the pixel data element, or of the end of the data set.
    pub(crate) header_end: usize,
    pub(crate) pixel_data: Option<PixelData>,
}

/// The pixel data element of the top level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PixelData {
    pub(crate) tag: Tag,
    /// Offset of the value.
    pub(crate) value: usize,
    /// Claimed length; none when undefined (encapsulated fragments).
    pub(crate) length: Option<usize>,
    /// Value representation; none where the transfer syntax leaves it out.
    pub(crate) vr: Option<[u8; 2]>,
}

/// Why no complete [`Layout`] can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Not a DICOM file.
    NotDicom,
    /// The bytes given end before the file does; look again with more of them.
    NeedMore,
    /// A DICOM file that is damaged. The layout tells how far it could be walked.
    Damaged { message: String, so_far: Box<Layout> },
}

/// Walks the beginning of a file. `bytes` are its first bytes, `file_length` its length on disk. Of a deflated file only
/// the start of the data set is found.
pub(crate) fn walk(bytes: &[u8], file_length: u64) -> Result<Layout, Stop> {
    let meta = meta_start(bytes).ok_or(Stop::NotDicom)?;
    let (transfer_syntax, data_set) = match meta {
        Start::Meta(offset) => walk_meta(bytes, file_length, offset)?,
        Start::BareDataSet(uid) => (uid.to_owned(), 0),
    };
    if transfer_syntax == DEFLATED_LITTLE_ENDIAN {
        return Ok(Layout { transfer_syntax, data_set, header_end: data_set, pixel_data: None });
    }
    match walk_data_set(bytes, file_length, transfer_syntax, data_set) {
        Err(Stop::Damaged { .. }) if matches!(meta, Start::BareDataSet(_)) => Err(Stop::NotDicom),
        walked => walked,
    }
}

/// Walks a data set that begins at `data_set` and is not, or no longer, deflated.
pub(crate) fn walk_data_set(
    bytes: &[u8],
    file_length: u64,
    transfer_syntax: String,
    data_set: usize,
) -> Result<Layout, Stop> {
    let encoding = Encoding::of(&transfer_syntax);
    let mut layout = Layout { transfer_syntax, data_set, header_end: data_set, pixel_data: None };
    match (Walker { bytes, file_length, encoding }).top_level(&mut layout) {
        Ok(()) => Ok(layout),
        Err(Halt::NeedMore) => Err(Stop::NeedMore),
        Err(Halt::Damaged(message)) => Err(Stop::Damaged { message, so_far: Box::new(layout) }),
    }
}

#[derive(Clone, Copy)]
enum Start {
    Meta(usize),
    BareDataSet(&'static str),
}

/// Recognises the four ways a file begins: preamble and `DICM`, `DICM` alone, file meta without either, bare data set.
fn meta_start(bytes: &[u8]) -> Option<Start> {
    if bytes.get(128..132) == Some(b"DICM") {
        return Some(Start::Meta(132));
    }
    match bytes.get(0..8)? {
        [b'D', b'I', b'C', b'M', ..] => Some(Start::Meta(4)),
        [2, 0, 0, 0, b'U', b'L', 4, 0] => Some(Start::Meta(0)),
        [8, 0, element, 0, a, b, ..] if *element <= 0x20 && is_vr([*a, *b]) => {
            Some(Start::BareDataSet(EXPLICIT_LITTLE_ENDIAN))
        }
        // An implicit first element of group 8 is a group length, a character set or a UID: always short.
        [8, 0, element, 0, length, 0, 0, 0] if *element <= 0x20 && *length <= 128 => {
            Some(Start::BareDataSet(IMPLICIT_LITTLE_ENDIAN))
        }
        _ => None,
    }
}

/// Returns the transfer syntax and the offset of the data set. The meta group is always explicit little endian.
fn walk_meta(bytes: &[u8], file_length: u64, start: usize) -> Result<(String, usize), Stop> {
    let walker = Walker { bytes, file_length, encoding: Encoding { explicit: true, big_endian: false } };
    let mut at = start;
    let mut transfer_syntax = None;
    while (at as u64) < file_length && walker.u16(at).map_err(|halt| halt.in_meta(at))? == 2 {
        let head = walker.head(at).map_err(|halt| halt.in_meta(at))?;
        let end = walker.defined_end(&head, None).map_err(|halt| halt.in_meta(at))?;
        let value = bytes.get(head.value..end).ok_or(Stop::NeedMore)?;
        if head.tag == TRANSFER_SYNTAX_UID {
            transfer_syntax = Some(String::from_utf8_lossy(value).trim_matches(['\0', ' ']).to_owned());
        }
        at = end;
    }
    match transfer_syntax {
        Some(uid) if !uid.is_empty() => Ok((uid, at)),
        _ => Err(Halt::Damaged("the file meta group has no TransferSyntaxUID (0002,0010)".into()).in_meta(at)),
    }
}

/// How elements are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding {
    pub(crate) explicit: bool,
    pub(crate) big_endian: bool,
}

impl Encoding {
    pub(crate) fn of(transfer_syntax: &str) -> Self {
        Encoding {
            explicit: transfer_syntax != IMPLICIT_LITTLE_ENDIAN,
            big_endian: transfer_syntax == EXPLICIT_BIG_ENDIAN,
        }
    }
}

/// Steps through elements and items.
pub(crate) struct Walker<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) file_length: u64,
    pub(crate) encoding: Encoding,
}

/// What stands before a value.
pub(crate) struct Head {
    pub(crate) tag: Tag,
    pub(crate) vr: Option<[u8; 2]>,
    pub(crate) value: usize,
    pub(crate) length: Option<usize>,
}

enum Halt {
    NeedMore,
    Damaged(String),
}

impl Halt {
    fn in_meta(self, at: usize) -> Stop {
        let so_far = Layout { transfer_syntax: String::new(), data_set: at, header_end: at, pixel_data: None };
        match self {
            Halt::NeedMore => Stop::NeedMore,
            Halt::Damaged(message) => Stop::Damaged { message, so_far: Box::new(so_far) },
        }
    }
}

impl Walker<'_> {
    /// Returns the element at an offset and the offset after it; no element at the end of an item, none where the bytes
    /// make no sense.
    pub(crate) fn element(&self, at: usize, limit: Option<usize>) -> Option<(Option<Head>, usize)> {
        let head = self.head(at).ok()?;
        if head.tag == ITEM_END {
            return Some((None, head.value));
        }
        let end = self.element_end(&head, limit, self.encoding.explicit, 0).ok()?;
        Some((Some(head), end))
    }

    /// Returns where the elements of the item at an offset begin and, when its length is defined, end.
    pub(crate) fn item(&self, at: usize, sequence_end: usize) -> Option<(usize, Option<usize>)> {
        if at >= sequence_end {
            return None;
        }
        let head = self.head(at).ok().filter(|head| head.tag == ITEM)?;
        match head.length {
            Some(_) => Some((head.value, Some(self.defined_end(&head, Some(sequence_end)).ok()?))),
            None => Some((head.value, None)),
        }
    }

    /// Returns what stands before the value of the element or item at an offset.
    pub(crate) fn head_at(&self, at: usize) -> Option<Head> {
        self.head(at).ok()
    }

    /// Returns the offset after an element, whatever it holds; none where the bytes make no sense.
    pub(crate) fn end_of(&self, head: &Head, limit: Option<usize>) -> Option<usize> {
        self.element_end(head, limit, self.encoding.explicit, 0).ok()
    }

    fn top_level(&self, layout: &mut Layout) -> Result<(), Halt> {
        loop {
            let at = layout.header_end;
            if at as u64 == self.file_length {
                return Ok(());
            }
            let head = self.head(at)?;
            if is_pixel_data(head.tag) {
                layout.pixel_data =
                    Some(PixelData { tag: head.tag, value: head.value, length: head.length, vr: head.vr });
                return Ok(());
            }
            layout.header_end = self.element_end(&head, None, self.encoding.explicit, 0)?;
        }
    }

    fn element_end(&self, head: &Head, limit: Option<usize>, explicit: bool, depth: usize) -> Result<usize, Halt> {
        if depth > MAX_DEPTH {
            return Err(Halt::Damaged(format!(
                "sequences are nested more than {MAX_DEPTH} deep at {}",
                name(head.tag)
            )));
        }
        let sequence = match head.vr {
            Some(vr) => vr == *b"SQ",
            None => dictionary_says_sequence(head.tag),
        };
        match head.length {
            None if is_pixel_data(head.tag) => self.fragments_after(head),
            None => self.items_end(head, None, explicit && head.vr != Some(*b"UN"), depth),
            Some(_) if sequence => {
                let end = self.defined_end(head, limit)?;
                self.items_end(head, Some(end), explicit, depth)
            }
            Some(_) => self.defined_end(head, limit),
        }
    }

    /// Returns the offset after encapsulated pixel data; its items are bytes, not elements.
    fn fragments_after(&self, pixel_data: &Head) -> Result<usize, Halt> {
        let mut at = pixel_data.value;
        loop {
            let fragment = self.head_in(at, false)?;
            at = match fragment.tag {
                SEQUENCE_END => return Ok(fragment.value),
                ITEM => self.defined_end(&fragment, None)?,
                _ => return Err(Halt::Damaged(format!("{} is not a sequence of fragments", name(pixel_data.tag)))),
            };
        }
    }

    /// Walks the items of a sequence and returns the offset after it.
    fn items_end(&self, sequence: &Head, end: Option<usize>, explicit: bool, depth: usize) -> Result<usize, Halt> {
        let mut at = sequence.value;
        while end.is_none_or(|end| at < end) {
            let item = self.head_in(at, explicit)?;
            at = match (item.tag, item.length) {
                (SEQUENCE_END, _) => return Ok(item.value),
                (ITEM, Some(_)) => {
                    let item_end = self.defined_end(&item, end)?;
                    self.elements_end(item.value, Some(item_end), explicit, depth)?
                }
                (ITEM, None) => self.elements_end(item.value, None, explicit, depth)?,
                _ => return Err(Halt::Damaged(format!("{} is not a sequence of items", name(sequence.tag)))),
            };
        }
        Ok(at)
    }

    /// Walks the elements of an item and returns the offset after it.
    fn elements_end(&self, start: usize, end: Option<usize>, explicit: bool, depth: usize) -> Result<usize, Halt> {
        let mut at = start;
        while end.is_none_or(|end| at < end) {
            let head = self.head_in(at, explicit)?;
            if head.tag == ITEM_END {
                return Ok(head.value);
            }
            at = self.element_end(&head, end, explicit, depth + 1)?;
        }
        Ok(at)
    }

    fn defined_end(&self, head: &Head, limit: Option<usize>) -> Result<usize, Halt> {
        let limit = limit.map_or(self.file_length, |limit| limit as u64);
        let Some(length) = head.length else {
            return Err(Halt::Damaged(format!("{} has no defined length", name(head.tag))));
        };
        let end = head.value as u64 + length as u64;
        if end <= limit {
            return Ok(end as usize);
        }
        let left = limit.saturating_sub(head.value as u64);
        Err(Halt::Damaged(format!("{} claims {length} bytes where {left} are left", name(head.tag))))
    }

    fn head(&self, at: usize) -> Result<Head, Halt> {
        self.head_in(at, self.encoding.explicit)
    }

    fn head_in(&self, at: usize, explicit: bool) -> Result<Head, Halt> {
        let tag = Tag(self.u16(at)?, self.u16(at + 2)?);
        if !explicit || tag.0 == 0xFFFE {
            return Ok(Head { tag, vr: None, value: at + 8, length: defined(self.u32(at + 4)?) });
        }
        let vr: [u8; 2] = [self.take::<1>(at + 4)?[0], self.take::<1>(at + 5)?[0]];
        if !is_vr(vr) {
            return Err(Halt::Damaged(format!("{} has no value representation at byte {at}", name(tag))));
        }
        if is_short_form(vr) {
            return Ok(Head { tag, vr: Some(vr), value: at + 8, length: Some(self.u16(at + 6)?.into()) });
        }
        Ok(Head { tag, vr: Some(vr), value: at + 12, length: defined(self.u32(at + 8)?) })
    }

    fn u16(&self, at: usize) -> Result<u16, Halt> {
        let bytes = self.take(at)?;
        Ok(if self.encoding.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Result<u32, Halt> {
        let bytes = self.take(at)?;
        Ok(if self.encoding.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn take<const N: usize>(&self, at: usize) -> Result<[u8; N], Halt> {
        match self.bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()) {
            Some(bytes) => Ok(bytes),
            None if (at + N) as u64 <= self.file_length => Err(Halt::NeedMore),
            None => Err(Halt::Damaged(format!("the file ends inside an element header at byte {at}"))),
        }
    }
}

/// Checks that the fragments of encapsulated pixel data lie in the file; `read` fills a buffer from an offset.
pub(crate) fn fragments_end(
    value: usize,
    file_length: u64,
    mut read: impl FnMut(u64, &mut [u8; 8]) -> std::io::Result<()>,
) -> Result<(), String> {
    let mut at = value as u64;
    let mut head = [0; 8];
    loop {
        if at + 8 > file_length {
            return Err("ends before its sequence delimiter".into());
        }
        read(at, &mut head).map_err(|error| error.to_string())?;
        let [g0, g1, e0, e1, length @ ..] = head;
        let length = u64::from(u32::from_le_bytes(length));
        match Tag(u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1])) {
            SEQUENCE_END => return Ok(()),
            ITEM if at + 8 + length <= file_length => at += 8 + length,
            ITEM => return Err(format!("has a fragment of {length} bytes where {} are left", file_length - at - 8)),
            other => return Err(format!("has {} where a fragment should begin", name(other))),
        }
    }
}

/// Returns `(gggg,eeee)`, with the keyword before it when the dictionary knows it.
pub(crate) fn name(tag: Tag) -> String {
    match StandardDataDictionary.by_tag(tag) {
        Some(entry) => format!("{} ({:04X},{:04X})", entry.alias(), tag.0, tag.1),
        None => format!("({:04X},{:04X})", tag.0, tag.1),
    }
}

pub(crate) fn is_pixel_data(tag: Tag) -> bool {
    tag.0 == 0x7FE0 && matches!(tag.1, 0x0008..=0x0010)
}

fn dictionary_says_sequence(tag: Tag) -> bool {
    StandardDataDictionary.by_tag(tag).is_some_and(|entry| entry.vr().relaxed() == VR::SQ)
}

fn is_vr(bytes: [u8; 2]) -> bool {
    bytes.iter().all(u8::is_ascii_uppercase)
}

/// Returns whether the length of an explicit element has 16 bits (DICOM PS3.5 7.1.2).
pub(crate) fn is_short_form(vr: [u8; 2]) -> bool {
    const SHORT: [&[u8; 2]; 21] = [
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
        b"ST", b"TM", b"UI", b"UL", b"US",
    ];
    SHORT.contains(&&vr)
}

fn defined(length: u32) -> Option<usize> {
    (length != u32::MAX).then_some(length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(data_set: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0");
        bytes.extend(data_set);
        bytes
    }

    fn damage(data_set: &[u8]) -> String {
        let bytes = file(data_set);
        match walk(&bytes, bytes.len() as u64) {
            Err(Stop::Damaged { message, .. }) => message,
            other => panic!("expected damage, got {other:?}"),
        }
    }

    #[test]
    fn pixel_data_is_found_without_reading_it() {
        let mut bytes = file(b"\x28\0\x10\0US\x02\0\x04\0\xe0\x7f\x10\0OW\0\0\x20\0\0\0");
        let header_end = bytes.len() - 12;
        let value = bytes.len();
        let length = value as u64 + 32;
        bytes.extend([0; 3]);
        let layout = walk(&bytes, length).expect("walks");
        assert_eq!(layout.header_end, header_end);
        let tag = Tag(0x7FE0, 0x0010);
        assert_eq!(layout.pixel_data, Some(PixelData { tag, value, length: Some(32), vr: Some(*b"OW") }));
    }

    #[test]
    fn element_claiming_more_than_the_file_holds_is_damage() {
        let message = damage(b"\x08\0\x05\0UN\0\0\0\0\0\xf0abcd");
        assert!(message.contains("claims 4026531840 bytes where 4 are left"), "{message}");
    }

    #[test]
    fn nested_element_claiming_more_than_its_item_holds_is_damage() {
        let inner = b"\x08\0\x05\0UN\0\0\0\0\0\x10";
        let mut bytes = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\x0c\0\0\0".to_vec();
        bytes.extend(inner);
        assert!(damage(&bytes).contains("where 0 are left"));
    }

    #[test]
    fn file_cut_inside_an_element_header_is_damage() {
        assert!(damage(b"\x08\0\x05\0C").contains("ends inside an element header"));
    }

    #[test]
    fn text_is_not_dicom() {
        let text = b"a text of some length that has nothing to do with images";
        assert_eq!(walk(text, text.len() as u64), Err(Stop::NotDicom));
    }

    #[test]
    fn more_bytes_are_asked_for_when_an_element_reaches_past_the_buffer() {
        let bytes = file(b"\x08\0\x05\0UN\0\0\x40\0\0\0ab");
        assert_eq!(walk(&bytes, bytes.len() as u64 + 100), Err(Stop::NeedMore));
    }
}
