//! Golden cases of a network from elsewhere: what ONNX Runtime makes of it here, where no trainer's engine is at hand.
//!
//! They cannot show that the network is right, only that it goes on computing what it computed when it was imported.

use std::collections::BTreeMap;

use super::{Engine, Network, Runtime};
use crate::dicom::Instance;
use crate::image::Tensor;
use crate::model::{GoldenCase, GoldenInput, Goldens, ModelManifest};

/// The tolerance of such goldens: what other processors and versions make of the same sums.
const TOLERANCE: f32 = 1e-3;
/// How far a score of a batch may be from that of its image alone.
const IN_A_BATCH: f32 = 1e-4;

/// Runs a network on made inputs and on `samples`, DICOM files of the package by their names.
///
/// # Errors
/// One sentence that names the case, or says what is wrong with the network.
pub fn record(
    runtime: &Runtime,
    model: &[u8],
    manifest: &ModelManifest,
    samples: &BTreeMap<String, Vec<u8>>,
) -> Result<Goldens, String> {
    let contract = &manifest.preprocessing;
    let [low, high] = contract
        .range
        .map(|end| (end - contract.mean[0]) / contract.std[0]);
    let mut inputs = Vec::new();
    for (name, input) in [
        ("black", GoldenInput::Constant { value: low }),
        ("saturated", GoldenInput::Constant { value: high }),
        ("noise 1", GoldenInput::Noise { seed: 1 }),
        ("noise 2", GoldenInput::Noise { seed: 2 }),
    ] {
        if let Some(tensor) = input.tensor(contract.input_shape()) {
            inputs.push((name.to_owned(), input, tensor));
        }
    }
    for (file, bytes) in samples {
        let failed = |error: &dyn std::fmt::Display| format!("{file}: {error}");
        let instance = Instance::parse(bytes.clone().into()).map_err(|error| failed(&error))?;
        let image = contract.decode(&instance).map_err(|error| failed(&error))?;
        let (tensor, _) = contract.apply(&image).map_err(|error| failed(&error))?;
        inputs.push((file.clone(), GoldenInput::Dicom { file: file.clone() }, tensor));
    }

    // what is proven by it later must not be what made it
    let mut engine = Network::by_onnx_runtime(runtime, model)
        .and_then(|network| network.engine(manifest))
        .map_err(|error| error.to_string())?;
    let mut cases = Vec::new();
    for (name, input, tensor) in &inputs {
        cases.push(GoldenCase {
            name: name.clone(),
            input: input.clone(),
            scores: scores(&mut engine, &[tensor])?.remove(0),
        });
    }
    let tensors: Vec<&Tensor> = inputs.iter().map(|(_, _, tensor)| tensor).collect();
    for (case, found) in cases.iter().zip(scores(&mut engine, &tensors)?) {
        let difference = case.difference(&found);
        if difference
            > IN_A_BATCH
                * case
                    .scores
                    .iter()
                    .fold(1.0, |most: f32, score| most.max(score.abs()))
        {
            return Err(format!(
                "the network answers {} otherwise in a batch than alone (by {difference:e}): export it in evaluation mode, with a dynamic batch",
                case.name
            ));
        }
    }
    Ok(Goldens {
        origin: format!(
            "ONNX Runtime on the {} when it was imported, osteon {}",
            runtime.device.provider(),
            env!("CARGO_PKG_VERSION")
        ),
        tolerance: TOLERANCE,
        cases,
    })
}

/// The numbers that goldens are compared with, for each image; all of them finite.
fn scores(engine: &mut Engine, batch: &[&Tensor]) -> Result<Vec<Vec<f32>>, String> {
    let answers = engine.run(batch).map_err(|error| error.to_string())?;
    let scores: Vec<Vec<f32>> = answers.iter().map(super::Prediction::proof).collect();
    if scores.len() != batch.len() {
        return Err("the network gave no answer".to_owned());
    }
    if scores.iter().flatten().any(|score| !score.is_finite()) {
        return Err("the network answers with numbers that are not finite: its weights are damaged, or it is for another range of values".to_owned());
    }
    Ok(scores)
}
