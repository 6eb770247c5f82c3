//! Room for what is between the steps of a convolution.

use pulp::Simd;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// So many vectors of `scratch`, beginning where a cache line does.
#[inline(always)]
pub(crate) fn aligned<S: Simd>(scratch: &mut Vec<f32>, vectors: usize) -> &mut [S::f32s] {
    let room = vectors * S::F32_LANES;
    let most_skipped = LINE / size_of::<f32>();
    scratch.resize(scratch.len().max(room + most_skipped), 0.0);
    let skipped = scratch.as_ptr().align_offset(LINE).min(most_skipped);
    S::as_mut_simd_f32s(&mut scratch[skipped..][..room]).0
}

/// How many of `all` are done at a time, where `most` can be, so that each time is as long as the others.
pub(crate) fn in_turn(all: usize, most: usize) -> usize {
    all.div_ceil(all.div_ceil(most.max(1)))
}
