//! The JSON documents that imaging steps hand to each other: `mlpipe.vertebrae/1` and `mlpipe.findings/1`.
//!
//! Boxes are `[x_min, y_min, x_max, y_max]`: columns and rows of the stored image, 0-based, edges inclusive. A slice that
//! was interpolated has no stored image: its `sop_instance_uid` is null and its boxes are in pixels of the volume.
//! `slice` always counts slices of the volume file that the step read. Points are LPS, mm.

use serde::{Deserialize, Serialize};

/// Value of `format` in a vertebrae document.
pub const VERTEBRAE_FORMAT: &str = "mlpipe.vertebrae/1";
/// Value of `format` in a findings document.
pub const FINDINGS_FORMAT: &str = "mlpipe.findings/1";

/// Box in pixels: `[x_min, y_min, x_max, y_max]`, edges inclusive.
pub type BoxPx = [f64; 4];

/// The model that made a document: enough to find exactly these weights again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReference {
    /// Name from the model's metadata.
    pub name: String,
    /// Version from the model's metadata.
    pub version: String,
    /// SHA-256 of `model.onnx`, lower-case hex.
    pub sha256: String,
    /// Runtime and its version, as in `onnxruntime 1.30.0`.
    pub backend: String,
}

/// All vertebrae found in one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VertebraeDocument {
    /// [`VERTEBRAE_FORMAT`].
    pub format: String,
    /// Series that was read.
    pub series_instance_uid: String,
    /// Detector.
    pub model: ModelReference,
    /// Score that a box had to reach.
    pub threshold: f64,
    /// From head to foot.
    pub vertebrae: Vec<Vertebra>,
}

/// One vertebral body, merged over slices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vertebra {
    /// `v1`, `v2`, ... from head to foot.
    pub id: String,
    /// `L3`, or null when the images do not settle it.
    pub level: Option<String>,
    /// Without a level: those that the images leave, the likeliest first; empty where they say nothing.
    #[serde(default)]
    pub level_candidates: Vec<String>,
    /// How the level was found, in words for the reader of a report.
    pub level_basis: String,
    /// Highest score over its slices, 0..1.
    pub score: f64,
    /// Slice of the volume on which the body scored highest (the key slice).
    pub slice: usize,
    /// Stored image behind the key slice.
    pub sop_instance_uid: Option<String>,
    /// Box on the key slice.
    pub box_px: BoxPx,
    /// Centre of the body.
    pub center_lps: [f64; 3],
    /// Every slice that shows the body, in slice order.
    pub slices: Vec<BoxOnSlice>,
}

/// A vertebra's box on one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoxOnSlice {
    /// Slice of the volume.
    pub slice: usize,
    /// Stored image behind it.
    pub sop_instance_uid: Option<String>,
    /// Box on it.
    pub box_px: BoxPx,
    /// Score of the box, 0..1.
    pub score: f64,
}

/// What was looked for on the endplates of one or more vertebrae of a series, and what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingsDocument {
    /// [`FINDINGS_FORMAT`].
    pub format: String,
    /// Series that was read.
    pub series_instance_uid: String,
    /// Classifier.
    pub model: ModelReference,
    /// Probability from which a node is reported.
    pub threshold: f64,
    /// Every endplate that was looked at, also the negative ones.
    pub examined: Vec<ExaminedEndplate>,
    /// The nodes.
    pub findings: Vec<Finding>,
}

/// Which face of a vertebral body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endplate {
    /// Towards the head.
    Superior,
    /// Towards the feet.
    Inferior,
}

/// One endplate that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExaminedEndplate {
    /// Vertebra in the vertebrae document.
    pub vertebra_id: String,
    /// Its level.
    pub level: Option<String>,
    /// Which face.
    pub endplate: Endplate,
    /// Probability of a Schmorl's node, 0..1.
    pub probability: f64,
    /// Slice of the volume that shows it: one of those that gave the probability, where there is a node the finding's.
    pub slice: usize,
    /// Stored image behind that slice.
    pub sop_instance_uid: Option<String>,
    /// The vertebra's box on that slice.
    pub vertebra_box_px: BoxPx,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Vertebra in the vertebrae document.
    pub vertebra_id: String,
    /// Its level.
    pub level: Option<String>,
    /// Which face.
    pub endplate: Endplate,
    /// Always `schmorl_node` so far.
    pub finding: String,
    /// 0..1.
    pub probability: f64,
    /// Slice of the volume on which it is shown and measured: of those that gave the probability the one that shows it largest.
    pub slice: usize,
    /// Stored image behind that slice.
    pub sop_instance_uid: Option<String>,
    /// The node's box.
    pub box_px: BoxPx,
    /// Extent along the endplate.
    pub width_mm: f64,
    /// Extent into the body.
    pub depth_mm: f64,
}
