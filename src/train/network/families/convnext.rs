//! ConvNeXt-Tiny (Liu 2022).
//!
//! Stem: 4x4 patches, a quarter of the input. Stages 1 to 4: `features.1`, `.3`, `.5` and `.7`, each with the halving before
//! it. Behind the last stage that is kept stands the norm of torchvision's classifier, which there comes after the pooling:
//! see [`Variance::Image`]. The matrices of torchvision's blocks are 1x1 convolutions here.

use super::super::graph::NodeId;
use super::super::layer::Convolution;
use super::super::layer::{Layer, Variance, Window};
use super::Family;
use super::trunk::{Trunk, biased, depthwise};

const EPSILON: f64 = 1e-6;
/// Channels and blocks of the four stages.
const STAGES: [(usize, usize); 4] = [(96, 3), (192, 3), (384, 9), (768, 3)];
/// The place of the last block.
const LAST_BLOCK: usize = 17;

/// 28 million parameters.
pub(super) static CONVNEXT_TINY: Family = Family {
    name: "convnext_tiny",
    title: "ConvNeXt-Tiny (Liu 2022)",
    stages: 4,
    dropout: 0.0,
    stochastic_depth: Some(0.1),
    hidden: None,
    features,
    classifier: "classifier.2",
    elsewhere,
};

fn features(trunk: &mut Trunk) -> NodeId {
    let patches = biased(STAGES[0].0, Window::square(4, 4, 0));
    let stem = trunk.convolution("features.0.0", trunk.builder.input(), patches);
    let mut features = norm(trunk, "features.0.1", stem, Variance::Pixel);
    let mut place = 0;
    for (stage, (channels, blocks)) in (1..).zip(STAGES) {
        if !trunk.begin(stage) {
            break;
        }
        if stage > 1 {
            let halving = format!("features.{}", 2 * stage - 2);
            features = norm(trunk, &format!("{halving}.0"), features, Variance::Pixel);
            let window = Window::square(2, 2, 0);
            features = trunk.convolution(&format!("{halving}.1"), features, biased(channels, window));
        }
        for number in 0..blocks {
            let name = format!("features.{}.{number}", 2 * stage - 1);
            features = block(trunk, &name, features, channels, place);
            place += 1;
        }
    }
    norm(trunk, "classifier.0", features, Variance::Image)
}

fn norm(trunk: &mut Trunk, name: &str, input: NodeId, variance: Variance) -> NodeId {
    let epsilon = EPSILON;
    trunk
        .builder
        .node(name, Layer::LayerNorm { epsilon, variance }, &[input])
}

fn block(trunk: &mut Trunk, name: &str, input: NodeId, channels: usize, place: usize) -> NodeId {
    let own = Convolution {
        bias: true,
        ..depthwise(channels, Window::square(7, 1, 3))
    };
    let pixel = Window::square(1, 1, 0);
    let branch = trunk.convolution(&format!("{name}.block.0"), input, own);
    let branch = norm(trunk, &format!("{name}.block.2"), branch, Variance::Pixel);
    let branch = trunk.convolution(&format!("{name}.block.3"), branch, biased(4 * channels, pixel));
    let branch = trunk
        .builder
        .node(format!("{name}.block.4"), Layer::Gelu, &[branch]);
    let branch = trunk.convolution(&format!("{name}.block.5"), branch, biased(channels, pixel));
    let branch = trunk
        .builder
        .node(name, Layer::LayerScale { initial: 1e-6 }, &[branch]);
    let branch = trunk.stochastic_depth(format!("{name}.stochastic_depth"), branch, place, LAST_BLOCK);
    trunk.add(format!("{name}.add"), input, branch)
}

/// timm's names.
fn elsewhere(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let even = |stage: &str| stage.parse().ok().map(|stage: usize| 2 * stage);
    match parts.as_slice() {
        ["stem", layer, end] => Some(format!("features.0.{layer}.{end}")),
        ["stages", stage, "downsample", layer, end] => {
            Some(format!("features.{}.{layer}.{end}", even(stage)?))
        }
        ["stages", stage, "blocks", block, rest @ ..] => {
            let block = format!("features.{}.{block}", even(stage)? + 1);
            match rest {
                ["gamma"] => Some(format!("{block}.layer_scale")),
                ["conv_dw", end] => Some(format!("{block}.block.0.{end}")),
                ["norm", end] => Some(format!("{block}.block.2.{end}")),
                ["mlp", "fc1", end] => Some(format!("{block}.block.3.{end}")),
                ["mlp", "fc2", end] => Some(format!("{block}.block.5.{end}")),
                _ => None,
            }
        }
        ["head", "norm", end] => Some(format!("classifier.0.{end}")),
        ["head", "fc", end] => Some(format!("classifier.2.{end}")),
        _ => None,
    }
}
