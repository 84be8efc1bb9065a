//! Any text as a pipeline: a pipeline, or mistakes that can be shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mlpipe_spec::{LoadError, LoadOptions, load_pipeline_text};

fuzz_target!(|text: String| {
    let options = LoadOptions { collections: &["files", "dicom-series"], ..LoadOptions::default() };
    // Files that the text names lie below a folder that does not exist.
    if let Err(LoadError::Invalid(mistakes)) = load_pipeline_text(Path::new("/nowhere/pipeline.yaml"), text, &options) {
        assert!(!mistakes.items().is_empty());
        assert!(!mistakes.to_string().contains("this is a fault of mlpipe"));
        mistakes.render(false, 80);
    }
});
