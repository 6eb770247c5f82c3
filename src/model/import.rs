//! What can be known of an ONNX file from elsewhere, and whether it can be served: its input, its scores, what is in the way.

use prost::Message;

use super::header::OPSETS;
use super::manifest::Activation;
use super::onnx_format::{DataType, GraphProto, ModelProto, ValueInfoProto};
use crate::image::preprocess::Layout;

/// An input or output of a network: its name, and the sizes after the batch where the file says them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// The sizes after the batch.
    pub sizes: Vec<Option<usize>>,
}

/// A network that can be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where the image goes.
    pub input: Tensor,
    /// Where the answer comes out.
    pub scores: Tensor,
    /// Whether the answer comes out of a sigmoid or a softmax that is part of the network.
    pub ends_with: Option<Activation>,
    /// The program that wrote the file, with its version.
    pub producer: String,
}

impl Network {
    /// Reads an ONNX file; `input` and `scores` choose where it has several.
    ///
    /// # Errors
    /// A sentence that says what is in the way, and how to export the network without it.
    pub fn read(bytes: &[u8], input: Option<&str>, scores: Option<&str>) -> Result<Self, String> {
        let model = ModelProto::decode(bytes).map_err(|_| "the file is not an ONNX file".to_owned())?;
        let Some(graph) = &model.graph else {
            return Err("the file has no graph: it is not an ONNX file, or not a whole one".to_owned());
        };
        if let Some(opset) = model.opset().filter(|opset| !OPSETS.contains(opset)) {
            return Err(format!(
                "the file needs operator set {opset}, and {} to {} are served: export it again with opset_version=17",
                OPSETS.start(),
                OPSETS.end()
            ));
        }
        if let Some(tensor) = model.external_tensor() {
            return Err(format!(
                "the file keeps the weights {} in a file beside it: export it in one piece (torch.onnx.export(..., external_data=False), or onnx.save_model(model, path, save_as_external_data=False))",
                tensor.name
            ));
        }
        // old writers list weights among the inputs
        let given =
            |value: &&ValueInfoProto| !graph.initializer.iter().any(|weights| weights.name == value.name);
        let inputs: Vec<_> = graph.input.iter().filter(given).collect();
        if inputs.len() > 1 {
            return Err(format!(
                "the network has {} inputs ({}): only networks whose one input is the image are served",
                inputs.len(),
                names(&inputs)
            ));
        }
        let outputs: Vec<_> = graph.output.iter().collect();
        let input = tensor(chosen("input", &inputs, input)?, 4)?;
        let scores = tensor(chosen("scores", &outputs, scores)?, 2)?;
        Ok(Self {
            ends_with: ends_with(graph, &scores.name),
            input,
            scores,
            producer: format!("{} {}", model.producer_name, model.producer_version)
                .trim()
                .to_owned(),
        })
    }

    /// Channels, rows and columns as a layout reads them out of the input's sizes.
    #[must_use]
    pub fn image(&self, layout: Layout) -> [Option<usize>; 3] {
        match (layout, &self.input.sizes[..]) {
            (Layout::Nchw, &[channels, rows, columns])
            | (Layout::Nhwc, &[rows, columns, channels])
            | (Layout::Ncwh, &[channels, columns, rows]) => [channels, rows, columns],
            _ => [None; 3],
        }
    }
}

fn names(values: &[&ValueInfoProto]) -> String {
    let names: Vec<_> = values.iter().map(|value| value.name.as_str()).collect();
    names.join(", ")
}

fn chosen<'a>(
    what: &str,
    values: &[&'a ValueInfoProto],
    name: Option<&str>,
) -> Result<&'a ValueInfoProto, String> {
    match (name, values) {
        (None, [only]) => Ok(*only),
        (None, []) => Err(format!("the network has no tensor for its {what}")),
        (None, _) => Err(format!(
            "the network has several outputs: name the one with the scores with --{what}: {}",
            names(values)
        )),
        (Some(name), _) => values
            .iter()
            .find(|value| value.name == name)
            .copied()
            .ok_or_else(|| {
                format!(
                    "the network has no tensor {name} for its {what}; it has {}",
                    names(values)
                )
            }),
    }
}

/// A tensor of 32-bit floats with `rank` dimensions, the first of which is a batch of any size.
fn tensor(value: &ValueInfoProto, rank: usize) -> Result<Tensor, String> {
    let name = &value.name;
    let Some((kind, sizes)) = value.tensor() else {
        return Err(format!(
            "{name} does not say its dimensions: export the network with them"
        ));
    };
    if kind != DataType::Float as i32 {
        return Err(format!(
            "{name} does not hold 32-bit floats: export the network in float32"
        ));
    }
    if sizes.len() != rank {
        return Err(format!(
            "{name} has {} dimensions and must have {rank}: {}",
            sizes.len(),
            if rank == 4 {
                "batch, and those of an image"
            } else {
                "batch, and one number for each label"
            }
        ));
    }
    if let Some(batch) = sizes[0] {
        return Err(format!(
            "{name} has a fixed batch of {batch}: export the network with a dynamic one (torch.onnx.export(..., dynamic_axes={{\"input\": {{0: \"batch\"}}, \"output\": {{0: \"batch\"}}}}))"
        ));
    }
    let known = |size: &Option<i64>| size.and_then(|size| usize::try_from(size).ok());
    Ok(Tensor {
        name: name.clone(),
        sizes: sizes.iter().skip(1).map(known).collect(),
    })
}

/// The activation that makes an output, looked for through operators that leave the numbers as they are.
fn ends_with(graph: &GraphProto, output: &str) -> Option<Activation> {
    let mut name = output;
    // as many steps as there are nodes: a graph that runs in a circle ends here, too
    for _ in &graph.node {
        let node = graph
            .node
            .iter()
            .find(|node| node.output.iter().any(|output| output == name))?;
        match node.op_type.as_str() {
            "Sigmoid" => return Some(Activation::Sigmoid),
            "Softmax" => return Some(Activation::Softmax),
            "Identity" | "Reshape" | "Squeeze" | "Flatten" | "Cast" => name = node.input.first()?,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests;
