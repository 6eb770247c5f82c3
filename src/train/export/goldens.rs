//! Golden cases by libtorch from the unexported graph, so that they prove the export and not themselves.

use std::collections::BTreeMap;

use super::heads::HeadOutputs;
use crate::dicom::Instance;
use crate::image::Tensor;
use crate::image::preprocess::Preprocessing;
use crate::model::{GoldenCase, GoldenInput, Goldens};
use crate::train::learn::Engine;

/// How far ONNX Runtime's logits may be from libtorch's.
pub const TOLERANCE: f32 = 1e-4;

/// What the network says of made inputs and of `samples`, DICOM files by their names in the package.
///
/// # Errors
/// A sentence that names the file.
pub fn goldens(
    engine: &Engine,
    outputs: &[HeadOutputs],
    contract: &Preprocessing,
    samples: &BTreeMap<String, Vec<u8>>,
) -> Result<Goldens, String> {
    let [low, high] = contract
        .range
        .map(|end| (end - contract.mean[0]) / contract.std[0]);
    let made = [
        ("black", GoldenInput::Constant { value: low }),
        ("saturated", GoldenInput::Constant { value: high }),
        ("noise 1", GoldenInput::Noise { seed: 1 }),
        ("noise 2", GoldenInput::Noise { seed: 2 }),
    ];
    let mut cases = Vec::new();
    for (name, input) in made {
        cases.push(GoldenCase {
            name: name.to_owned(),
            scores: proof(engine, outputs, &tensor(&input, contract, samples)?)?,
            input,
        });
    }
    for file in samples.keys() {
        let input = GoldenInput::Dicom { file: file.clone() };
        cases.push(GoldenCase {
            name: file.clone(),
            scores: proof(engine, outputs, &tensor(&input, contract, samples)?)?,
            input,
        });
    }
    Ok(Goldens {
        origin: "libtorch 2.11.0 on the CPU, before export".to_owned(),
        tolerance: TOLERANCE,
        cases,
    })
}

/// What a golden case puts into the network; `files` hold the DICOM files that cases name.
///
/// # Errors
/// A sentence that names the file.
pub(super) fn tensor(
    input: &GoldenInput,
    contract: &Preprocessing,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Tensor, String> {
    let GoldenInput::Dicom { file } = input else {
        let made = input.tensor(contract.input_shape());
        return made.ok_or_else(|| "a made input has a tensor".to_owned());
    };
    let failed = |error: &dyn std::fmt::Display| format!("{file}: {error}");
    let bytes = files.get(file).ok_or_else(|| failed(&"it is not there"))?;
    let instance = Instance::parse(bytes.clone().into()).map_err(|error| failed(&error))?;
    let image = contract.decode(&instance).map_err(|error| failed(&error))?;
    Ok(contract.apply(&image).map_err(|error| failed(&error))?.0)
}

/// What goldens are compared with: of each head the logits, or the scores where it has none.
fn proof(engine: &Engine, outputs: &[HeadOutputs], tensor: &Tensor) -> Result<Vec<f32>, String> {
    let answers = engine.run(&tensor.values, 1).map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for output in outputs {
        let name = output.logits.as_ref().unwrap_or(&output.scores);
        let own = answers.get(name);
        all.extend(
            &own.ok_or_else(|| format!("the network has no output `{name}`"))?
                .values,
        );
    }
    Ok(all)
}
