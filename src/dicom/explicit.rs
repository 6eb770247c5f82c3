//! A file written anew in Explicit VR Little Endian (PS3.5 section A.2), which every receiver can read.
//!
//! Invariant: elements that are written so already, as those around compressed pixels are, are copied and not read and written
//! again: no text changes its character set, and no number its digits.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use dicom_core::header::Header as _;
use dicom_dictionary_std::uids;
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_object::FileMetaTableBuilder;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::structure::{Header, Syntax};
use super::{Instance, InstanceError, envelope, structure_of};

/// What the pixels of such a file will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncompressed {
    /// How many bytes all frames have.
    pub bytes: u64,
    /// Whether these are 16-bit words.
    pub words: bool,
    /// Photometric Interpretation (0028,0004), where decoding changes it.
    pub photometric: Option<&'static str>,
}

/// The beginning of such a file, up to the first byte of its pixels. `instance` is what was read from `file`.
///
/// # Errors
/// [`InstanceError::Damaged`] where it cannot be written, which the parser would have said of it, or there are too many pixels.
pub fn beginning(
    file: &Bytes,
    instance: &Instance,
    pixels: Option<Uncompressed>,
) -> Result<Vec<u8>, InstanceError> {
    let cannot = || InstanceError::Damaged("it cannot be written in Explicit VR Little Endian".to_owned());
    let mut bytes = vec![0; 128];
    bytes.extend_from_slice(b"DICM");
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(&instance.class)
        .media_storage_sop_instance_uid(instance.uid.as_str())
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .build()
        .map_err(|_| cannot())?;
    meta.write(&mut bytes).map_err(|_| cannot())?;
    let photometric = pixels.and_then(|pixels| pixels.photometric);
    put_header(&mut bytes, file, instance, photometric)?;
    if let Some(Uncompressed {
        bytes: length, words, ..
    }) = pixels
    {
        let length = length + length % 2;
        let length = u32::try_from(length).ok().filter(|length| *length != u32::MAX);
        bytes.extend_from_slice(&[0xE0, 0x7F, 0x10, 0x00]);
        bytes.extend_from_slice(if words { b"OW\0\0" } else { b"OB\0\0" });
        bytes.extend_from_slice(&length.ok_or_else(cannot)?.to_le_bytes());
    }
    Ok(bytes)
}

/// Puts a text where another one was, with blanks behind it, which mean nothing there.
fn replace_text(place: &mut [u8], text: &str) -> Option<()> {
    let (value, padding) = place.split_at_mut_checked(text.len())?;
    value.copy_from_slice(text.as_bytes());
    padding.fill(b' ');
    Some(())
}

fn put_header(
    bytes: &mut Vec<u8>,
    file: &Bytes,
    instance: &Instance,
    photometric: Option<&str>,
) -> Result<(), InstanceError> {
    let envelope = envelope::open(file)?.ok_or(InstanceError::NotDicom)?;
    if envelope.syntax == Syntax::EXPLICIT {
        let (data, structure) = structure_of(file.clone(), &envelope)?;
        let mut header = match structure.header {
            Header::AsWritten(range) => data[range].to_vec(),
            Header::Rewritten(header) => header,
        };
        if let Some(photometric) = photometric {
            let place = structure.photometric.and_then(|place| header.get_mut(place));
            replace_text(place.unwrap_or_default(), photometric).ok_or_else(|| {
                InstanceError::Damaged(
                    "its Photometric Interpretation (0028,0004) has no room for another".to_owned(),
                )
            })?;
        }
        bytes.extend_from_slice(&header);
        return Ok(());
    }
    let mut header = instance.header.clone();
    // group lengths, which are other ones now
    header.retain(|element| element.tag().element() != 0);
    let syntax = TransferSyntaxRegistry.get(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let written = syntax.and_then(|syntax| {
        let write = || header.write_dataset_with_ts(&mut *bytes, syntax).is_ok();
        catch_unwind(AssertUnwindSafe(write)).ok()?.then_some(())
    });
    written
        .ok_or_else(|| InstanceError::Damaged("it cannot be written in Explicit VR Little Endian".to_owned()))
}
