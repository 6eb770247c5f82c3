//! A phantom as a DICOM instance: Digital X-Ray Image Storage, For Presentation, Explicit VR Little Endian.
//!
//! Invariants: the header holds what a real one would and no label; everything in it is a function of the archive's seed, the
//! patient's number, the image's number and the phantom, so that the same archive comes out twice. A patient's images share
//! identity, study and series as long as their phantoms share a seed (views of one [`super::Recipe`]).

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::mem::InMemElement;
use dicom_object::{FileDicomObject, FileMetaTableBuilder, InMemDicomObject, WithMetaError};
use thiserror::Error;

use super::detector::MAXIMUM;
use super::element::{code, empty, number, sequence, text};
use super::truth::{Sex, Truth};
use super::{Phantom, calendar, identity};

/// Institutions by site; the last is the external one.
const INSTITUTIONS: [&str; 5] = [
    "PHANTOM HOSPITAL NORTH",
    "PHANTOM HOSPITAL EAST",
    "PHANTOM HOSPITAL SOUTH",
    "PHANTOM HOSPITAL WEST",
    "PHANTOM HOSPITAL ABROAD",
];
/// Manufacturers and models, taken in turn by the scanners.
const MODELS: [(&str, &str); 5] = [
    ("Synthetic Imaging", "Lateral One"),
    ("Phantom Medical", "PX-400"),
    ("Made-Up Radiography", "Detector 12"),
    ("Synthetic Imaging", "Lateral Two"),
    ("Phantom Medical", "PX-700"),
];

/// Why a phantom could not become an instance.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// The pixels do not fill the rows and columns.
    #[error("phantom of {rows} x {columns} holds {found} pixels")]
    PixelCount {
        /// Rows that the phantom claims.
        rows: u16,
        /// Columns that the phantom claims.
        columns: u16,
        /// Pixels that it holds.
        found: usize,
    },
    /// The file meta information was refused.
    #[error("could not build the file meta information: {0}")]
    Meta(#[from] Box<WithMetaError>),
}

/// The instance of image `image_index` (from 0) of `patient` in the archive `seed`.
///
/// # Errors
///
/// When the phantom's pixels do not fill its rows and columns, or the file meta information cannot be built.
pub fn to_dicom(
    phantom: &Phantom,
    seed: u64,
    patient: u32,
    image_index: u32,
) -> Result<FileDicomObject<InMemDicomObject>, InstanceError> {
    let (rows, columns) = (phantom.rows, phantom.columns);
    if phantom.pixels.len() != usize::from(rows) * usize::from(columns) {
        return Err(InstanceError::PixelCount {
            rows,
            columns,
            found: phantom.pixels.len(),
        });
    }
    let mut elements = identification(&phantom.truth, seed, patient, image_index);
    elements.extend(equipment(&phantom.truth));
    elements.extend(anatomy(&phantom.truth));
    elements.extend(image(phantom));
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION);
    InMemDicomObject::from_element_iter(elements)
        .with_meta(meta)
        .map_err(|error| InstanceError::Meta(Box::new(error)))
}

/// Patient, study, series and instance.
fn identification(truth: &Truth, seed: u64, patient: u32, image_index: u32) -> Vec<InMemElement> {
    let uid = |kind: &str, index: u32| identity::uid(kind, seed, patient, index);
    let days = calendar::study_day(identity::number("study day", seed, patient));
    let birth = calendar::birth_day(
        days,
        truth.age_years,
        identity::number("birth day", seed, patient),
    );
    let [study_date, birth_date] = [days, birth].map(calendar::date);
    let time = calendar::time(identity::number("study time", seed, patient), image_index);
    let sex = match truth.sex {
        Sex::Female => "F",
        Sex::Male => "M",
    };
    vec![
        text(
            tags::SOP_CLASS_UID,
            VR::UI,
            uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
        ),
        text(tags::SOP_INSTANCE_UID, VR::UI, uid("instance", image_index)),
        text(tags::STUDY_DATE, VR::DA, study_date.clone()),
        text(tags::SERIES_DATE, VR::DA, study_date.clone()),
        text(tags::ACQUISITION_DATE, VR::DA, study_date.clone()),
        text(tags::CONTENT_DATE, VR::DA, study_date),
        text(
            tags::STUDY_TIME,
            VR::TM,
            calendar::time(identity::number("study time", seed, patient), 0),
        ),
        text(tags::ACQUISITION_TIME, VR::TM, time.clone()),
        text(tags::CONTENT_TIME, VR::TM, time),
        text(
            tags::ACCESSION_NUMBER,
            VR::SH,
            format!(
                "PH{:010}",
                identity::number("accession", seed, patient) % 10_000_000_000
            ),
        ),
        text(tags::MODALITY, VR::CS, "DX"),
        text(tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PRESENTATION"),
        empty(tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        text(tags::STUDY_DESCRIPTION, VR::LO, "Lumbar spine"),
        text(tags::SERIES_DESCRIPTION, VR::LO, "L-spine lateral"),
        text(tags::PATIENT_NAME, VR::PN, format!("PHANTOM^{patient:06}")),
        text(
            tags::PATIENT_ID,
            VR::LO,
            format!("PH{:08x}-{patient:06}", seed as u32),
        ),
        text(tags::PATIENT_BIRTH_DATE, VR::DA, birth_date),
        text(tags::PATIENT_SEX, VR::CS, sex),
        text(tags::PATIENT_AGE, VR::AS, format!("{:03}Y", truth.age_years)),
        text(tags::STUDY_INSTANCE_UID, VR::UI, uid("study", 0)),
        text(tags::SERIES_INSTANCE_UID, VR::UI, uid("series", 0)),
        text(tags::STUDY_ID, VR::SH, format!("{patient}")),
        text(tags::SERIES_NUMBER, VR::IS, "1"),
        text(
            tags::INSTANCE_NUMBER,
            VR::IS,
            format!("{}", image_index.saturating_add(1)),
        ),
    ]
}

/// Where and on what the image was made.
fn equipment(truth: &Truth) -> Vec<InMemElement> {
    let institution = INSTITUTIONS[usize::from(truth.site) % INSTITUTIONS.len()];
    let (manufacturer, model) = MODELS[usize::from(truth.scanner) % MODELS.len()];
    vec![
        text(tags::MANUFACTURER, VR::LO, manufacturer),
        text(tags::INSTITUTION_NAME, VR::LO, institution),
        text(tags::STATION_NAME, VR::SH, format!("DX{:02}", truth.scanner)),
        text(tags::MANUFACTURER_MODEL_NAME, VR::LO, model),
        text(
            tags::DEVICE_SERIAL_NUMBER,
            VR::LO,
            format!("SYN-{:04}", 1000 + u16::from(truth.scanner) * 37),
        ),
        text(tags::SOFTWARE_VERSIONS, VR::LO, "1.0"),
        text(tags::DETECTOR_TYPE, VR::CS, "SCINTILLATOR"),
        text(tags::DETECTOR_CONFIGURATION, VR::CS, "AREA"),
    ]
}

/// What was imaged, from which side.
fn anatomy(truth: &Truth) -> Vec<InMemElement> {
    let (view, row_direction) = if truth.facing_left {
        ("LL", "P")
    } else {
        ("RL", "A")
    };
    vec![
        text(tags::BODY_PART_EXAMINED, VR::CS, "LSPINE"),
        text(tags::VIEW_POSITION, VR::CS, view),
        DataElement::new(
            tags::PATIENT_ORIENTATION,
            VR::CS,
            PrimitiveValue::Strs([row_direction, "F"].map(String::from).into_iter().collect()),
        ),
        empty(tags::POSITIONER_TYPE, VR::CS),
        text(tags::IMAGE_LATERALITY, VR::CS, "U"),
        sequence(
            tags::ANATOMIC_REGION_SEQUENCE,
            vec![code("122496007", "Lumbar spine", Vec::new())],
        ),
        sequence(
            tags::VIEW_CODE_SEQUENCE,
            vec![code(
                "399067008",
                "lateral projection",
                vec![sequence(tags::VIEW_MODIFIER_CODE_SEQUENCE, Vec::new())],
            )],
        ),
        sequence(tags::ACQUISITION_CONTEXT_SEQUENCE, Vec::new()),
    ]
}

/// The pixels and how to show them.
fn image(phantom: &Phantom) -> Vec<InMemElement> {
    let inverted = phantom.truth.monochrome1;
    let stored: Vec<u16> = phantom
        .pixels
        .iter()
        .map(|value| {
            if inverted {
                MAXIMUM - (*value).min(MAXIMUM)
            } else {
                (*value).min(MAXIMUM)
            }
        })
        .collect();
    let (photometric, shape, sign) = if inverted {
        ("MONOCHROME1", "INVERSE", 1)
    } else {
        ("MONOCHROME2", "IDENTITY", -1_i16)
    };
    let (center, width) = window(&stored, usize::from(phantom.columns));
    let spacing = format!("{:.5}", phantom.pixel_spacing_mm);
    let pair = |tag: Tag| {
        DataElement::new(
            tag,
            VR::DS,
            PrimitiveValue::Strs([spacing.clone(), spacing.clone()].into_iter().collect()),
        )
    };
    let image_type = PrimitiveValue::Strs(
        ["ORIGINAL", "PRIMARY", ""]
            .map(String::from)
            .into_iter()
            .collect(),
    );
    vec![
        DataElement::new(tags::IMAGE_TYPE, VR::CS, image_type),
        number(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric),
        number(tags::ROWS, phantom.rows),
        number(tags::COLUMNS, phantom.columns),
        pair(tags::PIXEL_SPACING),
        pair(tags::IMAGER_PIXEL_SPACING),
        number(tags::BITS_ALLOCATED, 16),
        number(tags::BITS_STORED, 12),
        number(tags::HIGH_BIT, 11),
        number(tags::PIXEL_REPRESENTATION, 0),
        text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO"),
        text(tags::PIXEL_INTENSITY_RELATIONSHIP, VR::CS, "LOG"),
        DataElement::new(
            tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN,
            VR::SS,
            PrimitiveValue::from(sign),
        ),
        text(tags::WINDOW_CENTER, VR::DS, format!("{center}")),
        text(tags::WINDOW_WIDTH, VR::DS, format!("{width}")),
        text(tags::RESCALE_INTERCEPT, VR::DS, "0"),
        text(tags::RESCALE_SLOPE, VR::DS, "1"),
        text(tags::RESCALE_TYPE, VR::LO, "US"),
        text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"),
        text(tags::PRESENTATION_LUT_SHAPE, VR::CS, shape),
        DataElement::new(
            tags::PIXEL_DATA,
            VR::OW,
            PrimitiveValue::U16(stored.into_iter().collect()),
        ),
    ]
}

/// Centre and width of the window over the stored values that the middle of the image uses.
fn window(stored: &[u16], columns: usize) -> (u16, u16) {
    let rows = stored.len() / columns.max(1);
    let within = |place: usize, count: usize| place >= count / 6 && place < count - count / 6;
    let lines = stored
        .chunks_exact(columns.max(1))
        .enumerate()
        .filter(|(row, _)| within(*row, rows));
    let mut middle: Vec<u16> = lines
        .flat_map(|(_, line)| {
            line.iter()
                .enumerate()
                .filter(|(column, _)| within(*column, columns))
                .map(|(_, value)| *value)
        })
        .step_by(5)
        .collect();
    middle.sort_unstable();
    let last = middle.len().saturating_sub(1);
    let [low, high] =
        [last / 200, last - last / 200].map(|place| middle.get(place).copied().unwrap_or_default());
    (
        low + high.saturating_sub(low) / 2,
        high.saturating_sub(low).max(256),
    )
}
