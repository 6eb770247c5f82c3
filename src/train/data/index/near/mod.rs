//! Images that show the same picture in another form, found among a million without comparing each with each.
//!
//! Cells of different pictures agree no more often than they differ, so that the signs of sums over cells, taken with chance signs, are a key that copies
//! often have in common and others rarely (Charikar 2002, similarity estimation from rounding). In each of many rounds, with another
//! key each, pictures of one key are compared: by a sixteenth of their cells first, several at once, then by an eighth, then whole. An
//! inverted copy has the opposite signs, which are the same key here; and mirror images are looked up beside the pictures themselves. A key
//! has as many bits as leave about a hundred pictures for each, so that time grows with the number of pictures and not with its square.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into a dispatch of pulp has the instructions of the oldest processor"
)]

mod key;
mod sieve;

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use crate::image::fingerprint::Fingerprint;
use key::{Key, Keys};
use sieve::{Query, Scan, Sieve};

/// Copies have more, different images less: `docs/training-data.md` has the figures.
const LEAST_LIKENESS: f32 = 0.65;
/// So many keys. Two pictures of likeness c agree in a bit with 1 - acos(c) / pi: at half a million, where a key has eleven, 98 of 100 with 0.7
/// are found, and 94 with the least.
const ROUNDS: usize = 96;
/// Pictures that have one key, on average.
const OF_A_KEY: usize = 128;
/// Neighbours of one picture that are told: a test picture that was sent every day is near to all of its copies.
const MOST_NEIGHBOURS: usize = 8;
/// Pictures of one key that one is compared with, for the same reason.
const MOST_COMPARED: usize = 1024;

/// How a copy differs from what it is a copy of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form {
    /// Left is right.
    pub mirrored: bool,
    /// Dark is bright.
    pub inverted: bool,
}

/// Two images that show the same picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    /// The earlier image.
    pub(super) first: usize,
    /// The later image.
    pub(super) second: usize,
    /// How alike they are, [`LEAST_LIKENESS`] to 1.
    pub(super) likeness: f32,
    /// How they differ.
    pub(super) form: Form,
}

/// Pictures, each of an image: those of one image are beside each other, images ascend.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    images: Vec<u32>,
    prints: Vec<Fingerprint>,
}

/// An earlier picture that shows the same.
struct Near {
    place: u32,
    likeness: f32,
    form: Form,
}

impl Pictures {
    /// Adds those of the next image.
    pub(super) fn push(&mut self, image: usize, prints: &[Fingerprint]) {
        self.images.extend(prints.iter().map(|_| image as u32));
        self.prints.extend_from_slice(prints);
    }

    /// All pairs, in the order of their later images; `step` is called [`Pictures::STEPS`] times.
    pub(super) fn pairs(&self, step: impl Fn()) -> Vec<Pair> {
        let sieve = Sieve::new(&self.prints);
        let mut near: Vec<Vec<Near>> = self.prints.iter().map(|_| Vec::new()).collect();
        for round in 0..ROUNDS {
            for (place, found) in self.round(round as u64, &sieve, &near) {
                let known = &mut near[place as usize];
                if known.len() < MOST_NEIGHBOURS && known.iter().all(|near| near.place != found.place) {
                    known.push(found);
                }
            }
            step();
        }
        let image = |place: usize| self.images[place] as usize;
        let pairs = near.iter().enumerate().flat_map(|(place, near)| {
            near.iter().map(move |near| Pair {
                first: image(near.place as usize),
                second: image(place),
                likeness: near.likeness,
                form: near.form,
            })
        });
        let mut pairs: Vec<Pair> = pairs.collect();
        pairs.sort_by(|one, other| {
            let key = |pair: &Pair| (pair.second, pair.first);
            let likelier = other.likeness.total_cmp(&one.likeness);
            key(one).cmp(&key(other)).then(likelier)
        });
        pairs.dedup_by_key(|pair| (pair.second, pair.first));
        pairs
    }

    /// How many steps [`Pictures::pairs`] takes.
    pub(super) const STEPS: usize = ROUNDS;

    /// Pictures near to each other, the later one first, that have the key of this round in common.
    fn round(&self, round: u64, sieve: &Sieve, near: &[Vec<Near>]) -> Vec<(u32, Near)> {
        let bits = (self.prints.len() / OF_A_KEY).max(1).ilog2();
        let key = Key::new(round, bits);
        let keys: Vec<[u32; 2]> = self
            .prints
            .par_iter()
            .map(|print| Arch::new().dispatch(Keys { key: &key, print }))
            .collect();
        let mut order: Vec<u32> = (0..self.prints.len() as u32).collect();
        order.par_sort_unstable_by_key(|place| (keys[*place as usize][0], *place));
        let sieve = sieve.ordered(&order);
        let mut starts = vec![0_usize; (1 << bits) + 1];
        for [key, _] in &keys {
            starts[*key as usize + 1] += 1;
        }
        for key in 1..starts.len() {
            starts[key] += starts[key - 1];
        }
        let of = |key: u32| starts[key as usize]..starts[key as usize + 1];
        order
            .par_iter()
            .enumerate()
            .flat_map_iter(|(at, place)| {
                let mut found = Vec::new();
                if near[*place as usize].len() < MOST_NEIGHBOURS {
                    let [own, mirrored] = keys[*place as usize];
                    let before = of(own).start.max(at.saturating_sub(MOST_COMPARED))..at;
                    self.compare(*place, false, &sieve, &order, before, &mut found);
                    let others = of(mirrored);
                    let others = others.start..others.end.min(others.start + MOST_COMPARED);
                    self.compare(*place, true, &sieve, &order, others, &mut found);
                }
                found
            })
            .collect()
    }

    /// Those of some pictures in `order` that one at `place`, or its mirror image, is near to.
    fn compare(
        &self,
        place: u32,
        mirrored: bool,
        sieve: &Sieve,
        order: &[u32],
        places: Range<usize>,
        found: &mut Vec<(u32, Near)>,
    ) {
        let own = &self.prints[place as usize];
        let own = if mirrored { own.mirrored() } else { *own };
        let mut passed = Vec::new();
        Arch::new().dispatch(Scan {
            query: &Query::new(&own),
            sieve,
            places,
            passed: &mut passed,
        });
        for other in passed.into_iter().map(|at| order[at]) {
            if self.images[other as usize] == self.images[place as usize] {
                continue;
            }
            let likeness = own.likeness(&self.prints[other as usize]);
            if likeness.abs() < LEAST_LIKENESS {
                continue;
            }
            let near = Near {
                place: place.min(other),
                likeness: likeness.abs(),
                form: Form {
                    mirrored,
                    inverted: likeness < 0.0,
                },
            };
            found.push((place.max(other), near));
            if found.len() >= MOST_NEIGHBOURS {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A fingerprint of which these cells are bright and all others dark.
    fn fingerprint(bright: [u64; 16]) -> Fingerprint {
        let words = bright.iter().copied().chain(bright.map(|word| !word));
        let digits: Vec<String> = words.map(|word| format!("{word:016x}")).collect();
        Fingerprint::try_from(digits.concat()).unwrap()
    }

    /// The same with so many of the 1,024 cells turned.
    fn turned(mut bright: [u64; 16], cells: usize, random: &mut ChaCha8Rng) -> [u64; 16] {
        let mut turned = Vec::new();
        while turned.len() < cells {
            let cell = random.random_range(0..1024);
            if !turned.contains(&cell) {
                turned.push(cell);
                bright[cell / 64] ^= 1 << (cell % 64);
            }
        }
        bright
    }

    /// The pairs among pictures, each of an image of its own.
    fn pairs(prints: &[Fingerprint]) -> Vec<Pair> {
        let mut pictures = Pictures::default();
        for (image, print) in prints.iter().enumerate() {
            pictures.push(image, &[*print]);
        }
        pictures.pairs(|| {})
    }

    #[test]
    fn an_image_is_no_copy_of_itself_and_a_copy_is_told_once() {
        let mut random = ChaCha8Rng::seed_from_u64(6);
        let original: [u64; 16] = std::array::from_fn(|_| random.random());
        let [whole, inside] = [40, 80].map(|cells| fingerprint(turned(original, cells, &mut random)));
        let mut pictures = Pictures::default();
        pictures.push(3, &[whole, inside]);
        pictures.push(8, &[inside.inverted(), whole.inverted()]);
        let form = Form {
            mirrored: false,
            inverted: true,
        };
        let pair = Pair {
            first: 3,
            second: 8,
            likeness: 1.0,
            form,
        };
        assert_eq!(pictures.pairs(|| {}), [pair]);
    }

    #[test]
    fn all_near_pairs_are_found_in_all_forms_and_no_others() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        // so many that keys have some bits
        let count = 16 * OF_A_KEY + 7;
        let originals: Vec<[u64; 16]> = (0..count)
            .map(|_| std::array::from_fn(|_| random.random()))
            .collect();
        let mut all: Vec<Fingerprint> = originals.iter().map(|bright| fingerprint(*bright)).collect();
        let mut expected = Vec::new();
        for (number, first) in (0..count).step_by(3).enumerate() {
            let form = Form {
                mirrored: number % 2 == 1,
                inverted: number / 2 % 2 == 1,
            };
            // a cosine of 0.8, and of 0.5
            let is_near = number % 5 > 0;
            let copy = fingerprint(turned(
                originals[first],
                if is_near { 102 } else { 256 },
                &mut random,
            ));
            let copy = if form.mirrored { copy.mirrored() } else { copy };
            let copy = if form.inverted { copy.inverted() } else { copy };
            if is_near {
                expected.push((first, all.len(), form));
            }
            all.push(copy);
        }
        let found = pairs(&all);
        let found: Vec<_> = found
            .iter()
            .map(|pair| (pair.first, pair.second, pair.form))
            .collect();
        assert_eq!(found, expected);
        assert!(pairs(&all[..1]).is_empty() && pairs(&[]).is_empty());
    }

    #[test]
    fn a_picture_that_is_everywhere_costs_no_more_than_its_neighbours() {
        let one = fingerprint([7; 16]);
        let found = pairs(&vec![one; 3000]);
        assert!(found.len() <= 3000 * MOST_NEIGHBOURS, "{}", found.len());
        assert!(found.iter().any(|pair| pair.second == 2999));
    }
}
