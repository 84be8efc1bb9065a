//! Damaged bytes anywhere in a file lead to a result or a refusal, never to a panic or a huge allocation.

use std::path::Path;

use mlpipe_dicom::{load_volume, scan};

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
        let scan = scan(std::slice::from_ref(&target)).expect("the file can be read");
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
