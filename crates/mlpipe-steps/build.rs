//! Gives the built-in steps an identity: a digest of the sources they are made of. It is part of every task's fingerprint,
//! so that work done by other code is not taken for this code's, and it is the same wherever this code is built.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Crates whose code can change what a step writes.
const CRATES: [&str; 4] = ["mlpipe-dicom", "mlpipe-infer", "mlpipe-report", "mlpipe-steps"];

fn main() -> io::Result<()> {
    let crates = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    let mut hasher = blake3::Hasher::new();
    for name in CRATES {
        let sources = crates.join(name).join("src");
        println!("cargo::rerun-if-changed={}", sources.display());
        for file in files(&sources)? {
            let relative = file.strip_prefix(&crates).expect("it was found below").to_string_lossy().into_owned();
            let content = fs::read(&file)?;
            for part in [relative.as_bytes(), &content] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
        }
    }
    println!("cargo::rustc-env=MLPIPE_STEPS_SOURCE_DIGEST={}", hasher.finalize().to_hex());
    Ok(())
}

/// All files below a folder, sorted.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
