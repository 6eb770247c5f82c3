//! Convolutions that ONNX Runtime would compute by their definition, faster: [3 x 3](winograd), and [1 x 1](pre_activated) of what is
//! normalised just before.
//!
//! Images and filters are in the order in which ONNX Runtime computes on x86 (its "NCHWc"): channels in blocks as wide as a vector,
//! `[channels / block][row][column][block]`; filters
//! `[filters / block][channels / block][rows][columns][block of channels][block of filters]`.
//! Sums are 32-bit floats; what is lost beside the definition is some 1e-5 of the largest value.
//!
//! A crate of its own so that it is optimised in builds for tests, too.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into a dispatch of pulp has the instructions of the oldest processor"
)]

use std::fmt;

use pulp::{Arch, Simd, WithSimd};

pub mod pre_activated;
mod product;
mod room;
#[cfg(test)]
mod sums;
pub mod winograd;

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

fn is(what: &'static str, numbers: usize, wanted: usize) -> Result<(), Mismatch> {
    (numbers == wanted).then_some(()).ok_or(Mismatch {
        what,
        numbers,
        wanted,
    })
}
