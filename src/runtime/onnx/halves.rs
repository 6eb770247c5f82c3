//! The arithmetic of a GPU for packages in fp16: 16-bit floats from the image to the answers.
//!
//! Products are added up in 32 bits inside a convolution or a matrix product, and rounded to 16 behind each. ONNX Runtime has no such
//! kernels for the CPU: it puts casts around each operator there, so that what is rounded is the same, and nothing is faster.

use half::f16;
use prost::Message;

use crate::model::onnx_format::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, TensorProto,
};

/// The same network whose numbers are 16-bit floats all the way from the image to the answers.
///
/// # Errors
/// One sentence where the file is none, or keeps its weights in another way.
pub fn in_halves(model: &[u8]) -> Result<Vec<u8>, String> {
    let mut model = ModelProto::decode(model).map_err(|error| error.to_string())?;
    let graph = model.graph.as_mut().ok_or("the file has no graph")?;
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
            if !tensor.float_data.is_empty() {
                return Err("its weights are listed, not packed".to_owned());
            }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{GoldenInput, NumberFormat, Package, ReducedPrecision};
    use crate::runtime::proof::prove;
    use crate::runtime::{Device, Engine, Runtime};

    /// The bundled package, which says that it is in fp16 and how far goldens may be off.
    fn package(tolerance: f32) -> Package {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let mut package = Package::open(&models.join("spine-osteoporosis-phantom/1")).unwrap();
        package.manifest.reduced_precision = Some(ReducedPrecision {
            format: NumberFormat::Fp16,
            area: 0.002,
            calibration_error: 0.01,
            images: 1,
            decisions_changed: 0.0,
        });
        package.goldens.tolerance = tolerance;
        package
    }

    #[test]
    fn a_network_in_16_bits_is_near_that_in_32_and_another_one() {
        let package = package(1e-4);
        let runtime = Runtime::open(None, Device::Cpu).unwrap();
        let image = GoldenInput::Noise { seed: 3 }
            .tensor(package.manifest.preprocessing.input_shape())
            .unwrap();
        let [whole, halves] = [package.model.clone(), in_halves(&package.model).unwrap()].map(|model| {
            let mut engine = Engine::load(&runtime, &model, &package.manifest).unwrap();
            engine.run(&[&image]).unwrap().remove(0).proof()
        });
        let apart = |(a, b): (&f32, &f32)| (a - b).abs();
        let worst = whole.iter().zip(&halves).map(apart).fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < 0.05, "{worst}: {whole:?} and {halves:?}");
        assert!(in_halves(b"no network").is_err());
    }

    #[test]
    fn a_package_in_fp16_computes_in_16_bits_where_batches_run_if_its_goldens_hold() {
        let cpu = Runtime::open(None, Device::Cpu).unwrap();
        let bits = |runtime: &Runtime, package: &Package| {
            let proven = prove(package, runtime, 1, 1).unwrap();
            proven.engines.iter().map(Engine::bits).collect::<Vec<_>>()
        };
        let batches = cpu.clone().in_batches();
        assert_eq!(bits(&batches, &package(0.05)), [16]);
        // closer than 16 bits come: 32 do
        assert_eq!(bits(&batches, &package(2e-5)), [32]);
        assert_eq!(bits(&cpu, &package(0.05)), [32], "the CPU has no such kernels");
        let mut whole = package(0.05);
        whole.manifest.reduced_precision = None;
        assert_eq!(bits(&batches, &whole), [32]);
    }
}
