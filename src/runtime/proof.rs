//! Proof before serving: an engine is good only if it reproduces the package's golden cases here, on this device.

use crate::dicom::Instance;
use crate::image::decode::decode;
use crate::image::{StoredImage, Tensor};
use crate::model::{GoldenInput, Package};

use super::{Engine, Runtime};

/// Loads `count` engines of a package, each with `threads` threads, and checks every golden case on each of them.
///
/// # Errors
/// One sentence that says what is off.
pub fn prove(
    package: &Package,
    runtime: &Runtime,
    count: usize,
    threads: usize,
) -> Result<Vec<Engine>, String> {
    let inputs = golden_inputs(package, |image| image)?;
    (0..count.max(1))
        .map(|_| {
            let mut engine = Engine::load(runtime, &package.model, &package.manifest, threads)
                .map_err(|error| error.to_string())?;
            reproduce(package, &inputs, &mut engine)?;
            Ok(engine)
        })
        .collect()
}

/// The tensors of the golden cases, through the same decoding and preprocessing that serving uses.
///
/// `change` sees each decoded image: serving changes nothing, and a self-test of this proof shows with it that a
/// mistake in decoding would be caught.
///
/// # Errors
/// One sentence that names the case.
pub fn golden_inputs(
    package: &Package,
    change: impl Fn(StoredImage) -> StoredImage,
) -> Result<Vec<Tensor>, String> {
    let contract = &package.manifest.preprocessing;
    package
        .goldens
        .cases
        .iter()
        .map(|case| {
            let off = |error: &dyn std::fmt::Display| format!("golden case {}: {error}", case.name);
            if let Some(made) = case.input.tensor(contract.input_shape()) {
                return Ok(made);
            }
            let GoldenInput::Dicom { file } = &case.input else {
                return Err(off(&"it has no input"));
            };
            let bytes = package.file(file).map_err(|error| off(&error))?;
            let instance = Instance::parse(bytes.into()).map_err(|error| off(&error))?;
            let image = decode(&instance).map_err(|error| off(&error))?;
            Ok(contract.apply(&change(image)).map_err(|error| off(&error))?.0)
        })
        .collect()
}

/// Runs every golden case and gives the largest difference.
///
/// # Errors
/// One sentence that names the first case that is off.
pub fn reproduce(package: &Package, inputs: &[Tensor], engine: &mut Engine) -> Result<f32, String> {
    let tolerance = package.goldens.tolerance;
    let mut worst: f32 = 0.0;
    for (case, input) in package.goldens.cases.iter().zip(inputs) {
        let scores = engine
            .run(&[input])
            .map_err(|error| format!("golden case {}: {error}", case.name))?;
        let difference = scores
            .first()
            .map_or(f32::INFINITY, |scores| case.difference(&scores.scores));
        if difference > tolerance {
            return Err(format!(
                "golden case {} is off by {difference:e}, more than the {tolerance:e} that is allowed: the model does not compute here what it computed in training",
                case.name
            ));
        }
        worst = worst.max(difference);
    }
    Ok(worst)
}
