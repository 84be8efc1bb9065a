//! Result objects for a PACS and a hospital's systems: DICOM SR, SEG, key images and encapsulated PDF, and a FHIR bundle.
//!
//! All are made from the same checked documents as the HTML report, and from the headers of the source images, which say
//! under which patient and study they must be filed. The same input gives the same bytes: dates are those of the study,
//! UIDs are digests. The DICOM objects hold the patient's attributes, as PS3.3 requires; nothing else does.

mod canvas;
mod code;
mod content;
mod fhir;
mod font;
mod identity;
mod key_image;
mod object;
mod page;
mod pdf;
mod region;
mod segmentation;
mod source;
mod structured_report;

use dicom_dictionary_std::tags;
use mlpipe_dicom::Volume;

pub use code::Code;
pub use source::SourceSeries;

use crate::picture::Window;
use crate::report::{PlacedFinding, Report};
use crate::{Error, ReportInput, Result};
use identity::{Device, Identity};

/// What result objects are made from.
#[derive(Debug, Clone, Copy)]
pub struct ResultsInput<'a> {
    /// What the report shows; its run is not named in results, which do not depend on who made them when.
    pub report: ReportInput<'a>,
    /// The stored series that the volume was made from.
    pub source: &'a SourceSeries,
    /// Code of a Schmorl's node.
    pub node: &'a Code,
    /// Digest of this program's sources: other code makes other objects, with other UIDs.
    pub source_digest: &'a str,
}

/// A file and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultFile {
    /// Names what it is; nothing of the study or the patient.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The results of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// DICOM files: the structured report, the segmentation if anything was found to outline, key images, the PDF.
    pub objects: Vec<ResultFile>,
    /// The PDF alone.
    pub pdf: Vec<u8>,
    /// FHIR R4 bundle, JSON.
    pub bundle: String,
    /// What a reader should know about the results.
    pub notes: Vec<String>,
}

/// Makes all result objects of one series.
///
/// # Errors
/// When a document does not fit the volume, as in [`render_html`](crate::render_html), when the source images are not
/// those of the volume, or an object cannot be encoded.
pub fn write_results(input: &ResultsInput) -> Result<Results> {
    let context = Context::new(input)?;
    let images = key_image::key_images(&context);
    let pdf = pdf::pdf(&context, &images)?;
    let mut notes = Vec::new();
    let mut objects = vec![structured_report::structured_report(&context)?];
    match segmentation::segmentation(&context)? {
        Some(segmentation) => objects.push(segmentation),
        None => notes.push("no vertebra was found: there is nothing to outline, no segmentation was written".into()),
    }
    objects.extend(key_image::secondary_captures(&context, &images)?);
    objects.push(pdf::encapsulated(&context, &pdf)?);
    if context.source.date_and_time().is_none() {
        let (date, _) = object::NO_DATE;
        notes.push(format!("the source images tell no date: the results, which must have one, say {date}"));
    }
    let bundle = fhir::bundle(&context, &objects, images.len())?;
    Ok(Results { objects, pdf, bundle, notes })
}

/// What all objects of one series are made from.
struct Context<'a> {
    report: Report<'a>,
    source: &'a SourceSeries,
    node: Code,
    identity: Identity,
    /// This program, then the models.
    devices: Vec<Device>,
    /// Grey window of the volume.
    window: Window,
}

impl<'a> Context<'a> {
    fn new(input: &'a ResultsInput<'a>) -> Result<Context<'a>> {
        let report = Report::new(&input.report)?;
        check_source(input.report.volume, input.source)?;
        let identity = Identity::new(&input.report, input.source.digest, input.node, input.source_digest);
        let mut devices = vec![Device::program(input.report.mlpipe_version)];
        let models = [&input.report.vertebrae.model].into_iter();
        for model in models.chain(report.classifiers.iter().map(|(model, _)| *model)) {
            let device = Device::model(model);
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        let window = Window::of(input.report.volume);
        Ok(Context { report, source: input.source, node: input.node.clone(), identity, devices, window })
    }

    fn volume(&self) -> &'a Volume {
        self.report.input.volume
    }

    fn date_and_time(&self) -> (String, String) {
        let none = || (object::NO_DATE.0.to_owned(), object::NO_DATE.1.to_owned());
        self.source.date_and_time().unwrap_or_else(none)
    }

    /// The frame of reference of the source images. Images that name none share none with other series: theirs is named
    /// after the series.
    fn frame_of_reference(&self) -> String {
        let named = self.source.header.text(tags::FRAME_OF_REFERENCE_UID);
        named.map_or_else(|| identity::lasting_uid(&["frame", &self.source.series_instance_uid]), str::to_owned)
    }

    /// A serial number of this combination of program and models.
    fn serial_number(&self) -> String {
        let uids: Vec<&str> = self.devices.iter().map(|device| device.uid.as_str()).collect();
        let uid = identity::lasting_uid(&[&["serial"], &uids[..]].concat());
        uid.trim_start_matches("2.25.")[..16].to_owned()
    }

    /// Returns which of the nodes on its endplate a finding is, from 0.
    fn rank_on_endplate(&self, found: &PlacedFinding) -> usize {
        let same = |other: &&PlacedFinding| {
            other.vertebra.id == found.vertebra.id && other.finding.endplate == found.finding.endplate
        };
        let mut on_endplate = self.report.findings.iter().filter(same);
        on_endplate.position(|other| std::ptr::eq(other.finding, found.finding)).unwrap_or(0)
    }
}

/// Checks that every stored image behind the volume is among the source images.
fn check_source(volume: &Volume, source: &SourceSeries) -> Result<()> {
    if volume.series_instance_uid != source.series_instance_uid {
        return Err(Error::OtherSeries {
            document: "source images",
            found: source.series_instance_uid.clone(),
            expected: volume.series_instance_uid.clone(),
        });
    }
    for (slice, behind) in volume.sources.iter().enumerate() {
        let Some(behind) = behind else { continue };
        if !source.images.iter().any(|image| image.sop_instance_uid == behind.sop_instance_uid) {
            return Err(Error::NotASourceImage { slice, sop_instance_uid: behind.sop_instance_uid.clone() });
        }
    }
    Ok(())
}
