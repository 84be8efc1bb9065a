//! What a report is made of: the documents checked against the volume, and their boxes on its slices.
//!
//! Nothing is drawn or worded here. A document that does not fit the volume is refused: a box on the wrong picture is
//! worse than no report.

use std::collections::{BTreeMap, HashMap};

use mlpipe_dicom::Volume;

use crate::{
    BoxPx, Endplate, Error, ExaminedEndplate, FINDINGS_FORMAT, Finding, FindingsDocument, ModelReference, Result,
    VERTEBRAE_FORMAT, Vertebra, VertebraeDocument,
};

/// Everything that a report shows.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// The volume that the steps read.
    pub volume: &'a Volume,
    /// Its vertebrae.
    pub vertebrae: &'a VertebraeDocument,
    /// What was looked for on them: one document or one per vertebra, in any order.
    pub findings: &'a [FindingsDocument],
    /// Tracked run that made the report.
    pub run_id: Option<&'a str>,
    /// Version of mlpipe.
    pub mlpipe_version: &'a str,
}

/// A box on a slice of the volume: pixels of the volume, `x` columns and `y` rows, from edge to edge, so that a box over
/// one pixel has extent 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placed {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// A finding with its place on the volume.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlacedFinding<'a> {
    pub(crate) finding: &'a Finding,
    pub(crate) vertebra: &'a Vertebra,
    /// Where it stands.
    pub(crate) document: &'a FindingsDocument,
    pub(crate) placed: Placed,
    /// The body's box on the same slice, if it has one there.
    pub(crate) body: Option<Placed>,
}

/// An endplate that was looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Examined<'a> {
    pub(crate) endplate: &'a ExaminedEndplate,
    pub(crate) vertebra: &'a Vertebra,
    /// Where it stands.
    pub(crate) document: &'a FindingsDocument,
    pub(crate) verdict: Verdict,
}

/// What became of an endplate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A node was reported.
    Node,
    /// The probability stays below the threshold.
    Negative,
    /// The probability reaches the threshold, but no node was reported.
    NotLocalised,
}

/// The checked content of a report, everything from head to foot.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) input: &'a ReportInput<'a>,
    pub(crate) findings: Vec<PlacedFinding<'a>>,
    pub(crate) examined: Vec<Examined<'a>>,
    /// Classifiers and their thresholds, without repeats.
    pub(crate) classifiers: Vec<(&'a ModelReference, f64)>,
    /// Per slice, the vertebrae that have a box there.
    pub(crate) boxes: BTreeMap<usize, Vec<(&'a Vertebra, Placed)>>,
}

impl<'a> Report<'a> {
    /// Checks that the documents fit the volume and each other.
    pub(crate) fn new(input: &'a ReportInput<'a>) -> Result<Self> {
        check_documents(input)?;
        let order: HashMap<&str, usize> = input
            .vertebrae
            .vertebrae
            .iter()
            .enumerate()
            .map(|(index, vertebra)| (vertebra.id.as_str(), index))
            .collect();
        let vertebra = |id: &str| -> Result<&Vertebra> {
            let index = order.get(id).ok_or_else(|| Error::UnknownVertebra { vertebra_id: id.to_owned() })?;
            Ok(&input.vertebrae.vertebrae[*index])
        };
        let boxes = place_vertebrae(input)?;
        let mut findings = Vec::new();
        let mut examined = Vec::new();
        let mut classifiers: Vec<(&ModelReference, f64)> = Vec::new();
        for document in input.findings {
            if !classifiers.contains(&(&document.model, document.threshold)) {
                classifiers.push((&document.model, document.threshold));
            }
            for finding in &document.findings {
                let vertebra = vertebra(&finding.vertebra_id)?;
                let image = finding.sop_instance_uid.as_deref();
                let placed = place(input.volume, &vertebra.id, finding.slice, image, finding.box_px)?;
                let body = boxes.get(&finding.slice).and_then(|bodies| {
                    bodies.iter().find(|(body, _)| body.id == vertebra.id).map(|&(_, placed)| placed)
                });
                findings.push(PlacedFinding { finding, vertebra, document, placed, body });
            }
            for endplate in &document.examined {
                let vertebra = vertebra(&endplate.vertebra_id)?;
                let image = endplate.sop_instance_uid.as_deref();
                place(input.volume, &vertebra.id, endplate.slice, image, endplate.vertebra_box_px)?;
                examined.push(Examined { endplate, vertebra, document, verdict: verdict(document, endplate) });
            }
        }
        let rank = |vertebra: &Vertebra, endplate: Endplate| (order[vertebra.id.as_str()], endplate);
        findings.sort_by(|a, b| {
            let (first, second) = (rank(a.vertebra, a.finding.endplate), rank(b.vertebra, b.finding.endplate));
            first.cmp(&second).then(b.finding.probability.total_cmp(&a.finding.probability))
        });
        examined.sort_by_key(|e| rank(e.vertebra, e.endplate.endplate));
        Ok(Report { input, findings, examined, classifiers, boxes })
    }

    /// Returns the slice that shows most vertebrae: the nearest to the middle among equals.
    pub(crate) fn overview_slice(&self) -> usize {
        let slices = self.input.volume.geometry.shape[0];
        let shown = |slice: usize| self.boxes.get(&slice).map_or(0, Vec::len);
        let from_middle = |slice: usize| (2 * slice + 1).abs_diff(slices);
        (0..slices).min_by_key(|&slice| (usize::MAX - shown(slice), from_middle(slice), slice)).unwrap_or(0)
    }

    /// Returns the place of the findings on a slice.
    pub(crate) fn findings_on(&self, slice: usize) -> impl Iterator<Item = &PlacedFinding<'a>> {
        self.findings.iter().filter(move |placed| placed.finding.slice == slice)
    }

    /// Returns whether a node was reported on either endplate of a vertebra.
    pub(crate) fn has_finding(&self, vertebra: &Vertebra) -> bool {
        self.findings.iter().any(|placed| placed.vertebra.id == vertebra.id)
    }
}

fn check_documents(input: &ReportInput) -> Result<()> {
    let expected = &input.volume.series_instance_uid;
    if input.volume.voxels.is_empty() {
        return Err(Error::EmptyVolume { series_instance_uid: expected.clone() });
    }
    let check = |document, format: &str, known: &'static str, series: &String| {
        if format != known {
            return Err(Error::OtherFormat { found: format.to_owned(), expected: known });
        }
        if series != expected {
            return Err(Error::OtherSeries { document, found: series.clone(), expected: expected.clone() });
        }
        Ok(())
    };
    check("vertebrae", &input.vertebrae.format, VERTEBRAE_FORMAT, &input.vertebrae.series_instance_uid)?;
    input
        .findings
        .iter()
        .try_for_each(|document| check("findings", &document.format, FINDINGS_FORMAT, &document.series_instance_uid))
}

fn place_vertebrae<'a>(input: &ReportInput<'a>) -> Result<BTreeMap<usize, Vec<(&'a Vertebra, Placed)>>> {
    let mut boxes: BTreeMap<usize, Vec<(&Vertebra, Placed)>> = BTreeMap::new();
    for vertebra in &input.vertebrae.vertebrae {
        let mut add = |slice: usize, image: Option<&str>, box_px: BoxPx| -> Result<()> {
            let placed = place(input.volume, &vertebra.id, slice, image, box_px)?;
            boxes.entry(slice).or_default().push((vertebra, placed));
            Ok(())
        };
        if !vertebra.slices.iter().any(|on_slice| on_slice.slice == vertebra.slice) {
            add(vertebra.slice, vertebra.sop_instance_uid.as_deref(), vertebra.box_px)?;
        }
        for on_slice in &vertebra.slices {
            add(on_slice.slice, on_slice.sop_instance_uid.as_deref(), on_slice.box_px)?;
        }
    }
    Ok(boxes)
}

/// Converts a box of the stored image (of the volume where a slice was interpolated) to the volume's slice.
pub(crate) fn place(
    volume: &Volume,
    vertebra_id: &str,
    slice: usize,
    image: Option<&str>,
    box_px: BoxPx,
) -> Result<Placed> {
    let vertebra_id = vertebra_id.to_owned();
    let source = volume.sources.get(slice).filter(|_| slice < volume.geometry.shape[0]);
    let Some(source) = source else {
        return Err(Error::NoSuchSlice { vertebra_id, slice, slices: volume.geometry.shape[0] });
    };
    let [x_min, y_min, x_max, y_max] = box_px;
    if !(box_px.iter().all(|edge| edge.is_finite()) && x_min <= x_max && y_min <= y_max) {
        return Err(Error::NotABox { vertebra_id, box_px });
    }
    // The outer edges of the first and the last pixel.
    let edges = [x_min - 0.5, y_min - 0.5, x_max + 0.5, y_max + 0.5];
    let corners = match (image, source) {
        (None, None) => Some(edges),
        (Some(image), Some(source)) if source.sop_instance_uid == image => {
            let corner = |column, row| volume.volume_px(slice, column, row);
            corner(edges[0], edges[1])
                .zip(corner(edges[2], edges[3]))
                .map(|([x0, y0], [x1, y1])| [x0.min(x1), y0.min(y1), x0.max(x1), y0.max(y1)])
        }
        _ => None,
    };
    let other_image = || Error::OtherImage { vertebra_id, slice, sop_instance_uid: image.map(str::to_owned) };
    let [x0, y0, x1, y1] = corners.ok_or_else(other_image)?;
    Ok(Placed { x: x0 + 0.5, y: y0 + 0.5, width: x1 - x0, height: y1 - y0 })
}

fn verdict(document: &FindingsDocument, examined: &ExaminedEndplate) -> Verdict {
    let same = |f: &Finding| f.vertebra_id == examined.vertebra_id && f.endplate == examined.endplate;
    if document.findings.iter().any(same) {
        Verdict::Node
    } else if examined.probability < document.threshold {
        Verdict::Negative
    } else {
        Verdict::NotLocalised
    }
}
