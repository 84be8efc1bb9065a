//! What can go wrong in this crate, one variant per situation a caller may treat differently.
//! Problems of single files and volumes met while scanning are not errors: they are [`Problem`]s in the result.

use std::path::PathBuf;

use crate::{Plane, Problem};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A situation in which no answer can be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read.
    #[error("read `{}`: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("write `{}`: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of ours (volume.json, volume.npy, a manifest) does not hold what it must.
    #[error("`{}` is not a valid {format} file: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it should have.
        format: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The volume of a series cannot be used.
    #[error("series {series_instance_uid}, volume {volume}: {problem}")]
    Refused {
        /// The series.
        series_instance_uid: String,
        /// Which of its volumes.
        volume: usize,
        /// Why, with file and cure.
        problem: Box<Problem>,
    },
    /// The stored pixels of a file could not be decoded.
    #[error("`{}`: {message} [{code}]", path.display())]
    Pixels {
        /// The file.
        path: PathBuf,
        /// Stable code of the problem.
        code: String,
        /// What is wrong and the cure.
        message: String,
    },
    /// A file's bytes are not those the manifest was made from.
    #[error("`{}` has changed since it was selected; run the selection again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The files of a manifest do not form exactly one usable volume.
    #[error("series {series_instance_uid}: {message}")]
    NotOneVolume {
        /// The series.
        series_instance_uid: String,
        /// What they form instead.
        message: String,
    },
    /// No series with the asked UID, or no such volume in it.
    #[error("{message}")]
    NotFound {
        /// What was asked and what there is.
        message: String,
    },
    /// A selection rule cannot be understood.
    #[error("selection rule `{key}`: {message}")]
    Rule {
        /// The rule's key.
        key: String,
        /// What is wrong, with a suggestion.
        message: String,
    },
    /// A volume cannot be reformatted into another plane without inventing most of the picture.
    #[error("reformat series {series_instance_uid} to {plane}: {message}")]
    Reformat {
        /// The series.
        series_instance_uid: String,
        /// The plane asked for.
        plane: Plane,
        /// Why not.
        message: String,
    },
    /// A number given by the caller makes no sense (a spacing that is not positive, a file name of unknown kind).
    #[error("{message}")]
    Argument {
        /// What is wrong.
        message: String,
    },
    /// The secret of a de-identification is missing, open to others or weak.
    #[error("key `{origin}`: {message}; make one with `(umask 077; head -c 32 /dev/urandom > KEY)`")]
    Key {
        /// The file or variable.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// De-identified files cannot go there.
    #[error("output folder `{}`: {message}", path.display())]
    OutputFolder {
        /// The folder.
        path: PathBuf,
        /// Why, and the cure.
        message: String,
    },
}
