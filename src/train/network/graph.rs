//! The graph of layers that is a network.
//!
//! Nodes stand in execution order: a node's inputs come before it. Node 0, and no other, is the input. Names are unique
//! and become the names of parameters and of ONNX nodes. [`Graph::shapes`] checks all of it, so a graph that was read
//! from a file is checked by whoever uses it first.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::layer::{Convolution, Layer, Window};
use super::shape::{GraphError, Shapes};

/// The place of a node in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub usize);

/// Where a node stands between the image and the answer; earlier is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Before the first stage.
    Stem,
    /// One of the stages, counted from 1.
    Stage(usize),
    /// From features to answers.
    Head,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Stem => formatter.write_str("stem"),
            Part::Stage(stage) => write!(formatter, "stage {stage}"),
            Part::Head => formatter.write_str("head"),
        }
    }
}

/// One operation and where its inputs come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the graph; letters, digits and `_ . / -`.
    pub name: String,
    /// What it computes.
    pub layer: Layer,
    /// Nodes before this one, in the operation's own order.
    pub inputs: Vec<NodeId>,
    /// The part of the network that it belongs to.
    pub part: Part,
}

/// A value that the network answers, under the name that callers know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Unique among outputs.
    pub name: String,
    /// The node whose value it is.
    pub node: NodeId,
}

/// A network: typed layers in execution order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// The architecture's name, such as `residual`.
    pub name: String,
    /// `[channels, rows, columns]` of one image.
    pub input: [usize; 3],
    /// In execution order; the first is [`Layer::Input`], and its name is the name of the input tensor.
    pub nodes: Vec<Node>,
    /// At least one.
    pub outputs: Vec<Output>,
}

impl Graph {
    /// Infers the shape of every node, and so checks the whole graph.
    pub fn shapes(&self) -> Result<Shapes, GraphError> {
        Shapes::infer(self)
    }

    /// The node behind the output called `name`.
    pub fn output(&self, name: &str) -> Result<NodeId, GraphError> {
        self.outputs
            .iter()
            .find(|output| output.name == name)
            .map(|output| output.node)
            .ok_or_else(|| GraphError::UnknownOutput {
                name: name.to_owned(),
                known: self
                    .outputs
                    .iter()
                    .map(|output| output.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// The nodes that take the value of `node`.
    #[must_use]
    pub fn consumers(&self, node: NodeId) -> Vec<NodeId> {
        (0..self.nodes.len())
            .map(NodeId)
            .filter(|id| self.nodes[id.0].inputs.contains(&node))
            .collect()
    }
}

/// Builds a [`Graph`] node by node; mistakes are reported by [`GraphBuilder::finish`].
#[derive(Debug)]
pub struct GraphBuilder {
    graph: Graph,
    part: Part,
}

impl GraphBuilder {
    /// Starts a graph with its input tensor, called `input_name`, of `[channels, rows, columns]`.
    #[must_use]
    pub fn new(name: &str, input_name: &str, input: [usize; 3]) -> Self {
        let source = Node {
            name: input_name.to_owned(),
            layer: Layer::Input,
            inputs: Vec::new(),
            part: Part::Stem,
        };
        Self {
            part: Part::Stem,
            graph: Graph {
                name: name.to_owned(),
                input,
                nodes: vec![source],
                outputs: Vec::new(),
            },
        }
    }

    /// The input of the network.
    #[must_use]
    pub fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// What is appended from here on belongs to `part`.
    pub fn begin(&mut self, part: Part) {
        self.part = part;
    }

    /// Appends a node.
    pub fn node(&mut self, name: impl Into<String>, layer: Layer, inputs: &[NodeId]) -> NodeId {
        self.graph.nodes.push(Node {
            name: name.into(),
            layer,
            inputs: inputs.to_vec(),
            part: self.part,
        });
        NodeId(self.graph.nodes.len() - 1)
    }

    /// Appends a square convolution without bias that keeps `ceil(size / stride)`, the usual one before a batch norm.
    pub fn convolution(
        &mut self,
        name: &str,
        input: NodeId,
        output_channels: usize,
        kernel: usize,
        stride: usize,
    ) -> NodeId {
        let window = Window::square(kernel, stride, kernel / 2);
        self.node(
            name,
            Layer::Convolution(Convolution {
                output_channels,
                window,
                groups: 1,
                bias: false,
            }),
            &[input],
        )
    }

    /// Appends a batch norm with the usual momentum of 0.1.
    pub fn batch_norm(&mut self, name: &str, input: NodeId, epsilon: f64, initial_scale: f64) -> NodeId {
        let momentum = 0.1;
        self.node(
            name,
            Layer::BatchNorm {
                epsilon,
                momentum,
                initial_scale,
            },
            &[input],
        )
    }

    /// Appends a rectifier.
    pub fn relu(&mut self, name: impl Into<String>, input: NodeId) -> NodeId {
        self.node(name, Layer::Relu, &[input])
    }

    /// Names the value of `node` as an output of the network.
    pub fn output(&mut self, name: &str, node: NodeId) {
        self.graph.outputs.push(Output {
            name: name.to_owned(),
            node,
        });
    }

    /// The graph, checked.
    pub fn finish(self) -> Result<Graph, GraphError> {
        self.graph.shapes()?;
        Ok(self.graph)
    }
}
