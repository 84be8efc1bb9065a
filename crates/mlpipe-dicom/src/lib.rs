//! DICOM instances, series selection, volume geometry, planes and pixel values.
//!
//! This crate decides which files form which volume, whether that volume can be trusted, and what its voxels are in
//! modality units and patient coordinates (LPS, millimetres). It knows nothing of runs, pipelines or anatomy.
//!
//! [`scan`] reads headers and groups them into checked [`VolumePlan`]s, [`select`] picks among them by
//! [`SelectionRules`], [`load_volume`] decodes one into a [`Volume`]. [`inspect`] and [`write_volumes`] give the
//! documents of `mlpipe dicom`. [`deidentify`] takes away who the patient is.
//!
//! What cannot be read rightly is refused with a stable code, the file, the attribute and the cure; nothing is guessed.

mod agree;
mod attributes;
mod bytes;
mod charset;
mod check;
mod codec;
mod compare;
mod condition;
mod data_set;
mod deid;
mod display;
mod document;
mod element;
mod error;
mod frame;
mod geometry;
mod group;
mod header;
mod limits;
mod load;
mod lut;
mod manifest;
mod nifti;
mod pixels;
mod plane;
mod presentation;
mod problem;
mod resample;
mod rules;
mod scan;
mod select;
mod store;
mod volume;
mod write;

pub use attributes::{Attributes, read_attributes};
pub use compare::{AttributeDifference, IgnoredAttributes, compare_files};
pub use deid::{
    AuditLine, BurnedIn, Counts, Dates, DeidDocument, DeidKey, DeidOptions, DeidOutput, Flag, RefusedInput, deidentify,
    deidentify_series,
};
pub use document::{InspectDocument, VolumeEntry, inspect, series_table};
pub use error::{Error, Result};
pub use frame::Frame;
pub use geometry::{Plane, VolumeGeometry};
pub use limits::Limits;
pub use load::{load_series, load_volume, plan_series};
pub use manifest::{ManifestInstance, SeriesManifest};
pub use pixels::{Pixels, read_pixels};
pub use presentation::{Presentation, Window, WindowFunction, read_presentation};
pub use problem::{Problem, RejectedFile, Status};
pub use rules::{Preference, SelectionRules};
pub use scan::{Scan, Series, VolumePlan, scan, scan_within};
pub use select::{ChosenSeries, LeftOut, Selection, select};
pub use volume::{SourceSlice, Volume};
pub use write::{RefusedVolume, VolumesDocument, WrittenVolume, write_volume, write_volumes};
