//! The Native DICOM Model as others write it, into DICOM JSON.
//!
//! Invariants: the document is UTF-8; no entity is declared or fetched; items are nested no deeper than [`DEEPEST`]; values come in
//! the order in which they stand, and a number is a number wherever DICOM JSON has one.

use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::{Map, Number, Value, json};

use crate::dicom::json::Attributes;

/// How deep items may be nested.
const DEEPEST: usize = 16;

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNative {
    /// It is no XML in UTF-8.
    #[error("it is not well-formed XML in UTF-8")]
    Malformed,
    /// It declares a document type.
    #[error("it has a document type declaration, which a Native DICOM Model has not")]
    Declaration,
    /// The root element is another one.
    #[error("its root is not NativeDicomModel (PS3.19 section A.1)")]
    Root,
    /// An element where it does not belong.
    #[error("it has an element where the Native DICOM Model (PS3.19 section A.1) has no such element")]
    Element,
    /// An attribute of a data set without its tag or value representation.
    #[error("a DicomAttribute needs tag, eight hexadecimal digits, and vr, two letters")]
    Attribute,
    /// Items within items within items.
    #[error("items are nested deeper than {DEEPEST}")]
    Depth,
}

impl From<quick_xml::Error> for NotNative {
    fn from(_: quick_xml::Error) -> Self {
        Self::Malformed
    }
}

/// Reads one data set.
///
/// # Errors
/// [`NotNative`].
pub fn read(document: &[u8]) -> Result<Attributes, NotNative> {
    let text = std::str::from_utf8(document).map_err(|_| NotNative::Malformed)?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut document = Document { reader };
    match document.child()? {
        Some(root) if root.local_name().as_ref() == b"NativeDicomModel" => document.attributes(0),
        _ => Err(NotNative::Root),
    }
}

struct Document<'a> {
    reader: Reader<&'a [u8]>,
}

impl<'a> Document<'a> {
    /// The next piece that says something.
    fn next(&mut self) -> Result<Event<'a>, NotNative> {
        loop {
            match self.reader.read_event()? {
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
                Event::DocType(_) => return Err(NotNative::Declaration),
                event => return Ok(event),
            }
        }
    }

    /// The next element within the one that is open; `None` at the end of that.
    fn child(&mut self) -> Result<Option<BytesStart<'a>>, NotNative> {
        loop {
            match self.next()? {
                Event::Start(element) => return Ok(Some(element)),
                Event::End(_) => return Ok(None),
                Event::Text(text) if text.iter().all(u8::is_ascii_whitespace) => {}
                Event::Eof => return Err(NotNative::Malformed),
                _ => return Err(NotNative::Element),
            }
        }
    }

    /// The text of the element that is open, up to its end.
    fn text(&mut self) -> Result<String, NotNative> {
        let mut text = String::new();
        loop {
            match self.next()? {
                Event::Text(piece) => text += &piece.xml10_content().map_err(|_| NotNative::Malformed)?,
                Event::CData(piece) => text += &piece.xml10_content().map_err(|_| NotNative::Malformed)?,
                Event::GeneralRef(reference) => put_reference(&mut text, &reference)?,
                Event::End(_) => return Ok(text),
                Event::Eof => return Err(NotNative::Malformed),
                _ => return Err(NotNative::Element),
            }
        }
    }

    fn attributes(&mut self, depth: usize) -> Result<Attributes, NotNative> {
        let mut attributes = Attributes::new();
        while let Some(element) = self.child()? {
            if element.local_name().as_ref() != b"DicomAttribute" {
                return Err(NotNative::Element);
            }
            let tag = named(&element, "tag")?.ok_or(NotNative::Attribute)?;
            let vr = named(&element, "vr")?.ok_or(NotNative::Attribute)?;
            if tag.len() != 8 || !tag.bytes().all(|byte| byte.is_ascii_hexdigit()) || vr.len() != 2 {
                return Err(NotNative::Attribute);
            }
            let attribute = self.attribute(&vr, depth)?;
            attributes.insert(tag.to_ascii_uppercase(), attribute);
        }
        Ok(attributes)
    }

    fn attribute(&mut self, vr: &str, depth: usize) -> Result<Value, NotNative> {
        let mut attribute = json!({ "vr": vr });
        let mut values = Vec::new();
        while let Some(element) = self.child()? {
            match element.local_name().as_ref() {
                b"Value" => values.push(value(vr, self.text()?)),
                b"PersonName" => values.push(self.name()?),
                b"Item" if depth == DEEPEST => return Err(NotNative::Depth),
                b"Item" => values.push(Value::Object(self.attributes(depth + 1)?)),
                b"InlineBinary" => attribute["InlineBinary"] = self.text()?.into(),
                b"BulkData" => {
                    attribute["BulkDataURI"] = named(&element, "uri")?.unwrap_or_default().into();
                    self.text()?;
                }
                _ => return Err(NotNative::Element),
            }
        }
        if !values.is_empty() {
            attribute["Value"] = values.into();
        }
        Ok(attribute)
    }

    /// The groups of a person's name.
    fn name(&mut self) -> Result<Value, NotNative> {
        let mut groups = Map::new();
        while let Some(group) = self.child()? {
            let name = String::from_utf8_lossy(group.local_name().as_ref()).into_owned();
            if !super::NAME_GROUPS.contains(&name.as_str()) {
                return Err(NotNative::Element);
            }
            let mut components = [const { String::new() }; super::NAME_COMPONENTS.len()];
            while let Some(component) = self.child()? {
                let place = super::NAME_COMPONENTS
                    .iter()
                    .position(|known| component.local_name().as_ref() == known.as_bytes())
                    .ok_or(NotNative::Element)?;
                components[place] = self.text()?;
            }
            let whole = components.join("^");
            groups.insert(name, whole.trim_end_matches('^').into());
        }
        Ok(groups.into())
    }
}

/// An attribute of an XML element.
fn named(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, NotNative> {
    let found = element
        .try_get_attribute(name)
        .map_err(|_| NotNative::Malformed)?;
    found
        .map(|attribute| Ok(attribute.normalized_value(XmlVersion::Explicit1_0)?.into_owned()))
        .transpose()
}

/// A character by its number, or one of the five that XML has names for.
fn put_reference(text: &mut String, reference: &BytesRef<'_>) -> Result<(), NotNative> {
    if let Some(character) = reference.resolve_char_ref()? {
        text.push(character);
        return Ok(());
    }
    let name = reference.decode().map_err(|_| NotNative::Malformed)?;
    *text += resolve_predefined_entity(&name).ok_or(NotNative::Malformed)?;
    Ok(())
}

/// One value as DICOM JSON has it (PS3.18 table F.2.3-1); what is no number where one belongs stays text.
fn value(vr: &str, text: String) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    let digits = text.trim();
    let number = match vr {
        "IS" | "SL" | "SS" | "UL" | "US" | "SV" | "UV" => digits.parse::<i64>().ok().map(Number::from),
        "DS" | "FL" | "FD" => digits.parse::<f64>().ok().and_then(Number::from_f64),
        _ => None,
    };
    number.map_or(Value::String(text), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    fn data_set() -> Attributes {
        let Value::Object(attributes) = json!({
            "00080005": { "vr": "CS", "Value": ["ISO_IR 192"] },
            "00080008": { "vr": "CS", "Value": ["ORIGINAL", null] },
            "00080050": { "vr": "SH" },
            "00081140": { "vr": "SQ", "Value": [{ "00081155": { "vr": "UI", "Value": ["1.2"] } }, {}] },
            "00091001": { "vr": "UN", "InlineBinary": "z0w=" },
            "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Doe^<J>^^Dr", "Ideographic": "山田^太郎" }] },
            "00200013": { "vr": "IS", "Value": [7] },
            "00281050": { "vr": "DS", "Value": [0.5, "much"] },
            "00324000": { "vr": "LT", "Value": [" a\r\n\"b\" & 'c' "] },
            "7FE00010": { "vr": "OW", "BulkDataURI": "http://a/b?c&d" },
        }) else {
            unreachable!()
        };
        attributes
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(document(&data_set()).as_bytes()), Ok(data_set()));
    }

    #[test]
    fn others_write_it_in_their_own_way() {
        let text = "<?xml version='1.0'?><!-- x --><n:NativeDicomModel xmlns:n='u'>\n <n:DicomAttribute vr='LO' tag='0074120a'>\
                    <n:Value number='1'><![CDATA[a<b]]>&#65;</n:Value></n:DicomAttribute>\n</n:NativeDicomModel>";
        let wanted = json!({ "0074120A": { "vr": "LO", "Value": ["a<bA"] } });
        assert_eq!(Value::Object(read(text.as_bytes()).unwrap()), wanted);
    }

    #[test]
    fn what_is_none_is_said_to_be_none() {
        let model = |content: &str| format!("<NativeDicomModel>{content}</NativeDicomModel>");
        let deep = |depth: usize| {
            let begin = "<DicomAttribute tag=\"00404021\" vr=\"SQ\"><Item>".repeat(depth);
            model(&(begin + &"</Item></DicomAttribute>".repeat(depth)))
        };
        assert!(read(deep(DEEPEST).as_bytes()).is_ok());
        let attribute = "<DicomAttribute tag=\"00741204\" vr=\"LO\">";
        for (text, error) in [
            (String::new(), NotNative::Malformed),
            ("<html/>".to_owned(), NotNative::Root),
            ("{}".to_owned(), NotNative::Element),
            (model("<Value/>"), NotNative::Element),
            (model("text"), NotNative::Element),
            (
                model("<DicomAttribute tag=\"0074\" vr=\"LO\"/>"),
                NotNative::Attribute,
            ),
            (model("<DicomAttribute tag=\"00741204\"/>"), NotNative::Attribute),
            (model(attribute), NotNative::Malformed),
            (
                model(&format!("{attribute}<Value>&no;</Value></DicomAttribute>")),
                NotNative::Malformed,
            ),
            (
                format!("<!DOCTYPE x [<!ENTITY no \"no\">]>{}", model("")),
                NotNative::Declaration,
            ),
            (deep(DEEPEST + 1), NotNative::Depth),
            (deep(100_000), NotNative::Depth),
        ] {
            let short: String = text.chars().take(80).collect();
            assert_eq!(read(text.as_bytes()), Err(error), "{short}");
        }
        assert_eq!(read(b"<NativeDicomModel>\xFF"), Err(NotNative::Malformed));
        let whole = document(&data_set());
        for end in 0..whole.trim_end().len() {
            let cut = whole.as_bytes().get(..end).unwrap_or_default();
            assert!(read(cut).is_err(), "{end}");
        }
    }
}
