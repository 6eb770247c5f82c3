//! The small residual network: ResNet's basic blocks (He 2016) on few channels, for radiographs of any size.
//!
//! The head keeps its evidence visible: features, then a 1x1 convolution to one map for each label (output
//! `activation_map`), then one pooling over the whole map (output `logits`), then the temperature and the sigmoid
//! (output `probabilities`). With average pooling the map is the class activation map of Zhou 2016, and exact: the mean
//! of a linear function of the features is the linear function of their mean. With log-mean-exp pooling the logit is a
//! smooth maximum of the very map that is shown. Either way nothing stands between the map and the score but the
//! pooling.

use serde::{Deserialize, Serialize};

use super::graph::{Graph, GraphBuilder, NodeId};
use super::layer::{Convolution, Layer, Window};
use super::shape::GraphError;

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

/// The sizes of a small residual network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// 1 for grey, 3 for grey replicated to weights from elsewhere.
    pub channels: usize,
    /// Rows of the input.
    pub rows: usize,
    /// Columns of the input.
    pub columns: usize,
    /// Channels after the stem, a 3x3 convolution of stride 2.
    pub stem: usize,
    /// Channels of each stage; every stage halves the resolution in its first block.
    pub widths: Vec<usize>,
    /// Residual blocks of each stage, as many numbers as `widths`.
    pub blocks: Vec<usize>,
    /// Between the label maps and the logits.
    pub pooling: Pooling,
    /// Share of feature channels left out in training, before the label maps.
    pub dropout: f64,
}

impl Default for Residual {
    /// For a 192x256 pixel grey image on two cores: about 340,000 parameters, maps of a sixteenth of the input.
    fn default() -> Self {
        Self {
            channels: 1,
            rows: 256,
            columns: 192,
            stem: 16,
            widths: vec![16, 40, 96],
            blocks: vec![1, 2, 2],
            pooling: Pooling::LogMeanExp { sharpness: 1.0 },
            dropout: 0.1,
        }
    }
}

impl Residual {
    /// The network for `labels` labels, with its input tensor called `input_name`.
    pub fn graph(&self, input_name: &str, labels: usize) -> Result<Graph, GraphError> {
        if self.widths.is_empty() || self.widths.len() != self.blocks.len() {
            return Err(GraphError::Layer {
                node: "stage1".to_owned(),
                operation: "residual network",
                problem: format!(
                    "{} widths and {} block counts; one of each for every stage is needed",
                    self.widths.len(),
                    self.blocks.len()
                ),
            });
        }
        let mut builder = GraphBuilder::new("residual", input_name, [self.channels, self.rows, self.columns]);
        let stem = builder.convolution("stem.convolution", builder.input(), self.stem, 3, 2);
        let stem = norm(&mut builder, "stem.norm", stem, 1.0);
        let mut features = builder.node("stem.relu", Layer::Relu, &[stem]);
        let mut channels = self.stem;
        for (stage, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate() {
            for block in 0..blocks {
                let name = format!("stage{}.block{}", stage + 1, block + 1);
                let stride = if block == 0 { 2 } else { 1 };
                features = basic_block(
                    &mut builder,
                    &name,
                    features,
                    Change {
                        from: channels,
                        to: width,
                        stride,
                    },
                );
                channels = width;
            }
        }
        if self.dropout > 0.0 {
            features = builder.node(
                "dropout",
                Layer::Dropout {
                    probability: self.dropout,
                },
                &[features],
            );
        }
        head(&mut builder, features, labels, self.pooling);
        builder.finish()
    }
}

#[derive(Clone, Copy)]
struct Change {
    from: usize,
    to: usize,
    stride: usize,
}

fn norm(builder: &mut GraphBuilder, name: &str, input: NodeId, initial_scale: f64) -> NodeId {
    builder.node(
        name,
        Layer::BatchNorm {
            epsilon: 1e-5,
            momentum: 0.1,
            initial_scale,
        },
        &[input],
    )
}

/// Two 3x3 convolutions beside a shortcut; where the size changes, the shortcut is a 2x2 mean and a 1x1 convolution
/// (the "D" variant of He 2019, which loses no pixel).
fn basic_block(builder: &mut GraphBuilder, name: &str, input: NodeId, change: Change) -> NodeId {
    let first = builder.convolution(
        &format!("{name}.convolution1"),
        input,
        change.to,
        3,
        change.stride,
    );
    let first = norm(builder, &format!("{name}.norm1"), first, 1.0);
    let first = builder.node(format!("{name}.relu1"), Layer::Relu, &[first]);
    let second = builder.convolution(&format!("{name}.convolution2"), first, change.to, 3, 1);
    // starts as the identity, which lets the first steps be large
    let second = norm(builder, &format!("{name}.norm2"), second, 0.0);
    let mut shortcut = input;
    if change.stride != 1 {
        // an odd size keeps its last row, as the strided convolution does
        let window = Window {
            kernel: [3; 2],
            stride: [change.stride; 2],
            padding: [1; 2],
        };
        shortcut = builder.node(
            format!("{name}.shortcut_pool"),
            Layer::AveragePool(window),
            &[shortcut],
        );
    }
    if change.stride != 1 || change.from != change.to {
        shortcut = builder.convolution(&format!("{name}.shortcut"), shortcut, change.to, 1, 1);
        shortcut = norm(builder, &format!("{name}.shortcut_norm"), shortcut, 1.0);
    }
    let sum = builder.node(format!("{name}.add"), Layer::Add, &[second, shortcut]);
    builder.node(format!("{name}.relu2"), Layer::Relu, &[sum])
}

fn head(builder: &mut GraphBuilder, features: NodeId, labels: usize, pooling: Pooling) {
    let window = Window::square(1, 1, 0);
    let convolution = Convolution {
        output_channels: labels,
        window,
        groups: 1,
        bias: true,
    };
    let map = builder.node("label_map", Layer::Convolution(convolution), &[features]);
    let pool = match pooling {
        Pooling::Average => Layer::GlobalAveragePool,
        Pooling::LogMeanExp { sharpness } => Layer::GlobalLogMeanExp { sharpness },
    };
    let logits = builder.node("pool", pool, &[map]);
    let calibrated = builder.node("temperature", Layer::Scale, &[logits]);
    let probabilities = builder.node("sigmoid", Layer::Sigmoid, &[calibrated]);
    builder.output("probabilities", probabilities);
    builder.output("logits", logits);
    builder.output("activation_map", map);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::network::Shape;

    #[test]
    fn one_or_three_channels_and_odd_sizes_are_networks() {
        for (channels, rows, columns) in [(1, 256, 192), (3, 224, 224), (1, 97, 61)] {
            let graph = Residual {
                channels,
                rows,
                columns,
                ..Residual::default()
            }
            .graph("image", 2)
            .unwrap();
            let shapes = graph.shapes().unwrap();
            assert_eq!(
                shapes.of(graph.output("probabilities").unwrap()),
                Shape::Features(2)
            );
            let map = shapes.of(graph.output("activation_map").unwrap());
            assert_eq!(map, Shape::Maps([2, rows.div_ceil(16), columns.div_ceil(16)]));
        }
    }

    #[test]
    fn the_default_stays_under_two_megabytes() {
        let graph = Residual::default().graph("image", 2).unwrap();
        let parameters = graph.shapes().unwrap().trained_count(&graph);
        assert!((200_000..=450_000).contains(&parameters), "{parameters}");
    }

    #[test]
    fn a_graph_survives_its_file() {
        let graph = Residual::default().graph("image", 2).unwrap();
        let text = serde_json::to_string(&graph).unwrap();
        assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
    }
}
