//! Which convolutions of an optimised network are replaced, and by what.

use std::collections::HashSet;

use prost::Message;

use super::extent::{extents, pads_are_said};
use super::{DOMAIN, NAME, PADS, RELU};
use crate::model::onnx_format::{
    AttributeProto, AttributeType, DataType, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};

/// ONNX Runtime's operators whose images are in blocks.
const BLOCKED: &str = "com.microsoft.nchwc";
/// From so many tiles on, 17 x 17 values, fewer multiplications are worth four times as many numbers of filters: what is saved grows with
/// the tiles, and the numbers do not. Where 256 x 256 channels make 14 x 14 values, two fifths of the time would be saved for 7 MB, and where
/// 512 x 512 make 7 x 7, it takes longer than by the definition.
const WORTH_IT: usize = 25;

/// The optimised network `model` with its convolutions of 3 x 3 replaced. `None` where there are none, where this processor has not the
/// vectors, or where the file has parts that would be lost.
pub(in super::super) fn replaced(model: &[u8]) -> Option<Vec<u8>> {
    let block = osteon_winograd::block()?;
    let mut network = ModelProto::decode(model).ok()?;
    if !is_whole(&network) {
        return None;
    }
    let graph = network.graph.as_mut()?;
    let replacements: Vec<Replacement> = {
        let extents = extents(graph);
        let one = |(index, node): (usize, &NodeProto)| {
            let extent = *extents.get(node.input.first()?.as_str())?;
            let weights = graph
                .initializer
                .iter()
                .find(|tensor| Some(&tensor.name) == node.input.get(1))?;
            Replacement::of(index, node, weights, extent, block)
        };
        graph.node.iter().enumerate().filter_map(one).collect()
    };
    if replacements.is_empty() {
        return None;
    }
    let mut before = HashSet::new();
    for Replacement { index, node, points } in replacements {
        before.extend(graph.node[index].input.get(1).cloned());
        graph.node[index] = node;
        graph.initializer.push(points);
    }
    // what nobody takes any more would be kept in memory all the same
    let nodes = network.contents().nodes;
    let taken: HashSet<&String> = nodes.into_iter().flat_map(|node| &node.input).collect();
    before.retain(|name| !taken.contains(name));
    let graph = network.graph.as_mut()?;
    graph.initializer.retain(|tensor| !before.contains(&tensor.name));
    network.opset_import.push(OperatorSetIdProto {
        domain: DOMAIN.to_owned(),
        version: 1,
    });
    Some(network.encode_to_vec())
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

/// A node that takes another's place, with its filters.
struct Replacement {
    index: usize,
    node: NodeProto,
    points: TensorProto,
}

impl Replacement {
    /// For `node` with its `weights`, if it is a convolution that is worth it.
    fn of(
        index: usize,
        node: &NodeProto,
        weights: &TensorProto,
        [rows, columns]: [usize; 2],
        block: usize,
    ) -> Option<Self> {
        let plain = node.op_type == "Conv"
            && node.domain == BLOCKED
            && node.int("group").unwrap_or(1) == 1
            && pads_are_said(node)
            && node.ints("kernel_shape") == Some(&[3, 3])
            && node.ints("strides").is_none_or(|strides| strides == [1, 1])
            && node.ints("dilations").is_none_or(|dilations| dilations == [1, 1]);
        let relu = match node.text("activation") {
            None => false,
            Some(b"Relu") => true,
            Some(_) => return None,
        };
        let pads: [i64; 4] = match node.ints(PADS) {
            None => [0; 4],
            Some(pads) => pads.try_into().ok()?,
        };
        let size = |axis: i64| usize::try_from(axis).ok();
        let &[filters, channels, 3, 3] = &weights.dims[..] else {
            return None;
        };
        let convolution = osteon_winograd::Convolution {
            channels: size(channels)?,
            filters: size(filters)?,
            rows,
            columns,
            pads: [size(pads[0])?, size(pads[1])?, size(pads[2])?, size(pads[3])?],
            relu,
        };
        if !plain || convolution.tiles() < WORTH_IT || weights.data_type != DataType::Float as i32 {
            return None;
        }
        let numbers = weights.raw_data.as_chunks().0.iter();
        let numbers: Vec<f32> = numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect();
        // where channels are fewer than a block, or no multiple, images are in another order
        let points =
            osteon_winograd::transformed(&numbers, convolution.filters, convolution.channels, block)?;
        let points = TensorProto {
            name: format!("{}.{NAME}.{index}", weights.name),
            dims: vec![36, filters, channels],
            data_type: DataType::Float as i32,
            raw_data: points.iter().flat_map(|point| point.to_le_bytes()).collect(),
            ..TensorProto::default()
        };
        let mut input = node.input.clone();
        input[1].clone_from(&points.name);
        let attributes = [
            AttributeProto {
                name: PADS.to_owned(),
                ints: pads.to_vec(),
                r#type: AttributeType::Ints as i32,
                ..AttributeProto::default()
            },
            AttributeProto {
                name: RELU.to_owned(),
                i: i64::from(relu),
                r#type: AttributeType::Int as i32,
                ..AttributeProto::default()
            },
        ];
        let node = NodeProto {
            op_type: NAME.to_owned(),
            domain: DOMAIN.to_owned(),
            input,
            attribute: attributes.to_vec(),
            ..node.clone()
        };
        Some(Self { index, node, points })
    }
}

#[cfg(test)]
mod tests;
