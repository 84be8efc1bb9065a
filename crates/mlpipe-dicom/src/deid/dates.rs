//! Dates moved by whole days: DA, DT and TM as DICOM PS3.5 6.2 writes them. What is not a full, possible date (a range,
//! a year alone, the 30th of February, old notations) has no answer here, and the attribute is then removed as the profile says.

use dicom_core::VR;

/// Returns a value with every date in it moved back; none when one of them cannot be moved. Times stay.
pub(super) fn moved_back(vr: VR, value: &[u8], days: i64) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_matches(['\0', ' ']);
    let moved: Option<Vec<String>> = text.split('\\').map(|one| one_moved_back(vr, one.trim(), days)).collect();
    moved.map(|values| values.join("\\"))
}

fn one_moved_back(vr: VR, value: &str, days: i64) -> Option<String> {
    match vr {
        _ if value.is_empty() => Some(String::new()),
        VR::DA => date_moved_back(value, days),
        VR::TM => is_time(value).then(|| value.to_owned()),
        VR::DT => {
            let (date, rest) = value.split_at_checked(8)?;
            is_time_and_offset(rest).then_some(())?;
            Some(date_moved_back(date, days)? + rest)
        }
        _ => None,
    }
}

fn date_moved_back(value: &str, days: i64) -> Option<String> {
    if value.len() != 8 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| value[range].parse::<i64>().ok();
    let date = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (year, month, day) = date_of(day_number(date) - days);
    // The way there and back is only the same for dates that exist.
    (date_of(day_number(date)) == date && date.0 > 0 && year > 0).then(|| format!("{year:04}{month:02}{day:02}"))
}

/// Returns whether a text is `HH`, `HHMM`, `HHMMSS` or `HHMMSS.F` with up to six digits of a second.
fn is_time(text: &str) -> bool {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) if clock.len() == 6 => (clock, Some(fraction)),
        Some(_) => return false,
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // 60 is a leap second.
    let within =
        |at: usize, most: u8| clock.get(at..at + 2).is_none_or(|two| two.parse::<u8>().is_ok_and(|n| n <= most));
    matches!(clock.len(), 2 | 4 | 6)
        && digits(clock)
        && fraction.is_none_or(|fraction| matches!(fraction.len(), 1..=6) && digits(fraction))
        && within(0, 23)
        && within(2, 59)
        && within(4, 60)
}

/// Returns whether a text is what may follow the date of a DT: nothing, a time, an offset from UTC, or both.
fn is_time_and_offset(text: &str) -> bool {
    let (time, offset) = match text.find(['+', '-']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    (time.is_empty() || is_time(time)) && offset.is_none_or(|offset| offset.len() == 4 && is_time(offset))
}

/// Days since 1 March of year 0 in the proleptic Gregorian calendar, counted in years that begin in March so that the
/// leap day is the last.
fn day_number((year, month, day): (i64, i64, i64)) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1
}

fn date_of(number: i64) -> (i64, i64, i64) {
    let mut year = (number * 400).div_euclid(146_097);
    if day_number((year + 1, 3, 1)) <= number {
        year += 1;
    }
    let of_year = number - day_number((year, 3, 1));
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(vr: VR, value: &str, days: i64) -> Option<String> {
        moved_back(vr, value.as_bytes(), days)
    }

    #[test]
    fn dates_move_over_months_and_leap_years() {
        for (value, days, expected) in [
            ("20240301", 1, "20240229"),
            ("20230301", 1, "20230228"),
            ("20000301", 1, "20000229"),
            ("19000301", 1, "19000228"),
            ("20200101", 1, "20191231"),
            ("20200101 ", 3650, "20100103"),
            ("20200102\\20200101", 1, "20200101\\20191231"),
            ("", 5, ""),
        ] {
            assert_eq!(moved(VR::DA, value, days).as_deref(), Some(expected), "{value} - {days}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_comes_back() {
        let first = day_number((1600, 1, 1));
        for number in first..first + 800 * 366 {
            assert_eq!(day_number(date_of(number)), number);
        }
    }

    #[test]
    fn times_stay_and_offsets_too() {
        assert_eq!(moved(VR::TM, "235959.123456", 9).as_deref(), Some("235959.123456"));
        assert_eq!(moved(VR::DT, "20240301120000.5+0100", 1).as_deref(), Some("20240229120000.5+0100"));
        assert_eq!(moved(VR::DT, "20240301-0500", 1).as_deref(), Some("20240229-0500"));
        assert_eq!(moved(VR::DT, "2024030112", 1).as_deref(), Some("2024022912"));
    }

    #[test]
    fn what_is_no_full_date_has_no_answer() {
        for value in
            ["20230229", "20231301", "2023", "202301", "2023.01.01", "20230101-20230201", "SMITH^AN", "00000000"]
        {
            assert_eq!(moved(VR::DA, value, 1), None, "{value}");
        }
        for value in ["2023", "20230101-20230202", "20230101SMITH", "2023010199", "20230101120000.1234567", "2023010é"]
        {
            assert_eq!(moved(VR::DT, value, 1), None, "{value}");
        }
        for value in ["12:00:00", "1", "25", "1200-1300", "JONES", "1200.5"] {
            assert_eq!(moved(VR::TM, value, 1), None, "{value}");
        }
        assert_eq!(moved(VR::DA, "00010101", 1), None, "before the first year");
    }
}
