//! Printing: data to stdout, everything else to stderr, and how both look.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;

/// Prints one line of data. A reader that has gone away (`| head`) is no error.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints one line for people.
pub(crate) fn error_line(text: &str) {
    error_text(&format!("{text}\n"));
}

/// Prints whole lines for people, each with its end, at once.
pub(crate) fn error_text(lines: &str) {
    let _ = std::io::stderr().lock().write_all(lines.as_bytes());
}

/// Prints a document as indented JSON.
pub(crate) fn json(document: &impl Serialize) {
    line(&serde_json::to_string_pretty(document).expect("our documents have string keys"));
}

/// Tells whether stderr takes colours: a terminal, and NO_COLOR is not set (no-color.org).
pub(crate) fn colours_on_stderr() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns for messages.
pub(crate) fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(110)
}

/// `0.4 s`, `3 min 20 s`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = Duration::from_secs_f64(seconds).as_secs();
    format!("{} min {} s", whole / 60, whole % 60)
}

/// `512 B`, `4.2 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Milliseconds since 1970 as a local date and time.
pub(crate) fn local_time(milliseconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(milliseconds).unwrap_or_default();
    time.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// An item's key for people: long parts (UIDs) are cut to their last digits.
pub(crate) fn short_key(key: &str) -> String {
    key.split('/').map(short_uid).collect::<Vec<_>>().join("/")
}

/// The beginning of a run's id, which every command takes for it.
pub(crate) fn short_run(run_id: &str) -> &str {
    run_id.get(..8).unwrap_or(run_id)
}

/// The end of a UID, which is what differs between neighbours.
pub(crate) fn short_uid(uid: &str) -> String {
    const KEPT: usize = 8;
    let count = uid.chars().count();
    if count <= 20 {
        return uid.to_owned();
    }
    format!("..{}", uid.chars().skip(count - KEPT).collect::<String>())
}

/// Pads columns to equal width; the last column is left ragged.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            if column + 1 == row.len() { cell.clone() } else { format!("{cell:<width$}", width = widths[column]) }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_keep_their_end_and_short_keys_stay() {
        assert_eq!(short_key("1.2.826.0.1.3680043.8.498.12345678/v3"), "..12345678/v3");
        assert_eq!(short_key("case-7"), "case-7");
    }

    #[test]
    fn sizes_have_the_unit_that_keeps_them_short() {
        assert_eq!([bytes(512), bytes(4096), bytes(3 << 30)], ["512 B", "4.0 KiB", "3.0 GiB"]);
    }

    #[test]
    fn durations_read_like_speech() {
        assert_eq!(duration(0.42), "0.4 s");
        assert_eq!(duration(200.0), "3 min 20 s");
    }
}
