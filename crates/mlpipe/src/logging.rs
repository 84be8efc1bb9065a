//! Diagnostics of the program itself, on stderr; what a command prints as its result never goes through here.

use tracing_subscriber::EnvFilter;

/// Starts logging: warnings, or more with `-v` and `MLPIPE_LOG`.
pub(crate) fn start(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    // ort reports every session option at info, dicom-rs every odd attribute at warn.
    let quiet = format!("{default},ort=error,dicom_object=error,dicom_parser=error,dicom_pixeldata=error");
    let filter = EnvFilter::try_from_env("MLPIPE_LOG").unwrap_or_else(|_| EnvFilter::new(quiet));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(crate::text::colours_on_stderr())
        .without_time()
        .with_target(false)
        .init();
}
