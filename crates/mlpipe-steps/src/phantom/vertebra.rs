//! The shape of one vertebra: its body as a signed distance, and the bones behind it.
//!
//! Local coordinates: `x` to the left, `s` to the back and `t` to the feet, both tilted with the vertebra, from the body's
//! centre, mm.

use super::arithmetic::Vec3;

/// Radius of the rounded corners of a body, mm.
const CORNER_MM: f64 = 2.4;

/// One vertebra.
#[derive(Debug, Clone)]
pub(super) struct Vertebra {
    pub(super) name: &'static str,
    pub(super) centre: Vec3,
    /// Sine and cosine of the tilt: of the axis towards the feet, towards the back.
    pub(super) tilt: (f64, f64),
    pub(super) height: f64,
    pub(super) depth_top: f64,
    pub(super) depth_bottom: f64,
    pub(super) half_width: f64,
    /// By how much the front is higher than the middle, and the back lower.
    pub(super) wedge: f64,
    /// How far the endplates sink in.
    pub(super) concavity: f64,
    /// By which share the body is narrower at half height.
    pub(super) waist: f64,
    /// Signal relative to the other bodies.
    pub(super) shade: f64,
    pub(super) sacral: bool,
    pub(super) lumbar: bool,
}

impl Vertebra {
    /// Returns the local coordinates `[x, s, t]` of a point.
    pub(super) fn local(&self, p: Vec3) -> Vec3 {
        let (sine, cosine) = self.tilt;
        let (dy, dz) = (p[1] - self.centre[1], p[2] - self.centre[2]);
        [p[0] - self.centre[0], dy * cosine + dz * sine, dy * sine - dz * cosine]
    }

    /// Returns the point with the given local coordinates.
    pub(super) fn point(&self, x: f64, s: f64, t: f64) -> Vec3 {
        let (sine, cosine) = self.tilt;
        [self.centre[0] + x, self.centre[1] + s * cosine + t * sine, self.centre[2] + s * sine - t * cosine]
    }

    /// Returns the depth from front to back at local `t`.
    pub(super) fn depth_at(&self, t: f64) -> f64 {
        let share = (t / self.height + 0.5).clamp(0.0, 1.0);
        self.depth_top + (self.depth_bottom - self.depth_top) * share
    }

    /// Returns half the height of the body at local `s`: the distance of either endplate from the middle.
    pub(super) fn half_height_at(&self, s: f64) -> f64 {
        let share = (2.0 * s / self.depth_at(0.0)).clamp(-1.0, 1.0);
        self.height / 2.0 - self.wedge * share - self.concavity * (1.0 - share * share)
    }

    /// Returns the radius of a sphere around the centre that holds the body.
    pub(super) fn reach(&self) -> f64 {
        let depth = self.depth_top.max(self.depth_bottom) / 2.0;
        let height = self.height / 2.0 + 2.0;
        (depth * depth + height * height + self.half_width * self.half_width).sqrt()
    }

    /// Returns the distance of a point (local coordinates) from the surface of the body in its sagittal plane: negative
    /// inside.
    pub(super) fn distance(&self, [x, s, t]: Vec3) -> f64 {
        let level = (2.0 * t / self.height).clamp(-1.0, 1.0);
        let narrowing = 1.0 - self.waist * (1.0 - level * level);
        let k = x.abs() / (self.half_width * narrowing);
        if k >= 1.0 {
            // Beyond every rim that is painted around a body.
            return (k - 1.0) * self.half_width + 3.0;
        }
        // An axial section is round in front and flat behind.
        let half_depth = self.depth_at(t) / 2.0 * narrowing;
        let front = half_depth * (1.0 - k * k * k).sqrt();
        let k2 = k * k;
        let back = half_depth * (1.0 - k2 * k2 * k2).sqrt();
        let along = (-front - s).max(s - back) + CORNER_MM;
        let up = t.abs() - self.half_height_at(s) + CORNER_MM;
        let (outside_along, outside_up) = (along.max(0.0), up.max(0.0));
        let corner = (outside_along * outside_along + outside_up * outside_up).sqrt();
        corner + along.max(up).min(0.0) - CORNER_MM
    }

    /// Returns how much of the full canal lies behind this vertebra: it narrows in the sacrum.
    pub(super) fn canal_share(&self) -> f64 {
        match self.name {
            "S1" => 0.8,
            "S2" => 0.55,
            "S3" => 0.35,
            name if name.starts_with('S') || name.starts_with('C') => 0.2,
            _ => 1.0,
        }
    }

    /// Returns how far the bone behind the canal reaches back in the midline.
    pub(super) fn spinous_length(&self) -> f64 {
        match (self.sacral, self.lumbar) {
            (true, _) if self.name == "S1" => 11.0,
            (true, _) => 5.5,
            (_, true) if self.name == "L5" => 20.0,
            (_, true) => 27.0,
            _ => 24.0,
        }
    }

    /// Returns the distance from the spinous process; `start` is the `s` at which it begins.
    pub(super) fn spinous_distance(&self, [x, s, t]: Vec3, start: f64) -> f64 {
        let length = self.spinous_length();
        let along = s - start;
        let (slope, low, half_height) = match (self.sacral, self.lumbar) {
            (true, _) => (0.1, 0.0, self.height * 0.3),
            (_, true) => (0.18, 9.0, if self.name == "L5" { 6.5 } else { 8.5 + 0.09 * along }),
            _ => (0.75, 8.0, 5.0),
        };
        let across = (t - low - slope * along).abs() / (1.0 + slope * slope).sqrt();
        let round = 3.0;
        let (outside_along, outside_across) =
            (((along - length).max(-along) + round).max(0.0), (across - half_height + round).max(0.0));
        let corner = (outside_along * outside_along + outside_across * outside_across).sqrt();
        (corner - round).max(x.abs() - 3.6)
    }

    /// Returns the distance from the pedicle of either side: an oval bar from the upper half of the body to the joints.
    pub(super) fn pedicle_distance(&self, [x, s, t]: Vec3) -> f64 {
        let half = self.depth_at(0.0) / 2.0;
        let lateral = (x.abs() - self.half_width * 0.66) / 4.6;
        let up = (t + self.height * 0.22) / (self.height * 0.25);
        let round = ((lateral * lateral + up * up).sqrt() - 1.0) * 4.6;
        round.max(s - half - 22.0).max(half * 0.4 - s)
    }

    /// Returns the distance from the lamina and articular processes of either side: a slanting column behind the canal,
    /// thick at the joints, thin between them.
    pub(super) fn articular_distance(&self, [x, s, t]: Vec3, start: f64) -> f64 {
        let lateral = x.abs() - if self.lumbar { 13.5 } else { 11.5 };
        let at_joint = (t - self.height * 0.55).abs();
        let thickness = 7.2 - 3.0 * (1.0 - (at_joint / 12.0).min(1.0));
        let across = (s - start - 1.0 - 0.12 * t).abs() - thickness;
        let along = (t - 6.0).abs() - self.height * 0.66;
        across.max(along).max(lateral.abs() - 7.5)
    }
}
