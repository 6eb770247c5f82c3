//! A first look at many pictures at once, by an eighth of their cells: most are passed over.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::image::fingerprint::Fingerprint;

/// What a sample of the cells has to have.
const LEAST_OF_A_SAMPLE: f32 = 0.42;
/// Pictures that are looked at together.
const LANES: usize = 16;

/// Some cells of each picture, beside each other.
#[derive(Default)]
pub(super) struct Sieve {
    /// Which cells of the first half of the sample are bright or dark.
    present: Vec<u64>,
    /// Which are dark.
    dark: Vec<u64>,
    /// The same of the second half.
    second: Vec<[u64; 2]>,
}

impl Sieve {
    pub(super) fn new(prints: &[Fingerprint]) -> Self {
        let mut sieve = Self::default();
        for print in prints {
            let [first, second] = halves(print);
            sieve.present.push(first[0]);
            sieve.dark.push(first[1]);
            sieve.second.push(second);
        }
        sieve
    }

    pub(super) fn ordered(&self, order: &[u32]) -> Self {
        let of = |words: &[u64]| order.iter().map(|place| words[*place as usize]).collect();
        Self {
            present: of(&self.present),
            dark: of(&self.dark),
            second: order.iter().map(|place| self.second[*place as usize]).collect(),
        }
    }
}

/// Of two words of a fingerprint: cells that are bright or dark, and those that are dark.
fn halves(print: &Fingerprint) -> [[u64; 2]; 2] {
    // two that have no cells at the edge
    [5, 10].map(|word| {
        let [bright, dark] = print.word(word);
        [bright | dark, dark]
    })
}

/// What is looked for.
pub(super) struct Query {
    halves: [[u64; 2]; 2],
    /// So many more cells of the first half have to agree than differ, or the other way round.
    least: i64,
    /// The same of both.
    least_of_both: i64,
}

impl Query {
    pub(super) fn new(print: &Fingerprint) -> Self {
        let halves = halves(print);
        let [first, second] = halves.map(|[present, _]| present.count_ones());
        let least = |count: u32| ((LEAST_OF_A_SAMPLE * count as f32).ceil() as i64).max(1);
        Self {
            halves,
            least: least(first),
            least_of_both: least(first + second),
        }
    }

    /// How many more cells of a half agree than differ.
    #[inline(always)]
    fn balance(&self, half: usize, present: u64, dark: u64) -> i64 {
        let [own, own_dark] = self.halves[half];
        let common = present & own;
        let opposite = (dark ^ own_dark) & common;
        i64::from(common.count_ones()) - 2 * i64::from(opposite.count_ones())
    }
}

/// Whether a balance is at least so much, or at most its opposite, without a branch.
#[inline(always)]
fn is_far(balance: i64, least: i64) -> bool {
    (balance + least - 1) as u64 > (2 * least - 2) as u64
}

/// One look at a part of the sieve, with what instructions the processor has.
pub(super) struct Scan<'a> {
    pub(super) query: &'a Query,
    pub(super) sieve: &'a Sieve,
    pub(super) places: Range<usize>,
    /// Gets the places that pass.
    pub(super) passed: &'a mut Vec<usize>,
}

impl WithSimd for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            query,
            sieve,
            places,
            passed,
        } = self;
        let present = sieve.present[places.clone()].chunks(LANES);
        let dark = sieve.dark[places.clone()].chunks(LANES);
        for ((present, dark), begin) in present.zip(dark).zip(places.step_by(LANES)) {
            let mut any = 0;
            for (present, dark) in present.iter().zip(dark) {
                any |= u64::from(is_far(query.balance(0, *present, *dark), query.least));
            }
            if any == 0 {
                continue;
            }
            for ((present, dark), place) in present.iter().zip(dark).zip(begin..) {
                let first = query.balance(0, *present, *dark);
                if is_far(first, query.least) {
                    let [present, dark] = sieve.second[place];
                    if is_far(first + query.balance(1, present, dark), query.least_of_both) {
                        passed.push(place);
                    }
                }
            }
        }
    }
}
