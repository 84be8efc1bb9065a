//! Boxes of the documents as regions of stored images, or of space where no stored image lies behind a slice.

use mlpipe_dicom::Volume;

use super::source::{SourceImage, SourceSeries};
use crate::report::{Placed, place};
use crate::{BoxPx, Result};

/// A rectangle from edge to edge: the corner of the first pixel is 0, 0 (PS3.3 C.10.5.1.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Edges {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Edges {
    /// Takes a document's box, whose edges are inclusive pixel indices.
    fn of_box([x_min, y_min, x_max, y_max]: BoxPx) -> Edges {
        Edges { left: x_min, top: y_min, right: x_max + 1.0, bottom: y_max + 1.0 }
    }

    fn of_placed(placed: Placed) -> Edges {
        let Placed { x, y, width, height } = placed;
        Edges { left: x, top: y, right: x + width, bottom: y + height }
    }

    /// Returns the rectangle as far as it lies on an image of `shape` rows and columns.
    fn within(self, shape: [usize; 2]) -> Edges {
        let [rows, columns] = shape.map(|count| count as f64);
        Edges {
            left: self.left.clamp(0.0, columns),
            top: self.top.clamp(0.0, rows),
            right: self.right.clamp(0.0, columns),
            bottom: self.bottom.clamp(0.0, rows),
        }
    }

    /// Returns `[column, row]` of the corners, the first again at the end.
    pub(super) fn outline(self) -> [[f64; 2]; 5] {
        let Edges { left, top, right, bottom } = self;
        [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    }

    /// Returns the rows and columns, first and one past the last, of the pixels whose centre lies in it.
    pub(super) fn pixels(self, shape: [usize; 2]) -> [std::ops::Range<usize>; 2] {
        let Edges { left, top, right, bottom } = self.within(shape);
        let first = |edge: f64| (edge - 0.5).ceil().max(0.0) as usize;
        [first(top)..first(bottom), first(left)..first(right)]
    }
}

/// Where a box lies.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Region<'a> {
    /// On a stored image.
    Image { image: &'a SourceImage, edges: Edges },
    /// In space, LPS, mm: the corners, the first again at the end.
    Space { outline: [[f64; 3]; 5] },
}

/// Returns where a box of the documents lies. They have been checked against the volume.
pub(super) fn region<'a>(volume: &Volume, source: &'a SourceSeries, slice: usize, box_px: BoxPx) -> Result<Region<'a>> {
    if let Some(index) = image_index(volume, source, slice) {
        let image = &source.images[index];
        return Ok(Region::Image { image, edges: Edges::of_box(box_px).within(image.shape) });
    }
    let outline = volume_edges(volume, slice, box_px)?.outline();
    // Pixel centres are whole indices of the volume, edges of the outline half a pixel before them.
    let point = |[column, row]: [f64; 2]| volume.geometry.index_to_lps([slice as f64, row - 0.5, column - 0.5]);
    Ok(Region::Space { outline: outline.map(point) })
}

/// Returns the index of the stored image behind a slice.
pub(super) fn image_index(volume: &Volume, source: &SourceSeries, slice: usize) -> Option<usize> {
    source.index_of(volume.sources.get(slice)?.as_ref()?)
}

/// Returns a box of the documents on its stored image.
pub(super) fn image_edges(box_px: BoxPx) -> Edges {
    Edges::of_box(box_px)
}

/// Returns a box of the documents in pixels of the volume.
pub(super) fn volume_edges(volume: &Volume, slice: usize, box_px: BoxPx) -> Result<Edges> {
    let image = volume.sources.get(slice).and_then(Option::as_ref).map(|source| source.sop_instance_uid.as_str());
    place(volume, "box", slice, image, box_px).map(Edges::of_placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_of_inclusive_pixels_covers_just_these_pixels() {
        let edges = Edges::of_box([2.0, 3.0, 5.0, 3.0]);
        assert_eq!(edges.outline(), [[2.0, 3.0], [6.0, 3.0], [6.0, 4.0], [2.0, 4.0], [2.0, 3.0]]);
        assert_eq!(edges.pixels([10, 10]), [3..4, 2..6]);
    }

    #[test]
    fn fractional_edges_take_the_pixels_whose_centre_they_hold() {
        // From edge 1.6 to edge 4.4: the centres 2.5 and 3.5 lie within, 1.5 and 4.5 do not.
        assert_eq!(Edges::of_box([1.6, 1.6, 3.4, 3.4]).pixels([10, 10]), [2..4, 2..4]);
    }

    #[test]
    fn nothing_lies_beside_the_image() {
        let edges = Edges::of_box([-4.0, 8.0, 3.0, 30.0]);
        assert_eq!(edges.pixels([10, 10]), [8..10, 0..4]);
        assert_eq!(edges.within([10, 10]).bottom, 10.0);
        assert_eq!(Edges::of_box([20.0, 1.0, 30.0, 2.0]).pixels([10, 10])[1], 10..10);
    }
}
