//! What happens to an attribute: the Basic Application Level Confidentiality Profile (DICOM PS3.15 E.2, Table E.1-1) as a
//! table in `profile.tsv`, and stricter rules of our own for what the table does not list.

use std::collections::HashMap;
use std::sync::LazyLock;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::StandardDataDictionary;

/// Edition of PS3.15 that the table was taken from.
pub(super) const EDITION: &str = "2026c";

const TABLE: &str = include_str!("profile.tsv");

static ROWS: LazyLock<HashMap<Tag, Row>> = LazyLock::new(|| rows().map(|row| (row.tag, row)).collect());

/// A row of Table E.1-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) tag: Tag,
    /// As in the table: `D`, `Z`, `X`, `U`, `Z/D`, `X/Z`, `X/D`, `X/Z/D`, `X/Z/U*`.
    action: &'static str,
    /// Whether the option for modified dates keeps it, moved.
    date: bool,
}

/// What to do with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Value and bytes stay; the items of a sequence are looked at one by one.
    Keep,
    /// The element goes.
    Remove,
    /// It stays with no value.
    Empty,
    /// It stays with a value that says nothing; in a sequence that holds for everything in its items.
    Dummy,
    /// Its UIDs are replaced by keyed hashes, unless they are those of the standard.
    ReplaceUid,
    /// It becomes the patient's pseudonym.
    Pseudonym,
    /// Its dates move back; what cannot be moved follows the other action.
    Move(Instead),
}

/// What to do with a date that cannot be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instead {
    Remove,
    Empty,
    Dummy,
}

impl From<Instead> for Action {
    fn from(instead: Instead) -> Self {
        match instead {
            Instead::Remove => Action::Remove,
            Instead::Empty => Action::Empty,
            Instead::Dummy => Action::Dummy,
        }
    }
}

/// What the choice between actions depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// The object is a plain image, for which attributes of type 3 (or 2) are type 1 elsewhere.
    pub(super) plain_image: bool,
    pub(super) move_dates: bool,
}

/// Returns the action for an attribute, wherever it stands.
pub(super) fn action(tag: Tag, vr: VR, circumstances: Circumstances) -> Action {
    match (tag, ROWS.get(&tag)) {
        _ if is_removed_group(tag) => Action::Remove,
        (tags::PATIENT_ID | tags::PATIENT_NAME, _) => Action::Pseudonym,
        (_, Some(row)) => listed(*row, vr, circumstances),
        (_, None) => unlisted(tag, vr),
    }
}

/// Private attributes, curves, overlays (with their data gone, the rest of an overlay plane describes nothing), group lengths,
/// commands, and what does not belong into the data set of an instance.
fn is_removed_group(Tag(group, element): Tag) -> bool {
    !group.is_multiple_of(2)
        || matches!(group, 0x0000..=0x0007 | 0x5000..=0x50FF | 0x6000..=0x60FF | 0xFFFC | 0xFFFE..)
        || element == 0
}

fn listed(row: Row, vr: VR, circumstances: Circumstances) -> Action {
    let plain = circumstances.plain_image;
    let action = match row.action {
        "D" => Action::Dummy,
        "Z" => Action::Empty,
        "U" => Action::ReplaceUid,
        "X/Z/U*" => Action::Keep,
        "Z/D" => {
            if plain {
                Action::Empty
            } else {
                Action::Dummy
            }
        }
        "X/Z" => Action::Empty,
        // No object of the classes that are let through requires such a sequence.
        "X/D" if vr == VR::SQ => Action::Remove,
        "X/D" | "X/Z/D" => {
            if plain {
                Action::Remove
            } else {
                Action::Dummy
            }
        }
        _ => Action::Remove,
    };
    if !(circumstances.move_dates && row.date && matches!(vr, VR::DA | VR::DT | VR::TM)) {
        return action;
    }
    Action::Move(match action {
        Action::Dummy => Instead::Dummy,
        Action::Empty => Instead::Empty,
        _ => Instead::Remove,
    })
}

/// The profile keeps what it does not list. Here only what has a defined term, a number or a short text stays: names,
/// paragraphs and addresses are emptied, dates removed, UIDs replaced.
fn unlisted(tag: Tag, vr: VR) -> Action {
    use tags::{CODING_SCHEME_UID, CONTEXT_UID, MAPPING_RESOURCE_UID};
    match (tag, vr) {
        // Whole attributes, encrypted, or what signatures were made of.
        (tags::ENCRYPTED_ATTRIBUTES_SEQUENCE | tags::ENCRYPTED_CONTENT | tags::MAC_PARAMETERS_SEQUENCE, _) => {
            Action::Remove
        }
        (CODING_SCHEME_UID | CONTEXT_UID | MAPPING_RESOURCE_UID, _) => Action::Keep,
        _ if StandardDataDictionary.by_tag(tag).is_none() => Action::Remove,
        (_, VR::UN | VR::DA | VR::DT | VR::TM) => Action::Remove,
        (_, VR::PN | VR::LT | VR::ST | VR::UT | VR::UR | VR::AE | VR::AS) => Action::Empty,
        (_, VR::UI) => Action::ReplaceUid,
        _ => Action::Keep,
    }
}

/// Returns the value representation that the standard gives an attribute; UN when it is not known.
pub(super) fn standard_vr(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

fn rows() -> impl Iterator<Item = Row> {
    let row = |line: &'static str| {
        let mut cells = line.split('\t');
        let (group, element) = cells.next()?.split_once(',')?;
        let number = |text| u16::from_str_radix(text, 16).ok();
        Some(Row { tag: Tag(number(group)?, number(element)?), action: cells.next()?, date: cells.next()? == "C" })
    };
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.map(move |line| row(line).expect("every row of profile.tsv has its cells"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::deid) fn listed_tags() -> Vec<(Tag, &'static str)> {
        rows().map(|row| (row.tag, row.action)).collect()
    }

    const CIRCUMSTANCES: Circumstances = Circumstances { plain_image: true, move_dates: false };

    #[test]
    fn table_is_whole_sorted_and_names_each_attribute_as_the_dictionary_does() {
        let listed: Vec<Row> = rows().collect();
        assert_eq!(listed.len(), 652);
        assert!(listed.windows(2).all(|pair| pair[0].tag < pair[1].tag));
        let actions = ["D", "Z", "X", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"];
        assert!(listed.iter().all(|row| actions.contains(&row.action)));
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        for (row, line) in listed.iter().zip(lines) {
            let keyword = line.rsplit('\t').next().expect("a keyword");
            if let Some(entry) = StandardDataDictionary.by_tag(row.tag) {
                assert_eq!(entry.alias(), keyword);
            }
            let date = matches!(standard_vr(row.tag), VR::DA | VR::DT | VR::TM);
            let other = [tags::TIMEZONE_OFFSET_FROM_UTC, tags::FRAME_ORIGIN_TIMESTAMP, tags::CERTIFIED_TIMESTAMP];
            assert!(!row.date || date || other.contains(&row.tag), "{line}");
        }
    }

    #[test]
    fn whole_groups_go() {
        for tag in
            [Tag(0x0009, 0x0010), Tag(0x0029, 0x1010), Tag(0x5002, 0x3000), Tag(0x6000, 0x3000), Tag(0x60FE, 0x4000)]
        {
            assert_eq!(action(tag, VR::LO, CIRCUMSTANCES), Action::Remove, "{tag}");
        }
        assert_eq!(action(Tag(0x0010, 0x0000), VR::UL, CIRCUMSTANCES), Action::Remove);
    }

    #[test]
    fn unlisted_names_paragraphs_and_dates_do_not_stay() {
        for (tag, vr, expected) in [
            (tags::SECONDARY_REVIEWER_NAME, VR::PN, Action::Empty),
            (tags::SECONDARY_REVIEW_DATE, VR::DA, Action::Remove),
            (tags::SURFACE_COMMENTS, VR::LT, Action::Empty),
            (tags::TARGET_FRAME_OF_REFERENCE_UID, VR::UI, Action::ReplaceUid),
            (Tag(0x0008, 0xFFF0), VR::LO, Action::Remove),
            (tags::ECHO_TIME, VR::DS, Action::Keep),
            (tags::IMAGE_TYPE, VR::CS, Action::Keep),
            (tags::PIXEL_DATA, VR::OW, Action::Keep),
        ] {
            assert_eq!(action(tag, vr, CIRCUMSTANCES), expected, "{tag}");
        }
    }

    #[test]
    fn milder_action_is_taken_only_where_the_object_does_not_need_the_attribute() {
        let enhanced = Circumstances { plain_image: false, move_dates: false };
        for (tag, vr, plain, required) in [
            (tags::ACQUISITION_DATE_TIME, VR::DT, Action::Remove, Action::Dummy),
            (tags::SERIES_DATE, VR::DA, Action::Remove, Action::Dummy),
            (tags::CONTENT_DATE, VR::DA, Action::Empty, Action::Dummy),
            (tags::STUDY_DATE, VR::DA, Action::Empty, Action::Empty),
            (tags::SOURCE_IMAGE_SEQUENCE, VR::SQ, Action::Keep, Action::Keep),
            (tags::REFERENCED_STUDY_SEQUENCE, VR::SQ, Action::Empty, Action::Empty),
        ] {
            assert_eq!([action(tag, vr, CIRCUMSTANCES), action(tag, vr, enhanced)], [plain, required], "{tag}");
        }
    }
}
