//! Changing the grid of a volume: in-plane spacing, and reformatting into another plane. Every resampling is along the
//! volume's own axes, so trilinear interpolation is three passes of linear interpolation.

use ndarray::{Array3, Axis, Zip};

use crate::geometry::dot;
use crate::{Error, Plane, Result, Volume, VolumeGeometry};

/// Spacings nearer than this (mm) are the same.
const SAME_SPACING_MM: f64 = 1e-3;
/// Slice spacing of a reformatted volume where the acquisition is finer: thin slices are averaged into slabs as thick
/// as the slices of a usual spine acquisition (3 to 4.5 mm), so that models see what they were trained on.
const REFORMATTED_SLICE_MM: f64 = 4.0;
/// Acquired slices may lie this many result pixels apart; beyond, four in five rows of the picture are interpolated.
const COARSEST_STEP_PX: f64 = 5.0;
/// Fewer acquired slices than this give a strip, not a picture.
const FEWEST_SLICES: usize = 8;

impl Volume {
    /// Returns the volume at square pixels of `spacing_mm`; slices stay as they are and keep their sources.
    ///
    /// Bilinear where pixels get smaller, mean over the pixel's area where they get larger. The outer edges of the
    /// first row and column stay in place; the size is rounded to whole pixels. Unchanged when the spacing is already
    /// within 0.001 mm, or is not a positive number.
    pub fn resampled_in_plane(&self, spacing_mm: f64) -> Volume {
        self.resampled([self.geometry.spacing_mm[0], spacing_mm, spacing_mm])
    }

    /// Returns the volume cut into slices of another plane, in display orientation (see [`canonical`](Self::canonical)).
    ///
    /// Axes stay those of the acquisition, so an oblique acquisition stays oblique. Pixels are square, `spacing_mm`.
    /// Slices lie as far apart as the acquired pixels in that direction, but at least 4 mm, thinner ones being averaged;
    /// they have no sources. A volume that lies in `plane` already is only resampled in plane, and keeps its sources.
    ///
    /// # Errors
    /// When the acquisition has fewer than 8 slices, or its slices lie more than 5 result pixels apart: most of the
    /// picture would be invented.
    pub fn reformatted(&self, plane: Plane, spacing_mm: f64) -> Result<Volume> {
        if !(spacing_mm.is_finite() && spacing_mm > 0.0) {
            return Err(Error::Argument { message: format!("spacing_mm is {spacing_mm}, it must be positive") });
        }
        if plane == self.geometry.plane() {
            return Ok(self.canonical().resampled_in_plane(spacing_mm));
        }
        self.can_be_reformatted(spacing_mm).map_err(|message| Error::Reformat {
            series_instance_uid: self.series_instance_uid.clone(),
            plane,
            message,
        })?;
        let cut = self.rearranged(nearest_order(&self.geometry, plane), plane);
        let slice_mm = cut.geometry.spacing_mm[0].max(REFORMATTED_SLICE_MM);
        let mut result = cut.resampled([slice_mm, spacing_mm, spacing_mm]);
        result.sources = vec![None; result.geometry.shape[0]];
        Ok(result)
    }

    fn can_be_reformatted(&self, spacing_mm: f64) -> Result<(), String> {
        let (slices, step) = (self.geometry.shape[0], self.geometry.spacing_mm[0]);
        let acquired = self.geometry.plane();
        if slices < FEWEST_SLICES {
            return Err(format!("the {acquired} acquisition has {slices} slices, fewer than {FEWEST_SLICES}"));
        }
        if step > COARSEST_STEP_PX * spacing_mm {
            return Err(format!(
                "the {acquired} slices are {step:.2} mm apart, more than {COARSEST_STEP_PX} pixels of {spacing_mm} mm"
            ));
        }
        Ok(())
    }

    fn resampled(&self, spacing_mm: [f64; 3]) -> Volume {
        let mut result = self.clone();
        for (axis, target) in spacing_mm.into_iter().enumerate() {
            let stored = result.geometry.spacing_mm[axis];
            let usable = target.is_finite() && target > 0.0;
            if usable && (target - stored).abs() > SAME_SPACING_MM {
                resample_axis(&mut result, axis, target);
            }
        }
        result
    }
}

/// Returns which axis of the volume becomes slice, row and column: the permutation nearest to the display axes.
fn nearest_order(geometry: &VolumeGeometry, plane: Plane) -> [usize; 3] {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let (axes, targets) = (geometry.axes(), plane.display_axes());
    let fit = |order: [usize; 3]| -> f64 { (0..3).map(|k| dot(axes[order[k]], targets[k]).abs()).sum() };
    let mut best = ORDERS[0];
    for order in ORDERS {
        if fit(order) > fit(best) {
            best = order;
        }
    }
    best
}

fn resample_axis(volume: &mut Volume, axis: usize, spacing_mm: f64) {
    let stored = volume.geometry.spacing_mm[axis];
    let length = volume.geometry.shape[axis];
    let factor = spacing_mm / stored;
    let new_length = ((length as f64 / factor).round() as usize).max(1);
    let mut index = [0.0; 3];
    index[axis] = centre(0, factor);
    volume.geometry.origin_lps = volume.geometry.index_to_lps(index);
    volume.geometry.spacing_mm[axis] = spacing_mm;
    volume.geometry.shape[axis] = new_length;
    volume.voxels = apply(&volume.voxels, axis, &weights(length, new_length, factor));
}

/// Returns the centre of a new pixel in old pixels; the outer edges of both first pixels coincide.
fn centre(pixel: usize, factor: f64) -> f64 {
    (pixel as f64 + 0.5) * factor - 0.5
}

/// For every new pixel the old pixels it is made of, with weights that sum to 1.
type Weights = Vec<Vec<(usize, f32)>>;

fn weights(length: usize, new_length: usize, factor: f64) -> Weights {
    let of = |pixel| {
        let at = centre(pixel, factor);
        if factor > 1.0 { mean_weights(length, at, factor) } else { linear_weights(length, at) }
    };
    (0..new_length).map(of).collect()
}

fn linear_weights(length: usize, at: f64) -> Vec<(usize, f32)> {
    let at = at.clamp(0.0, (length - 1) as f64);
    let low = at.floor() as usize;
    let share = at - at.floor();
    if share == 0.0 { vec![(low, 1.0)] } else { vec![(low, (1.0 - share) as f32), (low + 1, share as f32)] }
}

/// Weights of the mean over an interval `width` old pixels wide: the share of each old pixel that lies in it.
fn mean_weights(length: usize, at: f64, width: f64) -> Vec<(usize, f32)> {
    let from = (at - width / 2.0 + 0.5).clamp(0.0, length as f64);
    let to = (at + width / 2.0 + 0.5).clamp(0.0, length as f64);
    let last = (to.ceil() as usize).min(length);
    let overlap = |pixel: usize| (to.min(pixel as f64 + 1.0) - from.max(pixel as f64)).max(0.0);
    let total: f64 = (from.floor() as usize..last).map(overlap).sum();
    (from.floor() as usize..last)
        .map(|pixel| (pixel, (overlap(pixel) / total) as f32))
        .filter(|(_, weight)| *weight > 0.0)
        .collect()
}

fn apply(voxels: &Array3<f32>, axis: usize, weights: &Weights) -> Array3<f32> {
    let mut shape = voxels.raw_dim();
    shape[axis] = weights.len();
    let mut result = Array3::zeros(shape);
    Zip::from(result.lanes_mut(Axis(axis))).and(voxels.lanes(Axis(axis))).par_for_each(|mut new, old| {
        for (value, parts) in new.iter_mut().zip(weights) {
            *value = parts.iter().map(|(pixel, weight)| old[*pixel] * weight).sum();
        }
    });
    result
}
