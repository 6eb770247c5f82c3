//! Frames as their file holds them: how many there are, and where each begins and ends.

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::decode::{DecodeError, MAX_PIXELS, declared_frames, index_of, stored_fragments};
use crate::dicom::{Instance, PixelData, text};

/// How many frames an image has: as many as it declares, where its pixels can hold them.
///
/// # Errors
/// As [`has_frame`].
pub fn frames(instance: &Instance) -> Result<u32, DecodeError> {
    let frames = declared_frames(&instance.header);
    has_frame(instance, frames.max(1))?;
    Ok(frames)
}

/// Whether an image declares this frame (from 1) and its pixels are long enough to have it.
///
/// # Errors
/// [`DecodeError::NoFrame`], [`DecodeError::Truncated`] or [`DecodeError::TooFewFragments`], [`DecodeError::NoPixelData`].
pub fn has_frame(instance: &Instance, frame: u32) -> Result<(), DecodeError> {
    let pixels = instance.pixels.as_ref().ok_or(DecodeError::NoPixelData)?;
    let count = index_of(&instance.header, frame)? + 1;
    match pixels {
        PixelData::Native(bytes) => {
            let bits = (native_bits(&instance.header)? as u64).saturating_mul(count as u64);
            let expected = usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX);
            let found = bytes.len();
            if found < expected {
                return Err(DecodeError::Truncated { found, expected });
            }
        }
        PixelData::Encapsulated { fragments, .. } => {
            let fragments = fragments.len();
            if fragments < count {
                return Err(DecodeError::TooFewFragments { frame, fragments });
            }
        }
    }
    Ok(())
}

/// The bytes of a frame (from 1) as they are stored, in parts that follow each other: compressed, or little endian.
///
/// # Errors
/// [`DecodeError`] where there is no such frame, or it cannot be told from the others.
pub fn frame(instance: &Instance, frame: u32) -> Result<Vec<Bytes>, DecodeError> {
    match instance.pixels.as_ref().ok_or(DecodeError::NoPixelData)? {
        PixelData::Native(bytes) => Ok(vec![native(&instance.header, bytes, frame)?]),
        PixelData::Encapsulated { .. } => stored_fragments(instance, frame).map(<[Bytes]>::to_vec),
    }
}

/// The bytes of a frame (from 1) of pixels that are not compressed. Frames of single bits follow each other without padding (PS3.5
/// section 8.2); one of them begins at the lowest bit of its first byte here.
pub(super) fn native(object: &InMemDicomObject, bytes: &Bytes, frame: u32) -> Result<Bytes, DecodeError> {
    let index = index_of(object, frame)?;
    let bits = native_bits(object)?;
    let start = bits.saturating_mul(index);
    let (first, end) = (start / 8, start.saturating_add(bits).div_ceil(8));
    let stored = bytes.get(first..end).ok_or(DecodeError::Truncated {
        found: bytes.len(),
        expected: end,
    })?;
    let shift = start % 8;
    if shift == 0 {
        return Ok(bytes.slice(first..end));
    }
    let next = stored.iter().skip(1).chain(std::iter::once(&0));
    let moved = stored
        .iter()
        .zip(next)
        .map(|(low, high)| low >> shift | high << (8 - shift));
    Ok(moved.take(bits.div_ceil(8)).collect())
}

/// Bits of one frame of pixels that are not compressed in their file.
pub(super) fn native_bits(object: &InMemDicomObject) -> Result<usize, DecodeError> {
    match text(object, tags::PHOTOMETRIC_INTERPRETATION).as_deref() {
        // two pixels share their colour
        Some("YBR_FULL_422" | "YBR_PARTIAL_422") => frame_bits(object, 2),
        _ => decoded_bits(object),
    }
}

/// Bits of one frame that was decoded: each pixel has all of its samples.
pub(super) fn decoded_bits(object: &InMemDicomObject) -> Result<usize, DecodeError> {
    frame_bits(object, attribute(object, tags::SAMPLES_PER_PIXEL).max(1))
}

fn frame_bits(object: &InMemDicomObject, samples: u32) -> Result<usize, DecodeError> {
    let (rows, columns) = (
        attribute(object, tags::ROWS) as usize,
        attribute(object, tags::COLUMNS) as usize,
    );
    let allocated = attribute(object, tags::BITS_ALLOCATED);
    if rows == 0 || columns == 0 || rows.saturating_mul(columns) > MAX_PIXELS {
        return Err(DecodeError::Size { rows, columns });
    }
    if !matches!(allocated, 1 | 8 | 16 | 32 | 64) || samples > 4 {
        let stored = attribute(object, tags::BITS_STORED);
        let high = attribute(object, tags::HIGH_BIT);
        return Err(DecodeError::Bits {
            allocated,
            stored,
            high,
        });
    }
    Ok(rows * columns * samples as usize * allocated as usize)
}

pub(super) fn attribute(object: &InMemDicomObject, tag: Tag) -> u32 {
    let element = object.get(tag);
    element.and_then(|element| element.to_int().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::*;

    #[test]
    fn frames_of_single_bits_begin_where_they_do() {
        let mut header = InMemDicomObject::new_empty();
        for (tag, value) in [
            (tags::ROWS, 3_u16),
            (tags::COLUMNS, 3),
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::BITS_ALLOCATED, 1),
        ] {
            header.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
        }
        header.put(DataElement::new(
            tags::NUMBER_OF_FRAMES,
            VR::IS,
            PrimitiveValue::from("3"),
        ));
        // nine bits each, the lowest first: 1 0000 0001, 0 1111 1110, 1 0101 0101
        let bytes = Bytes::from_static(&[0b0000_0001, 0b1111_1101, 0b0101_0101, 0b0000_0101]);
        for (frame, wanted) in [
            (1, [0b0000_0001, 1]),
            (2, [0b1111_1110, 0]),
            (3, [0b0101_0101, 1]),
        ] {
            let found = native(&header, &bytes, frame).unwrap();
            assert_eq!((found[0], found[1] & 1), (wanted[0], wanted[1]), "{frame}");
        }
        let cut = bytes.slice(..3);
        assert!(matches!(
            native(&header, &cut, 3),
            Err(DecodeError::Truncated { .. })
        ));
    }
}
