//! Damaged bytes anywhere in a file lead to a result or a refusal, never to a panic or a huge allocation.

use std::path::Path;

use mlpipe_dicom::{Limits, load_volume, read_pixels, scan_within};

use crate::images::{Folder, slice, write, write_as};

/// A fixed sequence of pseudo-random numbers (Knuth's MMIX constants).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }
}

/// Scans and loads `rounds` versions of a file, each with a few bytes overwritten or its end cut off.
fn survive(file: &Path, rounds: usize, first_bytes: usize) {
    let bytes = std::fs::read(file).expect("read");
    let folder = Folder::new();
    let target = folder.join("mutated.dcm");
    let mut numbers = Numbers(1);
    for round in 0..rounds {
        let mut mutated = bytes.clone();
        for _ in 0..=numbers.below(3) {
            let at = 128 + numbers.below(first_bytes.min(bytes.len()) - 128);
            mutated[at] = [0, 0xFF, 0x7F, numbers.below(256) as u8][numbers.below(4)];
        }
        if round % 4 == 0 {
            mutated.truncate(128 + numbers.below(bytes.len() - 128));
        }
        std::fs::write(&target, mutated).expect("written");
        let limits = Limits { memory: 64 << 20 };
        drop(read_pixels(&target, limits));
        let scan = scan_within(std::slice::from_ref(&target), limits).expect("the file can be read");
        for plan in scan.series.iter().flat_map(|series| &series.volumes).filter(|plan| plan.is_usable()) {
            drop(load_volume(plan));
        }
    }
}

#[test]
fn damaged_native_files_are_survived() {
    let folder = Folder::new();
    write(&slice(0), &folder.join("explicit"));
    write_as(&slice(0), &folder.join("implicit"), "1.2.840.10008.1.2");
    for name in ["explicit", "implicit"] {
        survive(&folder.join(name), 400, usize::MAX);
    }
}

#[test]
fn damaged_enhanced_files_are_survived() {
    let folder = Folder::new();
    write(&crate::series::enhanced(4), &folder.join("enhanced"));
    survive(&folder.join("enhanced"), 400, usize::MAX);
}

/// One file per decoder. JPEG 2000 is not ours and slower: fewer rounds.
#[test]
fn damaged_compressed_files_are_survived() {
    let Some(files) = crate::pydicom::test_files() else { return };
    for (name, rounds) in [
        ("MR_small_RLE.dcm", 300),
        ("MR_small_jpeg_ls_lossless.dcm", 300),
        ("JPGLosslessP14SV1_1s_1f_8b.dcm", 30),
        ("JPGExtended.dcm", 30),
        ("image_dfl.dcm", 60),
        ("MR_small_jp2klossless.dcm", 150),
    ] {
        let file = files.join(name);
        if file.is_file() {
            survive(&file, rounds, usize::MAX);
        } else {
            crate::images::skipped(&format!("pydicom has no {name}"));
        }
    }
}
