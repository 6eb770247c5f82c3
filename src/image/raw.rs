//! A frame as an uncompressed little-endian file holds it.

use bytes::Bytes;
use dicom_dictionary_std::tags;

use super::codec::Layout;
use super::decode::{DecodeError, Format, decoded};
use super::stored::{attribute, decoded_bits, frames, native, native_bits};
use super::{Cancel, Codes, colour};
use crate::dicom::explicit::Uncompressed;
use crate::dicom::{Instance, PixelData};

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
            let decoded = decoded(instance, &format, frame, 0, Cancel::NEVER)?;
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
    use super::super::stored;
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
    fn stored_frames_are_what_the_file_holds() {
        let compressed = instance("jpeg2000-8u.dcm");
        let Some(PixelData::Encapsulated { fragments, .. }) = &compressed.pixels else {
            unreachable!()
        };
        assert_eq!(&stored::frame(&compressed, 1).unwrap(), fragments);
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
                stored::frame(&compressed, frame),
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
