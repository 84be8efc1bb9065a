//! The spine itself: bones, discs, canal with cord and nerve roots, and nodes, painted over the surroundings.
//!
//! Signals are relative to fat, as on a T2-weighted turbo spin echo image.

use super::anatomy::{Anatomy, Disc};
use super::arithmetic::{Noise, Vec3, mix, smooth_step};
use super::canvas::{Canvas, cover};
use super::node::Node;
use super::vertebra::Vertebra;

const CORTICAL_BONE: f64 = 0.06;
const LIGAMENT: f64 = 0.1;
const ANNULUS: f64 = 0.12;
const CORD: f64 = 0.52;
const EPIDURAL_FAT: f64 = 0.95;

/// Paints the spine of one body.
#[derive(Debug, Clone)]
pub(super) struct Spine<'a> {
    anatomy: &'a Anatomy,
    trabeculae: Noise,
    marrow: Noise,
    roots: Noise,
    patches: Noise,
}

impl<'a> Spine<'a> {
    pub(super) fn new(anatomy: &'a Anatomy) -> Self {
        let noise = |purpose, scale_mm| Noise::new(anatomy.seed, purpose, scale_mm);
        Spine {
            anatomy,
            trabeculae: noise(20, [2.4, 1.9, 1.9]),
            marrow: noise(21, [8.0, 6.5, 6.5]),
            roots: noise(22, [1.6, 1.6, 1.6]),
            patches: noise(23, [7.0, 6.0, 8.0]),
        }
    }

    /// Paints the whole spine, from back to front of what hides what.
    pub(super) fn paint(&self, canvas: &mut Canvas) {
        let anatomy = self.anatomy;
        self.paint_canal(canvas);
        for vertebra in &anatomy.vertebrae {
            self.paint_arch(vertebra, canvas);
        }
        for vertebra in &anatomy.vertebrae {
            canvas.within(vertebra.centre, vertebra.reach() + 3.0, |p, below| {
                mix(below, LIGAMENT, cover(vertebra.distance(vertebra.local(p)) - 1.1))
            });
        }
        for disc in &anatomy.discs {
            self.paint_disc(disc, canvas);
        }
        for vertebra in &anatomy.vertebrae {
            canvas.within(vertebra.centre, vertebra.reach() + 2.0, |p, below| {
                let local = vertebra.local(p);
                let distance = vertebra.distance(local);
                if distance > 0.5 {
                    below
                } else {
                    mix(below, self.body_signal(vertebra, local, distance, p), cover(distance))
                }
            });
        }
        for node in &anatomy.nodes {
            let body = &anatomy.vertebrae[node.vertebra];
            canvas.within(body.centre, body.reach(), |p, below| self.node_signal(node, body, p, below));
        }
    }

    /// Bone behind the canal: pedicles, joints and laminae, spinous process.
    fn paint_arch(&self, vertebra: &Vertebra, canvas: &mut Canvas) {
        let wall = vertebra.depth_at(0.0) / 2.0 + 2.5 + 2.0 * self.anatomy.canal_radius * vertebra.canal_share();
        let reach = wall + vertebra.spinous_length() + 22.0;
        canvas.within(vertebra.centre, reach, |p, below| {
            let local = vertebra.local(p);
            if local[1] < 0.0 {
                return below;
            }
            let ragged = 1.6 * self.patches.at(p);
            let spinous = vertebra.spinous_distance(local, wall + 1.5) + ragged;
            let mut value = below;
            if !vertebra.sacral {
                value = self.fill_foramen(vertebra, local, wall, value);
                let joint = vertebra.articular_distance(local, wall) + ragged;
                value = self.bone(value, joint, 0.75, p);
                value = self.bone(value, vertebra.pedicle_distance(local) + 0.4 * ragged, 0.95, p);
            }
            self.bone(value, spinous, if vertebra.sacral { 0.9 } else { 0.85 }, p)
        });
    }

    /// Fat with a nerve root between two pedicles.
    fn fill_foramen(&self, vertebra: &Vertebra, [x, s, t]: Vec3, wall: f64, below: f64) -> f64 {
        let half = vertebra.depth_at(0.0) / 2.0;
        let lateral = smooth_step(8.0, 11.0, x.abs()) * smooth_step(22.0, 18.0, x.abs());
        let middle = (s - (half + wall) / 2.0 - 1.0) / ((wall - half) * 0.62);
        let low = (t - vertebra.height * 0.34) / (vertebra.height * 0.42);
        let fat = lateral * smooth_step(1.1, 0.85, (middle * middle + low * low).sqrt());
        let (root_s, root_t) = (s - half - 6.5, t - vertebra.height * 0.16);
        let root = (root_s * root_s + root_t * root_t).sqrt() - 2.7;
        let value = mix(below, EPIDURAL_FAT * 0.92, fat);
        mix(value, 0.33, lateral * cover(root))
    }

    /// Cortical bone around marrow.
    fn bone(&self, below: f64, distance: f64, tone: f64, p: Vec3) -> f64 {
        if distance > 0.5 {
            return below;
        }
        let marrow = self.anatomy.marrow * tone * (1.0 + 0.16 * self.patches.at(p) + 0.07 * self.trabeculae.at(p));
        let inner = cover(distance + 1.3);
        mix(below, mix(CORTICAL_BONE * 1.6, marrow, inner), cover(distance))
    }

    /// The dural sac with fluid, cord and nerve roots, and the fat around it.
    fn paint_canal(&self, canvas: &mut Canvas) {
        let vertebrae = &self.anatomy.vertebrae;
        let middle = vertebrae[6].point(0.0, 20.0, 0.0);
        canvas.within(middle, 260.0, |p, below| self.canal_signal(p, below));
    }

    fn canal_signal(&self, p: Vec3, below: f64) -> f64 {
        let anatomy = self.anatomy;
        let offset = p[1] - anatomy.canal.at(p[2]);
        if offset.abs() > 24.0 || p[0].abs() > 20.0 {
            return below;
        }
        let across = offset * anatomy.canal.steepness(p[2]);
        let sacrum = smooth_step(anatomy.vertebrae[8].centre[2], anatomy.vertebrae[11].centre[2], p[2]);
        let radius = anatomy.canal_radius * mix(1.0, 0.3, sacrum);
        let half_width = 11.0 * mix(1.0, 0.6, sacrum);
        // Fat and ligament fill the bony canal; the sac lies in front and ends at S2.
        let bony = oval(p[0], across, half_width + 2.0, radius + 1.2);
        let lining = if across > 0.0 { EPIDURAL_FAT } else { mix(0.3, EPIDURAL_FAT * 0.9, sacrum) };
        let flavum = cover((bony - 0.2).abs() - 0.7) * smooth_step(0.0, 3.0, across);
        let value = mix(below, mix(lining, LIGAMENT * 2.0, flavum), cover(bony));
        let sac_end = anatomy.vertebrae[10].centre[2];
        let present = smooth_step(-4.0, 4.0, p[2] - sac_end + 14.0);
        let sac = oval(p[0], across + 0.6, half_width, radius - 0.2 - 1.2 * sacrum);
        let value = mix(value, LIGAMENT, present * cover(sac));
        let fluid = self.fluid_signal(p, across, radius);
        mix(value, fluid, present * cover(sac + 0.8))
    }

    fn fluid_signal(&self, p: Vec3, across: f64, radius: f64) -> f64 {
        let anatomy = self.anatomy;
        let above_conus = p[2] - anatomy.conus_z;
        let taper = smooth_step(-16.0, 14.0, above_conus);
        let cord = oval(p[0], across - 0.8, 4.9 * taper, 3.7 * taper);
        // Below the cord the roots lie in the back half of the sac.
        let settled = smooth_step(-0.45 * radius, 0.55 * radius, across) * smooth_step(10.0, -14.0, above_conus);
        let strand = smooth_step(-0.15, 0.5, self.roots.at([p[0], across, p[2] / 30.0]));
        let fluid = anatomy.csf * (1.0 - 0.42 * settled * strand);
        mix(fluid, CORD * (1.0 + 0.05 * self.marrow.at(p)), cover(cord) * smooth_step(0.02, 0.2, taper))
    }

    fn paint_disc(&self, disc: &Disc, canvas: &mut Canvas) {
        let half_depth = disc.depth / 2.0 + 1.0 + 0.8 * disc.degeneration;
        let half_height = disc.height / 2.0;
        let reach = half_depth.max(disc.half_width) + 8.0;
        canvas.within(disc.centre, reach, |p, below| {
            let (sine, cosine) = disc.tilt;
            let (x, dy, dz) = (p[0] - disc.centre[0], p[1] - disc.centre[1], p[2] - disc.centre[2]);
            let (s, t) = (dy * cosine + dz * sine, dy * sine - dz * cosine);
            let k = x.abs() / (disc.half_width * 1.03);
            if k >= 1.0 {
                return below;
            }
            let shrink = (1.0 - k * k * k).sqrt();
            let (u, v) = ((s / (half_depth * shrink)).abs(), (t / half_height).abs());
            let outside = (u - 1.0) * half_depth;
            let bulge = outside.max(t.abs() - half_height - 3.2);
            mix(below, self.disc_signal(disc, u, v, k, p), cover(bulge))
        });
    }

    /// Signal inside a disc; `u`, `v` and `k` run from 0 in the middle to 1 at the edge (depth, height, width).
    fn disc_signal(&self, disc: &Disc, u: f64, v: f64, k: f64, p: Vec3) -> f64 {
        let lens = (u * u + 0.35 * k * k + 0.22 * v * v).sqrt() + 0.08 * self.patches.at(p);
        let core = smooth_step(0.9, 0.5, lens) * smooth_step(1.6, 0.75, v);
        let bright = mix(1.0, 0.2, smooth_step(0.1, 0.9, disc.degeneration)) * self.anatomy.csf * 0.72;
        let cleft = 0.3 * smooth_step(0.32, 0.05, v) * (1.0 - disc.degeneration);
        mix(ANNULUS, bright * (1.0 - cleft) * (1.0 + 0.12 * self.patches.at(p)), core)
    }

    fn body_signal(&self, body: &Vertebra, [x, s, t]: Vec3, distance: f64, p: Vec3) -> f64 {
        let texture = 0.05 * self.trabeculae.at(p) + 0.06 * self.marrow.at(p);
        let mut marrow = self.anatomy.marrow * body.shade * (1.0 + texture);
        if !body.sacral {
            // The basivertebral vein enters in the middle of the back wall.
            let from_back = body.depth_at(t) / 2.0 * (1.0 - body.waist) - s;
            let narrow = 1.9 * smooth_step(14.0, 1.0, from_back) + 0.8 * self.marrow.at(p);
            let vein = smooth_step(6.0, 3.5, x.abs())
                * smooth_step(13.0, 8.0, from_back)
                * smooth_step(1.0, -1.0, t.abs() - narrow);
            marrow = mix(marrow, mix(marrow, 0.95, 0.55), vein);
        }
        // Chemical shift makes the endplate that faces the feet look thicker.
        let plate = if t > 0.0 { 1.5 } else { 1.0 };
        let thickness = if t.abs() > body.height * 0.36 { plate } else { 0.8 };
        mix(CORTICAL_BONE, marrow, cover(distance + thickness))
    }

    fn node_signal(&self, node: &Node, body: &Vertebra, p: Vec3, below: f64) -> f64 {
        let local = body.local(p);
        if node.depth_below_plate(body, local) < -2.0 || body.distance(local) > 2.0 {
            return below;
        }
        let distance = node.distance(body, local);
        let inside_body = cover(body.distance(local) + 0.6);
        let rim = mix(below, CORTICAL_BONE * 1.5, inside_body * cover(distance - node.rim_mm));
        mix(rim, node.signal * (1.0 + 0.1 * self.patches.at(p)), cover(distance))
    }
}

/// Signed distance, roughly, from an oval with the given half axes.
fn oval(x: f64, y: f64, half_width: f64, half_depth: f64) -> f64 {
    if half_width <= 0.1 || half_depth <= 0.1 {
        return 1.0e3;
    }
    let (u, v) = (x / half_width, y / half_depth);
    ((u * u + v * v).sqrt() - 1.0) * half_depth.min(half_width)
}
