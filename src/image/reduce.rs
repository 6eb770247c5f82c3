//! What a JPEG 2000 file holds of an image at a lower resolution: the low band of the reversible wavelet (ITU-T T.800
//! annex F), for images that are not in such a file.
//!
//! `osteon-train package verify` measures with it what a lower resolution does to a model's scores.

use super::{Codes, StoredImage};

/// The image at the resolution that is left when the `levels` highest are discarded: as JPEG 2000 Lossless gives it, to the bit.
#[must_use]
pub fn low_band(image: &StoredImage, levels: u32) -> StoredImage {
    let [mut rows, mut columns] = [image.rows, image.columns];
    let codes = image.codes.words(rows * columns);
    let mut values: Vec<i32> = codes.iter().map(|code| image.stored_value(*code)).collect();
    for _ in 0..levels {
        // columns before rows, as the encoder does (section F.4.2): the rounding depends on it
        values = transposed(
            &low_lines(&transposed(&values, rows, columns), rows),
            columns,
            rows.div_ceil(2),
        );
        rows = rows.div_ceil(2);
        values = low_lines(&values, columns);
        columns = columns.div_ceil(2);
    }
    let half = 1_i32 << (image.bits_stored - 1);
    let range = if image.signed {
        -half..=half - 1
    } else {
        0..=2 * half - 1
    };
    let mask = (2 * half - 1) as u16;
    let code = |value: i32| value.clamp(*range.start(), *range.end()) as u16 & mask;
    StoredImage {
        rows,
        columns,
        codes: Codes::Words(values.into_iter().map(code).collect()),
        ..image.clone()
    }
}

/// Every line of `length` values at half its length: equations F-9 and F-10, symmetric at both ends. The level shift that
/// comes before them is left out: it passes through both unchanged.
fn low_lines(values: &[i32], length: usize) -> Vec<i32> {
    let mut low = Vec::with_capacity(values.len() / 2 + 1);
    for line in values.chunks_exact(length) {
        let even = |index: usize| line.get(2 * index).copied().unwrap_or(line[(length - 1) & !1]);
        let high = |index: usize| {
            line.get(2 * index + 1)
                .map(|value| value - ((even(index) + even(index + 1)) >> 1))
        };
        let mut before = high(0);
        for index in 0..length.div_ceil(2) {
            let behind = high(index).or(before);
            // a line of one value has no high band
            let [a, b] = [before.unwrap_or(0), behind.unwrap_or(0)];
            low.push(even(index) + ((a + b + 2) >> 2));
            before = behind;
        }
    }
    low
}

fn transposed(values: &[i32], rows: usize, columns: usize) -> Vec<i32> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| values[row * columns + column]))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dicom::Instance;
    use crate::image::Cancel;
    use crate::image::decode::{decode, decode_halved};

    /// Against the low bands that are inside files of `OpenJPEG`: the same image, whole and at each lower resolution.
    #[test]
    fn is_what_lossless_jpeg_2000_holds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode");
        for (file, most) in [
            ("jpeg2000-8u.dcm", 2),
            ("jpeg2000-12s.dcm", 2),
            ("jpeg2000-16u.dcm", 2),
            ("jpeg2000-six-levels.dcm", 5),
            ("htj2k-12u.dcm", 2),
        ] {
            let bytes = std::fs::read(folder.join(file)).unwrap();
            let instance = Instance::parse(bytes.into()).unwrap();
            let whole = decode(&instance).unwrap();
            for levels in 1..=most {
                let (held, halved) = decode_halved(&instance, levels, Cancel::NEVER).unwrap();
                assert_eq!(halved, levels, "{file}");
                let made = low_band(&whole, levels);
                let count = held.rows * held.columns;
                assert_eq!((made.rows, made.columns), (held.rows, held.columns), "{file}");
                assert!(
                    made.codes.words(count) == held.codes.words(count),
                    "{file} halved {levels} times"
                );
            }
        }
    }

    #[test]
    fn one_pixel_stays_one_pixel() {
        let one = StoredImage::twelve_bits(1, 1, vec![77]);
        assert_eq!(low_band(&one, 2).codes.words(1), [77]);
    }
}
