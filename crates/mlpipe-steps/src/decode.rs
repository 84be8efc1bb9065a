//! From the detector's maps to boxes on one slice. Pure: arrays in, boxes out.
//!
//! A cell (i, j) of a map with stride s looks at the canvas pixel (s j + (s - 1) / 2, s i + (s - 1) / 2). Maps of one
//! slice: `heatmap` `[2, rows, columns]` (body centre, centre of L5), `size` `[2, ..]` (width and height, mm), `offset`
//! `[2, ..]` (from the cell's pixel to the centre of the box, canvas px), and where the model has it `sacrum` `[1, ..]`
//! (centre of S1).

use mlpipe_report::BoxPx;
use ndarray::ArrayView3;

use crate::boxes::{around, center, height, iou, width};

/// Two boxes of one slice that overlap more than this show the same body.
pub(crate) const SAME_BODY_IOU: f64 = 0.3;

/// A body on one slice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SliceBox {
    /// Slice of the volume.
    pub(crate) slice: usize,
    /// Edges; canvas pixels from [`decode`], pixels of the resampled slice once [`Canvas`] has moved them.
    pub(crate) edges: BoxPx,
    /// 0..1.
    pub(crate) score: f64,
    /// Strongest mark of L5 in the middle of the box, 0..1.
    pub(crate) l5: f64,
    /// Strongest mark of S1 in the middle of the box, 0..1.
    pub(crate) s1: f64,
}

/// Where a slice lies on the square or oblong canvas of the model: in its middle, padded or cropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Canvas {
    /// Rows and columns of the canvas.
    pub(crate) shape: [usize; 2],
    /// Row and column of the slice's first pixel on the canvas; negative where the slice is cropped.
    pub(crate) offset: [isize; 2],
}

impl Canvas {
    /// `floor((canvas - size) / 2)` per axis.
    pub(crate) fn centring(shape: [usize; 2], rows: usize, columns: usize) -> Canvas {
        let offset = |axis: usize, size: usize| (shape[axis] as isize - size as isize).div_euclid(2);
        Canvas { shape, offset: [offset(0, rows), offset(1, columns)] }
    }

    /// A box on the canvas, in pixels of the slice.
    pub(crate) fn to_slice(self, edges: &BoxPx) -> BoxPx {
        let [down, across] = self.offset.map(|pixels| pixels as f64);
        [edges[0] - across, edges[1] - down, edges[2] - across, edges[3] - down]
    }
}

/// The maps of one slice and how they are read.
#[derive(Debug, Clone)]
pub(crate) struct Maps<'a> {
    /// `[2, rows, columns]`, 0..1.
    pub(crate) heatmap: ArrayView3<'a, f32>,
    /// `[2, rows, columns]`, mm.
    pub(crate) size: ArrayView3<'a, f32>,
    /// `[2, rows, columns]`, canvas px.
    pub(crate) offset: ArrayView3<'a, f32>,
    /// `[1, rows, columns]`, 0..1.
    pub(crate) sacrum: Option<ArrayView3<'a, f32>>,
    /// Canvas px per cell.
    pub(crate) stride: f64,
    /// Size of a canvas pixel.
    pub(crate) spacing_mm: f64,
}

/// Boxes on one slice with a score of at least `floor`, best first, no two with more than [`SAME_BODY_IOU`].
///
/// S1 is marked on a map of its own; it counts as a body where no other body was found.
pub(crate) fn decode(maps: &Maps<'_>, slice: usize, floor: f64) -> Vec<SliceBox> {
    let mut boxes = suppressed(maps.peaks(&maps.heatmap, slice, floor), Vec::new());
    if let Some(sacrum) = &maps.sacrum {
        boxes = suppressed(maps.peaks(sacrum, slice, floor), boxes);
    }
    for found in &mut boxes {
        found.l5 = maps.mark_in(&maps.heatmap, 1, &found.edges);
        found.s1 = maps.sacrum.as_ref().map_or(0.0, |sacrum| maps.mark_in(sacrum, 0, &found.edges));
    }
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    boxes
}

/// Adds to `kept`, best first, the boxes that show another body than those already there.
fn suppressed(mut candidates: Vec<SliceBox>, mut kept: Vec<SliceBox>) -> Vec<SliceBox> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    for candidate in candidates {
        if kept.iter().all(|other| iou(&candidate.edges, &other.edges) <= SAME_BODY_IOU) {
            kept.push(candidate);
        }
    }
    kept
}

impl Maps<'_> {
    /// Boxes at the 3x3 local maxima of the first channel of a map.
    fn peaks(&self, map: &ArrayView3<'_, f32>, slice: usize, floor: f64) -> Vec<SliceBox> {
        let [_, rows, columns] = [map.shape()[0], map.shape()[1], map.shape()[2]];
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let peaks =
            cells.filter(|(row, column)| f64::from(map[[0, *row, *column]]) >= floor && is_peak(map, *row, *column));
        peaks.filter_map(|(row, column)| self.box_at(row, column, slice, f64::from(map[[0, row, column]]))).collect()
    }

    /// The box that a cell speaks of; `None` when its numbers describe none.
    fn box_at(&self, row: usize, column: usize, slice: usize, score: f64) -> Option<SliceBox> {
        let value = |map: &ArrayView3<'_, f32>, channel: usize| f64::from(map[[channel, row, column]]);
        let x = self.pixel_of(column) + value(&self.offset, 0);
        let y = self.pixel_of(row) + value(&self.offset, 1);
        let [across, down] = [0, 1].map(|channel| value(&self.size, channel) / self.spacing_mm);
        let usable = [x, y, across, down].iter().all(|number| number.is_finite()) && across >= 1.0 && down >= 1.0;
        usable.then(|| SliceBox { slice, edges: around([x, y], across, down), score: score.min(1.0), l5: 0.0, s1: 0.0 })
    }

    /// Strongest value of a channel over the cells in the middle half of a box (at least the nearest cell).
    fn mark_in(&self, map: &ArrayView3<'_, f32>, channel: usize, edges: &BoxPx) -> f64 {
        let [x, y] = center(edges);
        let columns = self.cells_within(x, width(edges) / 4.0, map.shape()[2]);
        let rows = self.cells_within(y, height(edges) / 4.0, map.shape()[1]);
        let values = rows.flat_map(|row| columns.clone().map(move |column| f64::from(map[[channel, row, column]])));
        values.fold(0.0, f64::max)
    }

    fn cells_within(&self, middle: f64, reach: f64, count: usize) -> std::ops::Range<usize> {
        let cell = |pixel: f64| (pixel - self.pixel_of(0)) / self.stride;
        let nearest = cell(middle).round();
        let first = cell(middle - reach).ceil().min(nearest).max(0.0);
        let last = cell(middle + reach).floor().max(nearest).min(count as f64 - 1.0);
        first as usize..if last >= first { last as usize + 1 } else { first as usize }
    }

    /// Canvas pixel at which a cell looks.
    fn pixel_of(&self, cell: usize) -> f64 {
        self.stride * cell as f64 + (self.stride - 1.0) / 2.0
    }
}

/// Whether no neighbour is higher; equal neighbours are both peaks and are told apart by their boxes.
fn is_peak(map: &ArrayView3<'_, f32>, row: usize, column: usize) -> bool {
    let value = map[[0, row, column]];
    let around = |index: usize, size: usize| index.saturating_sub(1)..(index + 2).min(size);
    let rows = around(row, map.shape()[1]);
    rows.into_iter().all(|r| around(column, map.shape()[2]).all(|c| map[[0, r, c]] <= value))
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    struct Synthetic {
        heatmap: Array3<f32>,
        size: Array3<f32>,
        offset: Array3<f32>,
        sacrum: Array3<f32>,
    }

    impl Synthetic {
        fn empty() -> Synthetic {
            let zeros = |channels| Array3::zeros((channels, 24, 24));
            Synthetic { heatmap: zeros(2), size: zeros(2), offset: zeros(2), sacrum: zeros(1) }
        }

        fn body(mut self, row: usize, column: usize, score: f32) -> Synthetic {
            self.heatmap[[0, row, column]] = score;
            self.size[[0, row, column]] = 32.0;
            self.size[[1, row, column]] = 26.0;
            self
        }

        fn decoded(&self, floor: f64) -> Vec<SliceBox> {
            let maps = Maps {
                heatmap: self.heatmap.view(),
                size: self.size.view(),
                offset: self.offset.view(),
                sacrum: Some(self.sacrum.view()),
                stride: 4.0,
                spacing_mm: 1.0,
            };
            decode(&maps, 3, floor)
        }
    }

    #[test]
    fn a_peak_becomes_a_box_of_its_size_around_cell_plus_offset() {
        let mut maps = Synthetic::empty().body(5, 10, 0.9);
        maps.offset[[0, 5, 10]] = 0.5;
        maps.offset[[1, 5, 10]] = -1.0;
        let boxes = maps.decoded(0.5);
        assert_eq!(boxes.len(), 1);
        // Centre (4 * 10 + 1.5 + 0.5, 4 * 5 + 1.5 - 1), 32 x 26 mm with inclusive edges.
        assert_eq!(boxes[0].edges, [42.0 - 15.5, 20.5 - 12.5, 42.0 + 15.5, 20.5 + 12.5]);
        assert_eq!((boxes[0].slice, width(&boxes[0].edges), height(&boxes[0].edges)), (3, 32.0, 26.0));
    }

    #[test]
    fn shoulders_and_weak_cells_are_no_peaks() {
        let maps = Synthetic::empty().body(5, 10, 0.9).body(5, 11, 0.8).body(15, 10, 0.3);
        assert_eq!(maps.decoded(0.5).len(), 1);
    }

    #[test]
    fn overlapping_boxes_leave_the_better_one() {
        let maps = Synthetic::empty().body(5, 10, 0.8).body(7, 10, 0.9).body(15, 10, 0.7);
        let boxes = maps.decoded(0.5);
        let scores: Vec<f64> = boxes.iter().map(|found| (found.score * 100.0).round()).collect();
        assert_eq!(scores, [90.0, 70.0]);
    }

    #[test]
    fn equal_neighbouring_peaks_give_one_box() {
        assert_eq!(Synthetic::empty().body(5, 10, 0.9).body(5, 11, 0.9).decoded(0.5).len(), 1);
    }

    #[test]
    fn boxes_without_extent_are_dropped() {
        let mut maps = Synthetic::empty().body(5, 10, 0.9).body(15, 10, 0.9);
        maps.size[[0, 5, 10]] = 0.2;
        maps.size[[1, 15, 10]] = f32::NAN;
        assert!(maps.decoded(0.5).is_empty());
    }

    #[test]
    fn marks_of_l5_belong_to_the_box_whose_middle_they_hit() {
        let mut maps = Synthetic::empty().body(5, 10, 0.9).body(15, 10, 0.9);
        maps.heatmap[[1, 14, 10]] = 0.7;
        let marks: Vec<f64> = maps.decoded(0.5).iter().map(|found| (found.l5 * 10.0).round()).collect();
        assert_eq!(marks.iter().sum::<f64>(), 7.0);
        assert!(maps.decoded(0.5).iter().all(|found| (found.l5 > 0.0) == (found.edges[1] > 40.0)));
    }

    #[test]
    fn the_sacral_body_counts_where_no_other_body_was_found() {
        let mut maps = Synthetic::empty().body(5, 10, 0.9);
        for (row, score) in [(5, 0.8), (16, 0.6)] {
            maps.sacrum[[0, row, 10]] = score;
            maps.size[[0, row, 10]] = 30.0;
            maps.size[[1, row, 10]] = 24.0;
        }
        let boxes = maps.decoded(0.5);
        assert_eq!(boxes.len(), 2);
        assert!(boxes.iter().all(|found| found.s1 > 0.5));
    }

    #[test]
    fn the_canvas_is_padded_or_cropped_around_the_middle() {
        let padded = Canvas::centring([384, 384], 351, 300);
        assert_eq!(padded.offset, [16, 42]);
        assert_eq!(padded.to_slice(&[42.0, 16.0, 52.0, 26.0]), [0.0, 0.0, 10.0, 10.0]);
        let cropped = Canvas::centring([384, 384], 385, 512);
        assert_eq!(cropped.offset, [-1, -64], "floor of -0.5 is -1");
    }
}
