//! Grey scale, crop and size in one pass over the stored values.
//!
//! A line is read, looked up and added, weighted, to the lines of the result that it is part of; a line of the result
//! that has all its parts is then reduced across. Nothing as large as the image is ever written. The weights are
//! Pillow's (`Resample.c`): the filter, widened by the ratio of the sizes, and normalised; other libraries' filters differ as
//! [`Filter`] says.

use std::collections::VecDeque;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Filter;
use super::fit::Place;
use crate::image::border::Rectangle;
use crate::image::grey::StoredImage;

/// The displayed value of every code that 16 bits can hold, so that looking one up needs no check.
pub(super) type Shown = [f32; 1 << 16];

/// One line or column of the result: the source pixels that it is made of, with their weights.
struct Taps {
    source: Range<usize>,
    weights: Vec<f32>,
    /// What is made of pixels beyond the edge.
    outside: f32,
}

/// The field of `place`, as `table` shows it, resized, and what is kept of that; `None` where it all shows the same grey. Where a
/// filter looks beyond the edge it sees `zero`.
pub(super) fn resample(
    image: &StoredImage,
    place: &Place,
    table: &Shown,
    filter: Filter,
    zero: f32,
) -> Option<Vec<u16>> {
    let Place {
        field,
        resized: [rows, columns],
        kept,
        ..
    } = *place;
    let taps = |source, target, kept: Range<usize>| -> Vec<Taps> {
        kept.map(|index| filter.taps(source, target, index, zero))
            .collect()
    };
    // sums of columns are as wide as the processor's vectors
    Arch::new().dispatch(Pass {
        image,
        source: field,
        table,
        down: taps(field.rows, rows, kept.top..kept.top + kept.rows),
        across: taps(field.columns, columns, kept.left..kept.left + kept.columns),
    })
}

struct Pass<'a> {
    image: &'a StoredImage,
    source: Rectangle,
    table: &'a Shown,
    down: Vec<Taps>,
    across: Vec<Taps>,
}

impl WithSimd for Pass<'_> {
    type Output = Option<Vec<u16>>;

    #[expect(
        clippy::inline_always,
        reason = "what is not inlined into the dispatch has the instructions of the oldest processor"
    )]
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let Self {
            image,
            source,
            table,
            down,
            across,
        } = &self;
        let mut result = Vec::with_capacity(down.len() * across.len());
        let mut codes = vec![0_u16; source.columns];
        let mut line = vec![0_f32; source.columns];
        // the lines of the result that have begun and are not complete, the oldest first
        let mut open: VecDeque<(&Taps, Vec<f32>)> = VecDeque::new();
        let mut spare: Vec<Vec<f32>> = Vec::new();
        let mut to_open = down.iter().peekable();
        let mut first = None;
        let mut constant = true;

        for row in 0..source.rows {
            image
                .codes
                .read((source.top + row) * image.columns + source.left, &mut codes);
            for (shown, code) in line.iter_mut().zip(&codes) {
                *shown = table[usize::from(*code)];
            }
            let first = *first.get_or_insert(line[0].to_bits());
            constant = constant && line.iter().all(|shown| shown.to_bits() == first);

            while let Some(taps) = to_open.next_if(|taps| taps.source.start <= row) {
                let mut sums = spare.pop().unwrap_or_else(|| vec![0.0; source.columns]);
                sums.fill(taps.outside);
                open.push_back((taps, sums));
            }
            for (taps, sums) in &mut open {
                if let Some(weight) = row
                    .checked_sub(taps.source.start)
                    .and_then(|at| taps.weights.get(at))
                {
                    for (sum, shown) in sums.iter_mut().zip(&line) {
                        *sum += weight * shown;
                    }
                }
            }
            while open.front().is_some_and(|(taps, _)| taps.source.end <= row + 1) {
                if let Some((_, sums)) = open.pop_front() {
                    result.extend(across.iter().map(|taps| taps.sum(&sums)));
                    spare.push(sums);
                }
            }
        }
        (!constant).then_some(result)
    }
}

impl Taps {
    fn sum(&self, line: &[f32]) -> u16 {
        let sum: f32 = line[self.source.clone()]
            .iter()
            .zip(&self.weights)
            .map(|(value, weight)| value * weight)
            .sum();
        // a cast saturates, which a filter with negative lobes needs
        (sum + self.outside + 0.5) as u16
    }

    /// The pixels from `start` on with these weights, brought to a sum of 1.
    fn normalised(start: usize, weights: &[f64]) -> Self {
        let whole: f64 = weights.iter().sum();
        Self {
            source: start..start + weights.len(),
            weights: weights.iter().map(|weight| (weight / whole) as f32).collect(),
            outside: 0.0,
        }
    }

    /// scikit-image's `resize`: the Gaussian (cut off at four standard deviations) around each of the nearest two
    /// pixels. What of it lies beyond the edge counts as `zero`.
    fn gaussian(source: usize, target: usize, index: usize, zero: f32) -> Self {
        let ratio = source as f64 / target as f64;
        let sigma = ((ratio - 1.0) / 2.0).max(0.0);
        let reach = (4.0 * sigma + 0.5) as isize;
        let bell = |distance: isize| {
            if sigma > 0.0 {
                (-0.5 * (distance as f64 / sigma).powi(2)).exp()
            } else {
                1.0
            }
        };
        let whole: f64 = (-reach..=reach).map(bell).sum();
        // enlarging, the outermost pixels have one neighbour only
        let place = ((index as f64 + 0.5) * ratio - 0.5).clamp(0.0, source as f64 - 1.0);
        let (near, far) = (place as isize, place.fract());
        let first = (near - reach).max(0);
        let last = (near + 1 + reach).min(source as isize - 1);
        let within = |distance: isize| {
            if distance.abs() <= reach {
                bell(distance) / whole
            } else {
                0.0
            }
        };
        let weights: Vec<f64> = (first..=last)
            .map(|pixel| (1.0 - far) * within(pixel - near) + far * within(pixel - near - 1))
            .collect();
        let inside: f64 = weights.iter().sum();
        Self {
            source: first as usize..last as usize + 1,
            weights: weights.iter().map(|weight| *weight as f32).collect(),
            outside: (1.0 - inside) as f32 * zero,
        }
    }
}

impl Filter {
    /// What the pixel `index` of `target` pixels takes of `source` pixels, and of `zero` beyond them.
    fn taps(self, source: usize, target: usize, index: usize, zero: f32) -> Taps {
        match self {
            Self::Area => {
                let start = index * source / target;
                let end = ((index + 1) * source).div_ceil(target);
                Taps::normalised(start, &vec![1.0; end - start])
            }
            Self::Gaussian => Taps::gaussian(source, target, index, zero),
            _ => {
                let ratio = source as f64 / target as f64;
                let stretch = if self == Self::Linear { 1.0 } else { ratio.max(1.0) };
                let support = self.support() * stretch;
                let center = (index as f64 + 0.5) * ratio;
                let start = (center - support + 0.5).max(0.0) as usize;
                let end = ((center + support + 0.5) as usize).min(source);
                let weights: Vec<f64> = (start..end)
                    .map(|pixel| self.weight((pixel as f64 + 0.5 - center) / stretch))
                    .collect();
                Taps::normalised(start, &weights)
            }
        }
    }

    /// How far the filter reaches to either side, in pixels of the smaller size.
    fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Bicubic => 2.0,
            _ => 1.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            // half open, so that a pixel on the edge between two belongs to one
            Self::Box => f64::from(u8::from(distance > -0.5 && distance <= 0.5)),
            // Keys' cubic with a = -0.5
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Self::Bicubic => 0.0,
            _ => (1.0 - x).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::ramp;
    use super::*;

    /// Computed with Pillow 13.0.0, `Image.resize` in mode `F` with `BOX`, `BILINEAR` and `BICUBIC`, rounded half up, on
    /// `(arange(rows * columns) * 2654435761 >> 7) & 0xFFF`: 9 x 11 to 4 x 3, and 2 x 3 enlarged to 3 x 5.
    #[test]
    fn resamples_as_pillow_does() {
        let mut table: Box<Shown> = vec![0.0; 1 << 16].into_boxed_slice().try_into().unwrap();
        for (code, shown) in table.iter_mut().enumerate() {
            *shown = code as f32;
        }
        let resized = |image: &StoredImage, source_rows, source_columns, rows, columns, filter| {
            let at_origin = |rows, columns| Rectangle {
                top: 0,
                left: 0,
                rows,
                columns,
            };
            let place = Place {
                field: at_origin(source_rows, source_columns),
                resized: [rows, columns],
                kept: at_origin(rows, columns),
                target: at_origin(rows, columns),
            };
            resample(image, &place, &table, filter, 0.0).unwrap()
        };
        let image = ramp(11, 9);
        assert_eq!(
            resized(&image, 11, 9, 3, 4, Filter::Box),
            [
                1871, 2053, 2064, 2551, 2114, 2124, 1453, 2281, 1844, 2196, 2549, 2012
            ]
        );
        assert_eq!(
            resized(&image, 11, 9, 3, 4, Filter::Bilinear),
            [
                2020, 1952, 1935, 2259, 2166, 2157, 2112, 2209, 1890, 1967, 2207, 2176
            ]
        );
        assert_eq!(
            resized(&image, 11, 9, 3, 4, Filter::Bicubic),
            [
                2003, 2002, 1967, 2272, 2177, 2101, 2026, 2200, 1884, 2000, 2247, 2206
            ]
        );
        // the upper left corner: the crop is a part of the same pass
        assert_eq!(
            resized(&image, 3, 2, 5, 3, Filter::Bilinear),
            [
                0, 1914, 3827, 671, 1766, 2860, 1678, 1544, 1409, 2685, 2551, 2416, 3356, 3222, 3088
            ]
        );
    }

    /// 10 pixels to 4. The Gaussian is scikit-image 0.26.0's: `resize(numpy.eye(10), (4, 10), mode="constant")`, first line.
    #[test]
    fn other_libraries_filters_weigh_as_they_do() {
        let weights = |filter: Filter, index| {
            let taps = filter.taps(10, 4, index, 1.0);
            let mut all = vec![0.0; 10];
            all[taps.source].copy_from_slice(&taps.weights);
            all.push(taps.outside);
            all
        };
        let near = |found: Vec<f32>, expected: [f32; 6]| {
            let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0, f32::max) < 1e-6, "{found:?}");
            found[10]
        };
        let gaussian = weights(Filter::Gaussian, 0);
        let expected = [0.296982, 0.453599, 0.167804, 0.01144, 0.000134, 0.0];
        let outside = near(gaussian, expected);
        assert!((outside - 0.070041).abs() < 1e-5, "{outside}");
        let third = 1.0 / 3.0;
        near(weights(Filter::Area, 0), [third, third, third, 0.0, 0.0, 0.0]);
        near(weights(Filter::Area, 1), [0.0, 0.0, third, third, third, 0.0]);
        let outside = near(weights(Filter::Linear, 0), [0.25, 0.75, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(outside, 0.0);
    }
}
