//! One image: patches to points, products at each point, products to tiles; some tiles at a time, so that what is between stays in
//! the cache.
//!
//! Vectors are taken out of arrays by their index: what is handed to methods of iterators and arrays is not always inlined, and then
//! compiled for the oldest processor, which takes four times as long.

#![expect(clippy::needless_range_loop, reason = "see above")]

use pulp::{Simd, WithSimd};

use super::transform::{backward, forward};
use super::{Convolution, PATCH, POINTS, TILE};
use crate::product::product;
use crate::room::{LINE, aligned, in_turn};

/// Bytes between the transforms that stay in the second cache of any processor.
const NEAR: usize = 384 << 10;
/// Tiles beside each other for which one block of channels is read before the next: the cache lines that they share are then still in
/// the first cache, even where all blocks begin at the same place of it.
const FEW: usize = 4;

pub(crate) struct Pass<'a> {
    pub(crate) convolution: &'a Convolution,
    pub(crate) image: &'a [f32],
    pub(crate) filters: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) sum: Option<&'a [f32]>,
    pub(crate) result: &'a mut [f32],
    pub(crate) scratch: &'a mut Vec<f32>,
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let convolution = self.convolution;
        let lanes = S::F32_LANES;
        let (channels, filters) = (convolution.channels / lanes, convolution.filters / lanes);
        let columns = convolution.extent()[1].div_ceil(TILE);
        let tiles = convolution.tiles();
        // as many at a time as keep what is between in the cache, or as make it worth to read all filters again
        let of_tile = size_of::<f32>() * POINTS * (convolution.channels + convolution.filters);
        let most = NEAR.max(size_of_val(self.filters)) / of_tile;
        let at_a_time = in_turn(tiles, most);

        let (of_values, of_products) = (apart::<S>(at_a_time * channels), apart::<S>(at_a_time * filters));
        let between = aligned::<S>(self.scratch, POINTS * (of_values + of_products));
        let (values, products) = between.split_at_mut(POINTS * of_values);

        let (image, _) = S::as_simd_f32s(self.image);
        let (filter_values, _) = S::as_simd_f32s(self.filters);
        let bias = self.bias.map(|bias| S::as_simd_f32s(bias).0);
        let sum = self.sum.map(|sum| S::as_simd_f32s(sum).0);
        let (result, _) = S::as_mut_simd_f32s(self.result);
        let [rows, row] = convolution.extent();
        let (plane, result_plane) = (convolution.rows * convolution.columns, rows * row);

        for first in (0..tiles).step_by(at_a_time) {
            let some = at_a_time.min(tiles - first);
            let place = |tile: usize| [(first + tile) / columns * TILE, (first + tile) % columns * TILE];
            for few in (0..some).step_by(FEW) {
                for (block, plane) in image.chunks_exact(plane).enumerate() {
                    for tile in few..some.min(few + FEW) {
                        let values = &mut values[block * some + tile..];
                        to_points(simd, convolution, plane, place(tile), values, of_values);
                    }
                }
            }
            for (point, filter_values) in filter_values
                .chunks_exact(convolution.channels * filters)
                .enumerate()
            {
                product(
                    simd,
                    &values[point * of_values..][..some * channels],
                    filter_values,
                    &mut products[point * of_products..][..some * filters],
                    some,
                    some,
                );
            }
            for few in (0..some).step_by(FEW) {
                for (block, result) in result.chunks_exact_mut(result_plane).enumerate() {
                    let mut target = Target {
                        place: [0; 2],
                        extent: [rows, row],
                        bias: bias.map(|bias| bias[block]),
                        sum: sum.map(|sum| &sum[block * result_plane..][..result_plane]),
                        relu: convolution.relu,
                    };
                    for tile in few..some.min(few + FEW) {
                        target.place = place(tile);
                        let products = &products[block * some + tile..];
                        to_tile::<S>(simd, products, of_products, &target, result);
                    }
                }
            }
        }
    }
}

/// How many vectors lie between one point's and the next: at least so many, and an odd number of cache lines, so that the points of one
/// tile do not all fall into the same few places of the first cache.
fn apart<S: Simd>(vectors: usize) -> usize {
    let of_line = (LINE / size_of::<S::f32s>()).max(1);
    let lines = vectors.div_ceil(of_line);
    (lines + 1 - lines % 2) * of_line
}

/// Writes the values at all points of the patch whose tile begins at `place`, `apart` vectors from each other.
#[inline(always)]
fn to_points<S: Simd>(
    simd: S,
    convolution: &Convolution,
    plane: &[S::f32s],
    place: [usize; 2],
    values: &mut [S::f32s],
    apart: usize,
) {
    let Convolution {
        rows, columns, pads, ..
    } = *convolution;
    let zero = simd.splat_f32s(0.0);
    let mut down = [[zero; PATCH]; PATCH];
    let inside = place[0] >= pads[0]
        && place[1] >= pads[1]
        && place[0] - pads[0] + PATCH <= rows
        && place[1] - pads[1] + PATCH <= columns;
    if inside {
        let begin = (place[0] - pads[0]) * columns + place[1] - pads[1];
        let lines: [&[S::f32s]; PATCH] = std::array::from_fn(|row| &plane[begin + row * columns..][..PATCH]);
        for (column, down) in down.iter_mut().enumerate() {
            *down = forward(simd, std::array::from_fn(|row| lines[row][column]));
        }
    } else {
        for (column, down) in down.iter_mut().enumerate() {
            let mut pixels = [zero; PATCH];
            let column = (place[1] + column).wrapping_sub(pads[1]);
            for (row, pixel) in pixels.iter_mut().enumerate() {
                let row = (place[0] + row).wrapping_sub(pads[0]);
                if row < rows && column < columns {
                    *pixel = plane[row * columns + column];
                }
            }
            *down = forward(simd, pixels);
        }
    }
    for row in 0..PATCH {
        let across = forward(simd, std::array::from_fn(|column| down[column][row]));
        for column in 0..PATCH {
            values[(row * PATCH + column) * apart] = across[column];
        }
    }
}

/// Where a tile goes, and what is done on the way.
struct Target<'a, S: Simd> {
    place: [usize; 2],
    extent: [usize; 2],
    bias: Option<S::f32s>,
    sum: Option<&'a [S::f32s]>,
    relu: bool,
}

/// Writes the tile whose products lie `apart` vectors from each other, as far as it is within the result.
#[inline(always)]
fn to_tile<S: Simd>(
    simd: S,
    products: &[S::f32s],
    apart: usize,
    target: &Target<'_, S>,
    result: &mut [S::f32s],
) {
    let zero = simd.splat_f32s(0.0);
    let Target {
        place,
        extent,
        bias,
        sum,
        relu,
    } = *target;
    let mut down = [[zero; TILE]; PATCH];
    for (column, down) in down.iter_mut().enumerate() {
        *down = backward(
            simd,
            std::array::from_fn(|row| products[(row * PATCH + column) * apart]),
        );
    }
    for row in 0..TILE.min(extent[0] - place[0]) {
        let begin = (place[0] + row) * extent[1] + place[1];
        let width = TILE.min(extent[1] - place[1]);
        let line = backward(simd, std::array::from_fn(|column| down[column][row]));
        for (column, result) in result[begin..][..width].iter_mut().enumerate() {
            let mut value = line[column];
            if let Some(bias) = bias {
                value = simd.add_f32s(value, bias);
            }
            if let Some(sum) = sum {
                value = simd.add_f32s(value, sum[begin + column]);
            }
            // in this order what is no number stays none
            *result = if relu { simd.max_f32s(zero, value) } else { value };
        }
    }
}
