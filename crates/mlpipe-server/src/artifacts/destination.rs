//! Which kind of bucket a URI names, and whether this build knows it.

use super::Place;

/// The schemes of a kind's URIs, and the feature that brings it.
const KINDS: [(&[&str], &str); 3] =
    [(&["s3"], "s3"), (&["gs"], "gcs"), (&["az", "abfs", "abfss", "wasb", "wasbs"], "azure")];

/// Opens the bucket that a URI names.
///
/// # Errors
/// In words: when this build does not know that kind, or the bucket does not answer.
pub(crate) fn open(uri: &str) -> Result<Place, String> {
    let scheme = uri.split_once("://").map_or("", |(scheme, _)| scheme);
    let Some((_, feature)) = KINDS.iter().find(|(schemes, _)| schemes.contains(&scheme)) else {
        return Err(format!("mlpipe knows no `{scheme}://`; give a folder, or s3://, gs:// or az://"));
    };
    #[cfg(feature = "object-store")]
    if let Some(opened) = super::cloud::open(feature, uri) {
        return opened;
    }
    Err(format!("this mlpipe was built without it; build it with `--features {feature}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_and_those_that_were_not_built_are_told() {
        let message = open("ftp://host/folder").expect_err("not known");
        assert!(message.contains("ftp"), "{message}");
        #[cfg(not(feature = "s3"))]
        {
            let message = open("s3://bucket/prefix").expect_err("not built");
            assert!(message.contains("--features s3"), "{message}");
        }
    }
}
