//! Whether text may be burned into the pixels, by what the header says. No pixel is looked at.

use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use crate::dicom::text;

/// Classes of images that are pictures of a screen or of paper.
const CAPTURES: [&str; 5] = [
    uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_SINGLE_BIT_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_GRAYSCALE_BYTE_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_GRAYSCALE_WORD_SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE_IMAGE_STORAGE,
];
/// Classes of images onto which the machine writes the patient's name.
const INSCRIBED: [&str; 4] = [
    uids::ULTRASOUND_IMAGE_STORAGE,
    uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE,
    // the same two, retired
    "1.2.840.10008.5.1.4.1.1.6",
    "1.2.840.10008.5.1.4.1.1.3",
];

/// Why the pixels may name the patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Suspicion {
    /// Burned In Annotation is YES.
    #[error("Burned In Annotation (0028,0301) is YES")]
    Stated,
    /// A screen save.
    #[error("Image Type (0008,0008) says that it is a screen save")]
    ScreenSave,
    /// A secondary capture, or an ultrasound image.
    #[error(
        "images of its SOP class often have text in their pixels, and Burned In Annotation (0028,0301) is not NO"
    )]
    Class,
    /// A converted image.
    #[error(
        "Conversion Type (0008,0064) says that it was digitised, and Burned In Annotation (0028,0301) is not NO"
    )]
    Converted,
    /// A derived picture, and not what a detector saw.
    #[error("Image Type (0008,0008) is SECONDARY, and Burned In Annotation (0028,0301) is not NO")]
    Secondary,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none.
    Clean,
    /// It does not say, and nothing speaks for any.
    Unknown,
    /// There is, or it is too likely.
    Suspected(Suspicion),
}

/// Whether text may be burned into the pixels of an image of this SOP class.
#[must_use]
pub fn judge(header: &InMemDicomObject, class: &str) -> Verdict {
    let stated = text(header, tags::BURNED_IN_ANNOTATION).map(|stated| stated.to_uppercase());
    let image_type: Vec<String> = header
        .get(tags::IMAGE_TYPE)
        .and_then(|element| element.to_multi_str().ok())
        .map(|values| values.iter().map(|value| value.trim().to_uppercase()).collect())
        .unwrap_or_default();
    if image_type.iter().any(|value| value.contains("SCREEN")) {
        return Verdict::Suspected(Suspicion::ScreenSave);
    }
    match stated.as_deref() {
        Some("NO") => return Verdict::Clean,
        Some("YES") => return Verdict::Suspected(Suspicion::Stated),
        _ => {}
    }
    if CAPTURES.contains(&class) || INSCRIBED.contains(&class) {
        return Verdict::Suspected(Suspicion::Class);
    }
    if text(header, tags::CONVERSION_TYPE).is_some() {
        return Verdict::Suspected(Suspicion::Converted);
    }
    // the second value says whether the image was made from the patient (PRIMARY) or after the examination
    if image_type.get(1).is_some_and(|value| value == "SECONDARY") {
        return Verdict::Suspected(Suspicion::Secondary);
    }
    Verdict::Unknown
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, Tag, VR};

    use super::*;

    fn verdict(class: &str, elements: &[(Tag, &str)]) -> Verdict {
        let elements = elements.iter().map(|(tag, value)| {
            let values = value.split('\\').map(String::from).collect();
            DataElement::new(*tag, VR::CS, PrimitiveValue::Strs(values))
        });
        judge(&InMemDicomObject::from_element_iter(elements), class)
    }

    #[test]
    fn what_is_stated_or_likely_is_suspected() {
        let dx = uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION;
        let capture = uids::SECONDARY_CAPTURE_IMAGE_STORAGE;
        let burned = tags::BURNED_IN_ANNOTATION;
        assert_eq!(verdict(dx, &[]), Verdict::Unknown);
        assert_eq!(verdict(dx, &[(burned, "NO")]), Verdict::Clean);
        assert_eq!(
            verdict(dx, &[(burned, "YES")]),
            Verdict::Suspected(Suspicion::Stated)
        );
        assert_eq!(verdict(capture, &[]), Verdict::Suspected(Suspicion::Class));
        assert_eq!(verdict(capture, &[(burned, "NO")]), Verdict::Clean);
        assert_eq!(
            verdict(dx, &[(tags::CONVERSION_TYPE, "DF")]),
            Verdict::Suspected(Suspicion::Converted)
        );
        assert_eq!(
            verdict(dx, &[(tags::IMAGE_TYPE, "DERIVED\\SECONDARY")]),
            Verdict::Suspected(Suspicion::Secondary)
        );
        assert_eq!(
            verdict(
                dx,
                &[
                    (tags::IMAGE_TYPE, "DERIVED\\PRIMARY\\SCREEN SAVE"),
                    (burned, "NO")
                ]
            ),
            Verdict::Suspected(Suspicion::ScreenSave)
        );
    }
}
