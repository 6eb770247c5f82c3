//! An instance, or a picture file, becomes a [`StoredImage`].
//!
//! Everything that a file declares about its pixels is checked here before memory is taken; what cannot be a grey
//! radiograph is refused with the reason. A codec that panics costs this one image.

use std::ops::RangeInclusive;

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::codec::{self, CodecError, Layout};
use super::frames::fragments_of;
use super::grey::StoredImage;
use super::presentation::{Unusable, transform};
use super::{Cancel, Cancelled, Codes};
use crate::dicom::{Instance, PixelData, text};
use crate::fault::{Fault, FaultKind};

mod picture;
#[cfg(test)]
mod tests;

pub use picture::{decode_picture, decode_picture_until, picture_memory};

/// The most pixels a frame may have: ten times the largest radiographs there are, and 200 MB of stored values.
pub const MAX_PIXELS: usize = 100_000_000;

/// Why there is no image to score.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No Pixel Data (7FE0,0010).
    #[error(
        "the instance has no Pixel Data (7FE0,0010): send an image, not a report or a presentation state"
    )]
    NoPixelData,
    /// Rows or Columns is missing, zero, or their product is out of bounds.
    #[error(
        "an image of {rows} rows and {columns} columns cannot be scored: both must be at least 1, and together at most {MAX_PIXELS} pixels"
    )]
    Size {
        /// Rows (0028,0010), 0 if missing.
        rows: usize,
        /// Columns (0028,0011), 0 if missing.
        columns: usize,
    },
    /// More than one sample a pixel, or a colour space.
    #[error("this is a colour image: send a greyscale radiograph (MONOCHROME1 or MONOCHROME2)")]
    Colour,
    /// More than one frame.
    #[error("the instance has {0} frames: a radiograph has one")]
    Frames(u32),
    /// A frame that is not there, or whose fragments cannot be told from the others'.
    #[error(
        "frame {frame} of {frames} cannot be found: frames count from 1, and where there are more fragments than frames a Basic Offset Table has to say which are whose"
    )]
    NoFrame {
        /// The frame asked for.
        frame: u32,
        /// Number of Frames (0028,0008).
        frames: u32,
    },
    /// Bits Allocated, Bits Stored and High Bit are missing or contradict each other.
    #[error(
        "Bits Allocated, Bits Stored and High Bit are {allocated}, {stored} and {high}: 8 or 16 allocated bits, with the stored bits inside them, are supported"
    )]
    Bits {
        /// Bits Allocated (0028,0100).
        allocated: u32,
        /// Bits Stored (0028,0101).
        stored: u32,
        /// High Bit (0028,0102).
        high: u32,
    },
    /// Pixel Data does not fit Rows and Columns.
    #[error("Pixel Data has {found} bytes where {expected} were declared: the file is truncated or damaged")]
    Truncated {
        /// Bytes present.
        found: usize,
        /// Bytes that Rows x Columns need.
        expected: usize,
    },
    /// Fewer fragments than frames, each of which has at least one.
    #[error(
        "frame {frame} is declared and there are only {fragments} fragments: the file is truncated or damaged"
    )]
    TooFewFragments {
        /// The frame that was looked for.
        frame: u32,
        /// Fragments of Pixel Data.
        fragments: usize,
    },
    /// No codec for this transfer syntax.
    #[error(
        "pixels in transfer syntax {0} cannot be decoded: send them in Explicit VR Little Endian (1.2.840.10008.1.2.1)"
    )]
    TransferSyntax(String),
    /// The compressed frame's own header is not that of the data set.
    #[error(
        "the compressed image has another size or bit depth than Rows, Columns and Bits Allocated: the file is damaged"
    )]
    Disagrees,
    /// The codec does not have what the stream uses.
    #[error(
        "the compressed image uses a part of its standard that is not supported: send it in Explicit VR Little Endian (1.2.840.10008.1.2.1)"
    )]
    CodecFeature,
    /// The codec gave up.
    #[error("the compressed pixels cannot be decoded: they are truncated or damaged")]
    Codec,
    /// A grey-scale attribute is not a usable number.
    #[error(
        "{0} is not a usable number: it must be finite, a slope not zero, and a window width at least 1 (above 0 for LINEAR_EXACT and SIGMOID)"
    )]
    Attribute(&'static str),
    /// Neither PNG nor JPEG, or damaged.
    #[error("the picture cannot be decoded: send a greyscale PNG (8 or 16 bits) or JPEG")]
    Picture,
    /// Nobody waits for it any more.
    #[error("decoding was stopped: nobody waits for the image any more")]
    Cancelled,
}

impl From<Cancelled> for DecodeError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl DecodeError {
    /// The stable code of this reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPixelData => "no-pixel-data",
            Self::Size { .. } => "image-size",
            Self::Colour => "colour-image",
            Self::Frames(_) => "multi-frame",
            Self::NoFrame { .. } => "frame-number",
            Self::Bits { .. } => "bit-depth",
            Self::Truncated { .. } | Self::TooFewFragments { .. } => "truncated",
            Self::TransferSyntax(_) => "transfer-syntax",
            Self::CodecFeature => "codec-feature",
            Self::Codec => "codec",
            Self::Disagrees => "frame-header",
            Self::Attribute(_) => "grey-scale",
            Self::Picture => "picture",
            Self::Cancelled => "deadline",
        }
    }
}

impl From<Unusable> for DecodeError {
    fn from(Unusable(attribute): Unusable) -> Self {
        Self::Attribute(attribute)
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        let kind = match error {
            DecodeError::Truncated { .. }
            | DecodeError::TooFewFragments { .. }
            | DecodeError::Codec
            | DecodeError::Disagrees
            | DecodeError::Picture => FaultKind::Invalid,
            DecodeError::TransferSyntax(_) | DecodeError::CodecFeature => FaultKind::Unsupported,
            DecodeError::Cancelled => FaultKind::Overloaded,
            _ => FaultKind::Refused,
        };
        Fault::new(kind, error.code(), error.to_string())
    }
}

/// A transfer syntax whose pixels can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedSyntax {
    /// Its UID.
    pub uid: &'static str,
    /// Its name in PS3.6 annex A.
    pub name: &'static str,
}

/// The transfer syntaxes of still images that can be decoded, in the order of their UIDs.
#[must_use]
pub fn supported() -> Vec<SupportedSyntax> {
    let mut all: Vec<SupportedSyntax> = TransferSyntaxRegistry
        .iter()
        .filter(|syntax| codec::supports(syntax))
        .map(|syntax| SupportedSyntax {
            uid: syntax.uid(),
            name: syntax.name(),
        })
        .collect();
    let numbers = |uid: &str| -> Vec<u32> { uid.split('.').filter_map(|part| part.parse().ok()).collect() };
    all.sort_by_key(|syntax| numbers(syntax.uid));
    all
}

/// Whether pixels in this transfer syntax can be decoded.
#[must_use]
pub fn is_supported(transfer_syntax: &str) -> bool {
    TransferSyntaxRegistry
        .get(transfer_syntax)
        .is_some_and(codec::supports)
}

/// Decodes a radiograph, which has one frame.
///
/// # Errors
/// [`DecodeError`], which names the attribute that stands in the way; [`DecodeError::Frames`] where there are several.
pub fn decode(instance: &Instance) -> Result<StoredImage, DecodeError> {
    Ok(decode_halved(instance, 0, Cancel::NEVER)?.0)
}

/// Decodes a radiograph with its sides halved up to `halve` times, as far as its codec has lower resolutions (JPEG 2000 and
/// High-Throughput JPEG 2000 do); beside it, how many times they are.
///
/// # Errors
/// As [`decode`], and [`DecodeError::Cancelled`].
pub(crate) fn decode_halved(
    instance: &Instance,
    halve: u32,
    cancel: Cancel<'_>,
) -> Result<(StoredImage, u32), DecodeError> {
    match declared_frames(&instance.header) {
        1 => frame(instance, 1, halve, cancel),
        several => Err(DecodeError::Frames(several)),
    }
}

/// Number of Frames (0028,0008), 1 where it is absent; whatever a file says.
#[must_use]
pub(super) fn declared_frames(object: &InMemDicomObject) -> u32 {
    let attribute = object.get(tags::NUMBER_OF_FRAMES);
    attribute
        .and_then(|element| element.to_int::<u32>().ok())
        .unwrap_or(1)
}

/// The bytes that decoding a frame of an instance may take, beside its file, with its sides halved up to `halve` times; nothing where the
/// pixels are not compressed, or cannot be decoded.
#[must_use]
pub fn memory(instance: &Instance, halve: u32) -> usize {
    let Some(PixelData::Encapsulated { fragments, .. }) = &instance.pixels else {
        return 0;
    };
    let [pixels, samples, allocated] = declared(&instance.header);
    // more of them are refused before anything is decoded
    if pixels > MAX_PIXELS || samples > 4 || allocated > 64 {
        return 0;
    }
    codec::memory(
        &instance.transfer_syntax,
        fragments,
        pixels,
        samples.max(1),
        allocated,
        halve,
    )
}

/// Pixels of a frame, samples of a pixel, and bits that are allocated for each, whatever a file says of them.
pub(super) fn declared(object: &InMemDicomObject) -> [usize; 3] {
    let attribute = |tag: Tag| {
        let element = object.get(tag);
        element
            .and_then(|element| element.to_int::<u32>().ok())
            .unwrap_or(0) as usize
    };
    let pixels = attribute(tags::ROWS).saturating_mul(attribute(tags::COLUMNS));
    [
        pixels,
        attribute(tags::SAMPLES_PER_PIXEL),
        attribute(tags::BITS_ALLOCATED),
    ]
}

/// Rows and columns of an instance, whose format is checked.
///
/// # Errors
/// As [`decode`].
pub(super) fn size(instance: &Instance) -> Result<[usize; 2], DecodeError> {
    let Layout { rows, columns, .. } = Format::of(&instance.header)?.layout;
    Ok([rows, columns])
}

/// Decodes one frame of an image; the first is number 1 (PS3.3 section C.7.6.16.1.2).
///
/// # Errors
/// [`DecodeError`], which names the attribute that stands in the way; [`DecodeError::NoFrame`] for one that is not there.
pub fn decode_frame(instance: &Instance, frame: u32) -> Result<StoredImage, DecodeError> {
    Ok(self::frame(instance, frame, 0, Cancel::NEVER)?.0)
}

fn frame(
    instance: &Instance,
    frame: u32,
    halve: u32,
    cancel: Cancel<'_>,
) -> Result<(StoredImage, u32), DecodeError> {
    if instance.pixels.is_none() {
        return Err(DecodeError::NoPixelData);
    }
    let format = Format::of(&instance.header)?;
    let decoded = decoded(instance, &format, frame, halve, cancel)?;
    let image = StoredImage {
        rows: decoded.rows,
        columns: decoded.columns,
        bits_stored: format.layout.stored,
        signed: format.signed,
        codes: decoded.codes,
        transform: transform(&instance.header, format.range())?,
    };
    Ok((image, decoded.halved))
}

/// A frame of one sample a pixel whose values lie so, before anything is known of showing them.
pub(super) fn decoded(
    instance: &Instance,
    format: &Format,
    frame: u32,
    halve: u32,
    cancel: Cancel<'_>,
) -> Result<codec::Frame, DecodeError> {
    match instance.pixels.as_ref().ok_or(DecodeError::NoPixelData)? {
        PixelData::Native(bytes) => Ok(codec::Frame {
            rows: format.layout.rows,
            columns: format.layout.columns,
            codes: format.codes(bytes, index_of(&instance.header, frame)?)?,
            halved: 0,
        }),
        PixelData::Encapsulated { .. } => {
            let fragments = stored_fragments(instance, frame)?;
            codec::frame(
                &instance.transfer_syntax,
                fragments,
                &format.layout,
                halve,
                cancel,
            )
            .map_err(|error| said(error, instance))
        }
    }
}

/// The fragments of a frame (from 1) of an image that is compressed.
pub(super) fn stored_fragments(instance: &Instance, frame: u32) -> Result<&[Bytes], DecodeError> {
    let Some(PixelData::Encapsulated { offsets, fragments }) = &instance.pixels else {
        return Err(DecodeError::NoPixelData);
    };
    let (frames, index) = (
        declared_frames(&instance.header),
        index_of(&instance.header, frame)?,
    );
    fragments_of(index, frames as usize, offsets, fragments).ok_or(DecodeError::NoFrame { frame, frames })
}

/// What a codec could not do, as callers hear of it.
pub(super) fn said(error: CodecError, instance: &Instance) -> DecodeError {
    match error {
        CodecError::NoCodec => DecodeError::TransferSyntax(instance.transfer_syntax.clone()),
        CodecError::Disagrees => DecodeError::Disagrees,
        CodecError::Colour => DecodeError::Colour,
        CodecError::Unsupported => DecodeError::CodecFeature,
        CodecError::Damaged => DecodeError::Codec,
        CodecError::Cancelled => DecodeError::Cancelled,
    }
}

/// The index of a frame that there is.
pub(super) fn index_of(object: &InMemDicomObject, frame: u32) -> Result<usize, DecodeError> {
    let frames = declared_frames(object);
    match frame.checked_sub(1) {
        Some(index) if frame <= frames => Ok(index as usize),
        _ => Err(DecodeError::NoFrame { frame, frames }),
    }
}

/// How the stored values lie in Pixel Data, checked.
pub(super) struct Format {
    pub(super) layout: Layout,
    pub(super) signed: bool,
}

impl Format {
    /// Of an image in grey.
    fn of(object: &InMemDicomObject) -> Result<Self, DecodeError> {
        let samples = object.get(tags::SAMPLES_PER_PIXEL);
        let samples = samples
            .and_then(|element| element.to_int::<u32>().ok())
            .unwrap_or(1);
        let photometric = text(object, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
        if samples != 1 || !matches!(photometric.as_str(), "MONOCHROME1" | "MONOCHROME2") {
            return Err(DecodeError::Colour);
        }
        Self::of_samples(object)
    }

    /// Of an image whose samples mean whatever they mean.
    pub(super) fn of_samples(object: &InMemDicomObject) -> Result<Self, DecodeError> {
        let attribute = |tag: Tag| object.get(tag).and_then(|element| element.to_int::<u32>().ok());
        let rows = attribute(tags::ROWS).unwrap_or(0) as usize;
        let columns = attribute(tags::COLUMNS).unwrap_or(0) as usize;
        if rows == 0 || columns == 0 || rows.saturating_mul(columns) > MAX_PIXELS {
            return Err(DecodeError::Size { rows, columns });
        }
        let allocated = attribute(tags::BITS_ALLOCATED).unwrap_or(0);
        let stored = attribute(tags::BITS_STORED).unwrap_or(allocated);
        let high = attribute(tags::HIGH_BIT).unwrap_or(stored.wrapping_sub(1));
        if !matches!(allocated, 8 | 16)
            || stored == 0
            || stored > allocated
            || high < stored - 1
            || high >= allocated
        {
            return Err(DecodeError::Bits {
                allocated,
                stored,
                high,
            });
        }
        let signed = attribute(tags::PIXEL_REPRESENTATION).unwrap_or(0) == 1;
        Ok(Self {
            layout: Layout {
                rows,
                columns,
                allocated,
                stored,
                shift: high + 1 - stored,
                mask: ((1_u32 << stored) - 1) as u16,
            },
            signed,
        })
    }

    /// The stored values that there can be.
    fn range(&self) -> RangeInclusive<i32> {
        let count = 1_i32 << self.layout.stored;
        if self.signed {
            -count / 2..=count / 2 - 1
        } else {
            0..=count - 1
        }
    }

    /// The stored value that a bit pattern stands for.
    pub(super) fn stored_value(&self, code: u16) -> i32 {
        let value = i32::from(code);
        if self.signed && value >> (self.layout.stored - 1) == 1 {
            value - (1 << self.layout.stored)
        } else {
            value
        }
    }

    /// The codes of a frame (from 0) in little-endian bytes.
    fn codes(&self, bytes: &Bytes, frame: usize) -> Result<Codes, DecodeError> {
        let layout = &self.layout;
        let length = layout.rows * layout.columns * layout.allocated as usize / 8;
        let expected = length.saturating_mul(frame + 1);
        if bytes.len() < expected {
            return Err(DecodeError::Truncated {
                found: bytes.len(),
                expected,
            });
        }
        Ok(layout.stored(bytes.slice(expected - length..)))
    }
}
