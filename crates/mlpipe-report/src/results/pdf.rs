//! The report as PDF, alone and encapsulated in DICOM (PS3.3 A.45.1): the result, the findings, the key images, what was
//! examined, and the models. It names the study and the series, not the patient.

use dicom_dictionary_std::{tags, uids};

use super::code::Code;
use super::key_image::KeyImage;
use super::object::{Kind, begin, finish, put, put_bytes, put_code, put_items, put_u32, referenced_instances};
use super::page::{ALERT, BODY, Pages, SOFT, STRONG, TITLE};
use super::{Context, ResultFile};
use crate::report::{Examined, PlacedFinding};
use crate::{Error, ModelReference, Result, wording};

const NAME: &str = "report.pdf";
const DOCUMENT_TITLE: &str = "Schmorl's nodes - RESEARCH USE ONLY";

/// Returns the pages.
pub(super) fn pdf(context: &Context, images: &[KeyImage]) -> Result<Vec<u8>> {
    let mut pages = Pages::new();
    head(context, &mut pages);
    findings(context, &mut pages);
    pages.heading(if images.len() == 1 { "Key image" } else { "Key images" });
    for image in images {
        pages.picture(&image.canvas, 232.0);
        pages.text(&image.caption, SOFT);
        pages.space(8.0);
    }
    examined(context, &mut pages);
    vertebrae(context, &mut pages);
    models(context, &mut pages);
    pages.space(8.0);
    pages.text("Probabilities are outputs of a model, not of a reader. Slices are counted from 0.", SOFT);
    let foot = format!("mlpipe {} - {}", context.report.input.mlpipe_version, wording::NOTICE);
    let failed = |error: std::io::Error| Error::Encode { object: NAME.into(), message: error.to_string() };
    pages.finish(DOCUMENT_TITLE, &foot).map_err(failed)
}

fn head(context: &Context, pages: &mut Pages) {
    let (report, volume) = (&context.report, context.volume());
    let [slices, rows, columns] = volume.geometry.shape;
    let [between_slices, row_mm, column_mm] = volume.geometry.spacing_mm;
    pages.text("Spine: vertebrae and Schmorl's nodes", TITLE);
    pages.space(4.0);
    let (headline, rest) = wording::result(report);
    pages.text(&format!("{headline}{rest}"), if report.findings.is_empty() { STRONG } else { ALERT });
    pages.space(6.0);
    let plane = volume.geometry.plane();
    for line in [
        format!("Study {}", volume.study_instance_uid),
        format!("Series {}", volume.series_instance_uid),
        format!(
            "{}, {plane}, {:.1} degrees oblique, {slices} slices of {rows} x {columns} pixels, {between_slices:.2} mm between \
             slices, {row_mm:.2} x {column_mm:.2} mm pixels",
            volume.modality,
            volume.geometry.obliquity_deg()
        ),
        format!("Thresholds: {}", wording::thresholds(report)),
        "Status: preliminary, not verified by a reader".into(),
    ] {
        pages.text(&line, BODY);
    }
}

fn findings(context: &Context, pages: &mut Pages) {
    if context.report.findings.is_empty() {
        return;
    }
    let row = |PlacedFinding { finding, vertebra, .. }: &PlacedFinding| {
        vec![
            wording::level(vertebra),
            finding.endplate.to_string(),
            wording::finding(&finding.finding),
            format!("{:.2}", finding.probability),
            format!("{:.1}", finding.width_mm),
            format!("{:.1}", finding.depth_mm),
            finding.slice.to_string(),
        ]
    };
    pages.heading("Findings");
    pages.table(
        &["Level", "Endplate", "Finding", "Probability", "Width mm", "Depth mm", "Slice"],
        &[0.22, 0.14, 0.2, 0.14, 0.11, 0.11, 0.08],
        &context.report.findings.iter().map(row).collect::<Vec<_>>(),
    );
}

fn examined(context: &Context, pages: &mut Pages) {
    if context.report.examined.is_empty() {
        return;
    }
    let row = |Examined { endplate, vertebra, verdict, .. }: &Examined| {
        vec![
            wording::level(vertebra),
            endplate.endplate.to_string(),
            wording::verdict(*verdict).to_owned(),
            format!("{:.2}", endplate.probability),
            endplate.slice.to_string(),
        ]
    };
    pages.heading("Endplates examined");
    pages.table(
        &["Level", "Endplate", "Result", "Probability", "Slice"],
        &[0.28, 0.18, 0.3, 0.14, 0.1],
        &context.report.examined.iter().map(row).collect::<Vec<_>>(),
    );
}

fn vertebrae(context: &Context, pages: &mut Pages) {
    let vertebrae = &context.report.input.vertebrae.vertebrae;
    if vertebrae.is_empty() {
        return;
    }
    let row = |vertebra: &crate::Vertebra| {
        vec![
            vertebra.id.clone(),
            wording::level_alone(vertebra),
            vertebra.level_basis.clone(),
            format!("{:.2}", vertebra.score),
            vertebra.slice.to_string(),
        ]
    };
    pages.heading("Vertebrae");
    pages.table(
        &["Id", "Level", "How the level was found", "Score", "Key slice"],
        &[0.08, 0.15, 0.53, 0.11, 0.13],
        &vertebrae.iter().map(row).collect::<Vec<_>>(),
    );
}

fn models(context: &Context, pages: &mut Pages) {
    let row = |task: &str, model: &ModelReference, threshold: f64| {
        let ModelReference { name, version, sha256, backend } = model;
        vec![task.to_owned(), format!("{name} {version}"), backend.clone(), format!("{threshold:.2}"), sha256.clone()]
    };
    let detected = context.report.input.vertebrae;
    let mut rows = vec![row("Vertebrae", &detected.model, detected.threshold)];
    let classifiers = context.report.classifiers.iter();
    rows.extend(classifiers.map(|&(model, threshold)| row("Schmorl's nodes", model, threshold)));
    pages.heading("Models");
    pages.table(
        &["Task", "Model", "Backend", "Threshold", "SHA-256 of the weights"],
        &[0.15, 0.24, 0.16, 0.11, 0.34],
        &rows,
    );
}

pub(super) fn kind() -> Kind {
    Kind {
        sop_class_uid: uids::ENCAPSULATED_PDF_STORAGE,
        modality: "DOC",
        file_name: "report-pdf.dcm".into(),
        series: "document",
        series_number: 4,
        series_description: "mlpipe PDF",
        instance_number: 1,
    }
}

/// Returns the pages as a DICOM file.
pub(super) fn encapsulated(context: &Context, pdf: &[u8]) -> Result<ResultFile> {
    let kind = kind();
    let title = Code::new("18748-4", "LN", "Diagnostic imaging study");
    let mut object = begin(context, &kind);
    put(&mut object, tags::CONVERSION_TYPE, "SYN");
    let (date, time) = context.date_and_time();
    put(&mut object, tags::ACQUISITION_DATE_TIME, &format!("{date}{time}"));
    // The pages name study and series, not the patient.
    put(&mut object, tags::BURNED_IN_ANNOTATION, "NO");
    put(&mut object, tags::DOCUMENT_TITLE, DOCUMENT_TITLE);
    put_code(&mut object, tags::CONCEPT_NAME_CODE_SEQUENCE, &title);
    put_items(&mut object, tags::SOURCE_INSTANCE_SEQUENCE, referenced_instances(context));
    put(&mut object, tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, "application/pdf");
    put_u32(&mut object, tags::ENCAPSULATED_DOCUMENT_LENGTH, &[pdf.len() as u32]);
    put_bytes(&mut object, tags::ENCAPSULATED_DOCUMENT, pdf.to_vec());
    finish(context, &kind, object)
}
