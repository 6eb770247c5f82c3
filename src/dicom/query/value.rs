//! Values of matching keys (PS3.4 section C.2.2.2): single values, lists, wildcards, ranges.

use dicom_core::VR;

use crate::dicom::date_time::Period;
use crate::dicom::record::{date, folded_name, time};

/// The most values in one list.
const MOST_VALUES: usize = 500;
/// The most values with wildcards in one list.
const MOST_WILD: usize = 16;
/// The most bytes of one text.
const MOST_TEXT: usize = 1024;

/// What a value has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matching {
    /// This, letter by letter.
    Exact(String),
    /// This, where `*` is any text and `?` any character.
    Wild(String),
    /// The same of names, which are folded.
    Name(String),
    /// The same of names with wildcards.
    WildName(String),
    /// This number.
    Number(i64),
    /// A date or a time from the first to the last, both included; empty where there is no bound.
    Range {
        /// The first.
        from: String,
        /// The last.
        to: String,
    },
    /// A date with a time in this period.
    Period(Period),
}

/// Why a value cannot be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It must be this.
    Form(&'static str),
    /// There are too many.
    Many,
}

/// What a value asks for, one of several; nothing, where every value is right.
pub(super) fn matchings(vr: VR, value: &str) -> Result<Vec<Matching>, Wrong> {
    let value = value.trim();
    // universal matching
    if value.is_empty() || value == "*" || value == "\"\"" {
        return Ok(Vec::new());
    }
    let is_list = matches!(vr, VR::UI | VR::CS);
    if value.contains('\0') || (value.len() > MOST_TEXT && !is_list) {
        return Err(Wrong::Form("a text of at most 1024 bytes without NUL"));
    }
    match vr {
        VR::UI => list(value, |uid| {
            let valid = uid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && uid.len() <= 64;
            let right = Wrong::Form("a UID, or a list of them with commas between them");
            valid.then(|| Matching::Exact(uid.to_owned())).ok_or(right)
        }),
        VR::CS => list(value, |code| Ok(text(code))),
        VR::DA => range(value, |text| date(text).map(|date| (date.clone(), date))).ok_or(Wrong::Form(
            "YYYYMMDD, or a range such as 20240101-20241231, -20241231 or 20240101-",
        )),
        VR::TM => range(value, time).ok_or(Wrong::Form("HHMMSS, or a range such as 0800-1159")),
        VR::DT => {
            let period = Period::of_range(value).map(|period| vec![Matching::Period(period)]);
            period.ok_or(Wrong::Form(
                "YYYYMMDDHHMMSS.FFFFFF&ZZXX or the beginning of it, or a range such as 20240101-20241231",
            ))
        }
        VR::IS | VR::US | VR::UL | VR::SS | VR::SL | VR::UV | VR::SV => {
            let number = value.parse().map(|number| vec![Matching::Number(number)]);
            number.map_err(|_| Wrong::Form("a whole number"))
        }
        VR::PN => {
            let name = folded_name(value);
            Ok(match name.as_str() {
                "" => Vec::new(),
                _ if is_wild(&name) => vec![Matching::WildName(name)],
                _ => vec![Matching::Name(name)],
            })
        }
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN | VR::SQ | VR::AT => Err(Wrong::Form(
            "an attribute of text, a date, a time or a number: bytes are not searched",
        )),
        _ => Ok(vec![text(value)]),
    }
}

fn is_wild(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn text(value: &str) -> Matching {
    if is_wild(value) {
        Matching::Wild(value.to_owned())
    } else {
        Matching::Exact(value.to_owned())
    }
}

fn list(value: &str, of: impl Fn(&str) -> Result<Matching, Wrong>) -> Result<Vec<Matching>, Wrong> {
    let values: Vec<&str> = value
        .split([',', '\\'])
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .collect();
    let wild = values.iter().filter(|value| is_wild(value)).count();
    if values.len() > MOST_VALUES || wild > MOST_WILD {
        return Err(Wrong::Many);
    }
    if values.iter().any(|value| value.len() > MOST_TEXT) {
        return Err(Wrong::Form("a list of texts of at most 1024 bytes each"));
    }
    values.into_iter().map(of).collect()
}

/// A single value, or two with a hyphen between them, of which one may be missing; `of` gives the first and the last moment that a
/// text may mean.
fn range(value: &str, of: impl Fn(&str) -> Option<(String, String)>) -> Option<Vec<Matching>> {
    let (from, to) = match value.split_once('-') {
        None => of(value)?,
        Some(("", to)) => (String::new(), of(to)?.1),
        Some((from, "")) => (of(from)?.0, String::new()),
        Some((from, to)) => (of(from)?.0, of(to)?.1),
    };
    Some(vec![Matching::Range { from, to }])
}
