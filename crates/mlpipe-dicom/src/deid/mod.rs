//! De-identification: DICOM PS3.15 Annex E, Basic Application Level Confidentiality Profile, with dates removed or moved.
//!
//! `profile` says what happens to which attribute, `rewrite` does it to the elements of a data set, `file` to a whole
//! file, `folder` to all files under some paths. `key` is the secret from which new UIDs, pseudonyms and shifts follow, `risk`
//! tells what must not be written. Pixel data and everything else that stays is copied byte by byte.

mod audit;
mod dates;
mod dummy;
mod file;
mod folder;
mod key;
mod profile;
mod rewrite;
mod risk;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::Limits;

pub use audit::{AuditLine, DeidDocument, RefusedInput};
pub use folder::{DeidOutput, deidentify, deidentify_series};
pub use key::DeidKey;
pub use rewrite::Counts;
pub use risk::Flag;

/// What becomes of dates and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dates {
    /// Removed or emptied, as the Basic Profile says.
    #[default]
    Remove,
    /// Moved back by a number of days that is the same for all files of a patient (Retain Longitudinal Temporal
    /// Information with Modified Dates Option, PS3.15 E.3.6); times of day stay.
    Shift,
}

/// What becomes of files whose pixels may show a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BurnedIn {
    /// They are not written.
    #[default]
    Refuse,
    /// They are written, pixels as they are, and flagged.
    Keep,
}

/// How to de-identify.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeidOptions {
    /// What becomes of dates.
    pub dates: Dates,
    /// What becomes of files whose pixels may show a name.
    pub burned_in: BurnedIn,
    /// Whether the document names refused files by their paths, which often hold names.
    pub show_paths: bool,
    /// Longest file, also when inflated.
    pub limits: Limits,
}

/// Reads and writes an option as its word.
macro_rules! words {
    ($option:ty, $($word:literal => $value:expr),+) => {
        impl FromStr for $option {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(format!("`{text}` is not one of: {}", [$($word),+].join(", "))),
                }
            }
        }

        impl fmt::Display for $option {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(if *self == $value { return out.write_str($word); })+
                Ok(())
            }
        }
    };
}

words!(Dates, "remove" => Dates::Remove, "shift" => Dates::Shift);
words!(BurnedIn, "refuse" => BurnedIn::Refuse, "keep" => BurnedIn::Keep);
