//! A small radiology pipeline and its projects, written to a temporary directory.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};

use mlpipe_spec::{Diagnostics, ForeignComparator, LoadError, LoadOptions, Pipeline, load_pipeline};

/// The pipeline of the design, with all kinds of references.
pub(crate) const PIPELINE: &str = r#"# yaml-language-server: $schema=../schemas/pipeline.schema.json
name: schmorl
params:
  studies:   {type: path,  default: ../testdata/studies}
  plane:     {type: choice, choices: [sagittal, coronal, axial], default: sagittal}
  detector:  {type: uri,   default: ../projects/vertebrae/model}
  threshold: {type: float, default: 0.5, min: 0, max: 1}
  instances: {type: int, default: 5}
inputs:
  studies: {collection: dicom-series, from: "${{ params.studies }}",
            select: {Modality: MR, plane: "${{ params.plane }}", min_instances: "${{ params.instances }}", Rows: 512}}
defaults: {retries: 1, timeout: 10m, resources: {cpu: 1, memory: 1GiB}, on_item_error: collect}
steps:
  report:
    project: ../projects/report
    for_each: {study: slices}
    parameters:
      volume: "${{ steps.slices.outputs.volume }}"
      vertebrae: ${{ steps.vertebrae.outputs.boxes }}
      findings: "${{ gather(steps.schmorl.outputs.finding, over='vertebra') }}"
  slices:
    project: ../projects/${{ params.plane }}
    for_each: {study: inputs.studies}
    parameters: {series: "${{ item.study }}", spacing_mm: 1}
  vertebrae:
    project: ../projects/vertebrae
    for_each: {study: slices}
    parameters: {volume: "${{ steps.slices.outputs.volume }}", model: "${{ params.detector }}", threshold: "${{ params.threshold }}"}
  schmorl:
    project: ../projects/schmorl
    for_each: {study: slices, vertebra: vertebrae.outputs.vertebrae}
    batch: 32
    timeout: 1h30m
    parameters: {volume: "${{ steps.slices.outputs.volume }}", vertebra: "${{ item.vertebra }}"}
  summary:
    project: ../projects/report
    entry_point: summary
    needs: [report]
    cache: false
    parameters: {reports: "${{ gather(steps.report.outputs.report, over='study') }}"}
outputs: {reports: steps.report.outputs.report}
"#;

const PROJECTS: [(&str, &str); 4] = [
    (
        "sagittal",
        "name: sagittal
entry_points:
  main:
    parameters:
      series: path
      spacing_mm: {type: float, default: 1.5, min: 0.1}
    command: mlpipe step slices {series} --spacing {spacing_mm}
    outputs:
      volume: {path: volume, type: directory}
",
    ),
    (
        "vertebrae",
        "name: vertebrae
entry_points:
  main:
    parameters:
      volume: path
      model: {type: uri, default: model}
      threshold: {type: float, default: 0.3, min: 0, max: 1}
    command: mlpipe step vertebrae {volume} {model} --threshold {threshold}
    outputs:
      boxes: {path: vertebrae.json, type: json, compare: {rtol: 1e-5}}
      vertebrae: {path: vertebrae, type: collection}
",
    ),
    (
        "schmorl",
        "name: schmorl
entry_points:
  main:
    parameters:
      volume: path
      vertebra: path
      model: {type: uri, default: model}
    command: mlpipe step nodes {volume} {vertebra} {model}
    batch_command: mlpipe step nodes --batch {batch}
    outputs:
      finding: {path: finding.json, type: json}
",
    ),
    (
        "report",
        "entry_points:
  main:
    parameters: {volume: path, vertebrae: path, findings: path}
    command: mlpipe step report {volume} {vertebrae} {findings} > log.txt
    outputs:
      report: {path: report, type: directory}
  summary:
    parameters: {reports: path, title: {type: string, default: Summary of all}}
    command: mlpipe step summary {reports} --title {title}
",
    ),
];

/// A directory with `pipelines/schmorl.yaml` and its projects.
pub(crate) struct Workplace {
    directory: tempfile::TempDir,
}

impl Workplace {
    pub(crate) fn new() -> Workplace {
        let workplace = Workplace { directory: tempfile::tempdir().expect("a temporary directory") };
        for (name, text) in PROJECTS {
            workplace.write(&format!("projects/{name}/MLproject"), text);
        }
        workplace
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().expect("the directory is there")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a name below the directory")).expect("a new directory");
        fs::write(path, text).expect("a new file");
    }

    pub(crate) fn load(&self, text: &str, overrides: &[(&str, &str)]) -> Result<Pipeline, Diagnostics> {
        self.write("pipelines/schmorl.yaml", text);
        let overrides: Vec<_> =
            overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = LoadOptions {
            overrides: &overrides,
            collections: &["dicom-series", "files"],
            comparators: &[ForeignComparator { name: "dicom", check: no_bad_key }],
            included: None,
        };
        let path: &Path = &self.path().join("pipelines/schmorl.yaml");
        load_pipeline(path, &options).map_err(|error| match error {
            LoadError::Invalid(diagnostics) => diagnostics,
            LoadError::Io { path, source } => panic!("{}: {source}", path.display()),
        })
    }
}

/// Stands in for a comparator that the command brings.
fn no_bad_key(settings: &serde_json::Map<String, serde_json::Value>) -> Result<(), String> {
    if settings.contains_key("bad") { Err("`bad` is bad".into()) } else { Ok(()) }
}
