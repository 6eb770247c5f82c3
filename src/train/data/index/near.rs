//! Images that show the same picture in another form, found among half a million without comparing each with each.
//!
//! Fingerprints that are near differ in at most [`MOST_BITS`] of the 64 bits that are looked up. Of four bands of 16 bits, one then
//! differs in at most two, so whoever has that band, or the band with one or two bits turned, is a candidate (multi-index hashing, Norouzi
//! 2012, arXiv 1307.2982). Candidates are compared whole. Memory: 16 bytes and the fingerprint, 72, for each image.

use rayon::prelude::*;

use crate::image::fingerprint::Fingerprint;

/// Copies as JPEG at half the size, with another window, differ in less.
const MOST_BITS: u32 = 11;
/// Small JPEG copies of phantoms have more than 0.75, phantoms of different patients less than 0.5.
const LEAST_LIKENESS: f32 = 0.6;
const BANDS: usize = 4;
const BAND_BITS: u32 = 16;
/// Neighbours of one image that are told: a test picture that was sent every day is near to all of its copies.
const MOST_NEIGHBOURS: usize = 8;

/// Two images that show the same picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    /// The earlier place.
    pub(super) first: usize,
    /// The later place.
    pub(super) second: usize,
    /// How alike they are, [`LEAST_LIKENESS`] to 1.
    pub(super) likeness: f32,
}

/// All pairs among fingerprints, in the order of their later places.
pub(super) fn pairs(fingerprints: &[Fingerprint]) -> Vec<Pair> {
    let bands: Vec<Band> = (0..BANDS).map(|band| Band::new(fingerprints, band)).collect();
    let found: Vec<Vec<Pair>> = (0..fingerprints.len())
        .into_par_iter()
        .map(|place| earlier(fingerprints, &bands, place))
        .collect();
    found.into_iter().flatten().collect()
}

/// Those before `place` that show the same.
fn earlier(fingerprints: &[Fingerprint], bands: &[Band], place: usize) -> Vec<Pair> {
    let own = &fingerprints[place];
    let mut pairs: Vec<Pair> = Vec::new();
    'bands: for (number, band) in bands.iter().enumerate() {
        let value = value(own, number);
        // one bit, or two; with the one behind the last, which is none, it is one
        let turned = (0..=BAND_BITS).flat_map(|one| (0..one).map(move |other| (one, other)));
        let turned = turned.map(|(one, other)| value ^ bit(one) ^ bit(other));
        for candidate in std::iter::once(value)
            .chain(turned)
            .flat_map(|value| band.with(value))
        {
            let first = *candidate as usize;
            let other = &fingerprints[first];
            if first >= place || (own.coarse() ^ other.coarse()).count_ones() > MOST_BITS {
                continue;
            }
            let likeness = own.likeness(other);
            if likeness >= LEAST_LIKENESS && pairs.iter().all(|pair| pair.first != first) {
                pairs.push(Pair {
                    first,
                    second: place,
                    likeness,
                });
            }
            if pairs.len() >= MOST_NEIGHBOURS {
                break 'bands;
            }
        }
    }
    pairs.sort_by_key(|pair| pair.first);
    pairs
}

/// One bit of a band; behind the last there is none.
fn bit(place: u32) -> u16 {
    1_u16.checked_shl(place).unwrap_or(0)
}

fn value(fingerprint: &Fingerprint, band: usize) -> u16 {
    (fingerprint.coarse() >> (BAND_BITS as usize * band)) as u16
}

/// Places by their value in one band.
struct Band {
    /// Sorted by value, then by place.
    places: Vec<u32>,
    /// For each value where its places begin, and where all end.
    starts: Vec<u32>,
}

impl Band {
    fn new(fingerprints: &[Fingerprint], band: usize) -> Self {
        let mut starts = vec![0_u32; (1 << BAND_BITS) + 1];
        for fingerprint in fingerprints {
            starts[usize::from(value(fingerprint, band)) + 1] += 1;
        }
        for place in 1..starts.len() {
            starts[place] += starts[place - 1];
        }
        let mut next = starts.clone();
        let mut places = vec![0; fingerprints.len()];
        for (place, fingerprint) in fingerprints.iter().enumerate() {
            let slot = &mut next[usize::from(value(fingerprint, band))];
            places[*slot as usize] = place as u32;
            *slot += 1;
        }
        Self { places, starts }
    }

    fn with(&self, value: u16) -> &[u32] {
        let value = usize::from(value);
        &self.places[self.starts[value] as usize..self.starts[value + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A fingerprint of these words: the coarse one, then the fine ones.
    fn fingerprint(words: [u64; 9]) -> Fingerprint {
        let digits: Vec<String> = words.iter().map(|word| format!("{word:016x}")).collect();
        Fingerprint::try_from(digits.concat()).unwrap()
    }

    fn turned(mut words: [u64; 9], coarse: u32, fine: u32, random: &mut ChaCha8Rng) -> [u64; 9] {
        let mut bits: Vec<u32> = Vec::new();
        while bits.len() < coarse as usize {
            let bit = random.random_range(0..64);
            if !bits.contains(&bit) {
                bits.push(bit);
                words[0] ^= 1 << bit;
            }
        }
        for _ in 0..fine {
            words[random.random_range(1..9)] ^= 1 << random.random_range(0..64);
        }
        words
    }

    #[test]
    fn all_near_pairs_are_found_and_no_others() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        // a cell is darker or brighter, not both
        let mut original = || {
            let words: [u64; 5] = std::array::from_fn(|_| random.random());
            let [_, a, b, c, d] = words;
            std::array::from_fn(|place| {
                *words
                    .get(place)
                    .unwrap_or(&[!a, !b, !c, !d][place.saturating_sub(5)])
            })
        };
        let originals: Vec<[u64; 9]> = (0..400).map(|_| original()).collect();
        let mut all: Vec<Fingerprint> = originals.iter().map(|words| fingerprint(*words)).collect();
        let mut expected = Vec::new();
        for (first, words) in originals.iter().enumerate().take(120) {
            let coarse = first as u32 % (MOST_BITS + 4);
            let copy = turned(*words, coarse, 20, &mut random);
            if coarse <= MOST_BITS {
                expected.push((first, all.len()));
            }
            all.push(fingerprint(copy));
        }
        let found: Vec<(usize, usize)> = pairs(&all).iter().map(|pair| (pair.first, pair.second)).collect();
        assert_eq!(found, expected);
        // alike in what is looked up, unlike in the rest
        let unlike = turned(originals[0], 0, 400, &mut random);
        assert!(pairs(&[fingerprint(originals[0]), fingerprint(unlike)]).is_empty());
    }

    #[test]
    fn a_picture_that_is_everywhere_costs_no_more_than_its_neighbours() {
        let one = fingerprint([7, 7, 7, 7, 7, 8, 8, 8, 8]);
        let found = pairs(&vec![one; 3000]);
        assert!(found.len() <= 3000 * MOST_NEIGHBOURS, "{}", found.len());
        assert!(found.iter().any(|pair| pair.second == 2999));
    }
}
