//! The Modality LUT: a table from stored values to modality units (DICOM PS3.3 C.11.1).

use dicom_dictionary_std::tags;

use crate::Problem;
use crate::data_set::DataSet;
use crate::header::missing;

/// Modality units by stored value; values outside the table take its nearest end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModalityLut {
    first: i64,
    values: Vec<u16>,
}

impl ModalityLut {
    /// Reads the table of an image; none when it has none. `signed` says how its first value is to be read.
    pub(crate) fn of(object: &DataSet, signed: bool) -> Result<Option<Self>, Problem> {
        let items = object.items(tags::MODALITY_LUT_SEQUENCE);
        let Some(item) = items.first() else { return Ok(None) };
        let numbers = |tag| {
            let numbers = item.numbers(tag).ok_or_else(|| missing(tag))?;
            Ok::<_, Problem>(numbers.into_iter().map(|number| number as i32).collect::<Vec<i32>>())
        };
        let descriptor = numbers(tags::LUT_DESCRIPTOR)?;
        let [entries, first, bits] = descriptor[..] else {
            return Err(bad("LUTDescriptor (0028,3002) has not 3 values"));
        };
        let entries = if entries & 0xFFFF == 0 { 1 << 16 } else { (entries & 0xFFFF) as usize };
        let first = if signed { i64::from(first as i16) } else { i64::from(first & 0xFFFF) };
        let data = numbers(tags::LUT_DATA)?;
        let values: Vec<u16> = match (bits, data.len()) {
            (8 | 10..=16, length) if length >= entries => {
                data.iter().take(entries).map(|value| *value as u16).collect()
            }
            // Two entries of 8 bits in each word.
            (8, length) if length == entries.div_ceil(2) => {
                data.iter().flat_map(|pair| [*pair as u16 & 0xFF, *pair as u16 >> 8]).take(entries).collect()
            }
            (_, length) => {
                let message =
                    format!("LUTData (0028,3006) has {length} values of {bits} bits where {entries} are needed");
                return Err(bad(&message));
            }
        };
        Ok(Some(ModalityLut { first, values }))
    }

    pub(crate) fn value(&self, stored: f64) -> f64 {
        let last = self.values.len() - 1;
        let index = (stored as i64 - self.first).clamp(0, last as i64) as usize;
        self.values[index].into()
    }
}

fn bad(message: &str) -> Problem {
    Problem::new(
        "bad_modality_lut",
        format!("ModalityLUTSequence (0028,3000): {message}"),
        "export the series with RescaleSlope and RescaleIntercept",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_the_table_take_its_ends() {
        let lut = ModalityLut { first: -1, values: vec![10, 20, 30] };
        assert_eq!([-5.0, -1.0, 0.0, 1.0, 9.0].map(|stored| lut.value(stored)), [10.0, 10.0, 20.0, 30.0, 30.0]);
    }
}
