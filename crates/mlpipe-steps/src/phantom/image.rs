//! The images of a study: which planes are taken through the body, and the pixels and bone outlines they show.
//!
//! The sagittal series follows the spine, so in the scanner's frame it is oblique; a localizer and a short axial series
//! go with it.

use super::anatomy::{Anatomy, S1};
use super::arithmetic::{Random, Vec3, add, cross, dot, mix, scale, sin_cos_deg};
use super::canvas::{Canvas, Plane, cover};
use super::node::Node;
use super::spine::Spine;
use super::tissue::Surroundings;

/// Rows and columns of the sagittal series.
const SAGITTAL_SIZE: usize = 320;
/// Slices of the sagittal series.
const SAGITTAL_SLICES: usize = 13;
/// Layers that are averaged over the thickness of a slice: partial volume.
const LAYERS: usize = 4;
/// Stored value of fat far from the coil.
const FULL_SCALE: f64 = 900.0;
/// Largest value of 12 bits.
const LARGEST: f64 = 4095.0;
/// Index of the first vertebra that may carry a node (T12), and of the first that may not (S1).
const NODE_CANDIDATES: std::ops::Range<usize> = 3..S1;

/// One image.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    /// In the frame of the body.
    pub(super) plane: Plane,
    /// Where the noise of this image starts.
    noise: u64,
}

/// Images that were taken together.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) slices: Vec<Slice>,
    pub(super) thickness_mm: f64,
    pub(super) spacing_between_slices_mm: f64,
}

/// The study of one seed.
#[derive(Debug, Clone)]
pub(super) struct Study {
    pub(super) anatomy: Anatomy,
    /// Axes of the body's frame in the scanner's (LPS).
    axes_lps: [Vec3; 3],
    origin_lps: Vec3,
    pub(super) sagittal: Series,
    pub(super) axial: Series,
    pub(super) localizer: Series,
}

impl Study {
    pub(super) fn new(seed: u64) -> Self {
        let anatomy = Anatomy::new(seed, NODE_CANDIDATES);
        let mut random = Random::new(seed, 3);
        let side = if random.chance(0.5) { 1.0 } else { -1.0 };
        let axes_lps = axes(side * random.range(2.0, 6.0), random.range(-3.0, 3.0));
        let origin_lps = [random.range(-15.0, 15.0), random.range(-30.0, 10.0), random.range(-40.0, 40.0)];
        let sagittal = sagittal(&anatomy, &mut random);
        let axial = axial(&anatomy);
        let localizer = localizer();
        Study { anatomy, axes_lps, origin_lps, sagittal, axial, localizer }
    }

    /// Returns a direction of the body's frame in LPS.
    pub(super) fn direction_lps(&self, v: Vec3) -> Vec3 {
        let [x, y, z] = self.axes_lps;
        add(add(scale(x, v[0]), scale(y, v[1])), scale(z, v[2]))
    }

    /// Returns a point of the body's frame in LPS.
    pub(super) fn point_lps(&self, p: Vec3) -> Vec3 {
        add(self.origin_lps, self.direction_lps(p))
    }

    /// Returns the stored values of an image, row by row, 0..=4095.
    pub(super) fn pixels(&self, series: &Series, slice: &Slice) -> Vec<u16> {
        let surroundings = Surroundings::new(&self.anatomy);
        let spine = Spine::new(&self.anatomy);
        let background = surroundings.paint(slice.plane);
        let mut sum = vec![0.0; background.values.len()];
        for plane in layers(series, slice) {
            let mut canvas = Canvas { plane, values: background.values.clone() };
            spine.paint(&mut canvas);
            for (total, value) in sum.iter_mut().zip(&canvas.values) {
                *total += value / LAYERS as f64;
            }
        }
        let mut random = Random::new(self.anatomy.seed, slice.noise);
        let columns = slice.plane.columns;
        let sum = blurred(&sum, columns);
        let stored = |(index, signal): (usize, f64)| {
            let gain = surroundings.coil(slice.plane.at(index / columns, index % columns));
            let real = signal * gain + self.anatomy.noise * random.normal();
            let imaginary = self.anatomy.noise * random.normal();
            ((real * real + imaginary * imaginary).sqrt() * FULL_SCALE + 0.5).clamp(0.0, LARGEST) as u16
        };
        sum.into_iter().enumerate().map(stored).collect()
    }

    /// Returns which pixels of an image show the body of a vertebra: at least half of the slice's thickness.
    pub(super) fn body_mask(&self, series: &Series, slice: &Slice, vertebra: usize) -> Vec<bool> {
        let body = &self.anatomy.vertebrae[vertebra];
        mask(series, slice, body.centre, body.reach() + 1.0, |p| body.distance(body.local(p)))
    }

    /// Returns which pixels of an image show the pit of a node, its rim left out.
    pub(super) fn node_mask(&self, series: &Series, slice: &Slice, node: &Node) -> Vec<bool> {
        let body = &self.anatomy.vertebrae[node.vertebra];
        mask(series, slice, body.centre, body.reach() + 1.0, |p| {
            let local = body.local(p);
            node.distance(body, local).max(-node.depth_below_plate(body, local))
        })
    }
}

/// Spreads each pixel a little over its neighbours, as the limited bandwidth of an acquisition does.
fn blurred(values: &[f64], columns: usize) -> Vec<f64> {
    const SHARE: f64 = 0.1;
    let pass = |values: &[f64], step: usize| -> Vec<f64> {
        let last = values.len() - 1;
        let neighbours = |i: usize| values[i.saturating_sub(step)] + values[(i + step).min(last)];
        (0..values.len()).map(|i| (1.0 - 2.0 * SHARE) * values[i] + SHARE * neighbours(i)).collect()
    };
    pass(&pass(values, 1), columns)
}

/// Planes at even distances through the thickness of a slice.
fn layers(series: &Series, slice: &Slice) -> impl Iterator<Item = Plane> {
    let normal = cross(slice.plane.along_columns, slice.plane.along_rows);
    let (plane, thickness_mm) = (slice.plane, series.thickness_mm);
    (0..LAYERS).map(move |layer| {
        let share = (layer as f64 + 0.5) / LAYERS as f64 - 0.5;
        plane.moved(scale(normal, share * thickness_mm))
    })
}

fn mask(series: &Series, slice: &Slice, centre: Vec3, reach: f64, distance: impl Fn(Vec3) -> f64) -> Vec<bool> {
    let mut coverage = vec![0.0; slice.plane.rows * slice.plane.columns];
    for plane in layers(series, slice) {
        Canvas::visit(&plane, centre, reach, |index, p| coverage[index] += cover(distance(p)));
    }
    coverage.into_iter().map(|sum| sum >= LAYERS as f64 / 2.0).collect()
}

/// Axes of the body in LPS: turned about the long axis, then leaning to one side.
fn axes(turn_deg: f64, lean_deg: f64) -> [Vec3; 3] {
    let ((turn_sin, turn_cos), (lean_sin, lean_cos)) = (sin_cos_deg(turn_deg), sin_cos_deg(lean_deg));
    let x = [turn_cos * lean_cos, turn_sin * lean_cos, lean_sin];
    let y = [-turn_sin, turn_cos, 0.0];
    [x, y, cross(x, y)]
}

/// A stack of slices around a centre. The first lies farthest along the normal: instances count against it.
fn stack(
    centre: Vec3,
    along_columns: Vec3,
    along_rows: Vec3,
    shape: [usize; 3],
    spacing: [f64; 2],
    noise: u64,
) -> Vec<Slice> {
    let [count, rows, columns] = shape;
    let [between_slices, spacing_mm] = spacing;
    let normal = cross(along_columns, along_rows);
    let half = |n: usize| (n - 1) as f64 / 2.0;
    (0..count)
        .map(|index| {
            let step = (half(count) - index as f64) * between_slices;
            let corner =
                add(scale(along_columns, -half(columns) * spacing_mm), scale(along_rows, -half(rows) * spacing_mm));
            let origin = add(add(centre, scale(normal, step)), corner);
            let plane = Plane { origin, along_columns, along_rows, rows, columns, spacing_mm };
            Slice { plane, noise: noise + index as u64 }
        })
        .collect()
}

/// The series to be found: about as oblique to the spine as a technician's hand allows.
fn sagittal(anatomy: &Anatomy, random: &mut Random) -> Series {
    let (turn, lean) = (random.range(-1.0, 1.0), random.range(-0.8, 0.8));
    let [x, y, z] = axes(turn, lean);
    let spacing_between_slices_mm = mix(4.0, 4.4, (random.range(0.0, 5.0)).floor() / 4.0);
    let middle = (anatomy.belly_skin.at(0.0) + anatomy.back_skin.at(0.0)) / 2.0;
    let centre = [random.range(-1.5, 1.5), mix(middle, 0.0, 0.45), random.range(-9.0, 1.0)];
    debug_assert!(dot(x, y).abs() < 1.0e-9);
    let shape = [SAGITTAL_SLICES, SAGITTAL_SIZE, SAGITTAL_SIZE];
    Series {
        slices: stack(centre, y, scale(z, -1.0), shape, [spacing_between_slices_mm, 1.0], 100),
        thickness_mm: spacing_between_slices_mm - 0.4,
        spacing_between_slices_mm,
    }
}

/// A few axial slices through the disc L4/5.
fn axial(anatomy: &Anatomy) -> Series {
    let disc = &anatomy.discs[7];
    let (sine, cosine) = disc.tilt;
    let centre = add(disc.centre, [0.0, 15.0, 0.0]);
    let back = [0.0, cosine, sine];
    Series {
        slices: stack(centre, [1.0, 0.0, 0.0], back, [5, 128, 128], [4.5, 1.4], 200),
        thickness_mm: 4.0,
        spacing_between_slices_mm: 4.5,
    }
}

/// One coarse slice in each plane.
fn localizer() -> Series {
    let (left, back, down) = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]);
    let centre = [0.0, -5.0, 0.0];
    let pairs = [(back, down), (left, down), (left, back)];
    let slices = pairs.iter().enumerate().flat_map(|(index, &(along_columns, along_rows))| {
        stack(centre, along_columns, along_rows, [1, 88, 88], [10.0, 4.0], 300 + index as u64)
    });
    Series { slices: slices.collect(), thickness_mm: 8.0, spacing_between_slices_mm: 10.0 }
}
