//! Numbers for tests of sums, and how far what was computed is from what was to be.

use pulp::Arch;

use crate::Lanes;

/// Numbers made by chance, the same each time.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new() -> Self {
        Self(88_172_645_463_325_252)
    }

    /// So many, up to `scale` from 0.
    pub(crate) fn numbers(&mut self, count: usize, scale: f32) -> Vec<f32> {
        let number = |_| {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            ((self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
        };
        (0..count).map(number).collect()
    }
}

/// The largest distance; what is no number is furthest.
pub(crate) fn furthest(results: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(results.len(), expected.len());
    let off = results
        .iter()
        .zip(expected)
        .map(|(result, expected)| (f64::from(*result) - expected).abs());
    off.fold(
        0.0,
        |most, off| if off > most || off.is_nan() { off } else { most },
    )
}

/// How many numbers a vector of this processor has.
pub(crate) fn lanes() -> usize {
    Arch::new().dispatch(Lanes)
}
