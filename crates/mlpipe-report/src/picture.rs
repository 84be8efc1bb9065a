//! Slices as pictures: the display window of a volume, and 8-bit grey PNG.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::ImageEncoder;
use image::codecs::png::PngEncoder;
use mlpipe_dicom::Volume;

use crate::{Error, Result};

/// Percentiles of the voxels that are shown black and white: bright skin fat and a few wild voxels do not darken the rest.
const WINDOW_PERCENTILES: [f64; 2] = [1.0, 99.5];

/// Values that are shown black and white.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Window {
    /// Returns the window of a volume; voxels that are no numbers do not count.
    pub(crate) fn of(volume: &Volume) -> Window {
        Window::of_values(volume.voxels.iter().copied().filter(|value| value.is_finite()).collect())
    }

    /// Returns the window of a part of a slice: near a coil the whole volume's leaves small parts flat.
    pub(crate) fn of_region(volume: &Volume, slice: usize, region: Region) -> Window {
        Window::of_values(region.values(volume, slice).filter(|value| value.is_finite()).collect())
    }

    fn of_values(mut values: Vec<f32>) -> Window {
        if values.is_empty() {
            return Window { low: 0.0, high: 1.0 };
        }
        let mut percentile = |percent: f64| {
            let rank = (percent / 100.0 * (values.len() - 1) as f64).round() as usize;
            *values.select_nth_unstable_by(rank, f32::total_cmp).1
        };
        let [low, high] = WINDOW_PERCENTILES.map(&mut percentile);
        Window { low, high: if high > low { high } else { low + 1.0 } }
    }

    /// Returns the shade of a value, 0 black to 255 white.
    pub(crate) fn grey(&self, value: f32) -> u8 {
        let share = (value - self.low) / (self.high - self.low);
        // A value that is no number becomes 0.
        (share.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
    }
}

/// Part of a slice: rows and columns, first and one past the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) rows: [usize; 2],
    pub(crate) columns: [usize; 2],
}

impl Region {
    /// Returns the whole slice.
    pub(crate) fn whole(volume: &Volume) -> Region {
        let [_, rows, columns] = volume.geometry.shape;
        Region { rows: [0, rows], columns: [0, columns] }
    }

    /// Returns the part of a slice within `reach_mm` of a pixel, at least one pixel.
    pub(crate) fn around(volume: &Volume, column: f64, row: f64, reach_mm: f64) -> Region {
        let [_, rows, columns] = volume.geometry.shape;
        let [_, row_mm, column_mm] = volume.geometry.spacing_mm;
        let span = |centre: f64, reach: f64, count: usize| {
            let first = (centre - reach).floor().clamp(0.0, (count - 1) as f64) as usize;
            [first, ((centre + reach).ceil().max(0.0) as usize).clamp(first + 1, count)]
        };
        Region { rows: span(row, reach_mm / row_mm, rows), columns: span(column, reach_mm / column_mm, columns) }
    }

    /// Returns its voxels, row by row.
    fn values(self, volume: &Volume, slice: usize) -> impl Iterator<Item = f32> + '_ {
        let [[row, row_end], [column, column_end]] = [self.rows, self.columns];
        let pixels = (row..row_end).flat_map(move |row| (column..column_end).map(move |column| (row, column)));
        pixels.map(move |(row, column)| volume.voxels[[slice, row, column]])
    }
}

/// Returns part of a slice as a PNG in a `data:` URI.
pub(crate) fn data_uri(volume: &Volume, window: Window, slice: usize, region: Region) -> Result<String> {
    let grey: Vec<u8> = region.values(volume, slice).map(|value| window.grey(value)).collect();
    let mut png = Vec::new();
    let size = |[first, end]: [usize; 2]| (end - first) as u32;
    let (width, height) = (size(region.columns), size(region.rows));
    PngEncoder::new(&mut png)
        .write_image(&grey, width, height, image::ExtendedColorType::L8)
        .map_err(|error| Error::Picture { slice, message: error.to_string() })?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_leaves_out_the_extremes_and_what_is_no_number() {
        let mut values: Vec<f32> = (0..=1000).map(|value| value as f32).collect();
        values.extend([f32::MAX; 2]);
        let window = Window::of_values(values);
        assert_eq!(window, Window { low: 10.0, high: 997.0 });
        assert_eq!([5.0, 10.0, 997.0, f32::MAX, f32::NAN].map(|value| window.grey(value)), [0, 0, 255, 255, 0]);
        assert_eq!(Window::of_values(vec![3.0; 4]), Window { low: 3.0, high: 4.0 });
    }
}
