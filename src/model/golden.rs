//! Golden cases: inputs with the outputs that the trainer's own engine gave, kept with the model.
//!
//! A model that does not reproduce them on the device that is to serve it is not served.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::image::Tensor;

/// `goldens.json` of a package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goldens {
    /// What computed the expected numbers, for example `libtorch 2.11.0, cpu`.
    pub origin: String,
    /// How far a score may be from what is expected.
    pub tolerance: f32,
    /// The cases, at least one.
    pub cases: Vec<GoldenCase>,
}

/// One input and its expected scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenCase {
    /// For people.
    pub name: String,
    /// What is put in.
    pub input: GoldenInput,
    /// What has to come out, one number for each label: the logits where the manifest names them, otherwise the scores.
    pub scores: Vec<f32>,
}

/// What is put into a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GoldenInput {
    /// A DICOM file of the package, through decoding and preprocessing.
    Dicom {
        /// Its name in the package.
        file: String,
    },
    /// A tensor of one value.
    Constant {
        /// The value.
        value: f32,
    },
    /// A tensor of uniform noise in -2 to 2, from a seeded `ChaCha8` generator.
    Noise {
        /// The seed.
        seed: u64,
    },
}

impl GoldenInput {
    /// The tensor of a made input, `None` for one that comes from a file.
    #[must_use]
    pub fn tensor(&self, shape: [usize; 3]) -> Option<Tensor> {
        let count = shape.iter().product();
        let values = match self {
            Self::Dicom { .. } => return None,
            Self::Constant { value } => vec![*value; count],
            Self::Noise { seed } => {
                let mut random = ChaCha8Rng::seed_from_u64(*seed);
                // 24 bits make every value exact in f32
                (0..count)
                    .map(|_| (random.next_u32() >> 8) as f32 / (1 << 22) as f32 - 2.0)
                    .collect()
            }
        };
        Some(Tensor { shape, values })
    }
}

impl GoldenCase {
    /// The largest difference between `scores` and what is expected; infinite where one is missing or not a number.
    #[must_use]
    pub fn difference(&self, scores: &[f32]) -> f32 {
        difference(&self.scores, scores)
    }
}

/// The largest difference of two rows of numbers; infinite where one is missing or not a number.
pub(crate) fn difference(expected: &[f32], found: &[f32]) -> f32 {
    if expected.len() != found.len() {
        return f32::INFINITY;
    }
    expected
        .iter()
        .zip(found)
        .map(|(expected, found)| (expected - found).abs())
        .fold(0.0, |worst, difference| {
            if difference.is_nan() {
                f32::INFINITY
            } else {
                f32::max(worst, difference)
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_the_same_everywhere_and_within_its_range() {
        let noise = |seed| GoldenInput::Noise { seed }.tensor([1, 8, 8]).unwrap().values;
        assert_eq!(noise(1), noise(1));
        assert_ne!(noise(1), noise(2));
        assert!(noise(1).iter().all(|value| (-2.0..2.0).contains(value)));
    }

    #[test]
    fn a_missing_or_odd_number_is_infinitely_far() {
        let case = GoldenCase {
            name: String::new(),
            input: GoldenInput::Constant { value: 0.0 },
            scores: vec![0.5, 0.25],
        };
        assert!((case.difference(&[0.5, 0.5]) - 0.25).abs() < 1e-7);
        assert_eq!(case.difference(&[0.5]), f32::INFINITY);
        assert_eq!(case.difference(&[0.5, f32::NAN]), f32::INFINITY);
    }
}
