//! How much memory what files claim may take. Every claim (Rows, frames, inflated length) is compared with it before
//! anything is allocated.

use std::str::FromStr;

/// Bounds on memory. The default is 1 GiB for one volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that one volume (4 per voxel) or one inflated file may take.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { memory: 1 << 30 }
    }
}

impl Limits {
    /// Most pixels of one compressed frame: decoders take several buffers of 4 bytes per pixel.
    pub(crate) fn compressed_pixels(self) -> u128 {
        u128::from(self.memory / 16)
    }
}

impl FromStr for Limits {
    type Err = String;

    /// Reads a size such as `1GiB`, `512MiB`, `2000000000`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let factor = match text[digits.len()..].trim() {
            "" | "B" => 1_u64,
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            other => return Err(format!("`{other}` is not a unit; use KiB, MiB or GiB, as in 4GiB")),
        };
        let number: u64 = digits.parse().map_err(|_| format!("`{text}` is not a size such as 4GiB"))?;
        match number.checked_mul(factor) {
            Some(memory) if memory > 0 => Ok(Limits { memory }),
            _ => Err(format!("`{text}` is not a possible size")),
        }
    }
}

/// Returns a number of bytes as people write it.
pub(crate) fn size_text(bytes: u128) -> String {
    const UNITS: [(&str, u128); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_unit() {
        let read = |text: &str| text.parse::<Limits>().map(|limits| limits.memory);
        assert_eq!(read("4GiB"), Ok(4 << 30));
        assert_eq!(read("512 MiB"), Ok(512 << 20));
        assert_eq!(read("1000"), Ok(1000));
        for wrong in ["", "GiB", "1TB", "0", "-1", "99999999999999999999GiB"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
