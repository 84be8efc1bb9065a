//! A plane through the body that is painted pixel by pixel: where each pixel lies, and painting within a sphere.

use super::arithmetic::{Vec3, add, dot, scale, subtract};

/// Position of an image in the body, mm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane {
    /// Centre of the first pixel.
    pub(super) origin: Vec3,
    /// Direction in which the column index increases.
    pub(super) along_columns: Vec3,
    /// Direction in which the row index increases.
    pub(super) along_rows: Vec3,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) spacing_mm: f64,
}

impl Plane {
    /// Returns the centre of a pixel.
    pub(super) fn at(&self, row: usize, column: usize) -> Vec3 {
        let across = scale(self.along_columns, column as f64 * self.spacing_mm);
        add(add(self.origin, across), scale(self.along_rows, row as f64 * self.spacing_mm))
    }

    /// Returns the same plane, moved.
    pub(super) fn moved(&self, by: Vec3) -> Plane {
        Plane { origin: add(self.origin, by), ..*self }
    }

    /// Returns the first row and column and the ones after the last of the pixels that a sphere can touch.
    fn window(&self, centre: Vec3, radius: f64) -> [usize; 4] {
        let from_origin = subtract(centre, self.origin);
        let span = |along: Vec3, count: usize| {
            let middle = dot(from_origin, along) / self.spacing_mm;
            let reach = radius / self.spacing_mm + 1.0;
            let clip = |v: f64| v.clamp(0.0, count as f64) as usize;
            (clip((middle - reach).floor()), clip((middle + reach).ceil() + 1.0))
        };
        let ((row, row_end), (column, column_end)) =
            (span(self.along_rows, self.rows), span(self.along_columns, self.columns));
        [row, column, row_end, column_end]
    }

    /// Returns the distance of a point from the plane.
    fn distance(&self, p: Vec3) -> f64 {
        let from_origin = subtract(p, self.origin);
        let (u, v) = (dot(from_origin, self.along_columns), dot(from_origin, self.along_rows));
        (dot(from_origin, from_origin) - u * u - v * v).max(0.0).sqrt()
    }
}

/// Signal of every pixel of a plane, relative to fat, row by row.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    pub(super) plane: Plane,
    pub(super) values: Vec<f64>,
}

impl Canvas {
    /// Paints every pixel of a plane.
    pub(super) fn new(plane: Plane, paint: impl Fn(Vec3) -> f64) -> Self {
        let pixels = (0..plane.rows).flat_map(|row| (0..plane.columns).map(move |column| (row, column)));
        Canvas { plane, values: pixels.map(|(row, column)| paint(plane.at(row, column))).collect() }
    }

    /// Paints the pixels within a sphere: `paint` gets the point and the value below.
    pub(super) fn within(&mut self, centre: Vec3, radius: f64, paint: impl Fn(Vec3, f64) -> f64) {
        if self.plane.distance(centre) > radius {
            return;
        }
        let [row_start, column_start, row_end, column_end] = self.plane.window(centre, radius);
        for row in row_start..row_end {
            for column in column_start..column_end {
                let value = &mut self.values[row * self.plane.columns + column];
                *value = paint(self.plane.at(row, column), *value);
            }
        }
    }

    /// Calls `visit` with the index and the centre of every pixel within a sphere.
    pub(super) fn visit(plane: &Plane, centre: Vec3, radius: f64, mut visit: impl FnMut(usize, Vec3)) {
        if plane.distance(centre) > radius {
            return;
        }
        let [row_start, column_start, row_end, column_end] = plane.window(centre, radius);
        for row in row_start..row_end {
            for column in column_start..column_end {
                visit(row * plane.columns + column, plane.at(row, column));
            }
        }
    }
}

/// Returns how much of a pixel lies inside a surface, from the signed distance of its centre.
pub(super) fn cover(distance_mm: f64) -> f64 {
    (0.5 - distance_mm).clamp(0.0, 1.0)
}
