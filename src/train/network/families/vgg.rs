//! VGG16 without batch norm (Simonyan and Zisserman 2015).
//!
//! Stages 1 to 5: the groups of 3x3 convolutions, each with the halving before it. Stage 6: the last halving and the two hidden
//! layers, as convolutions. That is how the publication scores whole images ("dense evaluation"): the first matrix is a
//! 7x7 convolution, the others are 1x1, and the label maps are averaged. At 224 pixels the map is one pixel and all is as in
//! torchvision; below that the hidden layers do not fit, and the network ends with stage 5 at the latest.

use super::super::graph::NodeId;
use super::super::layer::Window;
use super::Family;
use super::trunk::{Trunk, biased};

/// Channels and convolutions of the five groups.
const GROUPS: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

/// 138 million parameters, 15 million without the hidden layers.
pub(super) static VGG16: Family = Family {
    name: "vgg16",
    title: "VGG16 (Simonyan and Zisserman 2015)",
    stages: 6,
    dropout: 0.5,
    stochastic_depth: None,
    hidden: Some(4096),
    features,
    classifier: "classifier.6",
    elsewhere,
};

fn features(trunk: &mut Trunk) -> NodeId {
    let mut features = trunk.builder.input();
    // torchvision counts convolutions, rectifiers and pools alike
    let mut place = 0;
    for (stage, (channels, convolutions)) in (1..).zip(GROUPS) {
        if !trunk.begin(stage) {
            return features;
        }
        if stage > 1 {
            features = trunk.max_pool(format!("features.{place}"), features, Window::square(2, 2, 0));
            place += 1;
        }
        for _ in 0..convolutions {
            let kernel = biased(channels, Window::square(3, 1, 1));
            features = trunk.convolution(&format!("features.{place}"), features, kernel);
            features = trunk.builder.relu(format!("features.{}", place + 1), features);
            place += 2;
        }
    }
    if trunk.begin(6) {
        features = trunk.max_pool(format!("features.{place}"), features, Window::square(2, 2, 0));
        for (layer, kernel) in [(0, 7), (3, 1)] {
            let hidden = biased(trunk.hidden, Window::square(kernel, 1, 0));
            features = trunk.convolution(&format!("classifier.{layer}"), features, hidden);
            features = trunk.builder.relu(format!("classifier.{}", layer + 1), features);
            features = trunk.dropout(&format!("classifier.{}", layer + 2), features);
        }
    }
    features
}

/// timm's names.
fn elsewhere(name: &str) -> Option<String> {
    for (from, to) in [
        ("pre_logits.fc1.", "classifier.0."),
        ("pre_logits.fc2.", "classifier.3."),
        ("head.fc.", "classifier.6."),
    ] {
        if let Some(end) = name.strip_prefix(from) {
            return Some(format!("{to}{end}"));
        }
    }
    None
}
