//! The report as one HTML page that needs nothing else: pictures are `data:` URIs, there is no script.
//!
//! The page holds no clock and no host name: the same input gives the same bytes.

use mlpipe_dicom::VolumeGeometry;

use crate::figure::{Mark, draw};
use crate::picture::{Region, Window};
use crate::report::{Examined, PlacedFinding, Report, ReportInput, Verdict};
use crate::wording::{self, NOTICE, count};
use crate::{ModelReference, Result, Vertebra};

const STYLE: &str = include_str!("style.css");
/// Half of the side of a finding's picture: the two neighbouring bodies are on it.
const DETAIL_REACH_MM: f64 = 34.0;

/// Returns a page about one series: what was found, where, with which models, and what was looked at and found normal.
///
/// Boxes of stored images are placed on the slices of the volume; slices are counted from 0, as in the documents.
///
/// # Errors
/// When a document does not fit the volume (another series, image, slice or format), names a vertebra that is not there,
/// or has a box that is none.
pub fn render_html(input: &ReportInput) -> Result<String> {
    let report = Report::new(input)?;
    let window = Window::of(input.volume);
    let mut page = String::new();
    page.push_str(&head(&report));
    page.push_str(&findings_table(&report));
    page.push_str(&overview(&report, window)?);
    page.push_str(&details(&report)?);
    page.push_str(&examined_table(&report));
    page.push_str(&vertebrae_table(&report));
    page.push_str(&models_table(&report));
    page.push_str(&format!(
        "<footer>\n<p>{NOTICE}. Probabilities are outputs of a model, not of a reader.</p>\n\
         <p>Written by mlpipe {}.</p>\n</footer>\n</main>\n</body>\n</html>\n",
        escape(input.mlpipe_version)
    ));
    Ok(page)
}

/// Escapes text for HTML content and attribute values.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

fn head(report: &Report) -> String {
    let volume = report.input.volume;
    let series = escape(&volume.series_instance_uid);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <title>Schmorl's nodes: series {series}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<p class=\"kicker\">Spine MR: vertebrae and Schmorl's nodes</p>\n\
         <h1>Series <span class=\"uid\">{series}</span></h1>\n\
         <p class=\"notice\" role=\"note\">{NOTICE}</p>\n</header>\n\
         <p class=\"result\">{}</p>\n{}",
        result_sentence(report),
        facts(report),
    )
}

/// The result in one sentence.
fn result_sentence(report: &Report) -> String {
    let (headline, rest) = wording::result(report);
    let class = if report.findings.is_empty() { "" } else { " class=\"positive\"" };
    format!("<strong{class}>{headline}</strong>{rest}")
}

fn facts(report: &Report) -> String {
    let volume = report.input.volume;
    let geometry = &volume.geometry;
    let [slices, rows, columns] = geometry.shape;
    let mut facts = vec![
        ("", "Vertebrae", report.input.vertebrae.vertebrae.len().to_string()),
        ("", "Endplates examined", report.examined.len().to_string()),
        ("", "Schmorl's nodes", report.findings.len().to_string()),
        ("", "Modality", escape(&volume.modality)),
        ("", "Plane", format!("{}, {:.1}&deg; oblique", geometry.plane(), geometry.obliquity_deg())),
        ("", "Slices", format!("{slices} of {rows} &times; {columns} pixels")),
        ("", "Spacing", spacing(geometry)),
        ("", "Thresholds", wording::thresholds(report)),
        ("wide", "Study", format!("<span class=\"uid\">{}</span>", escape(&volume.study_instance_uid))),
    ];
    if let Some(run_id) = report.input.run_id {
        facts.push(("wide", "Run", format!("<code>{}</code>", escape(run_id))));
    }
    let rows: String = facts
        .into_iter()
        .map(|(class, term, value)| format!("<div class=\"{class}\"><dt>{term}</dt><dd>{value}</dd></div>\n"))
        .collect();
    format!("<dl class=\"facts\">\n{rows}</dl>\n").replace("<div class=\"\">", "<div>")
}

fn spacing(geometry: &VolumeGeometry) -> String {
    let [between_slices, between_rows, between_columns] = geometry.spacing_mm;
    format!("{between_slices:.2} mm between slices, {between_rows:.2} &times; {between_columns:.2} mm pixels")
}

fn findings_table(report: &Report) -> String {
    if report.findings.is_empty() {
        return String::new();
    }
    let rows: String = report
        .findings
        .iter()
        .map(|PlacedFinding { finding, vertebra, .. }| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"number\">{:.2}</td>\
                 <td class=\"number\">{:.1}</td><td class=\"number\">{:.1}</td><td class=\"number\">{}</td><td>{}</td></tr>\n",
                level(vertebra),
                finding.endplate,
                escape(&wording::finding(&finding.finding)),
                finding.probability,
                finding.width_mm,
                finding.depth_mm,
                finding.slice,
                image_name(finding.sop_instance_uid.as_deref()),
            )
        })
        .collect();
    table(
        "Findings",
        "Width is along the endplate, depth into the body, both on the slice that shows the node largest.",
        &["Level", "Endplate", "Finding", "#Probability", "#Width mm", "#Depth mm", "#Slice", "Image"],
        &rows,
    )
}

/// The slice that shows most vertebrae, with all boxes.
fn overview(report: &Report, window: Window) -> Result<String> {
    let volume = report.input.volume;
    let slice = report.overview_slice();
    let bodies = report.boxes.get(&slice).map_or(&[][..], Vec::as_slice);
    let mut marks: Vec<Mark> = bodies
        .iter()
        .map(|&(vertebra, placed)| Mark {
            placed,
            class: if report.has_finding(vertebra) { "body positive" } else { "body" },
            name: Some(vertebra.level.as_deref().unwrap_or(&vertebra.id)),
        })
        .collect();
    marks.extend(report.findings_on(slice).map(|found| Mark { placed: found.placed, class: "node", name: None }));
    let names: Vec<&str> = marks.iter().filter_map(|mark| mark.name).collect();
    let description = match names.as_slice() {
        [] => format!("Slice {slice}, no vertebra marked."),
        _ => format!("Slice {slice} with boxes around the vertebral bodies {}.", names.join(", ")),
    };
    let figure = draw(volume, window, slice, Region::whole(volume), &marks, &description)?;
    let elsewhere = report.input.vertebrae.vertebrae.len() - bodies.len();
    let absent = match elsewhere {
        0 => String::new(),
        _ => format!(" {} not on this slice.", count(elsewhere, "vertebra is", "vertebrae are")),
    };
    let body_key = " <span class=\"key body\"></span>vertebral body";
    let key = match (names.is_empty(), report.findings.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!("{body_key}."),
        (false, false) => format!(
            "{body_key}, <span class=\"key positive\"></span>vertebral body with a node, \
             <span class=\"key node\"></span>node."
        ),
    };
    Ok(format!(
        "<section>\n<h2>Overview</h2>\n<figure class=\"overview\">\n{figure}<figcaption><strong>Slice {slice}</strong> of \
         0 to {last}: {image}.{absent}{key}</figcaption>\n</figure>\n</section>\n",
        last = volume.geometry.shape[0] - 1,
        image = slice_image(report, slice),
    ))
}

/// Two enlarged pictures per finding: as it is, and with boxes.
fn details(report: &Report) -> Result<String> {
    if report.findings.is_empty() {
        return Ok(String::new());
    }
    let figures: Vec<String> = report.findings.iter().map(|found| detail(report, found)).collect::<Result<_>>()?;
    Ok(format!(
        "<section>\n<h2>Nodes in detail</h2>\n<p class=\"soft\">The same part of the slice without and \
         with boxes, in a grey window of its own.</p>\n<div class=\"details\">\n{}</div>\n</section>\n",
        figures.concat()
    ))
}

fn detail(report: &Report, found: &PlacedFinding) -> Result<String> {
    let PlacedFinding { finding, vertebra, placed, body, .. } = found;
    let volume = report.input.volume;
    let (column, row) = (placed.x + placed.width / 2.0, placed.y + placed.height / 2.0);
    let region = Region::around(volume, column, row, DETAIL_REACH_MM);
    let window = Window::of_region(volume, finding.slice, region);
    let mut marks: Vec<Mark> = body.iter().map(|&placed| Mark { placed, class: "body positive", name: None }).collect();
    marks.push(Mark { placed: *placed, class: "node", name: None });
    let name = vertebra.level.as_deref().unwrap_or(&vertebra.id);
    let endplate = finding.endplate;
    let place = format!("Slice {} around the {endplate} endplate of {name}", finding.slice);
    let plain = draw(volume, window, finding.slice, region, &[], &format!("{place}."))?;
    let boxed = draw(volume, window, finding.slice, region, &marks, &format!("{place}, the node in a box."))?;
    Ok(format!(
        "<figure>\n<div class=\"pair\">\n{plain}{boxed}</div>\n<figcaption><strong>{}, {endplate} endplate</strong>: \
         probability {:.2}, {:.1} mm wide, {:.1} mm deep, slice {}</figcaption>\n</figure>\n",
        level(vertebra),
        finding.probability,
        finding.width_mm,
        finding.depth_mm,
        finding.slice,
    ))
}

fn examined_table(report: &Report) -> String {
    let negative = report.examined.iter().filter(|examined| examined.verdict == Verdict::Negative).count();
    let rows: String = report
        .examined
        .iter()
        .map(|Examined { endplate, vertebra, verdict, .. }| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"number\">{:.2}</td>\
                 <td class=\"number\">{}</td><td>{}</td></tr>\n",
                level(vertebra),
                endplate.endplate,
                verdict_words(*verdict),
                endplate.probability,
                endplate.slice,
                image_name(endplate.sop_instance_uid.as_deref()),
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table(
        "Endplates examined",
        &format!("{} examined, {negative} negative.", count(report.examined.len(), "endplate", "endplates")),
        &["Level", "Endplate", "Result", "#Probability", "#Slice", "Image"],
        &rows,
    )
}

fn verdict_words(verdict: Verdict) -> String {
    let words = wording::verdict(verdict);
    if verdict == Verdict::Node { format!("<span class=\"positive\">{words}</span>") } else { words.to_owned() }
}

fn vertebrae_table(report: &Report) -> String {
    let rows: String = report
        .input
        .vertebrae
        .vertebrae
        .iter()
        .map(|vertebra| {
            let [x, y, z] = vertebra.center_lps;
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"number\">{:.2}</td>\
                 <td class=\"number\">{}</td><td class=\"number\">{x:.1}, {y:.1}, {z:.1}</td></tr>\n",
                escape(&vertebra.id),
                escape(&wording::level_alone(vertebra)),
                escape(&vertebra.level_basis),
                vertebra.score,
                vertebra.slice,
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table(
        "Vertebrae",
        "From head to foot. A level is a count from an anchor in the images, not a check against the whole spine.",
        &["Id", "Level", "How the level was found", "#Score", "#Key slice", "#Centre LPS mm"],
        &rows,
    )
}

fn models_table(report: &Report) -> String {
    let row = |role: &str, model: &ModelReference, threshold: f64| {
        format!(
            "<tr><th scope=\"row\">{role}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{threshold:.2}</td>\
             <td><code>{}</code></td></tr>\n",
            escape(&model.name),
            escape(&model.version),
            escape(&model.backend),
            escape(&model.sha256),
        )
    };
    let detector = row("Vertebrae", &report.input.vertebrae.model, report.input.vertebrae.threshold);
    let classifiers: String =
        report.classifiers.iter().map(|&(model, threshold)| row("Schmorl's nodes", model, threshold)).collect();
    table(
        "Models",
        "SHA-256 is of the model's ONNX file.",
        &["Task", "Name", "Version", "Backend", "#Threshold", "SHA-256"],
        &(detector + &classifiers),
    )
}

/// A section with a table; a heading that starts with `#` stands over numbers.
fn table(title: &str, caption: &str, headings: &[&str], rows: &str) -> String {
    let headings: String = headings
        .iter()
        .map(|heading| match heading.strip_prefix('#') {
            Some(heading) => format!("<th scope=\"col\" class=\"number\">{heading}</th>"),
            None => format!("<th scope=\"col\">{heading}</th>"),
        })
        .collect();
    format!(
        "<section>\n<h2>{title}</h2>\n<div class=\"scroll\">\n<table>\n<caption>{caption}</caption>\n\
         <thead>\n<tr>{headings}</tr>\n</thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n</section>\n"
    )
}

fn level(vertebra: &Vertebra) -> String {
    match &vertebra.level {
        Some(level) => escape(level),
        None => format!("{} <span class=\"soft\">(level not asserted)</span>", escape(&vertebra.id)),
    }
}

fn slice_image(report: &Report, slice: usize) -> String {
    let source = report.input.volume.sources.get(slice).and_then(Option::as_ref);
    match source {
        Some(source) => format!("image <span class=\"uid\">{}</span>", escape(&source.sop_instance_uid)),
        None => "interpolated, no stored image".to_owned(),
    }
}

/// The end of a SOP instance UID, which tells the images of a series apart; the whole of it when pointed at.
fn image_name(sop_instance_uid: Option<&str>) -> String {
    const KEPT: usize = 8;
    let Some(uid) = sop_instance_uid else {
        return "<span class=\"soft\">interpolated</span>".to_owned();
    };
    let start = uid.char_indices().rev().nth(KEPT - 1).map_or(0, |(index, _)| index);
    let dots = if start == 0 { "" } else { "&hellip;" };
    format!("<span class=\"uid\" title=\"{}\">{dots}{}</span>", escape(uid), escape(&uid[start..]))
}

#[cfg(test)]
mod tests;
