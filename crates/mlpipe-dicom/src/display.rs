//! Canonical display orientation by flips and transposes of the stored grid: no voxel value changes.

use ndarray::Axis;

use crate::geometry::{dot, scale};
use crate::{Plane, Volume, VolumeGeometry};

impl Volume {
    /// Returns the volume with its axes flipped and in-plane transposed so that its pictures look right.
    ///
    /// Sagittal: rows run head to feet, columns front to back, slices towards left. Coronal: rows head to feet, columns
    /// towards left, slices towards the back. Axial: rows front to back, columns towards left, slices towards the head.
    /// [`load_volume`](crate::load_volume) keeps the stored orientation; steps that show or analyse call this.
    pub fn canonical(&self) -> Volume {
        let plane = self.geometry.plane();
        let targets = plane.display_axes();
        let rows_fit = dot(self.geometry.row_axis, targets[1]).abs() + dot(self.geometry.column_axis, targets[2]).abs();
        let swapped = dot(self.geometry.column_axis, targets[1]).abs() + dot(self.geometry.row_axis, targets[2]).abs();
        let order = if swapped > rows_fit { [0, 2, 1] } else { [0, 1, 2] };
        self.rearranged(order, plane)
    }

    /// Permutes the axes (`order[k]` becomes axis `k`) and flips those that run against the display axes of `plane`.
    ///
    /// Sources stay with their slices as long as axis 0 stays the slice axis; otherwise there are none.
    pub(crate) fn rearranged(&self, order: [usize; 3], plane: Plane) -> Volume {
        let targets = plane.display_axes();
        let axes = self.geometry.axes();
        let mut voxels = self.voxels.view().permuted_axes(order);
        let mut geometry = permuted(&self.geometry, order);
        let mut sources = if order[0] == 0 { self.sources.clone() } else { vec![None; self.geometry.shape[order[0]]] };
        for axis in 0..3 {
            if dot(axes[order[axis]], targets[axis]) < 0.0 {
                voxels.invert_axis(Axis(axis));
                flip(&mut geometry, axis);
                if axis == 0 {
                    sources.reverse();
                }
            }
        }
        Volume {
            voxels: voxels.as_standard_layout().into_owned(),
            geometry,
            sources,
            series_instance_uid: self.series_instance_uid.clone(),
            study_instance_uid: self.study_instance_uid.clone(),
            modality: self.modality.clone(),
        }
    }
}

fn permuted(geometry: &VolumeGeometry, order: [usize; 3]) -> VolumeGeometry {
    let axes = geometry.axes();
    VolumeGeometry {
        shape: order.map(|axis| geometry.shape[axis]),
        origin_lps: geometry.origin_lps,
        slice_axis: axes[order[0]],
        row_axis: axes[order[1]],
        column_axis: axes[order[2]],
        spacing_mm: order.map(|axis| geometry.spacing_mm[axis]),
    }
}

fn flip(geometry: &mut VolumeGeometry, axis: usize) {
    let mut last = [0.0; 3];
    last[axis] = geometry.shape[axis].saturating_sub(1) as f64;
    geometry.origin_lps = geometry.index_to_lps(last);
    let direction = match axis {
        0 => &mut geometry.slice_axis,
        1 => &mut geometry.row_axis,
        _ => &mut geometry.column_axis,
    };
    *direction = scale(*direction, -1.0);
}
