//! The profile on whole files: every attribute of the table at every depth in every encoding, random data sets, damage.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileDicomObject, InMemDicomObject};

use super::file::{Deidentified, deidentify};
use super::profile::standard_vr;
use super::profile::tests::listed_tags;
use super::rewrite::write_element;
use super::{BurnedIn, Dates, DeidKey, DeidOptions};
use crate::element::{
    DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, EXPLICIT_LITTLE_ENDIAN, Encoding, IMPLICIT_LITTLE_ENDIAN,
};

const SYNTAXES: [&str; 4] =
    [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, DEFLATED_LITTLE_ENDIAN];

/// Stands for anything that identifies. Its digits make it a part of a UID too.
const MARKER: &str = "73519284";
const PIXELS: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

fn key() -> DeidKey {
    DeidKey::from_bytes("KEY", blake3::hash(b"a secret for tests").as_bytes()).expect("strong")
}

fn options(dates: Dates) -> DeidOptions {
    DeidOptions { dates, burned_in: BurnedIn::Keep, ..DeidOptions::default() }
}

/// Writes data sets by hand, also such as no library writes.
struct Bytes {
    encoding: Encoding,
    bytes: Vec<u8>,
}

impl Bytes {
    fn new(encoding: Encoding) -> Self {
        Bytes { encoding, bytes: Vec::new() }
    }

    fn put(&mut self, tag: Tag, vr: VR, value: &[u8]) -> &mut Self {
        let written = self.encoding.explicit.then(|| vr.to_bytes());
        write_element(&mut self.bytes, self.encoding, tag, written, vr, value);
        self
    }

    /// Puts a sequence of one item, with or without lengths.
    fn sequence(&mut self, tag: Tag, item: &[u8], with_length: bool) -> &mut Self {
        let plain = Encoding { explicit: false, ..self.encoding };
        let mut value = Vec::new();
        write_element(&mut value, plain, Tag(0xFFFE, 0xE000), None, VR::OB, item);
        if with_length {
            return self.put(tag, VR::SQ, &value);
        }
        value[4..8].copy_from_slice(&[0xFF; 4]);
        write_element(&mut value, plain, Tag(0xFFFE, 0xE00D), None, VR::OB, b"");
        write_element(&mut value, plain, Tag(0xFFFE, 0xE0DD), None, VR::OB, b"");
        self.put(tag, VR::SQ, b"");
        let length = self.bytes.len() - 4;
        self.bytes[length..].copy_from_slice(&[0xFF; 4]);
        self.bytes.extend(value);
        self
    }
}

/// An MR image of a patient who is the marker, with further elements before its pixel data.
fn image(syntax: &str, further: &[u8]) -> Vec<u8> {
    image_of_class(uids::MR_IMAGE_STORAGE, syntax, further)
}

fn image_of_class(class: &str, syntax: &str, further: &[u8]) -> Vec<u8> {
    let mut data = Bytes::new(Encoding::of(syntax));
    data.put(tags::SOP_CLASS_UID, VR::UI, class.as_bytes());
    data.put(tags::SOP_INSTANCE_UID, VR::UI, b"1.2.73519284.3");
    data.put(tags::PATIENT_NAME, VR::PN, b"Doe^73519284");
    data.put(tags::PATIENT_ID, VR::LO, b"73519284");
    data.put(tags::STUDY_INSTANCE_UID, VR::UI, b"1.2.73519284.1");
    data.put(tags::SERIES_INSTANCE_UID, VR::UI, b"1.2.73519284.2");
    data.bytes.extend(further);
    data.put(tags::PIXEL_DATA, VR::OW, &PIXELS);
    let mut file = vec![b'7'; 128];
    file.extend(b"DICM");
    let explicit = Encoding::of(EXPLICIT_LITTLE_ENDIAN);
    write_element(&mut file, explicit, tags::TRANSFER_SYNTAX_UID, Some(*b"UI"), VR::UI, syntax.as_bytes());
    write_element(&mut file, explicit, Tag(2, 0x16), Some(*b"AE"), VR::AE, MARKER.as_bytes());
    super::file::append(&mut file, &data.bytes, syntax);
    file
}

fn done(file: Vec<u8>, dates: Dates) -> Deidentified {
    deidentify(file, &key(), &options(dates)).expect("can be de-identified").expect("is DICOM")
}

/// Reads a file with another library; a deflated one as what it inflates to.
fn read(bytes: &[u8]) -> FileDicomObject<InMemDicomObject> {
    let layout = crate::element::walk(bytes, bytes.len() as u64).expect("walks");
    let mut file = bytes.to_vec();
    if layout.transfer_syntax == DEFLATED_LITTLE_ENDIAN {
        file = super::file::file_meta(uids::MR_IMAGE_STORAGE, &key().uid("1.2.73519284.3"), EXPLICIT_LITTLE_ENDIAN);
        file.extend(&plain(bytes)[layout.data_set..]);
    }
    dicom_object::from_reader(&file[..]).expect("another library reads it")
}

/// Returns the bytes of a file after its meta group, inflated.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let layout = crate::element::walk(bytes, bytes.len() as u64).expect("walks");
    if layout.transfer_syntax != DEFLATED_LITTLE_ENDIAN {
        return bytes.to_vec();
    }
    crate::bytes::inflated(bytes.to_vec(), layout, 1 << 30).0
}

fn holds(bytes: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(&plain(bytes)).contains(text)
}

/// A value that tells, in a value representation.
fn telling(vr: VR) -> Vec<u8> {
    match vr {
        VR::UI => b"1.2.73519284.9".to_vec(),
        VR::DA => b"19730519".to_vec(),
        VR::DT => b"19730519284".to_vec(),
        VR::SQ => Vec::new(),
        _ => MARKER.as_bytes().to_vec(),
    }
}

/// Puts an attribute with a value that tells; a sequence has it in its items.
fn put_telling(bytes: &mut Bytes, tag: Tag, vr: VR, with_length: bool) {
    if vr != VR::SQ {
        bytes.put(tag, vr, &telling(vr));
        return;
    }
    let mut item = Bytes::new(bytes.encoding);
    item.put(tags::CODE_VALUE, VR::SH, MARKER.as_bytes());
    item.put(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, b"1.2.73519284.9");
    item.put(tags::CODE_MEANING, VR::LO, MARKER.as_bytes());
    item.put(tags::PERSON_NAME, VR::PN, MARKER.as_bytes());
    bytes.sequence(tag, &item.bytes, with_length);
}

/// Wraps elements into sequences that the profile keeps.
fn nested(encoding: Encoding, mut bytes: Vec<u8>, depth: usize) -> Vec<u8> {
    for level in 0..depth {
        let mut outer = Bytes::new(encoding);
        outer.sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, &bytes, level.is_multiple_of(2));
        bytes = outer.bytes;
    }
    bytes
}

/// Of a sequence whose items stay only UIDs tell.
fn keeps_its_items(action: &str) -> bool {
    action == "X/Z/U*"
}

#[test]
fn every_attribute_of_the_table_loses_its_value_at_every_depth_in_every_encoding() {
    let mut tried = 0;
    for (tag, action) in listed_tags() {
        let vr = match standard_vr(tag) {
            VR::UN => VR::LO,
            vr => vr,
        };
        if is_identity(tag) || tag.0 < 8 {
            continue;
        }
        for (at, syntax) in SYNTAXES.iter().enumerate() {
            let encoding = Encoding::of(syntax);
            let mut element = Bytes::new(encoding);
            if keeps_its_items(action) {
                let mut item = Bytes::new(encoding);
                item.put(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, b"1.2.73519284.9");
                element.sequence(tag, &item.bytes, at.is_multiple_of(2));
            } else {
                put_telling(&mut element, tag, vr, at.is_multiple_of(2));
            }
            for (depth, class) in [(0, uids::MR_IMAGE_STORAGE), (5, uids::ENHANCED_MR_IMAGE_STORAGE)] {
                let file = image_of_class(class, syntax, &nested(encoding, element.bytes.clone(), depth));
                let result = done(file, Dates::Remove);
                assert!(!holds(&result.bytes, MARKER), "{tag} {vr} {action} {syntax} at depth {depth}");
                assert!(!holds(&result.bytes, "19730519"), "{tag} {vr} {action} {syntax} at depth {depth}");
                tried += 1;
            }
        }
    }
    assert!(tried > 5000);
}

#[test]
fn listed_attribute_in_any_other_value_representation_loses_its_value_too() {
    use VR::*;
    let all = [
        AE, AS, AT, CS, DA, DS, DT, FL, FD, IS, LO, LT, OB, OD, OF, OL, OV, OW, PN, SH, SL, SS, ST, SV, TM, UC, UI, UL,
        UN, UR, US, UT, UV,
    ];
    for (tag, action) in listed_tags() {
        if keeps_its_items(action) || tag.0 < 8 || is_identity(tag) {
            continue;
        }
        let mut elements = Bytes::new(Encoding::of(EXPLICIT_LITTLE_ENDIAN));
        for vr in all {
            elements.put(tag, vr, &telling(vr));
        }
        let result = done(image(EXPLICIT_LITTLE_ENDIAN, &elements.bytes), Dates::Shift);
        assert!(!holds(&result.bytes, MARKER), "{tag} {action}");
    }
}

/// Every image has these already.
fn is_identity(tag: Tag) -> bool {
    matches!(tag, tags::SOP_INSTANCE_UID | tags::STUDY_INSTANCE_UID | tags::SERIES_INSTANCE_UID)
}

#[test]
fn actions_leave_what_the_table_says() {
    for syntax in SYNTAXES {
        let mut elements = Bytes::new(Encoding::of(syntax));
        elements.put(tags::STUDY_DATE, VR::DA, b"19730519");
        elements.put(tags::ACCESSION_NUMBER, VR::SH, MARKER.as_bytes());
        elements.put(tags::INSTITUTION_NAME, VR::LO, MARKER.as_bytes());
        elements.put(Tag(0x0009, 0x0010), VR::LO, MARKER.as_bytes());
        elements.put(tags::ECHO_TIME, VR::DS, b"98.5");
        elements.put(tags::DEVICE_UID, VR::UI, b"1.2.73519284.5");
        elements.put(tags::FRAME_OF_REFERENCE_UID, VR::UI, b"1.2.840.10008.1.4.1.1");
        let file = image(syntax, &elements.bytes);
        let result = done(file.clone(), Dates::Remove);
        let object = read(&result.bytes);
        let text = |tag| object.element(tag).expect("is there").to_str().expect("text").trim_end().to_owned();
        assert_eq!(text(tags::ACCESSION_NUMBER), "");
        assert_eq!(text(tags::STUDY_DATE), "");
        assert!(object.element(tags::INSTITUTION_NAME).is_err());
        assert!(object.element(Tag(0x0009, 0x0010)).is_err());
        assert_eq!(text(tags::ECHO_TIME), "98.5");
        assert_eq!(text(tags::DEVICE_UID), key().uid("1.2.73519284.5"));
        assert_eq!(text(tags::FRAME_OF_REFERENCE_UID), "1.2.840.10008.1.4.1.1", "a UID of the standard");
        assert_eq!(text(tags::SOP_INSTANCE_UID), key().uid("1.2.73519284.3"));
        assert_eq!(object.meta().media_storage_sop_instance_uid(), key().uid("1.2.73519284.3"));
        let layout = crate::element::walk(&result.bytes, result.bytes.len() as u64).expect("walks");
        assert_eq!(layout.transfer_syntax, syntax);
        assert_eq!(text(tags::PATIENT_ID), text(tags::PATIENT_NAME));
        assert!(text(tags::PATIENT_ID).starts_with("anon-"));
        assert_eq!(text(tags::PATIENT_IDENTITY_REMOVED), "YES");
        assert_eq!(text(tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED), "REMOVED");
        let codes =
            object.element(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE).expect("is there").items().expect("items");
        assert_eq!(codes[0].element(tags::CODE_VALUE).expect("is there").to_str().expect("text"), "113100");
        assert!(plain(&result.bytes).ends_with(&PIXELS));
        assert_eq!(done(file, Dates::Remove).bytes, result.bytes, "the same again");
    }
}

#[test]
fn shifted_dates_keep_their_distance_and_bad_ones_are_removed() {
    let with_dates = |study: &str, acquisition: &str| {
        let mut elements = Bytes::new(Encoding::of(EXPLICIT_LITTLE_ENDIAN));
        elements.put(tags::STUDY_DATE, VR::DA, study.as_bytes());
        elements.put(tags::ACQUISITION_DATE_TIME, VR::DT, acquisition.as_bytes());
        elements.put(tags::STUDY_TIME, VR::TM, b"101112.5");
        elements.put(tags::PATIENT_BIRTH_DATE, VR::DA, b"19730519");
        read(&done(image(EXPLICIT_LITTLE_ENDIAN, &elements.bytes), Dates::Shift).bytes)
    };
    let text = |object: &FileDicomObject<InMemDicomObject>, tag| {
        object.element(tag).expect("is there").to_str().expect("text").trim_end().to_owned()
    };
    let days = key().shift_days(&format!("patient\0{MARKER}"));
    let moved = |vr, value: &str| super::dates::moved_back(vr, value.as_bytes(), days).expect("a date");
    let object = with_dates("20200301", "20200302111213.5+0100");
    assert_eq!(text(&object, tags::STUDY_DATE), moved(VR::DA, "20200301"));
    assert_eq!(text(&object, tags::ACQUISITION_DATE_TIME), moved(VR::DT, "20200302111213.5+0100"));
    assert_eq!(text(&object, tags::STUDY_TIME), "101112.5");
    assert_eq!(text(&object, tags::PATIENT_BIRTH_DATE), "", "the option does not keep it");
    assert_eq!(text(&object, tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED), "MODIFIED");
    let codes = object.element(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE).expect("is there").items().expect("items");
    assert_eq!(codes[1].element(tags::CODE_VALUE).expect("is there").to_str().expect("text"), "113107");
    let object = with_dates("20200301-20200401", "2020");
    assert_eq!(text(&object, tags::STUDY_DATE), "");
    assert!(object.element(tags::ACQUISITION_DATE_TIME).is_err());
}

#[test]
fn burned_in_risk_is_refused_unless_kept() {
    let encoding = Encoding::of(EXPLICIT_LITTLE_ENDIAN);
    let refuse = DeidOptions::default();
    let with = |tag, vr, value: &str| {
        let mut elements = Bytes::new(encoding);
        elements.put(tag, vr, value.as_bytes());
        elements.bytes
    };
    let overlay = with(Tag(0x6000, 0x0010), VR::US, "\0\x02");
    for (file, code) in [
        (image(EXPLICIT_LITTLE_ENDIAN, &with(tags::BURNED_IN_ANNOTATION, VR::CS, "YES")), "burned_in_annotation"),
        (
            image(EXPLICIT_LITTLE_ENDIAN, &with(tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY\\SCREEN SAVE")),
            "burned_in_risk",
        ),
        (image(EXPLICIT_LITTLE_ENDIAN, &with(tags::MODALITY, VR::CS, "US")), "burned_in_risk"),
        (image(EXPLICIT_LITTLE_ENDIAN, &with(tags::CONVERSION_TYPE, VR::CS, "SD")), "burned_in_risk"),
        (image(EXPLICIT_LITTLE_ENDIAN, &overlay), "burned_in_risk"),
        (image_of_class(uids::SECONDARY_CAPTURE_IMAGE_STORAGE, EXPLICIT_LITTLE_ENDIAN, b""), "burned_in_risk"),
    ] {
        let refusal = deidentify(file.clone(), &key(), &refuse).expect_err("refused");
        assert_eq!(refusal.problem.code, code);
        assert!(!refusal.flags.is_empty() && refusal.problem.cure.contains("--burned-in keep"));
        let kept = done(file, Dates::Remove);
        assert_eq!(kept.flags, refusal.flags);
    }
    let declared = with(tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    let ultrasound = image_of_class(uids::ULTRASOUND_IMAGE_STORAGE, EXPLICIT_LITTLE_ENDIAN, &declared);
    assert!(deidentify(ultrasound, &key(), &refuse).is_ok(), "it says that it has none");
}

#[test]
fn refusal_says_nothing_of_the_file() {
    let mut damaged = image(EXPLICIT_LITTLE_ENDIAN, b"");
    let at = damaged.len() - 20;
    damaged.splice(at.., MARKER.bytes());
    let refusal = deidentify(damaged, &key(), &options(Dates::Remove)).expect_err("damaged");
    assert_eq!(refusal.problem.code, "damaged_file");
    assert!(!format!("{refusal:?}").contains(MARKER));
}

#[test]
fn bytes_after_the_pixel_data_do_not_stay() {
    let mut file = image(EXPLICIT_LITTLE_ENDIAN, b"");
    file.extend(b"73519284, born 1973");
    let result = done(file, Dates::Remove);
    assert!(!holds(&result.bytes, MARKER));
    assert_eq!(result.flags, [super::Flag::TrailingBytes]);
}

/// A fixed sequence of pseudo-random numbers (Knuth's MMIX constants).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }
}

/// Elements at random: listed, private, unknown, curves and overlays that tell, and others that do not.
fn random_elements(numbers: &mut Numbers, encoding: Encoding, depth: usize) -> Vec<u8> {
    let listed = listed_tags();
    let mut bytes = Bytes::new(encoding);
    for _ in 0..numbers.below(8) {
        let with_length = numbers.below(2) == 0;
        match numbers.below(8) {
            0 | 1 => {
                let (tag, action) = listed[numbers.below(listed.len())];
                let vr = standard_vr(tag);
                if !keeps_its_items(action) && vr != VR::UN && tag.0 >= 8 && !is_identity(tag) {
                    put_telling(&mut bytes, tag, vr, with_length);
                }
            }
            2 => put_telling(&mut bytes, Tag(0x0009 + 2 * numbers.below(100) as u16, 0x1001), VR::LO, with_length),
            3 => put_telling(&mut bytes, Tag(0x0012, 0xF000), VR::SH, with_length),
            4 => put_telling(&mut bytes, Tag(0x5000 + 2 * numbers.below(8) as u16, 0x0040), VR::LO, with_length),
            5 => put_telling(&mut bytes, Tag(0x6000, 0x4000), VR::LT, with_length),
            6 => put_telling(&mut bytes, Tag(0x0029, 0x1010), VR::SQ, with_length),
            _ if depth < 6 => {
                let inner = random_elements(numbers, encoding, depth + 1);
                bytes.sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, &inner, with_length);
            }
            _ => {}
        }
    }
    bytes.bytes
}

#[test]
fn no_marker_survives_in_random_data_sets() {
    for seed in 0..2000 {
        let mut numbers = Numbers(seed);
        let syntax = SYNTAXES[numbers.below(SYNTAXES.len())];
        let elements = random_elements(&mut numbers, Encoding::of(syntax), 0);
        let dates = if numbers.below(2) == 0 { Dates::Remove } else { Dates::Shift };
        let result = done(image(syntax, &elements), dates);
        assert!(!holds(&result.bytes, MARKER), "seed {seed}");
        read(&result.bytes);
    }
}

#[test]
fn damaged_bytes_are_survived() {
    for seed in 0..3000 {
        let mut numbers = Numbers(seed);
        let syntax = SYNTAXES[numbers.below(SYNTAXES.len())];
        let mut file = image(syntax, &random_elements(&mut numbers, Encoding::of(syntax), 0));
        for _ in 0..=numbers.below(4) {
            let at = 128 + numbers.below(file.len() - 128);
            file[at] = [0, 0xFF, 0x7F, numbers.below(256) as u8][numbers.below(4)];
        }
        if seed.is_multiple_of(4) {
            file.truncate(128 + numbers.below(file.len() - 128));
        }
        drop(deidentify(file, &key(), &options(Dates::Shift)));
    }
}
