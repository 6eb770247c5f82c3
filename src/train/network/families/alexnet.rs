//! AlexNet in its second, narrower form (Krizhevsky 2014), as torchvision has it.
//!
//! Stage 1: the first convolution. Stage 2: pooling and the second. Stage 3: pooling and the other three. Stage 4: the last
//! pooling and the two hidden layers, as a 6x6 and a 1x1 convolution, so that any size from 223 pixels on makes a map. At
//! 224 pixels all is as in torchvision.

use super::super::graph::NodeId;
use super::super::layer::Window;
use super::trunk::{Trunk, biased};
use super::{Family, same_everywhere};

/// 61 million parameters, 2.5 million without the hidden layers.
pub(super) static ALEXNET: Family = Family {
    name: "alexnet",
    title: "AlexNet (Krizhevsky 2014)",
    stages: 4,
    dropout: 0.5,
    stochastic_depth: None,
    hidden: Some(4096),
    features,
    classifier: "classifier.6",
    elsewhere: same_everywhere,
};

/// One convolution: its place among torchvision's layers, its channels, and kernel, stride and padding.
type Step = (usize, usize, [usize; 3]);

/// The convolutions of the first three stages.
const STAGES: [&[Step]; 3] = [
    &[(0, 64, [11, 4, 2])],
    &[(3, 192, [5, 1, 2])],
    &[(6, 384, [3, 1, 1]), (8, 256, [3, 1, 1]), (10, 256, [3, 1, 1])],
];

fn features(trunk: &mut Trunk) -> NodeId {
    let pool = Window::square(3, 2, 0);
    let mut features = trunk.builder.input();
    for (stage, convolutions) in (1..).zip(STAGES) {
        if !trunk.begin(stage) {
            return features;
        }
        if stage > 1 {
            let place = convolutions[0].0 - 1;
            features = trunk.max_pool(format!("features.{place}"), features, pool);
        }
        for (place, channels, [kernel, stride, padding]) in convolutions {
            let own = biased(*channels, Window::square(*kernel, *stride, *padding));
            features = trunk.convolution(&format!("features.{place}"), features, own);
            features = trunk.builder.relu(format!("features.{}", place + 1), features);
        }
    }
    if trunk.begin(4) {
        features = trunk.max_pool("features.12", features, pool);
        for (layer, kernel) in [(1, 6), (4, 1)] {
            features = trunk.dropout(&format!("classifier.{}", layer - 1), features);
            let hidden = biased(trunk.hidden, Window::square(kernel, 1, 0));
            features = trunk.convolution(&format!("classifier.{layer}"), features, hidden);
            features = trunk.builder.relu(format!("classifier.{}", layer + 1), features);
        }
    }
    features
}
