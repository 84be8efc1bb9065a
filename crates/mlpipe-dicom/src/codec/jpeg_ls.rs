//! JPEG-LS, lossless and near-lossless, one component (ITU-T T.87). Names are those of the standard.

use super::{FrameHeader, Samples, Segments, frame_header};

/// Order of the run lengths (T.87 A.2.1, step 4).
const J: [u8; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const REGULAR_CONTEXTS: usize = 365;
const MIN_C: i32 = -128;
const MAX_C: i32 = 127;

/// Decodes a stream whose size must be `[rows, columns]`.
pub(super) fn decode(stream: &[u8], size: [usize; 2]) -> Result<Samples, String> {
    let mut frame: Option<FrameHeader> = None;
    let mut preset = None;
    for segment in (Segments { stream, at: 2 }) {
        match segment? {
            (0xF7, payload, _) => frame = Some(frame_header(payload, size)?),
            (0xF8, payload, _) => preset = Some(preset_parameters(payload)?),
            (0xDD, payload, _) if payload.iter().any(|byte| *byte != 0) => {
                return Err("the JPEG-LS stream has restart intervals, which are not supported".into());
            }
            (0xDA, payload, start) => {
                let frame = frame.ok_or("the JPEG-LS scan comes before its frame header")?;
                let parameters = Parameters::of(frame, payload, preset)?;
                let entropy_coded = stream.get(start..).unwrap_or_default();
                let bits = Scan::new(parameters, entropy_coded).decode(size)?;
                return Ok(Samples { bits, precision: Some(frame.precision.into()), signed: false });
            }
            _ => {}
        }
    }
    Err("the JPEG-LS stream has no scan".into())
}

/// Reads MAXVAL, T1, T2, T3, RESET (T.87 C.2.4.1.1); zero asks for the default.
fn preset_parameters(payload: &[u8]) -> Result<[i32; 5], String> {
    match payload {
        [1, numbers @ ..] if numbers.len() == 10 => {
            Ok(std::array::from_fn(|index| i32::from(u16::from_be_bytes([numbers[2 * index], numbers[2 * index + 1]]))))
        }
        [kind, ..] => Err(format!("the JPEG-LS stream has preset parameters of kind {kind}, which are not supported")),
        [] => Err("the JPEG-LS preset parameters are empty".into()),
    }
}

#[derive(Debug, Clone, Copy)]
struct Parameters {
    max_value: i32,
    near: i32,
    t: [i32; 3],
    reset: i32,
    range: i32,
    qbpp: u32,
    limit: u32,
}

impl Parameters {
    fn of(frame: FrameHeader, scan: &[u8], preset: Option<[i32; 5]>) -> Result<Self, String> {
        let [1, _, 0, near, 0, 0] = *scan else {
            return Err("the JPEG-LS scan header is not that of one component without mapping table".into());
        };
        let precision = frame.precision;
        if !(2..=16).contains(&precision) {
            return Err(format!("the JPEG-LS stream has {precision} bits per sample"));
        }
        let near = i32::from(near);
        let [max_value, t1, t2, t3, reset] = preset.unwrap_or_default();
        let largest = (1 << precision) - 1;
        let max_value = if max_value == 0 { largest } else { max_value };
        if max_value > largest || near > 255.min(max_value / 2) {
            return Err(format!("JPEG-LS parameters MAXVAL {max_value} and NEAR {near} do not fit {precision} bits"));
        }
        let defaults = default_thresholds(max_value, near);
        let or = |value: i32, default: i32| if value == 0 { default } else { value };
        let t = [or(t1, defaults[0]), or(t2, defaults[1]), or(t3, defaults[2])];
        let reset = or(reset, 64);
        if t[0] <= near || t[1] < t[0] || t[2] < t[1] || t[2] > max_value || reset < 3 {
            return Err(format!("JPEG-LS thresholds {t:?} and RESET {reset} are not allowed"));
        }
        let range = (max_value + 2 * near) / (2 * near + 1) + 1;
        let bpp = bits_for(max_value + 1).max(2);
        Ok(Parameters { max_value, near, t, reset, range, qbpp: bits_for(range), limit: 2 * (bpp + bpp.max(8)) })
    }

    /// Returns the region of a gradient (T.87 A.3.3).
    fn region(&self, gradient: i32) -> i32 {
        let [t1, t2, t3] = self.t;
        let size = gradient.abs();
        let level = match size {
            _ if size <= self.near => 0,
            _ if size < t1 => 1,
            _ if size < t2 => 2,
            _ if size < t3 => 3,
            _ => 4,
        };
        level * gradient.signum()
    }

    /// Adds an error to a prediction, modulo RANGE, within 0..=MAXVAL (T.87 A.4.4, A.4.5).
    #[inline]
    fn reconstructed(&self, prediction: i32, error: i32) -> i32 {
        let step = 2 * self.near + 1;
        let mut value = prediction + error * step;
        if value < -self.near {
            value += self.range * step;
        } else if value > self.max_value + self.near {
            value -= self.range * step;
        }
        value.clamp(0, self.max_value)
    }
}

/// T.87 C.2.4.1.1.1.
fn default_thresholds(max_value: i32, near: i32) -> [i32; 3] {
    let clamped = |value: i32, least: i32| if value > max_value || value < least { least } else { value };
    if max_value >= 128 {
        let factor = (max_value.min(4095) + 128) / 256;
        let t1 = clamped(factor + 2 + 3 * near, near + 1);
        let t2 = clamped(factor * 4 + 3 + 5 * near, t1);
        return [t1, t2, clamped(factor * 17 + 4 + 7 * near, t2)];
    }
    let factor = 256 / (max_value + 1);
    let t1 = clamped((3 / factor + 3 * near).max(2), near + 1);
    let t2 = clamped((7 / factor + 5 * near).max(3), t1);
    [t1, t2, clamped((21 / factor + 7 * near).max(4), t2)]
}

/// Returns ceil(log2(count)).
fn bits_for(count: i32) -> u32 {
    i32::BITS - (count - 1).leading_zeros()
}

/// The regions of all gradients in a table: neighbouring gradients differ too much for branches to be guessed.
struct Regions {
    table: Vec<i32>,
    widest: i32,
}

impl Regions {
    fn of(parameters: &Parameters) -> Self {
        let widest = parameters.t[2];
        Regions { table: (-widest..=widest).map(|gradient| parameters.region(gradient)).collect(), widest }
    }

    #[inline]
    fn of_gradient(&self, gradient: i32) -> i32 {
        self.table[(gradient.clamp(-self.widest, self.widest) + self.widest) as usize]
    }
}

/// Why a scan cannot be decoded.
type Fault = &'static str;

#[derive(Debug, Clone, Copy)]
struct Context {
    a: i32,
    b: i32,
    c: i32,
    n: i32,
}

impl Context {
    /// Returns the Golomb parameter: the least k with N 2^k >= sum.
    #[inline]
    fn k(&self, sum: i32) -> Result<u32, Fault> {
        let k = self.n.leading_zeros().saturating_sub(sum.leading_zeros());
        let k = k + u32::from(self.n << k < sum);
        if k <= 16 { Ok(k) } else { Err("the JPEG-LS stream has impossible statistics") }
    }

    /// T.87 A.6.
    #[inline]
    fn update(&mut self, error: i32, near: i32, reset: i32) {
        self.b += error * (2 * near + 1);
        // A damaged stream can ask for more than any image gives.
        self.a = self.a.saturating_add(error.abs());
        if self.n == reset {
            self.a >>= 1;
            self.b >>= 1;
            self.n >>= 1;
        }
        self.n += 1;
        if self.b <= -self.n {
            self.b = (self.b + self.n).max(1 - self.n);
            self.c = (self.c - 1).max(MIN_C);
        } else if self.b > 0 {
            self.b = (self.b - self.n).min(0);
            self.c = (self.c + 1).min(MAX_C);
        }
    }
}

struct Scan<'a> {
    parameters: Parameters,
    regions: Regions,
    bits: Bits<'a>,
    regular: [Context; REGULAR_CONTEXTS],
    /// Contexts of run interruptions by type; `b` counts negative errors there (Nn).
    interruption: [Context; 2],
    run_index: usize,
}

impl<'a> Scan<'a> {
    fn new(parameters: Parameters, entropy_coded: &'a [u8]) -> Self {
        let start = Context { a: ((parameters.range + 32) / 64).max(2), b: 0, c: 0, n: 1 };
        Scan {
            parameters,
            regions: Regions::of(&parameters),
            bits: Bits { bytes: entropy_coded, at: 0, held: 0, count: 0, after_ff: false },
            regular: [start; REGULAR_CONTEXTS],
            interruption: [start; 2],
            run_index: 0,
        }
    }

    fn decode(mut self, [rows, columns]: [usize; 2]) -> Result<Vec<u32>, Fault> {
        // One line more on top and a column on either side hold the values that lie outside the image (T.87 A.2.1).
        let mut samples = Vec::new();
        let mut above = vec![0; columns + 2];
        let mut line = vec![0; columns + 2];
        for _ in 0..rows {
            above[columns + 1] = above[columns];
            line[0] = above[1];
            self.line(&above, &mut line, columns)?;
            samples.extend(line[1..=columns].iter().map(|value| *value as u32));
            std::mem::swap(&mut above, &mut line);
        }
        Ok(samples)
    }

    fn line(&mut self, above: &[i32], line: &mut [i32], columns: usize) -> Result<(), Fault> {
        let mut at = 1;
        let mut second = self.regions.of_gradient(above[1] - above[0]);
        while at <= columns {
            let [ra, rb, rc, rd] = [line[at - 1], above[at], above[at - 1], above[at + 1]];
            let first = self.regions.of_gradient(rd - rb);
            let joined = 81 * first + 9 * second + self.regions.of_gradient(rc - ra);
            if joined == 0 {
                at += self.run(above, &mut line[at - 1..=columns], at)?;
                second = self.regions.of_gradient(above[at.min(columns)] - above[at.min(columns) - 1]);
            } else {
                line[at] = self.regular(joined, [ra, rb, rc])?;
                at += 1;
                // D - B of a sample is B - C of the next one.
                second = first;
            }
        }
        Ok(())
    }

    /// T.87 A.3 to A.6. `joined` numbers the context, its sign is that of the gradients.
    #[inline]
    fn regular(&mut self, joined: i32, [ra, rb, rc]: [i32; 3]) -> Result<i32, Fault> {
        let parameters = self.parameters;
        let sign = if joined < 0 { -1 } else { 1 };
        let context = &mut self.regular[joined.unsigned_abs() as usize];
        let median = (ra + rb - rc).clamp(ra.min(rb), ra.max(rb));
        let prediction = (median + sign * context.c).clamp(0, parameters.max_value);
        let k = context.k(context.a)?;
        let mapped = self.bits.golomb(k, parameters.limit, parameters.qbpp)?;
        let swapped = parameters.near == 0 && k == 0 && 2 * context.b <= -context.n;
        let half = mapped >> 1;
        let error = if (mapped & 1 == 1) == swapped { half } else { -half - 1 };
        context.update(error, parameters.near, parameters.reset);
        Ok(parameters.reconstructed(prediction, sign * error))
    }

    /// Decodes a run and the sample that ends it (T.87 A.7); returns how many samples were filled. `line[0]` is Ra.
    fn run(&mut self, above: &[i32], line: &mut [i32], start: usize) -> Result<usize, Fault> {
        let left = line.len() - 1;
        let ra = line[0];
        let mut length = 0;
        while self.bits.read(1)? == 1 {
            let block = 1 << J[self.run_index];
            if length + block <= left {
                self.run_index = (self.run_index + 1).min(J.len() - 1);
            }
            length = (length + block).min(left);
            if length == left {
                line[1..].fill(ra);
                return Ok(left);
            }
        }
        length += self.bits.read(J[self.run_index].into())? as usize;
        if length >= left {
            return Err("a run of the JPEG-LS stream is longer than its line");
        }
        line[1..=length].fill(ra);
        line[length + 1] = self.interruption(ra, above[start + length])?;
        self.run_index = self.run_index.saturating_sub(1);
        Ok(length + 1)
    }

    /// T.87 A.7.2.
    fn interruption(&mut self, ra: i32, rb: i32) -> Result<i32, Fault> {
        let Parameters { near, reset, limit, qbpp, .. } = self.parameters;
        let kind = i32::from((ra - rb).abs() <= near);
        let mut context = self.interruption[kind as usize];
        let k = context.k(if kind == 1 { context.a + (context.n >> 1) } else { context.a })?;
        let mapped = self.bits.golomb(k, limit - u32::from(J[self.run_index]) - 1, qbpp)?;
        let sum = mapped + kind;
        let odd = sum & 1;
        let size = (sum + odd) / 2;
        let error = if (k != 0 || 2 * context.b >= context.n) == (odd == 1) { -size } else { size };
        context.b += i32::from(error < 0);
        context.a = context.a.saturating_add((mapped + 1 - kind) >> 1);
        if context.n == reset {
            context.a >>= 1;
            context.b >>= 1;
            context.n >>= 1;
        }
        context.n += 1;
        self.interruption[kind as usize] = context;
        let (prediction, sign) = if kind == 1 { (ra, 1) } else { (rb, if ra > rb { -1 } else { 1 }) };
        Ok(self.parameters.reconstructed(prediction, sign * error))
    }
}

/// Bits of the scan, most significant first. After a byte FF the next one has only seven (T.87 A.1).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, at the high end; zeros follow them.
    held: u64,
    count: u32,
    after_ff: bool,
}

impl Bits<'_> {
    /// T.87 A.5.3: limited-length Golomb code.
    #[inline(always)]
    fn golomb(&mut self, k: u32, limit: u32, qbpp: u32) -> Result<i32, Fault> {
        let longest = limit - qbpp - 1;
        self.fill();
        let mut zeros = self.held.leading_zeros();
        if zeros >= self.count {
            self.fill_slowly();
            zeros = self.held.leading_zeros();
        }
        if zeros < longest {
            self.skip(zeros + 1)?;
            return Ok((zeros << k | self.read(k)?) as i32);
        }
        if zeros > longest {
            return Err(if zeros >= self.count { ENDS } else { "a code of the JPEG-LS stream is too long" });
        }
        self.skip(zeros + 1)?;
        Ok(self.read(qbpp)? as i32 + 1)
    }

    #[inline(always)]
    fn read(&mut self, bits: u32) -> Result<u32, Fault> {
        if self.count < bits {
            self.fill();
        }
        // Two shifts: one of 64 would be none.
        let value = (self.held >> 1 >> (63 - bits)) as u32;
        self.skip(bits)?;
        Ok(value)
    }

    #[inline]
    fn skip(&mut self, bits: u32) -> Result<(), Fault> {
        self.count = self.count.checked_sub(bits).ok_or(ENDS)?;
        self.held <<= bits;
        Ok(())
    }

    /// Holds at least 57 bits, or all that are left.
    #[inline]
    fn fill(&mut self) {
        if self.count > 32 {
            return;
        }
        if let Some(four) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>())
            && !self.after_ff
            && !four.contains(&0xFF)
        {
            self.held |= u64::from(u32::from_be_bytes(*four)) << (32 - self.count);
            self.count += 32;
            self.at += 4;
            return;
        }
        self.fill_slowly();
    }

    #[cold]
    fn fill_slowly(&mut self) {
        while self.count <= 56
            && let Some(byte) = self.bytes.get(self.at)
            && !(self.after_ff && *byte >= 0x80)
        {
            let bits = if self.after_ff { 7 } else { 8 };
            self.held |= u64::from(*byte) << (64 - bits - self.count);
            self.count += bits;
            self.after_ff = *byte == 0xFF;
            self.at += 1;
        }
    }
}

const ENDS: Fault = "the JPEG-LS stream ends before its image does";
