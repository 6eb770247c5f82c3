//! What 16-bit arithmetic would bring and cost on this device: the server computes in 32 bits (`docs/decisions/0032-*.md`), and here is
//! the measure of that.

use std::time::Instant;

use anyhow::Context;
use half::f16;
use osteon::image::Tensor;
use osteon::model::Package;
use osteon::model::onnx_format::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, TensorProto,
};
use osteon::runtime::{Engine, Runtime};
use prost::Message;
use serde_json::json;

use super::{changed_decisions, say};

/// Runs the network in 16 bits: speed, the largest difference of a value from the CPU's, and the decisions that change.
pub(super) fn check(
    package: &Package,
    gpu: &Runtime,
    images: &[Tensor],
    expected: &[Vec<f32>],
    batches: usize,
) -> anyhow::Result<()> {
    let loaded =
        in_halves(&package.model).and_then(|model| Ok(Engine::load(gpu, &model, &package.manifest)?));
    let mut engine = match loaded {
        Ok(engine) => engine,
        Err(error) => {
            say(&json!({ "check": "halves", "said": error.to_string() }));
            return Ok(());
        }
    };
    let all: Vec<&Tensor> = images.iter().collect();
    let answers = engine.run(&all)?;
    let mut worst: f32 = 0.0;
    for (answer, expected) in answers.iter().zip(expected) {
        for (here, there) in answer.values().iter().zip(expected) {
            // what is no number is as far off as can be
            worst = worst.max(if here.is_finite() {
                (here - there).abs()
            } else {
                f32::INFINITY
            });
        }
    }
    let (changed, decisions) = changed_decisions(package, &answers, expected);
    let largest = engine.batch_sizes().last().copied().unwrap_or(1);
    let batch: Vec<&Tensor> = images.iter().cycle().take(largest).collect();
    let started = Instant::now();
    for _ in 0..batches.max(1) {
        engine.run(&batch)?;
    }
    let images = (largest * batches.max(1)) as f64;
    say(&json!({
        "check": "halves", "batch": largest, "images_per_s": images / started.elapsed().as_secs_f64(),
        "off_by": worst.is_finite().then_some(worst), "changed": changed, "decisions": decisions,
    }));
    Ok(())
}

/// The same network whose numbers are 16-bit floats all the way from the image to the answers.
fn in_halves(model: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut model = ModelProto::decode(model)?;
    let graph = model.graph.as_mut().context("the file has no graph")?;
    // matrices of a package in fp16 are in 16 bits already, and need their casts no more
    for tensor in &mut graph.initializer {
        let is_cast = |node: &NodeProto| node.op_type == "Cast" && node.input == [tensor.name.as_str()];
        if let Some(index) = graph.node.iter().position(is_cast) {
            tensor.name = graph.node.remove(index).output.remove(0);
        }
    }
    let tensors = graph.initializer.iter_mut();
    let of_nodes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    for tensor in tensors.chain(of_nodes.filter_map(|attribute| attribute.t.as_mut())) {
        if tensor.data_type == DataType::Float as i32 {
            anyhow::ensure!(
                tensor.float_data.is_empty(),
                "its weights are listed, not packed: nothing here reads those"
            );
            halve(tensor);
        }
    }
    let inputs: Vec<String> = graph.input.iter().map(|input| input.name.clone()).collect();
    let outputs: Vec<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    for name in inputs.iter().chain(&outputs) {
        rename(graph, name);
    }
    graph.value_info.clear();
    for name in &inputs {
        graph.node.insert(0, cast(name, &inside(name), DataType::Float16));
    }
    for name in &outputs {
        graph.node.push(cast(&inside(name), name, DataType::Float));
    }
    Ok(model.encode_to_vec())
}

fn halve(tensor: &mut TensorProto) {
    let halves = tensor.raw_data.as_chunks().0.iter();
    tensor.raw_data = halves
        .flat_map(|bytes| f16::from_f32(f32::from_le_bytes(*bytes)).to_le_bytes())
        .collect();
    tensor.data_type = DataType::Float16 as i32;
}

/// The name in 16 bits of what has 32 outside.
fn inside(name: &str) -> String {
    format!("{name}.half")
}

fn rename(graph: &mut GraphProto, name: &str) {
    for node in &mut graph.node {
        for place in node.input.iter_mut().chain(&mut node.output) {
            if place == name {
                *place = inside(name);
            }
        }
    }
}

fn cast(from: &str, to: &str, into: DataType) -> NodeProto {
    NodeProto {
        op_type: "Cast".to_owned(),
        name: format!("{to}.cast"),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        attribute: vec![AttributeProto {
            name: "to".to_owned(),
            i: i64::from(into as i32),
            r#type: AttributeType::Int as i32,
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    }
}
