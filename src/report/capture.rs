//! A heat map as a Secondary Capture: what an archive keeps and every viewer shows, also one that reads no structured report.
//!
//! The words that it is no diagnosis are a part of its pixels (PS3.3 section A.8.1; C.8.6 for its own modules).

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::mem::InMemElement;
use dicom_object::{FileDicomObject, InMemDicomObject};

use super::element::{coded, empty, sequence, text};
use super::item::reference;
use super::source::SourceInstance;
use super::{Identity, ReportError, codes, document, file};
use crate::dicom::{StudyUid, text as value, uid};
use crate::finding::{Finding, InstanceResult, ModelReference, Reading};
use crate::image::heatmap::{Explanation, Picture};
use crate::image::lettering::captioned;

/// What stands in every picture.
pub const WARNING: &str = "AI, not for diagnosis";

/// What of the source's header holds for the capture as well: what of the body it shows, and what compression has taken from it.
const OF_THE_IMAGE: [Tag; 6] = [
    tags::BODY_PART_EXAMINED,
    tags::ANATOMIC_REGION_SEQUENCE,
    tags::PATIENT_ORIENTATION,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
];

/// Values of Body Part Examined (0018,0015) that are not one of a pair (PS3.16 annex L), of those that radiographs show.
const UNPAIRED_PARTS: [&str; 14] = [
    "LSPINE", "TSPINE", "CSPINE", "SSPINE", "SPINE", "TLSPINE", "LSSPINE", "CHEST", "ABDOMEN", "PELVIS",
    "HEAD", "SKULL", "NECK", "COCCYX",
];
/// The same as codes of SNOMED CT: lumbar, thoracic and cervical spine, spine, chest.
const UNPAIRED_REGIONS: [&str; 5] = ["122496007", "122495006", "122494005", "421060004", "816094009"];

/// The evidence for one finding on one image.
#[derive(Clone, Copy, Debug)]
pub struct HeatmapPicture<'a> {
    /// The radiograph with the evidence over it.
    pub picture: &'a Picture,
    /// Where the evidence comes from.
    pub explanation: Explanation,
    /// What it is evidence for.
    pub finding: &'a Finding,
    /// The model that was asked.
    pub model: &'a ModelReference,
    /// The place of the image in the result, from 1.
    pub number: usize,
}

/// The SOP Instance UID of the heat map of an image, in the result with this key.
#[must_use]
pub fn capture_uid(key: &str, image: &str) -> String {
    uid::derived(&["osteon", "heat map", key, image])
}

/// The Series Instance UID of the heat maps of the result with this key.
#[must_use]
pub fn capture_series_uid(key: &str) -> String {
    uid::derived(&["osteon", "heat map series", key])
}

/// The finding of a scored image whose evidence is shown: of those that are present the most probable; the first, where none is.
#[must_use]
pub fn shown_finding(instance: &InstanceResult) -> Option<&Finding> {
    let probable = |finding: &&Finding| match finding.reading {
        Reading::Probability {
            probability,
            positive: true,
            ..
        } => probability,
        _ => f32::NEG_INFINITY,
    };
    let findings = instance.findings.iter();
    // the first of equals
    findings.rev().max_by(|a, b| probable(a).total_cmp(&probable(b)))
}

/// The heat map as an object in the study of `header`, which is that of the image it was made from.
///
/// # Errors
/// [`ReportError`].
pub fn secondary_capture(
    map: &HeatmapPicture<'_>,
    identity: &Identity<'_>,
    header: &InMemDicomObject,
) -> Result<FileDicomObject<InMemDicomObject>, ReportError> {
    let source = SourceInstance::of(header)?;
    let study = StudyUid::parse(&value(header, tags::STUDY_INSTANCE_UID).unwrap_or_default())?;
    let instance = capture_uid(identity.key, source.uid.as_str());
    let said = format!("evidence for {}", map.finding.label);
    let picture = captioned(map.picture, &[WARNING, &said]);

    let mut object = InMemDicomObject::new_empty();
    let elements = document::patient_and_study(header)
        .into_iter()
        .chain(document::equipment_and_creation(&identity.shown_at(header)))
        .chain(
            OF_THE_IMAGE
                .into_iter()
                .filter_map(|tag| header.get(tag).cloned()),
        )
        .chain(series(identity.key))
        .chain(laterality(header, &source))
        .chain(image(map, &source))
        .chain(pixels(picture)?)
        .chain([
            text(tags::STUDY_INSTANCE_UID, VR::UI, study.as_str()),
            text(tags::SOP_CLASS_UID, VR::UI, uids::SECONDARY_CAPTURE_IMAGE_STORAGE),
            text(tags::SOP_INSTANCE_UID, VR::UI, instance.as_str()),
            text(tags::CONVERSION_TYPE, VR::CS, "WSD"),
        ]);
    for element in elements {
        object.put(element);
    }
    if object.get(tags::PATIENT_ORIENTATION).is_none() {
        object.put(empty(tags::PATIENT_ORIENTATION, VR::CS));
    }
    file(object, uids::SECONDARY_CAPTURE_IMAGE_STORAGE, &instance)
}

/// General Series (PS3.3 section C.7.3.1).
fn series(key: &str) -> [InMemElement; 4] {
    [
        text(tags::MODALITY, VR::CS, "OT"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, capture_series_uid(key)),
        text(tags::SERIES_NUMBER, VR::IS, "2"),
        text(
            tags::SERIES_DESCRIPTION,
            VR::LO,
            "osteon heat maps, not for diagnosis",
        ),
    ]
}

/// The side, of the image and not of the series, which may show both. Where the header does not say it, that of the series is unknown,
/// unless what is shown is not one of a pair (PS3.3 table C.7-5a: required then, and allowed only then).
fn laterality(header: &InMemDicomObject, source: &SourceInstance) -> Option<InMemElement> {
    let stated = value(header, tags::IMAGE_LATERALITY).or_else(|| value(header, tags::LATERALITY));
    if let Some(side) = stated.filter(|side| ["L", "R", "B", "U"].contains(&side.as_str())) {
        return Some(text(tags::IMAGE_LATERALITY, VR::CS, side));
    }
    let part = value(header, tags::BODY_PART_EXAMINED)
        .unwrap_or_default()
        .to_uppercase();
    let region = source.site.as_ref().map_or("", |site| site.value.as_str());
    let is_unpaired = UNPAIRED_PARTS.contains(&part.as_str()) || UNPAIRED_REGIONS.contains(&region);
    (!is_unpaired).then(|| empty(tags::LATERALITY, VR::CS))
}

/// General Image (PS3.3 section C.7.6.1): what it was made from, and how.
fn image(map: &HeatmapPicture<'_>, source: &SourceInstance) -> Vec<InMemElement> {
    let (model, finding) = (map.model, &map.finding.label);
    let how = match map.explanation {
        Explanation::ActivationMap => codes::CLASS_ACTIVATION,
        Explanation::Occlusion => codes::SALIENCY,
    };
    let derived = format!(
        "{WARNING}: evidence for {finding} by model {} {}, {}",
        model.name,
        model.version,
        map.explanation.name()
    );
    let mut from = reference(&source.class, source.uid.as_str());
    from.put(sequence(
        tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
        vec![coded(codes::SOURCE_IMAGE)],
    ));
    vec![
        DataElement::new(
            tags::IMAGE_TYPE,
            VR::CS,
            PrimitiveValue::Strs(["DERIVED", "SECONDARY"].map(str::to_owned).into_iter().collect()),
        ),
        text(tags::INSTANCE_NUMBER, VR::IS, map.number.to_string()),
        text(tags::IMAGE_COMMENTS, VR::LT, WARNING),
        text(tags::DERIVATION_DESCRIPTION, VR::ST, derived),
        sequence(tags::DERIVATION_CODE_SEQUENCE, vec![coded(how)]),
        sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![from]),
        text(tags::BURNED_IN_ANNOTATION, VR::CS, "YES"),
    ]
}

/// Image Pixel (PS3.3 section C.7.6.3): 8 bits for each of red, green and blue, pixel by pixel.
fn pixels(picture: Picture) -> Result<[InMemElement; 10], ReportError> {
    let size = |side: usize| u16::try_from(side).map_err(|_| ReportError::Writing);
    let number = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let (rows, columns) = (size(picture.rows)?, size(picture.columns)?);
    let mut values = picture.values;
    if values.len() % 2 == 1 {
        values.push(0);
    }
    Ok([
        number(tags::SAMPLES_PER_PIXEL, 3),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB"),
        number(tags::PLANAR_CONFIGURATION, 0),
        number(tags::ROWS, rows),
        number(tags::COLUMNS, columns),
        number(tags::BITS_ALLOCATED, 8),
        number(tags::BITS_STORED, 8),
        number(tags::HIGH_BIT, 7),
        number(tags::PIXEL_REPRESENTATION, 0),
        DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(values)),
    ])
}
