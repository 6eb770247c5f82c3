//! EfficientNet-B0 (Tan and Le 2019).
//!
//! Stem: 3x3 convolution, half of the input. Stages 1 to 7: the groups of inverted residual blocks, `features.1` to
//! `features.7`. Stage 8: the last 1x1 convolution, `features.8`.

use super::super::graph::NodeId;
use super::super::layer::Convolution;
use super::super::layer::{Layer, Window};
use super::Family;
use super::trunk::{Trunk, biased, depthwise, plain};

const EPSILON: f64 = 1e-5;
const STEM: usize = 32;
const LAST: usize = 1280;
/// Blocks of the seven stages, all together.
const BLOCKS: usize = 16;

/// One of the seven stages.
struct Stage {
    /// How many times wider than its input a block is inside.
    expansion: usize,
    kernel: usize,
    /// Of the first block.
    stride: usize,
    channels: usize,
    blocks: usize,
}

const fn stage(expansion: usize, kernel: usize, stride: usize, channels: usize, blocks: usize) -> Stage {
    Stage {
        expansion,
        kernel,
        stride,
        channels,
        blocks,
    }
}

const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 16, 1),
    stage(6, 3, 2, 24, 2),
    stage(6, 5, 2, 40, 2),
    stage(6, 3, 2, 80, 3),
    stage(6, 5, 1, 112, 3),
    stage(6, 5, 2, 192, 4),
    stage(6, 3, 1, 320, 1),
];

/// 4 million parameters.
pub(super) static EFFICIENTNET_B0: Family = Family {
    name: "efficientnet_b0",
    title: "EfficientNet-B0 (Tan and Le 2019)",
    stages: 8,
    dropout: 0.2,
    stochastic_depth: Some(0.2),
    hidden: None,
    features,
    classifier: "classifier.1",
    elsewhere,
};

fn features(trunk: &mut Trunk) -> NodeId {
    let stem = plain(STEM, Window::square(3, 2, 1));
    let mut features = convolved(trunk, "features.0", trunk.builder.input(), stem);
    let (mut channels, mut place) = (STEM, 0);
    for (number, stage) in (1..).zip(&STAGES) {
        if !trunk.begin(number) {
            return features;
        }
        for block in 0..stage.blocks {
            let name = format!("features.{number}.{block}");
            let stride = if block == 0 { stage.stride } else { 1 };
            let branch = inverted(trunk, &name, features, channels, stage, stride);
            features = if stride == 1 && channels == stage.channels {
                let branch =
                    trunk.stochastic_depth(format!("{name}.stochastic_depth"), branch, place, BLOCKS);
                trunk.add(format!("{name}.add"), branch, features)
            } else {
                branch
            };
            channels = stage.channels;
            place += 1;
        }
    }
    if trunk.begin(8) {
        features = convolved(
            trunk,
            "features.8",
            features,
            plain(LAST, Window::square(1, 1, 0)),
        );
    }
    features
}

/// Convolution, norm and activation, as torchvision counts them.
fn convolved(trunk: &mut Trunk, name: &str, input: NodeId, convolution: Convolution) -> NodeId {
    let maps = trunk.convolution(&format!("{name}.0"), input, convolution);
    let maps = trunk.builder.batch_norm(&format!("{name}.1"), maps, EPSILON, 1.0);
    trunk.builder.node(format!("{name}.2"), Layer::Silu, &[maps])
}

/// Wider, filtered channel by channel, weighed by squeeze-and-excitation, and narrow again.
fn inverted(
    trunk: &mut Trunk,
    name: &str,
    input: NodeId,
    channels: usize,
    stage: &Stage,
    stride: usize,
) -> NodeId {
    let pixel = Window::square(1, 1, 0);
    let wide = channels * stage.expansion;
    let mut steps = (0..).map(|step| format!("{name}.block.{step}"));
    let mut next = || steps.next().unwrap_or_default();
    let mut maps = input;
    if stage.expansion != 1 {
        maps = convolved(trunk, &next(), maps, plain(wide, pixel));
    }
    let window = Window::square(stage.kernel, stride, stage.kernel / 2);
    maps = convolved(trunk, &next(), maps, depthwise(wide, window));
    maps = excited(trunk, &next(), maps, channels / 4, wide);
    let last = next();
    maps = trunk.convolution(&format!("{last}.0"), maps, plain(stage.channels, pixel));
    trunk.builder.batch_norm(&format!("{last}.1"), maps, EPSILON, 1.0)
}

fn excited(trunk: &mut Trunk, name: &str, input: NodeId, narrow: usize, wide: usize) -> NodeId {
    let pixel = Window::square(1, 1, 0);
    let means = trunk
        .builder
        .node(format!("{name}.avgpool"), Layer::Squeeze, &[input]);
    let weights = trunk.convolution(&format!("{name}.fc1"), means, biased(narrow, pixel));
    let weights = trunk
        .builder
        .node(format!("{name}.activation"), Layer::Silu, &[weights]);
    let weights = trunk.convolution(&format!("{name}.fc2"), weights, biased(wide, pixel));
    let weights = trunk
        .builder
        .node(format!("{name}.scale_activation"), Layer::Sigmoid, &[weights]);
    trunk.builder.node(name, Layer::Multiply, &[input, weights])
}

/// timm's names.
fn elsewhere(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        ["conv_stem", end] => Some(format!("features.0.0.{end}")),
        ["bn1", end] => Some(format!("features.0.1.{end}")),
        ["conv_head", end] => Some(format!("features.8.0.{end}")),
        ["bn2", end] => Some(format!("features.8.1.{end}")),
        ["classifier", end] => Some(format!("classifier.1.{end}")),
        ["blocks", stage, block, rest @ ..] => {
            let stage: usize = stage.parse().ok()?;
            // the first stage's block does not widen: it has one step less, and its norms count from there
            let (step, inside, end) = match (stage, rest) {
                (1.., ["conv_pw", end]) => (0, "0", end),
                (1.., ["bn1", end]) => (0, "1", end),
                (_, ["conv_dw", end]) => (1, "0", end),
                (0, ["bn1", end]) | (1.., ["bn2", end]) => (1, "1", end),
                (_, ["se", "conv_reduce", end]) => (2, "fc1", end),
                (_, ["se", "conv_expand", end]) => (2, "fc2", end),
                (0, ["conv_pw", end]) | (1.., ["conv_pwl", end]) => (3, "0", end),
                (0, ["bn2", end]) | (1.., ["bn3", end]) => (3, "1", end),
                _ => return None,
            };
            let step = if stage == 0 { step - 1 } else { step };
            Some(format!(
                "features.{}.{block}.block.{step}.{inside}.{end}",
                stage + 1
            ))
        }
        _ => None,
    }
}
