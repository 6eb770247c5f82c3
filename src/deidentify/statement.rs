//! What a de-identified instance says of itself (PS3.15 section E.1.1, PS3.3 section C.12.1.1.1).

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Length, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::options::Options;
use super::profile_option::ProfileOption;

const METHOD: &str = concat!("osteon ", env!("CARGO_PKG_VERSION"), " PS3.15 Basic Profile");

/// Adds who did it, how, and what became of dates; `masked` is whether pixels were blacked out.
pub(super) fn add(object: &mut InMemDicomObject, options: &Options, masked: bool) {
    let mut text = |tag: Tag, vr: VR, value: &str| {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    };
    text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    text(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES");
    text(tags::DEIDENTIFICATION_METHOD, VR::LO, METHOD);
    let dates = if options.has(ProfileOption::FullDates) {
        "UNMODIFIED"
    } else if options.has(ProfileOption::ModifiedDates) {
        "MODIFIED"
    } else {
        "REMOVED"
    };
    text(tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, VR::CS, dates);
    if masked {
        text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    }
    let mut codes = vec![("113100", "Basic Application Confidentiality Profile")];
    if masked {
        codes.push(("113101", "Clean Pixel Data Option"));
    }
    codes.extend(options.iter().map(ProfileOption::code));
    let items: Vec<_> = codes.into_iter().map(code).collect();
    object.put(DataElement::new(
        tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
        VR::SQ,
        DataSetSequence::new(items, Length::UNDEFINED),
    ));
}

fn code((value, meaning): (&str, &str)) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        DataElement::new(tags::CODE_VALUE, VR::SH, PrimitiveValue::from(value)),
        DataElement::new(
            tags::CODING_SCHEME_DESIGNATOR,
            VR::SH,
            PrimitiveValue::from("DCM"),
        ),
        DataElement::new(tags::CODE_MEANING, VR::LO, PrimitiveValue::from(meaning)),
    ])
}
