//! Where voxels lie in the patient: axes, spacing, plane. Pure arithmetic; which files form the grid is decided elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The anatomical plane nearest to a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// Slices follow each other right to left.
    Sagittal,
    /// Slices follow each other front to back.
    Coronal,
    /// Slices follow each other feet to head.
    Axial,
}

impl Plane {
    /// All three, in the order sagittal, coronal, axial.
    pub const ALL: [Plane; 3] = [Plane::Sagittal, Plane::Coronal, Plane::Axial];

    /// Returns the word used in documents: `sagittal`, `coronal` or `axial`.
    pub fn as_str(self) -> &'static str {
        match self {
            Plane::Sagittal => "sagittal",
            Plane::Coronal => "coronal",
            Plane::Axial => "axial",
        }
    }

    /// Returns the LPS axis (0, 1, 2 for left, posterior, superior) that is normal to the plane.
    pub(crate) fn normal_axis(self) -> usize {
        match self {
            Plane::Sagittal => 0,
            Plane::Coronal => 1,
            Plane::Axial => 2,
        }
    }

    /// Returns the directions in which slice, row and column index run in the display orientation (LPS).
    ///
    /// Rows run head to feet (axial: front to back), columns run front to back (coronal, axial: right to left of the
    /// patient), slices run towards left, back, head.
    pub(crate) fn display_axes(self) -> [[f64; 3]; 3] {
        let (left, posterior, superior, inferior) = ([1., 0., 0.], [0., 1., 0.], [0., 0., 1.], [0., 0., -1.]);
        match self {
            Plane::Sagittal => [left, inferior, posterior],
            Plane::Coronal => [posterior, inferior, left],
            Plane::Axial => [superior, posterior, left],
        }
    }
}

impl fmt::Display for Plane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

impl FromStr for Plane {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Plane::ALL
            .into_iter()
            .find(|plane| plane.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a plane; planes are sagittal, coronal and axial"))
    }
}

/// The grid of a volume in patient coordinates: LPS, millimetres, voxel centres at integer indices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeGeometry {
    /// Number of slices, rows, columns.
    pub shape: [usize; 3],
    /// Centre of voxel `[0, 0, 0]`.
    pub origin_lps: [f64; 3],
    /// Unit vector along which the slice index increases.
    pub slice_axis: [f64; 3],
    /// Unit vector along which the row index increases (second triplet of ImageOrientationPatient in a stored image).
    pub row_axis: [f64; 3],
    /// Unit vector along which the column index increases (first triplet of ImageOrientationPatient).
    pub column_axis: [f64; 3],
    /// Distance between neighbouring slices, rows, columns.
    pub spacing_mm: [f64; 3],
}

impl VolumeGeometry {
    /// Returns the unit vectors of the slice, row and column index.
    pub fn axes(&self) -> [[f64; 3]; 3] {
        [self.slice_axis, self.row_axis, self.column_axis]
    }

    /// Returns the patient position of the voxel index `[slice, row, column]`, which may be fractional or outside.
    pub fn index_to_lps(&self, index: [f64; 3]) -> [f64; 3] {
        let mut point = self.origin_lps;
        for (axis, (direction, spacing)) in self.axes().into_iter().zip(self.spacing_mm).enumerate() {
            point = add(point, scale(direction, index[axis] * spacing));
        }
        point
    }

    /// Returns the voxel index `[slice, row, column]` of a patient position.
    ///
    /// The axes are taken as orthogonal, as they are in every volume that passed the checks of [`scan`](crate::scan).
    pub fn lps_to_index(&self, point: [f64; 3]) -> [f64; 3] {
        let offset = subtract(point, self.origin_lps);
        let axes = self.axes();
        std::array::from_fn(|axis| dot(offset, axes[axis]) / self.spacing_mm[axis])
    }

    /// Returns the plane nearest to the slices.
    pub fn plane(&self) -> Plane {
        nearest_plane(self.slice_axis).0
    }

    /// Returns the angle between the slice axis and the normal of [`plane`](Self::plane), 0 to 54.7 degrees.
    pub fn obliquity_deg(&self) -> f64 {
        nearest_plane(self.slice_axis).1
    }
}

/// Returns the plane whose normal is nearest to `normal`, and the angle between them in degrees.
pub(crate) fn nearest_plane(normal: [f64; 3]) -> (Plane, f64) {
    let mut best = Plane::Sagittal;
    for plane in Plane::ALL {
        if normal[plane.normal_axis()].abs() > normal[best.normal_axis()].abs() {
            best = plane;
        }
    }
    let along = normal[best.normal_axis()].abs();
    let across = (dot(normal, normal) - along * along).max(0.0).sqrt();
    (best, across.atan2(along).to_degrees())
}

pub(crate) fn add(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|i| a[i] + b[i])
}

pub(crate) fn subtract(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|i| a[i] - b[i])
}

pub(crate) fn scale(a: [f64; 3], factor: f64) -> [f64; 3] {
    a.map(|value| value * factor)
}

pub(crate) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(crate) fn norm(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

/// Returns `a` at length 1. The caller has checked that it is not the null vector.
pub(crate) fn unit(a: [f64; 3]) -> [f64; 3] {
    scale(a, 1.0 / norm(a))
}
