//! The codecs that are registered with `dicom-rs`.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::{CodecError, Layout};
use crate::image::Codes;

/// Decodes one frame into the little-endian bytes that an uncompressed file would have.
pub(super) fn decode(
    transfer_syntax: &str,
    offsets: &Bytes,
    fragments: &[Bytes],
    layout: &Layout,
) -> Result<Codes, CodecError> {
    let reader = TransferSyntaxRegistry
        .get(transfer_syntax)
        .and_then(|syntax| syntax.pixel_data_reader())
        .ok_or(CodecError::NoCodec)?;
    let frame = Frame {
        transfer_syntax,
        offsets,
        fragments,
        layout,
    };
    let mut bytes = Vec::new();
    match catch_unwind(AssertUnwindSafe(|| reader.decode_frame(&frame, 0, &mut bytes))) {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Err(CodecError::Damaged),
    }
    if bytes.len() < layout.rows * layout.columns * layout.allocated as usize / 8 {
        return Err(CodecError::Disagrees);
    }
    Ok(layout.stored(bytes.into()))
}

/// One frame as those codecs want to see it.
struct Frame<'a> {
    transfer_syntax: &'a str,
    offsets: &'a Bytes,
    fragments: &'a [Bytes],
    layout: &'a Layout,
}

impl PixelDataObject for Frame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        self.transfer_syntax
    }
    fn rows(&self) -> Option<u16> {
        u16::try_from(self.layout.rows).ok()
    }
    fn cols(&self) -> Option<u16> {
        u16::try_from(self.layout.columns).ok()
    }
    fn samples_per_pixel(&self) -> Option<u16> {
        Some(1)
    }
    fn bits_allocated(&self) -> Option<u16> {
        Some(self.layout.allocated as u16)
    }
    fn bits_stored(&self) -> Option<u16> {
        Some(self.layout.stored as u16)
    }
    fn photometric_interpretation(&self) -> Option<&str> {
        // the polarity is no matter of the codec
        Some("MONOCHROME2")
    }
    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }
    fn number_of_fragments(&self) -> Option<u32> {
        u32::try_from(self.fragments.len()).ok()
    }
    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        self.fragments.get(fragment).map(|bytes| Cow::Borrowed(&**bytes))
    }
    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        let words = self.offsets.chunks_exact(4);
        Some(
            words
                .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .collect(),
        )
    }
    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        Some(RawPixelData {
            fragments: self.fragments.iter().map(|bytes| bytes.to_vec()).collect(),
            offset_table: self.offset_table()?.into_owned().into(),
        })
    }
}
