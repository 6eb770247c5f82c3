//! The images that a report is about.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::codes::{self, BODY_PARTS, Code};
use super::element::code_of;
use crate::dicom::{CodedValue, InstanceUid, InvalidUid, SeriesUid, text};

/// Which side of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `L`.
    Left,
    /// `R`.
    Right,
    /// `B`, both.
    Both,
}

impl Side {
    pub(super) fn code(self) -> Code {
        match self {
            Self::Left => codes::LEFT,
            Self::Right => codes::RIGHT,
            Self::Both => codes::BILATERAL,
        }
    }
}

/// What a report says of one image that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInstance {
    /// Series Instance UID (0020,000E).
    pub series: SeriesUid,
    /// SOP Instance UID (0008,0018).
    pub uid: InstanceUid,
    /// SOP Class UID (0008,0016); it is a valid UID.
    pub class: String,
    /// What of the body it shows, where it is known.
    pub site: Option<CodedValue>,
    /// Which side that is on, where it is known.
    pub side: Option<Side>,
}

impl SourceInstance {
    /// Reads it from the image's header: the site from Anatomic Region Sequence (0008,2218), otherwise from Body Part Examined
    /// (0018,0015) where that has a code; the side from Image Laterality (0020,0062), otherwise from Laterality (0020,0060).
    ///
    /// # Errors
    /// [`InvalidUid`] where series, instance or class has none that is valid.
    pub fn of(header: &InMemDicomObject) -> Result<Self, InvalidUid> {
        let read = |tag| text(header, tag).unwrap_or_default();
        let class = InstanceUid::parse(&read(tags::SOP_CLASS_UID)).map_err(|_| InvalidUid {
            what: "SOPClassUID (0008,0016)",
        })?;
        Ok(Self {
            series: SeriesUid::parse(&read(tags::SERIES_INSTANCE_UID))?,
            uid: InstanceUid::parse(&read(tags::SOP_INSTANCE_UID))?,
            class: class.into(),
            site: site(header),
            side: side(header),
        })
    }
}

fn site(header: &InMemDicomObject) -> Option<CodedValue> {
    let region = header
        .get(tags::ANATOMIC_REGION_SEQUENCE)
        .and_then(|region| region.items()?.first())
        .and_then(code_of);
    region.or_else(|| {
        let part = text(header, tags::BODY_PART_EXAMINED)?.to_uppercase();
        let (_, code) = BODY_PARTS.into_iter().find(|(name, _)| *name == part)?;
        Some(code.into())
    })
}

fn side(header: &InMemDicomObject) -> Option<Side> {
    let stated = text(header, tags::IMAGE_LATERALITY).or_else(|| text(header, tags::LATERALITY))?;
    match stated.as_str() {
        "L" => Some(Side::Left),
        "R" => Some(Side::Right),
        "B" => Some(Side::Both),
        _ => None,
    }
}
