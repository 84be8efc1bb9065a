//! What a reader should find on the sagittal images: boxes of the vertebral bodies and of the nodes.
//!
//! Boxes are columns (`x`) and rows (`y`) of the stored image, 0-based, edges inclusive. A body that an edge of the image
//! cuts carries no box, and the sacrum carries none.

use serde_json::{Value, json};

use super::PhantomNode;
use super::dicom::{Identity, Kind};
use super::image::Study;
use super::node::Side;

/// Box and centre of gravity of the marked pixels of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Region {
    pub(super) x0: usize,
    pub(super) y0: usize,
    pub(super) x1: usize,
    pub(super) y1: usize,
    pub(super) cx: f64,
    pub(super) cy: f64,
    pub(super) area_px: usize,
}

impl Region {
    /// Returns the region of a mask, or none when it is empty.
    pub(super) fn of(mask: &[bool], columns: usize) -> Option<Region> {
        let marked: Vec<(usize, usize)> =
            (0..mask.len()).filter(|&i| mask[i]).map(|i| (i % columns, i / columns)).collect();
        let mean = |sum: usize| sum as f64 / marked.len() as f64;
        Some(Region {
            x0: marked.iter().map(|p| p.0).min()?,
            y0: marked.iter().map(|p| p.1).min()?,
            x1: marked.iter().map(|p| p.0).max()?,
            y1: marked.iter().map(|p| p.1).max()?,
            cx: mean(marked.iter().map(|p| p.0).sum()),
            cy: mean(marked.iter().map(|p| p.1).sum()),
            area_px: marked.len(),
        })
    }

    fn touches_edge(&self, rows: usize, columns: usize) -> bool {
        self.x0 == 0 || self.y0 == 0 || self.x1 + 1 >= columns || self.y1 + 1 >= rows
    }
}

/// A vertebral body that lies wholly in the images.
#[derive(Debug, Clone)]
pub(super) struct BodyTruth {
    /// Index in the anatomy.
    index: usize,
    level: &'static str,
    /// 1, 2, ... from head to foot.
    mask_label: usize,
    /// One entry per image.
    pub(super) regions: Vec<Option<Region>>,
}

#[derive(Debug, Clone)]
struct NodeTruth {
    vertebra: usize,
    side: Side,
    /// Index of the image with the largest section.
    image: usize,
    region: Region,
    width_mm: f64,
    depth_mm: f64,
    /// Number of images that show it.
    slabs: usize,
}

/// The truth of one phantom.
#[derive(Debug, Clone)]
pub(super) struct Truth<'a> {
    study: &'a Study,
    identity: Identity,
    pub(super) bodies: Vec<BodyTruth>,
    nodes: Vec<NodeTruth>,
}

/// A section smaller than this is partial volume, not a body: rows of the published masks begin at about this area.
const SMALLEST_BODY_PX: usize = 150;
/// Smallest section of a node that can be seen.
const SMALLEST_NODE_PX: usize = 6;

impl<'a> Truth<'a> {
    pub(super) fn of(study: &'a Study) -> Self {
        let identity = Identity::new(study.anatomy.seed, Kind::Sagittal);
        let bodies = bodies(study);
        let nodes = study.anatomy.nodes.iter().filter_map(|node| NodeTruth::of(study, node)).collect();
        Truth { study, identity, bodies, nodes }
    }

    pub(super) fn levels(&self) -> Vec<String> {
        self.bodies.iter().map(|body| body.level.to_owned()).collect()
    }

    pub(super) fn nodes(&self) -> Vec<PhantomNode> {
        let summary = |node: &NodeTruth| PhantomNode {
            level: self.study.anatomy.vertebrae[node.vertebra].name.to_owned(),
            endplate: node.side.name().to_owned(),
            instance: node.image + 1,
            width_mm: node.width_mm,
            depth_mm: node.depth_mm,
        };
        self.nodes.iter().map(summary).collect()
    }

    /// Returns the truth in the format that vertebra detections are scored with.
    pub(super) fn vertebrae_document(&self) -> Value {
        let area = |image: usize| self.bodies.iter().filter_map(|b| b.regions[image]).map(|r| r.area_px).sum::<usize>();
        let images = self.study.sagittal.slices.len();
        let best = (0..images).max_by_key(|&image| (area(image), images - image)).unwrap_or(0);
        let mut case = self.case();
        case["plane"] = json!("SAG");
        case["best_slice_instance"] = json!(best + 1);
        case["source"] = json!("mlpipe phantom");
        json!([case])
    }

    /// Returns the truth in the format that findings are scored with.
    pub(super) fn schmorl_document(&self) -> Value {
        let mut case = self.case();
        case["source_case"] = json!("phantom");
        case["stratum"] = json!("PHANTOM");
        case["weighting"] = json!("T2");
        case["labels_top_to_bottom"] = self.bodies.iter().map(|body| body.mask_label).collect();
        case["endplates"] = self.endplates();
        case["nodes"] = self.nodes.iter().map(|node| self.node(node)).collect();
        case["distractors"] = json!([]);
        json!({
            "format": "mlpipe.truth_schmorl/1",
            "style": "phantom",
            "seed": self.study.anatomy.seed,
            "note": "synthetic; boxes in pixels (= mm), inclusive, x=column y=row; node box = pit below the intact plate on \
                     its best slice, rim not included",
            "cases": [case],
        })
    }

    fn case(&self) -> Value {
        let seed = self.study.anatomy.seed;
        let series = &self.study.sagittal;
        let plane = &series.slices[0].plane;
        let slices: Vec<Value> = (0..series.slices.len()).map(|image| self.slice(image)).collect();
        json!({
            "case": format!("PHANTOM_{seed}"),
            "series_instance_uid": self.identity.series_instance_uid,
            "dir": format!("studies/phantom-{seed}"),
            "n": slices.len(),
            "rows": plane.rows,
            "cols": plane.columns,
            "spacing_mm": [plane.spacing_mm, plane.spacing_mm, series.spacing_between_slices_mm],
            "slices": slices,
        })
    }

    fn slice(&self, image: usize) -> Value {
        let vertebrae: Vec<Value> = self
            .bodies
            .iter()
            .filter_map(|body| {
                let region = body.regions[image]?;
                Some(json!({
                    "mask_label": body.mask_label,
                    "level": body.level,
                    "cx": tenths(region.cx),
                    "cy": tenths(region.cy),
                    "x0": region.x0,
                    "y0": region.y0,
                    "x1": region.x1,
                    "y1": region.y1,
                    "area_px": region.area_px,
                }))
            })
            .collect();
        json!({
            "file": self.identity.file_name(image),
            "sop": self.identity.sop_instance_uid(image),
            "instance": image + 1,
            "vertebrae": vertebrae,
        })
    }

    fn endplates(&self) -> Value {
        let pairs = self.bodies.iter().flat_map(|body| Side::BOTH.map(|side| (body, side)));
        pairs
            .map(|(body, side)| {
                let node = self.nodes.iter().any(|node| node.vertebra == body.index && node.side == side);
                json!({
                    "mask_label": body.mask_label,
                    "level": body.level,
                    "endplate": side.name(),
                    "status": if node { "node" } else { "negative" },
                    "reason": "",
                })
            })
            .collect()
    }

    fn node(&self, node: &NodeTruth) -> Value {
        let body = self.bodies.iter().find(|body| body.index == node.vertebra);
        let Region { x0, y0, x1, y1, .. } = node.region;
        json!({
            "mask_label": body.map(|body| body.mask_label),
            "level": self.study.anatomy.vertebrae[node.vertebra].name,
            "endplate": node.side.name(),
            "sop_instance_uid": self.identity.sop_instance_uid(node.image),
            "instance": node.image + 1,
            "box_px": [x0, y0, x1, y1],
            "width_mm": node.width_mm,
            "depth_mm": node.depth_mm,
            "slabs": node.slabs,
            "rim": "dark",
        })
    }
}

/// Finds the bodies above the sacrum that no edge of an image cuts.
fn bodies(study: &Study) -> Vec<BodyTruth> {
    let series = &study.sagittal;
    let mut bodies = Vec::new();
    for (index, vertebra) in study.anatomy.vertebrae.iter().enumerate().filter(|(_, v)| !v.sacral) {
        let plane = &series.slices[0].plane;
        let regions: Vec<Option<Region>> = series
            .slices
            .iter()
            .map(|slice| Region::of(&study.body_mask(series, slice, index), plane.columns))
            .map(|region| region.filter(|region| region.area_px >= SMALLEST_BODY_PX))
            .collect();
        let cut = regions.iter().flatten().any(|region| region.touches_edge(plane.rows, plane.columns));
        if !cut && regions.iter().any(Option::is_some) {
            bodies.push(BodyTruth { index, level: vertebra.name, mask_label: bodies.len() + 1, regions });
        }
    }
    bodies
}

impl NodeTruth {
    fn of(study: &Study, node: &super::node::Node) -> Option<NodeTruth> {
        let series = &study.sagittal;
        let body = &study.anatomy.vertebrae[node.vertebra];
        let masks: Vec<Vec<bool>> = series.slices.iter().map(|slice| study.node_mask(series, slice, node)).collect();
        let areas: Vec<usize> = masks.iter().map(|mask| mask.iter().filter(|&&marked| marked).count()).collect();
        let image = (0..areas.len()).max_by_key(|&image| (areas[image], areas.len() - image))?;
        let plane = &series.slices[image].plane;
        let (mut s_range, mut depth) = ((f64::MAX, f64::MIN), 0.0_f64);
        for index in (0..masks[image].len()).filter(|&index| masks[image][index]) {
            let local = body.local(plane.at(index / plane.columns, index % plane.columns));
            s_range = (s_range.0.min(local[1]), s_range.1.max(local[1]));
            depth = depth.max(node.depth_below_plate(body, local));
        }
        Some(NodeTruth {
            vertebra: node.vertebra,
            side: node.side,
            image,
            region: Region::of(&masks[image], plane.columns)?,
            // Pixels are counted from centre to centre, so one pixel is missing; a plate cuts the first in half.
            width_mm: tenths(s_range.1 - s_range.0 + plane.spacing_mm),
            depth_mm: tenths(depth + plane.spacing_mm / 2.0),
            slabs: areas.iter().filter(|&&area| area >= SMALLEST_NODE_PX).count(),
        })
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
