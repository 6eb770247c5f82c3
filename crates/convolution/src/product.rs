//! Products of small matrices, with the sums in registers.

use pulp::{Simd, bytemuck};

/// Rows whose sums are in registers at a time.
const ROWS: usize = 6;

/// `results[filter][row] = sum over channels of values[channel][row] * filters[channel][filter]`, for `rows` rows.
///
/// Values are blocks of channels, `[channels / block][rows][block]`, and results blocks of filters, each beginning `apart` vectors after the
/// one before it. Filters stand in pairs of vectors, as [`transformed`](crate::winograd::transformed) and
/// [`packed`](crate::pre_activated::packed) write them.
#[inline(always)]
pub(crate) fn product<S: Simd>(
    simd: S,
    values: &[S::f32s],
    filters: &[S::f32s],
    results: &mut [S::f32s],
    rows: usize,
    apart: usize,
) {
    let channels = values.len() / rows * S::F32_LANES;
    for (pair, filters) in filters.chunks(2 * channels).enumerate() {
        let results = &mut results[2 * pair * apart..];
        let one = filters.len() == channels;
        for first in (0..rows).step_by(ROWS) {
            let values = &values[first..];
            let results = &mut results[first..];
            match (ROWS.min(rows - first), one) {
                (6, false) => sums::<S, 6, 2>(simd, values, filters, results, rows, apart),
                (5, false) => sums::<S, 5, 2>(simd, values, filters, results, rows, apart),
                (4, false) => sums::<S, 4, 2>(simd, values, filters, results, rows, apart),
                (3, false) => sums::<S, 3, 2>(simd, values, filters, results, rows, apart),
                (2, false) => sums::<S, 2, 2>(simd, values, filters, results, rows, apart),
                (_, false) => sums::<S, 1, 2>(simd, values, filters, results, rows, apart),
                (6, true) => sums::<S, 6, 1>(simd, values, filters, results, rows, apart),
                (5, true) => sums::<S, 5, 1>(simd, values, filters, results, rows, apart),
                (4, true) => sums::<S, 4, 1>(simd, values, filters, results, rows, apart),
                (3, true) => sums::<S, 3, 1>(simd, values, filters, results, rows, apart),
                (2, true) => sums::<S, 2, 1>(simd, values, filters, results, rows, apart),
                (_, true) => sums::<S, 1, 1>(simd, values, filters, results, rows, apart),
            }
        }
    }
}

/// The sums of `ROWS` rows and `VECTORS` vectors of filters.
#[inline(always)]
fn sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    values: &[S::f32s],
    filters: &[S::f32s],
    results: &mut [S::f32s],
    rows: usize,
    apart: usize,
) {
    let lanes = S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (block, filters) in filters.chunks_exact(VECTORS * lanes).enumerate() {
        let values: &[f32] = bytemuck::cast_slice(&values[block * rows..][..ROWS]);
        let of_rows: [&[f32]; ROWS] = std::array::from_fn(|row| &values[row * lanes..][..lanes]);
        let filters = &filters.as_chunks::<VECTORS>().0[..lanes];
        for channel in 0..lanes {
            for (sums, row) in sums.iter_mut().zip(of_rows) {
                let value = simd.splat_f32s(row[channel]);
                for (sum, filter) in sums.iter_mut().zip(filters[channel]) {
                    *sum = simd.mul_add_e_f32s(value, filter, *sum);
                }
            }
        }
    }
    for vector in 0..VECTORS {
        let results = &mut results[vector * apart..][..ROWS];
        for row in 0..ROWS {
            results[row] = sums[row][vector];
        }
    }
}
