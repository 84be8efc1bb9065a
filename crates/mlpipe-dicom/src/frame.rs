//! One stored image plane: a classic instance, or one frame of an enhanced multi-frame instance, as read from headers.

use std::path::PathBuf;
use std::sync::Arc;

use crate::bytes::Stamp;
use crate::lut::Table;

/// How the stored numbers of a file are laid out (DICOM PS3.3 C.7.6.3.1).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PixelFormat {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// 1, 8, 16 or 32; 32 or 64 for floating point numbers.
    pub(crate) bits_allocated: u16,
    pub(crate) bits_stored: u16,
    pub(crate) high_bit: u16,
    pub(crate) signed: bool,
    /// FloatPixelData or DoubleFloatPixelData.
    pub(crate) float: bool,
    pub(crate) frames: usize,
}

impl PixelFormat {
    /// Returns the pixels of one frame.
    pub(crate) fn pixels(&self) -> u128 {
        self.rows as u128 * self.columns as u128
    }

    /// Returns the bytes of all frames of native pixel data. Frames of 1 bit follow each other without padding.
    pub(crate) fn stored_bytes(&self) -> u128 {
        (self.pixels() * u128::from(self.bits_allocated) * self.frames as u128).div_ceil(8)
    }
}

/// The file behind a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
    pub(crate) sop_instance_uid: String,
    pub(crate) transfer_syntax: String,
    pub(crate) pixel_format: PixelFormat,
    /// Maps stored values to modality units instead of slope and intercept.
    pub(crate) lut: Option<Arc<Table>>,
}

/// One stored image plane and its place in the patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub(crate) file: Arc<SourceFile>,
    pub(crate) number: usize,
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
}

impl Frame {
    /// Returns the file that holds the frame.
    pub fn path(&self) -> &std::path::Path {
        &self.file.path
    }

    /// Returns the SOPInstanceUID of the file.
    pub fn sop_instance_uid(&self) -> &str {
        &self.file.sop_instance_uid
    }

    /// Returns the frame's number in the file, from 0; always 0 for classic instances.
    pub fn number(&self) -> usize {
        self.number
    }
}
