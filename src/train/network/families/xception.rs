//! Xception (Chollet 2017), in the form and with the names of timm's `legacy_xception`.
//!
//! Stem: two 3x3 convolutions, half of the input. Stages 1 and 2: the first two blocks. Stage 3: the third and the eight of
//! the middle flow. Stage 4: the last block and the two separable convolutions behind it.

use super::super::graph::NodeId;
use super::super::layer::{Layer, Window};
use super::trunk::{Trunk, depthwise, plain};
use super::{Family, same_everywhere};

const EPSILON: f64 = 1e-5;

/// 21 million parameters.
pub(super) static XCEPTION: Family = Family {
    name: "xception",
    title: "Xception (Chollet 2017)",
    stages: 4,
    dropout: 0.0,
    stochastic_depth: None,
    hidden: None,
    features,
    classifier: "fc",
    elsewhere: same_everywhere,
};

/// One of the twelve blocks.
struct Block {
    /// Its number, from 1.
    number: usize,
    /// Output channels of each separable convolution.
    channels: &'static [usize],
    /// Whether it halves the resolution, which needs a convolution in its shortcut.
    halves: bool,
}

/// The blocks of each stage.
const STAGES: [&[Block]; 4] = [
    &[halving(1, &[128, 128])],
    &[halving(2, &[256, 256])],
    &[
        halving(3, &[728, 728]),
        middle(4),
        middle(5),
        middle(6),
        middle(7),
        middle(8),
        middle(9),
        middle(10),
        middle(11),
    ],
    &[halving(12, &[728, 1024])],
];

const fn halving(number: usize, channels: &'static [usize]) -> Block {
    Block {
        number,
        channels,
        halves: true,
    }
}

const fn middle(number: usize) -> Block {
    Block {
        number,
        channels: &[728; 3],
        halves: false,
    }
}

fn features(trunk: &mut Trunk) -> NodeId {
    let mut features = trunk.builder.input();
    for (number, channels, stride) in [(1, 32, 2), (2, 64, 1)] {
        let window = Window::square(3, stride, 0);
        features = trunk.convolution(&format!("conv{number}"), features, plain(channels, window));
        features = normed(trunk, number, features);
    }
    let mut channels = 64;
    for (stage, blocks) in (1..).zip(STAGES) {
        if !trunk.begin(stage) {
            return features;
        }
        for own in blocks {
            features = block(trunk, own, features, channels);
            channels = own.channels[own.channels.len() - 1];
        }
    }
    for (number, outputs) in [(3, 1536), (4, 2048)] {
        features = separable(trunk, &format!("conv{number}"), features, channels, outputs);
        features = normed(trunk, number, features);
        channels = outputs;
    }
    features
}

/// The norm and the rectifier behind one of the four convolutions outside blocks.
fn normed(trunk: &mut Trunk, number: usize, input: NodeId) -> NodeId {
    let maps = trunk
        .builder
        .batch_norm(&format!("bn{number}"), input, EPSILON, 1.0);
    trunk.builder.relu(format!("act{number}"), maps)
}

/// Each channel filtered alone, then mixed.
fn separable(trunk: &mut Trunk, name: &str, input: NodeId, channels: usize, outputs: usize) -> NodeId {
    let own = depthwise(channels, Window::square(3, 1, 1));
    let filtered = trunk.convolution(&format!("{name}.conv1"), input, own);
    let mixed = plain(outputs, Window::square(1, 1, 0));
    trunk.convolution(&format!("{name}.pointwise"), filtered, mixed)
}

fn block(trunk: &mut Trunk, own: &Block, input: NodeId, mut channels: usize) -> NodeId {
    let name = format!("block{}", own.number);
    let mut branch = input;
    // timm counts rectifiers, convolutions and norms alike; the first block begins without a rectifier
    let mut place = 0;
    for (step, outputs) in own.channels.iter().enumerate() {
        if step > 0 || own.number > 1 {
            branch = trunk.builder.relu(format!("{name}.rep.{place}"), branch);
            place += 1;
        }
        branch = separable(trunk, &format!("{name}.rep.{place}"), branch, channels, *outputs);
        branch = trunk
            .builder
            .batch_norm(&format!("{name}.rep.{}", place + 1), branch, EPSILON, 1.0);
        place += 2;
        channels = *outputs;
    }
    let mut shortcut = input;
    if own.halves {
        branch = trunk.max_pool(format!("{name}.rep.{place}"), branch, Window::square(3, 2, 1));
        let outputs = plain(channels, Window::square(1, 2, 0));
        shortcut = trunk.convolution(&format!("{name}.skip"), shortcut, outputs);
        shortcut = trunk
            .builder
            .batch_norm(&format!("{name}.skipbn"), shortcut, EPSILON, 1.0);
    }
    trunk
        .builder
        .node(format!("{name}.add"), Layer::Add, &[branch, shortcut])
}
