//! Each layer as ONNX operators of opset 17.

use super::super::super::network::{Graph, Layer, Node, NodeId, Shapes, Variance};
use super::attributes::{integer, integers, node_proto, real, window_attributes};
use crate::model::onnx_format::{AttributeProto, NodeProto};

/// What a graph becomes, beside its weights.
#[derive(Default)]
pub(super) struct Printed {
    /// In execution order.
    pub(super) nodes: Vec<NodeProto>,
    /// Scalars that no parameter holds, by name.
    pub(super) constants: Vec<(String, f32)>,
}

/// Prints one graph.
pub(super) struct Printer<'a> {
    graph: &'a Graph,
    shapes: &'a Shapes,
    /// Of each node's value.
    names: Vec<String>,
    printed: Printed,
}

impl<'a> Printer<'a> {
    /// The operators of `graph`; `names` are those of its nodes' values.
    pub(super) fn print(graph: &'a Graph, shapes: &'a Shapes, names: Vec<String>) -> Printed {
        let mut printer = Self {
            graph,
            shapes,
            names,
            printed: Printed::default(),
        };
        for place in 1..graph.nodes.len() {
            printer.layer(NodeId(place));
        }
        printer.repeated_outputs();
        printer.printed
    }

    fn layer(&mut self, id: NodeId) {
        let node = &self.graph.nodes[id.0];
        let inputs: Vec<String> = node
            .inputs
            .iter()
            .map(|input| self.names[input.0].clone())
            .collect();
        let with = |own: &[&str]| with(node, &inputs, own);
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
            Layer::LayerNorm { epsilon, variance } => {
                let last = match variance {
                    Variance::Pixel => self.layer_norm(node, inputs, *epsilon),
                    Variance::Image => self.layer_norm_of_image(node, inputs, *epsilon),
                };
                ("Transpose", vec![last], vec![integers("perm", &CHANNELS_FIRST)])
            }
            Layer::LayerScale { .. } => ("Mul", with(&["layer_scale"]), Vec::new()),
            Layer::Relu => ("Relu", inputs, Vec::new()),
            Layer::Gelu => ("Mul", self.gelu(node, &inputs[0]), Vec::new()),
            Layer::Silu => {
                let gate = self.push(node, "sigmoid", "Sigmoid", inputs.clone(), Vec::new());
                ("Mul", vec![inputs[0].clone(), gate], Vec::new())
            }
            Layer::MaxPool(window) => ("MaxPool", inputs, window_attributes(*window)),
            Layer::AveragePool {
                window,
                padding_counts,
            } => {
                let mut attributes = window_attributes(*window);
                attributes.push(integer("count_include_pad", i64::from(*padding_counts)));
                ("AveragePool", inputs, attributes)
            }
            Layer::Squeeze => ("GlobalAveragePool", inputs, Vec::new()),
            Layer::GlobalAveragePool => {
                let pooled = self.push(node, "pooled", "GlobalAveragePool", inputs, Vec::new());
                ("Flatten", vec![pooled], vec![integer("axis", 1)])
            }
            Layer::GlobalLogMeanExp { sharpness } => {
                ("Div", self.log_mean_exp(node, inputs, *sharpness), Vec::new())
            }
            Layer::Add => ("Add", self.chained(node, "Add", inputs), Vec::new()),
            Layer::Multiply => ("Mul", inputs, Vec::new()),
            Layer::Mean => ("Mean", inputs, Vec::new()),
            Layer::Concatenate => ("Concat", inputs, vec![integer("axis", 1)]),
            Layer::Linear { bias, .. } => {
                let own: &[&str] = if *bias { &["weight", "bias"] } else { &["weight"] };
                ("Gemm", with(own), vec![integer("transB", 1)])
            }
            Layer::Flatten => ("Flatten", inputs, vec![integer("axis", 1)]),
            Layer::Sigmoid => ("Sigmoid", inputs, Vec::new()),
            Layer::Probabilities => ("Reciprocal", self.probabilities(node, &inputs[0]), Vec::new()),
            Layer::LogOdds => ("Log", self.odds(node, &inputs[0]), Vec::new()),
            Layer::Scale => ("Mul", with(&["scale"]), Vec::new()),
            Layer::Slice { first, count } => {
                let (first, last) = (*first as i64, (first + count) as i64);
                let slice = self.slice(node, "", &inputs[0], [&[first], &[last], &[1], &[1]]);
                ("Slice", slice, Vec::new())
            }
            Layer::Softmax => ("Softmax", inputs, vec![integer("axis", 1)]),
            Layer::Mirror => {
                let slice = self.slice(node, "", &inputs[0], [&[-1], &[i64::MIN], &[3], &[-1]]);
                let mirrored = self.push(node, "mirrored", "Slice", slice, Vec::new());
                let both = vec![inputs[0].clone(), mirrored];
                ("Concat", both, vec![integer("axis", 0)])
            }
            Layer::Unmirror => ("Reshape", self.unmirrored(node, &inputs[0]), Vec::new()),
            Layer::Dropout { .. } | Layer::StochasticDepth { .. } => {
                // nothing in use; its readers read its input, unless callers know the value by name
                if self.graph.outputs.iter().all(|shown| shown.node != id) {
                    self.names[id.0].clone_from(&inputs[0]);
                    return;
                }
                ("Identity", inputs, Vec::new())
            }
        };
        let output = self.names[id.0].clone();
        self.printed
            .nodes
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
        self.printed
            .nodes
            .push(node_proto(&name, operator, inputs, name.clone(), attributes));
        name
    }

    /// Appends a scalar, and answers its name.
    fn constant(&mut self, node: &Node, part: &str, value: f64) -> String {
        let name = format!("{}.{part}", node.name);
        self.printed.constants.push((name.clone(), value as f32));
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

    /// `1 + exp(-x)` and `1 + exp(x)` behind one another; answers what the last operator takes. ONNX Runtime's own `Sigmoid` is a sixth
    /// off at -15, and 0 below -18 (1.32), where log-odds are still to be told.
    fn probabilities(&mut self, node: &Node, input: &str) -> Vec<String> {
        let one = self.constant(node, "one", 1.0);
        let negative = self.push(node, "negative", "Neg", vec![input.to_owned()], Vec::new());
        let both = vec![negative, input.to_owned()];
        let both = self.push(node, "both", "Concat", both, vec![integer("axis", 1)]);
        let powers = self.push(node, "powers", "Exp", vec![both], Vec::new());
        vec![self.push(node, "raised", "Add", vec![powers, one], Vec::new())]
    }

    /// The first half of the features over the second; answers what the last operator takes.
    fn odds(&mut self, node: &Node, input: &str) -> Vec<String> {
        let all = self.shapes.of(node.inputs[0]).channels() as i64;
        let mut half = |part: &str, first: i64, end: i64| {
            let slice = self.slice(node, &format!("{part}_"), input, [&[first], &[end], &[1], &[1]]);
            self.push(node, part, "Slice", slice, Vec::new())
        };
        let both = vec![half("present", 0, all / 2), half("absent", all / 2, all)];
        vec![self.push(node, "odds", "Div", both, Vec::new())]
    }

    /// An operator takes two values, so more become a chain; answers what its last link takes.
    fn chained(&mut self, node: &Node, operator: &str, inputs: Vec<String>) -> Vec<String> {
        let mut links: Vec<String> = Vec::new();
        for (place, input) in inputs.into_iter().enumerate() {
            if let [left, right] = links.as_slice() {
                let both = vec![left.clone(), right.clone()];
                links = vec![self.push(node, &format!("{operator}{place}"), operator, both, Vec::new())];
            }
            links.push(input);
        }
        links
    }

    /// `0.5 * x * (1 + erf(x / sqrt(2)))`, in the order that ONNX Runtime knows again; answers what its last product takes.
    fn gelu(&mut self, node: &Node, input: &str) -> Vec<String> {
        let input = input.to_owned();
        let (root, one, half) = (
            self.constant(node, "root_of_two", std::f64::consts::SQRT_2),
            self.constant(node, "one", 1.0),
            self.constant(node, "half", 0.5),
        );
        let scaled = self.push(node, "scaled", "Div", vec![input.clone(), root], Vec::new());
        let error = self.push(node, "erf", "Erf", vec![scaled], Vec::new());
        let raised = self.push(node, "raised", "Add", vec![error, one], Vec::new());
        let product = self.push(node, "product", "Mul", vec![input, raised], Vec::new());
        vec![product, half]
    }

    /// Up to the transposition back.
    fn layer_norm(&mut self, node: &Node, inputs: Vec<String>, epsilon: f64) -> String {
        let perm = vec![integers("perm", &CHANNELS_LAST)];
        let pixels = self.push(node, "pixels", "Transpose", inputs, perm);
        let attributes = vec![integer("axis", -1), real("epsilon", epsilon as f32)];
        let inputs = with(node, &[pixels], &["weight", "bias"]);
        self.push(node, "normal", "LayerNormalization", inputs, attributes)
    }

    /// Each pixel less its mean, over the deviation of the image's mean channels; up to the transposition back.
    fn layer_norm_of_image(&mut self, node: &Node, inputs: Vec<String>, epsilon: f64) -> String {
        let over = |axes: &[i64]| vec![integers("axes", axes), integer("keepdims", 1)];
        let perm = vec![integers("perm", &CHANNELS_LAST)];
        let epsilon = self.constant(node, "epsilon", epsilon);
        let pixels = self.push(node, "pixels", "Transpose", inputs, perm);
        let mean = self.push(node, "mean", "ReduceMean", vec![pixels.clone()], over(&[3]));
        let centred = self.push(node, "centred", "Sub", vec![pixels, mean], Vec::new());
        let pooled = self.push(node, "pooled", "ReduceMean", vec![centred.clone()], over(&[1, 2]));
        let squared = self.push(node, "squared", "Mul", vec![pooled.clone(), pooled], Vec::new());
        let variance = self.push(node, "variance", "ReduceMean", vec![squared], over(&[3]));
        let raised = self.push(node, "raised", "Add", vec![variance, epsilon], Vec::new());
        let deviation = self.push(node, "deviation", "Sqrt", vec![raised], Vec::new());
        let normal = self.push(node, "normal", "Div", vec![centred, deviation], Vec::new());
        let scaled = with(node, &[normal], &["weight"]);
        let scaled = self.push(node, "scaled", "Mul", scaled, Vec::new());
        let shifted = with(node, &[scaled], &["bias"]);
        self.push(node, "shifted", "Add", shifted, Vec::new())
    }

    /// `(log(sum(exp(s * map))) - log(pixels)) / s`; answers what the division takes.
    fn log_mean_exp(&mut self, node: &Node, inputs: Vec<String>, sharpness: f64) -> Vec<String> {
        let shape = self.shapes.of(node.inputs[0]);
        let pixels = shape.count() as f64 / shape.channels() as f64;
        let sharpness = self.constant(node, "sharpness", sharpness);
        let pixels = self.constant(node, "log_pixels", pixels.ln());
        let inputs = inputs.into_iter().chain([sharpness.clone()]).collect();
        let sharpened = self.push(node, "sharpened", "Mul", inputs, Vec::new());
        let axes = vec![integers("axes", &[2, 3]), integer("keepdims", 0)];
        let sum = self.push(node, "sum", "ReduceLogSumExp", vec![sharpened], axes);
        let mean = self.push(node, "mean", "Sub", vec![sum, pixels], Vec::new());
        vec![mean, sharpness]
    }

    /// A second name for one value needs a node that copies it.
    fn repeated_outputs(&mut self) {
        for output in &self.graph.outputs {
            let value = &self.names[output.node.0];
            if *value != output.name {
                let inputs = vec![value.clone()];
                self.printed.nodes.push(node_proto(
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

/// From maps to pixels with their channels behind one another.
const CHANNELS_LAST: [i64; 4] = [0, 2, 3, 1];
/// The way back.
const CHANNELS_FIRST: [i64; 4] = [0, 3, 1, 2];

/// Values, then parameters of `node` by the end of their names.
fn with(node: &Node, inputs: &[String], own: &[&str]) -> Vec<String> {
    let own = own.iter().map(|suffix| format!("{}.{suffix}", node.name));
    inputs.iter().cloned().chain(own).collect()
}
