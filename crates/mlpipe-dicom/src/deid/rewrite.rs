//! One pass over the elements of a data set: what stays is copied byte by byte in the encoding it has, what the profile
//! changes is written anew, lengths of items and sequences around it are set right. Nothing is decoded, and no element is
//! understood by halves: what cannot be walked is a refusal, or, inside an unknown value, removed.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::{Tag, VR};
use serde::Serialize;

use super::profile::{Action, Circumstances, action, standard_vr};
use super::{DeidKey, dates, dummy};
use crate::element::{Encoding, Head, ITEM, ITEM_END, SEQUENCE_END, Walker, is_pixel_data, is_short_form};

/// As deep as sequences are followed; the reader refuses deeper ones too.
const MAX_DEPTH: usize = 32;

/// What was done to the elements of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Elements that are gone (of a sequence that is gone, only itself).
    pub removed: usize,
    /// Elements that have no value any more.
    pub emptied: usize,
    /// Elements with a dummy value or a pseudonym.
    pub replaced: usize,
    /// Elements with replaced UIDs.
    pub uids: usize,
    /// Elements with moved dates.
    pub dates: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.removed += other.removed;
        self.emptied += other.emptied;
        self.replaced += other.replaced;
        self.uids += other.uids;
        self.dates += other.dates;
    }
}

/// Whose data set it is, and what is asked for.
pub(super) struct Rules<'a> {
    pub(super) key: &'a DeidKey,
    pub(super) circumstances: Circumstances,
    /// Stands for PatientID and PatientName.
    pub(super) pseudonym: String,
    /// By how many days the patient's dates go back.
    pub(super) days: i64,
}

/// An element that every result has.
pub(super) struct Addition {
    pub(super) tag: Tag,
    pub(super) vr: VR,
    /// Value without padding; of a sequence its items in the encoding of the file.
    pub(super) value: Vec<u8>,
}

/// The elements could not be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    /// Offset of the first that makes no sense.
    pub(super) at: usize,
}

/// A data set without what identifies.
pub(super) struct Rewritten {
    /// The elements in the encoding they had.
    pub(super) bytes: Vec<u8>,
    pub(super) counts: Counts,
    /// An overlay lies in the upper bits of the pixel data.
    pub(super) overlay_in_pixels: bool,
    /// Something that is no element followed the pixel data; it was left out.
    pub(super) trailing_bytes: bool,
}

/// Rewrites the data set that begins at `start`. `additions` are sorted by tag and replace elements of the same tag.
pub(super) fn rewrite(
    bytes: &[u8],
    start: usize,
    encoding: Encoding,
    rules: &Rules<'_>,
    additions: &[Addition],
) -> Result<Rewritten, Damage> {
    let out = Vec::with_capacity(bytes.len() + 1024);
    let mut writer = Rewriter { bytes, rules, out, counts: Counts::default(), overlays: BTreeMap::new() };
    let trailing_bytes = writer.top_level(start, encoding, additions)?;
    let overlay_in_pixels = writer.overlays.values().any(|has_data| !has_data);
    Ok(Rewritten { bytes: writer.out, counts: writer.counts, overlay_in_pixels, trailing_bytes })
}

struct Rewriter<'a> {
    bytes: &'a [u8],
    rules: &'a Rules<'a>,
    out: Vec<u8>,
    counts: Counts,
    /// By group: whether the overlay has data of its own.
    overlays: BTreeMap<u16, bool>,
}

/// Where an element stands.
#[derive(Clone, Copy)]
struct Place {
    encoding: Encoding,
    depth: usize,
    /// Everything here becomes a dummy.
    dummies: bool,
}

impl<'a> Rewriter<'a> {
    /// Returns whether bytes that are no elements were left out at the end.
    fn top_level(&mut self, start: usize, encoding: Encoding, additions: &[Addition]) -> Result<bool, Damage> {
        let place = Place { encoding, depth: 0, dummies: false };
        let added: BTreeSet<Tag> = additions.iter().map(|addition| addition.tag).collect();
        let mut waiting = additions.iter().peekable();
        let mut at = start;
        let mut pixels = false;
        let mut trailing = false;
        while at < self.bytes.len() {
            let mark = self.out.len();
            let walked = match self.walker(encoding).head_at(at) {
                None => Err(Damage { at }),
                Some(head) => {
                    while let Some(addition) = waiting.next_if(|addition| addition.tag <= head.tag) {
                        self.add(addition, encoding);
                    }
                    self.note_overlay(head.tag);
                    let is_pixels = is_pixel_data(head.tag);
                    let after = if added.contains(&head.tag) {
                        self.counts.replaced += usize::from(head.tag.0 == 0x0010);
                        self.end_of(&head, None, place)
                    } else {
                        self.element(at, &head, None, place)
                    };
                    pixels |= is_pixels && after.is_ok();
                    after
                }
            };
            match walked {
                Ok(after) => at = after,
                Err(_) if pixels => {
                    self.out.truncate(mark);
                    trailing = true;
                    break;
                }
                Err(damage) => return Err(damage),
            }
        }
        waiting.for_each(|addition| self.add(addition, encoding));
        Ok(trailing)
    }

    fn note_overlay(&mut self, tag: Tag) {
        if matches!(tag.0, 0x6000..=0x60FF) && tag.0.is_multiple_of(2) {
            *self.overlays.entry(tag.0).or_default() |= tag.1 == 0x3000;
        }
    }

    fn walker(&self, encoding: Encoding) -> Walker<'a> {
        Walker { bytes: self.bytes, file_length: self.bytes.len() as u64, encoding }
    }

    fn end_of(&self, head: &Head, limit: Option<usize>, place: Place) -> Result<usize, Damage> {
        self.walker(place.encoding).end_of(head, limit).ok_or(Damage { at: head.value })
    }

    /// Writes what becomes of the element at an offset, and returns the offset after it.
    fn element(&mut self, at: usize, head: &Head, limit: Option<usize>, place: Place) -> Result<usize, Damage> {
        if head.tag.0 == 0xFFFE {
            return Err(Damage { at });
        }
        let vr = value_representation(head);
        match self.action(head.tag, vr, place) {
            Action::Keep if vr == VR::SQ => self.sequence(at, head, limit, place),
            Action::Dummy if vr == VR::SQ => self.sequence(at, head, limit, Place { dummies: true, ..place }),
            Action::Keep => {
                let after = self.end_of(head, limit, place)?;
                self.out.extend_from_slice(&self.bytes[at..after]);
                Ok(after)
            }
            action => {
                let after = self.end_of(head, limit, place)?;
                self.replace(action, head, vr, after, place);
                Ok(after)
            }
        }
    }

    fn action(&self, tag: Tag, vr: VR, place: Place) -> Action {
        match action(tag, vr, self.rules.circumstances) {
            Action::Keep | Action::Empty | Action::Move(_) if place.dummies && vr == VR::UI => Action::ReplaceUid,
            Action::Keep | Action::Empty | Action::Move(_) if place.dummies => Action::Dummy,
            action => action,
        }
    }

    fn replace(&mut self, action: Action, head: &Head, vr: VR, after: usize, place: Place) {
        let bytes = self.bytes;
        let value = &bytes[head.value..after];
        match action {
            Action::Keep | Action::Remove => self.counts.removed += usize::from(head.tag.1 != 0),
            Action::Empty => {
                self.counts.emptied += usize::from(!value.is_empty());
                self.write(head, vr, b"", place.encoding);
            }
            Action::Dummy if vr == VR::UI => self.replace_uids(head, vr, value, place.encoding),
            Action::ReplaceUid if vr == VR::UI => self.replace_uids(head, vr, value, place.encoding),
            Action::ReplaceUid | Action::Dummy => {
                self.counts.replaced += 1;
                self.write(head, vr, dummy::dummy(vr), place.encoding);
            }
            Action::Pseudonym => {
                self.counts.replaced += 1;
                let pseudonym = self.rules.pseudonym.clone();
                self.write(head, vr, pseudonym.as_bytes(), place.encoding);
            }
            Action::Move(instead) => match dates::moved_back(vr, value, self.rules.days) {
                None => self.replace(instead.into(), head, vr, after, place),
                Some(moved) => {
                    self.counts.dates += 1;
                    self.write(head, vr, moved.as_bytes(), place.encoding);
                }
            },
        }
    }

    fn replace_uids(&mut self, head: &Head, vr: VR, value: &[u8], encoding: Encoding) {
        let text = String::from_utf8_lossy(value);
        let new: Vec<String> = text.split('\\').map(|old| new_uid(self.rules.key, old)).collect();
        let uids = new.join("\\");
        // New UIDs are longer: thousands of them may not fit into the 16 bits of a length.
        let uids = if uids.len() < usize::from(u16::MAX) { uids } else { String::new() };
        self.counts.uids += 1;
        self.write(head, vr, uids.as_bytes(), encoding);
    }

    /// Writes a sequence item by item.
    fn sequence(&mut self, at: usize, head: &Head, limit: Option<usize>, place: Place) -> Result<usize, Damage> {
        let unknown = head.vr == Some(*b"UN");
        let (mark, counts) = (self.out.len(), self.counts);
        let inner = match unknown {
            // PS3.5 6.2.2: the value of UN is in implicit little endian.
            true => Encoding { explicit: false, big_endian: false },
            false => place.encoding,
        };
        let inner = Place { encoding: inner, depth: place.depth + 1, ..place };
        self.out.extend_from_slice(&self.bytes[at..head.value]);
        match self.items(head, limit, inner) {
            Ok(after) => {
                if head.length.is_some() {
                    self.set_length(mark + head.value - at, place.encoding);
                }
                Ok(after)
            }
            Err(damage) => {
                self.out.truncate(mark);
                self.counts = counts;
                self.counts.removed += 1;
                let after = if unknown { self.end_of(head, limit, place) } else { Err(damage) };
                after.map_err(|_| damage)
            }
        }
    }

    fn items(&mut self, sequence: &Head, limit: Option<usize>, place: Place) -> Result<usize, Damage> {
        if place.depth > MAX_DEPTH {
            return Err(Damage { at: sequence.value });
        }
        let end = sequence.length.map(|length| self.end_within(sequence, length, limit)).transpose()?;
        let mut at = sequence.value;
        while end.is_none_or(|end| at < end) {
            let item = self.walker(place.encoding).head_at(at).ok_or(Damage { at })?;
            match item.tag {
                SEQUENCE_END => {
                    if end.is_none() {
                        self.out.extend_from_slice(&self.bytes[at..item.value]);
                    }
                    return Ok(end.unwrap_or(item.value));
                }
                ITEM => at = self.item(at, &item, end.or(limit), place)?,
                _ => return Err(Damage { at }),
            }
        }
        Ok(at)
    }

    fn item(&mut self, at: usize, item: &Head, limit: Option<usize>, place: Place) -> Result<usize, Damage> {
        let end = item.length.map(|length| self.end_within(item, length, limit)).transpose()?;
        self.out.extend_from_slice(&self.bytes[at..item.value]);
        let start = self.out.len();
        let mut at = item.value;
        while end.is_none_or(|end| at < end) {
            let head = self.walker(place.encoding).head_at(at).ok_or(Damage { at })?;
            if head.tag == ITEM_END {
                if end.is_none() {
                    self.out.extend_from_slice(&self.bytes[at..head.value]);
                }
                at = end.unwrap_or(head.value);
                break;
            }
            at = self.element(at, &head, end.or(limit), place)?;
        }
        if end.is_some() {
            self.set_length(start, place.encoding);
        }
        Ok(at)
    }

    fn end_within(&self, head: &Head, length: usize, limit: Option<usize>) -> Result<usize, Damage> {
        let end = head.value.saturating_add(length);
        let limit = limit.unwrap_or(self.bytes.len());
        if end <= limit { Ok(end) } else { Err(Damage { at: head.value }) }
    }

    /// Sets the length that stands before `start` to what was written since.
    fn set_length(&mut self, start: usize, encoding: Encoding) {
        let length = (self.out.len() - start) as u32;
        let bytes = if encoding.big_endian { length.to_be_bytes() } else { length.to_le_bytes() };
        self.out[start - 4..start].copy_from_slice(&bytes);
    }

    /// Writes an element in the form in which the file has it, with another value.
    fn write(&mut self, head: &Head, vr: VR, value: &[u8], encoding: Encoding) {
        write_element(&mut self.out, encoding, head.tag, head.vr, vr, value);
    }

    fn add(&mut self, addition: &Addition, encoding: Encoding) {
        let written = encoding.explicit.then(|| addition.vr.to_bytes());
        write_element(&mut self.out, encoding, addition.tag, written, addition.vr, &addition.value);
    }
}

/// Writes an element: `written` is the VR that stands in the file, if any, `vr` how the value is to be padded.
pub(super) fn write_element(
    out: &mut Vec<u8>,
    encoding: Encoding,
    tag: Tag,
    written: Option<[u8; 2]>,
    vr: VR,
    value: &[u8],
) {
    let short = |number: u16| if encoding.big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let long = |number: u32| if encoding.big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let length = value.len() + value.len() % 2;
    out.extend(short(tag.0));
    out.extend(short(tag.1));
    match written {
        Some(written) if is_short_form(written) => {
            out.extend(written);
            out.extend(short(length as u16));
        }
        Some(written) => {
            out.extend(written);
            out.extend([0, 0]);
            out.extend(long(length as u32));
        }
        None => out.extend(long(length as u32)),
    }
    out.extend_from_slice(value);
    if !value.len().is_multiple_of(2) {
        out.push(if vr == VR::UI || vr == VR::OB || vr == VR::UN { 0 } else { b' ' });
    }
}

fn value_representation(head: &Head) -> VR {
    if head.length.is_none() && !is_pixel_data(head.tag) {
        return VR::SQ;
    }
    match head.vr.map(VR::from_binary) {
        // Letters that are no value representation: nobody knows what the value is.
        Some(None) => VR::UN,
        Some(Some(vr)) if vr != VR::UN => vr,
        _ => standard_vr(head.tag),
    }
}

/// Returns what stands for a UID, which may have padding: itself when it is empty or one of the standard's.
pub(super) fn new_uid(key: &DeidKey, old: &str) -> String {
    match old.trim_matches(['\0', ' ']) {
        old if old.is_empty() || is_of_the_standard(old) => old.to_owned(),
        old => key.uid(old),
    }
}

/// Returns whether a UID is one that the DICOM standard gives out (PS3.6 Annex A), by its form: below the root of the
/// standard with parts of at most four digits. A number that means one patient or study does not fit into that.
pub(super) fn is_of_the_standard(uid: &str) -> bool {
    let Some(rest) = uid.strip_prefix("1.2.840.10008.") else { return false };
    let parts = rest.split('.');
    uid.len() <= 36
        && parts.into_iter().all(|part| matches!(part.len(), 1..=4) && part.bytes().all(|b| b.is_ascii_digit()))
}
