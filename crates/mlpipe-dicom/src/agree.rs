//! What all slices of a volume must say alike: whose they are, in which frame of reference, in which units. Differences
//! that cannot be meant refuse the volume; those that scanners do write are warned of.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use crate::Problem;
use crate::check::{Checked, attribute, path, refuse};
use crate::group::Slice;
use crate::header::PATIENT_ATTRIBUTES;

/// Gantry tilts below this (degrees) are rounding.
const TILT_NOISE_DEG: f64 = 0.1;

/// Refuses slices of which one cannot belong to the others.
pub(crate) fn all_agree(slices: &[Slice]) -> Checked<()> {
    same_identity(slices)?;
    one_patient(slices)?;
    let alike = |code: &str, attribute: &str, alike: &dyn Fn(&Slice, &Slice) -> bool| {
        let first = &slices[0];
        match slices.iter().find(|slice| !alike(first, slice)) {
            None => Ok(()),
            Some(other) => refuse(differs(code, attribute, first, other)),
        }
    };
    let same_text = |tag: Tag| move |a: &Slice, b: &Slice| a.file.attributes.get(tag) == b.file.attributes.get(tag);
    alike("several_studies", "StudyInstanceUID (0020,000D)", &|a, b| {
        a.file.study_instance_uid == b.file.study_instance_uid
    })?;
    one_frame_of_reference(slices)?;
    alike("several_modalities", "Modality (0008,0060)", &|a, b| a.file.modality == b.file.modality)?;
    alike("several_modalities", "SOPClassUID (0008,0016)", &|a, b| a.file.sop_class_uid == b.file.sop_class_uid)?;
    alike("several_patient_positions", "PatientPosition (0018,5100)", &same_text(tags::PATIENT_POSITION))?;
    alike("several_photometric_interpretations", "PhotometricInterpretation (0028,0004)", &|a, b| {
        a.file.monochrome1 == b.file.monochrome1
    })?;
    alike("mixed_rescale", "RescaleType (0028,1054)", &same_text(tags::RESCALE_TYPE))?;
    alike("mixed_rescale", "the way to modality units (RescaleSlope, RescaleIntercept, ModalityLUT)", &|a, b| {
        a.plane().rescaled == b.plane().rescaled
    })
}

/// Warns of what is odd though it may be meant.
pub(crate) fn oddities(slices: &[Slice]) -> Vec<Problem> {
    let first = &slices[0];
    let mut odd = Vec::new();
    let mut add = |code: &str, message: &str, cure: &str| {
        odd.push(Problem::new(code, message, cure).in_file(path(first)));
    };
    let says = |keyword: &str| attribute(&first.file, keyword);
    if first.file.frame_of_reference.is_none() {
        add("no_frame_of_reference", "FrameOfReferenceUID (0020,0052) is missing", "do not relate it to other series");
    }
    if first.file.study_instance_uid.is_empty() {
        add("no_study", "StudyInstanceUID (0020,000D) is missing", "export the series again with complete headers");
    }
    if says("PhotometricInterpretation").is_empty() {
        let cure = "compare with the scanner";
        add("no_photometric_interpretation", "PhotometricInterpretation (0028,0004) is missing", cure);
    }
    if says("Modality") == "CT" && first.plane().rescaled.is_none() {
        let cure = "do not take the values for Hounsfield units";
        add("no_rescale", "RescaleSlope (0028,1053) and RescaleIntercept (0028,1052) of a CT are missing", cure);
    }
    if slices.iter().any(|slice| slice.plane().slope < 0.0) {
        add("negative_rescale_slope", "RescaleSlope (0028,1053) is negative", "compare the values with the scanner");
    }
    if says("BurnedInAnnotation") == "YES" {
        let cure = "text in the pixels may name the patient and disturb a model";
        add("burned_in_annotation", "BurnedInAnnotation (0028,0301) is YES", cure);
    }
    if let Some(tilt) = says("GantryDetectorTilt").parse::<f64>().ok().filter(|tilt| tilt.abs() > TILT_NOISE_DEG) {
        let message = format!("GantryDetectorTilt (0018,1120) is {tilt} degrees but positions are not tilted");
        add("gantry_tilt", &message, "check that the series was reformatted without tilt");
    }
    odd.extend(differences(slices));
    odd
}

/// Attributes that may differ between files of a volume but rarely should.
fn differences(slices: &[Slice]) -> Vec<Problem> {
    let first = &slices[0];
    let mut found = Vec::new();
    let mut look = |code: &str, attribute: &str, value: &dyn Fn(&Slice) -> Option<[f64; 2]>| {
        let wanted = value(first);
        if let Some(other) = slices.iter().find(|slice| value(slice) != wanted) {
            let (here, there) = (told(value(other)), told(wanted));
            let message = format!("{attribute} is {here} here and {there} in `{}`", path(first).display());
            found.push(Problem::new(code, message, "compare the slices with the scanner").in_file(path(other)));
        }
    };
    let one = |value: f64| Some([value, value]);
    look("mixed_pixel_format", "BitsStored (0028,0101)", &|slice| {
        one(slice.file.source.pixel_format.bits_stored.into())
    });
    look("mixed_pixel_format", "PixelRepresentation (0028,0103)", &|slice| {
        one(u8::from(slice.file.source.pixel_format.signed).into())
    });
    look("mixed_thickness", "SliceThickness (0018,0050)", &|slice| slice.geometry().thickness_mm.and_then(one));
    // PET scales every slice to its own maximum; frames of one file say for themselves what they are.
    let one_file = slices.iter().all(|slice| path(slice) == path(first));
    if first.file.modality != "PT" && !one_file {
        look("rescale_differs", "RescaleSlope\\RescaleIntercept", &|slice| {
            Some([slice.plane().slope, slice.plane().intercept])
        });
    }
    found
}

fn told(value: Option<[f64; 2]>) -> String {
    match value {
        None => "missing".to_owned(),
        Some([one, other]) if one == other => one.to_string(),
        Some([one, other]) => format!("{one}\\{other}"),
    }
}

/// Two slices that differ in something that is not told: it may name a person.
fn differs(code: &str, attribute: &str, first: &Slice, other: &Slice) -> Problem {
    let message = format!("{attribute} differs from that of `{}` in the same series", path(first).display());
    Problem::new(code, message, "separate the files of the two, or export the series again").in_file(path(other))
}

/// Two different files with one SOPInstanceUID: it cannot be known which is meant.
fn same_identity(slices: &[Slice]) -> Checked<()> {
    let mut seen: BTreeMap<&str, &Slice> = BTreeMap::new();
    for slice in slices {
        let uid = slice.file.source.sop_instance_uid.as_str();
        match seen.insert(uid, slice) {
            Some(other) if path(other) != path(slice) => {
                let message =
                    format!("SOPInstanceUID {uid} is also that of `{}`, with other content", path(other).display());
                let problem = Problem::new("duplicate_sop_instance_uid", message, "remove the file that is wrong");
                return refuse(problem.in_file(path(slice)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// One SeriesInstanceUID over two patients: somebody's images are in the wrong place. A name or birth date that one of
/// the files leaves out tells nothing.
fn one_patient(slices: &[Slice]) -> Checked<()> {
    for (index, (_, attribute)) in PATIENT_ATTRIBUTES.iter().enumerate() {
        let said = |slice: &Slice| slice.file.patient[index];
        let Some(first) = slices.iter().find(|slice| said(slice).is_some()) else { continue };
        let id = index == 0;
        if let Some(other) = slices.iter().find(|slice| said(slice) != said(first) && (id || said(slice).is_some())) {
            return refuse(differs("several_patients", attribute, first, other));
        }
    }
    Ok(())
}

fn one_frame_of_reference(slices: &[Slice]) -> Checked<()> {
    let first = &slices[0];
    match slices.iter().find(|slice| slice.file.frame_of_reference != first.file.frame_of_reference) {
        None => Ok(()),
        Some(other) => {
            let uid = |slice: &Slice| slice.file.frame_of_reference.clone().unwrap_or_else(|| "none".into());
            let message = format!(
                "FrameOfReferenceUID (0020,0052) is {} here and {} in `{}`: positions cannot be compared",
                uid(other),
                uid(first),
                path(first).display()
            );
            let cure = "separate the acquisitions, or export the series again";
            refuse(Problem::new("several_frames_of_reference", message, cure).in_file(path(other)))
        }
    }
}
