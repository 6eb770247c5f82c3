use pulp::{Scalar256b, Scalar512b};

use super::*;
use crate::sums::{Chance, furthest, lanes};

/// A convolution with numbers for it.
struct Case {
    convolution: Convolution,
    pieces: Vec<Vec<f32>>,
    channels: usize,
    factors: Vec<f32>,
    summands: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    /// Of pieces with so many channels each.
    fn new(channels: &[usize], filters: usize, [images, pixels]: [usize; 2]) -> Self {
        let mut chance = Chance::new();
        let mut numbers = |count: usize, scale: f32| chance.numbers(count, scale);
        let all: usize = channels.iter().sum();
        Self {
            convolution: Convolution {
                images,
                pixels,
                filters,
                relu: true,
            },
            pieces: channels
                .iter()
                .map(|channels| numbers(images * channels * pixels, 1.0))
                .collect(),
            channels: all,
            factors: numbers(all, 1.0),
            summands: numbers(all, 0.5),
            weights: numbers(all * filters, 1.0 / (all as f32).sqrt()),
            bias: numbers(filters, 1.0),
        }
    }

    /// By the definition, in 64 bits.
    fn by_definition(&self, block: usize) -> Vec<f64> {
        let Convolution {
            images,
            pixels,
            filters,
            relu,
        } = self.convolution;
        let mut results = vec![0.0; images * filters * pixels];
        let at = |image: usize, channels: usize, channel: usize, pixel: usize| {
            ((image * channels + channel / block * block) * pixels) + pixel * block + channel % block
        };
        for image in 0..images {
            for filter in 0..filters {
                for pixel in 0..pixels {
                    let mut value = f64::from(self.bias[filter]);
                    let mut before = 0;
                    for piece in &self.pieces {
                        let channels = piece.len() / images / pixels;
                        for channel in 0..channels {
                            let of_all = before + channel;
                            let pixel = f64::from(piece[at(image, channels, channel, pixel)]);
                            let (factor, summand) = (self.factors[of_all], self.summands[of_all]);
                            let activated = (pixel * f64::from(factor) + f64::from(summand)).max(0.0);
                            let weight =
                                (filter / block * (self.channels / block) + of_all / block) * block * block
                                    + of_all % block * block
                                    + filter % block;
                            value += activated * f64::from(self.weights[weight]);
                        }
                        before += channels;
                    }
                    results[at(image, filters, filter, pixel)] = if relu { value.max(0.0) } else { value };
                }
            }
        }
        results
    }

    fn packed(&self, block: usize) -> Vec<f32> {
        packed(&self.weights, self.convolution.filters, self.channels, block).unwrap()
    }

    fn operands<'a>(&'a self, pieces: &'a [&'a [f32]], filters: &'a [f32]) -> Operands<'a> {
        Operands {
            pieces,
            factors: &self.factors,
            summands: &self.summands,
            filters,
            bias: &self.bias,
        }
    }

    fn borrowed(&self) -> Vec<&[f32]> {
        self.pieces.iter().map(Vec::as_slice).collect()
    }
}

#[test]
fn results_are_those_of_the_definition() {
    let lanes = lanes();
    let mut scratch = Vec::new();
    for (channels, filters, size) in [
        // one piece and several, an odd number of blocks, one pixel, several turns of many
        (&[1][..], 1, [1, 1]),
        (&[2, 1, 4], 3, [2, 7]),
        (&[3], 2, [3, 25]),
        (&[8, 4, 4, 4], 16, [1, 1600]),
        (&[64, 40], 16, [1, 100]),
    ] {
        let channels: Vec<usize> = channels.iter().map(|blocks| blocks * lanes).collect();
        let mut case = Case::new(&channels, filters * lanes, size);
        let (pieces, filters) = (case.borrowed(), case.packed(lanes));
        let mut results = vec![f32::NAN; size[0] * size[1] * case.convolution.filters];
        case.convolution
            .run(case.operands(&pieces, &filters), &mut results, &mut scratch)
            .unwrap();
        let off = furthest(&results, &case.by_definition(lanes));
        assert!(off < 5e-6, "{channels:?} {size:?}: {off:e}");
        assert!(results.contains(&0.0) && results.iter().any(|result| *result > 0.0));

        case.convolution.relu = false;
        let pieces = case.borrowed();
        case.convolution
            .run(case.operands(&pieces, &filters), &mut results, &mut scratch)
            .unwrap();
        let off = furthest(&results, &case.by_definition(lanes));
        assert!(off < 5e-6, "{channels:?} {size:?}, not rectified: {off:e}");
    }
}

/// The vectors of other processors, by hand: what a block of 8 or of 16 makes of the same numbers.
#[test]
fn every_width_of_vectors_gives_the_same() {
    fn check<S: Simd>(simd: S) {
        let case = Case::new(&[32, 16], 48, [1, 29]);
        let (pieces, filters) = (case.borrowed(), case.packed(S::F32_LANES));
        let expected = case.by_definition(S::F32_LANES);
        let mut results = vec![f32::NAN; expected.len()];
        Pass {
            convolution: &case.convolution,
            image: 0,
            operands: case.operands(&pieces, &filters),
            result: &mut results,
            scratch: &mut Vec::new(),
        }
        .with_simd(simd);
        let off = furthest(&results, &expected);
        assert!(off < 5e-6, "{}: {off:e}", S::F32_LANES);
    }
    check(Scalar256b);
    check(Scalar512b);
}

#[test]
fn an_image_alone_gives_the_same_bits_as_among_others() {
    let lanes = lanes();
    let case = Case::new(&[2 * lanes, lanes], 3 * lanes, [4, 110]);
    let (pieces, filters) = (case.borrowed(), case.packed(lanes));
    let mut together = vec![0.0; 4 * 110 * 3 * lanes];
    let mut scratch = Vec::new();
    case.convolution
        .run(case.operands(&pieces, &filters), &mut together, &mut scratch)
        .unwrap();
    for (index, among) in together.chunks_exact(110 * 3 * lanes).enumerate() {
        let pieces: Vec<&[f32]> = pieces
            .iter()
            .map(|piece| &piece[index * piece.len() / 4..][..piece.len() / 4])
            .collect();
        let mut alone = vec![0.0; among.len()];
        let one = Convolution {
            images: 1,
            ..case.convolution
        };
        one.run(case.operands(&pieces, &filters), &mut alone, &mut scratch)
            .unwrap();
        assert!(
            alone
                .iter()
                .zip(among)
                .all(|(alone, among)| alone.to_bits() == among.to_bits())
        );
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let lanes = lanes();
    let mut case = Case::new(&[lanes], lanes, [1, 12]);
    case.pieces[0][5] = f32::NAN;
    let (pieces, filters) = (case.borrowed(), case.packed(lanes));
    let mut results = vec![0.0; 12 * lanes];
    case.convolution
        .run(case.operands(&pieces, &filters), &mut results, &mut Vec::new())
        .unwrap();
    assert!(results.iter().any(|result| result.is_nan()));
}

#[test]
fn operands_of_another_convolution_are_refused() {
    let lanes = lanes();
    let case = Case::new(&[lanes, lanes], lanes, [2, 9]);
    let (pieces, filters) = (case.borrowed(), case.packed(lanes));
    let operands = case.operands(&pieces, &filters);
    let refused = |operands: Operands<'_>, count: usize| {
        let mut results = vec![0.0; count];
        let said = case.convolution.run(operands, &mut results, &mut Vec::new());
        said.unwrap_err().to_string()
    };
    let all = 2 * 9 * lanes;
    let shorter = [pieces[0], &pieces[1][1..]];
    let begins = [
        (
            Operands {
                pieces: &shorter,
                ..operands
            },
            "numbers of images: ",
        ),
        (
            Operands {
                pieces: &[&pieces[0][..18]],
                ..operands
            },
            "channels: 1, ",
        ),
        (
            Operands {
                pieces: &[],
                ..operands
            },
            "channels: 0, ",
        ),
        (
            Operands {
                pieces: &pieces[1..],
                ..operands
            },
            "factors: ",
        ),
        (
            Operands {
                summands: &[],
                ..operands
            },
            "summands: 0, ",
        ),
        (
            Operands {
                filters: &filters[1..],
                ..operands
            },
            "numbers of filters: ",
        ),
        (
            Operands {
                bias: &[0.0],
                ..operands
            },
            "numbers of the bias: 1, ",
        ),
    ];
    for (operands, begin) in begins {
        let said = refused(operands, all);
        assert!(said.starts_with(begin), "{said}");
    }
    assert!(refused(operands, all + 1).starts_with("numbers of results: "));
    assert_eq!(packed(&case.weights[1..], lanes, 2 * lanes, lanes), None);
    assert_eq!(packed(&[], 0, 0, 0), None);
}
