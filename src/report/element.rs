//! Elements, sequences and coded entries, written within the limits of their value representations (PS3.5 section 6.2).

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Length, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

use crate::dicom::CodedValue;

/// Most characters of Code Value (VR SH); a longer one is a Long Code Value (PS3.3 section 8.1).
const SHORT: usize = 16;
/// Most characters of Code Meaning (VR LO).
const LONG: usize = 64;

/// A text, whatever its value representation. It goes in as it is: what comes from elsewhere goes through [`line`] first.
pub(super) fn text(tag: Tag, vr: VR, value: impl Into<String>) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::from(value.into()))
}

/// An element without a value, as type 2 allows (PS3.5 section 7.4.3).
pub(super) fn empty(tag: Tag, vr: VR) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::Empty)
}

/// A sequence of `items`.
pub(super) fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> InMemElement {
    DataElement::new(tag, VR::SQ, DataSetSequence::new(items, Length::UNDEFINED))
}

/// One line of at most 64 characters without what a value of VR LO or SH cannot hold: control characters, and the backslash,
/// which would begin another value.
pub(super) fn line(value: &str) -> String {
    value
        .chars()
        .map(|c| if c.is_control() || c == '\\' { ' ' } else { c })
        .take(LONG)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// The item of a code sequence (PS3.3 section 8.8).
pub(super) fn coded(code: impl Into<CodedValue>) -> InMemDicomObject {
    let code = code.into();
    let (tag, vr) = if code.value.chars().count() > SHORT {
        (tags::LONG_CODE_VALUE, VR::UC)
    } else {
        (tags::CODE_VALUE, VR::SH)
    };
    InMemDicomObject::from_element_iter([
        text(tag, vr, code.value),
        text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, code.scheme),
        text(tags::CODE_MEANING, VR::LO, line(&code.meaning)),
    ])
}

/// The coded entry that an item of a code sequence holds, if it is whole.
pub(super) fn code_of(item: &InMemDicomObject) -> Option<CodedValue> {
    Some(CodedValue {
        scheme: crate::dicom::text(item, tags::CODING_SCHEME_DESIGNATOR)?,
        value: crate::dicom::text(item, tags::CODE_VALUE)
            .or_else(|| crate::dicom::text(item, tags::LONG_CODE_VALUE))?,
        meaning: crate::dicom::text(item, tags::CODE_MEANING)?,
    })
}

/// A finite number as a decimal string of at most 16 characters (VR DS) that reads back as the same number.
pub(super) fn decimal(value: f32) -> String {
    let plain = value.to_string();
    if plain.len() <= 16 {
        plain
    } else {
        format!("{value:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_fits_a_decimal_string_and_comes_back() {
        for value in [
            0.0_f32,
            1.0,
            0.1,
            0.333_333_34,
            -123.456_79,
            f32::MIN_POSITIVE,
            1e-45,
            f32::MAX,
            f32::MIN,
            -1.175_494_4e-38,
        ] {
            let text = decimal(value);
            assert!(text.len() <= 16, "{text}");
            assert_eq!(text.parse::<f32>().unwrap(), value, "{text}");
        }
    }

    #[test]
    fn what_comes_from_elsewhere_becomes_one_value_of_one_line() {
        assert_eq!(line("a\\b\r\nc "), "a b  c");
        assert_eq!(line(&"é".repeat(70)).chars().count(), 64);
    }

    #[test]
    fn a_long_code_is_a_long_code_value() {
        let code = |value: &str| CodedValue {
            scheme: "99X".into(),
            value: value.into(),
            meaning: "m".into(),
        };
        let short = coded(code(&"1".repeat(16)));
        assert!(short.get(tags::CODE_VALUE).is_some() && short.get(tags::LONG_CODE_VALUE).is_none());
        let long = coded(code(&"1".repeat(17)));
        assert!(long.get(tags::CODE_VALUE).is_none() && long.get(tags::LONG_CODE_VALUE).is_some());
        assert_eq!(code_of(&long).unwrap(), code(&"1".repeat(17)));
    }
}
