//! Convolutions of 1 x 1 of what is normalised and rectified just before ("pre-activation": He et al., "Identity Mappings in Deep Residual
//! Networks", ECCV 2016), as each layer of a DenseNet begins (Huang et al., "Densely Connected Convolutional Networks", CVPR 2017): all in
//! one pass, so that neither the images joined of the layers before, nor what normalisation makes of them, are written to memory.

#![expect(clippy::needless_range_loop, reason = "see `winograd::pass`")]

use pulp::{Arch, Simd, WithSimd};

use crate::product::product;
use crate::room::{aligned, in_turn};
use crate::{Lanes, Mismatch, is};

/// Bytes of what is rectified that stay in the second cache of any processor, beside the filters.
const NEAR: usize = 128 << 10;

/// A convolution of 1 x 1 with stride 1, after a factor and a summand for each channel and a rectifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// How many images.
    pub images: usize,
    /// Rows times columns of an image, and of a result.
    pub pixels: usize,
    /// Channels of a result; a multiple of the [`block`](crate::block).
    pub filters: usize,
    /// Whether what is negative in the result becomes zero.
    pub relu: bool,
}

/// What a convolution is computed of.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// Images whose channels follow each other, each a multiple of the [`block`](crate::block).
    pub pieces: &'a [&'a [f32]],
    /// What each channel of all pieces is multiplied by.
    pub factors: &'a [f32],
    /// What is added then, before what is negative becomes zero.
    pub summands: &'a [f32],
    /// Filters, [packed].
    pub filters: &'a [f32],
    /// What is added to each channel of a result.
    pub bias: &'a [f32],
}

/// Filters in ONNX Runtime's order with `block` channels beside each other, as [`Convolution::run`] takes them:
/// `[filters / (2 block)][channels][2 block of filters]`. An odd last block of filters stands alone. `None` where the numbers are not those
/// of so many filters and channels.
#[must_use]
pub fn packed(weights: &[f32], filters: usize, channels: usize, block: usize) -> Option<Vec<f32>> {
    let fits = block > 0
        && filters.is_multiple_of(block)
        && channels.is_multiple_of(block)
        && weights.len() == filters * channels;
    if !fits {
        return None;
    }
    let mut result = Vec::with_capacity(weights.len());
    // of a block of filters: all channels, each with its numbers for the filters of the block
    let of_block = channels * block;
    for pair in weights.chunks(2 * of_block) {
        for channel in 0..channels {
            for filters in pair.chunks_exact(of_block) {
                result.extend_from_slice(&filters[channel * block..][..block]);
            }
        }
    }
    Some(result)
}

impl Convolution {
    /// Computes `results`; `scratch` is room for what is between, to be given again.
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
            images,
            pixels,
            filters,
            ..
        } = *self;
        let lanes = Arch::new().dispatch(Lanes);
        let of_channel = images * pixels;
        let mut channels = 0;
        for piece in operands.pieces {
            let of_piece = piece.len() / of_channel.max(1);
            is("numbers of images", piece.len(), of_piece * of_channel)?;
            is("channels", of_piece, of_piece.next_multiple_of(lanes))?;
            channels += of_piece;
        }
        is("channels", channels, channels.max(lanes))?;
        is("filters", filters, filters.next_multiple_of(lanes))?;
        is("factors", operands.factors.len(), channels)?;
        is("summands", operands.summands.len(), channels)?;
        is("numbers of filters", operands.filters.len(), channels * filters)?;
        is("numbers of the bias", operands.bias.len(), filters)?;
        is("numbers of results", results.len(), of_channel * filters)?;
        if results.is_empty() {
            return Ok(());
        }
        for (image, result) in results.chunks_exact_mut(pixels * filters).enumerate() {
            Arch::new().dispatch(Pass {
                convolution: self,
                image,
                operands,
                result,
                scratch,
            });
        }
        Ok(())
    }
}

/// One image.
pub(crate) struct Pass<'a> {
    pub(crate) convolution: &'a Convolution,
    pub(crate) image: usize,
    pub(crate) operands: Operands<'a>,
    pub(crate) result: &'a mut [f32],
    pub(crate) scratch: &'a mut Vec<f32>,
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            convolution:
                &Convolution {
                    images,
                    pixels,
                    filters,
                    relu,
                },
            image,
            operands,
            result,
            scratch,
        } = self;
        let channels = operands.factors.len();
        let (blocks, filter_blocks) = (channels / S::F32_LANES, filters / S::F32_LANES);
        let mut planes: Vec<&[S::f32s]> = Vec::with_capacity(blocks);
        for piece in operands.pieces {
            let of_image = piece.len() / images;
            let (piece, _) = S::as_simd_f32s(&piece[image * of_image..][..of_image]);
            planes.extend(piece.chunks_exact(pixels));
        }
        let [factors, summands, filter_values, bias] = [
            operands.factors,
            operands.summands,
            operands.filters,
            operands.bias,
        ]
        .map(|numbers| S::as_simd_f32s(numbers).0);
        let (result, _) = S::as_mut_simd_f32s(result);

        let at_a_time = in_turn(pixels, NEAR / size_of_val(operands.factors));
        let values = aligned::<S>(scratch, at_a_time * blocks);
        let zero = simd.splat_f32s(0.0);
        for first in (0..pixels).step_by(at_a_time) {
            let some = at_a_time.min(pixels - first);
            let values = &mut values[..some * blocks];
            for block in 0..blocks {
                let (factor, summand) = (factors[block], summands[block]);
                let plane = &planes[block][first..][..some];
                let values = &mut values[block * some..][..some];
                for pixel in 0..some {
                    let value = simd.mul_add_e_f32s(plane[pixel], factor, summand);
                    // in this order what is no number stays none
                    values[pixel] = simd.max_f32s(zero, value);
                }
            }
            product(simd, values, filter_values, &mut result[first..], some, pixels);
            for block in 0..filter_blocks {
                let line = &mut result[block * pixels + first..][..some];
                for pixel in 0..some {
                    let value = simd.add_f32s(line[pixel], bias[block]);
                    line[pixel] = if relu { simd.max_f32s(zero, value) } else { value };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
