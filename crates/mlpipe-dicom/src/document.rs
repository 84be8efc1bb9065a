//! The document of `mlpipe dicom inspect`: one entry per volume, as JSON or as a table for people.

use std::path::PathBuf;

use serde::Serialize;

use crate::{Limits, Plane, Problem, RejectedFile, Result, Scan, Status, VolumePlan};

/// What `mlpipe dicom inspect --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InspectDocument {
    /// One entry per volume, sorted by SeriesInstanceUID.
    pub volumes: Vec<VolumeEntry>,
    /// DICOM files that cannot be used.
    pub rejected_files: Vec<RejectedFile>,
    /// How many files are not DICOM.
    pub other_files: usize,
}

/// One volume of the document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VolumeEntry {
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// Which volume of the series, from 0.
    pub volume: usize,
    /// Modality.
    pub modality: String,
    /// Plane nearest to the slices.
    pub plane: Option<Plane>,
    /// Angle to that plane.
    pub obliquity_deg: Option<f64>,
    /// Slices, rows, columns.
    pub shape: [usize; 3],
    /// Distance between slices, rows, columns; null where unknown.
    pub spacing_mm: [Option<f64>; 3],
    /// Number of files.
    pub instances: usize,
    /// Transfer syntax UIDs.
    pub transfer_syntaxes: Vec<String>,
    /// What told the volume from the others of its series.
    pub split_by: Vec<String>,
    /// Low values are meant to be shown bright.
    pub monochrome1: bool,
    /// ok, warn or reject.
    pub status: Status,
    /// What should be looked at.
    pub warnings: Vec<Problem>,
    /// Code of the rejection.
    pub code: Option<String>,
    /// Why it is rejected, with file and cure.
    pub reason: Option<String>,
}

impl VolumeEntry {
    /// Returns the entry of a plan.
    pub fn of(plan: &VolumePlan) -> Self {
        VolumeEntry {
            series_instance_uid: plan.series_instance_uid.clone(),
            volume: plan.volume,
            modality: plan.modality.clone(),
            plane: plan.plane,
            obliquity_deg: plan.obliquity_deg,
            shape: plan.shape,
            spacing_mm: plan.spacing_mm,
            instances: plan.instances,
            transfer_syntaxes: plan.transfer_syntaxes.clone(),
            split_by: plan.split_by.clone(),
            monochrome1: plan.monochrome1,
            status: plan.status,
            warnings: plan.warnings.clone(),
            code: plan.reason.as_ref().map(|problem| problem.code.clone()),
            reason: plan.reason.as_ref().map(Problem::to_string),
        }
    }
}

impl InspectDocument {
    /// Returns the document of a scan.
    pub fn of(scan: &Scan) -> Self {
        InspectDocument {
            volumes: scan.series.iter().flat_map(|series| &series.volumes).map(VolumeEntry::of).collect(),
            rejected_files: scan.rejected_files.clone(),
            other_files: scan.other_files,
        }
    }

    /// Returns whether any volume can be used; when none can, `mlpipe dicom inspect` exits with 4.
    pub fn has_usable_volume(&self) -> bool {
        self.volumes.iter().any(|volume| volume.status != Status::Reject)
    }

    /// Returns the document as a table for people, ending with a newline.
    pub fn table(&self) -> String {
        let mut rows = vec![HEADINGS.map(str::to_owned).to_vec()];
        rows.extend(self.volumes.iter().map(row));
        let mut text = aligned(&rows);
        for volume in &self.volumes {
            let name = format!("{} volume {}", volume.series_instance_uid, volume.volume);
            for warning in &volume.warnings {
                text.push_str(&format!("warn    {name}: {warning}\n"));
            }
            if let Some(reason) = &volume.reason {
                text.push_str(&format!("reject  {name}: {reason}\n"));
            }
        }
        for file in &self.rejected_files {
            text.push_str(&format!("rejected file `{}`: {} [{}]\n", file.path.display(), file.message, file.code));
        }
        if self.other_files > 0 {
            text.push_str(&format!("{} other files are not DICOM images\n", self.other_files));
        }
        text
    }
}

const HEADINGS: [&str; 9] =
    ["STATUS", "SERIES", "VOLUME", "MODALITY", "PLANE", "OBLIQUE", "SHAPE", "SPACING MM", "FILES"];

fn row(volume: &VolumeEntry) -> Vec<String> {
    let spacing: Vec<String> =
        volume.spacing_mm.iter().map(|value| value.map_or_else(|| "-".into(), |mm| format!("{mm:.3}"))).collect();
    let [slices, rows, columns] = volume.shape;
    vec![
        volume.status.as_str().to_owned(),
        volume.series_instance_uid.clone(),
        volume.volume.to_string(),
        volume.modality.clone(),
        volume.plane.map_or_else(|| "-".into(), |plane| plane.to_string()),
        volume.obliquity_deg.map_or_else(|| "-".into(), |angle| format!("{angle:.1}")),
        format!("{slices}x{rows}x{columns}"),
        spacing.join(" x "),
        volume.instances.to_string(),
    ]
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Scans `paths` and describes every volume found.
///
/// # Errors
/// When one of `paths` cannot be read.
pub fn inspect(paths: &[PathBuf], limits: Limits) -> Result<InspectDocument> {
    Ok(InspectDocument::of(&crate::scan_within(paths, limits)?))
}

/// Returns one line per series for people, ending with a newline: worst status of its volumes, what it is, its UID.
pub fn series_table(scan: &Scan) -> String {
    let headings = ["STATUS", "MODALITY", "PLANE", "SHAPE", "SPACING MM", "FILES", "DESCRIPTION", "SERIES"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    rows.extend(scan.series.iter().map(series_row));
    aligned(&rows)
}

fn series_row(series: &crate::Series) -> Vec<String> {
    let entries: Vec<Vec<String>> = series.volumes.iter().map(|plan| row(&VolumeEntry::of(plan))).collect();
    let distinct = |column: usize| {
        let mut values: Vec<&str> = entries.iter().map(|entry| entry[column].as_str()).collect();
        values.dedup();
        if values.len() > 3 { format!("{}, ... ({})", values[0], values.len()) } else { values.join(", ") }
    };
    let worst = series.volumes.iter().map(|plan| plan.status).max().unwrap_or(Status::Reject);
    // A description comes from a file: it must not steer the terminal.
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let description: String = series.series_description.chars().take(40).map(shown).collect();
    vec![
        worst.as_str().to_owned(),
        distinct(3),
        distinct(4),
        distinct(6),
        distinct(7),
        series.instances.to_string(),
        description,
        series.series_instance_uid.chars().map(shown).collect(),
    ]
}
