//! Step `report`: the volume and what was found in it in, `report.html` out. What the page shows is decided by
//! mlpipe-report; here its documents are collected.

use std::path::{Path, PathBuf};

use mlpipe_dicom::Volume;
use mlpipe_report::{FINDINGS_FORMAT, FindingsDocument, ReportInput, VERTEBRAE_FORMAT, VertebraeDocument, render_html};

use crate::files::{create_directory, read_document, write_file};
use crate::{Error, Result, Summary};

/// What `report` needs.
#[derive(Debug, Clone)]
pub struct Args {
    /// Folder with the `mlpipe.volume/1`.
    pub volume: PathBuf,
    /// `vertebrae.json`.
    pub vertebrae: PathBuf,
    /// A `findings.json`, or a folder with one per vertebra: each entry is such a file (by any name) or a folder that
    /// holds `findings.json`.
    pub findings: PathBuf,
    /// Tracked run that makes the report.
    pub run_id: Option<String>,
    /// Receives `report.html` and `metrics.json`.
    pub output_dir: PathBuf,
}

/// Runs the step.
///
/// # Errors
/// When an input is missing, damaged or does not fit the others, or an output cannot be written.
pub fn run(args: &Args) -> Result<Summary> {
    let volume = Volume::load(&args.volume)?;
    let vertebrae: VertebraeDocument = read_document(&args.vertebrae, VERTEBRAE_FORMAT)?;
    let findings = read_findings(&args.findings)?;
    let input = ReportInput {
        volume: &volume,
        vertebrae: &vertebrae,
        findings: &findings,
        run_id: args.run_id.as_deref(),
        mlpipe_version: env!("CARGO_PKG_VERSION"),
    };
    let page = render_html(&input)?;
    create_directory(&args.output_dir)?;
    let path = args.output_dir.join("report.html");
    write_file(&path, page.as_bytes())?;
    let mut summary = Summary { outputs: vec![path], ..Summary::default() };
    summary.metric("vertebrae", vertebrae.vertebrae.len() as f64);
    summary.metric("endplates", findings.iter().map(|document| document.examined.len()).sum::<usize>() as f64);
    summary.metric("nodes", findings.iter().map(|document| document.findings.len()).sum::<usize>() as f64);
    summary.write_metrics(&args.output_dir)?;
    Ok(summary)
}

/// Reads one document, or those of a folder.
pub(crate) fn read_findings(path: &Path) -> Result<Vec<FindingsDocument>> {
    if !path.is_dir() {
        return Ok(vec![read_document(path, FINDINGS_FORMAT)?]);
    }
    if path.join("findings.json").is_file() {
        return Ok(vec![read_document(&path.join("findings.json"), FINDINGS_FORMAT)?]);
    }
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(path).map_err(read_error)?.collect();
    let mut paths: Vec<PathBuf> = entries.map_err(read_error)?.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|entry| !entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    paths.sort();
    paths.iter().map(|entry| read_document(&document_of(entry), FINDINGS_FORMAT)).collect()
}

fn document_of(entry: &Path) -> PathBuf {
    if entry.is_dir() { entry.join("findings.json") } else { entry.to_owned() }
}
