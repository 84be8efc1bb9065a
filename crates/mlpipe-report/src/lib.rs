//! Findings and their documents: the JSON that steps hand to each other, and the report for a reader.
//!
//! The documents are the types behind `vertebrae.json` and `findings.json`; [`render_html`] makes one page of them
//! and of the volume that they speak of, [`write_results`] the objects that a PACS and a hospital's systems take.
//! What is found, and where, is decided by the steps.

mod documents;
mod error;
mod figure;
mod html;
mod picture;
mod report;
mod results;
mod wording;

pub use documents::*;
pub use error::{Error, Result};
pub use html::render_html;
pub use report::ReportInput;
pub use results::{Code, ResultFile, Results, ResultsInput, SourceSeries, write_results};
