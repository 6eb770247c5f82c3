//! Batch norms folded into the convolutions before them: the same function in fewer nodes.
//!
//! Exact but for rounding, because outside training a batch norm is a fixed scale and shift. Only a convolution that
//! nothing else reads is changed. The convolution's node keeps its name; whoever read the batch norm reads it instead.

use super::super::network::{Graph, Layer, NodeId, TensorF32, Weights, WeightsError};

/// A graph without those batch norms, and its weights.
pub fn fold_batch_norms(graph: &Graph, weights: &Weights) -> Result<(Graph, Weights), WeightsError> {
    weights.check(graph)?;
    let mut folded = Graph {
        nodes: Vec::new(),
        outputs: Vec::new(),
        ..graph.clone()
    };
    let mut numbers = weights.clone();
    // where each old node's value is in the new graph
    let mut moved: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for (place, node) in graph.nodes.iter().enumerate() {
        if let Some(convolution) = foldable(graph, NodeId(place)) {
            let target = moved[convolution.0];
            if let Layer::BatchNorm { epsilon, .. } = node.layer {
                fold(
                    &mut numbers,
                    &graph.nodes[convolution.0].name,
                    &node.name,
                    epsilon,
                )?;
            }
            if let Layer::Convolution(own) = &mut folded.nodes[target.0].layer {
                own.bias = true;
            }
            moved.push(target);
            continue;
        }
        let mut copy = node.clone();
        copy.inputs = node.inputs.iter().map(|input| moved[input.0]).collect();
        folded.nodes.push(copy);
        moved.push(NodeId(folded.nodes.len() - 1));
    }
    for output in &graph.outputs {
        let mut copy = output.clone();
        copy.node = moved[output.node.0];
        folded.outputs.push(copy);
    }
    numbers.check(&folded)?;
    Ok((folded, numbers))
}

/// The convolution into which the batch norm at `place` can go.
fn foldable(graph: &Graph, place: NodeId) -> Option<NodeId> {
    let node = &graph.nodes[place.0];
    let (Layer::BatchNorm { .. }, [input]) = (&node.layer, node.inputs.as_slice()) else {
        return None;
    };
    let convolution = matches!(graph.nodes[input.0].layer, Layer::Convolution(_));
    let shown = graph.outputs.iter().any(|output| output.node == *input);
    (convolution && !shown && graph.consumers(*input) == [place]).then_some(*input)
}

/// Computed in 64 bits: one rounding for each number.
fn fold(weights: &mut Weights, convolution: &str, norm: &str, epsilon: f64) -> Result<(), WeightsError> {
    let mut take = |suffix: &str| -> Result<Vec<f64>, WeightsError> {
        let name = format!("{norm}.{suffix}");
        let tensor = weights
            .tensors
            .remove(&name)
            .ok_or(WeightsError::Missing { name })?;
        Ok(tensor.values.into_iter().map(f64::from).collect())
    };
    let (scale, shift) = (take("weight")?, take("bias")?);
    let (mean, variance) = (take("running_mean")?, take("running_var")?);
    let factors: Vec<f64> = scale
        .iter()
        .zip(&variance)
        .map(|(scale, own)| scale / (own + epsilon).sqrt())
        .collect();
    let bias_name = format!("{convolution}.bias");
    let old = weights.tensors.get(&bias_name).map(|bias| bias.values.clone());
    let offset = |channel: usize| {
        let old = old.as_ref().map_or(0.0, |bias| f64::from(bias[channel]));
        ((old - mean[channel]) * factors[channel] + shift[channel]) as f32
    };
    let bias: Vec<f32> = (0..factors.len()).map(offset).collect();
    let name = format!("{convolution}.weight");
    let kernel = weights
        .tensors
        .get_mut(&name)
        .ok_or(WeightsError::Missing { name })?;
    let size = kernel.values.len() / factors.len();
    for (channel, factor) in kernel.values.chunks_mut(size).zip(&factors) {
        for value in channel {
            *value = (f64::from(*value) * factor) as f32;
        }
    }
    weights.tensors.insert(
        bias_name,
        TensorF32 {
            shape: vec![bias.len()],
            values: bias,
        },
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::network::{Residual, initial_weights};
    use super::*;

    #[test]
    fn every_batch_norm_of_the_residual_network_goes() {
        let graph = Residual::default().graph("image", 2).unwrap();
        let weights = initial_weights(&graph, 1).unwrap();
        let (folded, numbers) = fold_batch_norms(&graph, &weights).unwrap();
        assert!(
            !folded
                .nodes
                .iter()
                .any(|node| matches!(node.layer, Layer::BatchNorm { .. }))
        );
        numbers.check(&folded).unwrap();
        let names: Vec<&str> = folded.outputs.iter().map(|output| output.name.as_str()).collect();
        assert_eq!(names, ["probabilities", "logits", "activation_map", "embedding"]);
    }

    #[test]
    fn a_shown_convolution_is_left_alone() {
        let mut graph = Residual::default().graph("image", 2).unwrap();
        graph.outputs.push(super::super::super::network::Output {
            name: "stem".to_owned(),
            node: NodeId(1),
        });
        let weights = initial_weights(&graph, 1).unwrap();
        let (folded, _) = fold_batch_norms(&graph, &weights).unwrap();
        assert_eq!(
            folded
                .nodes
                .iter()
                .filter(|node| matches!(node.layer, Layer::BatchNorm { .. }))
                .count(),
            1
        );
    }
}
