//! The head that every network has: from features to answers, with the evidence visible.
//!
//! Features, then a 1x1 convolution to one map for each label (output `activation_map`), then one pooling over the whole map
//! (output `logits`), then the temperature and the sigmoid (output `probabilities`). With average pooling the map is the
//! class activation map of Zhou 2016, and exact: the mean of a linear function of the features is the linear function of
//! their mean. With log-mean-exp pooling the logit is a smooth maximum of the very map that is shown. Either way nothing
//! stands between the map and the score but the pooling. Beside it, the features' means are the output `embedding`.

use serde::{Deserialize, Serialize};

use super::graph::{GraphBuilder, NodeId, Part};
use super::layer::{Convolution, Layer, Window};

/// The node that makes the label maps.
pub const LABEL_MAP: &str = "label_map";

/// How a label's map becomes its logit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean: evidence adds up over the image, as for a property of all bone.
    Average,
    /// Near the maximum: one place is enough, as for a focal finding.
    LogMeanExp {
        /// How near; 1 is soft, 10 nearly the maximum.
        sharpness: f64,
    },
}

/// What there is to choose about a head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Head {
    /// Maps, logits and probabilities that it makes.
    pub(super) labels: usize,
    /// From maps to logits.
    pub(super) pooling: Pooling,
    /// Share of feature channels left out in training, before the label maps.
    pub(super) dropout: f64,
}

impl Head {
    /// Appends the head to what makes `features`, and names the network's outputs.
    pub(super) fn append(self, builder: &mut GraphBuilder, features: NodeId) {
        builder.begin(Part::Head);
        let embedding = builder.node("embedding", Layer::GlobalAveragePool, &[features]);
        let mut kept = features;
        if self.dropout > 0.0 {
            let probability = self.dropout;
            kept = builder.node("dropout", Layer::Dropout { probability }, &[features]);
        }
        let convolution = Convolution {
            output_channels: self.labels,
            window: Window::square(1, 1, 0),
            groups: 1,
            bias: true,
        };
        let map = builder.node(LABEL_MAP, Layer::Convolution(convolution), &[kept]);
        let pool = match self.pooling {
            Pooling::Average => Layer::GlobalAveragePool,
            Pooling::LogMeanExp { sharpness } => Layer::GlobalLogMeanExp { sharpness },
        };
        let logits = builder.node("pool", pool, &[map]);
        let calibrated = builder.node("temperature", Layer::Scale, &[logits]);
        let probabilities = builder.node("sigmoid", Layer::Sigmoid, &[calibrated]);
        builder.output("probabilities", probabilities);
        builder.output("logits", logits);
        builder.output("activation_map", map);
        builder.output("embedding", embedding);
    }
}
