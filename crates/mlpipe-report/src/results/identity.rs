//! Who made the results and from what: unique identifiers that are the same for the same work, and devices.
//!
//! A UID is `2.25.` and 128 bits of a digest (PS3.5 B.2) over everything that can change an object: the source files, the
//! documents with their models and thresholds, the code for a node, and this program's sources. The formula stands in
//! docs/formats.md.

use super::code::Code;
use crate::{ModelReference, ReportInput};

/// Separates these digests from all others; changes when the encoding does.
const CONTEXT: &str = "mlpipe result objects 1";
/// As [`CONTEXT`], for what does not depend on the images: devices and the private coding scheme.
const LASTING_CONTEXT: &str = "mlpipe devices and schemes 1";

/// Makes the UIDs of one set of result objects.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    seed: [u8; 32],
}

impl Identity {
    /// Takes everything that the objects are made from.
    pub(super) fn new(input: &ReportInput, series_digest: [u8; 32], node: &Code, sources: &str) -> Identity {
        let mut fields: Vec<Vec<u8>> = vec![
            input.volume.study_instance_uid.clone().into_bytes(),
            input.volume.series_instance_uid.clone().into_bytes(),
            series_digest.to_vec(),
            input.mlpipe_version.as_bytes().to_vec(),
            sources.as_bytes().to_vec(),
            [&*node.scheme, &node.value, &node.meaning].join("^").into_bytes(),
            format!("{:?}", input.volume.geometry).into_bytes(),
            json(input.vertebrae),
        ];
        let mut findings: Vec<Vec<u8>> = input.findings.iter().map(json).collect();
        findings.sort();
        fields.extend(findings);
        Identity { seed: digest(CONTEXT, fields.iter().map(Vec::as_slice)) }
    }

    /// Returns the UID of an object, a series or a tracked thing among these results.
    pub(super) fn uid(&self, what: &str) -> String {
        uid_of(self.bits(what))
    }

    /// Returns the same as a UUID, for FHIR.
    pub(super) fn uuid(&self, what: &str) -> String {
        let hex = format!("{:032x}", with_version(self.bits(what)));
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    fn bits(&self, what: &str) -> u128 {
        first_half(digest(CONTEXT, [&self.seed[..], what.as_bytes()]))
    }
}

/// A device in the sense of DICOM and FHIR: this program, or one version of a model with its weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) uid: String,
    /// As `vertebra-detector`.
    pub(super) name: String,
    pub(super) version: String,
    /// SHA-256 of the weights; none for the program itself.
    pub(super) sha256: Option<String>,
}

impl Device {
    /// This program.
    pub(super) fn program(version: &str) -> Device {
        Device { uid: lasting_uid(&["program", version]), name: "mlpipe".into(), version: ascii(version), sha256: None }
    }

    /// One version of a model: other weights are another device.
    pub(super) fn model(model: &ModelReference) -> Device {
        Device {
            uid: lasting_uid(&["model", &model.name, &model.version, &model.sha256]),
            name: ascii(&model.name),
            version: ascii(&model.version),
            sha256: Some(ascii(&model.sha256)),
        }
    }
}

/// Returns a UID that is the same in all results.
pub(super) fn lasting_uid(parts: &[&str]) -> String {
    uid_of(first_half(digest(LASTING_CONTEXT, parts.iter().map(|part| part.as_bytes()))))
}

/// Returns text for attributes whose character set is the source image's: what every set encodes alike.
pub(super) fn ascii(text: &str) -> String {
    let plain = |c: char| if (' '..='~').contains(&c) && c != '\\' { c } else { '?' };
    text.chars().map(plain).collect()
}

fn json(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("the documents hold texts, finite numbers and lists only")
}

/// BLAKE3 in derive-key mode over the fields, each preceded by its length as 8 bytes little endian.
fn digest<'a>(context: &str, fields: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for field in fields {
        hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
    }
    *hasher.finalize().as_bytes()
}

fn first_half(digest: [u8; 32]) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

/// Marks 128 bits as a UUID of version 8, made by a rule of one's own (RFC 9562 5.8).
fn with_version(bits: u128) -> u128 {
    bits & !(0xf << 76) & !(0b11 << 62) | 0x8 << 76 | 0b10 << 62
}

fn uid_of(bits: u128) -> String {
    format!("2.25.{}", with_version(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_the_decimal_form_of_its_uuid() {
        let identity = Identity { seed: [7; 32] };
        let uid = identity.uid("sr");
        let uuid = u128::from_str_radix(&identity.uuid("sr").replace('-', ""), 16).expect("hexadecimal");
        assert_eq!(uid, format!("2.25.{uuid}"));
        assert!(uid.len() <= 64 && identity.uuid("sr").as_bytes()[14] == b'8');
        assert_ne!(uid, identity.uid("seg"));
    }

    #[test]
    fn other_weights_are_another_device() {
        let model = |sha256: &str| ModelReference {
            name: "n".into(),
            version: "1".into(),
            sha256: sha256.into(),
            backend: "rten".into(),
        };
        assert_eq!(Device::model(&model("aa")), Device::model(&model("aa")));
        assert_ne!(Device::model(&model("aa")).uid, Device::model(&model("ab")).uid);
    }

    #[test]
    fn text_that_not_every_character_set_holds_is_marked() {
        assert_eq!(ascii("L5\u{2013}S1 a\\b\n"), "L5?S1 a?b?");
    }
}
