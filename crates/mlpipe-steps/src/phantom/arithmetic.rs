//! Arithmetic whose results are the same on every platform: sine, cosine, exponential, random numbers and lattice noise
//! from IEEE additions, multiplications, divisions and square roots alone.
//!
//! The C library's `sin` or `exp`, and `powi`, may differ in the last bit between platforms, and one bit is enough to
//! change a rounded pixel.

/// Point or direction `[x, y, z]`, mm.
pub(super) type Vec3 = [f64; 3];

pub(super) fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(super) fn subtract(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn scale(a: Vec3, factor: f64) -> Vec3 {
    [a[0] * factor, a[1] * factor, a[2] * factor]
}

pub(super) fn dot(a: Vec3, b: Vec3) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Sine and cosine of an angle in degrees, by Taylor series: exact to 1e-12 within ±120 degrees.
pub(super) fn sin_cos_deg(angle_deg: f64) -> (f64, f64) {
    let x = angle_deg * std::f64::consts::PI / 180.0;
    let (mut sine, mut cosine, mut term) = (0.0, 0.0, 1.0);
    for order in 0..28 {
        let sign = if order % 4 < 2 { 1.0 } else { -1.0 };
        if order % 2 == 0 {
            cosine += sign * term;
        } else {
            sine += sign * term;
        }
        term *= x / f64::from(order + 1);
    }
    (sine, cosine)
}

/// `e` to the power of `x`, for `x` of -8 to 3, to 1e-9 of its value.
pub(super) fn exp(x: f64) -> f64 {
    let small = x / 1024.0;
    let mut value = 1.0 + small * (1.0 + small / 2.0 * (1.0 + small / 3.0 * (1.0 + small / 4.0)));
    for _ in 0..10 {
        value *= value;
    }
    value
}

/// Smooth step from 0 at `low` to 1 at `high`.
pub(super) fn smooth_step(low: f64, high: f64, x: f64) -> f64 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Mixes `a` (at 0) with `b` (at 1).
pub(super) fn mix(a: f64, b: f64, share: f64) -> f64 {
    a + (b - a) * share
}

/// The output function of splitmix64 (Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195).
fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in 0..1 from the upper 53 bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Random numbers: splitmix64.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// Returns an independent stream for each seed and purpose.
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        Random(
            scramble(seed.wrapping_add(0x632b_e59b_d9b4_e019)) ^ scramble(purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        )
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// Returns a number in `low..high`.
    pub(super) fn range(&mut self, low: f64, high: f64) -> f64 {
        mix(low, high, unit(self.next()))
    }

    /// Returns true with the given probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.range(0.0, 1.0) < probability
    }

    /// Returns an index below `count`.
    pub(super) fn index(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    /// Returns a nearly normal number (mean 0, deviation 1): the sum of four uniform ones, which needs no logarithm.
    pub(super) fn normal(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| unit(self.next())).sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }
}

/// Noise that is smooth over `scale_mm`: random values at the corners of a lattice, interpolated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    seed: u64,
    scale_mm: Vec3,
}

impl Noise {
    pub(super) fn new(seed: u64, purpose: u64, scale_mm: Vec3) -> Self {
        Noise { seed: scramble(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93)), scale_mm }
    }

    /// Returns a value in -1..1.
    pub(super) fn at(&self, p: Vec3) -> f64 {
        // Turned a little against the axes of the body, so that no row of pixels runs along the lattice.
        let (x, y) = (0.8 * p[0] + 0.6 * p[1], 0.8 * p[1] - 0.6 * p[0]);
        let p = [x, 0.96 * y - 0.28 * p[2], 0.96 * p[2] + 0.28 * y];
        let mut cell = [0_i64; 3];
        let mut share = [0.0; 3];
        for axis in 0..3 {
            let x = p[axis] / self.scale_mm[axis];
            let floor = x.floor();
            cell[axis] = floor as i64;
            let t = x - floor;
            share[axis] = t * t * (3.0 - 2.0 * t);
        }
        let plane = |i: i64| {
            let line = |j: i64| mix(self.corner(cell, [i, j, 0]), self.corner(cell, [i, j, 1]), share[2]);
            mix(line(0), line(1), share[1])
        };
        mix(plane(0), plane(1), share[0])
    }

    fn corner(&self, cell: [i64; 3], step: [i64; 3]) -> f64 {
        let mut key = self.seed;
        for axis in 0..3 {
            key = (key ^ (cell[axis] + step[axis]) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            key ^= key >> 29;
        }
        2.0 * unit(scramble(key)) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_agree_with_the_standard_library() {
        for angle_deg in [-90.0, -33.0, 0.0, 4.5, 60.0, 90.0_f64] {
            let (sine, cosine) = sin_cos_deg(angle_deg);
            assert!((sine - angle_deg.to_radians().sin()).abs() < 1e-12);
            assert!((cosine - angle_deg.to_radians().cos()).abs() < 1e-12);
        }
        for x in [-8.0, -1.0, 0.0, 1.5_f64] {
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn random_numbers_are_the_published_splitmix64() {
        let mut random = Random(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn normal_numbers_have_deviation_one() {
        let mut random = Random::new(1, 2);
        let numbers: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let variance = numbers.iter().map(|n| n * n).sum::<f64>() / 20_000.0;
        assert!((variance - 1.0).abs() < 0.03, "variance {variance}");
    }
}
