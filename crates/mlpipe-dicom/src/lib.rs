//! DICOM instances, series selection, volume geometry, planes and pixel values.
//!
//! This crate decides which files form which volume, whether that volume can be trusted, and what its voxels are in
//! modality units and patient coordinates (LPS, millimetres). It knows nothing of runs, pipelines or anatomy.
//!
//! [`scan`] reads headers and groups them into checked [`VolumePlan`]s, [`select`] picks among them by
//! [`SelectionRules`], [`load_volume`] decodes one into a [`Volume`]. [`inspect`] and [`write_volumes`] give the
//! documents of `mlpipe dicom`.
//!
//! What cannot be read rightly is refused with a stable code, the file, the attribute and the cure; nothing is guessed.

mod check;
mod codestream;
mod display;
mod document;
mod element;
mod error;
mod frame;
mod geometry;
mod group;
mod header;
mod load;
mod manifest;
mod pixels;
mod plane;
mod problem;
mod resample;
mod rules;
mod scan;
mod select;
mod store;
mod volume;
mod write;

pub use document::{InspectDocument, VolumeEntry, inspect};
pub use error::{Error, Result};
pub use frame::Frame;
pub use geometry::{Plane, VolumeGeometry};
pub use load::{load_series, load_volume};
pub use manifest::{ManifestInstance, SeriesManifest};
pub use problem::{Problem, RejectedFile, Status};
pub use rules::SelectionRules;
pub use scan::{Scan, Series, VolumePlan, scan};
pub use select::{ChosenSeries, LeftOut, Selection, select};
pub use volume::{SourceSlice, Volume};
pub use write::{RefusedVolume, VolumesDocument, WrittenVolume, write_volume, write_volumes};
