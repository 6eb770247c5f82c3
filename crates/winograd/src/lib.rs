//! Convolutions of 3 x 3 with stride 1 by Winograd's minimal filtering F(4 x 4, 3 x 3): 36 multiplications where the definition has 144
//! (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016).
//!
//! Images and filters are in the order in which ONNX Runtime computes on x86 (its "NCHWc"): channels in blocks as wide as a vector,
//! `[channels / block][row][column][block]`; filters `[filters / block][channels / block][3][3][block of channels][block of filters]`.
//! Sums are 32-bit floats; what is lost beside the definition is some 1e-5 of the largest value.
//!
//! A crate of its own so that it is optimised in builds for tests, too.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into a dispatch of pulp has the instructions of the oldest processor"
)]

use std::fmt;

use pulp::{Arch, Simd, WithSimd};

mod filters;
mod pass;
mod product;
#[cfg(test)]
mod tests;
mod transform;

pub use filters::transformed;
use pass::Pass;

/// Rows and columns of results that are computed at a time.
const TILE: usize = 4;
/// Rows and columns of the image that they need.
const PATCH: usize = TILE + 2;
/// The products that they need, for each channel and filter.
const POINTS: usize = PATCH * PATCH;

/// How many channels stand beside each other in ONNX Runtime's order on this processor; `None` where it has no such order, or this
/// crate no vectors of that width.
#[must_use]
pub fn block() -> Option<usize> {
    // MLAS, `platform.cpp`: 16 with AVX-512 F, else 8
    #[cfg(target_arch = "x86_64")]
    let theirs = if std::is_x86_feature_detected!("avx512f") {
        16
    } else {
        8
    };
    #[cfg(not(target_arch = "x86_64"))]
    let theirs = 0;
    let ours = Arch::new().dispatch(Lanes);
    (ours == theirs).then_some(ours)
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// A convolution of 3 x 3 with stride 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels of an image; a multiple of the [`block`].
    pub channels: usize,
    /// Channels of a result; a multiple of the [`block`].
    pub filters: usize,
    /// Rows of an image.
    pub rows: usize,
    /// Columns of an image.
    pub columns: usize,
    /// Zeros before the first row, before the first column, after the last row, after the last column.
    pub pads: [usize; 4],
    /// Whether what is negative becomes zero.
    pub relu: bool,
}

/// What a convolution is computed of.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// One or several images, one after the other.
    pub images: &'a [f32],
    /// Filters, [transformed].
    pub filters: &'a [f32],
    /// What is added to each channel of a result.
    pub bias: Option<&'a [f32]>,
    /// What is added to each value of the results.
    pub sum: Option<&'a [f32]>,
}

/// The operands do not belong to the convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    what: &'static str,
    numbers: usize,
    wanted: usize,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            numbers,
            wanted,
        } = self;
        write!(
            formatter,
            "{what}: {numbers}, and {wanted} belong to this convolution"
        )
    }
}

impl std::error::Error for Mismatch {}

impl Convolution {
    /// Rows and columns of a result.
    #[must_use]
    pub fn extent(&self) -> [usize; 2] {
        let [top, left, bottom, right] = self.pads;
        [
            (self.rows + top + bottom).saturating_sub(2),
            (self.columns + left + right).saturating_sub(2),
        ]
    }

    /// How many times 4 x 4 values a result is.
    #[must_use]
    pub fn tiles(&self) -> usize {
        let [rows, columns] = self.extent();
        rows.div_ceil(TILE) * columns.div_ceil(TILE)
    }

    /// Computes `results`, as many as there are images; `scratch` is room for what is between, to be given again.
    ///
    /// # Errors
    /// [`Mismatch`] where a number of channels is no multiple of a vector, or an operand has too few or too many numbers.
    pub fn run(
        &self,
        operands: Operands<'_>,
        results: &mut [f32],
        scratch: &mut Vec<f32>,
    ) -> Result<(), Mismatch> {
        let Self {
            channels,
            filters,
            rows,
            columns,
            ..
        } = *self;
        let [result_rows, result_columns] = self.extent();
        let (image, result) = (channels * rows * columns, filters * result_rows * result_columns);
        let lanes = Arch::new().dispatch(Lanes);
        let is = |what, numbers, wanted| {
            (numbers == wanted).then_some(()).ok_or(Mismatch {
                what,
                numbers,
                wanted,
            })
        };
        is("channels", channels, channels.next_multiple_of(lanes))?;
        is("filters", filters, filters.next_multiple_of(lanes))?;
        let images = operands.images.len() / image.max(1);
        is("numbers of images", operands.images.len(), images * image)?;
        is(
            "numbers of filters",
            operands.filters.len(),
            POINTS * channels * filters,
        )?;
        is(
            "numbers of the bias",
            operands.bias.map_or(filters, <[f32]>::len),
            filters,
        )?;
        is(
            "numbers of the sum",
            operands.sum.map_or(results.len(), <[f32]>::len),
            results.len(),
        )?;
        is("numbers of results", results.len(), images * result)?;
        if image == 0 || result == 0 {
            return Ok(());
        }
        for index in 0..images {
            let place = index * result..(index + 1) * result;
            Arch::new().dispatch(Pass {
                convolution: self,
                image: &operands.images[index * image..][..image],
                filters: operands.filters,
                bias: operands.bias,
                sum: operands.sum.map(|sum| &sum[place.clone()]),
                result: &mut results[place],
                scratch,
            });
        }
        Ok(())
    }
}
