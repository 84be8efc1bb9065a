//! The attributes of a data set that has been walked: values stay in the file's bytes until asked for, so that a header
//! costs no more memory than it has. Our own reader: nothing in a file can make it loop, panic or allocate.

use std::borrow::Cow;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::StandardDataDictionary;

use crate::charset;
use crate::element::{Encoding, Layout, Walker};

/// Groups whose attributes are of use here. Of the patient's (0010, 0012) only whether PatientID differs is ever looked
/// at; `attributes` hands their bytes on.
const GROUPS: [u16; 10] = [0x0004, 0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0028, 0x0040, 0x0054, 0x5200];

/// Room for the elements of such groups in nearly all single-frame images.
const USUAL_ELEMENTS: usize = 96;

/// What fills values up to their length.
const PADDING: [char; 2] = ['\0', ' '];

/// A data set or an item of a sequence.
#[derive(Debug, Clone)]
pub(crate) struct DataSet<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
    elements: Vec<Element>,
}

/// Where an element's value lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element {
    pub(crate) tag: Tag,
    pub(crate) vr: VR,
    value: usize,
    end: usize,
    /// Whether items of the value name their value representations.
    explicit: bool,
}

impl Element {
    /// Returns how many bytes the value has in the file.
    pub(crate) fn stored_length(&self) -> usize {
        self.end - self.value
    }
}

impl<'a> DataSet<'a> {
    /// Reads the elements before the pixel data, as far as the file could be walked.
    pub(crate) fn of(bytes: &'a [u8], layout: &Layout) -> Self {
        let bytes = bytes.get(..layout.header_end).unwrap_or(bytes);
        let encoding = Encoding::of(&layout.transfer_syntax);
        DataSet { bytes, encoding, elements: elements(bytes, encoding, layout.data_set, Some(bytes.len()), true).0 }
    }

    pub(crate) fn element(&self, tag: Tag) -> Option<&Element> {
        self.elements.iter().find(|element| element.tag == tag)
    }

    /// Returns the stored bytes of a text or number. None when it is absent or of another kind.
    pub(crate) fn stored(&self, tag: Tag) -> Option<(VR, &'a [u8])> {
        let element = self.element(tag)?;
        let bytes = self.bytes.get(element.value..element.end)?;
        (is_text(element.vr) || self.numbers_of(element).is_some()).then_some((element.vr, bytes))
    }

    /// Returns all elements of the groups of use.
    pub(crate) fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// Returns the items of a sequence; none when it is absent.
    pub(crate) fn items(&self, tag: Tag) -> Vec<DataSet<'a>> {
        let Some(sequence) = self.element(tag).filter(|element| element.vr == VR::SQ) else { return Vec::new() };
        let encoding = Encoding { explicit: sequence.explicit, ..self.encoding };
        let walker = Walker { bytes: self.bytes, file_length: self.bytes.len() as u64, encoding };
        let mut items = Vec::new();
        let mut at = sequence.value;
        while let Some((start, end)) = walker.item(at, sequence.end) {
            let (elements, after) = elements(self.bytes, encoding, start, end, false);
            items.push(DataSet { bytes: self.bytes, encoding, elements });
            at = after;
        }
        items
    }

    /// Returns a value as text without padding; several stay joined by backslashes. None when absent or empty.
    pub(crate) fn text(&self, tag: Tag) -> Option<String> {
        self.value(self.element(tag)?).map(Cow::into_owned)
    }

    /// As [`text`](Self::text), of an element that was found.
    pub(crate) fn value(&self, element: &Element) -> Option<Cow<'a, str>> {
        let value = if let Some(plain) = self.plain(element) {
            if has_padded_value(plain) { Cow::Owned(without_padding(plain)) } else { Cow::Borrowed(plain) }
        } else if is_text(element.vr) {
            Cow::Owned(without_padding(&self.decoded(element)))
        } else {
            let numbers = self.numbers_of(element)?;
            Cow::Owned(numbers.iter().map(f64::to_string).collect::<Vec<_>>().join("\\"))
        };
        value.bytes().any(|byte| byte != b'\\').then_some(value)
    }

    /// Returns whether an element is there and not empty.
    pub(crate) fn has_value(&self, tag: Tag) -> bool {
        self.element(tag).is_some_and(|element| self.value(element).is_some())
    }

    /// The text of nearly all elements: one that needs no decoding.
    fn plain(&self, element: &Element) -> Option<&'a str> {
        const ESCAPE: u8 = 0x1B;
        let raw = self.bytes.get(element.value..element.end).filter(|raw| is_text(element.vr) && raw.is_ascii())?;
        std::str::from_utf8(without_padding_around(raw)).ok().filter(|text| !text.as_bytes().contains(&ESCAPE))
    }

    /// Returns the numbers of a value, binary or written out; none when one of them is not a number.
    pub(crate) fn numbers(&self, tag: Tag) -> Option<Vec<f64>> {
        let element = self.element(tag)?;
        self.numbers_of(element).or_else(|| {
            let text = self.value(element)?;
            text.split('\\').map(|value| value.parse().ok()).collect()
        })
    }

    fn decoded(&self, element: &Element) -> String {
        let raw = self.bytes.get(element.value..element.end).unwrap_or_default();
        let declared = self.element(tags::SPECIFIC_CHARACTER_SET).filter(|charset| charset.tag != element.tag);
        let declared = declared.and_then(|charset| self.value(charset));
        charset::decode(raw, &declared.unwrap_or_default())
    }

    fn numbers_of(&self, element: &Element) -> Option<Vec<f64>> {
        let raw = self.bytes.get(element.value..element.end)?;
        let big = self.encoding.big_endian;
        Some(match element.vr {
            VR::US | VR::OW => each(raw, big, |bytes| u16::from_le_bytes(bytes).into()),
            VR::SS => each(raw, big, |bytes| i16::from_le_bytes(bytes).into()),
            VR::UL => each(raw, big, |bytes| u32::from_le_bytes(bytes).into()),
            VR::SL => each(raw, big, |bytes| i32::from_le_bytes(bytes).into()),
            VR::FL => each(raw, big, |bytes| f32::from_le_bytes(bytes).into()),
            VR::FD => each(raw, big, f64::from_le_bytes),
            _ => return None,
        })
    }
}

// These look at bytes, not characters, since they see every text of every file.

fn without_padding_around(mut raw: &[u8]) -> &[u8] {
    while let [0 | b' ', rest @ ..] | [rest @ .., 0 | b' '] = raw {
        raw = rest;
    }
    raw
}

fn has_padded_value(text: &str) -> bool {
    text.as_bytes().contains(&b'\\')
        && text.split('\\').any(|value| value.starts_with(PADDING) || value.ends_with(PADDING))
}

/// The values of a text, each without padding.
fn without_padding(text: &str) -> String {
    text.split('\\').map(|value| value.trim_matches(PADDING)).collect::<Vec<_>>().join("\\")
}

/// Reads values of `N` bytes each, turned to little endian first.
fn each<const N: usize>(raw: &[u8], big_endian: bool, number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let read = |bytes: &[u8; N]| {
        let mut bytes = *bytes;
        if big_endian {
            bytes.reverse();
        }
        number(bytes)
    };
    raw.as_chunks::<N>().0.iter().map(read).collect()
}

fn is_text(vr: VR) -> bool {
    use VR::{AE, AS, CS, DA, DS, DT, IS, LO, LT, PN, SH, ST, TM, UC, UI, UR, UT};
    matches!(vr, AE | AS | CS | DA | DS | DT | IS | LO | LT | PN | SH | ST | TM | UC | UI | UR | UT)
}

/// Reads elements up to `end` or, without one, to the end of the item. Returns them and the offset after them.
fn elements(
    bytes: &[u8],
    encoding: Encoding,
    start: usize,
    end: Option<usize>,
    top_level: bool,
) -> (Vec<Element>, usize) {
    let walker = Walker { bytes, file_length: bytes.len() as u64, encoding };
    let mut elements = Vec::with_capacity(if top_level { USUAL_ELEMENTS } else { 0 });
    let mut at = start;
    while end.is_none_or(|end| at < end) {
        let Some((head, after)) = walker.element(at, end) else { break };
        at = after;
        let Some(head) = head else { break };
        if top_level && !GROUPS.contains(&head.tag.0) {
            continue;
        }
        let written = head.vr.and_then(VR::from_binary).filter(|vr| *vr != VR::UN);
        let sequence = head.length.is_none();
        let known = || StandardDataDictionary.by_tag(head.tag).map_or(VR::UN, |entry| entry.vr().relaxed());
        let vr = if sequence { VR::SQ } else { written.unwrap_or_else(known) };
        let explicit = encoding.explicit && head.vr != Some(*b"UN");
        elements.push(Element { tag: head.tag, vr, value: head.value, end: after, explicit });
    }
    (elements, at)
}
