//! A frame as bytes: as it is stored, or as an uncompressed little-endian file holds it.

use bytes::Bytes;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::codec::Layout;
use super::decode::{DecodeError, Format, MAX_PIXELS, declared_frames, decoded, index_of, stored_fragments};
use super::{Codes, colour};
use crate::dicom::explicit::Uncompressed;
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
pub fn stored(instance: &Instance, frame: u32) -> Result<Vec<Bytes>, DecodeError> {
    match instance.pixels.as_ref().ok_or(DecodeError::NoPixelData)? {
        PixelData::Native(bytes) => Ok(vec![native(&instance.header, bytes, frame)?]),
        PixelData::Encapsulated { .. } => stored_fragments(instance, frame).map(<[Bytes]>::to_vec),
    }
}

/// The bytes of a frame (from 1) in Explicit VR Little Endian.
///
/// # Errors
/// As [`super::decode::decode_frame`].
pub fn uncompressed(instance: &Instance, frame: u32) -> Result<Bytes, DecodeError> {
    match instance.pixels.as_ref().ok_or(DecodeError::NoPixelData)? {
        PixelData::Native(bytes) => native(&instance.header, bytes, frame),
        PixelData::Encapsulated { .. } if colour::has_samples(&instance.header) => {
            colour::uncompressed(instance, frame)
        }
        PixelData::Encapsulated { .. } => {
            let format = Format::of_samples(&instance.header)?;
            let decoded = decoded(instance, &format, frame, 0)?;
            Ok(little_endian(&decoded.codes, &format.layout, format.signed))
        }
    }
}

/// How many bytes a frame has when it is not compressed.
///
/// # Errors
/// [`DecodeError`] where the data set does not say how large it is.
pub fn frame_size(instance: &Instance) -> Result<usize, DecodeError> {
    let header = &instance.header;
    let bits = match instance.pixels.as_ref().ok_or(DecodeError::NoPixelData)? {
        PixelData::Native(_) => native_bits(header)?,
        PixelData::Encapsulated { .. } => decoded_bits(header)?,
    };
    Ok(bits.div_ceil(8))
}

/// What the pixels of an image are when they are not compressed.
///
/// # Errors
/// [`DecodeError`] where the data set does not say how large a frame is, or declares more of them than there are.
pub fn uncompressed_pixels(instance: &Instance) -> Result<Uncompressed, DecodeError> {
    let header = &instance.header;
    let bytes = match instance.pixels.as_ref().ok_or(DecodeError::NoPixelData)? {
        PixelData::Native(bytes) => bytes.len() as u64,
        PixelData::Encapsulated { .. } => decoded_bits(header)? as u64 / 8 * u64::from(frames(instance)?),
    };
    Ok(Uncompressed {
        bytes,
        words: attribute(header, tags::BITS_ALLOCATED) > 8,
        photometric: colour::decoded_as(instance),
    })
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
fn native_bits(object: &InMemDicomObject) -> Result<usize, DecodeError> {
    match text(object, tags::PHOTOMETRIC_INTERPRETATION).as_deref() {
        // two pixels share their colour
        Some("YBR_FULL_422" | "YBR_PARTIAL_422") => frame_bits(object, 2),
        _ => decoded_bits(object),
    }
}

/// Bits of one frame that was decoded: each pixel has all of its samples.
fn decoded_bits(object: &InMemDicomObject) -> Result<usize, DecodeError> {
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

fn attribute(object: &InMemDicomObject, tag: Tag) -> u32 {
    let element = object.get(tag);
    element.and_then(|element| element.to_int().ok()).unwrap_or(0)
}

/// Decoded values in the place that Bits Stored and High Bit give them, with the sign in the bits above.
fn little_endian(codes: &Codes, layout: &Layout, signed: bool) -> Bytes {
    let count = layout.rows * layout.columns;
    let has_sign_bits = signed && layout.stored < layout.allocated;
    if let Codes::Stored { bytes, .. } = codes
        && !has_sign_bits
    {
        // they are those of an uncompressed file
        return bytes.slice(..count * layout.allocated as usize / 8);
    }
    let words = codes.words(count);
    let unused = 16 - layout.stored;
    let placed = words.iter().map(|word| {
        let value = if signed {
            (((word << unused) as i16) >> unused) as u16
        } else {
            *word
        };
        value << layout.shift
    });
    if layout.allocated == 8 {
        placed.map(|word| word as u8).collect()
    } else {
        placed.flat_map(u16::to_le_bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::super::decode::decode;
    use super::*;

    fn instance(file: &str) -> Instance {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/decode")
            .join(file);
        Instance::parse(std::fs::read(path).unwrap().into()).unwrap()
    }

    /// The codes of an uncompressed file with these bytes are those of the compressed one.
    #[test]
    fn decoded_bytes_are_those_of_an_uncompressed_file() {
        for file in [
            "jpeg2000-8u.dcm",
            "jpeg2000-12s.dcm",
            "jpeg2000-16u.dcm",
            "htj2k-12u.dcm",
        ] {
            let compressed = instance(file);
            let bytes = uncompressed(&compressed, 1).unwrap();
            let pixels = uncompressed_pixels(&compressed).unwrap();
            let wanted = Uncompressed {
                bytes: bytes.len() as u64,
                words: !file.contains("8u"),
                photometric: None,
            };
            assert_eq!(frame_size(&compressed), Ok(bytes.len()), "{file}");
            assert_eq!(pixels, wanted, "{file}");
            let native = Instance {
                pixels: Some(PixelData::Native(bytes)),
                ..compressed.clone()
            };
            let count = native
                .header
                .element(tags::ROWS)
                .unwrap()
                .to_int::<usize>()
                .unwrap()
                * native
                    .header
                    .element(tags::COLUMNS)
                    .unwrap()
                    .to_int::<usize>()
                    .unwrap();
            let (one, other) = (decode(&compressed).unwrap(), decode(&native).unwrap());
            assert!(one.codes.words(count) == other.codes.words(count), "{file}");
        }
    }

    #[test]
    fn the_sign_fills_the_bits_above_and_the_shift_is_kept() {
        let layout = Layout {
            rows: 1,
            columns: 2,
            allocated: 16,
            stored: 12,
            shift: 0,
            mask: 0xFFF,
        };
        let codes = Codes::Words(vec![0xFFF, 0x7FF]);
        assert_eq!(
            &little_endian(&codes, &layout, true)[..],
            [0xFF, 0xFF, 0xFF, 0x07]
        );
        assert_eq!(
            &little_endian(&codes, &layout, false)[..],
            [0xFF, 0x0F, 0xFF, 0x07]
        );
        // a codec may have left the bits above empty
        let stored = layout.stored(Bytes::from_static(&[0xFF, 0x0F, 0xFF, 0x07]));
        assert_eq!(
            &little_endian(&stored, &layout, true)[..],
            [0xFF, 0xFF, 0xFF, 0x07]
        );
        let shifted = Layout { shift: 4, ..layout };
        assert_eq!(
            &little_endian(&codes, &shifted, true)[..],
            [0xF0, 0xFF, 0xF0, 0x7F]
        );
    }

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

    #[test]
    fn stored_frames_are_what_the_file_holds() {
        let compressed = instance("jpeg2000-8u.dcm");
        let Some(PixelData::Encapsulated { fragments, .. }) = &compressed.pixels else {
            unreachable!()
        };
        assert_eq!(&stored(&compressed, 1).unwrap(), fragments);
        let mut endless = compressed.clone();
        let frames_of = |instance: &mut Instance, count: &str| {
            let element = DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, PrimitiveValue::from(count));
            instance.header.put(element);
            frames(instance)
        };
        assert_eq!(frames_of(&mut endless, "1"), Ok(1));
        let fragments = fragments.len();
        let error = DecodeError::TooFewFragments {
            frame: u32::MAX,
            fragments,
        };
        assert_eq!(frames_of(&mut endless, "4294967295"), Err(error));
        for frame in [0, 2] {
            assert!(matches!(
                stored(&compressed, frame),
                Err(DecodeError::NoFrame { .. })
            ));
            assert!(matches!(
                uncompressed(&compressed, frame),
                Err(DecodeError::NoFrame { .. })
            ));
        }
        let cut = Instance {
            pixels: Some(PixelData::Native(Bytes::from_static(&[0; 10]))),
            ..compressed
        };
        assert!(matches!(
            uncompressed(&cut, 1),
            Err(DecodeError::Truncated { .. })
        ));
        assert!(matches!(frames(&cut), Err(DecodeError::Truncated { .. })));
    }
}
