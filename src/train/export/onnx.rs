//! A graph and its weights printed as an ONNX file: opset 17, weights inside, any batch size.
//!
//! Batch norms are folded away and dropout is left out, as both do nothing of their own outside training. Node and
//! weight names stay those of the graph; inputs and outputs have the names that callers know. Equal input gives equal
//! bytes, so a digest names a model.

use std::collections::BTreeMap;

use prost::Message;

use super::super::network::{Graph, Layer, Node, NodeId, Shape, Shapes, Weights, WeightsError, Window};
use super::fold::fold_batch_norms;
use crate::model::onnx_format::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto,
    type_proto,
};

/// The operator set that is written; every operator below exists in it.
pub const OPSET: i64 = 17;
/// The file format that belongs to opset 17 (ONNX 1.12).
pub const IR_VERSION: i64 = 8;
/// The name of the dimension that callers choose.
pub const BATCH_DIMENSION: &str = "batch";

/// Why a network cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Weights or graph do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Two values of one name.
    #[error("`{name}` is the name of two values in the file; outputs must not be called like other nodes")]
    Name {
        /// The name.
        name: String,
    },
}

/// The bytes of the file; `metadata` becomes its `metadata_props`.
pub fn export_onnx(
    graph: &Graph,
    weights: &Weights,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, ExportError> {
    let (graph, weights) = fold_batch_norms(graph, weights)?;
    let shapes = graph.shapes().map_err(WeightsError::from)?;
    let mut printer = Printer {
        names: value_names(&graph)?,
        graph: &graph,
        shapes: &shapes,
        nodes: Vec::new(),
    };
    for place in 1..graph.nodes.len() {
        printer.print(NodeId(place));
    }
    printer.repeated_outputs();
    let mut initializer: Vec<TensorProto> = Vec::new();
    for (name, _) in shapes.parameters(&graph) {
        let tensor = weights.get(&name)?;
        initializer.push(TensorProto {
            dims: tensor.shape.iter().map(|size| *size as i64).collect(),
            data_type: DataType::Float as i32,
            raw_data: tensor
                .values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            name,
            ..TensorProto::default()
        });
    }
    for (name, value) in printer.constants() {
        let raw_data = value.to_le_bytes().to_vec();
        let data_type = DataType::Float as i32;
        initializer.push(TensorProto {
            dims: Vec::new(),
            data_type,
            raw_data,
            name,
            ..TensorProto::default()
        });
    }
    let output = graph
        .outputs
        .iter()
        .map(|output| value_info(&output.name, shapes.of(output.node)))
        .collect();
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
        graph: Some(GraphProto {
            node: printer.nodes,
            name: graph.name.clone(),
            initializer,
            input: vec![value_info(&graph.nodes[0].name, Shape::Maps(graph.input))],
            output,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    Ok(model.encode_to_vec())
}

/// The name of each node's value: that of the first output that shows it, or else the node's own.
fn value_names(graph: &Graph) -> Result<Vec<String>, ExportError> {
    let mut names: Vec<String> = graph.nodes.iter().map(|node| node.name.clone()).collect();
    for output in graph.outputs.iter().rev() {
        // the input's value cannot be renamed; it gets a node of its own
        if output.node != NodeId(0) {
            names[output.node.0].clone_from(&output.name);
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    let shown = graph
        .outputs
        .iter()
        .filter(|output| names[output.node.0] != output.name)
        .map(|output| &output.name);
    match names.iter().chain(shown).find(|name| !seen.insert(*name)) {
        Some(name) => Err(ExportError::Name { name: name.clone() }),
        None => Ok(names),
    }
}

struct Printer<'a> {
    graph: &'a Graph,
    shapes: &'a Shapes,
    names: Vec<String>,
    nodes: Vec<NodeProto>,
}

impl Printer<'_> {
    fn print(&mut self, id: NodeId) {
        let node = &self.graph.nodes[id.0];
        let inputs: Vec<String> = node
            .inputs
            .iter()
            .map(|input| self.names[input.0].clone())
            .collect();
        let output = self.names[id.0].clone();
        let with = |own: &[&str]| -> Vec<String> {
            let own = own.iter().map(|suffix| format!("{}.{suffix}", node.name));
            inputs.iter().cloned().chain(own).collect()
        };
        let (operator, inputs, attributes) = match &node.layer {
            Layer::Input => return,
            Layer::Convolution(convolution) => {
                let mut attributes = window_attributes(convolution.window);
                attributes.push(integer("group", convolution.groups as i64));
                attributes.push(integers("dilations", &[1, 1]));
                let own: &[&str] = if convolution.bias {
                    &["weight", "bias"]
                } else {
                    &["weight"]
                };
                ("Conv", with(own), attributes)
            }
            Layer::BatchNorm { epsilon, .. } => {
                let own = ["weight", "bias", "running_mean", "running_var"];
                (
                    "BatchNormalization",
                    with(&own),
                    vec![real("epsilon", *epsilon as f32)],
                )
            }
            Layer::Relu => ("Relu", inputs, Vec::new()),
            Layer::MaxPool(window) => ("MaxPool", inputs, window_attributes(*window)),
            Layer::AveragePool(window) => {
                let mut attributes = window_attributes(*window);
                attributes.push(integer("count_include_pad", 0));
                ("AveragePool", inputs, attributes)
            }
            Layer::GlobalAveragePool => {
                let pooled = self.push(node, "pooled", "GlobalAveragePool", inputs, Vec::new());
                ("Flatten", vec![pooled], vec![integer("axis", 1)])
            }
            Layer::GlobalLogMeanExp { .. } => return self.log_mean_exp(node, inputs, output),
            Layer::Add => return self.add(node, inputs, &output),
            Layer::Concatenate => ("Concat", inputs, vec![integer("axis", 1)]),
            Layer::Linear { bias, .. } => {
                let own: &[&str] = if *bias { &["weight", "bias"] } else { &["weight"] };
                ("Gemm", with(own), vec![integer("transB", 1)])
            }
            Layer::Flatten => ("Flatten", inputs, vec![integer("axis", 1)]),
            Layer::Sigmoid => ("Sigmoid", inputs, Vec::new()),
            Layer::Scale => ("Mul", with(&["scale"]), Vec::new()),
            Layer::Dropout { .. } => {
                // nothing in use; its readers read its input, unless callers know the value by name
                if self.graph.outputs.iter().all(|shown| shown.node != id) {
                    self.names[id.0].clone_from(&inputs[0]);
                    return;
                }
                ("Identity", inputs, Vec::new())
            }
            Layer::Slice { first, count } => {
                let (first, last) = (*first as i64, (first + count) as i64);
                (
                    "Slice",
                    self.slice(node, "", &inputs[0], [&[first], &[last], &[1], &[1]]),
                    Vec::new(),
                )
            }
            Layer::Softmax => ("Softmax", inputs, vec![integer("axis", 1)]),
            Layer::Mean => ("Mean", inputs, Vec::new()),
            Layer::Mirror => {
                let slice = self.slice(node, "", &inputs[0], [&[-1], &[i64::MIN], &[3], &[-1]]);
                let mirrored = self.push(node, "mirrored", "Slice", slice, Vec::new());
                (
                    "Concat",
                    vec![inputs[0].clone(), mirrored],
                    vec![integer("axis", 0)],
                )
            }
            Layer::Unmirror => ("Reshape", self.unmirrored(node, &inputs[0]), Vec::new()),
        };
        self.nodes
            .push(node_proto(&node.name, operator, inputs, output, attributes));
    }

    /// Appends a node between, and answers the name of its value.
    fn push(
        &mut self,
        node: &Node,
        part: &str,
        operator: &str,
        inputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) -> String {
        let name = format!("{}/{part}", node.name);
        self.nodes
            .push(node_proto(&name, operator, inputs, name.clone(), attributes));
        name
    }

    /// Whole numbers as a value that other nodes can take.
    fn numbers(&mut self, node: &Node, part: &str, numbers: &[i64]) -> String {
        self.push(
            node,
            part,
            "Constant",
            Vec::new(),
            vec![integers("value_ints", numbers)],
        )
    }

    /// What a `Slice` of `input` takes, for firsts, ends, axes and steps.
    fn slice(
        &mut self,
        node: &Node,
        prefix: &str,
        input: &str,
        [first, end, axes, step]: [&[i64]; 4],
    ) -> Vec<String> {
        let parts = [("from", first), ("to", end), ("axes", axes), ("step", step)];
        let numbers = parts.map(|(part, numbers)| self.numbers(node, &format!("{prefix}{part}"), numbers));
        std::iter::once(input.to_owned()).chain(numbers).collect()
    }

    /// The two halves of the batch side by side, the second mirrored back, and their mean; answers what the last reshape takes.
    fn unmirrored(&mut self, node: &Node, input: &str) -> Vec<String> {
        let dimensions = self.shapes.of(node.inputs[0]).dimensions();
        let sizes: Vec<i64> = dimensions.iter().map(|size| *size as i64).collect();
        let halves = self.numbers(node, "halves_shape", &[&[2, -1], sizes.as_slice()].concat());
        let halves = self.push(
            node,
            "halves",
            "Reshape",
            vec![input.to_owned(), halves],
            Vec::new(),
        );
        let seen = self.slice(node, "seen_", &halves, [&[0], &[1], &[0], &[1]]);
        let seen = self.push(node, "seen", "Slice", seen, Vec::new());
        let mirrored = if sizes.len() == 3 {
            self.slice(
                node,
                "mirrored_",
                &halves,
                [&[1, -1], &[2, i64::MIN], &[0, 4], &[1, -1]],
            )
        } else {
            self.slice(node, "mirrored_", &halves, [&[1], &[2], &[0], &[1]])
        };
        let mirrored = self.push(node, "mirrored", "Slice", mirrored, Vec::new());
        let mean = self.push(node, "mean", "Mean", vec![seen, mirrored], Vec::new());
        let shape = self.numbers(node, "shape", &[&[-1], sizes.as_slice()].concat());
        vec![mean, shape]
    }

    /// `Add` takes two values, so more become a chain.
    fn add(&mut self, node: &Node, inputs: Vec<String>, output: &str) {
        let last = inputs.len() - 1;
        let mut sum = String::new();
        for (place, input) in inputs.into_iter().enumerate() {
            sum = match place {
                0 => input,
                place if place < last => {
                    self.push(node, &format!("sum{place}"), "Add", vec![sum, input], Vec::new())
                }
                _ => {
                    self.nodes.push(node_proto(
                        &node.name,
                        "Add",
                        vec![sum, input],
                        output.to_owned(),
                        Vec::new(),
                    ));
                    output.to_owned()
                }
            };
        }
    }

    /// `(log(sum(exp(s * map))) - log(pixels)) / s`.
    fn log_mean_exp(&mut self, node: &Node, inputs: Vec<String>, output: String) {
        let constant = |part: &str| format!("{}.{part}", node.name);
        let sharpened = self.push(
            node,
            "sharpened",
            "Mul",
            inputs.into_iter().chain([constant("sharpness")]).collect(),
            Vec::new(),
        );
        let axes = vec![integers("axes", &[2, 3]), integer("keepdims", 0)];
        let sum = self.push(node, "sum", "ReduceLogSumExp", vec![sharpened], axes);
        let mean = self.push(node, "mean", "Sub", vec![sum, constant("log_pixels")], Vec::new());
        self.nodes.push(node_proto(
            &node.name,
            "Div",
            vec![mean, constant("sharpness")],
            output,
            Vec::new(),
        ));
    }

    /// Scalars that no parameter holds.
    fn constants(&self) -> Vec<(String, f32)> {
        let mut constants = Vec::new();
        for node in &self.graph.nodes {
            if let (Layer::GlobalLogMeanExp { sharpness }, [input]) = (&node.layer, node.inputs.as_slice()) {
                let shape = self.shapes.of(*input);
                let pixels = shape.count() as f64 / shape.channels() as f64;
                constants.push((format!("{}.sharpness", node.name), *sharpness as f32));
                constants.push((format!("{}.log_pixels", node.name), pixels.ln() as f32));
            }
        }
        constants
    }

    /// A second name for one value needs a node that copies it.
    fn repeated_outputs(&mut self) {
        for output in &self.graph.outputs {
            let value = &self.names[output.node.0];
            if *value != output.name {
                let inputs = vec![value.clone()];
                self.nodes.push(node_proto(
                    &output.name,
                    "Identity",
                    inputs,
                    output.name.clone(),
                    Vec::new(),
                ));
            }
        }
    }
}

fn node_proto(
    name: &str,
    operator: &str,
    input: Vec<String>,
    output: String,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    let (name, op_type) = (name.to_owned(), operator.to_owned());
    NodeProto {
        input,
        output: vec![output],
        name,
        op_type,
        attribute,
        domain: String::new(),
    }
}

fn value_info(name: &str, shape: Shape) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, Value};
    let batch = Dimension {
        value: Some(Value::DimParam(BATCH_DIMENSION.to_owned())),
    };
    let sizes = shape.dimensions().into_iter().map(|size| Dimension {
        value: Some(Value::DimValue(size as i64)),
    });
    let shape = TensorShapeProto {
        dim: std::iter::once(batch).chain(sizes).collect(),
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(shape),
    };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value }),
    }
}

fn window_attributes(window: Window) -> Vec<AttributeProto> {
    let [kernel, stride, [top, left]] =
        [window.kernel, window.stride, window.padding].map(|pair| pair.map(|size| size as i64));
    vec![
        integers("kernel_shape", &kernel),
        integers("strides", &stride),
        integers("pads", &[top, left, top, left]),
    ]
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: value,
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

fn integers(name: &str, values: &[i64]) -> AttributeProto {
    let r#type = AttributeType::Ints as i32;
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        r#type,
        ..AttributeProto::default()
    }
}

fn real(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f: value,
        r#type: AttributeType::Float as i32,
        ..AttributeProto::default()
    }
}
