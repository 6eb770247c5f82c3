//! Dates and times for synthetic headers, from numbers instead of a clock.
//!
//! Invariants: days count from 1970-01-01 in the Gregorian calendar; a birth date and a study date agree with the age in years.

/// 2014-01-01.
const FIRST_STUDY_DAY: i64 = 16_071;
/// Ten years of studies.
const STUDY_DAYS: u64 = 3_652;

/// A day for a study.
pub(super) fn study_day(number: u64) -> i64 {
    FIRST_STUDY_DAY + (number % STUDY_DAYS) as i64
}

/// A birth day that makes somebody `age` on `study_day`.
pub(super) fn birth_day(study_day: i64, age: u8, number: u64) -> i64 {
    let (year, month, day) = civil(study_day);
    // 28 February stands in for the 29th, so that the birthday exists in every year.
    let day = if month == 2 { day.min(28) } else { day };
    days(year - i64::from(age), month, day) - (number % 364) as i64
}

/// `YYYYMMDD`.
pub(super) fn date(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}{month:02}{day:02}")
}

/// `HHMMSS` in working hours; each further image comes half a minute later.
pub(super) fn time(number: u64, image_index: u32) -> String {
    let second = 8 * 3600 + number % (8 * 3600) + u64::from(image_index % 100) * 30;
    format!("{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of a count of days (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The count of days of a date, the inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_ages() {
        assert_eq!(date(0), "19700101");
        assert_eq!(date(FIRST_STUDY_DAY), "20140101");
        for number in 0..4000 {
            let study = study_day(number * 7);
            assert_eq!(
                civil(study),
                civil(days(civil(study).0, civil(study).1, civil(study).2))
            );
            let age = 50 + (number % 46) as u8;
            let [studied, born] = [study, birth_day(study, age, number * 31)].map(civil);
            let birthday_to_come = (born.1, born.2) > (studied.1, studied.2);
            assert_eq!(
                studied.0 - born.0 - i64::from(birthday_to_come),
                i64::from(age),
                "{born:?} {studied:?}"
            );
        }
    }
}
