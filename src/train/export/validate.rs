//! The gates that a package passes before it may be served, and the proof that the gates can fail.
//!
//! Each gate gives a figure or a reason. The last three break the package on purpose, in memory, and pass only if the
//! gates before them notice.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message;

use super::package::{INTENDED_USE_KEY, LABELS_KEY, LINEAGE_KEY};
use crate::dicom::Instance;
use crate::image::decode::decode;
use crate::image::preprocess::{METADATA_KEY, ReducedResolution};
use crate::image::reduce::low_band;
use crate::image::{Codes, StoredImage, Tensor};
use crate::model::onnx_format::ModelProto;
use crate::model::{GoldenInput, ModelManifest, Package};
use crate::runtime::proof::{golden_inputs, reproduce};
use crate::runtime::{Engine, Runtime};

/// What one gate found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// What it looks at.
    pub name: &'static str,
    /// The figure that it found, or why it did not pass.
    pub result: Result<String, String>,
}

/// Batch sizes that must answer as one image alone does.
const BATCHES: [usize; 3] = [2, 7, 32];
/// Runs for the latency: as many as fit into the time, within these bounds.
const RUNS: std::ops::RangeInclusive<usize> = 20..=200;
/// The time.
const LATENCY_TIME: Duration = Duration::from_secs(2);

/// Runs every gate on the package in `folder`; `radiographs` are DICOM files for the one that needs images of the usual size,
/// beside the golden cases.
#[must_use]
pub fn validate(folder: &Path, radiographs: &[PathBuf], runtime: &Runtime) -> Vec<Gate> {
    let package = match Package::open(folder) {
        Ok(package) => package,
        Err(error) => {
            return vec![Gate {
                name: STRUCTURE,
                result: Err(error.to_string()),
            }];
        }
    };
    let gate = |name, result| Gate { name, result };
    vec![
        gate(STRUCTURE, structure(&package)),
        gate(
            "golden parity, trainer against ONNX Runtime",
            parity(&package, runtime),
        ),
        gate("dynamic batch", dynamic_batch(&package, runtime)),
        gate("DICOM to score, both polarities", polarity(&package, runtime)),
        gate(
            "lower resolutions of JPEG 2000",
            reduced_resolution(&package, radiographs, runtime),
        ),
        gate("contract inside the file", contract(&package, &package.manifest)),
        gate("latency on one thread", latency(&package, runtime)),
        gate(
            "a corrupted weight is caught",
            corrupted_weight(&package, runtime),
        ),
        gate("swapped labels are caught", swapped_labels(&package)),
        gate(
            "a left-out inversion is caught",
            left_out_inversion(&package, runtime),
        ),
    ]
}

const STRUCTURE: &str = "structure and digests";

fn structure(package: &Package) -> Result<String, String> {
    // opening the package has checked digests, opset, operators and external data
    let model = ModelProto::decode(package.model.as_slice()).map_err(|error| error.to_string())?;
    let opset = model.opset_import.first().map_or(0, |opset| opset.version);
    let nodes = model.graph.as_ref().map_or(0, |graph| graph.node.len());
    let files = package.manifest.files.len();
    Ok(format!(
        "{files} files as digested, {} KiB, opset {opset}, {nodes} nodes",
        package.model.len() / 1024
    ))
}

fn engine(package: &Package, runtime: &Runtime) -> Result<Engine, String> {
    Engine::load(runtime, &package.model, &package.manifest).map_err(|error| error.to_string())
}

fn parity(package: &Package, runtime: &Runtime) -> Result<String, String> {
    let inputs = golden_inputs(package, |image| image)?;
    let worst = reproduce(package, &inputs, &mut engine(package, runtime)?)?;
    Ok(format!(
        "{} cases, at most {worst:.1e} off (allowed {:.0e})",
        inputs.len(),
        package.goldens.tolerance
    ))
}

fn dynamic_batch(package: &Package, runtime: &Runtime) -> Result<String, String> {
    let mut engine = engine(package, runtime)?;
    let shape = package.manifest.preprocessing.input_shape();
    let tensors: Vec<Tensor> = (0..32)
        .filter_map(|seed| GoldenInput::Noise { seed: 100 + seed }.tensor(shape))
        .collect();
    let mut alone = Vec::new();
    for tensor in &tensors {
        alone.extend(engine.run(&[tensor]).map_err(|error| error.to_string())?);
    }
    let mut worst: f32 = 0.0;
    for size in BATCHES {
        let batch: Vec<&Tensor> = tensors.iter().take(size).collect();
        let together = engine
            .run(&batch)
            .map_err(|error| format!("a batch of {size}: {error}"))?;
        for (one, other) in alone.iter().zip(&together) {
            for (a, b) in one.proof().iter().zip(&other.proof()) {
                worst = worst.max(distance(*a, *b));
            }
        }
    }
    let figure = format!("batches of 1, 2, 7 and 32 differ by at most {worst:.1e}");
    if worst <= package.goldens.tolerance {
        Ok(figure)
    } else {
        Err(figure)
    }
}

/// What is not a number is infinitely far away.
fn distance(a: f32, b: f32) -> f32 {
    let distance = (a - b).abs();
    if distance.is_nan() {
        f32::INFINITY
    } else {
        distance
    }
}

/// The same picture as the other photometric interpretation must score alike.
fn polarity(package: &Package, runtime: &Runtime) -> Result<String, String> {
    let files = package
        .goldens
        .cases
        .iter()
        .filter(|case| matches!(case.input, GoldenInput::Dicom { .. }))
        .count();
    if files == 0 {
        return Err("no golden case is a DICOM file".to_owned());
    }
    let mut engine = engine(package, runtime)?;
    let inverted = golden_inputs(package, other_polarity)?;
    let worst = reproduce(package, &inverted, &mut engine)?;
    Ok(format!(
        "{files} files and their inverted copies, at most {worst:.1e} off"
    ))
}

/// Stored values, window and photometric interpretation all turned round: another file of the same picture.
fn other_polarity(mut image: StoredImage) -> StoredImage {
    use crate::image::grey::{Modality, Voi, VoiFunction};
    let top = (image.code_count() - 1) as u16;
    let mut codes = image.codes.words(image.rows * image.columns);
    for code in &mut codes {
        *code = top - *code;
    }
    image.codes = Codes::Words(codes);
    image.transform.inverted = !image.transform.inverted;
    if let (
        Some(Voi::Window {
            center,
            width,
            function,
        }),
        Modality::Linear { slope, intercept },
    ) = (&mut image.transform.voi, &image.transform.modality)
    {
        // the modality value v becomes slope * top + 2 * intercept - v; LINEAR is centred on center - 0.5
        let half = if *function == VoiFunction::Linear {
            0.5
        } else {
            0.0
        };
        *center = slope * f64::from(top) + 2.0 * intercept - (*center - half) + half;
        let _ = width;
    }
    image
}

/// What it does to the scores that JPEG 2000 is decoded at a lower resolution, if the contract allows it. Images in other
/// transfer syntaxes are brought to what JPEG 2000 would hold of them.
fn reduced_resolution(
    package: &Package,
    radiographs: &[PathBuf],
    runtime: &Runtime,
) -> Result<String, String> {
    let contract = &package.manifest.preprocessing;
    let Some(ReducedResolution { bound }) = contract.reduced_resolution else {
        return Ok("not allowed by the contract: decoded whole".to_owned());
    };
    let goldens = package.goldens.cases.iter().filter_map(|case| match &case.input {
        GoldenInput::Dicom { file } => Some(package.file(file).map_err(|error| error.to_string())),
        _ => None,
    });
    let given = radiographs.iter().enumerate().map(|(index, path)| {
        std::fs::read(path).map_err(|error| format!("radiograph {} cannot be read: {error}", index + 1))
    });
    let mut engine = engine(package, runtime)?;
    let (mut count, mut worst, mut most) = (0, 0.0_f32, 0);
    for bytes in goldens.chain(given) {
        let instance = Instance::parse(bytes?.into()).map_err(|error| error.to_string())?;
        let whole = decode(&instance).map_err(|error| error.to_string())?;
        let reduced = contract
            .decode(&instance)
            .and_then(|image| {
                if image.rows < whole.rows {
                    return Ok(image);
                }
                contract.at_lowest_resolution([whole.rows, whole.columns], |halve| {
                    Ok((low_band(&whole, halve), halve))
                })
            })
            .map_err(|error| error.to_string())?;
        if reduced.rows == whole.rows {
            continue;
        }
        most = most.max((whole.rows / reduced.rows).ilog2());
        let [whole, reduced] = [whole, reduced].map(|image| {
            let (tensor, _) = contract.apply(&image).map_err(|error| error.to_string())?;
            let scores = engine.run(&[&tensor]).map_err(|error| error.to_string())?;
            scores
                .into_iter()
                .next()
                .map(|prediction| prediction.values())
                .ok_or_else(|| "the network gave no answer".to_owned())
        });
        for (a, b) in whole?.iter().zip(reduced?) {
            worst = worst.max(distance(*a, b));
        }
        count += 1;
    }
    if count == 0 {
        return Err(
            "no golden case is large enough to be decoded at a lower resolution: name radiographs with --images"
                .to_owned(),
        );
    }
    let figure =
        format!("{count} radiographs, halved up to {most} times: at most {worst:.1e} off (allowed {bound})");
    if worst <= bound { Ok(figure) } else { Err(figure) }
}

fn contract(package: &Package, manifest: &ModelManifest) -> Result<String, String> {
    let model = ModelProto::decode(package.model.as_slice()).map_err(|error| error.to_string())?;
    let expected = [
        (METADATA_KEY, serde_json::to_string(&manifest.preprocessing)),
        (
            LABELS_KEY,
            serde_json::to_string(&manifest.labels().collect::<Vec<_>>()),
        ),
        (INTENDED_USE_KEY, serde_json::to_string(&manifest.intended_use)),
        (LINEAGE_KEY, serde_json::to_string(&manifest.lineage)),
    ];
    for (key, expected) in &expected {
        // as text and back: a 32-bit number has more digits as a value than as text
        let expected = expected.as_ref().map_err(ToString::to_string)?;
        let expected: serde_json::Value =
            serde_json::from_str(expected).map_err(|error| error.to_string())?;
        let entry = model.metadata_props.iter().find(|entry| entry.key == *key);
        let entry = entry.ok_or_else(|| format!("the ONNX file does not hold {key}"))?;
        let inside: serde_json::Value =
            serde_json::from_str(&entry.value).map_err(|error| format!("{key} is not valid: {error}"))?;
        if inside != expected {
            return Err(format!("{key} in the ONNX file is not what the manifest says"));
        }
    }
    Ok("preprocessing, labels, intended use and lineage agree with the manifest".to_owned())
}

fn latency(package: &Package, runtime: &Runtime) -> Result<String, String> {
    let mut engine = engine(package, runtime)?;
    let shape = package.manifest.preprocessing.input_shape();
    let tensor = GoldenInput::Noise { seed: 1 }
        .tensor(shape)
        .ok_or("noise has a tensor")?;
    let mut times = Vec::with_capacity(*RUNS.end());
    let first = Instant::now();
    while times.len() < *RUNS.start() || (times.len() < *RUNS.end() && first.elapsed() < LATENCY_TIME) {
        let started = Instant::now();
        engine.run(&[&tensor]).map_err(|error| error.to_string())?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(format!(
        "p50 {:.1} ms, p99 {:.1} ms in {} runs",
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times.len()
    ))
}

/// A gate that must not pass.
fn caught(result: Result<String, String>) -> Result<String, String> {
    match result {
        Ok(_) => Err("the gates did not notice".to_owned()),
        Err(reason) => Ok(reason.split(':').next().unwrap_or_default().to_owned()),
    }
}

fn corrupted_weight(package: &Package, runtime: &Runtime) -> Result<String, String> {
    let mut model = ModelProto::decode(package.model.as_slice()).map_err(|error| error.to_string())?;
    // the first layer's: every answer depends on them
    let weights = model.graph.as_mut().and_then(|graph| {
        graph
            .initializer
            .iter_mut()
            .find(|tensor| tensor.raw_data.len() >= 64)
    });
    let weights = weights.ok_or("the network has no weights inside")?;
    let lost = (weights.raw_data.len() / 40).max(1) * 4;
    weights.raw_data[..lost].fill(0);
    let broken = Package {
        model: model.encode_to_vec(),
        ..package.clone()
    };
    caught(parity(&broken, runtime))
}

fn swapped_labels(package: &Package) -> Result<String, String> {
    let mut manifest = package.manifest.clone();
    let Some(head) = manifest.heads.iter_mut().find(|head| head.labels.len() > 1) else {
        return Ok("there is only one label".to_owned());
    };
    head.labels.swap(0, 1);
    caught(contract(package, &manifest))
}

fn left_out_inversion(package: &Package, runtime: &Runtime) -> Result<String, String> {
    let without = |mut image: StoredImage| {
        image.transform.inverted = false;
        image
    };
    let inputs = golden_inputs(package, without)?;
    if inputs == golden_inputs(package, |image| image)? {
        return Err("no golden case is MONOCHROME1, so a left-out inversion could not be noticed".to_owned());
    }
    caught(reproduce(package, &inputs, &mut engine(package, runtime)?).map(|worst| worst.to_string()))
}
