//! Patches around endplates, and what the node classifier says about them. Geometry only; the model is run elsewhere.
//!
//! A patch is centred on the middle of the upper edge (superior) or lower edge (inferior) of the body's box. The
//! inferior one is mirrored up-down, so that the body always lies in the lower half.

use mlpipe_report::{BoxPx, Endplate};
use ndarray::{Array3, ArrayView3, Axis};

use crate::boxes::{around, center};

/// The square grid of a patch on one slice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PatchGrid {
    /// `[x, y]` of the patch's middle, px of the slice.
    pub(crate) middle: [f64; 2],
    /// Slice px per patch px.
    pub(crate) scale: f64,
    /// Patch px per side.
    pub(crate) side: usize,
    /// Which face.
    pub(crate) endplate: Endplate,
}

impl PatchGrid {
    /// The grid of an endplate of the body in `edges`.
    pub(crate) fn at(edges: &BoxPx, endplate: Endplate, scale: f64, side: usize) -> PatchGrid {
        let y = match endplate {
            Endplate::Superior => edges[1],
            Endplate::Inferior => edges[3],
        };
        PatchGrid { middle: [center(edges)[0], y], scale, side, endplate }
    }

    /// Whether the endplate itself is on a slice of `rows` rows, not cut off by its upper or lower border.
    pub(crate) fn is_visible(&self, rows: usize, margin: f64) -> bool {
        (margin..=rows as f64 - 1.0 - margin).contains(&self.middle[1])
    }

    /// `[x, y]` on the slice of a place `[column, row]` on the patch.
    fn to_slice(self, [column, row]: [f64; 2]) -> [f64; 2] {
        let half = (self.side as f64 - 1.0) / 2.0;
        let down = match self.endplate {
            Endplate::Superior => 1.0,
            Endplate::Inferior => -1.0,
        };
        [self.middle[0] + (column - half) * self.scale, self.middle[1] + down * (row - half) * self.scale]
    }

    /// `[previous slice, this, next]` x rows x columns, bilinear; edge slices repeat, outside the image is 0.
    pub(crate) fn cut(&self, voxels: &ArrayView3<'_, f32>, slice: usize) -> Array3<f32> {
        let [slices, rows, columns] = [0, 1, 2].map(|axis| voxels.len_of(Axis(axis)));
        let around = [slice.saturating_sub(1), slice, (slice + 1).min(slices - 1)];
        // Patches are not turned against the image: one list of places serves all rows, another all columns.
        let places = |axis: usize, length: usize| -> Vec<Between> {
            (0..self.side).map(|pixel| Between::at(self.to_slice([pixel as f64; 2])[axis], length)).collect()
        };
        let (across, down) = (places(0, columns), places(1, rows));
        let mut patch = Array3::zeros((3, self.side, self.side));
        for (mut channel, index) in patch.axis_iter_mut(Axis(0)).zip(around) {
            let image = voxels.index_axis(Axis(0), index);
            for (mut line, row) in channel.axis_iter_mut(Axis(0)).zip(&down) {
                let pair = row.pixels.map(|row| image.row(row));
                for (value, column) in line.iter_mut().zip(&across) {
                    let at_row = pair.map(|row| column.of(column.pixels.map(|column| row[column])));
                    *value = row.of(at_row);
                }
            }
        }
        patch
    }

    /// The box on the slice that the model placed on the patch: centre and extent in patch px.
    ///
    /// `None` when the numbers describe no box.
    pub(crate) fn box_on_slice(&self, [x, y, width, height]: [f64; 4]) -> Option<BoxPx> {
        let usable = [x, y, width, height].iter().all(|number| number.is_finite()) && width > 0.0 && height > 0.0;
        usable.then(|| around(self.to_slice([x, y]), width * self.scale, height * self.scale))
    }
}

/// A place between two pixels of a line, for linear interpolation.
#[derive(Debug, Clone, Copy)]
struct Between {
    pixels: [usize; 2],
    /// 0 for a pixel that lies outside the line.
    weights: [f32; 2],
}

impl Between {
    /// The place `at` of a line of `length` pixels, whose centres are at integers.
    fn at(at: f64, length: usize) -> Between {
        let low = at.floor();
        let share = (at - low) as f32;
        let last = length as f64 - 1.0;
        let inside = |place: f64, weight: f32| if (0.0..=last).contains(&place) { weight } else { 0.0 };
        Between {
            pixels: [low, low + 1.0].map(|place| place.clamp(0.0, last) as usize),
            weights: [inside(low, 1.0 - share), inside(low + 1.0, share)],
        }
    }

    fn of(self, [low, high]: [f32; 2]) -> f32 {
        low * self.weights[0] + high * self.weights[1]
    }
}

/// How the probabilities of the slices become that of the endplate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregate {
    /// The highest.
    Max,
    /// The mean of the two highest (the highest, where there is one slice).
    MeanTop2,
}

impl Aggregate {
    /// Reads the metadata's word.
    pub(crate) fn from_name(name: &str) -> Option<Aggregate> {
        match name {
            "max" => Some(Aggregate::Max),
            "mean_top2" => Some(Aggregate::MeanTop2),
            _ => None,
        }
    }

    /// Probability of the endplate and the positions of the slices that it is made of, the most probable first; `None`
    /// without slices.
    pub(crate) fn of(self, probabilities: &[f64]) -> Option<(f64, Vec<usize>)> {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b)));
        order.truncate(match self {
            Aggregate::Max => 1,
            Aggregate::MeanTop2 => 2,
        });
        let sum: f64 = order.iter().map(|position| probabilities[*position]).sum();
        (!order.is_empty()).then(|| (sum / order.len() as f64, order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: BoxPx = [20.0, 30.0, 50.0, 55.0];

    #[test]
    fn patches_are_centred_on_the_endplate_with_the_body_below() {
        // Brightness is the row number; the middle of four patch rows lies on the endplate.
        let voxels = Array3::from_shape_fn((1, 80, 80), |(_, row, _)| row as f32);
        let rows = |endplate| {
            let patch = PatchGrid::at(&BODY, endplate, 2.0, 4).cut(&voxels.view(), 0);
            (0..4).map(|row| patch[[1, row, 0]]).collect::<Vec<f32>>()
        };
        assert_eq!(rows(Endplate::Superior), [27.0, 29.0, 31.0, 33.0], "row 30 and on is body");
        assert_eq!(rows(Endplate::Inferior), [58.0, 56.0, 54.0, 52.0], "row 55 and less is body");
    }

    #[test]
    fn columns_keep_their_sense_on_both_endplates() {
        let voxels = Array3::from_shape_fn((1, 80, 80), |(_, _, column)| column as f32);
        for endplate in [Endplate::Superior, Endplate::Inferior] {
            let patch = PatchGrid::at(&BODY, endplate, 2.0, 4).cut(&voxels.view(), 0);
            assert_eq!((0..4).map(|column| patch[[1, 0, column]]).collect::<Vec<f32>>(), [32.0, 34.0, 36.0, 38.0]);
        }
    }

    #[test]
    fn edge_slices_repeat() {
        let voxels = Array3::from_shape_fn((3, 80, 80), |(slice, _, _)| slice as f32);
        let grid = PatchGrid::at(&BODY, Endplate::Superior, 1.0, 4);
        let slices = |slice| [0, 1, 2].map(|channel| grid.cut(&voxels.view(), slice)[[channel, 0, 0]]);
        assert_eq!((slices(0), slices(1), slices(2)), ([0.0, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 2.0, 2.0]));
    }

    #[test]
    fn patches_are_interpolated_and_fade_to_zero_outside() {
        let voxels = Array3::from_shape_vec((1, 2, 2), vec![0.0, 4.0, 8.0, 12.0]).expect("the shape fits");
        let at = |x: f64, y: f64| {
            let grid = PatchGrid { middle: [x, y], scale: 1.0, side: 1, endplate: Endplate::Superior };
            grid.cut(&voxels.view(), 0)[[1, 0, 0]]
        };
        assert_eq!(at(0.5, 0.5), 6.0);
        assert_eq!(at(1.0, 1.0), 12.0);
        assert_eq!(at(1.5, 1.0), 6.0, "half of the last pixel");
        assert_eq!(at(-0.25, 1.0), 6.0, "three quarters of the first");
        assert_eq!((at(-1.5, 0.0), at(0.0, 40.0)), (0.0, 0.0));
    }

    #[test]
    fn boxes_on_the_patch_return_to_the_slice() {
        let grid = |endplate| PatchGrid::at(&BODY, endplate, 0.75, 64);
        // 8 patch px below the endplate are 6 mm into the body; 12 x 4 patch px are 9 x 3 px of 1 mm.
        let node = [31.5, 39.5, 12.0, 4.0];
        assert_eq!(grid(Endplate::Superior).box_on_slice(node), Some([31.0, 35.0, 39.0, 37.0]));
        assert_eq!(grid(Endplate::Inferior).box_on_slice(node), Some([31.0, 48.0, 39.0, 50.0]));
        assert_eq!(grid(Endplate::Superior).box_on_slice([31.5, f64::NAN, 1.0, 1.0]), None);
    }

    #[test]
    fn endplates_at_the_border_are_not_visible() {
        let cut_off = PatchGrid::at(&[20.0, 0.0, 50.0, 18.0], Endplate::Superior, 0.75, 64);
        assert!(!cut_off.is_visible(80, 3.0));
        assert!(PatchGrid::at(&BODY, Endplate::Inferior, 0.75, 64).is_visible(80, 3.0));
        assert!(!PatchGrid::at(&BODY, Endplate::Inferior, 0.75, 64).is_visible(58, 3.0));
    }

    #[test]
    fn an_endplate_is_as_probable_as_its_best_slices() {
        assert_eq!(Aggregate::Max.of(&[0.25, 0.75, 0.5]), Some((0.75, vec![1])));
        assert_eq!(Aggregate::MeanTop2.of(&[0.25, 0.75, 0.5]), Some((0.625, vec![1, 2])));
        assert_eq!(Aggregate::MeanTop2.of(&[0.25]), Some((0.25, vec![0])));
        assert_eq!(Aggregate::Max.of(&[]), None);
    }
}
