//! `mlpipe.volume/1` on disk: `volume.npy` (f32 `[slice, row, column]`, C order) and `volume.json` in one directory.
//! Files appear whole or not at all; `volume.json` last, so that a directory with it is complete.

use std::borrow::Cow;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::Array3;
use ndarray_npy::{ReadNpyExt, WriteNpyExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, SourceSlice, Volume, VolumeGeometry};

const FORMAT: &str = "mlpipe.volume/1";

#[derive(Serialize, Deserialize)]
struct Description {
    format: String,
    series_instance_uid: String,
    study_instance_uid: String,
    modality: String,
    geometry: VolumeGeometry,
    sources: Vec<Option<SourceSlice>>,
}

impl Volume {
    /// Writes `volume.npy` (f32 `[slice, row, column]`) and `volume.json` into `directory`, which is made if needed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let write_error = |source| Error::Write { path: directory.to_path_buf(), source };
        std::fs::create_dir_all(directory).map_err(write_error)?;
        write_npy(&directory.join("volume.npy"), &self.voxels)?;
        let description = Description {
            format: FORMAT.to_owned(),
            series_instance_uid: self.series_instance_uid.clone(),
            study_instance_uid: self.study_instance_uid.clone(),
            modality: self.modality.clone(),
            geometry: self.geometry.clone(),
            sources: self.sources.clone(),
        };
        write_json(&directory.join("volume.json"), &description)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When a file cannot be read or does not hold a volume.
    pub fn load(directory: &Path) -> Result<Volume> {
        let path = directory.join("volume.json");
        let description: Description = read_json(&path, FORMAT)?;
        let voxels = read_npy(&directory.join("volume.npy"))?;
        check(&description, &voxels).map_err(|message| Error::Format { path, format: FORMAT, message })?;
        Ok(Volume {
            geometry: description.geometry,
            voxels,
            sources: description.sources,
            series_instance_uid: description.series_instance_uid,
            study_instance_uid: description.study_instance_uid,
            modality: description.modality,
        })
    }
}

fn check(description: &Description, voxels: &Array3<f32>) -> Result<(), String> {
    let geometry = &description.geometry;
    if description.format != FORMAT {
        return Err(format!("`format` is `{}`", description.format));
    }
    if geometry.shape[..] != *voxels.shape() {
        return Err(format!("`shape` is {:?} but volume.npy has {:?}", geometry.shape, voxels.shape()));
    }
    if description.sources.len() != geometry.shape[0] {
        return Err(format!("`sources` has {} entries for {} slices", description.sources.len(), geometry.shape[0]));
    }
    if geometry.shape.contains(&0) || geometry.spacing_mm.iter().any(|spacing| *spacing <= 0.0) {
        return Err("shape and spacing must be positive".into());
    }
    Ok(())
}

/// Returns what stands before the elements of a `.npy` file of f32 in C order (NumPy format 1.0).
pub(crate) fn npy_header(shape: [usize; 3]) -> Vec<u8> {
    const BEFORE_TEXT: usize = 10;
    let [slices, rows, columns] = shape;
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({slices}, {rows}, {columns}), }}");
    let end = (BEFORE_TEXT + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', end - BEFORE_TEXT - text.len() - 1));
    text.push('\n');
    [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Writes slices after a header, each as `encode` gives it where it belongs, whole or not at all. All have the same length.
///
/// # Errors
/// When the file cannot be written, and what `slices` returns.
pub(crate) fn write_slices(
    path: &Path,
    header: &[u8],
    encode: impl Fn(&[f32]) -> Cow<'_, [u8]> + Sync,
    slices: impl FnOnce(&(dyn Fn(usize, &[f32]) -> Result<()> + Sync)) -> Result<()>,
) -> Result<()> {
    let failed = |source| Error::Write { path: path.to_path_buf(), source };
    write_whole_or(path, |writer| {
        writer.write_all(header).map_err(failed)?;
        let writer = Mutex::new(writer);
        slices(&|index, voxels| {
            let bytes = encode(voxels);
            let at = header.len() as u64 + index as u64 * bytes.len() as u64;
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.seek(SeekFrom::Start(at)).and_then(|_| writer.write_all(&bytes)).map_err(failed)
        })
    })
}

pub(crate) fn little_endian(voxels: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(bytemuck::cast_slice(voxels));
    }
    Cow::Owned(voxels.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Writes an array as `.npy`, whole or not at all.
fn write_npy(path: &Path, voxels: &Array3<f32>) -> Result<()> {
    write_whole(path, |writer| {
        let written = voxels.as_standard_layout().write_npy(writer);
        written.map_err(|error| std::io::Error::other(error.to_string()))
    })
}

fn read_npy(path: &Path) -> Result<Array3<f32>> {
    let file = std::fs::File::open(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    Array3::<f32>::read_npy(std::io::BufReader::new(file)).map_err(|error| Error::Format {
        path: path.to_path_buf(),
        format: FORMAT,
        message: error.to_string(),
    })
}

/// Writes a value as indented JSON, whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_whole(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    })
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, format: &'static str) -> Result<T> {
    let text = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    serde_json::from_slice(&text).map_err(|error| Error::Format {
        path: path.to_path_buf(),
        format,
        message: error.to_string(),
    })
}

/// What a file is written through.
pub(crate) type FileWriter = BufWriter<std::fs::File>;

/// Writes beside the file and renames, so that no reader sees half of it.
pub(crate) fn write_whole(path: &Path, write: impl FnOnce(&mut FileWriter) -> std::io::Result<()>) -> Result<()> {
    write_whole_or(path, |writer| write(writer).map_err(|source| Error::Write { path: path.to_path_buf(), source }))
}

/// As [`write_whole`], for content whose making can fail for reasons of its own.
fn write_whole_or(path: &Path, write: impl FnOnce(&mut FileWriter) -> Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary: PathBuf = path.with_file_name(name);
    let failed = |source| Error::Write { path: path.to_path_buf(), source };
    let written = std::fs::File::create(&temporary).map(BufWriter::new).map_err(failed).and_then(|mut writer| {
        write(&mut writer)?;
        writer.flush().map_err(failed)?;
        std::fs::rename(&temporary, path).map_err(failed)
    });
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_npy_files_are_those_of_the_library() {
        for shape in [[1, 2, 3], [200, 512, 512], [35, 1024, 7]] {
            let mut written = Vec::new();
            Array3::<f32>::zeros(shape).write_npy(&mut written).expect("written");
            let header = npy_header(shape);
            assert_eq!(header.len() % 64, 0);
            let read = Array3::<f32>::read_npy(
                &[&header[..], &written[written.len() - 4 * shape.iter().product::<usize>()..]].concat()[..],
            );
            assert_eq!(read.expect("read").shape(), shape);
        }
    }
}
