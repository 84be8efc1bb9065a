use std::collections::HashSet;

use mlpipe_dicom::{SourceSlice, Volume};
use ndarray::Array3;

use super::*;
use crate::{
    BoxOnSlice, Endplate, Error, ExaminedEndplate, FINDINGS_FORMAT, Finding, FindingsDocument, VERTEBRAE_FORMAT,
    VertebraeDocument,
};

const SERIES: &str = "1.2.3";

/// Three sagittal slices of 40 x 30 pixels of 2 mm, each with a stored image of 80 x 60 pixels of 1 mm behind it; the
/// last is interpolated.
fn volume() -> Volume {
    let geometry = VolumeGeometry {
        shape: [3, 40, 30],
        origin_lps: [0.0; 3],
        slice_axis: [1.0, 0.0, 0.0],
        row_axis: [0.0, 0.0, -1.0],
        column_axis: [0.0, 1.0, 0.0],
        spacing_mm: [4.0, 2.0, 2.0],
    };
    let source = |slice: usize| SourceSlice {
        sop_instance_uid: format!("1.2.3.100000{slice}"),
        shape: [80, 60],
        origin_lps: [4.0 * slice as f64, -0.5, 0.5],
        row_axis: [0.0, 0.0, -1.0],
        column_axis: [0.0, 1.0, 0.0],
        spacing_mm: [1.0, 1.0],
    };
    Volume {
        geometry,
        voxels: Array3::from_shape_fn((3, 40, 30), |(slice, row, column)| (slice + row + column) as f32),
        sources: vec![Some(source(0)), Some(source(1)), None],
        series_instance_uid: SERIES.to_owned(),
        study_instance_uid: "1.2".to_owned(),
        modality: "MR".to_owned(),
    }
}

fn model(name: &str) -> ModelReference {
    ModelReference {
        name: name.to_owned(),
        version: "3".to_owned(),
        sha256: "ab".repeat(32),
        backend: "rten 0.27.0".to_owned(),
    }
}

fn vertebra(id: &str, level: Option<&str>, top: f64) -> Vertebra {
    let box_px = [20.0, top, 39.0, top + 19.0];
    let image = |slice: usize| Some(format!("1.2.3.100000{slice}"));
    let on = |slice| BoxOnSlice { slice, sop_instance_uid: image(slice), box_px, score: 0.9 };
    Vertebra {
        id: id.to_owned(),
        level: level.map(str::to_owned),
        level_candidates: Vec::new(),
        level_basis: "counted up from the sacrum".to_owned(),
        score: 0.9,
        slice: 1,
        sop_instance_uid: image(1),
        box_px,
        center_lps: [4.0, 30.0, -20.0],
        slices: vec![on(0), on(1)],
    }
}

fn vertebrae(vertebrae: Vec<Vertebra>) -> VertebraeDocument {
    VertebraeDocument {
        format: VERTEBRAE_FORMAT.to_owned(),
        series_instance_uid: SERIES.to_owned(),
        model: model("vertebra-detector"),
        threshold: 0.4,
        vertebrae,
    }
}

/// Both endplates examined; a node on the superior one when its probability reaches the threshold.
fn findings(vertebra: &Vertebra, superior: f64) -> FindingsDocument {
    let examined = |endplate, probability| ExaminedEndplate {
        vertebra_id: vertebra.id.clone(),
        level: vertebra.level.clone(),
        endplate,
        probability,
        slice: 1,
        sop_instance_uid: vertebra.sop_instance_uid.clone(),
        vertebra_box_px: vertebra.box_px,
    };
    let [x, y, ..] = vertebra.box_px;
    let node = Finding {
        vertebra_id: vertebra.id.clone(),
        level: vertebra.level.clone(),
        endplate: Endplate::Superior,
        finding: "schmorl_node".to_owned(),
        probability: superior,
        slice: 1,
        sop_instance_uid: vertebra.sop_instance_uid.clone(),
        box_px: [x + 5.0, y, x + 12.0, y + 4.0],
        width_mm: 8.1,
        depth_mm: 4.6,
    };
    FindingsDocument {
        format: FINDINGS_FORMAT.to_owned(),
        series_instance_uid: SERIES.to_owned(),
        model: model("schmorl-classifier"),
        threshold: 0.5,
        examined: vec![examined(Endplate::Inferior, 0.07), examined(Endplate::Superior, superior)],
        findings: if superior >= 0.5 { vec![node] } else { Vec::new() },
    }
}

fn render(vertebrae: &VertebraeDocument, findings: &[FindingsDocument]) -> Result<String> {
    let volume = volume();
    let input = ReportInput { volume: &volume, vertebrae, findings, run_id: Some("0123abcd"), mlpipe_version: "0.1.0" };
    render_html(&input)
}

fn page(vertebrae: &VertebraeDocument, findings: &[FindingsDocument]) -> String {
    render(vertebrae, findings).expect("the report is rendered")
}

#[test]
fn a_negative_report_says_so_and_lists_every_endplate() {
    let bodies = vec![vertebra("v1", Some("L4"), 10.0), vertebra("v2", Some("L5"), 40.0)];
    let documents: Vec<FindingsDocument> = bodies.iter().map(|body| findings(body, 0.12)).collect();
    let page = page(&vertebrae(bodies), &documents);
    assert!(page.contains("<strong>No Schmorl's node found</strong> on 4 endplates of 2 vertebrae."));
    assert!(page.contains("4 endplates examined, 4 negative."));
    assert_eq!(page.matches("<td>negative</td>").count(), 4);
    assert!(!page.contains("<h2>Findings</h2>") && !page.contains("Nodes in detail"));
    assert!(page.contains("Research use only - not a medical device"));
    assert_eq!(page.matches("<svg").count(), 1);
}

#[test]
fn a_finding_has_a_row_a_picture_and_its_models() {
    let bodies = vec![vertebra("v1", Some("L4"), 10.0), vertebra("v2", Some("L5"), 40.0)];
    // Documents in the wrong order: the report goes from head to foot.
    let documents = [findings(&bodies[1], 0.1), findings(&bodies[0], 0.91)];
    let page = page(&vertebrae(bodies), &documents);
    assert!(page.contains("1 Schmorl's node found"));
    assert!(page.contains(
        "<tr><th scope=\"row\">L4</th><td>superior</td><td>Schmorl&#39;s node</td><td class=\"number\">0.91</td>\
         <td class=\"number\">8.1</td><td class=\"number\">4.6</td><td class=\"number\">1</td>\
         <td><span class=\"uid\" title=\"1.2.3.1000001\">&hellip;.1000001</span></td></tr>"
    ));
    assert_eq!(page.matches("<svg").count(), 3, "overview, node, node with boxes");
    assert_eq!(page.matches("schmorl-classifier").count(), 1, "a model is listed once");
    assert!(page.contains(&"ab".repeat(32)) && page.contains("rten 0.27.0"));
    assert!(page.contains("vertebra 0.40, node 0.50") && page.contains("<code>0123abcd</code>"));
    assert!(page.find(">L4</th>").expect("L4") < page.find(">L5</th>").expect("L5"));
}

#[test]
fn boxes_of_stored_pixels_lie_where_they_belong_in_millimetres() {
    let page = page(&vertebrae(vec![vertebra("v1", Some("L4"), 10.0)]), &[]);
    // Stored pixels 20..=39 of 1 mm are millimetres 20 to 40 of the picture.
    assert!(page.contains("<rect class=\"body\" x=\"20.00\" y=\"10.00\" width=\"20.00\" height=\"20.00\"/>"), "{page}");
    assert!(page.contains("viewBox=\"0 0 60.00 80.00\""));
}

#[test]
fn a_null_level_is_shown_as_not_asserted() {
    let mut body = vertebra("v1", None, 10.0);
    body.level_basis = "no sacrum in view".to_owned();
    let documents = [findings(&body, 0.8)];
    let page = page(&vertebrae(vec![body]), &documents);
    assert!(page.contains("v1 <span class=\"soft\">(level not asserted)</span>"));
    assert!(page.contains("<td>not asserted</td><td>no sacrum in view</td>"));
    assert!(page.contains(">v1</text>"));
}

#[test]
fn what_a_level_may_be_is_told() {
    let mut body = vertebra("v1", None, 10.0);
    body.level_candidates = vec!["L3".to_owned(), "L2".to_owned()];
    let documents = [findings(&body, 0.8)];
    assert!(page(&vertebrae(vec![body]), &documents).contains("<td>not asserted: L3 or L2</td>"));
}

#[test]
fn an_empty_document_says_that_no_spine_was_found() {
    let page = page(&vertebrae(Vec::new()), &[]);
    assert!(page.contains("<strong>No spine found.</strong> No column of vertebral bodies reached the score of 0.40."));
    assert!(page.contains("no vertebra marked"));
    assert!(!page.contains("<h2>Endplates examined</h2>") && page.contains("<h2>Models</h2>"));
}

#[test]
fn an_endplate_above_the_threshold_without_a_box_is_not_called_negative() {
    let body = vertebra("v1", Some("L4"), 10.0);
    let mut document = findings(&body, 0.8);
    document.findings.clear();
    let page = page(&vertebrae(vec![body]), &[document]);
    assert!(page.contains("<td>above the threshold, not localised</td>"));
    assert!(page.contains("No Schmorl's node localised") && !page.contains("No Schmorl's node found"));
}

#[test]
fn text_from_outside_is_escaped_everywhere() {
    let evil = "<script>\"'&";
    let mut body = vertebra("v1", Some(evil), 10.0);
    body.id = evil.to_owned();
    body.level_basis = evil.to_owned();
    let mut document = findings(&body, 0.9);
    document.model = ModelReference {
        name: evil.to_owned(),
        version: evil.to_owned(),
        sha256: evil.to_owned(),
        backend: evil.to_owned(),
    };
    document.findings[0].finding = evil.to_owned();
    let vertebrae = vertebrae(vec![body]);
    let volume = volume();
    let input = ReportInput {
        volume: &volume,
        vertebrae: &vertebrae,
        findings: &[document],
        run_id: Some(evil),
        mlpipe_version: evil,
    };
    let page = render_html(&input).expect("the report is rendered");
    assert!(!page.contains("<script"));
    assert!(page.matches("&lt;script&gt;&quot;&#39;&amp;").count() > 10);
}

#[test]
fn the_page_needs_nothing_else_and_is_the_same_each_time() {
    let body = vertebra("v1", Some("L4"), 10.0);
    let documents = [findings(&body, 0.9)];
    let vertebrae = vertebrae(vec![body]);
    let first = page(&vertebrae, &documents);
    assert_eq!(first, page(&vertebrae, &documents));
    let targets: HashSet<&str> = first.match_indices("href=\"").map(|(at, _)| &first[at + 6..at + 16]).collect();
    assert_eq!(targets, HashSet::from(["data:image"]));
    assert!(!first.contains("http://") && !first.contains("https://") && !first.contains("<script"));
}

#[test]
fn documents_that_do_not_fit_the_volume_are_refused() {
    let refusal = |change: &dyn Fn(&mut VertebraeDocument, &mut FindingsDocument)| {
        let body = vertebra("v1", Some("L4"), 10.0);
        let mut document = findings(&body, 0.9);
        let mut vertebrae = vertebrae(vec![body]);
        change(&mut vertebrae, &mut document);
        render(&vertebrae, &[document]).expect_err("the report is refused")
    };
    assert!(matches!(refusal(&|v, _| v.series_instance_uid = "9".to_owned()), Error::OtherSeries { .. }));
    assert!(matches!(refusal(&|_, f| f.format = "mlpipe.findings/2".to_owned()), Error::OtherFormat { .. }));
    assert!(matches!(refusal(&|v, _| v.vertebrae.clear()), Error::UnknownVertebra { .. }));
    assert!(matches!(refusal(&|_, f| f.findings[0].slice = 7), Error::NoSuchSlice { slices: 3, .. }));
    assert!(matches!(refusal(&|_, f| f.findings[0].slice = 0), Error::OtherImage { .. }));
    assert!(matches!(refusal(&|_, f| f.findings[0].slice = 2), Error::OtherImage { .. }));
    assert!(matches!(refusal(&|_, f| f.findings[0].box_px = [f64::NAN; 4]), Error::NotABox { .. }));
}

#[test]
fn a_slice_that_was_interpolated_takes_boxes_in_pixels_of_the_volume() {
    let mut body = vertebra("v1", Some("L4"), 10.0);
    body.slices = vec![BoxOnSlice { slice: 2, sop_instance_uid: None, box_px: [5.0, 6.0, 9.0, 9.0], score: 0.9 }];
    (body.slice, body.sop_instance_uid, body.box_px) = (2, None, [5.0, 6.0, 9.0, 9.0]);
    let page = page(&vertebrae(vec![body]), &[]);
    assert!(page.contains("<rect class=\"body\" x=\"10.00\" y=\"12.00\" width=\"10.00\" height=\"8.00\"/>"), "{page}");
    assert!(page.contains("interpolated, no stored image"));
}
