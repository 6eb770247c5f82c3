//! Whether two images show the same picture, told from a few bytes of each.
//!
//! An image is brought to one small size. Of its cells it is kept which is darker than its right neighbour (a
//! difference hash), by which copies are looked up, and which is brighter or darker than those around it, by which they are compared:
//! patients differ in that even where their anatomy lies alike. That survives another window, size, bit depth or JPEG compression of the same exposure, and an overlaid mark; another exposure of
//! the same patient differs. Mirrored, turned or inverted pictures are other pictures here.

use serde::{Deserialize, Serialize};

use super::preprocess::{Fit, PreprocessError, Preprocessing, VoiRule};
use super::{Plane, StoredImage};

/// Cells of the coarse grid: 8 differences in each of 8 rows.
const COARSE: [usize; 2] = [8, 9];
/// Cells of the fine grid: 16 in each of 16 rows have cells on all sides.
const FINE: [usize; 2] = [18, 18];
/// Rows and columns of the small image: a multiple of both grids.
const SMALL: [usize; 2] = [72, 72];
/// Of 65535: neighbours that differ by less are alike, so that noise decides nothing.
const STEP: i64 = 400;
/// The same for four neighbours together.
const CURVE: i64 = 900;
/// An image with fewer cells of their own than these has too little in it to be told from another.
const LEAST: u32 = 40;

/// The fingerprint of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint {
    /// Which of the coarse cells is darker than its right neighbour.
    coarse: u64,
    /// Which of the fine cells is brighter, and which is darker than those around it.
    fine: [[u64; 4]; 2],
}

impl Fingerprint {
    /// The fingerprint of an image, whatever its window; none where it has too little in it.
    ///
    /// # Errors
    /// [`PreprocessError::Constant`] for an image without content.
    pub fn of(image: &StoredImage) -> Result<Option<Self>, PreprocessError> {
        let [rows, columns] = SMALL;
        let contract = Preprocessing {
            voi: VoiRule::Percentiles,
            // where the border ends is seen otherwise in a copy with another window
            crop_border: false,
            fit: Fit::Stretch,
            ..Preprocessing::grey(rows, columns)
        };
        let (plane, _) = contract.plane(image)?;
        let mut coarse = 0;
        let cells = means(&plane, COARSE);
        let steps = cells
            .iter()
            .flat_map(|row| row.windows(2).map(|pair| pair[1] - pair[0]));
        for (place, step) in steps.enumerate() {
            coarse |= u64::from(step > STEP) << place;
        }
        let mut fine = [[0; 4]; 2];
        let cells = means(&plane, FINE);
        for (place, curve) in curves(&cells).enumerate() {
            let (word, bit) = (place / 64, place % 64);
            fine[0][word] |= u64::from(curve > CURVE) << bit;
            fine[1][word] |= u64::from(curve < -CURVE) << bit;
        }
        let fingerprint = Self { coarse, fine };
        Ok((fingerprint.count() >= LEAST).then_some(fingerprint))
    }

    /// What is looked up: the same picture differs in few of these 64 bits.
    #[must_use]
    pub fn coarse(&self) -> u64 {
        self.coarse
    }

    /// How alike two images are, -1 to 1: the cosine of their fine cells, each of which is 1, 0 or -1.
    #[must_use]
    pub fn likeness(&self, other: &Self) -> f32 {
        let common = |own: &[u64; 4], theirs: &[u64; 4]| -> u32 {
            let pairs = own.iter().zip(theirs);
            pairs.map(|(own, theirs)| (own & theirs).count_ones()).sum()
        };
        let ([up, down], [their_up, their_down]) = (&self.fine, &other.fine);
        let same = common(up, their_up) + common(down, their_down);
        let opposite = common(up, their_down) + common(down, their_up);
        let size = (self.count() as f32 * other.count() as f32).sqrt().max(1.0);
        (same as f32 - opposite as f32) / size
    }

    fn count(&self) -> u32 {
        self.fine
            .as_flattened()
            .iter()
            .map(|word| word.count_ones())
            .sum()
    }
}

/// The mean of each cell of a grid, row by row.
fn means(plane: &Plane, [down, across]: [usize; 2]) -> Vec<Vec<i64>> {
    let (rows, columns) = (plane.rows / down, plane.columns / across);
    let mut sums = vec![vec![0_i64; across]; down];
    for row in 0..down * rows {
        let line = &plane.values[row * plane.columns..(row + 1) * plane.columns];
        for (column, value) in line.iter().enumerate().take(across * columns) {
            sums[row / rows][column / columns] += i64::from(*value);
        }
    }
    let area = (rows * columns).max(1) as i64;
    sums.iter_mut().flatten().for_each(|sum| *sum /= area);
    sums
}

/// By how much each cell that is not at the edge is brighter than the four around it together.
fn curves(cells: &[Vec<i64>]) -> impl Iterator<Item = i64> {
    cells.windows(3).flat_map(|rows| {
        let inner = 1..rows[1].len().saturating_sub(1);
        inner.map(|at| 4 * rows[1][at] - rows[0][at] - rows[2][at] - rows[1][at - 1] - rows[1][at + 1])
    })
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        let words = std::iter::once(&fingerprint.coarse).chain(fingerprint.fine.as_flattened());
        let digits = words.map(|word| format!("{word:016x}"));
        digits.collect::<Vec<_>>().concat()
    }
}

/// Text that is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 144 hexadecimal digits")]
pub struct NoFingerprint;

impl TryFrom<String> for Fingerprint {
    type Error = NoFingerprint;

    fn try_from(text: String) -> Result<Self, NoFingerprint> {
        let mut words = [0; 9];
        if text.len() != 16 * words.len() {
            return Err(NoFingerprint);
        }
        for (place, word) in words.iter_mut().enumerate() {
            let digits = text.get(16 * place..16 * place + 16).ok_or(NoFingerprint)?;
            *word = u64::from_str_radix(digits, 16).map_err(|_| NoFingerprint)?;
        }
        let [coarse, a, b, c, d, e, f, g, h] = words;
        Ok(Self {
            coarse,
            fine: [[a, b, c, d], [e, f, g, h]],
        })
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
        Fingerprint::of(image).unwrap().unwrap()
    }

    /// The image as an 8-bit JPEG of another size.
    fn smaller_jpeg(image: &StoredImage) -> StoredImage {
        let contract = Preprocessing::grey(image.rows, image.columns);
        let shown = contract.displayed(image).unwrap();
        let bytes: Vec<u8> = shown.values.iter().map(|value| (value >> 8) as u8).collect();
        let picture = ::image::GrayImage::from_raw(image.columns as u32, image.rows as u32, bytes).unwrap();
        let small = ::image::imageops::resize(&picture, 110, 150, ::image::imageops::FilterType::Triangle);
        let mut jpeg = Vec::new();
        let encoder = ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 60);
        small.write_with_encoder(encoder).unwrap();
        decode_picture(&jpeg).unwrap()
    }

    #[test]
    fn a_copy_in_another_form_is_the_same_picture_and_another_patient_is_not() {
        let images: Vec<StoredImage> = (0..24).map(phantom).collect();
        let prints: Vec<Fingerprint> = images.iter().map(of).collect();
        let (mut copies, mut bits) = (f32::MAX, 0);
        for (image, print) in images.iter().zip(&prints) {
            let copy = of(&smaller_jpeg(image));
            bits = bits.max((copy.coarse() ^ print.coarse()).count_ones());
            copies = copies.min(copy.likeness(print));
        }
        let pairs = (0..prints.len()).flat_map(|place| (0..place).map(move |other| (place, other)));
        let others = pairs.map(|(place, other)| prints[place].likeness(&prints[other]));
        let others = others.fold(f32::MIN, f32::max);
        assert!(
            copies > 0.7 && others < 0.5 && bits <= 11,
            "copies {copies}, others {others}, {bits} bits"
        );
    }

    #[test]
    fn a_fingerprint_is_read_back_and_nonsense_is_refused() {
        let one = of(&phantom(3));
        let text = String::from(one);
        assert_eq!(Fingerprint::try_from(text.clone()), Ok(one));
        for wrong in [&text[1..], "", &"g".repeat(144), &"é".repeat(72)] {
            assert_eq!(Fingerprint::try_from(wrong.to_owned()), Err(NoFingerprint));
        }
    }
}
