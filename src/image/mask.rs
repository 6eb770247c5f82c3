//! Stored pixels written anew: nothing of the file's pixel bytes passes but the stored values, and rectangles of them can
//! be blacked out.
//!
//! Bits outside of the stored ones can hold an overlay, compressed streams comments, and both can hold a name.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::Deserialize;

use super::decode::{DecodeError, MAX_PIXELS, declared_frames, decode_frame, size};
use crate::dicom::{Instance, text};

/// A part of an image, in pixels from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rectangle {
    /// Columns to the left of it.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Its columns.
    pub width: usize,
    /// Its rows.
    pub height: usize,
}

impl Rectangle {
    /// Whether it has pixels, and all of them are in an image of this size.
    #[must_use]
    pub fn is_inside(&self, rows: usize, columns: usize) -> bool {
        let reaches = |from: usize, count: usize, end: usize| {
            count > 0 && from.checked_add(count).is_some_and(|to| to <= end)
        };
        reaches(self.left, self.width, columns) && reaches(self.top, self.height, rows)
    }
}

/// Uncompressed pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// Bits Allocated (0028,0100) is 8.
    Bytes(Vec<u8>),
    /// Bits Allocated is 16; two's complement where the values have a sign.
    Words(Vec<u16>),
}

/// The stored values of an image, with the attributes that say how they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// All frames, one after the other.
    pub pixels: Pixels,
    /// Bits Stored (0028,0101); High Bit (0028,0102) is one less.
    pub bits_stored: u16,
}

/// Decodes every frame of a greyscale image, and fills the rectangles with what is shown darkest.
///
/// # Errors
/// [`DecodeError`], which names the attribute that stands in the way.
pub fn rewrite(instance: &Instance, rectangles: &[Rectangle]) -> Result<Rewritten, DecodeError> {
    // a window that makes no sense is no reason to refuse pixels that are only copied
    let instance = Instance {
        header: layout(&instance.header),
        ..instance.clone()
    };
    let inverted = text(&instance.header, tags::PHOTOMETRIC_INTERPRETATION).as_deref() == Some("MONOCHROME1");
    let count = declared_frames(&instance.header).max(1);
    let [rows, columns] = size(&instance)?;
    if (count as usize).saturating_mul(rows * columns) > MAX_PIXELS {
        return Err(DecodeError::Frames(count));
    }
    let mut all = Vec::new();
    let mut bits_stored = 1;
    for frame in 1..=count {
        let image = decode_frame(&instance, frame)?;
        bits_stored = image.bits_stored;
        let mut codes = image.codes.words(image.rows * image.columns);
        let black = darkest(bits_stored, image.signed, inverted);
        for rectangle in rectangles {
            let lines = codes
                .chunks_exact_mut(image.columns)
                .skip(rectangle.top)
                .take(rectangle.height);
            for line in lines {
                let right = rectangle.left.saturating_add(rectangle.width).min(line.len());
                if let Some(part) = line.get_mut(rectangle.left..right) {
                    part.fill(black);
                }
            }
        }
        let extend = |code: u16| extended(code, bits_stored, image.signed);
        all.extend(codes.into_iter().map(extend));
    }
    // more bits than 8 are stored in 16; fewer may have been, and need no more than 8
    let pixels = if bits_stored <= 8 {
        Pixels::Bytes(all.into_iter().map(|code| code as u8).collect())
    } else {
        Pixels::Words(all)
    };
    Ok(Rewritten {
        pixels,
        bits_stored: bits_stored as u16,
    })
}

/// What of a header says how pixels lie.
fn layout(header: &InMemDicomObject) -> InMemDicomObject {
    let tags = [
        tags::SAMPLES_PER_PIXEL,
        tags::PHOTOMETRIC_INTERPRETATION,
        tags::NUMBER_OF_FRAMES,
        tags::ROWS,
        tags::COLUMNS,
        tags::BITS_ALLOCATED,
        tags::BITS_STORED,
        tags::HIGH_BIT,
        tags::PIXEL_REPRESENTATION,
    ];
    let elements = tags.into_iter().filter_map(|tag| header.get(tag).cloned());
    InMemDicomObject::from_element_iter(elements)
}

/// The code of the value that is shown black: the lowest, or for MONOCHROME1 the highest.
fn darkest(bits_stored: u32, signed: bool, inverted: bool) -> u16 {
    let all = ((1_u32 << bits_stored) - 1) as u16;
    let sign = (1_u32 << (bits_stored - 1)) as u16;
    match (signed, inverted) {
        (false, false) => 0,
        (false, true) => all,
        (true, false) => sign,
        (true, true) => all & !sign,
    }
}

/// A code with its sign in all the bits above.
fn extended(code: u16, bits_stored: u32, signed: bool) -> u16 {
    let above = 16 - bits_stored;
    if signed {
        ((code << above) as i16 >> above) as u16
    } else {
        code << above >> above
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::*;
    use crate::dicom::PixelData;
    use crate::image::phantom::{Recipe, to_dicom};

    /// A phantom's instance with 3 x 2 pixels of its own.
    fn instance(photometric: &str, numbers: [u16; 4], pixels: &'static [u8]) -> Instance {
        let phantom = Recipe::new(1, 64, 64).render();
        let mut file = Vec::new();
        to_dicom(&phantom, 1, 1, 0).unwrap().write_all(&mut file).unwrap();
        let mut instance = Instance::parse(Bytes::from(file)).unwrap();
        let [allocated, stored, high, signed] = numbers;
        for (tag, value) in [
            (tags::ROWS, 2),
            (tags::COLUMNS, 3),
            (tags::BITS_ALLOCATED, allocated),
            (tags::BITS_STORED, stored),
            (tags::HIGH_BIT, high),
            (tags::PIXEL_REPRESENTATION, signed),
        ] {
            instance
                .header
                .put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
        }
        instance.header.put(DataElement::new(
            tags::PHOTOMETRIC_INTERPRETATION,
            VR::CS,
            PrimitiveValue::from(photometric),
        ));
        // no window that fits
        instance.header.put(DataElement::new(
            tags::WINDOW_WIDTH,
            VR::DS,
            PrimitiveValue::from("0"),
        ));
        instance.pixels = Some(PixelData::Native(Bytes::from_static(pixels)));
        instance
    }

    const LOWER_RIGHT: Rectangle = Rectangle {
        left: 1,
        top: 1,
        width: 2,
        height: 1,
    };

    #[test]
    fn rectangles_become_black_and_nothing_else_changes() {
        let bytes = instance("MONOCHROME2", [8, 8, 7, 0], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(
            rewrite(&bytes, &[LOWER_RIGHT]).unwrap().pixels,
            Pixels::Bytes(vec![1, 2, 3, 4, 0, 0])
        );
        let inverted = instance("MONOCHROME1", [8, 7, 6, 0], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(
            rewrite(&inverted, &[LOWER_RIGHT]).unwrap().pixels,
            Pixels::Bytes(vec![1, 2, 3, 4, 127, 127])
        );
    }

    #[test]
    fn bits_that_are_not_stored_go_and_signs_stay() {
        const WORDS: &[u8] = &[0x01, 0xF0, 0xFF, 0x0F, 3, 0, 4, 0, 5, 0, 6, 0];
        let unsigned = instance("MONOCHROME2", [16, 12, 11, 0], WORDS);
        assert_eq!(
            rewrite(&unsigned, &[]).unwrap(),
            Rewritten {
                pixels: Pixels::Words(vec![1, 0xFFF, 3, 4, 5, 6]),
                bits_stored: 12
            }
        );
        let signed = instance("MONOCHROME2", [16, 12, 11, 1], WORDS);
        assert_eq!(
            rewrite(&signed, &[LOWER_RIGHT]).unwrap().pixels,
            Pixels::Words(vec![1, 0xFFFF, 3, 4, 0xF800, 0xF800])
        );
        let signed = instance("MONOCHROME1", [16, 12, 11, 1], WORDS);
        assert_eq!(
            rewrite(&signed, &[LOWER_RIGHT]).unwrap().pixels,
            Pixels::Words(vec![1, 0xFFFF, 3, 4, 0x7FF, 0x7FF])
        );
    }

    #[test]
    fn a_rectangle_beyond_the_image_is_no_panic() {
        let rectangle = Rectangle {
            left: 2,
            top: 1,
            width: usize::MAX,
            height: usize::MAX,
        };
        assert!(!rectangle.is_inside(2, 3));
        let bytes = instance("MONOCHROME2", [8, 8, 7, 0], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(
            rewrite(&bytes, &[rectangle]).unwrap().pixels,
            Pixels::Bytes(vec![1, 2, 3, 4, 5, 0])
        );
    }
}
