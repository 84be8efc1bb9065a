//! Pictures as colour pixels: enlarged parts of slices, outlines and burned-in text. What is shown is decided elsewhere.

use mlpipe_dicom::Volume;

use super::font;
use crate::picture::{Region, Window};

pub(super) type Colour = [u8; 3];
pub(super) const BLACK: Colour = [0, 0, 0];
pub(super) const WHITE: Colour = [255, 255, 255];
/// The colours of the HTML report: of a body, of one with a node, of a node.
pub(super) const BODY: Colour = [124, 200, 255];
pub(super) const POSITIVE: Colour = [255, 194, 74];
pub(super) const NODE: Colour = [255, 106, 77];
pub(super) const NOTICE: Colour = [255, 220, 0];

/// An RGB picture, 8 bits each, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgb: Vec<u8>,
}

/// Where a part of a slice lies on a canvas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    region: Region,
}

impl Panel {
    /// Fits a region into a square of `side` pixels, in proportion of its millimetres, with its corner at `left`, `top`.
    pub(super) fn fit(volume: &Volume, region: Region, left: usize, top: usize, side: usize) -> Panel {
        let [_, row_mm, column_mm] = volume.geometry.spacing_mm;
        let width_mm = (region.columns[1] - region.columns[0]) as f64 * column_mm;
        let height_mm = (region.rows[1] - region.rows[0]) as f64 * row_mm;
        let scale = side as f64 / width_mm.max(height_mm);
        let size = |mm: f64| ((mm * scale).round() as usize).clamp(1, side);
        Panel { left, top, width: size(width_mm), height: size(height_mm), region }
    }

    /// Returns the place on the canvas of a point of the slice, pixels from edge to edge.
    pub(super) fn place(&self, column: f64, row: f64) -> [f64; 2] {
        let along = |value: f64, [first, end]: [usize; 2], size: usize| {
            (value - first as f64) / (end - first) as f64 * size as f64
        };
        [
            self.left as f64 + along(column, self.region.columns, self.width),
            self.top as f64 + along(row, self.region.rows, self.height),
        ]
    }
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, height, rgb: vec![0; 3 * width * height] }
    }

    fn set(&mut self, x: i64, y: i64, colour: Colour) {
        let inside = |value: i64, size: usize| usize::try_from(value).ok().filter(|value| *value < size);
        if let Some((x, y)) = inside(x, self.width).zip(inside(y, self.height)) {
            let at = 3 * (y * self.width + x);
            self.rgb[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Draws a part of a slice, interpolated between its pixels.
    pub(super) fn slice(&mut self, volume: &Volume, window: Window, slice: usize, panel: &Panel) {
        let [rows, columns] = [panel.region.rows, panel.region.columns];
        // The sample under a canvas pixel's centre: two neighbours and the share of the second.
        let sample = |at: usize, size: usize, [first, end]: [usize; 2]| {
            let value = first as f64 + (at as f64 + 0.5) / size as f64 * (end - first) as f64 - 0.5;
            let value = value.clamp(first as f64, (end - 1) as f64);
            let low = value.floor() as usize;
            (low, (low + 1).min(end - 1), (value - value.floor()) as f32)
        };
        for y in 0..panel.height {
            let (row, next_row, down) = sample(y, panel.height, rows);
            for x in 0..panel.width {
                let (column, next_column, across) = sample(x, panel.width, columns);
                let grey = |row, column| f32::from(window.grey(volume.voxels[[slice, row, column]]));
                let upper = grey(row, column) * (1.0 - across) + grey(row, next_column) * across;
                let lower = grey(next_row, column) * (1.0 - across) + grey(next_row, next_column) * across;
                let value = (upper * (1.0 - down) + lower * down).round() as u8;
                self.set((panel.left + x) as i64, (panel.top + y) as i64, [value; 3]);
            }
        }
    }

    /// Draws the outline of a rectangle, `thickness` pixels wide, around `[x, y]` to `[x, y]`.
    pub(super) fn outline(&mut self, from: [f64; 2], to: [f64; 2], thickness: i64, colour: Colour) {
        let [x0, y0] = from.map(|value| value.round() as i64);
        let [x1, y1] = to.map(|value| value.round() as i64);
        for offset in 0..thickness {
            for x in x0 - offset..=x1 + offset {
                self.set(x, y0 - offset, colour);
                self.set(x, y1 + offset, colour);
            }
            for y in y0 - offset..=y1 + offset {
                self.set(x0 - offset, y, colour);
                self.set(x1 + offset, y, colour);
            }
        }
    }

    /// Writes text with its upper left corner at `x`, `y`; every pixel of a letter becomes a square of `size`, and what
    /// lies behind becomes black.
    pub(super) fn text(&mut self, text: &str, x: usize, y: usize, size: usize, colour: Colour) {
        let advance = (font::WIDTH + 1) * size;
        for (index, character) in text.chars().enumerate() {
            let rows = font::glyph(character);
            for cell_y in 0..(font::HEIGHT + 2) * size {
                for cell_x in 0..advance {
                    let row = (cell_y / size).checked_sub(1).and_then(|row| rows.get(row)).copied().unwrap_or(0);
                    let bit = (font::WIDTH - 1).checked_sub(cell_x / size);
                    let set = bit.is_some_and(|bit| row >> bit & 1 == 1);
                    let at =
                        [x + index * advance + cell_x, (y + cell_y).saturating_sub(size)].map(|value| value as i64);
                    self.set(at[0], at[1], if set { colour } else { BLACK });
                }
            }
        }
    }

    /// Returns the columns that a text takes.
    pub(super) fn text_width(text: &str, size: usize) -> usize {
        text.chars().count() * (font::WIDTH + 1) * size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_squares_of_their_size_and_stay_on_the_canvas() {
        let mut canvas = Canvas::new(12, 14);
        canvas.text("I", 0, 0, 2, WHITE);
        let white = canvas.rgb.chunks(3).filter(|pixel| *pixel == WHITE).count();
        let ones: u32 = font::glyph('I').iter().map(|row| row.count_ones()).sum();
        assert_eq!(white, 4 * ones as usize);
        canvas.text("WWW", 8, 10, 3, WHITE);
        canvas.outline([-5.0, -5.0], [40.0, 40.0], 2, NODE);
    }
}
