//! The small residual network: ResNet's basic blocks (He 2016) on few channels, for radiographs of any size.

use serde::{Deserialize, Serialize};

use super::graph::{Graph, GraphBuilder, NodeId, Part};
use super::head::{Head, Pooling};
use super::layer::{Layer, Window};
use super::shape::GraphError;

/// Added to variances in batch norms.
const EPSILON: f64 = 1e-5;

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
            return Err(GraphError::Setting {
                setting: "widths and blocks",
                problem: format!(
                    "{} widths and {} block counts; one of each for every stage is needed",
                    self.widths.len(),
                    self.blocks.len()
                ),
            });
        }
        let mut builder = GraphBuilder::new("residual", input_name, [self.channels, self.rows, self.columns]);
        let stem = builder.convolution("stem.convolution", builder.input(), self.stem, 3, 2);
        let stem = builder.batch_norm("stem.norm", stem, EPSILON, 1.0);
        let mut features = builder.relu("stem.relu", stem);
        let mut channels = self.stem;
        for (stage, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate() {
            builder.begin(Part::Stage(stage + 1));
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
        let head = Head {
            labels,
            pooling: self.pooling,
            dropout: self.dropout,
        };
        head.append(&mut builder, features);
        builder.finish()
    }
}

#[derive(Clone, Copy)]
struct Change {
    from: usize,
    to: usize,
    stride: usize,
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
    let first = builder.batch_norm(&format!("{name}.norm1"), first, EPSILON, 1.0);
    let first = builder.relu(format!("{name}.relu1"), first);
    let second = builder.convolution(&format!("{name}.convolution2"), first, change.to, 3, 1);
    // starts as the identity, which lets the first steps be large
    let second = builder.batch_norm(&format!("{name}.norm2"), second, EPSILON, 0.0);
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
            Layer::AveragePool {
                window,
                padding_counts: false,
            },
            &[shortcut],
        );
    }
    if change.stride != 1 || change.from != change.to {
        shortcut = builder.convolution(&format!("{name}.shortcut"), shortcut, change.to, 1, 1);
        shortcut = builder.batch_norm(&format!("{name}.shortcut_norm"), shortcut, EPSILON, 1.0);
    }
    let sum = builder.node(format!("{name}.add"), Layer::Add, &[second, shortcut]);
    builder.relu(format!("{name}.relu2"), sum)
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
