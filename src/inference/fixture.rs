//! Devices for tests: sessions of the CPU under other names, with networks that run, fail, or fail on some images.

use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message;

use super::{Inference, ServedModel, Settings};
use crate::image::Tensor;
use crate::model::onnx_format::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, TensorProto,
};
use crate::model::{GoldenInput, Package};
use crate::runtime::proof::Proven;
use crate::runtime::{Device, Engine, Runtime};
use crate::telemetry::metrics::Metrics;

pub(super) const FIRST: Device = Device::Cuda(0);
pub(super) const SECOND: Device = Device::Cuda(1);

pub(super) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

pub(super) fn package() -> Package {
    Package::open(&models().join("spine-osteoporosis-phantom/1")).unwrap()
}

pub(super) fn runtime(device: Device) -> Runtime {
    Runtime::open(None, Device::Cpu).unwrap().standing_in_for(device)
}

pub(super) fn engine(device: Device, package: &Package) -> Engine {
    Engine::load(&runtime(device), &package.model, &package.manifest).unwrap()
}

/// The bundled model on [`FIRST`].
pub(crate) fn on_a_device(metrics: &Metrics) -> Inference {
    let settings = Settings {
        cores: 1,
        instances: 1,
        queue: 16,
        deadline: Duration::from_mins(1),
        decode_memory: 1 << 30,
    };
    let inference = Inference::new(settings, metrics.clone()).unwrap();
    inference.load(&models(), runtime(FIRST));
    inference
}

/// From now on every run on [`FIRST`] fails, as where CUDA has given the device up; nobody knows yet.
pub(crate) fn lose_device(inference: &Inference) {
    exchange(inference, broken_engine(FIRST, &package()));
}

/// As after a new start.
pub(crate) fn regain_device(inference: &Inference) {
    exchange(inference, engine(FIRST, &package()));
}

/// As if nobody had asked the bundled model for long.
pub(crate) fn forget(inference: &Inference) {
    inference.catalog.all()[0].batcher().unwrap().forget();
}

/// As if the device had failed on so many trials.
pub(crate) fn fail_trials(inference: &Inference, trials: u32) {
    inference.catalog.all()[0].batcher().unwrap().fail_trials(trials);
}

fn exchange(inference: &Inference, engine: Engine) {
    let served = ServedModel::new(
        package(),
        proven(vec![engine]),
        16,
        Duration::ZERO,
        &inference.metrics,
    );
    inference.catalog.put(served.unwrap());
}

/// What a proof gives for engines, whatever they are like.
pub(super) fn proven(engines: Vec<Engine>) -> Proven {
    Proven {
        engines,
        difference: 0.0,
        probe: images(&package(), 1).remove(0),
    }
}

/// An engine whose network loads, and fails whenever it is run.
pub(super) fn broken_engine(device: Device, package: &Package) -> Engine {
    changed_engine(device, package, |graph| {
        graph
            .initializer
            .push(integers("impossible", &[2], &[1_000_003, 2]));
        graph
            .node
            .push(operator("Reshape", &["before", "impossible"], "probabilities"));
    })
}

/// An engine whose network fails where anything in the image is 2 or more.
pub(super) fn picky_engine(device: Device, package: &Package) -> Engine {
    let input = &package.manifest.preprocessing.tensor;
    changed_engine(device, package, |graph| {
        let whole = |name: &str, i: i64| AttributeProto {
            name: name.to_owned(),
            i,
            r#type: AttributeType::Int as i32,
            ..AttributeProto::default()
        };
        let mut peak = operator("ReduceMax", &[input], "peak");
        peak.attribute.push(whole("keepdims", 0));
        let mut index = operator("Cast", &["peak"], "index");
        index.attribute.push(whole("to", DataType::Int64 as i64));
        let mut nothing = operator("Cast", &["found"], "nothing");
        nothing.attribute.push(whole("to", DataType::Float as i64));
        graph.initializer.push(integers("only", &[2], &[0, 0]));
        graph.node.extend([
            peak,
            index,
            operator("Gather", &["only", "index"], "found"),
            nothing,
            operator("Add", &["before", "nothing"], "probabilities"),
        ]);
    })
}

/// An engine of the package's network, whose probabilities are `before` until `change` makes new ones of them.
fn changed_engine(device: Device, package: &Package, change: impl FnOnce(&mut GraphProto)) -> Engine {
    let mut model = ModelProto::decode(&package.model[..]).unwrap();
    let graph = model.graph.as_mut().unwrap();
    for output in graph.node.iter_mut().flat_map(|node| &mut node.output) {
        if output == "probabilities" {
            "before".clone_into(output);
        }
    }
    change(graph);
    Engine::load(&runtime(device), &model.encode_to_vec(), &package.manifest).unwrap()
}

fn operator(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        name: format!("makes {output}"),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

fn integers(name: &str, shape: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: shape.to_vec(),
        data_type: DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// Noise of the size of the model's input.
pub(super) fn images(package: &Package, count: u64) -> Vec<Tensor> {
    let shape = package.manifest.preprocessing.input_shape();
    (0..count)
        .map(|seed| GoldenInput::Noise { seed: 100 + seed }.tensor(shape).unwrap())
        .collect()
}
