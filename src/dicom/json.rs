//! The DICOM JSON model (PS3.18 annex F): a data set as one JSON object, its bulk data left out and named by where it lies.
//!
//! Invariants: attributes are in the order of their tags; text is Unicode, whatever the file's character set was; a binary value of
//! more than [`MOST_INLINE`] bytes is a `BulkDataURI`, here a [`BulkPath`] as text, which whoever answers makes absolute; pixels
//! always are one.

mod bulk;
mod value;

use dicom_core::header::Header as _;
use dicom_core::value::Value as DicomValue;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use serde_json::{Map, Value, json};

use super::{Instance, PixelData};
pub use bulk::{BulkPath, NoPath};

/// The most bytes of a binary value that stands in the JSON itself.
pub const MOST_INLINE: usize = 1024;

/// Attributes by their tags as eight hexadecimal digits.
pub type Attributes = Map<String, Value>;

/// The name of an attribute: eight upper-case hexadecimal digits (PS3.18 section F.2.2).
#[must_use]
pub fn key(Tag(group, element): Tag) -> String {
    format!("{group:04X}{element:04X}")
}

/// An instance without its bulk data.
#[must_use]
pub fn of_instance(instance: &Instance) -> Attributes {
    let mut attributes = of_data_set(&instance.header, &BulkPath::default());
    if let Some(pixels) = &instance.pixels {
        let vr = match pixels {
            PixelData::Native(_) => "OW",
            PixelData::Encapsulated { .. } => "OB",
        };
        let path = BulkPath::default().attribute(tags::PIXEL_DATA);
        attributes.insert(
            key(tags::PIXEL_DATA),
            json!({ "vr": vr, "BulkDataURI": path.to_string() }),
        );
    }
    attributes
}

/// The attributes of a data set that lies at `place`.
fn of_data_set(object: &InMemDicomObject, place: &BulkPath) -> Attributes {
    object
        .iter()
        // a group length says nothing that holds for another encoding (PS3.18 section F.2.2)
        .filter(|element| element.tag().element() != 0)
        .map(|element| (key(element.tag()), of_element(element, place)))
        .collect()
}

fn of_element(element: &InMemElement, place: &BulkPath) -> Value {
    let (tag, vr) = (element.tag(), element.vr());
    let mut attribute = Map::new();
    attribute.insert("vr".to_owned(), vr.to_string().into());
    match element.value() {
        DicomValue::Sequence(sequence) => {
            let items: Vec<Value> = sequence
                .items()
                .iter()
                .enumerate()
                .map(|(index, item)| Value::Object(of_data_set(item, &place.item(tag, index))))
                .collect();
            if !items.is_empty() {
                attribute.insert("Value".to_owned(), items.into());
            }
        }
        // an icon's; nothing in a data set but its own pixels is read as fragments
        DicomValue::PixelSequence(_) => {}
        DicomValue::Primitive(value) if is_binary(vr) => {
            let bytes = value.to_bytes();
            if bytes.len() > MOST_INLINE {
                let path = place.attribute(tag);
                attribute.insert("BulkDataURI".to_owned(), path.to_string().into());
            } else if !bytes.is_empty() {
                attribute.insert("InlineBinary".to_owned(), value::base64(&bytes).into());
            }
        }
        // the text of the JSON is Unicode
        DicomValue::Primitive(_) if tag == tags::SPECIFIC_CHARACTER_SET => {
            attribute.insert("Value".to_owned(), json!(["ISO_IR 192"]));
        }
        DicomValue::Primitive(primitive) => {
            let values = value::values(primitive, vr);
            if !values.is_empty() {
                attribute.insert("Value".to_owned(), values.into());
            }
        }
    }
    Value::Object(attribute)
}

/// Value representations whose values are bytes in the JSON.
fn is_binary(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN | VR::SQ
    )
}

/// Puts `base` before every `BulkDataURI`, which is a [`BulkPath`] until then.
pub fn make_absolute(attributes: &mut Attributes, base: &str) {
    for attribute in attributes.values_mut() {
        if let Some(Value::String(uri)) = attribute.get_mut("BulkDataURI") {
            *uri = format!("{base}/{uri}");
        }
        let items = attribute.get_mut("Value").and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            if attribute_is_item(item)
                && let Value::Object(item) = item
            {
                make_absolute(item, base);
            }
        }
    }
}

/// Whether a value is an item of a sequence, and not a person's name.
fn attribute_is_item(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|members| members.values().all(Value::is_object))
}

/// The first value of an attribute as text: a name as its groups, a number as its digits.
#[must_use]
pub fn first_text(attributes: &Attributes, tag: Tag) -> Option<String> {
    let first = attributes.get(&key(tag))?.get("Value")?.get(0)?;
    let text = match first {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Object(groups) => {
            let group = |name: &str| groups.get(name).and_then(Value::as_str).unwrap_or_default();
            let groups = [group("Alphabetic"), group("Ideographic"), group("Phonetic")];
            groups.join("=").trim_end_matches('=').to_owned()
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The first value of an attribute as a whole number.
#[must_use]
pub fn first_number(attributes: &Attributes, tag: Tag) -> Option<i64> {
    let first = attributes.get(&key(tag))?.get("Value")?.get(0)?;
    first.as_i64().or_else(|| first.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests;
