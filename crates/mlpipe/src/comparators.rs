//! Comparators of file formats that the engine does not know: `dicom: {ignore: [SOPInstanceUID, ...]}`.

use std::path::Path;

use mlpipe_dicom::{IgnoredAttributes, compare_files};
use mlpipe_engine::{Compared, Difference, FileComparator};
use mlpipe_spec::ForeignComparator;
use serde_json::{Map, Value};

/// What MLproject files may name under `compare:`, beside the comparators of every pipeline.
pub(crate) const COMPARATORS: &[ForeignComparator] =
    &[ForeignComparator { name: "dicom", check: |settings| ignored(settings).map(drop) }];

/// How such files are compared.
pub(crate) const FILE_COMPARATORS: &[FileComparator] =
    &[FileComparator { name: "dicom", suffix: ".dcm", compare: compare_dicom }];

fn compare_dicom(original: &Path, rerun: &Path, settings: &Map<String, Value>) -> Result<Compared, String> {
    let ignored = ignored(settings)?;
    let differences = compare_files(original, rerun, &ignored).map_err(|error| error.to_string())?;
    let mut compared = Compared::default();
    for difference in differences {
        compared.differ(Difference {
            file: None,
            at: difference.attribute,
            original: difference.first,
            rerun: difference.second,
        });
    }
    Ok(compared)
}

fn ignored(settings: &Map<String, Value>) -> Result<IgnoredAttributes, String> {
    if let Some(key) = settings.keys().find(|key| *key != "ignore") {
        return Err(format!("it has no key `{key}`, only `ignore`"));
    }
    let list = match settings.get("ignore") {
        None => &Vec::new(),
        Some(Value::Array(list)) => list,
        Some(_) => return Err("`ignore` must be a list of DICOM keywords or tags".into()),
    };
    let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
    let texts = texts.ok_or("`ignore` must be a list of texts, as in [SOPInstanceUID, \"(0008,0018)\"]")?;
    IgnoredAttributes::parse(texts).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_dicom_comparator_are_checked() {
        let check = |text: &str| ignored(&serde_json::from_str(text).expect("JSON")).map(drop);
        assert_eq!(check(r#"{"ignore": ["SOPInstanceUID", "(0008,0033)"]}"#), Ok(()));
        assert_eq!(check("{}"), Ok(()));
        for (settings, problem) in [
            (r#"{"ignored": []}"#, "no key `ignored`"),
            (r#"{"ignore": "Rows"}"#, "must be a list"),
            (r#"{"ignore": [1]}"#, "list of texts"),
            (r#"{"ignore": ["SOPInstanceUid"]}"#, "SOPInstanceUid"),
        ] {
            assert!(check(settings).expect_err(settings).contains(problem), "{settings}");
        }
    }
}
