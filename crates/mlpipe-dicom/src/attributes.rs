//! Attributes of a stored image for objects that are made from it: the patient and study that a result must be filed
//! under, as their bytes stand in the file. Which attributes, and where they go, is for the caller to decide.
//!
//! Values may name a person. `Debug` tells only which attributes there are, and no error repeats a value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use dicom_core::{Tag, VR};

use crate::data_set::DataSet;
use crate::header::with_header;
use crate::{Limits, Result};

/// Some attributes of the top level of a file.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Attributes(BTreeMap<Tag, Stored>);

#[derive(Clone, PartialEq, Eq)]
struct Stored {
    vr: VR,
    bytes: Vec<u8>,
    text: Option<String>,
}

impl Attributes {
    fn of(object: &DataSet, wanted: &[Tag]) -> Self {
        let stored = |tag: &Tag| {
            let (vr, bytes) = object.stored(*tag)?;
            Some((*tag, Stored { vr, bytes: bytes.to_vec(), text: object.text(*tag) }))
        };
        Self(wanted.iter().filter_map(stored).collect())
    }

    /// Returns the value representation and the stored bytes of a text attribute, encoded as SpecificCharacterSet
    /// (0008,0005) of the same file says. None when it is absent.
    pub fn stored(&self, tag: Tag) -> Option<(VR, &[u8])> {
        self.0.get(&tag).map(|stored| (stored.vr, &*stored.bytes))
    }

    /// Returns a value as text without padding, numbers written out; several stay joined by backslashes. None when it
    /// is absent or empty.
    pub fn text(&self, tag: Tag) -> Option<&str> {
        self.0.get(&tag)?.text.as_deref()
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

/// Reads those of the attributes `wanted` that the header of a file has; sequences and binary values other than
/// numbers are left out.
///
/// # Errors
/// When the file cannot be read, or is damaged or no DICOM file.
pub fn read_attributes(path: &Path, wanted: &[Tag]) -> Result<Attributes> {
    with_header(path, Limits::default(), |object| Ok(Attributes::of(object, wanted)))
}
