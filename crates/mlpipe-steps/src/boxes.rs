//! Boxes in pixels and the grids they are counted in. Edges are inclusive: a box of one pixel has equal edges.

use mlpipe_dicom::Volume;
use mlpipe_report::BoxPx;

/// Share of the union of two boxes that they have in common, 0..1.
pub(crate) fn iou(a: &BoxPx, b: &BoxPx) -> f64 {
    let overlap = |axis: usize| (a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis]) + 1.0).max(0.0);
    let area = |edges: &BoxPx| width(edges) * height(edges);
    let common = overlap(0) * overlap(1);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

/// `[x, y]` of the middle.
pub(crate) fn center(edges: &BoxPx) -> [f64; 2] {
    [(edges[0] + edges[2]) / 2.0, (edges[1] + edges[3]) / 2.0]
}

/// Columns that the box covers.
pub(crate) fn width(edges: &BoxPx) -> f64 {
    edges[2] - edges[0] + 1.0
}

/// Rows that the box covers.
pub(crate) fn height(edges: &BoxPx) -> f64 {
    edges[3] - edges[1] + 1.0
}

/// Distance between the middles, px.
pub(crate) fn center_distance(a: &BoxPx, b: &BoxPx) -> f64 {
    let ([ax, ay], [bx, by]) = (center(a), center(b));
    (ax - bx).hypot(ay - by)
}

/// The box of the given middle and extent.
pub(crate) fn around([x, y]: [f64; 2], width: f64, height: f64) -> BoxPx {
    let (across, down) = ((width - 1.0) / 2.0, (height - 1.0) / 2.0);
    [x - across, y - down, x + across, y + down]
}

/// The part of a box that lies in an image of `rows` x `columns`; `None` when its middle lies outside.
pub(crate) fn clipped(edges: &BoxPx, rows: usize, columns: usize) -> Option<BoxPx> {
    let (right, bottom) = (columns as f64 - 1.0, rows as f64 - 1.0);
    let [x, y] = center(edges);
    let inside = (-0.5..=right + 0.5).contains(&x) && (-0.5..=bottom + 0.5).contains(&y);
    inside.then(|| [edges[0].max(0.0), edges[1].max(0.0), edges[2].min(right), edges[3].min(bottom)])
}

/// The volume as it was read, and the same slices on the pixels that a model wants.
#[derive(Debug)]
pub(crate) struct Grids {
    /// As read: what the documents count in where a slice has no stored image.
    pub(crate) volume: Volume,
    /// Resampled in the plane; same slices.
    pub(crate) resampled: Volume,
}

impl Grids {
    pub(crate) fn new(volume: Volume, spacing_mm: f64) -> Grids {
        let resampled = volume.resampled_in_plane(spacing_mm);
        Grids { volume, resampled }
    }

    /// A box on the resampled pixels, in pixels of the stored image (of the volume where there is none).
    pub(crate) fn in_document(&self, slice: usize, edges: &BoxPx) -> BoxPx {
        let stored = mapped(edges, |[x, y]| self.resampled.source_px(slice, x, y));
        let in_volume = || mapped(edges, |point| Some(between(&self.resampled, &self.volume, slice, point)));
        stored.or_else(in_volume).unwrap_or(*edges).map(rounded)
    }

    /// The inverse of [`in_document`](Self::in_document).
    pub(crate) fn in_resampled(&self, slice: usize, edges: &BoxPx) -> BoxPx {
        let stored = mapped(edges, |[x, y]| self.resampled.volume_px(slice, x, y));
        let in_volume = || mapped(edges, |point| Some(between(&self.volume, &self.resampled, slice, point)));
        stored.or_else(in_volume).unwrap_or(*edges)
    }

    /// SOPInstanceUID of the stored image behind a slice.
    pub(crate) fn sop_instance_uid(&self, slice: usize) -> Option<String> {
        Some(self.volume.sources.get(slice)?.as_ref()?.sop_instance_uid.clone())
    }

    /// Number of slices.
    pub(crate) fn slices(&self) -> usize {
        self.volume.geometry.shape[0]
    }
}

/// Maps the outer edges of the border pixels, so that a box keeps its extent when pixels change their size.
fn mapped(edges: &BoxPx, map: impl Fn([f64; 2]) -> Option<[f64; 2]>) -> Option<BoxPx> {
    let [ax, ay] = map([edges[0] - 0.5, edges[1] - 0.5])?;
    let [bx, by] = map([edges[2] + 0.5, edges[3] + 0.5])?;
    Some([ax.min(bx) + 0.5, ay.min(by) + 0.5, ax.max(bx) - 0.5, ay.max(by) - 0.5])
}

fn between(from: &Volume, to: &Volume, slice: usize, [x, y]: [f64; 2]) -> [f64; 2] {
    let [_, row, column] = to.geometry.lps_to_index(from.geometry.index_to_lps([slice as f64, y, x]));
    [column, row]
}

/// A thousandth of a pixel is far below what any reader can use, and keeps rounding noise out of documents.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{sagittal_volume, with_sources};

    #[test]
    fn overlap_counts_inclusive_pixels() {
        assert_eq!(iou(&[0.0, 0.0, 9.0, 9.0], &[0.0, 0.0, 9.0, 9.0]), 1.0);
        assert_eq!(iou(&[0.0, 0.0, 1.0, 0.0], &[1.0, 0.0, 2.0, 0.0]), 1.0 / 3.0);
        assert_eq!(iou(&[0.0, 0.0, 1.0, 1.0], &[2.0, 0.0, 3.0, 1.0]), 0.0);
    }

    #[test]
    fn boxes_keep_their_extent_when_pixels_change_size() {
        let halved = mapped(&[10.0, 20.0, 19.0, 29.0], |[x, y]| Some([x * 2.0, y * 2.0]));
        assert_eq!(halved, Some([19.5, 39.5, 38.5, 58.5]), "10 px of 1 mm are 20 px of 0.5 mm");
    }

    #[test]
    fn mirrored_images_keep_the_order_of_edges() {
        let mirrored = mapped(&[1.0, 2.0, 3.0, 5.0], |[x, y]| Some([9.0 - x, y]));
        assert_eq!(mirrored, Some([6.0, 2.0, 8.0, 5.0]));
    }

    #[test]
    fn documents_count_in_pixels_of_the_stored_image_or_else_of_the_volume() {
        let bare = Grids::new(sagittal_volume([2, 8, 8], 4.0, 1.0), 1.0);
        let edges = [1.0, 2.0, 4.0, 5.0];
        assert_eq!(bare.in_document(0, &edges), edges);
        // The stored image begins two columns earlier than the volume.
        let stored = Grids::new(with_sources(sagittal_volume([2, 8, 8], 4.0, 1.0), 2.0), 1.0);
        assert_eq!(stored.in_document(1, &edges), [3.0, 2.0, 6.0, 5.0]);
        assert_eq!(stored.in_resampled(1, &[3.0, 2.0, 6.0, 5.0]), edges);
    }

    #[test]
    fn boxes_are_clipped_to_the_image_and_dropped_outside_it() {
        assert_eq!(clipped(&[-3.0, 2.0, 4.0, 12.0], 10, 10), Some([0.0, 2.0, 4.0, 9.0]));
        assert_eq!(clipped(&[-9.0, 2.0, 4.0, 5.0], 10, 10), None);
    }
}
