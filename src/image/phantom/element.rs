//! Constructors of DICOM elements, short enough to keep a header readable.
//!
//! Invariants: none pads or validates; the writer pads, and the callers pass values that their representation allows.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, Length, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

/// An element of one string.
pub(super) fn text(tag: Tag, vr: VR, value: impl Into<String>) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::from(value.into()))
}

/// An element of one unsigned 16-bit number.
pub(super) fn number(tag: Tag, value: u16) -> InMemElement {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

/// An element without a value, for attributes of type 2.
pub(super) fn empty(tag: Tag, vr: VR) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::Empty)
}

/// A sequence of items; of none where the standard wants it present and empty.
pub(super) fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> InMemElement {
    let length = if items.is_empty() {
        Length(0)
    } else {
        Length::UNDEFINED
    };
    DataElement::new(tag, VR::SQ, DataSetSequence::new(items, length))
}

/// A SNOMED CT code item, with further elements.
pub(super) fn code(value: &str, meaning: &str, further: Vec<InMemElement>) -> InMemDicomObject {
    let code = [
        text(tags::CODE_VALUE, VR::SH, value),
        text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, "SCT"),
        text(tags::CODE_MEANING, VR::LO, meaning),
    ];
    InMemDicomObject::from_element_iter(code.into_iter().chain(further))
}
