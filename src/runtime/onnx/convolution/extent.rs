//! How large images are between the nodes of a network: enough to tell what is worth it, as whoever computes sees their real sizes.

use std::collections::HashMap;

use crate::model::onnx_format::{GraphProto, NodeProto, ValueInfoProto};

/// Rows and columns.
pub(super) type Extent = [usize; 2];

/// The rows and columns of everything in `graph` that is a stack of images, as far as they follow from those of its inputs.
pub(super) fn extents(graph: &GraphProto) -> HashMap<&str, Extent> {
    let mut known: HashMap<&str, Extent> = HashMap::new();
    for input in &graph.input {
        if let Some(extent) = of_input(input) {
            known.insert(&input.name, extent);
        }
    }
    for node in &graph.node {
        let largest = node
            .input
            .iter()
            .filter_map(|name| known.get(name.as_str()).copied())
            .max();
        if let Some(extent) = largest.and_then(|extent| after(node, extent))
            && let Some(name) = node.output.first()
        {
            known.insert(name, extent);
        }
    }
    known
}

fn of_input(input: &ValueInfoProto) -> Option<Extent> {
    let (_, shape) = input.tensor()?;
    let [_, _, rows, columns] = shape[..] else {
        return None;
    };
    let size = |axis: Option<i64>| axis.and_then(|axis| usize::try_from(axis).ok());
    Some([size(rows)?, size(columns)?])
}

/// What `node` makes of images of this extent.
fn after(node: &NodeProto, extent: Extent) -> Option<Extent> {
    match node.op_type.as_str() {
        "Add" | "BatchNormalization" | "Clip" | "Concat" | "HardSigmoid" | "HardSwish" | "Identity"
        | "LeakyRelu" | "Mul" | "QuickGelu" | "Relu" | "ReorderInput" | "Sigmoid" | "Sub" => Some(extent),
        "Conv" | "FusedConv" | "MaxPool" | "AveragePool" => {
            let of = |name: &str, otherwise: i64| {
                let ints = node.ints(name).unwrap_or(&[]);
                let at = |axis: usize| ints.get(axis).copied().unwrap_or(otherwise);
                [at(0), at(1), at(2), at(3)].map(|size| usize::try_from(size).ok())
            };
            if node.int("ceil_mode").unwrap_or(0) != 0 || !pads_are_said(node) {
                return None;
            }
            let (kernel, strides, dilations, pads) = (
                of("kernel_shape", 1),
                of("strides", 1),
                of("dilations", 1),
                of("pads", 0),
            );
            let along = |axis: usize| {
                let reach = dilations[axis]? * kernel[axis]?.checked_sub(1)? + 1;
                let padded = extent[axis] + pads[axis]? + pads[axis + 2]?;
                Some(padded.checked_sub(reach)?.checked_div(strides[axis]?)? + 1)
            };
            Some([along(0)?, along(1)?])
        }
        _ => None,
    }
}

/// Whether a convolution's zeros are numbers of its own.
pub(super) fn pads_are_said(node: &NodeProto) -> bool {
    node.text("auto_pad").is_none_or(|pads| pads == b"NOTSET")
}
