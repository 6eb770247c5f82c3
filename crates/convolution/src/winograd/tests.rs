use pulp::{Scalar256b, Scalar512b, Simd, WithSimd};

use super::*;
use crate::sums::{Chance, furthest, lanes};

/// A convolution with numbers for it, in the order of blocks of `block`.
struct Case {
    convolution: Convolution,
    images: usize,
    image: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    sum: Vec<f32>,
}

impl Case {
    fn new([channels, filters, rows, columns]: [usize; 4], pads: [usize; 4], images: usize) -> Self {
        let convolution = Convolution {
            channels,
            filters,
            rows,
            columns,
            pads,
            relu: false,
        };
        let [of_rows, of_columns] = convolution.extent();
        let mut chance = Chance::new();
        let mut numbers = |count: usize, scale: f32| chance.numbers(count, scale);
        Self {
            convolution,
            images,
            image: numbers(images * channels * rows * columns, 1.0),
            weights: numbers(channels * filters * 9, 1.0 / (channels as f32).sqrt()),
            bias: numbers(filters, 1.0),
            sum: numbers(images * filters * of_rows * of_columns, 1.0),
        }
    }

    /// By the definition, in 64 bits.
    fn by_definition(&self, block: usize, with: With) -> Vec<f64> {
        let Convolution {
            channels,
            filters,
            rows,
            columns,
            pads,
            ..
        } = self.convolution;
        let [of_rows, of_columns] = self.convolution.extent();
        let mut results = vec![0.0; self.images * filters * of_rows * of_columns];
        let at = |plane: usize, channel: usize, row: usize, column: usize, [rows, columns]: [usize; 2]| {
            (((plane + channel / block) * rows + row) * columns + column) * block + channel % block
        };
        for image in 0..self.images {
            for filter in 0..filters {
                for row in 0..of_rows {
                    for column in 0..of_columns {
                        let mut value = if with.bias {
                            f64::from(self.bias[filter])
                        } else {
                            0.0
                        };
                        for (down, across) in (0..3).flat_map(|down| (0..3).map(move |across| (down, across)))
                        {
                            let row = (row + down).checked_sub(pads[0]).filter(|row| *row < rows);
                            let column = (column + across)
                                .checked_sub(pads[1])
                                .filter(|column| *column < columns);
                            let Some((row, column)) = row.zip(column) else {
                                continue;
                            };
                            for channel in 0..channels {
                                let weight = ((filter / block * (channels / block) + channel / block) * 9
                                    + down * 3
                                    + across)
                                    * block
                                    * block
                                    + channel % block * block
                                    + filter % block;
                                let pixel =
                                    at(image * channels / block, channel, row, column, [rows, columns]);
                                value += f64::from(self.image[pixel]) * f64::from(self.weights[weight]);
                            }
                        }
                        let place = at(
                            image * filters / block,
                            filter,
                            row,
                            column,
                            [of_rows, of_columns],
                        );
                        value += if with.sum { f64::from(self.sum[place]) } else { 0.0 };
                        results[place] = if with.relu { value.max(0.0) } else { value };
                    }
                }
            }
        }
        results
    }

    fn operands<'a>(&'a self, filters: &'a [f32], with: With) -> Operands<'a> {
        Operands {
            images: &self.image,
            filters,
            bias: with.bias.then_some(&self.bias),
            sum: with.sum.then_some(&self.sum),
        }
    }
}

#[derive(Clone, Copy)]
struct With {
    bias: bool,
    sum: bool,
    relu: bool,
}

const ALL: With = With {
    bias: true,
    sum: true,
    relu: true,
};
const NONE: With = With {
    bias: false,
    sum: false,
    relu: false,
};

#[test]
fn results_are_those_of_the_definition() {
    let lanes = lanes();
    let mut scratch = Vec::new();
    for (shape, pads, images) in [
        // one tile, a part of one, several; more rows than columns; enough for several rounds
        ([1, 1, 4, 4], [1; 4], 1),
        ([2, 3, 3, 5], [1; 4], 2),
        ([1, 2, 9, 13], [1; 4], 3),
        ([3, 1, 1, 1], [1; 4], 1),
        ([2, 2, 14, 14], [0; 4], 1),
        ([1, 5, 8, 7], [0, 1, 2, 0], 1),
        ([8, 8, 60, 56], [1; 4], 1),
    ] {
        let [channels, filters, rows, columns] = shape;
        let mut case = Case::new([channels * lanes, filters * lanes, rows, columns], pads, images);
        let points = transformed(&case.weights, filters * lanes, channels * lanes, lanes).unwrap();
        for with in [ALL, NONE, With { bias: true, ..NONE }, With { sum: true, ..NONE }] {
            case.convolution.relu = with.relu;
            let expected = case.by_definition(lanes, with);
            let mut results = vec![f32::NAN; expected.len()];
            case.convolution
                .run(case.operands(&points, with), &mut results, &mut scratch)
                .unwrap();
            let off = furthest(&results, &expected);
            assert!(off < 5e-5, "{shape:?} {pads:?}: {off:e}");
        }
    }
}

/// The vectors of other processors, by hand: what a block of 8 or of 16 makes of the same numbers.
#[test]
fn every_width_of_vectors_gives_the_same() {
    fn check<S: Simd>(simd: S) {
        let lanes = S::F32_LANES;
        for shape in [[32, 48, 9, 6], [16, 16, 23, 4], [64, 32, 12, 12]] {
            let mut case = Case::new(shape, [1; 4], 1);
            case.convolution.relu = true;
            let points = transformed(&case.weights, shape[1], shape[0], lanes).unwrap();
            let expected = case.by_definition(lanes, ALL);
            let mut results = vec![f32::NAN; expected.len()];
            let operands = case.operands(&points, ALL);
            Pass {
                convolution: &case.convolution,
                image: operands.images,
                filters: operands.filters,
                bias: operands.bias,
                sum: operands.sum,
                result: &mut results,
                scratch: &mut Vec::new(),
            }
            .with_simd(simd);
            let off = furthest(&results, &expected);
            assert!(off < 5e-5, "{lanes} {shape:?}: {off:e}");
        }
    }
    check(Scalar256b);
    check(Scalar512b);
}

#[test]
fn an_image_alone_gives_the_same_bits_as_among_others() {
    let lanes = lanes();
    let case = Case::new([2 * lanes, 3 * lanes, 11, 10], [1; 4], 4);
    let points = transformed(&case.weights, 3 * lanes, 2 * lanes, lanes).unwrap();
    let mut together = vec![0.0; case.sum.len()];
    let mut scratch = Vec::new();
    case.convolution
        .run(case.operands(&points, ALL), &mut together, &mut scratch)
        .unwrap();
    let (image, result) = (case.image.len() / 4, case.sum.len() / 4);
    for index in 0..4 {
        let mut alone = vec![0.0; result];
        let operands = Operands {
            images: &case.image[index * image..][..image],
            sum: Some(&case.sum[index * result..][..result]),
            ..case.operands(&points, ALL)
        };
        case.convolution.run(operands, &mut alone, &mut scratch).unwrap();
        let place = &together[index * result..][..result];
        assert!(
            alone
                .iter()
                .zip(place)
                .all(|(alone, among)| alone.to_bits() == among.to_bits())
        );
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let lanes = lanes();
    let mut case = Case::new([lanes, lanes, 12, 12], [1; 4], 1);
    case.convolution.relu = true;
    let points = transformed(&case.weights, lanes, lanes, lanes).unwrap();
    for value in [f32::NAN, f32::INFINITY] {
        case.image[5 * lanes] = value;
        let mut results = vec![0.0; case.sum.len()];
        case.convolution
            .run(case.operands(&points, ALL), &mut results, &mut Vec::new())
            .unwrap();
        assert!(results.iter().any(|result| result.is_nan()));
    }
}

#[test]
fn operands_of_another_convolution_are_refused() {
    let lanes = lanes();
    let case = Case::new([2 * lanes, lanes, 6, 6], [1; 4], 1);
    let points = transformed(&case.weights, lanes, 2 * lanes, lanes).unwrap();
    let mut results = vec![0.0; case.sum.len()];
    let mut scratch = Vec::new();
    let operands = case.operands(&points, ALL);
    let mut refused = |convolution: Convolution, operands: Operands<'_>, results: &mut [f32]| {
        convolution
            .run(operands, results, &mut scratch)
            .unwrap_err()
            .to_string()
    };
    let odd = Convolution {
        channels: 2 * lanes + 1,
        ..case.convolution
    };
    assert!(refused(odd, operands, &mut results).starts_with("channels: "));
    let fewer = Operands {
        images: &case.image[1..],
        ..operands
    };
    assert!(refused(case.convolution, fewer, &mut results).starts_with("numbers of images: "));
    let fewer = Operands {
        filters: &points[1..],
        ..operands
    };
    assert!(refused(case.convolution, fewer, &mut results).starts_with("numbers of filters: "));
    let fewer = Operands {
        bias: Some(&case.bias[1..]),
        ..operands
    };
    assert!(refused(case.convolution, fewer, &mut results).starts_with("numbers of the bias: "));
    let fewer = Operands {
        sum: Some(&case.sum[1..]),
        ..operands
    };
    assert!(refused(case.convolution, fewer, &mut results).starts_with("numbers of the sum: "));
    let said = refused(case.convolution, operands, &mut []);
    assert!(
        said.starts_with("numbers of the sum: ") && said.ends_with("and 0 belong to this convolution"),
        "{said}"
    );
    let unsummed = Operands {
        sum: None,
        ..operands
    };
    assert!(refused(case.convolution, unsummed, &mut []).starts_with("numbers of results: 0, and "));
    assert_eq!(transformed(&case.weights[1..], lanes, 2 * lanes, lanes), None);
    assert_eq!(transformed(&[], 0, 0, 0), None);
}
