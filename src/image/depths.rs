//! Grey frames of one or thirty-two bits a pixel, which segmentations and dose grids have and radiographs do not: for people only.

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use image::GrayImage;

use super::decode::DecodeError;
use super::grey::Voi;
use super::{presentation, stored};
use crate::dicom::{Instance, PixelData, number, text};

/// Whether an image has so many bits a pixel.
pub(super) fn has(header: &InMemDicomObject) -> bool {
    matches!(attribute(header, tags::BITS_ALLOCATED), 1 | 32)
}

/// The picture of a frame (from 1) that is not compressed: single bits as black and white, others in the window, or from the lowest to
/// the highest value that there is.
pub(super) fn picture(
    instance: &Instance,
    frame: u32,
    window: Option<&Voi>,
) -> Result<GrayImage, DecodeError> {
    let header = &instance.header;
    let bytes = match instance.pixels.as_ref().ok_or(DecodeError::NoPixelData)? {
        PixelData::Native(bytes) => stored::native(header, bytes, frame)?,
        PixelData::Encapsulated { .. } => {
            return Err(DecodeError::TransferSyntax(instance.transfer_syntax.clone()));
        }
    };
    let (rows, columns) = (attribute(header, tags::ROWS), attribute(header, tags::COLUMNS));
    let size = DecodeError::Size {
        rows: rows as usize,
        columns: columns as usize,
    };
    if attribute(header, tags::SAMPLES_PER_PIXEL) != 1 {
        return Err(DecodeError::Colour);
    }
    let inverted = text(header, tags::PHOTOMETRIC_INTERPRETATION).as_deref() == Some("MONOCHROME1");
    let positions: Vec<f64> = if attribute(header, tags::BITS_ALLOCATED) == 1 {
        let count = rows as usize * columns as usize;
        // the first pixel is the lowest bit (PS3.5 section 8.1.1)
        let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        (0..count).map(|at| f64::from(u8::from(bit(at)))).collect()
    } else {
        let values = values(header, &bytes);
        let of_file = presentation::window(header)?;
        let whole;
        let voi = if let Some(voi) = window.or(of_file.as_ref()) {
            voi
        } else {
            whole = Voi::spanning(values.iter().copied());
            &whole
        };
        values.iter().map(|value| voi.position(*value)).collect()
    };
    let shown = positions.into_iter().map(|position| {
        let position = if inverted { 1.0 - position } else { position };
        (position * 255.0).round() as u8
    });
    GrayImage::from_raw(columns, rows, shown.collect()).ok_or(size)
}

/// Modality values of words of 32 bits.
fn values(header: &InMemDicomObject, bytes: &Bytes) -> Vec<f64> {
    let slope = number(header, tags::RESCALE_SLOPE).filter(|slope| slope.is_finite() && *slope != 0.0);
    let intercept = number(header, tags::RESCALE_INTERCEPT).filter(|intercept| intercept.is_finite());
    let is_signed = attribute(header, tags::PIXEL_REPRESENTATION) == 1;
    let words = bytes.as_chunks().0.iter().map(|word| {
        if is_signed {
            f64::from(i32::from_le_bytes(*word))
        } else {
            f64::from(u32::from_le_bytes(*word))
        }
    });
    words
        .map(|value| value * slope.unwrap_or(1.0) + intercept.unwrap_or(0.0))
        .collect()
}

fn attribute(header: &InMemDicomObject, tag: Tag) -> u32 {
    let element = header.get(tag);
    element.and_then(|element| element.to_int().ok()).unwrap_or(0)
}
