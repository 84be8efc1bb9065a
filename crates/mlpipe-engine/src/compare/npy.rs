//! Compares NumPy arrays (`.npy`, formats 1.0 to 3.0 of NEP 1): shape and type exactly, elements within a tolerance.
//!
//! Booleans, whole numbers and real numbers of every width are read, little and big endian, in C and in Fortran order.

use mlpipe_spec::Tolerance;

use super::tally::{Compared, Difference, Number};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Compares two arrays.
///
/// # Errors
/// A message when one of them is no array whose elements can be compared.
pub(super) fn compare(original: &[u8], rerun: &[u8], tolerance: Tolerance) -> Result<Compared, String> {
    let original = Array::read(original).map_err(|message| format!("the original {message}"))?;
    let rerun = Array::read(rerun).map_err(|message| format!("the rerun {message}"))?;
    let mut compared = Compared::default();
    if original.shape != rerun.shape {
        compared.differ(Difference::values("shape", shape(&original.shape), shape(&rerun.shape)));
        return Ok(compared);
    }
    if (original.kind, original.width) != (rerun.kind, rerun.width) {
        compared.differ(Difference::values("type", original.type_name(), rerun.type_name()));
        return Ok(compared);
    }
    for index in 0..original.count() {
        let at = || shape(&original.place(index));
        compared.numbers(tolerance, original.element(index), rerun.element(index), at);
    }
    Ok(compared)
}

/// An array whose elements are numbered in C order.
struct Array<'b> {
    /// `b` boolean, `i` signed, `u` unsigned, `f` real.
    kind: u8,
    /// Bytes of an element.
    width: usize,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<usize>,
    data: &'b [u8],
}

impl<'b> Array<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, String> {
        let invalid = || "is no .npy file".to_owned();
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(invalid)?;
        let (length, rest) = match rest {
            [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
            [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
            _ => return Err(invalid()),
        };
        let (header, data) = rest.split_at_checked(length).ok_or_else(invalid)?;
        let header = std::str::from_utf8(header).map_err(|_| invalid())?;
        let descr = entry(header, "descr").ok_or_else(invalid)?;
        let descr = descr.strip_prefix(['\'', '"']).and_then(|text| text.split(['\'', '"']).next());
        let (big_endian, kind, width) = descr
            .and_then(element_type)
            .ok_or_else(|| format!("has elements of type {}, which are no numbers", descr.unwrap_or("record")))?;
        let array = Self {
            kind,
            width,
            big_endian,
            fortran_order: entry(header, "fortran_order").ok_or_else(invalid)?.starts_with("True"),
            shape: read_shape(entry(header, "shape").ok_or_else(invalid)?).ok_or_else(invalid)?,
            data,
        };
        let expected = array.shape.iter().try_fold(width, |product, length| product.checked_mul(*length));
        if expected != Some(data.len()) {
            return Err(format!("holds {} bytes of data, not what its shape says", data.len()));
        }
        Ok(array)
    }

    fn count(&self) -> usize {
        self.data.len() / self.width
    }

    fn type_name(&self) -> String {
        format!("{}{}", char::from(self.kind), self.width)
    }

    /// Index in every dimension of element `index`.
    fn place(&self, mut index: usize) -> Vec<usize> {
        let mut place = vec![0; self.shape.len()];
        for (at, length) in place.iter_mut().zip(&self.shape).rev() {
            (*at, index) = (index % length, index / length);
        }
        place
    }

    fn element(&self, index: usize) -> Number {
        let stored = if self.fortran_order {
            let place = self.place(index);
            place.iter().zip(&self.shape).rev().fold(0, |stored, (at, length)| stored * length + at)
        } else {
            index
        };
        let mut bytes = [0; 8];
        bytes[..self.width].copy_from_slice(&self.data[stored * self.width..][..self.width]);
        if self.big_endian {
            bytes[..self.width].reverse();
        }
        let raw = u64::from_le_bytes(bytes);
        match (self.kind, self.width) {
            (b'f', 2) => Number::Real(half(raw as u16)),
            (b'f', 4) => Number::Real(f32::from_bits(raw as u32).into()),
            (b'f', _) => Number::Real(f64::from_bits(raw)),
            (b'i', width) => {
                let unused = 64 - 8 * width as u32;
                Number::Whole((((raw << unused) as i64) >> unused).into())
            }
            _ => Number::Whole(raw.into()),
        }
    }
}

/// What follows `'key':` in the header, a Python dictionary.
fn entry<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let (_, rest) = header.split_once(&format!("'{key}'")).or_else(|| header.split_once(&format!("\"{key}\"")))?;
    rest.trim_start().strip_prefix(':').map(str::trim_start)
}

/// Byte order, kind and width of `<f4` and the like.
fn element_type(descr: &str) -> Option<(bool, u8, usize)> {
    let [order @ (b'<' | b'>' | b'|' | b'='), kind, width @ ..] = descr.as_bytes() else { return None };
    let width: usize = std::str::from_utf8(width).ok()?.parse().ok()?;
    let known = match kind {
        b'b' => width == 1,
        b'i' | b'u' => matches!(width, 1 | 2 | 4 | 8),
        b'f' => matches!(width, 2 | 4 | 8),
        _ => false,
    };
    known.then_some((*order == b'>', *kind, width))
}

fn read_shape(text: &str) -> Option<Vec<usize>> {
    let inside = text.strip_prefix('(')?.split(')').next()?;
    inside.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
}

/// `[3, 0, 7]`
fn shape(lengths: &[usize]) -> String {
    format!("{lengths:?}")
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}
