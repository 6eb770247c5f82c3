//! Those of 3 x 3.

use osteon_convolution::winograd::{Convolution, transformed};

use super::super::extent::extents;
use super::super::{DOMAIN, PADS, WINOGRAD, size};
use super::{is_convolution, numbers, pads, rectified, relu, tensor, weights};
use crate::model::onnx_format::{AttributeProto, AttributeType, GraphProto, NodeProto, TensorProto};

/// From so many tiles on, 17 x 17 values, fewer multiplications are worth four times as many numbers of filters: what is saved grows with
/// the tiles, and the numbers do not. Where 256 x 256 channels make 14 x 14 values, two fifths of the time would be saved for 7 MB, and where
/// 512 x 512 make 7 x 7, it takes longer than by the definition.
const WORTH_IT: usize = 25;

/// Replaces those of `graph` that are worth it; whether there were any.
pub(super) fn replace(graph: &mut GraphProto, block: usize) -> bool {
    let replacements: Vec<Replacement> = {
        let extents = extents(graph);
        let one = |(index, node): (usize, &NodeProto)| {
            let extent = *extents.get(node.input.first()?.as_str())?;
            Replacement::of(index, node, weights(graph, node)?, extent, block)
        };
        graph.node.iter().enumerate().filter_map(one).collect()
    };
    let any = !replacements.is_empty();
    for Replacement { index, node, points } in replacements {
        graph.node[index] = node;
        graph.initializer.push(points);
    }
    any
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
        let (relu, pads) = (relu(node)?, pads(node)?);
        let &[filters, channels, 3, 3] = &weights.dims[..] else {
            return None;
        };
        let convolution = Convolution {
            channels: size(channels),
            filters: size(filters),
            rows,
            columns,
            pads: pads.map(size),
            relu,
        };
        if !is_convolution(node, 3, 1) || convolution.tiles() < WORTH_IT {
            return None;
        }
        // where channels are fewer than a block, or no multiple, images are in another order
        let points = transformed(
            &numbers(weights),
            convolution.filters,
            convolution.channels,
            block,
        )?;
        let name = format!("{}.{WINOGRAD}.{index}", weights.name);
        let mut input = node.input.clone();
        input[1].clone_from(&name);
        let pads = AttributeProto {
            name: PADS.to_owned(),
            ints: pads.to_vec(),
            r#type: AttributeType::Ints as i32,
            ..AttributeProto::default()
        };
        let node = NodeProto {
            op_type: WINOGRAD.to_owned(),
            domain: DOMAIN.to_owned(),
            input,
            attribute: vec![pads, rectified(relu)],
            ..node.clone()
        };
        let points = tensor(name, vec![36, filters, channels], &points);
        Some(Self { index, node, points })
    }
}
