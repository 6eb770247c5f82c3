//! Frames in colour (PS3.3 section C.7.6.3.1.2), for people and for files that are written anew. Nothing in colour is scored.
//!
//! Invariant: samples lie pixel by pixel, in as many bits as are allocated, until the last step makes eight bits of them.

mod palette;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use image::RgbImage;

use super::codec::{self, Layout};
use super::decode::{DecodeError, Format, decoded, said, stored_fragments};
use super::{Cancel, stored};
use crate::dicom::{Instance, PixelData, text};
use palette::Palette;

/// What the samples of a pixel are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Photometric {
    Rgb,
    YbrFull,
    /// The same, where two pixels share their colour as long as they are not compressed.
    YbrFull422,
}

impl Photometric {
    fn of(header: &InMemDicomObject) -> Option<Self> {
        match text(header, tags::PHOTOMETRIC_INTERPRETATION)?.as_str() {
            "RGB" => Some(Self::Rgb),
            "YBR_FULL" => Some(Self::YbrFull),
            "YBR_FULL_422" => Some(Self::YbrFull422),
            _ => None,
        }
    }
}

/// Three samples for each pixel.
struct Samples {
    layout: Layout,
    bytes: Vec<u8>,
    photometric: Photometric,
}

/// Whether an image is in colour, with samples of its own or by a palette.
pub(super) fn is_colour(header: &InMemDicomObject) -> bool {
    let photometric = text(header, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    !photometric.starts_with("MONOCHROME")
}

/// Whether an image has several samples for each pixel.
pub(super) fn has_samples(header: &InMemDicomObject) -> bool {
    attribute(header, tags::SAMPLES_PER_PIXEL) > 1
}

/// What Photometric Interpretation (0028,0004) becomes where the frames of a compressed image are decoded; nothing where it stays.
pub(super) fn decoded_as(instance: &Instance) -> Option<&'static str> {
    let is_compressed = matches!(instance.pixels, Some(PixelData::Encapsulated { .. }));
    let stays = instance.transfer_syntax == uids::RLE_LOSSLESS || !has_samples(&instance.header);
    (is_compressed && !stays).then_some("RGB")
}

/// The picture of a frame (from 1), with eight bits a sample.
pub(super) fn picture(instance: &Instance, frame: u32) -> Result<RgbImage, DecodeError> {
    if instance.pixels.is_none() {
        return Err(DecodeError::NoPixelData);
    }
    let header = &instance.header;
    let ([rows, columns], pixels) = if has_samples(header) {
        let Samples {
            layout,
            bytes,
            photometric,
        } = samples(instance, frame)?;
        let bytes = eight_bits(&bytes, &layout);
        let pixels = match photometric {
            Photometric::Rgb => bytes,
            Photometric::YbrFull | Photometric::YbrFull422 => {
                bytes.as_chunks().0.iter().flat_map(|pixel| rgb(*pixel)).collect()
            }
        };
        ([layout.rows, layout.columns], pixels)
    } else {
        let palette = Palette::of(header).ok_or(DecodeError::Colour)?;
        let format = Format::of_samples(header)?;
        let decoded = decoded(instance, &format, frame, 0, Cancel::NEVER)?;
        let codes = decoded.codes.words(decoded.rows * decoded.columns);
        let values = codes.iter().map(|code| format.stored_value(*code));
        let pixels = values.flat_map(|value| palette.colour(value)).collect();
        ([decoded.rows, decoded.columns], pixels)
    };
    RgbImage::from_raw(columns as u32, rows as u32, pixels).ok_or(DecodeError::Size { rows, columns })
}

/// The bytes of a frame (from 1) of a compressed image with several samples, as an uncompressed file has them in the order of Planar
/// Configuration (0028,0006).
pub(super) fn uncompressed(instance: &Instance, frame: u32) -> Result<Bytes, DecodeError> {
    let Samples { layout, bytes, .. } = samples(instance, frame)?;
    Ok(if is_planar(&instance.header) {
        let width = layout.allocated as usize / 8;
        let plane = |sample: usize| {
            let pixels = bytes.chunks_exact(3 * width);
            pixels.flat_map(move |pixel| pixel[sample * width..][..width].iter().copied())
        };
        (0..3).flat_map(plane).collect()
    } else {
        bytes.into()
    })
}

fn samples(instance: &Instance, frame: u32) -> Result<Samples, DecodeError> {
    let header = &instance.header;
    let layout = Format::of_samples(header)?.layout;
    if attribute(header, tags::SAMPLES_PER_PIXEL) != 3 {
        return Err(DecodeError::Colour);
    }
    let photometric = Photometric::of(header);
    let (bytes, photometric) = match instance.pixels.as_ref().ok_or(DecodeError::NoPixelData)? {
        PixelData::Native(bytes) => {
            let photometric = photometric.ok_or(DecodeError::Colour)?;
            let stored = stored::native(header, bytes, frame)?;
            let bytes = match (photometric, is_planar(header)) {
                (Photometric::YbrFull422, false) if layout.allocated == 8 => with_own_colour(&stored),
                (Photometric::YbrFull422, _) => return Err(DecodeError::Colour),
                (_, true) => by_pixel(&stored, layout.allocated as usize / 8),
                (_, false) => stored.to_vec(),
            };
            (bytes, photometric)
        }
        PixelData::Encapsulated { .. } => {
            let fragments = stored_fragments(instance, frame)?;
            let is_rgb = photometric == Some(Photometric::Rgb);
            let decoded = codec::colour(&instance.transfer_syntax, fragments, &layout, is_rgb);
            let decoded = decoded.map_err(|error| said(error, instance))?;
            if decoded.is_rgb {
                (decoded.bytes, Photometric::Rgb)
            } else if decoded_as(instance).is_none() {
                (decoded.bytes, photometric.ok_or(DecodeError::Colour)?)
            } else if layout.allocated == 8 && photometric.is_some() {
                let pixels = decoded.bytes.as_chunks().0.iter();
                (pixels.flat_map(|pixel| rgb(*pixel)).collect(), Photometric::Rgb)
            } else {
                return Err(DecodeError::Colour);
            }
        }
    };
    Ok(Samples {
        layout,
        bytes,
        photometric,
    })
}

fn is_planar(header: &InMemDicomObject) -> bool {
    attribute(header, tags::PLANAR_CONFIGURATION) == 1
}

fn attribute(header: &InMemDicomObject, tag: Tag) -> u32 {
    let element = header.get(tag);
    element.and_then(|element| element.to_int().ok()).unwrap_or(0)
}

/// Three planes as pixels.
fn by_pixel(planes: &[u8], width: usize) -> Vec<u8> {
    let plane = planes.len() / 3;
    let pixels = (0..plane / width).flat_map(|at| [0, 1, 2].map(|sample| sample * plane + at * width));
    let samples = pixels.filter_map(|start| planes.get(start..start + width));
    samples.flatten().copied().collect()
}

/// Pairs of pixels (two of Y, then Cb and Cr, which both share) as pixels with a colour of their own.
fn with_own_colour(pairs: &[u8]) -> Vec<u8> {
    let pixels = pairs.as_chunks().0.iter();
    let pixels = pixels.flat_map(|&[first, second, blue, red]| [first, blue, red, second, blue, red]);
    pixels.collect()
}

/// The stored bits of each sample, scaled to eight.
fn eight_bits(bytes: &[u8], layout: &Layout) -> Vec<u8> {
    let top = u32::from(layout.mask).max(1);
    let scaled = |word: u16| {
        let value = u32::from((word >> layout.shift) & layout.mask);
        ((value * 255 + top / 2) / top) as u8
    };
    if layout.allocated == 8 {
        bytes.iter().map(|byte| scaled(u16::from(*byte))).collect()
    } else {
        let words = bytes.as_chunks().0.iter();
        words.map(|word| scaled(u16::from_le_bytes(*word))).collect()
    }
}

/// `YBR_FULL` to red, green and blue: the inverse of the equations of PS3.3 section C.7.6.3.1.2.
fn rgb([luminance, blue, red]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (
        f32::from(luminance),
        f32::from(blue) - 128.0,
        f32::from(red) - 128.0,
    );
    [
        y + 1.402 * cr,
        y - 0.344_136 * cb - 0.714_136 * cr,
        y + 1.772 * cb,
    ]
    .map(|value| value.round().clamp(0.0, 255.0) as u8)
}
