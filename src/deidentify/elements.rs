//! Elements that consist of characters: their values, read and written.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_object::mem::InMemElement;

use super::values;
use crate::dicom::InstanceUid;

/// Whether a value that is to be kept is what its VR says it is. No value is also one.
pub(super) fn is_kept(vr: VR, text: &str) -> bool {
    let is_uid = || InstanceUid::parse(text).is_ok();
    text.is_empty() || (values::is_valid(vr, text) && (vr != VR::UI || is_uid()))
}

/// The values of an element that consists of characters, without padding.
pub(super) fn texts(element: &InMemElement) -> Option<Vec<String>> {
    let texts = element.value().primitive()?.to_multi_str();
    Some(
        texts
            .iter()
            .map(|text| {
                text.trim_matches(|c: char| c == '\0' || c.is_whitespace())
                    .to_owned()
            })
            .collect(),
    )
}

/// An element of these values.
pub(super) fn strings(tag: Tag, vr: VR, values: Vec<String>) -> InMemElement {
    let value = if values.iter().all(String::is_empty) && values.len() < 2 {
        PrimitiveValue::Empty
    } else {
        PrimitiveValue::Strs(values.into_iter().collect())
    };
    DataElement::new(tag, vr, value)
}
