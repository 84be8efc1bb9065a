//! What can be wrong with a report's input.

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a report was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A document speaks of another series than the volume.
    #[error("the {document} document is about series {found}, the volume is series {expected}")]
    OtherSeries {
        /// `vertebrae` or `findings`.
        document: &'static str,
        /// SeriesInstanceUID in the document.
        found: String,
        /// SeriesInstanceUID of the volume.
        expected: String,
    },
    /// A document has another format than this version reads.
    #[error("format `{found}` is not `{expected}`")]
    OtherFormat {
        /// `format` in the document.
        found: String,
        /// The format that is read.
        expected: &'static str,
    },
    /// A findings document names a vertebra that the vertebrae document lacks.
    #[error("vertebra `{vertebra_id}` has findings but is not in the vertebrae document")]
    UnknownVertebra {
        /// The vertebra.
        vertebra_id: String,
    },
    /// A document names a slice that the volume lacks.
    #[error("vertebra `{vertebra_id}` is on slice {slice}, the volume has {slices} slices")]
    NoSuchSlice {
        /// The vertebra.
        vertebra_id: String,
        /// Slice in the document.
        slice: usize,
        /// Slices of the volume.
        slices: usize,
    },
    /// A slice of the volume has another stored image behind it than the document says.
    #[error("vertebra `{vertebra_id}`: slice {slice} is not the image {}", sop_instance_uid.as_deref().unwrap_or("(interpolated)"))]
    OtherImage {
        /// The vertebra.
        vertebra_id: String,
        /// Slice in the document.
        slice: usize,
        /// SOPInstanceUID in the document.
        sop_instance_uid: Option<String>,
    },
    /// A box has no area, or a coordinate that is no number.
    #[error("vertebra `{vertebra_id}`: {box_px:?} is not a box [x_min, y_min, x_max, y_max]")]
    NotABox {
        /// The vertebra.
        vertebra_id: String,
        /// The box.
        box_px: [f64; 4],
    },
    /// The volume has no voxels.
    #[error("volume of series {series_instance_uid} has no voxels")]
    EmptyVolume {
        /// Its series.
        series_instance_uid: String,
    },
    /// The source images cannot be used.
    #[error(transparent)]
    Dicom(#[from] mlpipe_dicom::Error),
    /// The stored images behind a volume do not tell what they are, or form no volume.
    #[error("the images of series {series_instance_uid} cannot be referred to: they form no usable volume")]
    NoSource {
        /// The series.
        series_instance_uid: String,
    },
    /// A slice of the volume has a stored image behind it that is not among the source images.
    #[error("slice {slice} of the volume comes from image {sop_instance_uid}, which is not among the source images")]
    NotASourceImage {
        /// The slice.
        slice: usize,
        /// SOPInstanceUID in the volume.
        sop_instance_uid: String,
    },
    /// A result object could not be encoded.
    #[error("write {object}: {message}")]
    Encode {
        /// Its file name.
        object: String,
        /// Why.
        message: String,
    },
    /// A picture could not be made.
    #[error("picture of slice {slice}: {message}")]
    Picture {
        /// The slice.
        slice: usize,
        /// Why.
        message: String,
    },
}
