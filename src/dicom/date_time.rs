//! Values of VR DT (PS3.5 section 6.2) as moments of UTC, and ranges of them (PS3.4 section C.2.2.2.5).
//!
//! What a value leaves out may be anything, so that even a single one is a period. One that does not say its offset from UTC is taken for
//! UTC. A hyphen and four digits up to `1400` at the end of a value are its offset; every other hyphen stands between two values.

/// The latest offset from UTC that there is, in hours.
const LATEST_OFFSET: i64 = 14;
/// Microseconds of a second.
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The first day of 1970, counted from the beginning of the Julian period.
const JULIAN_DAY_OF_1970: i64 = 2_440_588;

/// From the first to the last moment, both included, in microseconds since 1970 in UTC; without a bound where there is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first moment.
    pub from: Option<i64>,
    /// The last moment.
    pub to: Option<i64>,
}

impl Period {
    /// What one value may mean; `None` for what is none.
    #[must_use]
    pub fn of(value: &str) -> Option<Self> {
        let (first, last, rest) = one(value.trim())?;
        rest.is_empty().then_some(Self {
            from: Some(first),
            to: Some(last),
        })
    }

    /// What a key asks for: one value, or two with a hyphen between them, of which one may be missing. `None` for what is neither.
    #[must_use]
    pub fn of_range(key: &str) -> Option<Self> {
        let key = key.trim();
        if let Some(to) = key.strip_prefix('-') {
            let Self { to, .. } = Self::of(to)?;
            return Some(Self { from: None, to });
        }
        let (first, last, rest) = one(key)?;
        let to = match rest.strip_prefix('-') {
            None if rest.is_empty() => Some(last),
            None => return None,
            Some(to) if to.trim().is_empty() => None,
            Some(to) => Self::of(to)?.to,
        };
        Some(Self {
            from: Some(first),
            to,
        })
    }

    /// Whether a moment is in both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let before = |from: Option<i64>, to: Option<i64>| from.zip(to).is_none_or(|(from, to)| from <= to);
        before(self.from, other.to) && before(other.from, self.to)
    }
}

/// The first and the last moment of the value that a text begins with, and what comes after it.
fn one(text: &str) -> Option<(i64, i64, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let part = |at: usize| whole.get(at..at + 2).map(|part| part.parse::<i64>().ok());
    // what is not there is the first of its kind
    let within = |at: usize, first: i64, most: i64| match part(at) {
        None => Some(first),
        Some(number) => number.filter(|number| (first..=most).contains(number)),
    };
    let year: i64 = whole.get(..4)?.parse().ok()?;
    let (month, day) = (within(4, 1, 12)?, within(6, 1, 31)?);
    let time = within(8, 0, 23)? * HOUR + within(10, 0, 59)? * MINUTE;
    // 60 is a leap second
    let time = time + within(12, 0, 60)? * SECOND;
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) if whole.len() == 14 => rest.split_at(digits(rest)),
        Some(_) => return None,
        None => ("", rest),
    };
    let precision = match whole.len() {
        14 if rest.len() != text.len() - 14 && !(1..=6).contains(&fraction.len()) => return None,
        14 => SECOND / 10_i64.pow(fraction.len() as u32),
        12 => MINUTE,
        10 => HOUR,
        8 => DAY,
        6 => days(year, month + 1, 1) * DAY - days(year, month, 1) * DAY,
        4 => days(year + 1, 1, 1) * DAY - days(year, 1, 1) * DAY,
        _ => return None,
    };
    let fraction = format!("{fraction:0<6}").parse::<i64>().ok()?;
    let (offset, rest) = offset(rest)?;
    let first = days(year, month, day) * DAY + time + fraction - offset;
    Some((first, first + precision - 1, rest))
}

/// The offset from UTC that a text begins with, in microseconds, and what comes after it; `None` for one that there is not.
fn offset(text: &str) -> Option<(i64, &str)> {
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some((0, text)),
    };
    let number = |at: usize| {
        text.get(at..at + 2)
            .filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let parts = number(1).zip(number(3));
    let ends = text.len() == 5 || text.as_bytes().get(5) == Some(&b'-');
    let parts =
        parts.and_then(|(hours, minutes)| Some((hours.parse::<i64>().ok()?, minutes.parse::<i64>().ok()?)));
    match parts {
        Some((hours, minutes)) if ends && hours <= LATEST_OFFSET && minutes < 60 => {
            Some((sign * (hours * HOUR + minutes * MINUTE), text.get(5..)?))
        }
        // a range, whose second value begins here
        _ if sign < 0 => Some((0, text)),
        _ => None,
    }
}

/// Days since 1970 of a day of the Gregorian calendar; month 13 is the first of the next year (Fliegel and van Flandern, CACM 11 (10),
/// 1968).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 12 { (year + 1, 1) } else { (year, month) };
    let late = (month - 14) / 12;
    let julian = 1461 * (year + 4800 + late) / 4 + 367 * (month - 2 - 12 * late) / 12
        - 3 * ((year + 4900 + late) / 100) / 4
        + day
        - 32_075;
    julian - JULIAN_DAY_OF_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since 1970 as `date --utc --date=... +%s` of GNU coreutils 9 gives them.
    #[test]
    fn a_value_is_what_it_may_mean_in_utc() {
        for (value, first, seconds) in [
            ("20240115120000", 1_705_320_000, 1),
            ("20240115120000-0500", 1_705_338_000, 1),
            ("20240115120000+0530", 1_705_300_200, 1),
            ("202401151200", 1_705_320_000, 60),
            ("2024011512", 1_705_320_000, 3600),
            ("20240229", 1_709_164_800, 86_400),
            ("202402", 1_706_745_600, 29 * 86_400),
            ("202412", 1_733_011_200, 31 * 86_400),
            ("2023", 1_672_531_200, 365 * 86_400),
            ("19691231", -86_400, 86_400),
        ] {
            let (from, to) = (first * SECOND, (first + seconds) * SECOND - 1);
            let period = Period {
                from: Some(from),
                to: Some(to),
            };
            assert_eq!(Period::of(value), Some(period), "{value}");
            assert_eq!(Period::of_range(value), Some(period), "{value}");
        }
        let tenth = Period::of("20240115120000.5+0000").unwrap();
        let from = 1_705_320_000 * SECOND + SECOND / 2;
        assert_eq!((tenth.from, tenth.to), (Some(from), Some(from + SECOND / 10 - 1)));
    }

    #[test]
    fn a_range_is_told_from_an_offset() {
        let of = |value: &str| Period::of(value).unwrap();
        for (range, from, to) in [
            ("20240101-20240131", Some("20240101"), Some("20240131")),
            ("2023-2024", Some("2023"), Some("2024")),
            (
                "20240101120000-0500-20240102120000-0500",
                Some("20240101120000-0500"),
                Some("20240102120000-0500"),
            ),
            ("20240101120000-0500-", Some("20240101120000-0500"), None),
            ("-20240101120000-0500", None, Some("20240101120000-0500")),
            ("20240101-", Some("20240101"), None),
        ] {
            let wanted = Period {
                from: from.and_then(|from| of(from).from),
                to: to.and_then(|to| of(to).to),
            };
            assert_eq!(Period::of_range(range), Some(wanted), "{range}");
        }
        for wrong in [
            "",
            "-",
            "--",
            "202",
            "20241",
            "20241301",
            "20240132",
            "2024010125",
            "20240101120000.",
            "2024.5",
            "20240101+1500",
            "20240101+05",
            "20240101-20240102-",
            "x",
            "2024-x",
            "é",
            "20240101é",
        ] {
            assert_eq!(Period::of_range(wrong), None, "{wrong}");
        }
    }
}
