//! The values of one attribute in the DICOM JSON model (PS3.18 table F.2.3-1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dicom_core::VR;
use dicom_core::value::PrimitiveValue;
use serde_json::{Map, Number, Value};

/// Bytes as text (RFC 4648 section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The values of an attribute that is neither binary nor a sequence; an empty one among several is `null`, and what is no number
/// where one belongs stays text.
pub(super) fn values(value: &PrimitiveValue, vr: VR) -> Vec<Value> {
    let values: Vec<Value> = match (vr, value) {
        (VR::AT, PrimitiveValue::Tags(tags)) => tags.iter().map(|tag| super::key(*tag).into()).collect(),
        (_, PrimitiveValue::F32(values)) => values.iter().map(|value| single(*value)).collect(),
        (_, PrimitiveValue::F64(values)) => values.iter().map(|value| double(*value)).collect(),
        (_, PrimitiveValue::I16(values)) => values.iter().map(|value| (*value).into()).collect(),
        (_, PrimitiveValue::U16(values)) => values.iter().map(|value| (*value).into()).collect(),
        (_, PrimitiveValue::I32(values)) => values.iter().map(|value| (*value).into()).collect(),
        (_, PrimitiveValue::U32(values)) => values.iter().map(|value| (*value).into()).collect(),
        (_, PrimitiveValue::I64(values)) => values.iter().map(|value| (*value).into()).collect(),
        (_, PrimitiveValue::U64(values)) => values.iter().map(|value| (*value).into()).collect(),
        // one text, in which a backslash divides nothing and blanks at the beginning mean something
        (VR::LT | VR::ST | VR::UT | VR::UR, value) => {
            let whole = value.to_raw_str();
            vec![text(whole.trim_end_matches(is_padding))]
        }
        (VR::UC, value) => texts(value, |one| text(one.trim_end_matches(is_padding))),
        (VR::PN, value) => texts(value, |one| name(one.trim_matches(is_padding))),
        (VR::DS | VR::IS | VR::SV | VR::UV, value) => {
            texts(value, |one| number(one.trim_matches(is_padding)))
        }
        (_, value) => texts(value, |one| text(one.trim_matches(is_padding))),
    };
    if values.iter().all(Value::is_null) {
        return Vec::new();
    }
    values
}

fn is_padding(character: char) -> bool {
    character == '\0' || character.is_whitespace()
}

fn texts(value: &PrimitiveValue, of: impl Fn(&str) -> Value) -> Vec<Value> {
    value.to_multi_str().iter().map(|one| of(one)).collect()
}

/// Without NUL, which is no character of a text, and which databases do not take.
fn text(text: &str) -> Value {
    let text = text.replace('\0', "");
    if text.is_empty() { Value::Null } else { text.into() }
}

/// A person's name by its groups (PS3.18 section F.2.2, PS3.5 section 6.2.1).
fn name(name: &str) -> Value {
    let names = ["Alphabetic", "Ideographic", "Phonetic"];
    let groups: Map<String, Value> = names
        .into_iter()
        .zip(name.split('='))
        .map(|(name, group)| (name.to_owned(), text(group)))
        .filter(|(_, group)| !group.is_null())
        .collect();
    if groups.is_empty() {
        return Value::Null;
    }
    groups.into()
}

fn number(digits: &str) -> Value {
    let whole = digits.parse::<i64>().map(Value::from);
    let whole = whole.or_else(|_| digits.parse::<u64>().map(Value::from));
    whole.unwrap_or_else(|_| {
        let number = digits.parse::<f64>().ok().and_then(Number::from_f64);
        number.map_or_else(|| text(digits), Value::Number)
    })
}

fn double(value: f64) -> Value {
    Number::from_f64(value).map_or_else(|| not_finite(value), Value::Number)
}

/// With the digits that a single-precision number has, and not those of the double nearest to it.
fn single(value: f32) -> Value {
    value
        .to_string()
        .parse()
        .map_or_else(|_| not_finite(value.into()), double)
}

fn not_finite(value: f64) -> Value {
    if value.is_nan() {
        "NaN".into()
    } else if value > 0.0 {
        "inf".into()
    } else {
        "-inf".into()
    }
}
