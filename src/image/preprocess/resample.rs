//! Grey scale, crop and size in one pass over the stored values.
//!
//! A line is read, looked up and added, weighted, to the lines of the result that it is part of; a line of the result
//! that has all its parts is then reduced across. Nothing as large as the image is ever written. The weights are
//! Pillow's (`Resample.c`): the filter, widened by the ratio of the sizes, and normalised.

use std::collections::VecDeque;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Filter;
use crate::image::border::Rectangle;
use crate::image::grey::StoredImage;

/// The displayed value of every code that 16 bits can hold, so that looking one up needs no check.
pub(super) type Shown = [f32; 1 << 16];

/// One line or column of the result: the source pixels that it is made of, with their weights.
struct Taps {
    source: Range<usize>,
    weights: Vec<f32>,
}

/// The pixels of `source`, as `table` shows them, in `rows` x `columns`; `None` where they all show the same grey.
pub(super) fn resample(
    image: &StoredImage,
    source: Rectangle,
    table: &Shown,
    rows: usize,
    columns: usize,
    filter: Filter,
) -> Option<Vec<u16>> {
    // sums of columns are as wide as the processor's vectors
    Arch::new().dispatch(Pass {
        image,
        source,
        table,
        down: taps(source.rows, rows, filter),
        across: taps(source.columns, columns, filter),
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
                sums.fill(0.0);
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
        (sum + 0.5) as u16
    }
}

/// What each of `target` pixels takes of `source` pixels.
fn taps(source: usize, target: usize, filter: Filter) -> Vec<Taps> {
    let ratio = source as f64 / target as f64;
    let stretch = ratio.max(1.0);
    let support = filter.support() * stretch;
    (0..target)
        .map(|index| {
            let center = (index as f64 + 0.5) * ratio;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(source);
            let weights: Vec<f64> = (start..end)
                .map(|pixel| filter.weight((pixel as f64 + 0.5 - center) / stretch))
                .collect();
            let whole: f64 = weights.iter().sum();
            Taps {
                source: start..end,
                weights: weights.iter().map(|weight| (weight / whole) as f32).collect(),
            }
        })
        .collect()
}

impl Filter {
    /// How far the filter reaches to either side, in pixels of the smaller size.
    fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            // half open, so that a pixel on the edge between two belongs to one
            Self::Box => f64::from(u8::from(distance > -0.5 && distance <= 0.5)),
            Self::Bilinear => (1.0 - x).max(0.0),
            // Keys' cubic with a = -0.5
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Self::Bicubic => 0.0,
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
            let source = Rectangle {
                top: 0,
                left: 0,
                rows: source_rows,
                columns: source_columns,
            };
            resample(image, source, &table, rows, columns, filter).unwrap()
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
}
