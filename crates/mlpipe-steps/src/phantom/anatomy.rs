//! The body that a seed stands for: where its vertebrae, discs, canal and skin lie, and which endplates carry a node.
//!
//! Frame: `x` to the left, `y` to the back, `z` to the head, mm, with the centre of L3 at the origin. Sizes are those of
//! adult lumbar spines in the literature and of the development images (body 26 mm high, 32 mm deep, discs 5-10 mm). What
//! tissue looks like is decided in `tissue` and `spine`.

use super::arithmetic::{Random, Vec3, mix, sin_cos_deg};
use super::node::Node;
use super::vertebra::Vertebra;

/// Name, tilt in degrees (of the axis that points to the feet, towards the back), height, depth at the top, depth at the
/// bottom, half width and disc height below: mm.
const TEMPLATE: [(&str, [f64; 6]); 16] = [
    ("T9", [-11.0, 22.0, 28.0, 28.5, 16.0, 4.0]),
    ("T10", [-12.0, 23.0, 28.5, 29.5, 17.0, 4.5]),
    ("T11", [-13.0, 24.0, 29.5, 30.5, 18.5, 5.0]),
    ("T12", [-14.0, 25.5, 30.5, 31.5, 20.0, 5.8]),
    ("L1", [-13.0, 26.5, 31.5, 32.5, 21.5, 7.0]),
    ("L2", [-10.0, 27.0, 32.5, 33.5, 22.5, 8.2]),
    ("L3", [-5.0, 27.5, 33.5, 34.5, 23.5, 9.2]),
    ("L4", [4.0, 27.0, 34.5, 35.0, 24.5, 10.0]),
    ("L5", [22.0, 26.0, 35.0, 34.0, 25.5, 9.5]),
    ("S1", [50.0, 27.0, 32.0, 22.5, 30.0, 2.2]),
    ("S2", [62.0, 22.0, 21.0, 16.0, 26.0, 1.8]),
    ("S3", [50.0, 18.5, 15.5, 12.5, 22.0, 1.6]),
    ("S4", [22.0, 16.0, 12.0, 10.0, 18.0, 1.6]),
    ("S5", [4.0, 14.0, 9.5, 7.5, 14.0, 2.0]),
    ("Co1", [-14.0, 10.0, 7.0, 5.5, 8.0, 1.5]),
    ("Co2", [-30.0, 8.0, 5.5, 4.0, 6.0, 0.0]),
];
/// Index of L3 in [`TEMPLATE`]: the origin.
const L3: usize = 6;
/// Index of S1 in [`TEMPLATE`].
pub(super) const S1: usize = 9;

/// A quantity along the body, as a function of `z`.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    values: Vec<f64>,
}

impl Curve {
    const LOW_MM: f64 = -260.0;
    const STEP_MM: f64 = 2.0;
    const COUNT: usize = 261;

    /// Interpolates `(z, value)` points, sorted by falling z, and smooths over about `smooth_mm`.
    fn through(points: &[(f64, f64)], smooth_mm: f64) -> Self {
        let mut values: Vec<f64> =
            (0..Self::COUNT).map(|i| interpolate(points, Self::LOW_MM + Self::STEP_MM * i as f64)).collect();
        let reach = (smooth_mm / Self::STEP_MM / 2.0) as usize;
        for _ in 0..3 {
            values = (0..values.len())
                .map(|i| {
                    let window = &values[i.saturating_sub(reach)..(i + reach + 1).min(values.len())];
                    window.iter().sum::<f64>() / window.len() as f64
                })
                .collect();
        }
        Curve { values }
    }

    /// Returns the value at `z`.
    pub(super) fn at(&self, z: f64) -> f64 {
        let x = ((z - Self::LOW_MM) / Self::STEP_MM).clamp(0.0, (Self::COUNT - 2) as f64);
        let i = x.floor();
        mix(self.values[i as usize], self.values[i as usize + 1], (x - i).min(1.0))
    }

    /// Returns the cosine of the angle that the curve makes with the z axis: turns a distance along y into one across it.
    pub(super) fn steepness(&self, z: f64) -> f64 {
        let slope = (self.at(z + 2.0) - self.at(z - 2.0)) / 4.0;
        1.0 / (1.0 + slope * slope).sqrt()
    }
}

fn interpolate(points: &[(f64, f64)], z: f64) -> f64 {
    match points.iter().position(|&(point_z, _)| point_z < z) {
        Some(0) => points[0].1,
        None => points[points.len() - 1].1,
        Some(i) => {
            let ((z0, v0), (z1, v1)) = (points[i - 1], points[i]);
            mix(v0, v1, (z0 - z) / (z0 - z1))
        }
    }
}

/// The disc below a vertebra.
#[derive(Debug, Clone)]
pub(super) struct Disc {
    /// Centre.
    pub(super) centre: Vec3,
    /// Sine and cosine of the tilt.
    pub(super) tilt: (f64, f64),
    /// Distance between the rims of the two endplates.
    pub(super) height: f64,
    /// Front to back.
    pub(super) depth: f64,
    /// Half of left to right.
    pub(super) half_width: f64,
    /// 0: healthy, 1: dark and narrow.
    pub(super) degeneration: f64,
}

/// Everything that differs from one phantom to the next.
#[derive(Debug, Clone)]
pub(super) struct Anatomy {
    pub(super) seed: u64,
    /// T9 to the coccyx.
    pub(super) vertebrae: Vec<Vertebra>,
    /// Disc `i` lies below vertebra `i`.
    pub(super) discs: Vec<Disc>,
    pub(super) nodes: Vec<Node>,
    /// Axis of the spinal canal (y).
    pub(super) canal: Curve,
    /// Half of the canal's extent from front to back.
    pub(super) canal_radius: f64,
    /// Front of the vertebral bodies (y).
    pub(super) front: Curve,
    /// Skin of the back (y).
    pub(super) back_skin: Curve,
    /// Thickness of the fat under it.
    pub(super) back_fat: Curve,
    /// Skin of the belly (y).
    pub(super) belly_skin: Curve,
    pub(super) belly_fat_mm: f64,
    /// Where the spinal cord ends (z).
    pub(super) conus_z: f64,
    /// Signals relative to fat.
    pub(super) marrow: f64,
    pub(super) csf: f64,
    pub(super) muscle: f64,
    /// Share of the signal that only the coil's near field gives, and its reach.
    pub(super) coil_gain: f64,
    pub(super) coil_reach_mm: f64,
    /// Deviation of the noise, relative to the signal of fat.
    pub(super) noise: f64,
}

impl Anatomy {
    /// Returns the body for a seed. Nodes lie on vertebrae whose indices are in `node_candidates`.
    pub(super) fn new(seed: u64, node_candidates: std::ops::Range<usize>) -> Self {
        let mut random = Random::new(seed, 1);
        let (vertebrae, discs) = build_column(&mut random);
        let canal_radius = random.range(7.0, 8.3);
        let behind = |v: &Vertebra, extra: f64| v.point(0.0, v.depth_at(0.0) / 2.0 + extra, 0.0);
        let curve = |smooth_mm: f64, at: &dyn Fn(&Vertebra) -> Vec3| {
            let points: Vec<(f64, f64)> = vertebrae.iter().map(at).map(|p| (p[2], p[1])).collect();
            Curve::through(&points, smooth_mm)
        };
        let canal = curve(14.0, &|v| behind(v, 2.5 + canal_radius * v.canal_share()));
        let front = curve(10.0, &|v| v.point(0.0, -v.depth_at(0.0) / 2.0 - 2.0, 0.0));
        let (fat_high, fat_low) = (random.range(7.0, 13.0), random.range(15.0, 30.0));
        let back_fat = Curve::through(
            &[(160.0, fat_high), (60.0, mix(fat_high, fat_low, 0.25)), (-60.0, fat_low), (-190.0, fat_low * 0.75)],
            30.0,
        );
        let reach = random.range(0.0, 5.0);
        let back_skin = curve(60.0, &|v| {
            let p = behind(v, 4.0 + 2.0 * canal_radius * v.canal_share() + v.spinous_length() + reach);
            [p[0], p[1] + back_fat.at(p[2]), p[2]]
        });
        let belly = random.range(-128.0, -98.0);
        let belly_skin = Curve::through(
            &[
                (160.0, belly + random.range(5.0, 22.0)),
                (40.0, belly + random.range(-4.0, 6.0)),
                (-40.0, belly),
                (-52.0, belly + random.range(4.0, 12.0)),
                (-66.0, belly - 2.0),
                (-120.0, belly + random.range(4.0, 14.0)),
                (-190.0, belly + random.range(20.0, 40.0)),
            ],
            16.0,
        );
        let conus_z = vertebrae[4].centre[2] + random.range(-14.0, 12.0);
        let nodes = Node::place(&vertebrae, &discs, node_candidates, &mut random);
        Anatomy {
            seed,
            nodes,
            canal,
            canal_radius,
            front,
            back_skin,
            back_fat,
            belly_skin,
            belly_fat_mm: random.range(12.0, 28.0),
            conus_z,
            marrow: random.range(0.5, 0.68),
            csf: random.range(1.2, 1.45),
            muscle: random.range(0.17, 0.25),
            coil_gain: random.range(0.8, 1.5),
            coil_reach_mm: random.range(32.0, 48.0),
            noise: random.range(0.012, 0.022),
            vertebrae,
            discs,
        }
    }
}

/// Stacks vertebrae and discs from T9 down, then moves L3 to the origin.
fn build_column(random: &mut Random) -> (Vec<Vertebra>, Vec<Disc>) {
    let size = random.range(0.94, 1.07);
    let lordosis = random.range(0.7, 1.25);
    let sacral_tilt_deg = random.range(-8.0, 6.0);
    let scoliosis_mm = random.range(-2.5, 2.5);
    let worn = random.range(0.0, 0.5);
    let mut vertebrae: Vec<Vertebra> = Vec::new();
    let mut discs = Vec::new();
    let mut end = [0.0; 3];
    for (index, &(name, [tilt_deg, height, top, bottom, half_width, disc])) in TEMPLATE.iter().enumerate() {
        let tilt_deg =
            if index < S1 { tilt_deg * lordosis + random.range(-1.5, 1.5) } else { tilt_deg + sacral_tilt_deg };
        let tilt = sin_cos_deg(tilt_deg);
        let height = height * size * random.range(0.97, 1.03);
        let centre = step_down(end, tilt, height / 2.0);
        vertebrae.push(Vertebra {
            name,
            centre,
            tilt,
            height,
            depth_top: top * size,
            depth_bottom: bottom * size,
            half_width: half_width * size,
            wedge: if name == "L5" { random.range(1.0, 2.0) } else { random.range(-0.5, 0.4) },
            concavity: if index < S1 { random.range(1.0, 2.3) } else { 0.2 },
            waist: if index < S1 { random.range(0.08, 0.13) } else { 0.03 },
            shade: random.range(0.94, 1.06),
            sacral: index >= S1,
            lumbar: (4..S1).contains(&index),
        });
        let low_lumbar = if index == 7 || index == 8 { 0.3 } else { 0.0 };
        let degeneration = (worn + low_lumbar + random.range(-0.35, 0.35)).clamp(0.0, 1.0);
        let disc_height = disc * size * random.range(0.92, 1.08) * (1.0 - 0.3 * degeneration);
        let next_tilt = TEMPLATE
            .get(index + 1)
            .map_or(tilt_deg, |&(_, next)| if index + 1 < S1 { next[0] * lordosis } else { next[0] + sacral_tilt_deg });
        let disc_tilt = sin_cos_deg((tilt_deg + next_tilt) / 2.0);
        let top_of_disc = step_down(end, tilt, height);
        discs.push(Disc {
            centre: step_down(top_of_disc, disc_tilt, disc_height / 2.0),
            tilt: disc_tilt,
            height: disc_height,
            depth: bottom * size,
            half_width: half_width * size,
            degeneration,
        });
        end = step_down(top_of_disc, disc_tilt, disc_height);
    }
    let origin = vertebrae[L3].centre;
    let bend = |p: Vec3| {
        let z = (p[2] - origin[2]) / 100.0;
        [scoliosis_mm * z * z, p[1] - origin[1], p[2] - origin[2]]
    };
    for vertebra in &mut vertebrae {
        vertebra.centre = bend(vertebra.centre);
    }
    for disc in &mut discs {
        disc.centre = bend(disc.centre);
    }
    (vertebrae, discs)
}

/// Moves a point towards the feet along a tilted axis.
fn step_down(p: Vec3, (sine, cosine): (f64, f64), distance: f64) -> Vec3 {
    [p[0], p[1] + sine * distance, p[2] - cosine * distance]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_passes_through_a_straight_line() {
        let curve = Curve::through(&[(200.0, 20.0), (0.0, 0.0), (-200.0, -20.0)], 10.0);
        assert!((curve.at(50.0) - 5.0).abs() < 1e-9);
        assert!((curve.steepness(50.0) - 1.0 / 1.01_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn vertebrae_descend_and_lumbar_spacing_is_that_of_adults() {
        for seed in 0..40 {
            let anatomy = Anatomy::new(seed, 2..9);
            let centres: Vec<Vec3> = anatomy.vertebrae.iter().map(|v| v.centre).collect();
            for pair in centres.windows(2) {
                assert!(pair[1][2] < pair[0][2], "seed {seed}: {centres:?}");
            }
            let spacing_mm = (centres[4][2] - centres[7][2]) / 3.0;
            assert!((29.0..40.0).contains(&spacing_mm), "seed {seed}: {spacing_mm}");
        }
    }
}
