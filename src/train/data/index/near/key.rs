//! Keys that copies often have in common: the signs of sums over cells, taken with chance signs.

use pulp::{Simd, WithSimd};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::image::fingerprint::Fingerprint;

/// Words of a fingerprint that a bit of a key is made of.
const OF_A_BIT: usize = 2;

/// How the key of a round is made: for each bit, words with the cells whose sign is turned.
pub(super) struct Key(Vec<[(usize, u64); OF_A_BIT]>);

impl Key {
    pub(super) fn new(round: u64, bits: u32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(round);
        // one more: a key and its opposite are one
        let bit = |_| std::array::from_fn(|_| (random.random_range(0..Fingerprint::WORDS), random.random()));
        Self((0..=bits).map(bit).collect())
    }

    #[inline(always)]
    fn of(&self, print: &Fingerprint) -> u32 {
        let mut key = 0;
        for bit in &self.0 {
            let mut sum = 0;
            for (word, turned) in bit {
                let [bright, dark] = print.word(*word);
                // as many cells plus as minus, of the bright ones and of the dark ones
                sum += (bright & turned).count_ones() as i32 - (bright & !turned).count_ones() as i32;
                sum -= (dark & turned).count_ones() as i32 - (dark & !turned).count_ones() as i32;
            }
            key = key << 1 | u32::from(sum > 0);
        }
        let all = (1 << (self.0.len() - 1)) - 1;
        // the first bit says which of the two it is
        if key > all { !key & all } else { key }
    }
}

/// The keys of a picture and of its mirror image, with what instructions the processor has.
pub(super) struct Keys<'a> {
    pub(super) key: &'a Key,
    pub(super) print: &'a Fingerprint,
}

impl WithSimd for Keys<'_> {
    type Output = [u32; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [u32; 2] {
        [self.key.of(self.print), self.key.of(&self.print.mirrored())]
    }
}
