//! Items that code a concept (PS3.3 section 8.8): a code of a public scheme stays, a local one goes with its item.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::terms::Terms;
use crate::dicom::text;

/// Where a coded item has its code, its scheme and the words for it.
pub(super) const BASIC: [Tag; 3] = [
    tags::CODE_VALUE,
    tags::CODING_SCHEME_DESIGNATOR,
    tags::CODE_MEANING,
];
/// Units that are kept (UCUM).
const UNITS: [&str; 12] = [
    "1", "%", "mm", "cm", "m", "mm2", "cm2", "deg", "kV", "mA", "mGy", "s",
];

/// Whether an item codes a concept.
pub(super) fn is_code(item: &InMemDicomObject) -> bool {
    [tags::CODE_VALUE, tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE]
        .into_iter()
        .any(|tag| item.get(tag).is_some())
}

/// The three elements of a code that is known to be public: in it, the meaning is made of known words, or is the code itself.
pub(super) fn public(item: &InMemDicomObject, terms: &Terms) -> Option<[DataElement<InMemDicomObject>; 3]> {
    let scheme = text(item, tags::CODING_SCHEME_DESIGNATOR)?;
    let value = text(item, tags::CODE_VALUE)?;
    if !is_public(&scheme, &value) {
        return None;
    }
    let meaning = terms.clean(&text(item, tags::CODE_MEANING).unwrap_or_default());
    let meaning = if meaning.is_empty() {
        value.clone()
    } else {
        meaning
    };
    let [at_value, at_scheme, at_meaning] = BASIC;
    let element = |tag, vr, value: String| DataElement::new(tag, vr, PrimitiveValue::from(value));
    Some([
        element(at_value, VR::SH, value),
        element(at_scheme, VR::SH, scheme),
        element(at_meaning, VR::LO, meaning),
    ])
}

/// Whether the value has the form that codes of this scheme have. A name never has.
fn is_public(scheme: &str, value: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match scheme {
        // SNOMED CT identifiers have up to 18 digits, of which Code Value holds 16
        "SCT" => (6..=16).contains(&value.len()) && digits(value),
        "SRT" | "SNM3" => {
            let (axis, number) = value.split_once('-').unwrap_or_default();
            axis.len() == 1
                && axis.bytes().all(|byte| byte.is_ascii_uppercase())
                && number.len() == 5
                && number
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
        }
        "DCM" => value.len() == 6 && digits(value),
        "LN" => {
            let (number, check) = value.split_once('-').unwrap_or_default();
            number.len() <= 6 && digits(number) && check.len() == 1 && digits(check)
        }
        "RADLEX" => value
            .strip_prefix("RID")
            .is_some_and(|number| number.len() <= 6 && digits(number)),
        "UCUM" => UNITS.contains(&value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(scheme: &str, value: &str, meaning: &str) -> InMemDicomObject {
        let texts = [value, scheme, meaning];
        InMemDicomObject::from_element_iter(
            BASIC
                .into_iter()
                .zip(texts)
                .map(|(tag, text)| DataElement::new(tag, VR::LO, PrimitiveValue::from(text))),
        )
    }

    #[test]
    fn codes_of_public_schemes_stay_with_known_words() {
        let terms = Terms::default();
        let meaning =
            |item| public(&item, &terms).map(|[_, _, meaning]| meaning.to_str().unwrap().into_owned());
        assert_eq!(
            meaning(item("SCT", "122496007", "Lumbar spine")).as_deref(),
            Some("Lumbar spine")
        );
        assert_eq!(
            meaning(item("SRT", "T-11500", "Smith^Anna")).as_deref(),
            Some("T-11500")
        );
        assert_eq!(meaning(item("99LOCAL", "122496007", "Lumbar spine")), None);
        for (scheme, value) in [
            ("SCT", "SMITH"),
            ("SRT", "T-SMITH"),
            ("DCM", "SMITH^"),
            ("LN", "SMITH-1"),
            ("RADLEX", "RIDSMITH"),
            ("UCUM", "SMITH"),
            ("SRT", "é"),
        ] {
            assert_eq!(meaning(item(scheme, value, "")), None, "{scheme}");
        }
    }
}
