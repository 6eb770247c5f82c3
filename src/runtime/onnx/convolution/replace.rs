//! Which convolutions of an optimised network are replaced, and by what.

use std::collections::HashMap;

use prost::Message;

use super::extent::pads_are_said;
use super::{DOMAIN, PADS, RELU};
use crate::model::onnx_format::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto,
};

mod pre_activated;
mod winograd;

/// ONNX Runtime's operators whose images are in blocks.
const BLOCKED: &str = "com.microsoft.nchwc";

/// The optimised network `model` with some of its convolutions replaced. `None` where there are none, where this processor has not the
/// vectors, or where the file has parts that would be lost.
pub(in super::super) fn replaced(model: &[u8]) -> Option<Vec<u8>> {
    let block = osteon_convolution::block()?;
    let mut network = ModelProto::decode(model).ok()?;
    if !is_whole(&network) {
        return None;
    }
    let takers = takers(&network);
    let graph = network.graph.as_mut()?;
    // first those of which the sizes count: they follow from all nodes
    let large = winograd::replace(graph, block);
    let activated = pre_activated::replace(graph, &takers, block);
    if !large && !activated {
        return None;
    }
    // weights that nobody takes any more would be kept in memory all the same
    let takers = self::takers(&network);
    let graph = network.graph.as_mut()?;
    graph
        .initializer
        .retain(|tensor| takers.contains_key(&tensor.name));
    network.opset_import.push(OperatorSetIdProto {
        domain: DOMAIN.to_owned(),
        version: 1,
    });
    Some(network.encode_to_vec())
}

/// How many take each value: nodes, wherever they are, and whoever runs the network.
fn takers(network: &ModelProto) -> HashMap<String, usize> {
    let nodes = network.contents().nodes.into_iter().flat_map(|node| &node.input);
    let graph = network.graph.iter();
    let outputs = graph.flat_map(|graph| graph.output.iter().map(|output| &output.name));
    let mut takers = HashMap::new();
    for name in nodes.chain(outputs) {
        *takers.entry(name.clone()).or_default() += 1;
    }
    takers
}

/// Whether nothing that counts is lost when the file is written again: what is read of the format is less than there is.
fn is_whole(network: &ModelProto) -> bool {
    let Some(graph) = &network.graph else {
        return false;
    };
    let contents = network.contents();
    let has_values = |tensor: &&TensorProto| {
        let listed = tensor.float_data.len() + tensor.int64_data.len() + tensor.raw_data.len();
        listed > 0 || tensor.dims.contains(&0)
    };
    let is_read = |setting: &AttributeProto| {
        AttributeType::try_from(setting.r#type).is_ok_and(|kind| kind != AttributeType::Undefined)
    };
    let values = [&graph.input, &graph.output, &graph.value_info]
        .into_iter()
        .flatten();
    network.functions.is_empty()
        && network.training_info.is_empty()
        && contents.tensors.iter().all(has_values)
        && contents
            .nodes
            .iter()
            .all(|node| node.attribute.iter().all(is_read))
        && values.into_iter().all(|value| value.tensor().is_some())
}

/// Whether `node` is a convolution in blocks that moves by one pixel at a time, with `kernel` rows and columns and `groups`.
fn is_convolution(node: &NodeProto, kernel: i64, groups: i64) -> bool {
    let ones = |name: &str, one: i64| node.ints(name).is_none_or(|ints| ints == [one; 2]);
    node.op_type == "Conv"
        && node.domain == BLOCKED
        && node.int("group").unwrap_or(1) == groups
        && pads_are_said(node)
        // of weights, which a convolution need not repeat
        && ones("kernel_shape", kernel)
        && ones("strides", 1)
        && ones("dilations", 1)
}

/// Whether a convolution makes what is negative zero; `None` where it does something else.
fn relu(node: &NodeProto) -> Option<bool> {
    match node.text("activation") {
        None => Some(false),
        Some(b"Relu") => Some(true),
        Some(_) => None,
    }
}

/// The zeros around the images of a convolution.
fn pads(node: &NodeProto) -> Option<[i64; 4]> {
    node.ints(PADS).map_or(Some([0; 4]), |pads| pads.try_into().ok())
}

/// The weights of a convolution, if they are in the file as 32-bit numbers.
fn weights<'a>(graph: &'a GraphProto, node: &NodeProto) -> Option<&'a TensorProto> {
    let name = node.input.get(1)?;
    let mut tensors = graph.initializer.iter();
    tensors.find(|tensor| tensor.name == *name && tensor.data_type == DataType::Float as i32)
}

fn numbers(tensor: &TensorProto) -> Vec<f32> {
    let numbers = tensor.raw_data.as_chunks().0.iter();
    numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn tensor(name: String, dims: Vec<i64>, numbers: &[f32]) -> TensorProto {
    TensorProto {
        name,
        dims,
        data_type: DataType::Float as i32,
        raw_data: numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

fn rectified(relu: bool) -> AttributeProto {
    AttributeProto {
        name: RELU.to_owned(),
        i: i64::from(relu),
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

#[cfg(test)]
mod tests;
