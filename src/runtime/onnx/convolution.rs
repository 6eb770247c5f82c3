//! Convolutions that ONNX Runtime would compute by their definition, by [`osteon_convolution`] instead: those of 3 x 3 with stride 1, which
//! are most of what a residual network costs, and those of 1 x 1 with what a DenseNet does before them.
//!
//! Only in a network that ONNX Runtime has optimised for this processor: there bias, addition and activation are part of the convolution
//! already, and images are in the order that both compute in (decision 50). [`replaced`] says which nodes; [`operators`] computes them.

use std::cell::RefCell;

use ort::operator::OperatorDomain;
use osteon_convolution::Mismatch;

mod extent;
mod pre_activated;
mod replace;
mod winograd;

pub(super) use replace::replaced;

/// The domain of the operators.
const DOMAIN: &str = "osteon";
/// The name of that for 3 x 3.
const WINOGRAD: &str = "WinogradConv";
/// The name of that for 1 x 1.
const PRE_ACTIVATED: &str = "PreActivatedConv";
/// The attribute with the zeros around an image.
const PADS: &str = "pads";
/// The attribute that says, by 1, that what is negative becomes zero.
const RELU: &str = "relu";

/// What a session needs that runs a network with replaced convolutions.
pub(super) fn operators() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?
        .add(winograd::WinogradConv)?
        .add(pre_activated::PreActivatedConv)
}

/// Computes with the room of this thread.
fn in_room(compute: impl FnOnce(&mut Vec<f32>) -> Result<(), Mismatch>) -> ort::Result<()> {
    thread_local! {
        // a session runs in the thread of its caller, one convolution after the other
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH
        .with_borrow_mut(compute)
        .map_err(|mismatch| ort::Error::new(mismatch.to_string()))
}

fn size(axis: i64) -> usize {
    usize::try_from(axis).unwrap_or(0)
}
