//! Coded concepts: what PS3.16, SNOMED CT, LOINC and UCUM have a code for, and the private scheme for what they lack.
//!
//! No SNOMED CT code for a Schmorl's node or a vertebral endplate was found: the scheme 99MLPIPE names them, declared in
//! every object that uses it. Who has an agreed code for the node gives it as a parameter.

use std::str::FromStr;

/// A concept: code value, coding scheme designator, meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    pub(super) value: String,
    pub(super) scheme: String,
    pub(super) meaning: String,
}

/// Designator of the private scheme.
pub(super) const PRIVATE_SCHEME: &str = "99MLPIPE";

impl Code {
    pub(super) fn new(value: &str, scheme: &str, meaning: &str) -> Code {
        Code { value: value.to_owned(), scheme: scheme.to_owned(), meaning: meaning.to_owned() }
    }

    /// Returns the code of a Schmorl's node in the private scheme of this program.
    pub fn schmorl_node() -> Code {
        Code::new("SCHMORL", PRIVATE_SCHEME, "Schmorl's node")
    }

    /// Returns whether its scheme is one that must be explained to a reader (PS3.3 C.12.1.1.7).
    pub(super) fn is_private(&self) -> bool {
        self.scheme.starts_with("99")
    }
}

impl FromStr for Code {
    type Err = String;

    /// Reads `scheme^value^meaning`: ASCII, at most 16, 16 and 64 characters, as the attributes that hold them.
    fn from_str(text: &str) -> Result<Code, String> {
        let usable = |part: &str, longest: usize| {
            !part.trim().is_empty()
                && part.len() <= longest
                && part.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'\\')
        };
        match text.split('^').collect::<Vec<_>>()[..] {
            [scheme, value, meaning] if usable(scheme, 16) && usable(value, 16) && usable(meaning, 64) => {
                Ok(Code::new(value.trim(), scheme.trim(), meaning.trim()))
            }
            _ => Err(format!(
                "`{text}` is not a code `scheme^value^meaning`, as in `99MLPIPE^SCHMORL^Schmorl's node` (ASCII, at most \
                 16, 16 and 64 characters)"
            )),
        }
    }
}

/// SNOMED CT codes of the vertebrae.
const VERTEBRAE: [(&str, &str); 25] = [
    ("C1", "14806007"),
    ("C2", "39976000"),
    ("C3", "113205007"),
    ("C4", "5329002"),
    ("C5", "36978003"),
    ("C6", "36054005"),
    ("C7", "87391001"),
    ("T1", "64864005"),
    ("T2", "53733008"),
    ("T3", "1626008"),
    ("T4", "73071006"),
    ("T5", "56401006"),
    ("T6", "45296009"),
    ("T7", "62487009"),
    ("T8", "11068009"),
    ("T9", "82687006"),
    ("T10", "7610001"),
    ("T11", "12989004"),
    ("T12", "23215003"),
    ("L1", "66794005"),
    ("L2", "14293000"),
    ("L3", "36470004"),
    ("L4", "11994002"),
    ("L5", "49668003"),
    ("S1", "65985001"),
];

/// Returns the code of a vertebra. Without a level, or with one that has no code, it is a vertebra and no more.
pub(super) fn vertebra(level: Option<&str>) -> Code {
    let known = level.and_then(|level| VERTEBRAE.iter().find(|(name, _)| *name == level));
    match known {
        Some((name, value)) => Code::new(value, "SCT", &format!("{name} vertebra")),
        None => Code::new("51282000", "SCT", "Vertebra"),
    }
}

macro_rules! codes {
    ($($name:ident: $value:literal, $scheme:literal, $meaning:literal;)*) => {
        $(pub(super) fn $name() -> Code {
            Code::new($value, $scheme, $meaning)
        })*
    };
}

codes! {
    imaging_measurement_report: "126000", "DCM", "Imaging Measurement Report";
    language: "121049", "DCM", "Language of Content Item and Descendants";
    english: "en-US", "RFC5646", "English (United States)";
    observer_type: "121005", "DCM", "Observer Type";
    device: "121007", "DCM", "Device";
    device_observer_uid: "121012", "DCM", "Device Observer UID";
    device_observer_name: "121013", "DCM", "Device Observer Name";
    device_observer_manufacturer: "121014", "DCM", "Device Observer Manufacturer";
    device_observer_model: "121015", "DCM", "Device Observer Model Name";
    device_observer_serial: "121016", "DCM", "Device Observer Serial Number";
    procedure_reported: "121058", "DCM", "Procedure reported";
    mri: "25056-3", "LN", "MRI unspecified body region";
    ct: "25045-6", "LN", "CT unspecified body region";
    imaging_procedure: "363679005", "SCT", "Imaging procedure";
    imaging_measurements: "126010", "DCM", "Imaging Measurements";
    measurement_group: "125007", "DCM", "Measurement Group";
    tracking_identifier: "112039", "DCM", "Tracking Identifier";
    tracking_unique_identifier: "112040", "DCM", "Tracking Unique Identifier";
    finding: "121071", "DCM", "Finding";
    finding_site: "363698007", "SCT", "Finding Site";
    topographical_modifier: "106233006", "SCT", "Topographical modifier";
    superior: "264217000", "SCT", "Superior";
    inferior: "261089000", "SCT", "Inferior";
    vertebral_body: "3572006", "SCT", "Vertebral body";
    endplate: "ENDPLATE", "99MLPIPE", "Vertebral endplate";
    algorithm_name: "111001", "DCM", "Algorithm Name";
    algorithm_version: "111003", "DCM", "Algorithm Version";
    algorithm_parameters: "111002", "DCM", "Algorithm Parameters";
    artificial_intelligence: "123110", "DCM", "Artificial Intelligence";
    image_region: "111030", "DCM", "Image Region";
    source: "260753009", "SCT", "Source";
    width: "103355008", "SCT", "Width";
    depth: "131197000", "SCT", "Depth";
    probability: "122157", "DCM", "Probability";
    millimeter: "mm", "UCUM", "millimeter";
    percent: "%", "UCUM", "Percent";
    comment: "121106", "DCM", "Comment";
    present: "52101004", "SCT", "Present";
    absent: "272519000", "SCT", "Absent";
    undetermined: "373068000", "SCT", "Undetermined";
    anatomical_structure: "91723000", "SCT", "Anatomical Structure";
    morphologically_abnormal_structure: "49755003", "SCT", "Morphologically Abnormal Structure";
    source_image_for_processing: "121322", "DCM", "Source Image for Image Processing Operation";
    segmentation_derivation: "113076", "DCM", "Segmentation";
    processing_equipment: "109102", "DCM", "Processing Equipment";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_scheme_value_and_meaning_within_their_lengths() {
        let code: Code = "I10^M51.4^Schmorl's nodes".parse().expect("a code");
        assert_eq!((&*code.scheme, &*code.value, code.is_private()), ("I10", "M51.4", false));
        assert!(Code::schmorl_node().is_private());
        for wrong in ["", "A^B", "A^^C", "A^B^C^D", "A^12345678901234567^C", "A^B^Schmorl\u{2019}s node"] {
            assert!(wrong.parse::<Code>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_level_that_was_not_asserted_is_a_vertebra_and_no_more() {
        assert_eq!(vertebra(Some("L3")).value, "36470004");
        assert_eq!(vertebra(None), vertebra(Some("L6")));
        assert_eq!(vertebra(None).meaning, "Vertebra");
    }
}
