//! Those of 1 x 1 with the normalisation before them.
//!
//! ONNX Runtime writes a normalisation and its rectifier as a convolution of 1 x 1 in as many groups as there are channels. Where only the
//! convolution takes what that makes, both are one; and where the images were joined just for them, they are taken as they were.

use std::collections::HashMap;

use osteon_convolution::pre_activated::packed;

use super::super::{DOMAIN, PRE_ACTIVATED, size};
use super::{is_convolution, numbers, pads, rectified, relu, tensor, weights};
use crate::model::onnx_format::{GraphProto, NodeProto, TensorProto};

/// Replaces those of `graph`, where `takers` is how many take each value; whether there were any.
pub(super) fn replace(graph: &mut GraphProto, takers: &HashMap<String, usize>, block: usize) -> bool {
    let replacements: Vec<Replacement> = {
        let makers = graph.node.iter().enumerate();
        let makers =
            makers.flat_map(|(index, node)| node.output.iter().map(move |name| (name.as_str(), index)));
        let of_graph = OfGraph {
            graph,
            takers,
            makers: makers.collect(),
            block,
        };
        let one = |index: usize| of_graph.replacement(index);
        (0..graph.node.len()).filter_map(one).collect()
    };
    let mut needless = Vec::new();
    for replacement in &replacements {
        needless.extend(&replacement.needless);
    }
    let any = !replacements.is_empty();
    for Replacement {
        index, node, tensors, ..
    } in replacements
    {
        graph.node[index] = node;
        graph.initializer.extend(tensors);
    }
    let mut index = 0;
    graph.node.retain(|_| {
        index += 1;
        !needless.contains(&(index - 1))
    });
    any
}

/// A node that takes the place of another and of the `needless` ones before it.
struct Replacement {
    index: usize,
    node: NodeProto,
    tensors: Vec<TensorProto>,
    needless: Vec<usize>,
}

struct OfGraph<'a> {
    graph: &'a GraphProto,
    takers: &'a HashMap<String, usize>,
    /// Which node makes each value.
    makers: HashMap<&'a str, usize>,
    block: usize,
}

impl OfGraph<'_> {
    fn replacement(&self, index: usize) -> Option<Replacement> {
        let node = &self.graph.node[index];
        let filters = weights(self.graph, node)?;
        let &[count, channels, 1, 1] = &filters.dims[..] else {
            return None;
        };
        let relu = relu(node)?;
        if !is_convolution(node, 1, 1) || pads(node)? != [0; 4] || node.input.len() > 3 {
            return None;
        }
        let before = self.only_for(node.input.first()?)?;
        let normalisation = &self.graph.node[before];
        let [images, factors, summands] = &normalisation.input[..] else {
            return None;
        };
        let is_normalisation = is_convolution(normalisation, 1, channels)
            && pads(normalisation)? == [0; 4]
            && self::relu(normalisation)?
            && weights(self.graph, normalisation)?.dims == [channels, 1, 1, 1];
        if !is_normalisation {
            return None;
        }
        let name = format!("{}.{PRE_ACTIVATED}.{index}", filters.name);
        let packed = packed(&numbers(filters), size(count), size(channels), self.block)?;
        let mut tensors = vec![tensor(name.clone(), vec![count, channels], &packed)];
        let bias = match node.input.get(2) {
            Some(bias) if !bias.is_empty() => bias.clone(),
            _ => {
                let bias = format!("{name}.bias");
                tensors.push(tensor(bias.clone(), vec![count], &vec![0.0; size(count)]));
                bias
            }
        };
        let mut needless = vec![before];
        let mut input = vec![name, bias, factors.clone(), summands.clone()];
        match self
            .only_for(images)
            .map(|index| (index, &self.graph.node[index]))
        {
            // of images in blocks, of whole blocks each: ONNX Runtime leaves no other in this order
            Some((index, joined)) if joined.op_type == "Concat" && joined.domain.is_empty() => {
                needless.push(index);
                input.extend_from_slice(&joined.input);
            }
            _ => input.push(images.clone()),
        }
        let node = NodeProto {
            op_type: PRE_ACTIVATED.to_owned(),
            domain: DOMAIN.to_owned(),
            input,
            attribute: vec![rectified(relu)],
            ..node.clone()
        };
        Some(Replacement {
            index,
            node,
            tensors,
            needless,
        })
    }

    /// Which node makes the value `name`, where a single node takes it.
    fn only_for(&self, name: &str) -> Option<usize> {
        let alone = self.takers.get(name) == Some(&1);
        alone.then(|| self.makers.get(name).copied()).flatten()
    }
}
