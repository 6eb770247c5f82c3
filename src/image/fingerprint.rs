//! Whether two images show the same picture, told from some bytes of each.
//!
//! An image is brought to one small size, and of its cells it is kept which are brighter or darker than those around them: patients differ
//! in that even where their anatomy lies alike. That survives another window, size, bit depth or JPEG compression of the same exposure,
//! and an overlaid mark; another exposure of the same patient differs. In an inverted copy bright and dark cells change places, in a
//! mirrored one left and right ones, so that both are found by the same bytes. An image with a flat border has a second fingerprint, of what is
//! inside it, by which copies without the border are found. Turned pictures, and those that lack more than their border, are others here.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::border::{Rectangle, exposed_field};
use super::preprocess::{Fit, PreprocessError, Preprocessing, VoiRule};
use super::{Plane, StoredImage};

/// Cells in each direction that have cells on all sides.
const CELLS: usize = 32;
/// Rows and columns of the small image: a multiple of the cells and those around them.
const SMALL: usize = SIDE * (CELLS + 2);
const SIDE: usize = 4;
/// Of 65535: a cell that differs by no more from the four around it together has nothing of its own but noise.
const NOISE: i64 = 150;
/// An image with fewer cells of their own has too little in it to be told from another.
const LEAST: u32 = 160;
/// A border is one if it takes this part of a side.
const BORDER: f64 = 0.01;
const WORDS: usize = Fingerprint::WORDS;
/// Cells in each direction of which a word has one.
const STRIDE: usize = 4;

/// The fingerprint of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint {
    /// Which cells are brighter than those around them. Each word has cells from all over the picture: every fourth of every fourth row.
    bright: [u64; WORDS],
    /// Which are darker.
    dark: [u64; WORDS],
}

impl Fingerprint {
    /// Words of 64 cells.
    pub const WORDS: usize = CELLS * CELLS / 64;

    /// The fingerprints of an image, whatever its window: of all of it, and of what is inside its border, if it has one. None where
    /// there is too little in it to be told from another.
    ///
    /// # Errors
    /// [`PreprocessError::Constant`] for an image without content.
    pub fn all_of(image: &StoredImage) -> Result<Vec<Self>, PreprocessError> {
        let field = exposed_field(image);
        let whole = Rectangle {
            top: 0,
            left: 0,
            rows: image.rows,
            columns: image.columns,
        };
        let is_less = |kept: usize, all: usize| (kept as f64) < (1.0 - BORDER) * all as f64;
        let has_border = is_less(field.rows, image.rows) || is_less(field.columns, image.columns);
        let mut all: Vec<Self> = Self::of(image, whole, field)?.into_iter().collect();
        if has_border {
            all.extend(Self::of(image, field, field)?);
        }
        Ok(all)
    }

    /// That of a part of an image, by the cells that lie in its field: the edge of a border is the same in different pictures.
    fn of(image: &StoredImage, part: Rectangle, field: Rectangle) -> Result<Option<Self>, PreprocessError> {
        let contract = Preprocessing {
            voi: VoiRule::Percentiles,
            crop_border: part == field,
            fit: Fit::Stretch,
            ..Preprocessing::grey(SMALL, SMALL)
        };
        let (plane, _) = contract.plane(image)?;
        let rows = inside(part.rows, field.top - part.top, field.rows);
        let columns = inside(part.columns, field.left - part.left, field.columns);
        let curves = curves(&means(&plane));
        let mut sizes: Vec<i64> = curves.iter().map(|curve| curve.abs()).collect();
        // half of the cells, whatever the contrast
        let (_, median, _) = sizes.select_nth_unstable(curves.len() / 2);
        let least = (*median).max(NOISE);
        let mut fingerprint = Self {
            bright: [0; WORDS],
            dark: [0; WORDS],
        };
        for (place, curve) in curves.iter().enumerate() {
            let (row, column) = (place / CELLS, place % CELLS);
            if !rows.contains(&row) || !columns.contains(&column) {
                continue;
            }
            let word = row % STRIDE * STRIDE + column % STRIDE;
            let bit = row / STRIDE * (CELLS / STRIDE) + column / STRIDE;
            fingerprint.bright[word] |= u64::from(*curve > least) << bit;
            fingerprint.dark[word] |= u64::from(*curve < -least) << bit;
        }
        Ok((fingerprint.count() >= LEAST).then_some(fingerprint))
    }

    /// That of the picture with bright and dark exchanged.
    #[must_use]
    pub fn inverted(&self) -> Self {
        Self {
            bright: self.dark,
            dark: self.bright,
        }
    }

    /// That of the picture with left and right exchanged.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        let turned = |words: &[u64; WORDS]| {
            let mut turned = [0; WORDS];
            for (place, turned) in turned.iter_mut().enumerate() {
                // a byte is a row of a word's cells; the mirror images of a word's columns are those of another
                let (row, column) = (place / STRIDE, place % STRIDE);
                let word = words[row * STRIDE + STRIDE - 1 - column];
                *turned = word.reverse_bits().swap_bytes();
            }
            turned
        };
        Self {
            bright: turned(&self.bright),
            dark: turned(&self.dark),
        }
    }

    /// Which cells of one word are brighter than those around them, and which are darker; `place` is below [`Fingerprint::WORDS`].
    #[must_use]
    pub fn word(&self, place: usize) -> [u64; 2] {
        [self.bright[place], self.dark[place]]
    }

    /// How alike two pictures are, -1 to 1: the cosine of their cells, each of which is 1, 0 or -1. That of an inverted copy is near -1.
    #[must_use]
    pub fn likeness(&self, other: &Self) -> f32 {
        let common = |own: &[u64; WORDS], theirs: &[u64; WORDS]| -> u32 {
            let pairs = own.iter().zip(theirs);
            pairs.map(|(own, theirs)| (own & theirs).count_ones()).sum()
        };
        let same = common(&self.bright, &other.bright) + common(&self.dark, &other.dark);
        let opposite = common(&self.bright, &other.dark) + common(&self.dark, &other.bright);
        let size = (self.count() as f32 * other.count() as f32).sqrt().max(1.0);
        (same as f32 - opposite as f32) / size
    }

    fn count(&self) -> u32 {
        let words = self.bright.iter().chain(&self.dark);
        words.map(|word| word.count_ones()).sum()
    }
}

/// Which cells of a side of so many pixels lie, with those around them, in a field that begins at a pixel and has so many.
fn inside(side: usize, begin: usize, length: usize) -> Range<usize> {
    let cells = CELLS + 2;
    let first = (begin * cells).div_ceil(side);
    let end = (begin + length) * cells / side;
    // a cell has one before it and one behind it, and the first of all is none
    first..end.saturating_sub(2).max(first)
}

/// The mean of each cell, row by row.
fn means(plane: &Plane) -> Vec<Vec<i64>> {
    let mut sums = vec![vec![0_i64; CELLS + 2]; CELLS + 2];
    for (row, line) in plane.values.chunks(plane.columns).enumerate() {
        for (column, value) in line.iter().enumerate() {
            sums[row / SIDE][column / SIDE] += i64::from(*value);
        }
    }
    for sum in sums.iter_mut().flatten() {
        *sum /= (SIDE * SIDE) as i64;
    }
    sums
}

/// By how much each cell that is not at the edge is brighter than the four around it together.
fn curves(cells: &[Vec<i64>]) -> Vec<i64> {
    let rows = cells.windows(3).flat_map(|rows| {
        let inner = 1..rows[1].len() - 1;
        inner.map(|at| 4 * rows[1][at] - rows[0][at] - rows[2][at] - rows[1][at - 1] - rows[1][at + 1])
    });
    rows.collect()
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        let words = fingerprint.bright.iter().chain(&fingerprint.dark);
        let digits = words.map(|word| format!("{word:016x}"));
        digits.collect::<Vec<_>>().concat()
    }
}

/// Text that is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 512 hexadecimal digits")]
pub struct NoFingerprint;

impl TryFrom<String> for Fingerprint {
    type Error = NoFingerprint;

    fn try_from(text: String) -> Result<Self, NoFingerprint> {
        if text.len() != 16 * 2 * WORDS {
            return Err(NoFingerprint);
        }
        let mut halves = [[0; WORDS]; 2];
        for (place, word) in halves.as_flattened_mut().iter_mut().enumerate() {
            let digits = text.get(16 * place..16 * place + 16).ok_or(NoFingerprint)?;
            *word = u64::from_str_radix(digits, 16).map_err(|_| NoFingerprint)?;
        }
        let [bright, dark] = halves;
        Ok(Self { bright, dark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::decode::{decode, decode_picture};
    use crate::image::phantom::{Recipe, to_dicom};

    fn phantom(seed: u64) -> StoredImage {
        let mut bytes = Vec::new();
        let object = to_dicom(&Recipe::new(seed, 256, 192).render(), 1, seed as u32, 0).unwrap();
        object.write_all(&mut bytes).unwrap();
        decode(&crate::dicom::Instance::parse(bytes.into()).unwrap()).unwrap()
    }

    fn of(image: &StoredImage) -> Fingerprint {
        Fingerprint::all_of(image).unwrap()[0]
    }

    /// The image in eight bits, as it is displayed, and changed.
    fn picture(
        image: &StoredImage,
        change: impl Fn(::image::GrayImage) -> ::image::GrayImage,
    ) -> StoredImage {
        let contract = Preprocessing::grey(image.rows, image.columns);
        let shown = contract.displayed(image).unwrap();
        let bytes: Vec<u8> = shown.values.iter().map(|value| (value >> 8) as u8).collect();
        let picture = ::image::GrayImage::from_raw(image.columns as u32, image.rows as u32, bytes).unwrap();
        let mut jpeg = Vec::new();
        let encoder = ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 60);
        change(picture).write_with_encoder(encoder).unwrap();
        decode_picture(&jpeg).unwrap()
    }

    fn small(picture: &::image::GrayImage) -> ::image::GrayImage {
        ::image::imageops::resize(picture, 110, 150, ::image::imageops::FilterType::Triangle)
    }

    fn inverted(mut picture: ::image::GrayImage) -> ::image::GrayImage {
        ::image::imageops::invert(&mut picture);
        picture
    }

    #[test]
    fn a_copy_in_another_form_is_the_same_picture_and_another_patient_is_not() {
        let images: Vec<StoredImage> = (0..24).map(phantom).collect();
        let prints: Vec<Fingerprint> = images.iter().map(of).collect();
        let mut copies = f32::MAX;
        for (image, print) in images.iter().zip(&prints) {
            let small_copy = of(&picture(image, |picture| small(&picture)));
            let mirrored = of(&picture(image, |picture| {
                small(&::image::imageops::flip_horizontal(&picture))
            }));
            let inverted = of(&picture(image, |picture| small(&inverted(picture))));
            for (name, copy) in [
                ("small", small_copy),
                ("mirrored", mirrored.mirrored()),
                ("inverted", inverted.inverted()),
            ] {
                let likeness = copy.likeness(print);
                assert!(likeness > 0.7, "{name}: {likeness}");
                assert!((copy.inverted().likeness(print) + likeness).abs() < 1e-6);
                copies = copies.min(likeness);
            }
        }
        let pairs = (0..prints.len()).flat_map(|place| (0..place).map(move |other| (place, other)));
        let others = pairs.flat_map(|(place, other)| {
            [
                (prints[place], prints[other]),
                (prints[place].mirrored(), prints[other]),
            ]
        });
        let others = others.map(|(one, other)| one.likeness(&other).abs());
        let others = others.fold(f32::MIN, f32::max);
        assert!(others < 0.5, "copies {copies}, others {others}");
    }

    /// Three of four are: where a phantom has a soft border of its own, it comes off with the flat one.
    #[test]
    fn a_copy_without_its_flat_border_is_the_same_picture() {
        let is_found = |seed: &u64| {
            let image = phantom(*seed);
            let framed = picture(&image, |picture| {
                let mut framed = ::image::GrayImage::new(picture.width() + 40, picture.height() + 30);
                ::image::imageops::replace(&mut framed, &picture, 25, 5);
                framed
            });
            let [own, framed] = [picture(&image, |picture| picture), framed]
                .map(|image| Fingerprint::all_of(&image).unwrap());
            framed
                .iter()
                .any(|one| own.iter().any(|other| one.likeness(other) > 0.65))
        };
        let found = (0..24).filter(is_found).count();
        assert!(found >= 15, "{found} of 24");
    }

    #[test]
    fn a_fingerprint_is_read_back_and_nonsense_is_refused() {
        let one = of(&phantom(3));
        assert_eq!(one.mirrored().mirrored(), one);
        let text = String::from(one);
        assert_eq!(Fingerprint::try_from(text.clone()), Ok(one));
        for wrong in [&text[1..], "", &"g".repeat(512), &"é".repeat(256)] {
            assert_eq!(Fingerprint::try_from(wrong.to_owned()), Err(NoFingerprint));
        }
    }
}
