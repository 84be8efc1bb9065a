//! Any byte string as a DICOM file: scanned, loaded and decoded, or refused, within 64 MiB.
//!
//! `fuzz/run.sh 60 dicom_read`; its head says how it is built and what it starts from.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use mlpipe_dicom::{Limits, load_volume, read_pixels, scan_within};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { memory: 64 << 20 };
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("written");
    let _ = read_pixels(file.path(), limits);
    let scan = scan_within(&[file.path().to_path_buf()], limits).expect("the file can be read");
    for plan in scan.series.iter().flat_map(|series| &series.volumes) {
        let _ = load_volume(plan);
    }
});
