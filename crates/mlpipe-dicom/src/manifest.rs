//! `mlpipe.series/1`: the instances of one chosen volume, with their digests. It is what a step receives as its input.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::store::{read_json, write_json};
use crate::{Error, Result, VolumePlan};

const FORMAT: &str = "mlpipe.series/1";
/// Separates this digest from all others; changes when the encoding does.
const DIGEST_DOMAIN: &[u8] = b"mlpipe.series/1 digest";

/// The instances that form one volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesManifest {
    /// Always `mlpipe.series/1`.
    pub format: String,
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// StudyInstanceUID.
    pub study_instance_uid: String,
    /// The files, sorted by SOPInstanceUID.
    pub instances: Vec<ManifestInstance>,
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestInstance {
    /// Where the file lies; absolute.
    pub path: PathBuf,
    /// Its SOPInstanceUID.
    pub sop_instance_uid: String,
    /// BLAKE3 of its bytes, 64 hexadecimal digits.
    pub blake3: String,
}

impl SeriesManifest {
    /// Reads and hashes the files of a plan.
    ///
    /// # Errors
    /// When the plan is rejected or a file cannot be read.
    pub fn of(plan: &VolumePlan) -> Result<Self> {
        Self::with_digests(plan, |path| std::fs::read(path).map(|bytes| blake3::hash(&bytes).into()))
    }

    /// As [`SeriesManifest::of`]; `digest` returns BLAKE3 of a file's bytes, which it may know without reading them.
    ///
    /// # Errors
    /// When the plan is rejected or `digest` fails.
    pub fn with_digests(plan: &VolumePlan, digest: impl Fn(&Path) -> std::io::Result<[u8; 32]> + Sync) -> Result<Self> {
        if !plan.is_usable() {
            return Err(crate::load::refused(plan));
        }
        let files: std::collections::BTreeMap<&Path, &str> =
            plan.frames.iter().map(|frame| (frame.path(), frame.sop_instance_uid())).collect();
        let mut instances = files
            .into_par_iter()
            .map(|(path, uid)| {
                let path =
                    std::path::absolute(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
                let blake3 = digest(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
                let blake3 = blake3::Hash::from(blake3).to_hex().to_string();
                Ok(ManifestInstance { path, sop_instance_uid: uid.to_owned(), blake3 })
            })
            .collect::<Result<Vec<_>>>()?;
        instances.sort_by(|a, b| a.sop_instance_uid.cmp(&b.sop_instance_uid));
        Ok(SeriesManifest {
            format: FORMAT.to_owned(),
            series_instance_uid: plan.series_instance_uid.clone(),
            study_instance_uid: plan.study_instance_uid.clone(),
            instances,
        })
    }

    /// Writes the manifest as JSON, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// When the file cannot be read or is not a manifest.
    pub fn load(path: &Path) -> Result<Self> {
        let manifest: SeriesManifest = read_json(path, FORMAT)?;
        let invalid = |message: String| Error::Format { path: path.to_path_buf(), format: FORMAT, message };
        if manifest.format != FORMAT {
            return Err(invalid(format!("`format` is `{}`", manifest.format)));
        }
        if manifest.instances.is_empty() {
            return Err(invalid("`instances` is empty".into()));
        }
        Ok(manifest)
    }

    /// Returns the digest of the content: independent of file names, folders and order.
    ///
    /// BLAKE3 over a domain tag, the number of instances, then (SOPInstanceUID, file digest) sorted, each text preceded
    /// by its length as 8 bytes little endian.
    pub fn digest(&self) -> [u8; 32] {
        let mut pairs: Vec<(&str, &str)> =
            self.instances.iter().map(|instance| (&*instance.sop_instance_uid, &*instance.blake3)).collect();
        pairs.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(DIGEST_DOMAIN);
        add(&(pairs.len() as u64).to_le_bytes());
        for (uid, digest) in pairs {
            add(uid.as_bytes());
            add(digest.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Checks that every file still has the bytes it was selected with.
    pub(crate) fn verify(&self) -> Result<()> {
        self.instances.par_iter().try_for_each(|instance| {
            if file_digest(&instance.path)? == instance.blake3 {
                return Ok(());
            }
            Err(Error::Changed { path: instance.path.clone() })
        })
    }
}

fn file_digest(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(instances: &[(&str, &str, &str)]) -> SeriesManifest {
        let instance = |(path, uid, digest): &(&str, &str, &str)| ManifestInstance {
            path: path.into(),
            sop_instance_uid: (*uid).into(),
            blake3: (*digest).into(),
        };
        SeriesManifest {
            format: FORMAT.into(),
            series_instance_uid: "1".into(),
            study_instance_uid: "2".into(),
            instances: instances.iter().map(instance).collect(),
        }
    }

    #[test]
    fn digest_ignores_names_and_order() {
        let one = manifest(&[("a", "1.1", "aa"), ("b", "1.2", "bb")]);
        let other = manifest(&[("x/y", "1.2", "bb"), ("z", "1.1", "aa")]);
        assert_eq!(one.digest(), other.digest());
    }

    #[test]
    fn digest_tells_apart_where_a_uid_ends() {
        assert_ne!(manifest(&[("a", "1.1", "2aa")]).digest(), manifest(&[("a", "1.12", "aa")]).digest());
    }
}
