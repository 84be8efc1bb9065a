//! Step `write-results`: the series, its volume and what was found in it in; objects for a PACS and a hospital's systems
//! out. What they hold is decided by mlpipe-report; here its input is collected.

use std::path::PathBuf;

use mlpipe_dicom::{Limits, Volume};
use mlpipe_report::{
    Code, ReportInput, Results, ResultsInput, SourceSeries, VERTEBRAE_FORMAT, VertebraeDocument, write_results,
};

use crate::extract::plan;
use crate::files::{create_directory, read_document, write_file};
use crate::report::read_findings;
use crate::{Result, SOURCE_DIGEST, Summary};

/// What `write-results` needs.
#[derive(Debug, Clone)]
pub struct Args {
    /// The series that the volume was made from: a manifest (`mlpipe.series/1`), or a folder with exactly one usable volume.
    pub series: PathBuf,
    /// Folder with the `mlpipe.volume/1`.
    pub volume: PathBuf,
    /// `vertebrae.json`.
    pub vertebrae: PathBuf,
    /// As [`report::Args::findings`](crate::report::Args::findings).
    pub findings: PathBuf,
    /// Code of a Schmorl's node.
    pub node: Code,
    /// How large the series may be, as its headers claim.
    pub limits: Limits,
    /// Receives `dicom/` with the DICOM files, `report.pdf`, `fhir.json` and `metrics.json`.
    pub output_dir: PathBuf,
}

/// Runs the step.
///
/// # Errors
/// When an input is missing, damaged or does not fit the others, or an output cannot be written.
pub fn run(args: &Args) -> Result<Summary> {
    let (plan, digest) = plan(&args.series, args.limits)?;
    let source = SourceSeries::read(&plan, digest)?;
    let volume = Volume::load(&args.volume)?;
    let vertebrae: VertebraeDocument = read_document(&args.vertebrae, VERTEBRAE_FORMAT)?;
    let findings = read_findings(&args.findings)?;
    let report = ReportInput {
        volume: &volume,
        vertebrae: &vertebrae,
        findings: &findings,
        run_id: None,
        mlpipe_version: env!("CARGO_PKG_VERSION"),
    };
    let results =
        write_results(&ResultsInput { report, source: &source, node: &args.node, source_digest: SOURCE_DIGEST })?;
    write(args, results)
}

fn write(args: &Args, results: Results) -> Result<Summary> {
    let directory = args.output_dir.join("dicom");
    create_directory(&directory)?;
    let mut summary = Summary { notes: results.notes, ..Summary::default() };
    for object in &results.objects {
        let path = directory.join(&object.name);
        write_file(&path, &object.bytes)?;
        summary.outputs.push(path);
    }
    for (name, bytes) in [("report.pdf", &*results.pdf), ("fhir.json", results.bundle.as_bytes())] {
        let path = args.output_dir.join(name);
        write_file(&path, bytes)?;
        summary.outputs.push(path);
    }
    let bytes: usize = results.objects.iter().map(|object| object.bytes.len()).sum();
    summary.metric("dicom_objects", results.objects.len() as f64);
    summary.metric("dicom_bytes", bytes as f64);
    summary.write_metrics(&args.output_dir)?;
    Ok(summary)
}
