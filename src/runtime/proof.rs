//! Proof before serving: an engine is good only if it reproduces the package's golden cases here, on this device.

use std::fmt::Display;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::dicom::Instance;
use crate::image::{StoredImage, Tensor};
use crate::model::golden::difference;
use crate::model::{GoldenCase, GoldenInput, NumberFormat, Package, Stage};

use super::{Device, Engine, Network, Prediction, Runtime, RuntimeError, Stop, memory};

mod groups;

pub use groups::at_once;
use groups::in_groups;

mod off;

pub use off::{Off, Unproven};

/// How long one batch of golden cases may take: other models wait for the proof to end.
const LONGEST: Duration = Duration::from_mins(5);
/// What a logistic function or a softmax may be off by, whoever computes it.
const ROUNDING: f32 = 1e-5;

/// Engines that proved themselves.
pub struct Proven {
    /// One for each that was asked for.
    pub engines: Vec<Engine>,
    /// The largest difference of any golden case on any of them.
    pub difference: f32,
    /// The input of a golden case, which all of them ran.
    pub probe: Tensor,
}

/// Loads `count` engines of a package, each of one thread, and checks every golden case on each of them, [so many](at_once) at the same
/// time. A package in fp16 computes in 16 bits on a GPU where its goldens hold in them, else in 32; on the CPU some convolutions are our own
/// where the goldens hold with them.
///
/// # Errors
/// [`Unproven`], by the first engine that is off.
pub fn prove(package: &Package, runtime: &Runtime, count: usize, at_once: usize) -> Result<Proven, Unproven> {
    let proven = prove_alone(package, runtime, count, at_once);
    memory::trim();
    proven
}

fn prove_alone(
    package: &Package,
    runtime: &Runtime,
    count: usize,
    at_once: usize,
) -> Result<Proven, Unproven> {
    let goldens = |error: RuntimeError| Off::from(error).at(Stage::Goldens);
    let (model, device) = (&package.manifest.name, runtime.device);
    let reduced = package.manifest.reduced_precision;
    let is_half = reduced.is_some_and(|reduced| reduced.format == NumberFormat::Fp16);
    if is_half && runtime.batch_sizes().len() > 1 {
        // what may differ is the goldens' tolerance, in 16 bits as in 32
        let proven = Network::in_halves(runtime, &package.model)
            .map_err(goldens)
            .and_then(|network| prove_network(package, runtime, &network, count, at_once));
        match or_why_not(proven)? {
            Ok(proven) => return Ok(proven),
            Err(reason) => tracing::warn!(model, %device, reason, "model.in_32_bits"),
        }
    }
    let network = Network::new(runtime, &package.model).map_err(goldens)?;
    let proven = prove_network(package, runtime, &network, count, at_once);
    if !network.is_replaced() {
        return proven;
    }
    drop(network);
    match or_why_not(proven)? {
        Ok(proven) => Ok(proven),
        Err(reason) => {
            let network = Network::by_onnx_runtime(runtime, &package.model).map_err(goldens)?;
            let proven = prove_network(package, runtime, &network, count, at_once)?;
            tracing::warn!(model, %device, reason, "model.by_onnx_runtime_alone");
            Ok(proven)
        }
    }
}

/// What was proven, or why another way to compute the same may be tried; an error where the same way may be good the next time.
fn or_why_not(proven: Result<Proven, Unproven>) -> Result<Result<Proven, String>, Unproven> {
    match proven {
        Ok(proven) => Ok(Ok(proven)),
        Err(unproven) if unproven.may_pass => Err(unproven),
        Err(Unproven { reason, .. }) => Ok(Err(reason)),
    }
}

fn prove_network(
    package: &Package,
    runtime: &Runtime,
    network: &Network,
    count: usize,
    at_once: usize,
) -> Result<Proven, Unproven> {
    let goldens = |off: Off| off.at(Stage::Goldens);
    // of several GPUs one may be off
    let on_device = |stage| {
        move |off: Off| match runtime.device {
            Device::Cpu => off.at(stage),
            device @ Device::Cuda(_) => off.after(format_args!("on {device}")).at(stage),
        }
    };
    let inputs = golden_inputs(package, |image| image).map_err(goldens)?;
    let prove_one = || {
        let mut engine = network
            .engine(&package.manifest)
            .map_err(|error| goldens(error.into()))?;
        let alone = reproduce(package, &inputs, &mut engine).map_err(on_device(Stage::Goldens))?;
        let batched =
            reproduce_in_batches(package, &inputs, &mut engine).map_err(on_device(Stage::WarmUp))?;
        Ok((engine, alone.max(batched)))
    };
    // what is wrong with a package is found by the first, and said once
    let (first, mut difference) = prove_one()?;
    let mut engines = vec![first];
    let panicked = || {
        goldens(Off::from(
            "the proof itself failed; the server's log has the cause".to_owned(),
        ))
    };
    let others = in_groups(count.saturating_sub(1), at_once, prove_one, panicked)?;
    for (engine, found) in others {
        difference = difference.max(found);
        engines.push(engine);
    }
    let probe = inputs.into_iter().next().unwrap_or_default();
    Ok(Proven {
        engines,
        difference,
        probe,
    })
}

/// The same on several devices, one after the other; the first that is off is named.
///
/// # Errors
/// As [`prove`].
pub fn prove_on(
    package: &Package,
    runtimes: &[Runtime],
    count: impl Fn(&Runtime) -> usize,
    at_once: usize,
) -> Result<Proven, Unproven> {
    let mut all: Option<Proven> = None;
    for runtime in runtimes {
        let proven = prove(package, runtime, count(runtime), at_once)?;
        all = Some(match all {
            None => proven,
            Some(mut all) => {
                all.engines.extend(proven.engines);
                all.difference = all.difference.max(proven.difference);
                all
            }
        });
    }
    all.ok_or_else(|| Off::from("there is no device to prove it on".to_owned()).at(Stage::Goldens))
}

/// Runs the golden cases two at a time on engines that serve nobody: whether images beside each other change each other, which a
/// device that takes one at a time would not show. Gives the largest difference.
///
/// # Errors
/// [`Unproven`] with the first case that is off.
pub fn reproduce_in_pairs(package: &Package, engines: &mut [Engine]) -> Result<f32, Unproven> {
    let off = |off: Off| off.at(Stage::WarmUp);
    let inputs = golden_inputs(package, |image| image).map_err(off)?;
    let cases = inputs.len();
    let mut worst: f32 = 0.0;
    for engine in engines {
        for case in 0..cases {
            let pair = [case, (case + 1) % cases];
            worst = worst.max(reproduce_batch(package, &inputs, engine, &pair).map_err(off)?);
        }
    }
    Ok(worst)
}

/// The tensors of the golden cases, through the same decoding and preprocessing that serving uses.
///
/// `change` sees each decoded image: serving changes nothing, and a self-test of this proof shows with it that a
/// mistake in decoding would be caught.
///
/// # Errors
/// [`Off`], which names the case.
pub fn golden_inputs(
    package: &Package,
    change: impl Fn(StoredImage) -> StoredImage,
) -> Result<Vec<Tensor>, Off> {
    let contract = &package.manifest.preprocessing;
    package
        .goldens
        .cases
        .iter()
        .map(|case| {
            let name = format!("golden case {}", case.name);
            let off = |error: &dyn Display| Off::from(format!("{name}: {error}"));
            if let Some(made) = case.input.tensor(contract.input_shape()) {
                return Ok(made);
            }
            let GoldenInput::Dicom { file } = &case.input else {
                return Err(off(&"it has no input"));
            };
            let bytes = package
                .file(file)
                .map_err(|error| Off::from(error).after(&name))?;
            let instance = Instance::parse(bytes.into()).map_err(|error| off(&error))?;
            let image = contract.decode(&instance).map_err(|error| off(&error))?;
            Ok(contract.apply(&change(image)).map_err(|error| off(&error))?.0)
        })
        .collect()
}

/// Runs every golden case alone and gives the largest difference.
///
/// # Errors
/// [`Off`], which names the first case that is.
pub fn reproduce(package: &Package, inputs: &[Tensor], engine: &mut Engine) -> Result<f32, Off> {
    (0..inputs.len()).try_fold(0.0, |worst: f32, case| {
        Ok(worst.max(reproduce_batch(package, inputs, engine, &[case])?))
    })
}

/// Runs the golden cases in every batch size above one that the device serves, each full and one short of full, in turning
/// order, so that different cases stand beside each other and at each place; gives the largest difference. Every size is
/// warm afterwards.
///
/// # Errors
/// [`Off`], which names the first case that is, its place and the batch.
pub fn reproduce_in_batches(package: &Package, inputs: &[Tensor], engine: &mut Engine) -> Result<f32, Off> {
    let cases = inputs.len();
    let mut worst: f32 = 0.0;
    for size in engine.batch_sizes().into_iter().filter(|size| *size > 1) {
        for (turn, images) in [size, size - 1].into_iter().enumerate() {
            let batch: Vec<usize> = (0..images).map(|place| (place + turn) % cases).collect();
            worst = worst.max(reproduce_batch(package, inputs, engine, &batch)?);
        }
    }
    Ok(worst)
}

/// Runs a batch, which is stopped after a time where the device can be.
fn run_within(
    limit: Duration,
    engine: &mut Engine,
    batch: &[&Tensor],
) -> Result<Vec<Prediction>, RuntimeError> {
    let stop = &Stop::default();
    std::thread::scope(|scope| {
        let (ended, end) = channel::<()>();
        let watch = move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                stop.stop();
            }
        };
        // without a thread for it nobody watches
        let _ = std::thread::Builder::new().spawn_scoped(scope, watch);
        let answers = engine.run_until(batch, stop);
        drop(ended);
        answers
    })
}

/// Whether what is served beside the numbers of the goldens holds: values that follow from the expected logits, and an embedding and
/// maps of finite numbers.
fn serves(package: &Package, case: &GoldenCase, answer: &Prediction) -> Result<(), String> {
    let manifest = &package.manifest;
    let mut expected = case.scores.as_slice();
    for (head, found) in manifest.heads.iter().zip(&answer.heads) {
        let (own, others) = expected.split_at_checked(head.width()).unwrap_or_default();
        expected = others;
        if let Some(values) = head.logits.as_ref().and_then(|_| head.follows(own)) {
            let least = head
                .labels
                .iter()
                .map(|label| label.temperature)
                .fold(1.0, f32::min);
            let (off, allowed) = (
                difference(&values, &found.values),
                package.goldens.tolerance / least + ROUNDING,
            );
            if off > allowed {
                return Err(format!(
                    "the scores of head {} ({}) are off by {off:e} from what follows from its logits, temperature and activation, more than the {allowed:e} that is allowed",
                    head.name, head.scores
                ));
            }
        }
        let maps = &found.activation_maps;
        let finite = || {
            maps.iter()
                .flat_map(|map| &map.values)
                .all(|value| value.is_finite())
        };
        if head.activation_map.is_some() && (maps.len() != head.labels.len() || !finite()) {
            return Err(format!(
                "the activation map of head {} is not one of finite numbers for each label",
                head.name
            ));
        }
    }
    let embedding = answer.embedding.as_deref().unwrap_or_default();
    if manifest.embedding.is_some()
        && (embedding.is_empty() || embedding.iter().any(|value| !value.is_finite()))
    {
        return Err("the embedding is no row of finite numbers".to_owned());
    }
    Ok(())
}

/// Runs one batch of golden cases, named by their indices, and gives the largest difference.
fn reproduce_batch(
    package: &Package,
    inputs: &[Tensor],
    engine: &mut Engine,
    batch: &[usize],
) -> Result<f32, Off> {
    let tolerance = package.goldens.tolerance;
    let goldens = &package.goldens.cases;
    let (cases, tensors): (Vec<_>, Vec<_>) = batch
        .iter()
        .filter_map(|index| Some((goldens.get(*index)?, inputs.get(*index)?)))
        .unzip();
    let place = |place: usize| match batch.len() {
        1 => String::new(),
        size => format!(" at place {} of a batch of {size}", place + 1),
    };
    let answers = run_within(LONGEST, engine, &tensors).map_err(|error| {
        let name = cases.first().map_or("", |case| case.name.as_str());
        let why = match error {
            RuntimeError::Stopped => {
                format!("no answer came within {} minutes", LONGEST.as_secs() / 60).into()
            }
            error => Off::from(error),
        };
        why.after(format_args!("golden case {name}{}", place(0)))
    })?;
    let mut worst: f32 = 0.0;
    for (index, case) in cases.iter().enumerate() {
        let difference = answers
            .get(index)
            .map_or(f32::INFINITY, |answer| case.difference(&answer.proof()));
        if difference.is_infinite() {
            return Err(format!(
                "golden case {}{} gives what is no number, or too few of them: the model does not compute here what it computed in training",
                case.name,
                place(index)
            )
            .into());
        }
        if tolerance.is_nan() || difference > tolerance {
            return Err(format!(
                "golden case {}{} is off by {difference:e}, more than the {tolerance:e} that is allowed: the model does not compute here what it computed in training",
                case.name,
                place(index)
            )
            .into());
        }
        if let Some(answer) = answers.get(index) {
            serves(package, case, answer)
                .map_err(|what| format!("golden case {}{}: {what}", case.name, place(index)))?;
        }
        if let (Some(statistics), Some(answer)) = (&package.distribution, answers.get(index)) {
            // a file about other features than the network's would refuse everything, or worse, nothing
            statistics
                .distance(answer.embedding.as_deref().unwrap_or_default())
                .map_err(|error| format!("golden case {}: {error}", case.name))?;
        }
        worst = worst.max(difference);
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_golden_case_that_takes_too_long_is_stopped() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let package = Package::open(&models.join("spine-osteoporosis-phantom/1")).unwrap();
        let runtime = Runtime::open(None, Device::Cpu).unwrap();
        let mut engine = Engine::load(&runtime, &package.model, &package.manifest).unwrap();
        let input = GoldenInput::Noise { seed: 1 };
        let input = input
            .tensor(package.manifest.preprocessing.input_shape())
            .unwrap();
        // some hundred times what one takes
        let batch = vec![&input; 256];
        let stopped = run_within(Duration::ZERO, &mut engine, &batch);
        assert!(matches!(stopped, Err(RuntimeError::Stopped)));
        assert_eq!(run_within(LONGEST, &mut engine, &batch[..1]).unwrap().len(), 1);
    }
    #[test]
    fn a_package_that_our_convolutions_miss_is_served_by_onnx_runtime_alone() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let mut package = Package::open(&models.join("spine-osteoporosis-phantom/1")).unwrap();
        let runtime = Runtime::open(None, Device::Cpu).unwrap();
        let inputs = golden_inputs(&package, |image| image).unwrap();
        let alone = Network::by_onnx_runtime(&runtime, &package.model).unwrap();
        let mut engine = alone.engine(&package.manifest).unwrap();
        // not even the last bit may differ
        package.goldens.tolerance = 0.0;
        for (case, input) in package.goldens.cases.iter_mut().zip(&inputs) {
            case.scores = engine.run(&[input]).unwrap()[0].proof();
        }
        let ours = Network::new(&runtime, &package.model).unwrap();
        let missed = prove_network(&package, &runtime, &ours, 1, 1);
        assert_eq!(missed.is_err(), ours.is_replaced());
        let proven = prove(&package, &runtime, 2, 1).unwrap();
        assert_eq!((proven.engines.len(), proven.difference.to_bits()), (2, 0));

        // what nothing reproduces is refused
        package.goldens.cases[0].scores[0] += 1.0;
        assert!(prove(&package, &runtime, 1, 1).is_err());
    }
}
