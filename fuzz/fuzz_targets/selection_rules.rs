//! Any JSON object as selection rules: read or refused.
//!
//! `fuzz/run.sh 60 selection_rules`
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlpipe_dicom::SelectionRules;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(serde_json::Value::Object(rules)) = serde_json::from_slice(bytes) {
        let _ = SelectionRules::from_json(&rules);
    }
});
