//! What the profile cannot make safe: kinds of objects whose content is text or unknown, and pictures that may have
//! names burned in. The first are never written, the second only when asked for.

use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::{StandardSopClassDictionary, tags, uids};
use serde::Serialize;

use crate::Problem;
use crate::data_set::DataSet;

/// Something about a file that a person should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// BurnedInAnnotation is YES.
    BurnedInAnnotation,
    /// A secondary capture, ultrasound, visible light or similar image that does not say NO to BurnedInAnnotation.
    HighRiskClass,
    /// ConversionType says that a document, film or video was digitised.
    Digitized,
    /// ImageType says that it is a screen shot, a report page or a label.
    Screenshot,
    /// An overlay lies in the upper bits of the pixel data.
    OverlayInPixelData,
    /// RecognizableVisualFeatures is YES: the person may be known by the face.
    RecognizableVisualFeatures,
    /// Bytes after the pixel data that are no elements were left out.
    TrailingBytes,
}

impl Flag {
    /// Returns whether the pixels may show a name.
    pub(super) fn is_burned_in(self) -> bool {
        !matches!(self, Flag::RecognizableVisualFeatures | Flag::TrailingBytes)
    }

    /// Returns what it means, as a clause.
    pub fn description(self) -> &'static str {
        match self {
            Flag::BurnedInAnnotation => "BurnedInAnnotation (0028,0301) is YES",
            Flag::HighRiskClass => {
                "images of its class often have names burned in, and BurnedInAnnotation (0028,0301) is not NO"
            }
            Flag::Digitized => "ConversionType (0008,0064) says that it was digitised from paper, film or video",
            Flag::Screenshot => "ImageType (0008,0008) says that it is a picture of a screen, a report or a label",
            Flag::OverlayInPixelData => "an overlay (60xx,0010) lies in the bits of the pixel data",
            Flag::RecognizableVisualFeatures => "RecognizableVisualFeatures (0028,0302) is YES",
            Flag::TrailingBytes => "bytes after the pixel data were left out",
        }
    }
}

/// Refuses kinds of objects whose content cannot be de-identified attribute by attribute.
pub(super) fn check_class(class: &str) -> Result<(), Problem> {
    let refused = |what: &str| {
        let cure = "leave it out; there is no way to prove that it names nobody";
        Err(Problem::new("document_class", format!("it is {what} (SOPClassUID (0008,0016))"), cure))
    };
    let Some(storage) = class.strip_prefix("1.2.840.10008.5.1.4.1.1.") else {
        let cure = "leave it out, or convert it to a standard image";
        let message = "SOPClassUID (0008,0016) is not a storage class of the DICOM standard";
        return Err(Problem::new("unknown_class", message, cure));
    };
    match storage.split('.').next().unwrap_or_default() {
        "88" => refused("a structured report or key object selection"),
        "104" => refused("an encapsulated document"),
        "11" => refused("a presentation state"),
        "66" if storage == "66" => refused("raw data"),
        _ if StandardSopClassDictionary.by_uid(class).is_none() => {
            let message = "SOPClassUID (0008,0016) is not a class that this program knows";
            Err(Problem::new("unknown_class", message, "leave it out, or use a newer mlpipe"))
        }
        _ => Ok(()),
    }
}

/// Returns whether attributes that only other objects require may be left out (Type 3 in PS3.3 A.2 to A.18).
pub(super) fn is_plain_image(class: &str) -> bool {
    const PLAIN: [&str; 14] = [
        uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
        uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
        uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
        uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
        uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
        uids::CT_IMAGE_STORAGE,
        uids::MR_IMAGE_STORAGE,
        uids::ULTRASOUND_IMAGE_STORAGE,
        uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE,
        uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        uids::X_RAY_ANGIOGRAPHIC_IMAGE_STORAGE,
        uids::X_RAY_RADIOFLUOROSCOPIC_IMAGE_STORAGE,
        uids::NUCLEAR_MEDICINE_IMAGE_STORAGE,
        uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE,
    ];
    PLAIN.contains(&class)
}

/// Returns what the header says about names in the pixels.
pub(super) fn flags(header: &DataSet<'_>, class: &str) -> Vec<Flag> {
    let text = |tag| header.text(tag).unwrap_or_default().to_ascii_uppercase();
    let burned_in = text(tags::BURNED_IN_ANNOTATION);
    let mut flags = Vec::new();
    let mut add = |flag, given: bool| flags.extend(given.then_some(flag));
    add(Flag::BurnedInAnnotation, burned_in == "YES");
    add(Flag::HighRiskClass, burned_in != "NO" && (is_high_risk_class(class) || is_high_risk(&text(tags::MODALITY))));
    add(Flag::Digitized, matches!(&*text(tags::CONVERSION_TYPE), "DV" | "DF" | "SD" | "SI" | "DRW"));
    add(Flag::Screenshot, text(tags::IMAGE_TYPE).split('\\').any(is_screenshot));
    add(Flag::RecognizableVisualFeatures, text(tags::RECOGNIZABLE_VISUAL_FEATURES) == "YES");
    flags
}

/// Secondary capture (7), ultrasound (3, 6), visible light, endoscopy and photographs (77.1).
fn is_high_risk_class(class: &str) -> bool {
    let storage = class.strip_prefix("1.2.840.10008.5.1.4.1.1.").unwrap_or_default();
    let mut parts = storage.split('.');
    match parts.next() {
        Some("7" | "3" | "6") => true,
        Some("77") => parts.next() == Some("1"),
        _ => false,
    }
}

/// Modalities whose images carry text as a rule: ultrasound, endoscopy, photographs, documents, hard copies, other.
fn is_high_risk(modality: &str) -> bool {
    matches!(modality, "US" | "IVUS" | "BDUS" | "ES" | "XC" | "GM" | "OP" | "DOC" | "HC" | "SC" | "OT")
}

fn is_screenshot(value: &str) -> bool {
    const WORDS: [&str; 8] = ["SCREEN", "CAPTURE", "SNAPSHOT", "LABEL", "REPORT", "DOSE_INFO", "PROTOCOL", "POSDISP"];
    WORDS.iter().any(|word| value.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_unknown_classes_are_refused() {
        for (class, code) in [
            (uids::COMPREHENSIVE_SR_STORAGE, "document_class"),
            (uids::KEY_OBJECT_SELECTION_DOCUMENT_STORAGE, "document_class"),
            (uids::ENCAPSULATED_PDF_STORAGE, "document_class"),
            (uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE, "document_class"),
            (uids::RAW_DATA_STORAGE, "document_class"),
            (uids::MEDIA_STORAGE_DIRECTORY_STORAGE, "unknown_class"),
            ("1.3.12.2.1107.5.9.1", "unknown_class"),
            ("1.2.840.10008.5.1.4.1.1.9999", "unknown_class"),
        ] {
            assert_eq!(check_class(class).expect_err(class).code, code, "{class}");
        }
        for class in [uids::MR_IMAGE_STORAGE, uids::SEGMENTATION_STORAGE, uids::RT_DOSE_STORAGE] {
            check_class(class).expect(class);
        }
    }

    #[test]
    fn high_risk_goes_by_class_and_modality() {
        for class in
            [uids::SECONDARY_CAPTURE_IMAGE_STORAGE, uids::ULTRASOUND_IMAGE_STORAGE, uids::VL_PHOTOGRAPHIC_IMAGE_STORAGE]
        {
            assert!(is_high_risk_class(class), "{class}");
        }
        assert!(!is_high_risk_class(uids::MR_IMAGE_STORAGE) && !is_high_risk_class(uids::SEGMENTATION_STORAGE));
        assert!(is_high_risk("US") && !is_high_risk("MR"));
        assert!(is_screenshot("SCREEN SAVE") && is_screenshot("SCREENSHOT") && !is_screenshot("LOCALIZER"));
    }
}
