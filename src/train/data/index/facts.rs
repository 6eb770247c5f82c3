//! What one image says of itself, as the work log keeps it: identifiers only under the key, words as they were written.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde::{Deserialize, Serialize};

use crate::deidentify::{Key, Suspicion, Verdict, judge};
use crate::dicom::{Attributes, Instance, text};
use crate::image::StoredImage;
use crate::image::fingerprint::Fingerprint;
use crate::image::inscription::is_inscribed;

/// Where it is said in words what an image shows, the most specific first.
const DESCRIPTIONS: [Tag; 6] = [
    tags::SERIES_DESCRIPTION,
    tags::PROTOCOL_NAME,
    tags::ACQUISITION_DEVICE_PROCESSING_DESCRIPTION,
    tags::PERFORMED_PROCEDURE_STEP_DESCRIPTION,
    tags::STUDY_DESCRIPTION,
    tags::REQUESTED_PROCEDURE_DESCRIPTION,
];
/// Distances of pixels, the one of the patient before that of the detector.
const SPACINGS: [Tag; 3] = [
    tags::PIXEL_SPACING,
    tags::IMAGER_PIXEL_SPACING,
    tags::NOMINAL_SCANNED_PIXEL_SPACING,
];

/// Whether there is text in the pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BurnedIn {
    /// The header does not say.
    #[default]
    Unknown,
    /// The header says that there is none.
    No,
    /// The header speaks for it, without saying it.
    Likely,
    /// Something is written there, whatever the header says.
    Seen,
    /// The header says that there is.
    Stated,
}

impl BurnedIn {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::No => "no",
            Self::Likely => "likely",
            Self::Seen => "seen",
            Self::Stated => "stated",
        }
    }

    /// Reads a cell of a table; nothing for an empty one. A word that is none of these counts as a statement that there is text: whoever
    /// wrote it meant something.
    pub(super) fn read(cell: &str) -> Option<Self> {
        let known = [Self::Unknown, Self::No, Self::Likely, Self::Seen, Self::Stated];
        let named = known.into_iter().find(|one| one.name() == cell);
        (!cell.is_empty()).then(|| named.unwrap_or(Self::Stated))
    }

    /// What a header says.
    pub(super) fn of_header(instance: &Instance) -> Self {
        match judge(&instance.header, &instance.class) {
            Verdict::Clean => Self::No,
            Verdict::Unknown => Self::Unknown,
            Verdict::Suspected(Suspicion::Stated) => Self::Stated,
            Verdict::Suspected(_) => Self::Likely,
        }
    }

    /// After a look at the pixels.
    pub(super) fn looked_at(self, image: &StoredImage) -> Self {
        if self != Self::Stated && is_inscribed(image) {
            Self::Seen
        } else {
            self
        }
    }

    /// Whether names of patients may stand in the pixels, so that people are not shown them.
    #[must_use]
    pub fn is_suspected(self) -> bool {
        matches!(self, Self::Likely | Self::Seen | Self::Stated)
    }
}

/// What one image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Its name in the index: for DICOM the UID that de-identification under the same key gives it.
    pub image: String,
    /// The pseudonym of its patient; pictures have none.
    pub patient: Option<String>,
    /// The study's UID under the key.
    pub study: Option<String>,
    /// The accession number under the key.
    pub accession: Option<String>,
    /// Modality (0008,0060).
    pub modality: String,
    /// Code value of Anatomic Region Sequence.
    pub region_code: Option<String>,
    /// Body Part Examined (0018,0015).
    pub body_part: Option<String>,
    /// Code value of View Code Sequence.
    pub view_code: Option<String>,
    /// View Position (0018,5101).
    pub view: Option<String>,
    /// Image Laterality (0020,0062), or Laterality (0020,0060).
    pub laterality: Option<String>,
    /// Descriptions, the most specific first.
    pub descriptions: Vec<String>,
    /// Whole years.
    pub age: Option<u16>,
    /// Patient's Sex (0010,0040): M, F or O.
    pub sex: Option<String>,
    /// Institution Name (0008,0080).
    pub institution: Option<String>,
    /// Manufacturer, model and serial number or station.
    pub scanner: Option<String>,
    /// Millimetres from row to row and from column to column.
    pub spacing: Option<[f64; 2]>,
    /// Rows and columns.
    pub size: [usize; 2],
    /// Photometric Interpretation (0028,0004), where it says whether low values are light or dark.
    pub polarity: Option<String>,
    /// Whether there is text in the pixels.
    pub burned_in: BurnedIn,
    /// By which copies of the picture are found; none where there is too little in it.
    pub fingerprints: Vec<Fingerprint>,
}

impl Facts {
    /// What a header says.
    pub(super) fn of_instance(instance: &Instance, key: &Key) -> Self {
        let header = &instance.header;
        let said = Attributes::of(instance);
        let own = |tag| text(header, tag);
        let scanner: Vec<String> = [tags::MANUFACTURER, tags::MANUFACTURER_MODEL_NAME]
            .into_iter()
            .chain([
                own(tags::DEVICE_SERIAL_NUMBER).map_or(tags::STATION_NAME, |_| tags::DEVICE_SERIAL_NUMBER)
            ])
            .filter_map(own)
            .collect();
        let spacing = |tag| {
            let values = header.get(tag)?.to_multi_float64().ok()?;
            let pair: [f64; 2] = values.get(..2)?.try_into().ok()?;
            pair.iter()
                .all(|side| side.is_finite() && *side > 0.0)
                .then_some(pair)
        };
        Self {
            image: key.uid(instance.uid.as_str()),
            patient: Some(key.pseudonym_of(header)),
            study: Some(key.uid(instance.study.as_str())),
            accession: own(tags::ACCESSION_NUMBER).map(|number| key.code("accession", &number)),
            modality: said.modality.unwrap_or_default(),
            region_code: said.region_code,
            body_part: said.body_part,
            view_code: said.view_code,
            view: said.view_position,
            // U is unpaired: it says that there is no side
            laterality: said
                .image_laterality
                .or(said.laterality)
                .filter(|side| side != "U"),
            descriptions: DESCRIPTIONS.into_iter().filter_map(own).collect(),
            age: said.age_years.filter(|age| *age <= 130),
            sex: own(tags::PATIENT_SEX).filter(|sex| ["M", "F", "O"].contains(&sex.as_str())),
            institution: said.institution,
            scanner: (!scanner.is_empty()).then(|| scanner.join(" / ")),
            spacing: SPACINGS.into_iter().find_map(spacing),
            polarity: own(tags::PHOTOMETRIC_INTERPRETATION)
                .filter(|own| ["MONOCHROME1", "MONOCHROME2"].contains(&own.as_str())),
            burned_in: BurnedIn::of_header(instance),
            ..Self::default()
        }
    }

    /// What a picture says: nothing but its bytes.
    pub(super) fn of_picture(digest: &str, key: &Key) -> Self {
        Self {
            image: key.uid(&format!("sha256:{digest}")),
            ..Self::default()
        }
    }
}
