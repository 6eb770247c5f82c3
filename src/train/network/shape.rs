//! Shape inference: from the input's shape to every node's, with the node's name in every error.
//!
//! Invariant: whoever holds [`Shapes`] holds a graph whose names, order, arities and sizes fit together. Shapes leave
//! the batch dimension out.

use std::collections::BTreeSet;
use std::fmt;

use super::graph::{Graph, Node, NodeId};
use super::layer::{Layer, Parameter, Role, Window};

/// The shape of one node's value for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[channels, rows, columns]`.
    Maps([usize; 3]),
    /// `[features]`.
    Features(usize),
}

impl Shape {
    /// Channels of maps, or the number of features.
    #[must_use]
    pub fn channels(&self) -> usize {
        match self {
            Shape::Maps([channels, ..]) => *channels,
            Shape::Features(features) => *features,
        }
    }

    /// The sizes without the batch.
    #[must_use]
    pub fn dimensions(&self) -> Vec<usize> {
        match self {
            Shape::Maps(maps) => maps.to_vec(),
            Shape::Features(features) => vec![*features],
        }
    }

    /// How many numbers one image has here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.dimensions().iter().product()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.dimensions().iter().map(usize::to_string).collect();
        formatter.write_str(&sizes.join("x"))
    }
}

/// Why a graph is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Node 0 has to be the input, and no other node may be.
    #[error(
        "node `{node}`: the input must be node 0 and only there, with rows, columns and channels of at least 1"
    )]
    Input {
        /// The node.
        node: String,
    },
    /// A name that is empty, taken or has other characters.
    #[error("node `{node}`: a name must be unique and made of letters, digits and _ . / -")]
    Name {
        /// The node.
        node: String,
    },
    /// A node that reads from itself or from a later node.
    #[error("node `{node}`: takes node {input}, which does not come before it")]
    Order {
        /// The node.
        node: String,
        /// The input's place.
        input: usize,
    },
    /// Inputs or settings that the operation cannot take.
    #[error("node `{node}` ({operation}): {problem}")]
    Layer {
        /// The node.
        node: String,
        /// The operation's name.
        operation: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A setting that makes no network.
    #[error("{setting}: {problem}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// No output, an output of a missing node, or two outputs of one name.
    #[error("output `{name}`: must have a name of its own and name a node of the graph")]
    Output {
        /// The output.
        name: String,
    },
    /// An output that was asked for and does not exist.
    #[error("no output `{name}`; the network has {known}")]
    UnknownOutput {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
}

/// The shape of every node of one checked graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shapes {
    shapes: Vec<Shape>,
}

impl Shapes {
    /// Infers every shape in execution order, and checks names, order and outputs on the way.
    pub fn infer(graph: &Graph) -> Result<Self, GraphError> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(graph.nodes.len());
        let mut names = BTreeSet::new();
        for (place, node) in graph.nodes.iter().enumerate() {
            let plain = |character: char| character.is_ascii_alphanumeric() || "_./-".contains(character);
            if node.name.is_empty() || !node.name.chars().all(plain) || !names.insert(node.name.as_str()) {
                return Err(GraphError::Name {
                    node: node.name.clone(),
                });
            }
            if (place == 0) != (node.layer == Layer::Input) || (place == 0 && graph.input.contains(&0)) {
                return Err(GraphError::Input {
                    node: node.name.clone(),
                });
            }
            if place == 0 {
                shapes.push(Shape::Maps(graph.input));
                continue;
            }
            if let Some(input) = node.inputs.iter().find(|input| input.0 >= place) {
                return Err(GraphError::Order {
                    node: node.name.clone(),
                    input: input.0,
                });
            }
            let inputs: Vec<Shape> = node.inputs.iter().map(|input| shapes[input.0]).collect();
            let shape = layer_shape(&node.layer, &inputs).map_err(|problem| GraphError::Layer {
                node: node.name.clone(),
                operation: node.layer.operation(),
                problem,
            })?;
            shapes.push(shape);
        }
        let mut outputs = BTreeSet::new();
        for output in &graph.outputs {
            if output.node.0 >= graph.nodes.len()
                || output.name.is_empty()
                || !outputs.insert(output.name.as_str())
            {
                return Err(GraphError::Output {
                    name: output.name.clone(),
                });
            }
        }
        if outputs.is_empty() {
            return Err(GraphError::Output { name: String::new() });
        }
        Ok(Self { shapes })
    }

    /// The shape of one node.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Shape {
        self.shapes[node.0]
    }

    /// The shapes that a node takes.
    #[must_use]
    pub fn inputs(&self, node: &Node) -> Vec<Shape> {
        node.inputs.iter().map(|input| self.of(*input)).collect()
    }

    /// Every parameter of the graph under its full name, in execution order.
    #[must_use]
    pub fn parameters(&self, graph: &Graph) -> Vec<(String, Parameter)> {
        let named = |node: &Node| {
            let name = node.name.clone();
            let parameters = node.layer.parameters(&self.inputs(node));
            parameters
                .into_iter()
                .map(move |parameter| (format!("{name}.{}", parameter.suffix), parameter))
        };
        graph.nodes.iter().flat_map(named).collect()
    }

    /// Numbers that training changes by gradient.
    #[must_use]
    pub fn trained_count(&self, graph: &Graph) -> usize {
        let trained = |role| matches!(role, Role::Kernel { .. } | Role::Vector);
        self.parameters(graph)
            .iter()
            .filter(|(_, parameter)| trained(parameter.role))
            .map(|(_, p)| p.count())
            .sum()
    }

    /// Multiply-accumulate operations of one node for one image; only convolutions and matrices count.
    #[must_use]
    pub fn multiply_accumulates(&self, graph: &Graph, node: NodeId) -> usize {
        let inputs = self.inputs(&graph.nodes[node.0]);
        match &graph.nodes[node.0].layer {
            Layer::Convolution(convolution) => {
                let [rows, columns] = convolution.window.kernel;
                self.of(node).count() * rows * columns * inputs[0].channels() / convolution.groups
            }
            Layer::Linear { output_features, .. } => output_features * inputs[0].channels(),
            _ => 0,
        }
    }
}

fn layer_shape(layer: &Layer, inputs: &[Shape]) -> Result<Shape, String> {
    match layer {
        Layer::Add | Layer::Mean | Layer::Concatenate => return merged(layer, inputs),
        Layer::Multiply => return weighed(inputs),
        _ => {}
    }
    let [input] = inputs else {
        return Err(format!("takes one input, not {}", inputs.len()));
    };
    match layer {
        Layer::Convolution(convolution) => {
            let groups = convolution.groups;
            let [channels, rows, columns] = maps(input)?;
            if groups == 0 || channels % groups != 0 || convolution.output_channels % groups != 0 {
                let outputs = convolution.output_channels;
                return Err(format!(
                    "{groups} groups must divide {channels} input and {outputs} output channels"
                ));
            }
            if convolution.output_channels == 0 {
                return Err("makes no channels; at least 1 is needed".to_owned());
            }
            let [rows, columns] = slide(convolution.window, [rows, columns])?;
            Ok(Shape::Maps([convolution.output_channels, rows, columns]))
        }
        Layer::MaxPool(window) | Layer::AveragePool { window, .. } => {
            let [channels, rows, columns] = maps(input)?;
            if (0..2).any(|axis| 2 * window.padding[axis] > window.kernel[axis]) {
                return Err(format!(
                    "padding {:?} is over half the kernel {:?}",
                    window.padding, window.kernel
                ));
            }
            let [rows, columns] = slide(*window, [rows, columns])?;
            Ok(Shape::Maps([channels, rows, columns]))
        }
        Layer::Squeeze => Ok(Shape::Maps([maps(input)?[0], 1, 1])),
        Layer::GlobalAveragePool => Ok(Shape::Features(maps(input)?[0])),
        Layer::GlobalLogMeanExp { sharpness } => {
            within(
                "sharpness",
                *sharpness,
                *sharpness > 0.0 && sharpness.is_finite(),
                "positive",
            )?;
            Ok(Shape::Features(maps(input)?[0]))
        }
        Layer::Flatten => Ok(Shape::Features(maps(input)?.iter().product())),
        Layer::Linear { output_features, .. } => match (input, output_features) {
            (_, 0) => Err("makes no features; at least 1 is needed".to_owned()),
            (Shape::Features(_), _) => Ok(Shape::Features(*output_features)),
            (Shape::Maps(_), _) => Err(format!(
                "takes features, not maps of {input}; pool or flatten them before"
            )),
        },
        Layer::Scale | Layer::Softmax => features(input).map(Shape::Features),
        Layer::BatchNorm {
            epsilon, momentum, ..
        } => {
            within("epsilon", *epsilon, *epsilon > 0.0, "positive")?;
            within(
                "momentum",
                *momentum,
                (0.0..=1.0).contains(momentum),
                "from 0 to 1",
            )?;
            maps(input).map(Shape::Maps)
        }
        Layer::LayerNorm { epsilon, .. } => {
            within("epsilon", *epsilon, *epsilon > 0.0, "positive")?;
            maps(input).map(Shape::Maps)
        }
        Layer::LayerScale { .. } | Layer::Mirror => maps(input).map(Shape::Maps),
        Layer::Dropout { probability } | Layer::StochasticDepth { probability } => {
            within(
                "probability",
                *probability,
                (0.0..1.0).contains(probability),
                "from 0 to below 1",
            )?;
            Ok(*input)
        }
        Layer::Slice { first, count } => match input {
            _ if *count == 0 || first + count > input.channels() => Err(format!(
                "{count} from {first} on are not among {} channels or features",
                input.channels()
            )),
            Shape::Maps([_, rows, columns]) => Ok(Shape::Maps([*count, *rows, *columns])),
            Shape::Features(_) => Ok(Shape::Features(*count)),
        },
        Layer::Probabilities => features(input).map(|count| Shape::Features(2 * count)),
        Layer::LogOdds => halved(input),
        Layer::Relu | Layer::Gelu | Layer::Silu | Layer::Sigmoid | Layer::Unmirror => Ok(*input),
        Layer::Input | Layer::Add | Layer::Mean | Layer::Multiply | Layer::Concatenate => {
            Err("cannot stand here".to_owned())
        }
    }
}

fn merged(layer: &Layer, inputs: &[Shape]) -> Result<Shape, String> {
    let [first, others @ ..] = inputs else {
        return Err("takes two or more inputs, not none".to_owned());
    };
    if others.is_empty() {
        return Err("takes two or more inputs, not one".to_owned());
    }
    let mut shape = *first;
    for other in others {
        shape = match (layer, shape, other) {
            (Layer::Add | Layer::Mean, left, right) if left == *right => left,
            (
                Layer::Concatenate,
                Shape::Maps([left, rows, columns]),
                Shape::Maps([right, other_rows, other_columns]),
            ) if [rows, columns] == [*other_rows, *other_columns] => {
                Shape::Maps([left + right, rows, columns])
            }
            (Layer::Concatenate, Shape::Features(left), Shape::Features(right)) => {
                Shape::Features(left + right)
            }
            _ => return Err(format!("inputs of {first} and {other} do not fit together")),
        };
    }
    Ok(shape)
}

fn weighed(inputs: &[Shape]) -> Result<Shape, String> {
    match inputs {
        [
            Shape::Maps([channels, rows, columns]),
            Shape::Maps([weights, 1, 1]),
        ] if channels == weights => Ok(Shape::Maps([*channels, *rows, *columns])),
        [left, right] => Err(format!(
            "takes maps and one pixel of as many channels, not {left} and {right}"
        )),
        _ => Err(format!("takes two inputs, not {}", inputs.len())),
    }
}

fn halved(shape: &Shape) -> Result<Shape, String> {
    match features(shape)? {
        count if count % 2 == 0 => Ok(Shape::Features(count / 2)),
        count => Err(format!(
            "{count} features are not probabilities and those of the opposite"
        )),
    }
}

fn maps(shape: &Shape) -> Result<[usize; 3], String> {
    match shape {
        Shape::Maps(maps) => Ok(*maps),
        Shape::Features(features) => Err(format!("takes maps, not {features} features")),
    }
}

fn features(shape: &Shape) -> Result<usize, String> {
    match shape {
        Shape::Features(features) => Ok(*features),
        Shape::Maps(_) => Err(format!("takes features, not maps of {shape}")),
    }
}

fn within(what: &str, value: f64, holds: bool, range: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("{what} is {value}; it must be {range}"))
    }
}

fn slide(window: Window, size: [usize; 2]) -> Result<[usize; 2], String> {
    let mut result = [0; 2];
    for axis in 0..2 {
        let padded = size[axis] + 2 * window.padding[axis];
        let (kernel, stride) = (window.kernel[axis], window.stride[axis]);
        if kernel == 0 || stride == 0 || kernel > padded {
            return Err(format!(
                "a kernel of {kernel} with stride {stride} does not fit {padded} padded pixels"
            ));
        }
        result[axis] = (padded - kernel) / stride + 1;
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::super::graph::GraphBuilder;
    use super::*;

    #[test]
    fn an_error_names_the_node_and_says_what_would_be_right() {
        let mut builder = GraphBuilder::new("test", "image", [1, 8, 6]);
        let maps = builder.convolution("stem", builder.input(), 4, 3, 2);
        let logits = builder.node(
            "head",
            Layer::Linear {
                output_features: 2,
                bias: true,
            },
            &[maps],
        );
        builder.output("logits", logits);
        let error = builder.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "node `head` (linear): takes features, not maps of 4x4x3; pool or flatten them before"
        );
    }

    #[test]
    fn a_repeated_name_and_a_forward_edge_are_refused() {
        let mut builder = GraphBuilder::new("test", "image", [1, 8, 6]);
        let relu = builder.node("image", Layer::Relu, &[NodeId(0)]);
        builder.output("out", relu);
        assert_eq!(
            builder.finish().unwrap_err(),
            GraphError::Name {
                node: "image".to_owned()
            }
        );
        let mut builder = GraphBuilder::new("test", "image", [1, 8, 6]);
        let relu = builder.node("relu", Layer::Relu, &[NodeId(1)]);
        builder.output("out", relu);
        assert_eq!(
            builder.finish().unwrap_err(),
            GraphError::Order {
                node: "relu".to_owned(),
                input: 1
            }
        );
    }

    #[test]
    fn odd_sizes_round_as_convolutions_do() {
        let mut builder = GraphBuilder::new("test", "image", [3, 9, 7]);
        let stem = builder.convolution("stem", builder.input(), 8, 3, 2);
        builder.output("stem", stem);
        let graph = builder.finish().unwrap();
        let shapes = graph.shapes().unwrap();
        assert_eq!(shapes.of(stem), Shape::Maps([8, 5, 4]));
        assert_eq!(shapes.trained_count(&graph), 8 * 3 * 9);
        assert_eq!(shapes.multiply_accumulates(&graph, stem), 8 * 20 * 27);
    }
}
