//! DenseNet-121 (Huang 2017).
//!
//! Stem: 7x7 convolution and pooling, a quarter of the input. Stages 1 to 4: the dense blocks, each with the norm and the
//! rectifier behind it; a stage begins with the rest of the transition before it, which halves channels and resolution.

use super::super::graph::NodeId;
use super::super::layer::{Layer, Window};
use super::Family;
use super::trunk::{Trunk, plain};

const EPSILON: f64 = 1e-5;
/// Channels that each layer adds.
const GROWTH: usize = 32;
/// Channels between the two convolutions of a layer.
const BOTTLENECK: usize = 4 * GROWTH;
/// Layers of the four blocks.
const LAYERS: [usize; 4] = [6, 12, 24, 16];

/// 7 million parameters.
pub(super) static DENSENET121: Family = Family {
    name: "densenet121",
    title: "DenseNet-121 (Huang 2017)",
    stages: 4,
    dropout: 0.0,
    stochastic_depth: None,
    hidden: None,
    features,
    classifier: "classifier",
    elsewhere,
};

fn features(trunk: &mut Trunk) -> NodeId {
    let stem = trunk
        .builder
        .convolution("features.conv0", trunk.builder.input(), 64, 7, 2);
    let stem = trunk.builder.batch_norm("features.norm0", stem, EPSILON, 1.0);
    let stem = trunk.builder.relu("features.relu0", stem);
    let mut features = trunk.max_pool("features.pool0", stem, Window::square(3, 2, 1));
    let mut channels = 64;
    for (stage, layers) in (1..).zip(LAYERS) {
        if !trunk.begin(stage) {
            break;
        }
        if stage > 1 {
            let before = format!("features.transition{}", stage - 1);
            channels /= 2;
            let window = Window::square(1, 1, 0);
            features = trunk.convolution(&format!("{before}.conv"), features, plain(channels, window));
            let halves = Layer::AveragePool {
                window: Window::square(2, 2, 0),
                padding_counts: false,
            };
            features = trunk.builder.node(format!("{before}.pool"), halves, &[features]);
        }
        for layer in 1..=layers {
            let name = format!("features.denseblock{stage}.denselayer{layer}");
            let added = dense_layer(trunk, &name, features);
            features = trunk.builder.node(
                format!("{name}.concatenate"),
                Layer::Concatenate,
                &[features, added],
            );
        }
        channels += layers * GROWTH;
        let after = match stage {
            4 => "features.norm5".to_owned(),
            stage => format!("features.transition{stage}.norm"),
        };
        features = trunk.builder.batch_norm(&after, features, EPSILON, 1.0);
        features = trunk.builder.relu(format!("{after}.relu"), features);
    }
    features
}

fn dense_layer(trunk: &mut Trunk, name: &str, input: NodeId) -> NodeId {
    let mut branch = input;
    for (number, outputs, kernel) in [(1, BOTTLENECK, 1), (2, GROWTH, 3)] {
        branch = trunk
            .builder
            .batch_norm(&format!("{name}.norm{number}"), branch, EPSILON, 1.0);
        branch = trunk.builder.relu(format!("{name}.relu{number}"), branch);
        branch = trunk
            .builder
            .convolution(&format!("{name}.conv{number}"), branch, outputs, kernel, 1);
    }
    branch
}

/// torchvision's published file is older than its names: `norm.1` there is `norm1` today.
fn elsewhere(name: &str) -> Option<String> {
    let (block, layer) = name.split_once(".denselayer")?;
    let (place, inside) = layer.split_once('.')?;
    let (kind, rest) = inside.split_once('.')?;
    let old = ["norm", "relu", "conv"].contains(&kind);
    old.then(|| format!("{block}.denselayer{place}.{kind}{rest}"))
}
