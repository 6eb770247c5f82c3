//! DICOM data sets whose identity has been checked.
//!
//! [`Instance::parse`] is the only way in: what it returns has valid study, series and instance UIDs. It says nothing
//! of pixels; those are looked at by [`crate::image::decode`], so that an object without an image can still be stored.

pub mod attributes;
pub mod bounds;
pub mod media_type;
pub mod multipart;
pub mod uid;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::{FileDicomObject, InMemDicomObject, OpenFileOptions, ReadError};

use crate::fault::{Fault, FaultKind};
pub use attributes::{Attributes, CodedValue};
pub use uid::{InstanceUid, InvalidUid, SeriesUid, StudyUid};

/// The data set of one file with its file meta information.
pub type Object = FileDicomObject<InMemDicomObject>;

/// A parsed instance with valid identity.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The whole data set.
    pub object: Object,
    /// The study it belongs to.
    pub study: StudyUid,
    /// The series it belongs to.
    pub series: SeriesUid,
    /// Its own UID.
    pub uid: InstanceUid,
    /// SOP Class UID (0008,0016).
    pub class: String,
}

/// Why bytes are not an instance.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// There was nothing.
    #[error("the body is empty: send the bytes of one DICOM file")]
    Empty,
    /// The bytes do not start as a DICOM file does.
    #[error(
        "this is not a DICOM file: there is no `DICM` after a 128-byte preamble (PS3.10 section 7.1), nor at the start"
    )]
    NotDicom,
    /// The bytes start as a DICOM file and then break off or contradict themselves.
    #[error("the DICOM file is damaged or truncated: {0}")]
    Damaged(String),
    /// The file names a transfer syntax that this server cannot read.
    #[error(
        "transfer syntax {0} is not supported: send the file in Explicit VR Little Endian (1.2.840.10008.1.2.1)"
    )]
    TransferSyntax(String),
    /// An attribute that identifies the instance is missing or wrong.
    #[error(transparent)]
    Identity(#[from] InvalidUid),
}

impl From<InstanceError> for Fault {
    fn from(error: InstanceError) -> Self {
        let (kind, code) = match &error {
            InstanceError::Empty => (FaultKind::Invalid, "empty"),
            InstanceError::NotDicom => (FaultKind::Invalid, "not-dicom"),
            InstanceError::Damaged(_) => (FaultKind::Invalid, "damaged"),
            InstanceError::TransferSyntax(_) => (FaultKind::Unsupported, "transfer-syntax"),
            InstanceError::Identity(_) => (FaultKind::Invalid, "identity"),
        };
        Fault::new(kind, code, error.to_string())
    }
}

impl Instance {
    /// Reads one DICOM file (PS3.10) and checks its identity.
    ///
    /// # Errors
    /// [`InstanceError`], which says what was wrong; it never quotes a value of the data set.
    pub fn parse(bytes: &[u8]) -> Result<Self, InstanceError> {
        if bytes.is_empty() {
            return Err(InstanceError::Empty);
        }
        let magic = |at: usize| bytes.get(at..at + 4) == Some(b"DICM".as_slice());
        if !magic(128) && !magic(0) {
            return Err(InstanceError::NotDicom);
        }
        bounds::check(bytes).map_err(|error| InstanceError::Damaged(error.to_string()))?;
        // the parser must not be able to take a request handler down with it, whatever the bytes are
        let read = catch_unwind(AssertUnwindSafe(|| {
            OpenFileOptions::new().from_reader(Cursor::new(bytes))
        }));
        let object = match read {
            Ok(Ok(object)) => object,
            Ok(Err(error)) => return Err(reading(error)),
            Err(_) => {
                return Err(InstanceError::Damaged(
                    "its structure could not be followed".to_owned(),
                ));
            }
        };
        Self::from_object(object)
    }

    /// Checks the identity of a data set that was read or made elsewhere.
    ///
    /// # Errors
    /// [`InstanceError::Identity`] where a UID is missing or invalid.
    pub fn from_object(object: Object) -> Result<Self, InstanceError> {
        Ok(Self {
            study: StudyUid::parse(
                text(&object, tags::STUDY_INSTANCE_UID)
                    .as_deref()
                    .unwrap_or_default(),
            )?,
            series: SeriesUid::parse(
                text(&object, tags::SERIES_INSTANCE_UID)
                    .as_deref()
                    .unwrap_or_default(),
            )?,
            uid: InstanceUid::parse(
                text(&object, tags::SOP_INSTANCE_UID)
                    .as_deref()
                    .unwrap_or_default(),
            )?,
            class: text(&object, tags::SOP_CLASS_UID).unwrap_or_default(),
            object,
        })
    }

    /// The Transfer Syntax UID (0002,0010) of the file, without padding.
    #[must_use]
    pub fn transfer_syntax(&self) -> &str {
        self.object.meta().transfer_syntax().trim_end_matches(['\0', ' '])
    }
}

fn reading(error: ReadError) -> InstanceError {
    match error {
        ReadError::ReadUnrecognizedTransferSyntax { uid, .. } => {
            // the UID comes from the file: show it only where it can be nothing but a UID
            InstanceError::TransferSyntax(
                StudyUid::parse(&uid).map_or_else(|_| "(invalid)".to_owned(), String::from),
            )
        }
        ReadError::ReadUnsupportedTransferSyntax { uid, .. }
        | ReadError::ReadUnsupportedTransferSyntaxWithSuggestion { uid, .. } => {
            InstanceError::TransferSyntax(uid.to_owned())
        }
        ReadError::ParseMetaDataSet { .. } => {
            InstanceError::Damaged("the file meta information (group 0002) cannot be read".to_owned())
        }
        ReadError::ReadToken { .. }
        | ReadError::MissingElementValue { .. }
        | ReadError::PrematureEnd { .. } => {
            InstanceError::Damaged("the data set ends early or a declared length is wrong".to_owned())
        }
        _ => InstanceError::Damaged("the data set cannot be read".to_owned()),
    }
}

/// The trimmed text of a top-level element, if it is there, is text and is not empty.
#[must_use]
pub fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let value = object.get(tag)?.to_str().ok()?;
    let trimmed = value.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// The first number of a top-level element, if it is there and is a number.
#[must_use]
pub fn number(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    object.get(tag)?.to_multi_float64().ok()?.first().copied()
}
