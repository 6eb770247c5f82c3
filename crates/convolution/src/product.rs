//! Products of small matrices, with the sums in registers.

use pulp::{Simd, bytemuck};

/// `results[tile][filter] = sum over channels of values[tile][channel] * filters[channel][filter]`, for `tiles` rows of `channels`
/// and `filter_blocks` vectors; filters stand in pairs of vectors, as [`transformed`](crate::winograd::transformed) and [`packed`](crate::pre_activated::packed) write them.
#[inline(always)]
pub(crate) fn product<S: Simd>(
    simd: S,
    values: &[S::f32s],
    filters: &[S::f32s],
    results: &mut [S::f32s],
    filter_blocks: usize,
    channels: usize,
) {
    let values: &[f32] = bytemuck::cast_slice(values);
    for (pair, filters) in filters.chunks(2 * channels).enumerate() {
        let mut rest = values;
        let mut results = &mut results[pair * 2..];
        loop {
            let tiles = (rest.len() / channels).min(6);
            let (these, others) = rest.split_at(tiles * channels);
            let one = filters.len() == channels;
            match (tiles, one) {
                (6, false) => sums::<S, 6, 2>(simd, these, filters, results, filter_blocks),
                (5, false) => sums::<S, 5, 2>(simd, these, filters, results, filter_blocks),
                (4, false) => sums::<S, 4, 2>(simd, these, filters, results, filter_blocks),
                (3, false) => sums::<S, 3, 2>(simd, these, filters, results, filter_blocks),
                (2, false) => sums::<S, 2, 2>(simd, these, filters, results, filter_blocks),
                (1, false) => sums::<S, 1, 2>(simd, these, filters, results, filter_blocks),
                (6, true) => sums::<S, 6, 1>(simd, these, filters, results, filter_blocks),
                (5, true) => sums::<S, 5, 1>(simd, these, filters, results, filter_blocks),
                (4, true) => sums::<S, 4, 1>(simd, these, filters, results, filter_blocks),
                (3, true) => sums::<S, 3, 1>(simd, these, filters, results, filter_blocks),
                (2, true) => sums::<S, 2, 1>(simd, these, filters, results, filter_blocks),
                (1, true) => sums::<S, 1, 1>(simd, these, filters, results, filter_blocks),
                _ => break,
            }
            if others.is_empty() {
                break;
            }
            rest = others;
            results = &mut results[tiles * filter_blocks..];
        }
    }
}

/// The sums of `TILES` rows and `VECTORS` vectors of filters.
#[inline(always)]
fn sums<S: Simd, const TILES: usize, const VECTORS: usize>(
    simd: S,
    values: &[f32],
    filters: &[S::f32s],
    results: &mut [S::f32s],
    stride: usize,
) {
    let filters = filters.as_chunks::<VECTORS>().0;
    let channels = filters.len();
    let rows: [&[f32]; TILES] = std::array::from_fn(|tile| &values[tile * channels..][..channels]);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; TILES];
    for channel in 0..channels {
        for (sums, row) in sums.iter_mut().zip(rows) {
            let value = simd.splat_f32s(row[channel]);
            for (sum, filter) in sums.iter_mut().zip(filters[channel]) {
                *sum = simd.mul_add_e_f32s(value, filter, *sum);
            }
        }
    }
    for (tile, sums) in sums.into_iter().enumerate() {
        results[tile * stride..][..VECTORS].copy_from_slice(&sums);
    }
}
