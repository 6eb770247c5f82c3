//! DICOM data sets whose identity has been checked.
//!
//! [`Instance::parse`] is the only way in: what it returns has valid study, series and instance UIDs. It says nothing
//! of pixels; those are looked at by [`crate::image::decode`], so that an object without an image can still be stored.

mod ae_title;
pub mod attributes;
mod character_set;
pub mod command;
pub mod date_time;
mod envelope;
pub mod explicit;
mod flat;
pub mod json;
pub mod media_type;
pub mod multipart;
pub mod query;
pub mod record;
mod repair;
mod structure;
pub mod uid;
mod value_representation;
pub mod xml;

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_object::{InMemDicomObject, ReadError};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use flate2::bufread::DeflateDecoder;

use crate::fault::{Fault, FaultKind};
use crate::pages::Pages;
pub use ae_title::{AeTitle, InvalidAeTitle};
pub use attributes::{Attributes, CodedValue};
use envelope::Envelope;
pub use flat::{FlatDataSet, NotFlat};
pub use repair::{Repair, Repairs};
use structure::{Header, OutOfBounds, Pixels, Structure, Syntax};
pub use uid::{InstanceUid, InvalidUid, SeriesUid, StudyUid};

/// The most bytes that a deflated data set may have when inflated: more than the largest image that is decoded.
const MOST_INFLATED: usize = 256 << 20;

/// The most of them that stand before Pixel Data, or are without any: they are parsed into values of their own, and are written anew before
/// that where a file has to be repaired.
const MOST_INFLATED_HEADER: usize = 64 << 20;

/// Explicit VR Big Endian, retired; old archives still hold it.
pub(crate) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// A parsed instance with valid identity.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The data set up to its Pixel Data.
    pub header: InMemDicomObject,
    /// Pixel Data (7FE0,0010), if there is one.
    pub pixels: Option<PixelData>,
    /// Transfer Syntax UID (0002,0010) without padding.
    pub transfer_syntax: String,
    /// The study it belongs to.
    pub study: StudyUid,
    /// The series it belongs to.
    pub series: SeriesUid,
    /// Its own UID.
    pub uid: InstanceUid,
    /// SOP Class UID (0008,0016).
    pub class: String,
    /// What had to be put right to read it.
    pub repairs: Repairs,
}

/// The value of Pixel Data (7FE0,0010), as parts of the file that were not copied; only big-endian words are, to turn
/// them round.
#[derive(Clone, Debug)]
pub enum PixelData {
    /// Uncompressed, little endian.
    Native(Bytes),
    /// Compressed (PS3.5 section A.4).
    Encapsulated {
        /// The Basic Offset Table, often empty.
        offsets: Bytes,
        /// The fragments.
        fragments: Vec<Bytes>,
    },
}

/// Why bytes are not an instance.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// There was nothing.
    #[error("the body is empty: send the bytes of one DICOM file")]
    Empty,
    /// The bytes do not start as a DICOM file does.
    #[error(
        "this is not a DICOM file: there is no `DICM` after a 128-byte preamble (PS3.10 section 7.1), nor does it begin as a data set"
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

impl From<OutOfBounds> for InstanceError {
    fn from(error: OutOfBounds) -> Self {
        Self::Damaged(error.to_string())
    }
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

/// The bytes that reading a file may take beside the file itself: those of its data set, where that is deflated.
#[must_use]
pub fn inflated_memory(file: &[u8]) -> usize {
    if is_deflated(file) {
        // texts that are rewritten in Unicode may become longer
        MOST_INFLATED + 4 * MOST_INFLATED_HEADER
    } else {
        0
    }
}

/// Whether the data set of a file is deflated.
#[must_use]
pub fn is_deflated(file: &[u8]) -> bool {
    let envelope = envelope::open(file).ok().flatten();
    envelope.is_some_and(|envelope| envelope.transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
}

impl Instance {
    /// Reads one DICOM file (PS3.10) and checks its identity. The pixels are not copied, unless they are deflated.
    ///
    /// # Errors
    /// [`InstanceError`], which says what was wrong; it never quotes a value of the data set.
    pub fn parse(file: Bytes) -> Result<Self, InstanceError> {
        if file.is_empty() {
            return Err(InstanceError::Empty);
        }
        let envelope = envelope::open(&file)?.ok_or(InstanceError::NotDicom)?;
        if TransferSyntaxRegistry.get(&envelope.transfer_syntax).is_none() {
            return Err(unknown(&envelope.transfer_syntax));
        }
        let (bytes, structure) = structure_of(file, &envelope)?;
        let Envelope {
            transfer_syntax,
            syntax,
            mut repairs,
            ..
        } = envelope;
        repairs.join(&structure.repairs);
        let Structure { header, pixels, .. } = structure;
        let header = match &header {
            Header::AsWritten(range) => &bytes[range.clone()],
            Header::Rewritten(header) => header,
        };
        // the parser must not be able to take a request handler down with it, whatever the bytes are
        let written = match syntax {
            Syntax::IMPLICIT => uids::IMPLICIT_VR_LITTLE_ENDIAN,
            Syntax::BIG_ENDIAN => BIG_ENDIAN,
            _ => uids::EXPLICIT_VR_LITTLE_ENDIAN,
        };
        let written = TransferSyntaxRegistry
            .get(written)
            .ok_or_else(|| unknown(written))?;
        let read = catch_unwind(AssertUnwindSafe(|| {
            InMemDicomObject::read_dataset_with_ts(header, written)
        }));
        let header = match read {
            Ok(header) => header.map_err(|error| reading(&error))?,
            Err(_) => {
                return Err(InstanceError::Damaged(
                    "its structure could not be followed".to_owned(),
                ));
            }
        };
        let pixels = pixels.map(|pixels| match pixels {
            Pixels::Native { value, words: true } if syntax == Syntax::BIG_ENDIAN => {
                let swap = |pair: &[u8]| [pair[1], pair[0]];
                PixelData::Native(bytes[value].chunks_exact(2).flat_map(swap).collect())
            }
            Pixels::Native { value, .. } => PixelData::Native(bytes.slice(value)),
            Pixels::Encapsulated(items) => {
                let mut items = items.into_iter().map(|range| bytes.slice(range));
                PixelData::Encapsulated {
                    offsets: items.next().unwrap_or_default(),
                    fragments: items.collect(),
                }
            }
        });
        let uid = |tag| text(&header, tag).unwrap_or_default();
        Ok(Self {
            study: StudyUid::parse(&uid(tags::STUDY_INSTANCE_UID))?,
            series: SeriesUid::parse(&uid(tags::SERIES_INSTANCE_UID))?,
            uid: InstanceUid::parse(&uid(tags::SOP_INSTANCE_UID))?,
            class: uid(tags::SOP_CLASS_UID).replace('\0', ""),
            transfer_syntax,
            header,
            pixels,
            repairs,
        })
    }
}

/// What a data set consists of, and the bytes that this is said of: those of the file, or inflated.
fn structure_of(file: Bytes, envelope: &Envelope) -> Result<(Bytes, Structure), InstanceError> {
    let Envelope { syntax, data_set, .. } = *envelope;
    let (bytes, structure) = if envelope.transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        let bytes = inflated(&file[data_set..])?;
        let structure = structure::data_set(&bytes, 0, syntax, MOST_INFLATED_HEADER)?;
        (bytes, structure)
    } else {
        let structure = structure::data_set(&file, data_set, syntax, usize::MAX)?;
        (file, structure)
    };
    Ok((bytes, structure))
}

/// The data set behind a deflated one (PS3.5 section A.5), as far as it may reach.
///
/// It goes into as much memory as it may ever need: the system gives what is written to, and no more.
fn inflated(deflated: &[u8]) -> Result<Bytes, InstanceError> {
    let mut source = DeflateDecoder::new(deflated);
    let mut pages = Pages::zeroed(MOST_INFLATED + 1);
    let mut filled = 0;
    loop {
        match source.read(&mut pages.bytes()[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(_) => {
                return Err(InstanceError::Damaged(
                    "its deflated data set cannot be inflated".to_owned(),
                ));
            }
        }
    }
    if filled > MOST_INFLATED {
        return Err(InstanceError::Damaged(format!(
            "its deflated data set inflates to more than {} MiB",
            MOST_INFLATED >> 20
        )));
    }
    Ok(pages.freeze().slice(..filled))
}

/// A transfer syntax that is in no registry; the UID comes from the file, and is shown only where it can be nothing else.
fn unknown(uid: &str) -> InstanceError {
    if uid.is_empty() {
        return InstanceError::Damaged(
            "its file meta information names no Transfer Syntax UID (0002,0010)".to_owned(),
        );
    }
    InstanceError::TransferSyntax(StudyUid::parse(uid).map_or_else(|_| "(invalid)".to_owned(), String::from))
}

fn reading(error: &ReadError) -> InstanceError {
    match error {
        ReadError::ReadToken { .. }
        | ReadError::MissingElementValue { .. }
        | ReadError::PrematureEnd { .. } => {
            InstanceError::Damaged("the data set ends early or a declared length is wrong".to_owned())
        }
        _ => InstanceError::Damaged("the data set cannot be read".to_owned()),
    }
}

/// The transfer syntax and the data set of a file (PS3.10 section 7), neither parsed nor copied; `None` where the bytes begin as no
/// DICOM file does.
#[must_use]
pub fn data_set(file: &Bytes) -> Option<(String, Bytes)> {
    let envelope = envelope::open(file).ok().flatten()?;
    Some((envelope.transfer_syntax, file.slice(envelope.data_set..)))
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    fn zeros(count: usize) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        let piece = vec![0; 1 << 20];
        for _ in 0..count >> 20 {
            encoder.write_all(&piece).unwrap();
        }
        encoder.write_all(&piece[..count & 0xF_FFFF]).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_deflated_data_set_is_inflated_up_to_the_limit_and_no_further() {
        assert_eq!(inflated(&zeros(MOST_INFLATED)).unwrap().len(), MOST_INFLATED);
        let error = inflated(&zeros(MOST_INFLATED + 1)).unwrap_err();
        assert!(
            error.to_string().contains("inflates to more than 256 MiB"),
            "{error}"
        );
        let whole = zeros(3 << 20);
        assert!(inflated(&whole[..whole.len() / 2]).is_err());
    }

    /// A small file costs no more than its pixels may, whatever stands before them.
    #[test]
    fn what_stands_before_inflated_pixels_is_bounded_too() {
        let file = |length: usize| {
            let mut bytes = vec![0; 128];
            bytes.extend(b"DICM");
            bytes.extend(element(0x0002_0010, *b"UI", b"1.2.840.10008.1.2.1.99"));
            let mut data_set = [
                element(0x0008_0018, *b"UI", b"1.2.9\0"),
                element(0x0020_000D, *b"UI", b"1.2\0"),
                element(0x0020_000E, *b"UI", b"1.2.3\0"),
            ]
            .concat();
            data_set.extend(b"\x21\x00\x01\x10OB\0\0");
            data_set.extend((length as u32).to_le_bytes());
            let mut encoder = DeflateEncoder::new(bytes, Compression::fast());
            encoder.write_all(&data_set).unwrap();
            encoder.write_all(&vec![0; length]).unwrap();
            Bytes::from(encoder.finish().unwrap())
        };
        let small = file(1 << 20);
        assert!(Instance::parse(small.clone()).is_ok());
        assert!(inflated_memory(&small) >= MOST_INFLATED);
        let error = Instance::parse(file(MOST_INFLATED_HEADER)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("before Pixel Data have more than 64 MiB"),
            "{error}"
        );
        // one that is not deflated brings its own bytes
        assert_eq!(inflated_memory(&element(0x0008_0018, *b"UI", b"1.2.9\0")), 0);
    }

    fn element(tag: u32, vr: [u8; 2], value: &[u8]) -> Vec<u8> {
        let [group, number] = [(tag >> 16) as u16, tag as u16].map(u16::to_le_bytes);
        let padding: &[u8] = if value.len() % 2 == 1 { b" " } else { b"" };
        let length = (value.len() + padding.len()) as u32;
        let length = match &vr {
            b"SQ" => [b"\0\0", &length.to_le_bytes()[..]].concat(),
            _ => (length as u16).to_le_bytes().to_vec(),
        };
        [&group[..], &number, &vr, &length, value, padding].concat()
    }

    #[test]
    fn names_in_sets_that_change_within_them_are_read_and_so_is_what_is_inside_and_behind_a_sequence() {
        let inside = [
            element(0x0008_0005, *b"CS", b"ISO_IR 126"),
            element(0x0040_0007, *b"LO", b"\xCB"),
        ]
        .concat();
        let item = [
            b"\xFE\xFF\x00\xE0",
            &(inside.len() as u32).to_le_bytes()[..],
            &inside,
        ]
        .concat();
        let file = [
            element(0x0008_0005, *b"CS", b"\\ISO 2022 IR 87"),
            element(0x0008_0016, *b"UI", b"1.2.840.10008.5.1.4.1.1.1.1\0"),
            element(0x0008_0018, *b"UI", b"1.2.9\0"),
            element(
                0x0010_0010,
                *b"PN",
                b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B",
            ),
            element(0x0020_000D, *b"UI", b"1.2\0"),
            element(0x0020_000E, *b"UI", b"1.2.3\0"),
            element(0x0040_0275, *b"SQ", &item),
            element(0x0040_1400, *b"LT", b"\x1B$B\x30\x5C\x1B(B"),
        ]
        .concat();
        let header = Instance::parse(file.into()).unwrap().header;
        // PS3.5 annex H.3
        assert_eq!(
            text(&header, tags::PATIENT_NAME).unwrap(),
            "Yamada^Tarou=山田^太郎"
        );
        let items = header
            .get(tags::REQUEST_ATTRIBUTES_SEQUENCE)
            .unwrap()
            .items()
            .unwrap();
        let described = text(&items[0], tags::SCHEDULED_PROCEDURE_STEP_DESCRIPTION);
        assert_eq!(described.unwrap(), "Λ");
        // the kanji whose second byte is that of a backslash: row 16, place 60 of JIS X 0208
        let comment = text(&header, tags::REQUESTED_PROCEDURE_COMMENTS).unwrap();
        assert_eq!(comment.chars().count(), 1);
        assert!(!comment.contains('\\'));
        assert_eq!(text(&header, tags::SPECIFIC_CHARACTER_SET).unwrap(), "ISO_IR 192");
    }
}
