//! De-identification of images: the Basic Application Level Confidentiality Profile of PS3.15 annex E, its options, and what
//! this code does beyond it (`docs/decisions/0009-de-identification.md`).
//!
//! [`Deidentifier::file`] is the only door: the bytes of a file go in; a file that is new from its first byte to its last
//! comes out with a [`Report`] that holds no value of the old one, or a [`Refusal`] does. The same key gives the same
//! UIDs, pseudonyms and days in every run.

mod burned_in;
mod codes;
mod data_set;
mod dates;
mod elements;
pub mod key;
pub mod mask_rules;
pub mod options;
mod outside;
pub mod private;
mod profile_option;
pub mod report;
mod statement;
mod table;
pub mod terms;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

pub use burned_in::{Suspicion, Verdict, judge};
use data_set::{Rules, Walk};
pub use key::Key;
pub use mask_rules::MaskRule;
pub use options::Options;
pub use private::PrivateAttribute;
pub use profile_option::ProfileOption;
pub use report::Report;
pub use terms::Terms;

use crate::dicom::{Instance, InstanceError, InstanceUid, uid};
use crate::image::decode::DecodeError;
use crate::image::mask::{Pixels, Rewritten, rewrite};

/// Why there is no de-identified file. No variant shows a value of the data set.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(InstanceError),
    /// Its transfer syntax is in no registry; which it is might be anything.
    #[error("its transfer syntax is not supported")]
    TransferSyntax,
    /// Not an image: reports, documents and presentation states are text, which cannot be cleaned.
    #[error("it has no Pixel Data (7FE0,0010): only images are de-identified")]
    NoImage,
    /// A class of a vendor's own, for which the standard defines nothing.
    #[error(
        "its SOP class is not one of the standard's: de-identification is not defined for it (PS3.15 section E.1.1)"
    )]
    PrivateClass,
    /// The pixels may name the patient.
    #[error("{0}: mask rules have to say what is to be blacked out")]
    BurnedIn(Suspicion),
    /// The pixels cannot be written anew. Only the kind of the reason is told: its sentence may have numbers of the header.
    #[error("its pixels cannot be decoded ({})", .0.code())]
    Pixels(#[from] DecodeError),
    /// The new data set cannot be written.
    #[error("the de-identified data set cannot be written")]
    Writing,
}

impl From<InstanceError> for Refusal {
    fn from(error: InstanceError) -> Self {
        match error {
            // the message would show a UID of the file
            InstanceError::TransferSyntax(_) => Self::TransferSyntax,
            other => Self::Unreadable(other),
        }
    }
}

/// A file that names nobody.
#[derive(Clone, Debug)]
pub struct Deidentified {
    /// Its bytes, Explicit VR Little Endian.
    pub file: Vec<u8>,
    /// Its SOP Instance UID.
    pub uid: InstanceUid,
    /// What was changed.
    pub report: Report,
    /// New UIDs by old: as secret as the key.
    pub uids: BTreeMap<String, String>,
}

/// The profile with its options, under a key.
#[derive(Clone, Debug)]
pub struct Deidentifier {
    rules: Rules,
    masks: Vec<MaskRule>,
}

impl Deidentifier {
    /// The profile with `options`.
    #[must_use]
    pub fn new(key: Key, options: Options) -> Self {
        Self {
            rules: Rules {
                key,
                options,
                terms: Terms::default(),
                keep_private: BTreeSet::new(),
            },
            masks: Vec::new(),
        }
    }

    /// Keeps these values and words, too.
    #[must_use]
    pub fn with_terms(mut self, terms: Terms) -> Self {
        self.rules.terms = terms;
        self
    }

    /// Keeps these private attributes as they are.
    #[must_use]
    pub fn with_private(mut self, attributes: impl IntoIterator<Item = PrivateAttribute>) -> Self {
        self.rules.keep_private.extend(attributes);
        self
    }

    /// Blacks out what these rules say (Clean Pixel Data Option).
    #[must_use]
    pub fn with_masks(mut self, rules: Vec<MaskRule>) -> Self {
        self.masks = rules;
        self
    }

    /// De-identifies one DICOM file.
    ///
    /// # Errors
    /// [`Refusal`], which says what was wrong and never quotes a value of the data set.
    pub fn file(&self, file: Bytes) -> Result<Deidentified, Refusal> {
        let instance = Instance::parse(file)?;
        if instance.pixels.is_none() {
            return Err(Refusal::NoImage);
        }
        // it goes into the file meta information, and has to be a UID for that
        if !instance.class.starts_with(data_set::STANDARD) || InstanceUid::parse(&instance.class).is_err() {
            return Err(Refusal::PrivateClass);
        }
        let mut report = Report::default();
        let rectangles = mask_rules::matching(&self.masks, &instance);
        if rectangles.is_none() {
            match judge(&instance.header, &instance.class) {
                Verdict::Clean => {}
                Verdict::Unknown => report.warnings.push(
                    "Burned In Annotation (0028,0301) does not say whether there is text in the pixels",
                ),
                Verdict::Suspected(suspicion) => return Err(Refusal::BurnedIn(suspicion)),
            }
        }
        let masked = rectangles.is_some();
        let rectangles = rectangles.unwrap_or_default();
        report.masked = rectangles.len();
        let rewritten = rewrite(&instance, &rectangles)?;

        let mut walk = Walk::new(&self.rules, &instance.header);
        let mut object = walk.data_set(&instance.header);
        let uid = if self.rules.options.has(ProfileOption::Uids) {
            instance.uid.clone()
        } else {
            let new = walk.new_uid(instance.uid.as_str()).ok_or(Refusal::Writing)?;
            InstanceUid::parse(&new).map_err(InstanceError::from)?
        };
        put_pixels(&mut object, rewritten);
        statement::add(&mut object, &self.rules.options, masked);
        report.changes = walk.changes;
        Ok(Deidentified {
            file: written(object, &instance.class, &uid)?,
            uid,
            report,
            uids: walk.uids,
        })
    }
}

/// Pixel Data, and the attributes that say how it lies.
fn put_pixels(object: &mut InMemDicomObject, rewritten: Rewritten) {
    let (allocated, vr, value) = match rewritten.pixels {
        Pixels::Bytes(bytes) => (8_u16, VR::OB, PrimitiveValue::U8(bytes.into())),
        Pixels::Words(words) => (16, VR::OW, PrimitiveValue::U16(words.into())),
    };
    let number = |tag: Tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    object.put(number(tags::BITS_ALLOCATED, allocated));
    object.put(number(tags::BITS_STORED, rewritten.bits_stored));
    object.put(number(tags::HIGH_BIT, rewritten.bits_stored - 1));
    object.put(DataElement::new(tags::PIXEL_DATA, vr, value));
}

/// The file, with a preamble of zeros and file meta information of our own (PS3.15 section E.1.1, point 7).
fn written(object: InMemDicomObject, class: &str, instance: &InstanceUid) -> Result<Vec<u8>, Refusal> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(instance.as_str())
        .implementation_class_uid(uid::implementation_class())
        .implementation_version_name(concat!("OSTEON ", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| Refusal::Writing)?;
    let mut file = Vec::new();
    object
        .with_exact_meta(meta)
        .write_all(&mut file)
        .map_err(|_| Refusal::Writing)?;
    Ok(file)
}
