//! The forms in which dates, times and names are compared.

/// A date of VR DA as `YYYYMMDD`; `YYYY.MM.DD` is that of the standard's first edition (PS3.5 section 6.2). `None` for what is no
/// date.
#[must_use]
pub fn date(text: &str) -> Option<String> {
    let text = text.trim();
    let digits: String = match text.len() {
        8 => text.to_owned(),
        10 => {
            let parts: Vec<&str> = text.split('.').collect();
            (parts.len() == 3 && parts[0].len() == 4 && parts[1].len() == 2).then(|| parts.concat())?
        }
        _ => return None,
    };
    if digits.len() != 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let in_range = |part: &str, most: u8| part.parse::<u8>().is_ok_and(|part| (1..=most).contains(&part));
    (in_range(&digits[4..6], 12) && in_range(&digits[6..], 31)).then_some(digits)
}

/// The first and the last moment that a time of VR TM may mean, as `HHMMSS.FFFFFF`: what is left out may be anything (PS3.5
/// section 6.2). `None` for what is no time.
#[must_use]
pub fn time(text: &str) -> Option<(String, String)> {
    let text = text.trim().replace(':', "");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let complete = whole.len() == 6 || fraction.is_empty();
    if !matches!(whole.len(), 2 | 4 | 6)
        || fraction.len() > 6
        || !complete
        || !digits(whole)
        || !digits(fraction)
        || text.ends_with('.')
    {
        return None;
    }
    // 60 is a leap second
    let most = ["23", "59", "60"];
    let parts = (0..whole.len() / 2).map(|part| &whole[2 * part..2 * part + 2]);
    if parts.zip(most).any(|(part, most)| part > most) {
        return None;
    }
    let filled = |fill: &str| {
        let whole = format!("{whole}{}", &fill[whole.len()..6]);
        format!("{whole}.{fraction}{}", &fill[7 + fraction.len()..])
    };
    Some((filled("000000.000000"), filled("235959.999999")))
}

/// A name of VR PN as names are compared: without regard to case, without empty components at the end and without padding.
#[must_use]
pub fn folded_name(name: &str) -> String {
    let groups: Vec<String> = name
        .split('=')
        .map(|group| {
            let components: Vec<&str> = group.split('^').map(str::trim).collect();
            components.join("^").trim_end_matches('^').to_lowercase()
        })
        .collect();
    groups.join("=").trim_end_matches('=').to_owned()
}
