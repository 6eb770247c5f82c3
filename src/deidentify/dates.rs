//! Dates that all move by the same days, so that what lies between them stays.
//!
//! A value that is not whole and valid (PS3.5 section 6.2, VR DA, DT, TM) gives `None`, and is treated as if no option kept
//! it: a year alone cannot move by days, and what only looks like a date may be anything.

use chrono::{Datelike, Days, NaiveDate};

/// A date `YYYYMMDD`, `days` earlier.
pub(super) fn earlier(date: &str, days: u64) -> Option<String> {
    let moved = parse(date)?.checked_sub_days(Days::new(days))?;
    (moved.year() > 0).then(|| format!("{:04}{:02}{:02}", moved.year(), moved.month(), moved.day()))
}

/// A date and time `YYYYMMDD[HH[MM[SS[.F]]]][&ZZXX]`, `days` earlier; the time of day stays.
pub(super) fn earlier_datetime(text: &str, days: u64) -> Option<String> {
    let (date, rest) = (text.get(..8)?, text.get(8..)?);
    is_datetime_rest(rest)
        .then(|| earlier(date, days))?
        .map(|date| date + rest)
}

/// Whether it is a date.
pub(super) fn is_date(text: &str) -> bool {
    parse(text).is_some()
}

/// Whether it is a date and time with at least the day.
pub(super) fn is_datetime(text: &str) -> bool {
    text.get(..8).is_some_and(is_date) && text.get(8..).is_some_and(is_datetime_rest)
}

/// Whether it is a time of day, `HH[MM[SS[.F]]]`.
pub(super) fn is_time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let pairs = |limits: &[u8]| {
        whole.len() == 2 * limits.len()
            && digits(whole)
            && whole
                .as_bytes()
                .chunks_exact(2)
                .zip(limits)
                // a leap second is a second
                .all(|(pair, most)| (pair[0] - b'0') * 10 + (pair[1] - b'0') <= *most)
    };
    let seconds = pairs(&[23, 59, 60]);
    let fraction_fits = (1..=6).contains(&fraction.len()) && digits(fraction);
    if text.contains('.') {
        seconds && fraction_fits
    } else {
        seconds || pairs(&[23, 59]) || pairs(&[23])
    }
}

/// Whether it is an offset from UTC, `+HHMM` or `-HHMM`.
pub(super) fn is_offset(text: &str) -> bool {
    text.strip_prefix(['+', '-'])
        .is_some_and(|number| number.len() == 4 && digits(number))
}

fn parse(date: &str) -> Option<NaiveDate> {
    if date.len() != 8 || !digits(date) {
        return None;
    }
    let number = |from: usize, to: usize| date.get(from..to)?.parse::<u32>().ok();
    let year = number(0, 4)?;
    (year > 0).then(|| NaiveDate::from_ymd_opt(year as i32, number(4, 6)?, number(6, 8)?))?
}

/// What may follow the day of a DT: nothing, a time, an offset from UTC.
fn is_datetime_rest(rest: &str) -> bool {
    let (time, offset) = match rest.find(['+', '-']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    (offset.is_empty() || is_offset(offset)) && (time.is_empty() || is_time(time))
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_move_over_months_years_and_leap_days() {
        assert_eq!(earlier("20200301", 1).as_deref(), Some("20200229"));
        assert_eq!(earlier("20210301", 1).as_deref(), Some("20210228"));
        assert_eq!(earlier("20200101", 365).as_deref(), Some("20190101"));
        assert_eq!(earlier("00010102", 1).as_deref(), Some("00010101"));
        assert_eq!(earlier("00010101", 1), None);
    }

    #[test]
    fn intervals_stay() {
        let number = |date: &str| parse(date).unwrap();
        for days in [1, 59, 1461, 3650] {
            for (one, two) in [("20191231", "20200301"), ("20200228", "20240229")] {
                let moved = |date| number(&earlier(date, days).unwrap());
                assert_eq!(moved(two) - moved(one), number(two) - number(one));
            }
        }
    }

    #[test]
    fn times_of_day_and_offsets_stay() {
        assert_eq!(
            earlier_datetime("20200301235960.123456+0130", 1).as_deref(),
            Some("20200229235960.123456+0130")
        );
        assert_eq!(earlier_datetime("20200301", 1).as_deref(), Some("20200229"));
        assert_eq!(
            earlier_datetime("2020030112-0500", 1).as_deref(),
            Some("2020022912-0500")
        );
    }

    #[test]
    fn what_is_no_whole_date_is_none_and_never_a_panic() {
        for text in [
            "",
            "2020",
            "202002",
            "20200230",
            "2020.02.01",
            "20200201 ",
            "SMITH^JO",
            "0000é010",
            "٠٢٠٢٠٢٠١",
        ] {
            assert_eq!(earlier(text, 1), None, "{text}");
        }
        for text in [
            "2020",
            "20200201SMITH",
            "2020020124",
            "20200201+1",
            "20200201é",
            "20200201.1",
            "20200201+0100X",
        ] {
            assert_eq!(earlier_datetime(text, 1), None, "{text}");
            assert!(!is_datetime(text));
        }
        for text in [
            "",
            "1",
            "123",
            "1260",
            "250000",
            "12.5",
            "120000.",
            "120000.1234567",
            "SMITHJ",
            "é",
        ] {
            assert!(!is_time(text), "{text}");
        }
        for text in ["12", "1259", "125960", "125959.1"] {
            assert!(is_time(text), "{text}");
        }
    }
}
