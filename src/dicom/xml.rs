//! The Native DICOM Model (PS3.19 section A.1): the same attributes as in DICOM JSON, as XML.

mod read;

use std::fmt::Write as _;

use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;
use serde_json::Value;

use super::json::{Attributes, key};
pub use read::{NotNative, read};

/// The groups of a person's name.
const NAME_GROUPS: [&str; 3] = ["Alphabetic", "Ideographic", "Phonetic"];
/// What each of them consists of (PS3.5 section 6.2.1.2).
const NAME_COMPONENTS: [&str; 5] = [
    "FamilyName",
    "GivenName",
    "MiddleName",
    "NamePrefix",
    "NameSuffix",
];

/// One data set as an XML document.
#[must_use]
pub fn document(attributes: &Attributes) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <NativeDicomModel xmlns=\"http://dicom.nema.org/PS3.19/models/NativeDICOM\" xml:space=\"preserve\">",
    );
    put_attributes(&mut xml, attributes);
    xml += "</NativeDicomModel>\n";
    xml
}

fn put_attributes(xml: &mut String, attributes: &Attributes) {
    for (name, attribute) in attributes {
        let vr = attribute.get("vr").and_then(Value::as_str).unwrap_or("UN");
        put(xml, format_args!("<DicomAttribute tag=\"{name}\" vr=\"{vr}\""));
        let tag = u32::from_str_radix(name, 16).unwrap_or_default();
        let tag = Tag((tag >> 16) as u16, tag as u16);
        if let Some(entry) = StandardDataDictionary.by_tag(tag) {
            put(xml, format_args!(" keyword=\"{}\"", entry.alias()));
        }
        if let Some(creator) = private_creator(attributes, tag) {
            *xml += " privateCreator=\"";
            put_text(xml, creator);
            xml.push('"');
        }
        xml.push('>');
        if let Some(uri) = attribute.get("BulkDataURI").and_then(Value::as_str) {
            *xml += "<BulkData uri=\"";
            put_text(xml, uri);
            *xml += "\"/>";
        } else if let Some(bytes) = attribute.get("InlineBinary").and_then(Value::as_str) {
            put(xml, format_args!("<InlineBinary>{bytes}</InlineBinary>"));
        }
        let values = attribute.get("Value").and_then(Value::as_array);
        for (index, value) in values.into_iter().flatten().enumerate() {
            put_value(xml, vr, index + 1, value);
        }
        *xml += "</DicomAttribute>";
    }
}

fn put_value(xml: &mut String, vr: &str, number: usize, value: &Value) {
    match value {
        Value::Object(item) if vr == "SQ" => {
            put(xml, format_args!("<Item number=\"{number}\">"));
            put_attributes(xml, item);
            *xml += "</Item>";
        }
        Value::Object(name) => {
            put(xml, format_args!("<PersonName number=\"{number}\">"));
            for group in NAME_GROUPS {
                if let Some(text) = name.get(group).and_then(Value::as_str) {
                    put_name(xml, group, text);
                }
            }
            *xml += "</PersonName>";
        }
        // an empty one among several
        Value::Null => put(xml, format_args!("<Value number=\"{number}\"/>")),
        value => {
            put(xml, format_args!("<Value number=\"{number}\">"));
            match value.as_str() {
                Some(text) => put_text(xml, text),
                None => put(xml, format_args!("{value}")),
            }
            *xml += "</Value>";
        }
    }
}

/// A group of a person's name by its components.
fn put_name(xml: &mut String, group: &str, name: &str) {
    put(xml, format_args!("<{group}>"));
    for (component, text) in NAME_COMPONENTS.into_iter().zip(name.split('^')) {
        if !text.is_empty() {
            put(xml, format_args!("<{component}>"));
            put_text(xml, text);
            put(xml, format_args!("</{component}>"));
        }
    }
    put(xml, format_args!("</{group}>"));
}

/// Who a private attribute belongs to (PS3.5 section 7.8.1).
fn private_creator(attributes: &Attributes, Tag(group, element): Tag) -> Option<&str> {
    if group % 2 == 0 || element < 0x1000 {
        return None;
    }
    attributes
        .get(&key(Tag(group, element >> 8)))?
        .get("Value")?
        .get(0)?
        .as_str()
}

/// Characters that XML 1.0 has no place for are left out.
fn put_text(xml: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => *xml += "&amp;",
            '<' => *xml += "&lt;",
            '>' => *xml += "&gt;",
            '"' => *xml += "&quot;",
            '\r' => *xml += "&#13;",
            '\t' | '\n' => xml.push(character),
            '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => {}
            other => xml.push(other),
        }
    }
}

fn put(xml: &mut String, text: std::fmt::Arguments<'_>) {
    // memory takes whatever is written to it
    let _ = xml.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_form_of_value_has_its_element() {
        let Value::Object(attributes) = json!({
            "00080005": { "vr": "CS", "Value": ["ISO_IR 192"] },
            "00080008": { "vr": "CS", "Value": ["ORIGINAL", null] },
            "00080050": { "vr": "SH" },
            "00081140": { "vr": "SQ", "Value": [{ "00081155": { "vr": "UI", "Value": ["1.2"] } }] },
            "00090010": { "vr": "LO", "Value": ["A&B"] },
            "00091001": { "vr": "UN", "InlineBinary": "z0w=" },
            "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Doe^<J>^^Dr", "Ideographic": "山田^太郎" }] },
            "00200013": { "vr": "IS", "Value": [7] },
            "00324000": { "vr": "LT", "Value": ["a\u{1b}\r\n\"b\""] },
            "7FE00010": { "vr": "OW", "BulkDataURI": "http://a/b?c&d" },
        }) else {
            unreachable!()
        };
        let wanted = [
            r#"<DicomAttribute tag="00080005" vr="CS" keyword="SpecificCharacterSet"><Value number="1">ISO_IR 192</Value>"#,
            r#"<Value number="1">ORIGINAL</Value><Value number="2"/></DicomAttribute>"#,
            r#"<DicomAttribute tag="00080050" vr="SH" keyword="AccessionNumber"></DicomAttribute>"#,
            r#"<Item number="1"><DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID"><Value number="1">1.2</Value></DicomAttribute></Item>"#,
            r#"<DicomAttribute tag="00091001" vr="UN" privateCreator="A&amp;B"><InlineBinary>z0w=</InlineBinary>"#,
            "<PersonName number=\"1\"><Alphabetic><FamilyName>Doe</FamilyName><GivenName>&lt;J&gt;</GivenName><NamePrefix>Dr</NamePrefix></Alphabetic>",
            "<Ideographic><FamilyName>山田</FamilyName><GivenName>太郎</GivenName></Ideographic></PersonName>",
            r#"keyword="InstanceNumber"><Value number="1">7</Value>"#,
            "<Value number=\"1\">a&#13;\n&quot;b&quot;</Value>",
            r#"<BulkData uri="http://a/b?c&amp;d"/>"#,
        ];
        let xml = document(&attributes);
        for part in wanted {
            assert!(xml.contains(part), "{part} is not in {xml}");
        }
        assert!(xml.starts_with("<?xml") && xml.ends_with("</NativeDicomModel>\n"));
    }
}
