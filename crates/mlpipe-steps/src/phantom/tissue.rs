//! What surrounds the spine: skin, fat, muscles, abdomen and pelvis, and the sensitivity of the coil.
//!
//! Signals are relative to fat, as on a T2-weighted turbo spin echo image.

use super::anatomy::Anatomy;
use super::arithmetic::{Noise, Random, Vec3, exp, mix, smooth_step};
use super::canvas::{Canvas, cover};

const FAT: f64 = 1.0;
const SKIN: f64 = 0.4;
const GAS: f64 = 0.03;
const FLOWING_BLOOD: f64 = 0.05;

/// A hollow or solid organ: an ellipsoid with a wall.
#[derive(Debug, Clone)]
struct Organ {
    centre: Vec3,
    radius: Vec3,
    content: f64,
    wall: f64,
    /// By which share its outline wanders.
    raggedness: f64,
    /// Amplitude of the mottling of its content.
    mottling: f64,
}

/// Paints everything but the spine.
#[derive(Debug, Clone)]
pub(super) struct Surroundings<'a> {
    anatomy: &'a Anatomy,
    organs: Vec<Organ>,
    coarse: Noise,
    fine: Noise,
    fibres: Noise,
    septa: Noise,
    strands: Noise,
    wobble: Noise,
    liver_z: f64,
    fascia_tone: f64,
}

impl<'a> Surroundings<'a> {
    pub(super) fn new(anatomy: &'a Anatomy) -> Self {
        let noise = |purpose, scale_mm| Noise::new(anatomy.seed, purpose, scale_mm);
        let mut random = Random::new(anatomy.seed, 2);
        Surroundings {
            anatomy,
            organs: organs(anatomy, &mut random),
            coarse: noise(10, [22.0, 20.0, 28.0]),
            fine: noise(11, [3.0, 2.6, 3.4]),
            fibres: noise(12, [4.0, 2.4, 16.0]),
            septa: noise(13, [14.0, 9.0, 5.0]),
            strands: noise(15, [5.0, 6.0, 3.6]),
            wobble: noise(14, [14.0, 11.0, 13.0]),
            liver_z: random.range(52.0, 95.0),
            fascia_tone: random.range(0.1, 0.2),
        }
    }

    /// Paints a plane with everything but the spine.
    pub(super) fn paint(&self, plane: super::canvas::Plane) -> Canvas {
        let mut canvas = Canvas::new(plane, |p| self.signal(p));
        for organ in &self.organs {
            let reach = organ.radius.iter().fold(0.0_f64, |a, &b| a.max(b)) * 1.3;
            canvas.within(organ.centre, reach, |p, below| self.organ_signal(organ, p, below));
        }
        canvas
    }

    /// Returns the sensitivity of the spine coil at a point: strongest under the skin of the back.
    pub(super) fn coil(&self, p: Vec3) -> f64 {
        let depth = (self.anatomy.back_skin.at(p[2]) - p[1]).max(0.0);
        let end = ((p[2] + 15.0) / 185.0).clamp(-1.2, 1.2);
        let end2 = end * end;
        let near = self.anatomy.coil_gain * exp(-depth / self.anatomy.coil_reach_mm);
        (0.42 + near) * (1.0 - 0.35 * end2 * end2)
    }

    fn signal(&self, p: Vec3) -> f64 {
        let anatomy = self.anatomy;
        let round = p[0] * p[0] / 400.0;
        let behind = anatomy.back_skin.at(p[2]) - round * 0.35 - p[1];
        let before = p[1] - anatomy.belly_skin.at(p[2]) - round * 0.5;
        let inside = cover(-behind.min(before));
        if inside <= 0.0 {
            return 0.0;
        }
        let tissue = if p[1] > anatomy.canal.at(p[2]) {
            self.back(p, behind)
        } else if p[1] > anatomy.front.at(p[2]) + p[0] * p[0] / 150.0 {
            self.beside_the_spine(p)
        } else {
            self.abdomen(p, before)
        };
        let skin = cover(behind.min(before) - 1.8);
        inside * mix(tissue, SKIN, skin)
    }

    fn back(&self, p: Vec3, behind: f64) -> f64 {
        let fat_mm = self.anatomy.back_fat.at(p[2]) + 1.2 * self.wobble.at(p);
        if behind < fat_mm - 2.0 {
            let fat = FAT * (1.0 + 0.05 * self.coarse.at(p));
            let warped = [p[0], p[1], p[2] + 3.0 * self.wobble.at(p) + 0.3 * p[1]];
            let line = smooth_step(0.8, 1.0, 1.0 - self.septa.at(warped).abs());
            return fat * (1.0 - 0.2 * line);
        }
        let fat = cover(behind - fat_mm);
        let fascia = cover((behind - fat_mm - 0.8).abs() - 0.7);
        let fibre = self.fibres.at(p);
        let streak = smooth_step(0.45, 0.85, fibre) * 0.45;
        let muscle = self.anatomy.muscle * (1.0 + 0.15 * self.fine.at(p)) + streak;
        // In the midline ligaments and fat fill the room between the spinous processes.
        let midline = smooth_step(9.0, 4.0, p[0].abs() + 2.0 * self.wobble.at(p));
        let mottled =
            (0.44 + 0.2 * self.strands.at(p) + 0.2 * self.coarse.at([p[0], 3.0 * p[1], 4.0 * p[2] + p[1]])).max(0.1);
        mix(mix(mix(muscle, mottled, midline), FAT, fat), self.fascia_tone, fascia)
    }

    /// Psoas, vessels and fat at the height of the bodies, left and right of them.
    fn beside_the_spine(&self, p: Vec3) -> f64 {
        let psoas = self.anatomy.muscle * (1.05 + 0.2 * self.fibres.at(p));
        let fat = 0.75 + 0.12 * self.coarse.at(p);
        let below = smooth_step(-75.0, -110.0, p[2]).max(smooth_step(48.0, 58.0, p[0].abs()));
        mix(psoas, fat, below.max(smooth_step(0.35, 0.7, self.wobble.at(p))))
    }

    fn abdomen(&self, p: Vec3, before: f64) -> f64 {
        let anatomy = self.anatomy;
        let fat_mm = anatomy.belly_fat_mm + 2.0 * self.wobble.at([0.0, p[1], p[2]]);
        let wall_mm = 8.0 + 2.0 * self.wobble.at([p[0], 0.0, p[2]]);
        let (outer, inner) = (cover(before - fat_mm), cover(before - fat_mm - wall_mm));
        let wall = anatomy.muscle * (1.0 + 0.15 * self.fibres.at(p));
        let shell = mix(wall, FAT * (0.95 + 0.05 * self.coarse.at(p)), outer);
        if inner >= 1.0 {
            return shell;
        }
        let lobules =
            0.2 * self.coarse.at(p) + 0.14 * self.wobble.at(p) + 0.07 * self.strands.at(p) + 0.03 * self.fine.at(p);
        let fat = 0.66 + lobules;
        let liver = 0.3 + 0.04 * self.wobble.at(p);
        let edge = self.liver_z + 12.0 * self.coarse.at([0.0, p[1], 0.0]) - 0.25 * (p[1] + 60.0);
        let upper = mix(fat, liver, smooth_step(-3.0, 3.0, p[2] - edge));
        mix(self.vessels(p, upper), shell, inner)
    }

    /// Aorta (left), inferior vena cava (right) down to L4, with moving blood: dark.
    fn vessels(&self, p: Vec3, below: f64) -> f64 {
        let anatomy = self.anatomy;
        let end_z = anatomy.vertebrae[7].centre[2];
        let front = anatomy.front.at(p[2]);
        let steep = anatomy.front.steepness(p[2]);
        let tip = (end_z + 4.0 - p[2]).max(0.0) * 0.8;
        let mut value = below;
        for (x, gap, radius, signal) in [(9.0, 9.5, 7.5, FLOWING_BLOOD), (-15.0, 9.0, 8.5, 0.12)] {
            let across = (p[1] - (front - gap)) * steep;
            let side = p[0] - x - 1.5 * self.wobble.at([0.0, 0.0, p[2]]);
            let distance = (across * across + side * side + tip * tip).sqrt() - radius;
            value = mix(value, 0.16, cover(distance - 1.2));
            value = mix(value, signal, cover(distance));
        }
        value
    }

    fn organ_signal(&self, organ: &Organ, p: Vec3, below: f64) -> f64 {
        let ragged = 1.0 + organ.raggedness * self.wobble.at(p);
        let share = |axis: usize| (p[axis] - organ.centre[axis]) / (organ.radius[axis] * ragged);
        let sum: f64 = (0..3).map(|axis| share(axis) * share(axis)).sum();
        let distance = (sum.sqrt() - 1.0) * organ.radius[1].min(organ.radius[2]);
        let content = organ.content * (1.0 + organ.mottling * self.fine.at(p));
        mix(mix(below, organ.wall, cover(distance - 2.0)), content, cover(distance))
    }
}

/// Places bowel loops, bladder and rectum.
fn organs(anatomy: &Anatomy, random: &mut Random) -> Vec<Organ> {
    let mut organs = Vec::new();
    for _ in 0..24 {
        let z = random.range(-115.0, 105.0);
        let y = mix(
            anatomy.belly_skin.at(z) + anatomy.belly_fat_mm + 24.0,
            anatomy.front.at(z) - 30.0,
            random.range(0.0, 1.0),
        );
        let size = random.range(5.0, 11.0);
        let gas = random.chance(0.35);
        organs.push(Organ {
            centre: [random.range(-35.0, 35.0), y, z],
            radius: [size * 1.4, size * random.range(0.8, 1.6), size * random.range(0.7, 1.5)],
            content: if gas { GAS } else { random.range(0.22, 0.5) },
            wall: random.range(0.3, 0.5),
            raggedness: 0.3,
            mottling: if gas { 0.0 } else { 0.3 },
        });
    }
    let s1 = &anatomy.vertebrae[super::anatomy::S1];
    let bladder_size = random.range(17.0, 30.0);
    organs.push(Organ {
        centre: [0.0, s1.centre[1] - 62.0, s1.centre[2] - 62.0],
        radius: [32.0, bladder_size * 1.2, bladder_size * 0.8],
        content: random.range(1.0, 1.5),
        wall: 0.2,
        raggedness: 0.06,
        mottling: 0.0,
    });
    for (step, back) in [(-22.0, -38.0), (-46.0, -24.0), (-70.0, -18.0)] {
        let gas = random.chance(0.6);
        let s3 = &anatomy.vertebrae[super::anatomy::S1 + 2];
        organs.push(Organ {
            centre: [random.range(-8.0, 8.0), s3.centre[1] + back - 6.0, s1.centre[2] + step - 14.0],
            radius: [15.0, random.range(7.0, 12.0), random.range(8.0, 14.0)],
            content: if gas { GAS } else { 0.35 },
            wall: 0.42,
            raggedness: 0.2,
            mottling: 0.4,
        });
    }
    organs
}
