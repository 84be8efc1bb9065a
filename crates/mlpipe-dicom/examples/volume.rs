//! Scans files or folders and writes every usable volume as `.npy` into a folder: `volume OUT PATH...`.

use std::path::{Path, PathBuf};

use mlpipe_dicom::{Limits, Result, write_volumes};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().unwrap_or_else(|| "volumes".into());
    let paths: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    write_volumes(&paths, Path::new(&out), Limits::default()).map(drop)
}
