//! Lookup tables: the Modality LUT from stored values to modality units (DICOM PS3.3 C.11.1), and the form that VOI LUTs
//! share with it (C.11.2.1.1).

use dicom_dictionary_std::tags;

use crate::Problem;
use crate::data_set::DataSet;
use crate::element::name;

/// Outputs by input; inputs outside the table take its nearest end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    first: i64,
    bits: u32,
    values: Vec<u16>,
}

impl Table {
    /// Reads the item of a LUT sequence. `signed` says how the first input is to be read.
    pub(crate) fn of(item: &DataSet, signed: bool) -> Result<Self, String> {
        let numbers = |tag| {
            let numbers = item.numbers(tag).ok_or_else(|| format!("{} is missing", name(tag)))?;
            Ok::<_, String>(numbers.into_iter().map(|number| number as i32).collect::<Vec<i32>>())
        };
        let descriptor = numbers(tags::LUT_DESCRIPTOR)?;
        let [entries, first, bits] = descriptor[..] else {
            return Err("LUTDescriptor (0028,3002) has not 3 values".into());
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
                return Err(format!(
                    "LUTData (0028,3006) has {length} values of {bits} bits where {entries} are needed"
                ));
            }
        };
        Ok(Table { first, bits: bits as u32, values })
    }

    /// Reads the Modality LUT of an image; none when it has none.
    pub(crate) fn modality(object: &DataSet, signed: bool) -> Result<Option<Self>, Problem> {
        let items = object.items(tags::MODALITY_LUT_SEQUENCE);
        let table = items.first().map(|item| Table::of(item, signed)).transpose();
        table.map_err(|message| {
            let message = format!("ModalityLUTSequence (0028,3000): {message}");
            Problem::new("bad_modality_lut", message, "export the series with RescaleSlope and RescaleIntercept")
        })
    }

    pub(crate) fn value(&self, input: f64) -> f64 {
        let last = self.values.len() - 1;
        let index = (input as i64 - self.first).clamp(0, last as i64) as usize;
        self.values[index].into()
    }

    /// Returns the largest output that the table's bits allow.
    pub(crate) fn largest(&self) -> f64 {
        f64::from((1_u32 << self.bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_the_table_take_its_ends() {
        let lut = Table { first: -1, bits: 16, values: vec![10, 20, 30] };
        assert_eq!([-5.0, -1.0, 0.0, 1.0, 9.0].map(|stored| lut.value(stored)), [10.0, 10.0, 20.0, 30.0, 30.0]);
    }
}
