//! What can be known of an ONNX file without running it, and must hold before ONNX Runtime is given it.
//!
//! A file is data to the server and a program to ONNX Runtime: it may name other files, loop without end, or unfold into more
//! than any memory. All of that is refused here, wherever in the file it hides.

use std::collections::BTreeMap;

use prost::Message;

use super::manifest::ModelManifest;
use super::onnx_format::{DataType, FunctionProto, ModelProto, NodeProto, ValueInfoProto};
use super::policy::Policy;
use crate::image::preprocess::{METADATA_KEY, Preprocessing};

/// The ONNX operator sets that the pinned ONNX Runtime serves for certain.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=21;
/// The versions of the file format that it reads.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=10;
/// Where operators may come from, beside the file's own functions: ONNX's own, its classical models, and ONNX Runtime's.
const DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];
/// Operators that hold graphs of their own: they can loop without end.
const CONTROL_FLOW: [&str; 4] = ["If", "Loop", "Scan", "SequenceMap"];
/// Operators that stand for another file or for code outside of it.
const OUTSIDE: [&str; 2] = ["EPContext", "ATen"];
/// More operators than this, after functions have been put in their places, are a trap and no network.
const MAX_NODES: usize = 1_000_000;

/// Checks the bytes of an ONNX file against the manifest, and gives what was read.
///
/// # Errors
/// What is off and what would be right, a sentence that wants the file's name before it.
pub(super) fn check(bytes: &[u8], manifest: &ModelManifest, policy: &Policy) -> Result<ModelProto, String> {
    let model = ModelProto::decode(bytes)
        .map_err(|_| "is not an ONNX file, or was cut off: export or copy it again".to_owned())?;
    if model.graph.is_none() {
        return Err("has no graph".to_owned());
    }
    versions(&model)?;
    if let Some(tensor) = model.external_tensor() {
        return Err(format!(
            "keeps the values of tensor {:?} in another file: export it with its weights inside",
            shown(&tensor.name)
        ));
    }
    if !model.training_info.is_empty() {
        return Err("holds what is needed to train it further: export it for inference only".to_owned());
    }
    operators(&model, policy)?;
    unfolded(&model)?;
    tensors(&model, manifest)?;
    // a model from elsewhere carries no contract; its manifest alone holds it
    for entry in model
        .metadata_props
        .iter()
        .filter(|entry| entry.key == METADATA_KEY)
    {
        let inside: Result<Preprocessing, _> = serde_json::from_str(&entry.value);
        if inside.ok().as_ref() != Some(&manifest.preprocessing) {
            return Err("was exported with another preprocessing than the manifest says".to_owned());
        }
    }
    Ok(model)
}

/// Names come from the file: only as much of one as a message can bear.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

fn versions(model: &ModelProto) -> Result<(), String> {
    if !IR_VERSIONS.contains(&model.ir_version) {
        return Err(format!(
            "has version {} of the file format, this program serves {} to {}",
            model.ir_version,
            IR_VERSIONS.start(),
            IR_VERSIONS.end()
        ));
    }
    if model.opset().is_none() {
        return Err("does not say which ONNX operator set it needs".to_owned());
    }
    let sets = model
        .opset_import
        .iter()
        .chain(model.functions.iter().flat_map(|function| &function.opset_import));
    for set in sets.filter(|set| ["", "ai.onnx"].contains(&set.domain.as_str())) {
        if !OPSETS.contains(&set.version) {
            return Err(format!(
                "needs operator set {}, this program serves {} to {}",
                set.version,
                OPSETS.start(),
                OPSETS.end()
            ));
        }
    }
    Ok(())
}

fn operators(model: &ModelProto, policy: &Policy) -> Result<(), String> {
    for node in model.contents().nodes {
        let operator = shown(&node.op_type);
        let holds_graphs = node
            .attribute
            .iter()
            .any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty());
        let control = CONTROL_FLOW.contains(&node.op_type.as_str());
        if (control || holds_graphs) && !policy.allow_control_flow {
            return Err(format!(
                "uses the operator {operator}: networks with control flow are not served (--allow-control-flow serves them all the same)"
            ));
        }
        if OUTSIDE.contains(&node.op_type.as_str()) {
            return Err(format!(
                "uses the operator {operator}, which stands for something outside of the file: export it without"
            ));
        }
        if !DOMAINS.contains(&node.domain.as_str()) && function(model, node).is_none() {
            return Err(format!(
                "uses the operator {operator} of {:?}, which is not known here: operators may come from ONNX (ai.onnx, ai.onnx.ml), from ONNX Runtime (com.microsoft), or be defined in the file",
                shown(&node.domain)
            ));
        }
    }
    Ok(())
}

/// The file's own definition of what a node does.
fn function<'a>(model: &'a ModelProto, node: &NodeProto) -> Option<(usize, &'a FunctionProto)> {
    model
        .functions
        .iter()
        .enumerate()
        .find(|(_, function)| function.name == node.op_type && function.domain == node.domain)
}

/// Functions that use functions can unfold without end, or into more than any memory.
fn unfolded(model: &ModelProto) -> Result<(), String> {
    let mut sizes: BTreeMap<usize, Option<usize>> = BTreeMap::new();
    let graph = model.graph.iter().flat_map(|graph| &graph.node);
    let nodes = size_of(model, graph, &mut sizes, 0)?;
    if nodes > MAX_NODES {
        return Err(format!("unfolds into more than {MAX_NODES} operators"));
    }
    Ok(())
}

/// How many operators nodes stand for; `sizes` holds the functions that are known, and `None` for those that are being counted.
fn size_of<'a>(
    model: &ModelProto,
    nodes: impl Iterator<Item = &'a NodeProto>,
    sizes: &mut BTreeMap<usize, Option<usize>>,
    depth: usize,
) -> Result<usize, String> {
    let endless = || "defines an operator by itself, which has no end".to_owned();
    if depth > 100 {
        return Err("defines operators by operators more than a hundred times over".to_owned());
    }
    let mut total: usize = 0;
    for node in nodes {
        let size = match function(model, node) {
            None => 1,
            Some((index, function)) => match sizes.get(&index) {
                Some(Some(size)) => *size,
                Some(None) => return Err(endless()),
                None => {
                    sizes.insert(index, None);
                    let size = size_of(model, function.node.iter(), sizes, depth + 1)?;
                    sizes.insert(index, Some(size));
                    size
                }
            },
        };
        total = total.saturating_add(size);
        for inside in node
            .attribute
            .iter()
            .flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
        {
            total = total.saturating_add(size_of(model, inside.node.iter(), sizes, depth + 1)?);
        }
    }
    Ok(total)
}

/// Inputs and outputs against the manifest, as far as the file says their kinds and sizes.
fn tensors(model: &ModelProto, manifest: &ModelManifest) -> Result<(), String> {
    let Some(graph) = &model.graph else { return Ok(()) };
    let name = &manifest.preprocessing.tensor;
    // old writers list weights among the inputs
    let weight = |input: &&ValueInfoProto| graph.initializer.iter().any(|weight| weight.name == input.name);
    let inputs: Vec<&ValueInfoProto> = graph.input.iter().filter(|input| !weight(input)).collect();
    let present = |values: &[&ValueInfoProto]| {
        let names: Vec<String> = values.iter().map(|value| shown(&value.name)).collect();
        names.join(", ")
    };
    match inputs.as_slice() {
        [input] if input.name == *name => {
            let sizes = manifest.preprocessing.input_shape().map(Some);
            fits(input, "input", &sizes)?;
        }
        _ => {
            return Err(format!(
                "must have one input, {name} as the manifest says: it has {}",
                present(&inputs)
            ));
        }
    }
    let heads = manifest.heads.iter().flat_map(|head| {
        let width = vec![Some(head.width())];
        let map = vec![Some(head.labels.len()), None, None];
        [
            Some((&head.scores, width.clone())),
            head.logits.as_ref().map(|name| (name, width)),
            head.activation_map.as_ref().map(|name| (name, map)),
        ]
    });
    let embedding = manifest.embedding.as_ref().map(|name| (name, vec![None]));
    for (name, sizes) in heads.flatten().chain(embedding) {
        let Some(output) = graph.output.iter().find(|output| output.name == *name) else {
            let all: Vec<&ValueInfoProto> = graph.output.iter().collect();
            return Err(format!(
                "has no output {name}, as the manifest says: it has {}",
                present(&all)
            ));
        };
        fits(output, "output", &sizes)?;
    }
    Ok(())
}

/// Whether a tensor is of 32-bit floats, of any batch, and of these sizes after it; `None` is any size.
fn fits(value: &ValueInfoProto, kind: &str, sizes: &[Option<usize>]) -> Result<(), String> {
    // a file need not say: then the proof shows it
    let Some((element, found)) = value.tensor() else {
        return Ok(());
    };
    let name = shown(&value.name);
    if element != DataType::Float as i32 {
        return Err(format!(
            "has the {kind} {name} of another kind than 32-bit floats"
        ));
    }
    let agree = found.len() == sizes.len() + 1
        && found
            .iter()
            .skip(1)
            .zip(sizes)
            .all(|(found, expected)| match (found, expected) {
                (Some(found), Some(expected)) => i64::try_from(*expected).ok() == Some(*found),
                _ => true,
            });
    let text = |sizes: &mut dyn Iterator<Item = Option<String>>| {
        let sizes: Vec<String> = sizes.map(|size| size.unwrap_or_else(|| "?".to_owned())).collect();
        sizes.join(", ")
    };
    if !agree {
        return Err(format!(
            "has the {kind} {name} of the shape [{}], the manifest says [batch, {}]",
            text(&mut found.iter().map(|size| size.map(|size| size.to_string()))),
            text(&mut sizes.iter().map(|size| size.map(|size| size.to_string()))),
        ));
    }
    if let (Some(Some(batch)), "input") = (found.first(), kind) {
        return Err(format!(
            "takes {batch} images at a time and no other number: export it with a batch of any size"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
