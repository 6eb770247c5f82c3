//! ResNet-18, 34 and 50 (He 2016; the stride of a bottleneck in its 3x3 convolution, as torchvision has it).
//!
//! Stem: 7x7 convolution and pooling, a quarter of the input. Stages 1 to 4: `layer1` to `layer4`.

use super::super::graph::NodeId;
use super::super::layer::Window;
use super::trunk::{Trunk, plain};
use super::{Family, same_everywhere};

const EPSILON: f64 = 1e-5;
/// Channels of the four stages, inside their blocks.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// 11 million parameters.
pub(super) static RESNET18: Family = Family {
    name: "resnet18",
    title: "ResNet-18 (He 2016)",
    features: |trunk| features(trunk, [2, 2, 2, 2], Block::Basic),
    ..RESNET
};

/// 21 million parameters.
pub(super) static RESNET34: Family = Family {
    name: "resnet34",
    title: "ResNet-34 (He 2016)",
    features: |trunk| features(trunk, [3, 4, 6, 3], Block::Basic),
    ..RESNET
};

/// 24 million parameters.
pub(super) static RESNET50: Family = Family {
    name: "resnet50",
    title: "ResNet-50 (He 2016)",
    features: |trunk| features(trunk, [3, 4, 6, 3], Block::Bottleneck),
    ..RESNET
};

/// What the three have in common.
const RESNET: Family = Family {
    name: "",
    title: "",
    stages: 4,
    dropout: 0.0,
    stochastic_depth: None,
    hidden: None,
    features: |trunk| trunk.builder.input(),
    classifier: "fc",
    elsewhere: same_everywhere,
};

#[derive(Clone, Copy, PartialEq)]
enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 and 1x1, to four times the channels.
    Bottleneck,
}

impl Block {
    fn output_channels(self, width: usize) -> usize {
        match self {
            Block::Basic => width,
            Block::Bottleneck => 4 * width,
        }
    }
}

fn features(trunk: &mut Trunk, blocks: [usize; 4], kind: Block) -> NodeId {
    let stem = trunk
        .builder
        .convolution("conv1", trunk.builder.input(), 64, 7, 2);
    let stem = trunk.builder.batch_norm("bn1", stem, EPSILON, 1.0);
    let stem = trunk.builder.relu("relu", stem);
    let mut features = trunk.max_pool("maxpool", stem, Window::square(3, 2, 1));
    let mut channels = 64;
    for (stage, (width, blocks)) in (1..).zip(WIDTHS.into_iter().zip(blocks)) {
        if !trunk.begin(stage) {
            break;
        }
        for place in 0..blocks {
            let stride = if place == 0 && stage > 1 { 2 } else { 1 };
            let outputs = kind.output_channels(width);
            let projected = stride != 1 || channels != outputs;
            let name = format!("layer{stage}.{place}");
            features = block(trunk, &name, features, kind, width, stride, projected);
            channels = outputs;
        }
    }
    features
}

fn block(
    trunk: &mut Trunk,
    name: &str,
    input: NodeId,
    kind: Block,
    width: usize,
    stride: usize,
    projected: bool,
) -> NodeId {
    // kernel and stride of each convolution of the branch
    let steps: &[(usize, usize)] = match kind {
        Block::Basic => &[(3, stride), (3, 1)],
        Block::Bottleneck => &[(1, 1), (3, stride), (1, 1)],
    };
    let mut branch = input;
    for (number, &(kernel, stride)) in (1..).zip(steps) {
        let last = number == steps.len();
        let outputs = if last { kind.output_channels(width) } else { width };
        branch = trunk
            .builder
            .convolution(&format!("{name}.conv{number}"), branch, outputs, kernel, stride);
        // starts as the identity, which lets the first steps be large (Goyal 2017)
        let scale = if last { 0.0 } else { 1.0 };
        branch = trunk
            .builder
            .batch_norm(&format!("{name}.bn{number}"), branch, EPSILON, scale);
        if !last {
            branch = trunk.builder.relu(format!("{name}.relu{number}"), branch);
        }
    }
    let mut shortcut = input;
    if projected {
        let outputs = plain(kind.output_channels(width), Window::square(1, stride, 0));
        shortcut = trunk.convolution(&format!("{name}.downsample.0"), shortcut, outputs);
        shortcut = trunk
            .builder
            .batch_norm(&format!("{name}.downsample.1"), shortcut, EPSILON, 1.0);
    }
    let sum = trunk.add(format!("{name}.add"), branch, shortcut);
    trunk.builder.relu(format!("{name}.relu"), sum)
}
