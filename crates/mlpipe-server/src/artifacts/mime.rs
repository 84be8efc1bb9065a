//! The media type of a file, by its name alone: content is never looked at, and browsers are told not to either.

/// What MLflow shows as text, whatever it is.
const TEXT: &[&str] =
    &["txt", "log", "py", "yaml", "yml", "cfg", "ini", "toml", "md", "rst", "sh", "r", "conf", "mlmodel", "mlproject"];

const OTHERS: &[(&str, &str)] = &[
    ("json", "application/json"),
    ("ndjson", "application/x-ndjson"),
    ("csv", "text/csv"),
    ("tsv", "text/tab-separated-values"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("xml", "application/xml"),
    ("css", "text/css"),
    ("js", "text/javascript"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("svg", "image/svg+xml"),
    ("webp", "image/webp"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("tar", "application/x-tar"),
    ("parquet", "application/vnd.apache.parquet"),
    ("dcm", "application/dicom"),
    ("mp4", "video/mp4"),
];

/// Returns the media type for a file of this name.
pub(crate) fn media_type(name: &str) -> &'static str {
    const UNKNOWN: &str = "application/octet-stream";
    let extension = name.rsplit_once('.').map_or(name, |(_, extension)| extension).to_ascii_lowercase();
    if TEXT.contains(&extension.as_str()) {
        return "text/plain";
    }
    OTHERS.iter().find(|(known, _)| *known == extension).map_or(UNKNOWN, |(_, media_type)| media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide() {
        for (name, expected) in [
            ("a.txt", "text/plain"),
            ("MLmodel", "text/plain"),
            ("scores.JSON", "application/json"),
            ("model.onnx", "application/octet-stream"),
            ("noextension", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name), expected, "{name}");
        }
    }
}
