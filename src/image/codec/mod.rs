//! Compressed frames become codes: one function, [`frame`], whatever the transfer syntax; and [`colour`] for those in colour.
//!
//! All are decoded in Rust: JPEG XL by `jxl-oxide`, JPEG in colour by `zune-jpeg`, the others here. A codec that panics costs this one
//! image.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into a dispatch of pulp has the instructions of the oldest processor"
)]

mod huffman;
mod idct;
mod jpeg2000;
mod jpeg_colour;
mod jpeg_dct;
mod jpeg_lossless;
mod jpeg_ls;
mod jpeg_xl;
mod markers;
mod rle;
mod segments;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use dicom_dictionary_std::uids;
use dicom_encoding::transfer_syntax::TransferSyntax;

use super::{Cancel, Cancelled, Codes};

/// How the pixels of a frame are laid out, as the data set says; checked by [`super::decode`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Rows (0028,0010), at least 1.
    pub(super) rows: usize,
    /// Columns (0028,0011), at least 1.
    pub(super) columns: usize,
    /// Bits Allocated (0028,0100), 8 or 16.
    pub(super) allocated: u32,
    /// Bits Stored (0028,0101).
    pub(super) stored: u32,
    /// How far High Bit lies above the highest of the stored bits.
    pub(super) shift: u32,
    /// The stored bits, after the shift.
    pub(super) mask: u16,
}

impl Layout {
    /// The codes in the little-endian bytes that an uncompressed file would have.
    pub(super) fn stored(&self, bytes: Bytes) -> Codes {
        Codes::Stored {
            bytes,
            single: self.allocated == 8,
            shift: self.shift,
            mask: self.mask,
        }
    }
}

/// Why a frame has no pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodecError {
    /// No codec for this transfer syntax.
    NoCodec,
    /// The stream's own size or bits are not the data set's.
    Disagrees,
    /// More than one component.
    Colour,
    /// A part of its standard that no radiograph has been seen with.
    Unsupported,
    /// It ends early, or is not what its standard allows.
    Damaged,
    /// Nobody waits for it any more.
    Cancelled,
}

impl From<Cancelled> for CodecError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

/// A decoded frame.
pub(super) struct Frame {
    /// Rows of what was decoded.
    pub(super) rows: usize,
    /// Columns of what was decoded.
    pub(super) columns: usize,
    /// Its pixels.
    pub(super) codes: Codes,
    /// How many times its sides were halved; 0 where it has the size of the data set.
    pub(super) halved: u32,
}

/// Decodes the fragments of one frame; JPEG 2000 with its sides halved up to `halve` times, as far as the stream has lower
/// resolutions. A panic counts as a damaged frame.
pub(super) fn frame(
    transfer_syntax: &str,
    fragments: &[Bytes],
    layout: &Layout,
    halve: u32,
    cancel: Cancel<'_>,
) -> Result<Frame, CodecError> {
    let decoded = || match transfer_syntax {
        uids::JPEG2000_LOSSLESS
        | uids::JPEG2000
        | uids::HTJ2K_LOSSLESS
        | uids::HTJ2K_LOSSLESS_RPCL
        | uids::HTJ2K => jpeg2000::decode(&joined(fragments), layout, halve, cancel),
        _ => Ok(Frame {
            rows: layout.rows,
            columns: layout.columns,
            codes: whole(transfer_syntax, fragments, layout, cancel)?,
            halved: 0,
        }),
    };
    // what it was asked with outlives a panic as it was
    catch_unwind(AssertUnwindSafe(decoded)).unwrap_or(Err(CodecError::Damaged))
}

/// Decodes a frame that has one resolution.
fn whole(
    transfer_syntax: &str,
    fragments: &[Bytes],
    layout: &Layout,
    cancel: Cancel<'_>,
) -> Result<Codes, CodecError> {
    let Layout {
        rows,
        columns,
        allocated,
        ..
    } = *layout;
    let stream = joined(fragments);
    match transfer_syntax {
        uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT => {
            jpeg_dct::decode(&stream, rows, columns, allocated, cancel).map(|bytes| layout.stored(bytes))
        }
        uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => {
            jpeg_lossless::decode(&stream, rows, columns, allocated, cancel)
                .map(|words| masked(words, layout))
        }
        uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => {
            jpeg_ls::decode(&stream, rows, columns, allocated, cancel).map(|bytes| layout.stored(bytes))
        }
        uids::JPEGXL_LOSSLESS | uids::JPEGXLJPEG_RECOMPRESSION | uids::JPEGXL => {
            let is_lossless = transfer_syntax == uids::JPEGXL_LOSSLESS;
            jpeg_xl::decode(&stream, rows, columns, allocated, is_lossless, cancel)
                .map(|words| masked(words, layout))
        }
        uids::RLE_LOSSLESS => rle::decode(&stream, rows * columns, allocated as usize / 8, cancel)
            .map(|bytes| layout.stored(bytes)),
        _ => Err(CodecError::NoCodec),
    }
}

/// A decoded frame of three samples a pixel, in the little-endian bytes of an uncompressed one, pixel by pixel.
pub(super) struct ColourFrame {
    pub(super) bytes: Vec<u8>,
    /// They are red, green and blue, and no longer what the data set says.
    pub(super) is_rgb: bool,
}

/// Decodes the fragments of one frame in colour; `is_rgb` where the data set says that its samples are red, green and blue. A panic
/// counts as a damaged frame.
pub(super) fn colour(
    transfer_syntax: &str,
    fragments: &[Bytes],
    layout: &Layout,
    is_rgb: bool,
) -> Result<ColourFrame, CodecError> {
    let Layout {
        rows,
        columns,
        allocated,
        ..
    } = *layout;
    let decoded = || {
        let stream = joined(fragments);
        match transfer_syntax {
            uids::JPEG_BASELINE8_BIT if allocated == 8 => {
                let bytes = jpeg_colour::decode(&stream, rows, columns, is_rgb)?;
                Ok(ColourFrame { bytes, is_rgb: true })
            }
            uids::JPEG2000_LOSSLESS
            | uids::JPEG2000
            | uids::HTJ2K_LOSSLESS
            | uids::HTJ2K_LOSSLESS_RPCL
            | uids::HTJ2K => {
                let decoded = jpeg2000::decode_colour(&stream, layout)?;
                Ok(ColourFrame {
                    bytes: decoded.bytes,
                    is_rgb: decoded.mixed || is_rgb,
                })
            }
            uids::RLE_LOSSLESS => {
                let bytes = rle::decode_colour(&stream, rows * columns, allocated as usize / 8)?;
                Ok(ColourFrame { bytes, is_rgb: false })
            }
            _ => Err(CodecError::Colour),
        }
    };
    catch_unwind(decoded).unwrap_or(Err(CodecError::Damaged))
}

/// The bytes that decoding a frame of so many pixels of `samples` samples with `allocated` bits each may take, with what it gives and the
/// fragments as one piece; its sides halved up to `halve` times, as [`frame`] does.
pub(super) fn memory(
    transfer_syntax: &str,
    fragments: &[Bytes],
    pixels: usize,
    samples: usize,
    allocated: usize,
    halve: u32,
) -> usize {
    let stream: usize = fragments.iter().map(Bytes::len).sum();
    let joined = if fragments.len() > 1 { stream } else { 0 };
    let stored = pixels * samples * allocated.div_ceil(8);
    let decoded = match transfer_syntax {
        uids::JPEG_BASELINE8_BIT if samples > 1 => 2 * stored,
        uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT => stored + stream,
        // codes of 16 bits, and the stream without its stuffing
        uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => pixels * size_of::<u16>() + stream,
        uids::JPEGXL_LOSSLESS => jpeg_xl::memory(pixels, true),
        uids::JPEGXLJPEG_RECOMPRESSION | uids::JPEGXL => jpeg_xl::memory(pixels, false),
        uids::JPEG2000_LOSSLESS
        | uids::JPEG2000
        | uids::HTJ2K_LOSSLESS
        | uids::HTJ2K_LOSSLESS_RPCL
        | uids::HTJ2K => {
            // the headers of several fragments cannot be read before there is memory to join them
            let own = match fragments {
                [one] if samples == 1 => jpeg2000::memory(one, pixels, allocated, halve),
                _ => jpeg2000::most_memory(pixels, samples, allocated),
            };
            own + stream
        }
        uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS | uids::RLE_LOSSLESS => stored,
        // no codec
        _ => return 0,
    };
    joined + decoded
}

/// Whether frames in this transfer syntax can be decoded, or need not be. Video is no radiograph.
pub(super) fn supports(syntax: &TransferSyntax) -> bool {
    let own = [
        // inflated before it is parsed
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        uids::JPEG_BASELINE8_BIT,
        uids::JPEG_EXTENDED12_BIT,
        uids::JPEG_LOSSLESS,
        uids::JPEG_LOSSLESS_SV1,
        uids::JPEGLS_LOSSLESS,
        uids::JPEGLS_NEAR_LOSSLESS,
        uids::JPEG2000_LOSSLESS,
        uids::JPEG2000,
        uids::HTJ2K_LOSSLESS,
        uids::HTJ2K_LOSSLESS_RPCL,
        uids::HTJ2K,
        uids::JPEGXL_LOSSLESS,
        uids::JPEGXLJPEG_RECOMPRESSION,
        uids::JPEGXL,
        uids::RLE_LOSSLESS,
    ];
    own.contains(&syntax.uid()) || syntax.is_codec_free()
}

/// One frame may lie in several fragments (PS3.5 section A.4).
fn joined(fragments: &[Bytes]) -> Cow<'_, [u8]> {
    match fragments {
        [one] => Cow::Borrowed(one),
        several => Cow::Owned(several.concat()),
    }
}

fn masked(mut words: Vec<u16>, layout: &Layout) -> Codes {
    if layout.shift == 0 && layout.mask == u16::MAX {
        return Codes::Words(words);
    }
    for word in &mut words {
        *word = (*word >> layout.shift) & layout.mask;
    }
    Codes::Words(words)
}
