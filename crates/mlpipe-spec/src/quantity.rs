//! Durations such as `1h30m` and amounts of memory such as `512MiB`.

use std::time::Duration;

const SECONDS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

const BYTES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Returns a duration written as whole numbers with the units d, h, m, s, largest unit first; `None` for anything else
/// and for zero.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = SECONDS.iter();
    while !rest.is_empty() {
        let (count, after) = leading_number(rest)?;
        let (unit, seconds) = units.by_ref().find(|(unit, _)| after.starts_with(unit))?;
        total = total.checked_add(count.checked_mul(*seconds)?)?;
        rest = &after[unit.len()..];
    }
    (total > 0).then(|| Duration::from_secs(total))
}

/// Returns the bytes of an amount of memory: a whole number with a unit from B to TiB; `None` for anything else and
/// for zero.
pub(crate) fn memory_bytes(text: &str) -> Option<u64> {
    let (count, unit) = leading_number(text)?;
    let (_, bytes) = BYTES.iter().find(|(name, _)| *name == unit.trim_start())?;
    count.checked_mul(*bytes).filter(|total| *total > 0)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_units_in_falling_order() {
        let cases = [("90s", Some(90)), ("10m", Some(600)), ("1h30m", Some(5_400)), ("2d", Some(172_800))];
        let refused = ["", "10", "m", "30m1h", "1h1h", "1.5h", "0s", "-1s", "10 m", "99999999999999999999s"];
        for (text, seconds) in cases.into_iter().chain(refused.map(|text| (text, None))) {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn memory_needs_a_number_and_a_unit() {
        let cases = [("1GiB", Some(1 << 30)), ("512MiB", Some(512 << 20)), ("2 GB", Some(2_000_000_000))];
        let refused = ["1", "GiB", "1gib", "1Gi", "0B", "1.5GiB", "99999999TiB"];
        for (text, bytes) in cases.into_iter().chain(refused.map(|text| (text, None))) {
            assert_eq!(memory_bytes(text), bytes, "{text}");
        }
    }
}
