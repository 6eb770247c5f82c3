//! Convolutions of 3 x 3 with stride 1 by Winograd's minimal filtering F(4 x 4, 3 x 3): 36 multiplications where the definition has 144
//! (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016).

use pulp::Arch;

use crate::{Lanes, Mismatch, is};

mod filters;
mod pass;
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

/// A convolution of 3 x 3 with stride 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels of an image; a multiple of the [`block`](crate::block).
    pub channels: usize,
    /// Channels of a result; a multiple of the [`block`](crate::block).
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
