//! Seeded random draws, split into named streams.
//!
//! Invariants: a draw depends on (seed, stream, view) and on nothing else; no stream reads another's numbers, so a change to one
//! part of the generator leaves the other parts of every phantom as they were. Only additions and multiplications are used, so
//! that the numbers are the same on every platform.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a sequence of random numbers is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Truth = 1,
    Anatomy = 2,
    Surroundings = 3,
    Acquisition = 4,
    Noise = 5,
    Texture = 6,
}

/// A source of random numbers for one stream of one phantom.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    generator: ChaCha8Rng,
}

impl Dice {
    /// The numbers of `stream` for the phantom `seed`; `view` separates several images of one patient.
    pub(super) fn new(seed: u64, stream: Stream, view: u32) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream((u64::from(view) << 8) | stream as u64);
        Self { generator }
    }

    /// Uniform in `0.0..1.0`.
    pub(super) fn unit(&mut self) -> f32 {
        // 24 bits fill the mantissa exactly, so 1.0 cannot come out.
        (self.generator.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform between two bounds.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform between `-bound` and `bound`.
    pub(super) fn within(&mut self, bound: f32) -> f32 {
        self.between(-bound, bound)
    }

    /// True with the given probability.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Uniform among `0..count`; 0 where `count` is 0.
    pub(super) fn pick(&mut self, count: u8) -> u8 {
        ((self.unit() * f32::from(count)) as u8).min(count.saturating_sub(1))
    }

    /// Normal to within 6 standard deviations: the sum of twelve uniforms, which needs no transcendental function.
    pub(super) fn normal(&mut self, mean: f32, deviation: f32) -> f32 {
        let sum: f32 = (0..12).map(|_| self.unit()).sum();
        mean + deviation * (sum - 6.0)
    }

    /// Standard normal to within 3.5 standard deviations, from one 64-bit number: for noise, where speed matters more than tails.
    pub(super) fn quick_normal(&mut self) -> f32 {
        let bits = self.generator.next_u64();
        let sum = (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
        // Four uniforms on 0..65536 have a variance of 4 * 65536^2 / 12.
        (sum as f32 - 131_070.0) * (1.0 / 37_837.23)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_have_the_moments_asked_for() {
        let mut dice = Dice::new(7, Stream::Noise, 0);
        let draws: Vec<f32> = (0..20_000).map(|_| dice.normal(2.0, 3.0)).collect();
        let quick: Vec<f32> = (0..20_000).map(|_| dice.quick_normal()).collect();
        for (draws, mean, deviation) in [(draws, 2.0, 3.0), (quick, 0.0, 1.0)] {
            let count = draws.len() as f32;
            let found = draws.iter().sum::<f32>() / count;
            let variance = draws.iter().map(|draw| (draw - found).powi(2)).sum::<f32>() / count;
            assert!((found - mean).abs() < 0.03 * deviation, "mean {found}");
            assert!(
                (variance.sqrt() / deviation - 1.0).abs() < 0.02,
                "deviation {}",
                variance.sqrt()
            );
        }
    }

    #[test]
    fn streams_and_views_differ() {
        let first = |seed, stream, view| Dice::new(seed, stream, view).unit().to_bits();
        let reference = first(1, Stream::Truth, 0);
        assert_ne!(reference, first(2, Stream::Truth, 0));
        assert_ne!(reference, first(1, Stream::Anatomy, 0));
        assert_ne!(reference, first(1, Stream::Truth, 1));
    }
}
