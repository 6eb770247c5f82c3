//! Published networks: with the same weights they answer as in their own packages, and whatever trains can be exported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use osteon::dicom::Instance;
use osteon::image::phantom::{Recipe as Phantom, to_dicom};
use osteon::image::preprocess::Preprocessing;
use osteon::model::package::sha256;
use osteon::model::{GoldenInput, Package};
use osteon::runtime::{Device, Runtime};
use osteon::train::export::Answering;
use osteon::train::export::description::{Description, read_description};
use osteon::train::export::package::draft;
use osteon::train::export::verify::verify;
use osteon::train::learn::engine::Replicas;
use osteon::train::learn::{Engine, EpochReport, FitOutcome, Recipe, Start};
use osteon::train::network::{
    Architecture, Checkpoint, FAMILIES, Graph, Report, Role, Selection, TensorF32, Weights, transfer,
};
use osteon::train::run::{DataRecord, RunFolder, Source, Validation};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::server::bytes;

/// Most by which a logit may differ from PyTorch's.
const LOGIT: f32 = 1e-4;
/// The same in grey: summed kernels are rounded once more than the sum over three channels, and each layer carries it on.
const GREY: f32 = 3e-4;

/// Of libtorch: several would wait for each other on a busy machine, and these networks are small.
const THREADS: usize = 1;

/// What the packages say of each network, in `folder`; `None` where Python is missing.
fn references(folder: &Path) -> Option<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/networks.py");
    let ran = Command::new("python3").arg(script).arg(folder).output().ok()?;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read(folder.join("cases.json")).unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

fn read(path: &PathBuf) -> Checkpoint {
    Checkpoint::read(&std::fs::read(path).unwrap()).unwrap()
}

/// Weights of zeros: what was not taken from a file shows.
fn zeros(graph: &Graph) -> Weights {
    let mut weights = Weights::default();
    for (name, parameter) in graph.shapes().unwrap().parameters(graph) {
        let values = vec![parameter.initial; parameter.count()];
        let shape = parameter.shape;
        weights.tensors.insert(name, TensorF32 { shape, values });
    }
    weights
}

/// The network of a case with as many channels, with the weights of its file.
fn loaded(case: &Value, channels: usize, source: &Checkpoint) -> (Engine, Report) {
    let architecture = json!({
        "family": case["family"], "channels": channels, "rows": case["rows"], "columns": case["columns"],
    });
    let architecture: Architecture = serde_json::from_value(architecture).unwrap();
    let graph = architecture.graph("image", 3).unwrap();
    let mut weights = zeros(&graph);
    let report = transfer(&graph, &mut weights, source, Selection::default()).unwrap();
    (Engine::new(&graph, &weights, THREADS).unwrap(), report)
}

/// The largest difference between the logits of `images` and those that PyTorch gave.
fn difference(engine: &Engine, images: &TensorF32, expected: &TensorF32) -> f32 {
    let outputs = engine.run(&images.values, images.shape[0]).unwrap();
    let found = &outputs["logits"];
    assert_eq!(found.shape, expected.shape);
    let pairs = found.values.iter().zip(&expected.values);
    pairs
        .map(|(found, expected)| (found - expected).abs())
        .fold(0.0, f32::max)
}

#[test]
fn logits_are_those_of_torchvision_and_timm() {
    let folder = tempfile::tempdir().unwrap();
    let Some(cases) = references(folder.path()) else {
        crate::left_out::python("there is no python3, so no network was compared with its package");
        return;
    };
    for case in cases {
        let family = case["family"].as_str().unwrap();
        if let Some(missing) = case.get("missing") {
            crate::left_out::python(&format!("{family} was not compared: {missing}"));
            continue;
        }
        let started = Instant::now();
        let name = case["name"].as_str().unwrap();
        let source = read(&folder.path().join(case["file"].as_str().unwrap()));
        let reference = read(&folder.path().join(format!("{name}.reference.safetensors")));
        let tensor = |wanted: &str| {
            let found = reference.tensors.iter().find(|(name, _)| name == wanted);
            &found.unwrap().1
        };
        let logits = tensor("logits");
        let spread = logits
            .values
            .iter()
            .copied()
            .fold(0.0_f32, |most, logit| most.max(logit.abs()));
        assert!(
            spread > 0.05,
            "{name}: PyTorch's logits say nothing: {:?}",
            logits.values
        );

        let (engine, report) = loaded(&case, 3, &source);
        assert_eq!(report.random, [], "{name}");
        let auxiliary = |tensor: &str| family == "inception_v3" && tensor.starts_with("AuxLogits.");
        let left: Vec<&String> = report.left_out.iter().map(|left| &left.tensor).collect();
        assert!(left.iter().all(|tensor| auxiliary(tensor)), "{name}: {left:?}");
        let colour = difference(&engine, tensor("input"), logits);
        drop(engine);

        // one channel with the kernels summed is three channels of the same grey
        let (engine, report) = loaded(&case, 1, &source);
        assert!(
            report.to_string().contains("1 summed to one channel"),
            "{name}: {report}"
        );
        let grey = difference(&engine, tensor("grey"), tensor("grey_logits"));
        eprintln!(
            "  {name:<20} {:>9}: off by {colour:.1e} in colour, {grey:.1e} in grey, of {spread:.2}; {:.1} s",
            report.share(),
            started.elapsed().as_secs_f64()
        );
        assert!(colour <= LOGIT && grey <= GREY, "{name}: {colour} {grey}");
    }
}

/// Weights in the middle of a training: every parameter has its part in the answer.
fn trained(graph: &Graph) -> Weights {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut weights = Weights::default();
    for (name, parameter) in graph.shapes().unwrap().parameters(graph) {
        // uniform numbers with the variance of He 2015; scales and offsets near what they start from
        let (centre, width) = match parameter.role {
            Role::Kernel { fan_in } => (0.0, (6.0 / fan_in as f32).sqrt()),
            Role::Vector => (parameter.initial.max(0.2), 0.1),
            Role::Statistic | Role::Constant => (parameter.initial, 0.0),
        };
        // a small head: logits of less than 1, whatever a deep network of random kernels makes of rounding on the way
        let width = if name.starts_with("label_map.") {
            width / 10.0
        } else {
            width
        };
        let mut block = [0.0_f32; 1021];
        for value in &mut block {
            *value = centre + width * (2.0 * random.random::<f32>() - 1.0);
        }
        let values = block.iter().copied().cycle().take(parameter.count()).collect();
        let shape = parameter.shape;
        weights.tensors.insert(name, TensorF32 { shape, values });
    }
    weights
}

/// The images that goldens are made of, and some more like them: what a network has seen in training it answers calmly.
fn images(contract: &Preprocessing, samples: &BTreeMap<String, Vec<u8>>) -> Vec<Vec<f32>> {
    let constants = [-2.0, 2.0].map(|value| GoldenInput::Constant { value });
    let noise = [1, 2, 100, 101].map(|seed| GoldenInput::Noise { seed });
    let made = constants.iter().chain(&noise);
    let made = made.map(|input| input.tensor(contract.input_shape()).unwrap().values);
    let files = samples.values().map(|file| {
        let image = contract
            .decode(&Instance::parse(file.clone().into()).unwrap())
            .unwrap();
        contract.apply(&image).unwrap().0.values
    });
    made.chain(files).collect()
}

/// One step of gradient descent; the statistics become those of the batch. Gives the loss before and after.
fn step(network: &mut Replicas, images: &[Vec<f32>]) -> [f64; 2] {
    let batch = images.len();
    let images = images.concat();
    let labels: Vec<f32> = (0..2 * batch).map(|place| (place % 3 % 2) as f32).collect();
    let input = [network.first.placer().place(&images, batch).unwrap()];
    let learn = |network: &mut Replicas| {
        let step = network.step(&input, &labels, &mut ChaCha8Rng::seed_from_u64(7));
        step.unwrap().loss
    };
    let before = network.first.statistics().unwrap();
    let first = learn(network);
    let engine = &mut network.first;
    // a running statistic moves by a tenth towards the batch's
    let after = engine.statistics().unwrap();
    let of_batch: Vec<f32> = before
        .iter()
        .zip(&after)
        .map(|(old, new)| old + 10.0 * (new - old))
        .collect();
    let gradient = engine.gradient().unwrap();
    let steepness: f64 = gradient.iter().map(|slope| f64::from(*slope).powi(2)).sum();
    let rate = (0.02 * first / steepness) as f32;
    let parameters = engine.trained().unwrap();
    let moved: Vec<f32> = parameters
        .iter()
        .zip(&gradient)
        .map(|(own, slope)| own - rate * slope)
        .collect();
    engine.set_trained(&moved).unwrap();
    let second = learn(network);
    network.first.set_statistics(&of_batch).unwrap();
    [first, second]
}

/// A run as `osteon-train fit` leaves it, with made answers on held-out patients.
fn run(
    folder: &Path,
    recipe: &Recipe,
    contract: &Preprocessing,
    graph: &Graph,
    weights: Weights,
) -> RunFolder {
    let source = Source {
        labels: PathBuf::from("labels.csv"),
        labels_sha256: String::new(),
        validation: 0.5,
        split_seed: None,
        fold: None,
    };
    let start = Start {
        weights: weights.clone(),
        origin: None,
    };
    let (run, _lock) = RunFolder::begin(folder, recipe, contract, &source, &start).unwrap();
    let report = EpochReport {
        epoch: 0,
        learning_rate: 1e-3,
        train_loss: 0.7,
        validation_loss: 0.7,
        measures: vec![None, None],
        mean_measure: 0.5,
        images_per_second: 1.0,
        waiting: 0.0,
    };
    let outcome = FitOutcome {
        graph: graph.clone(),
        weights,
        history: vec![report],
        best_epoch: 0,
        devices: Device::Cpu.into(),
    };
    let data = DataRecord {
        labels_sha256: sha256(b"labels.csv"),
        training_images: 4,
        validation_images: 8,
        unreadable_images: 0,
        unlabelled_images: Some(0),
        positive_weights: None,
    };
    let truth = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0];
    let validation = Validation {
        labels: truth.map(|label| vec![Some(label); 2]).to_vec(),
        logits: (0..8).map(|place| vec![f64::from(place) - 3.5; 2]).collect(),
        patients: (0..8).map(|place| place.to_string()).collect(),
        places: (0..8).collect(),
        mirrored: None,
    };
    run.finish(&outcome, data, validation).unwrap();
    run
}

#[test]
fn every_network_trains_a_step_and_its_export_passes_the_gates() {
    let runtime = Runtime::open(None, Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let description =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/spine-osteoporosis-phantom/package.json");
    let samples: BTreeMap<String, Vec<u8>> = (0..2)
        .map(|number| {
            let mut phantom = Phantom::new(11, 128, 96).render();
            phantom.truth.monochrome1 = number == 1;
            let file = to_dicom(&phantom, 9, 11, number).unwrap();
            (format!("{number}.dcm"), bytes(&file))
        })
        .collect();
    let mut failed = Vec::new();
    for family in FAMILIES {
        let started = Instant::now();
        // hidden layers want 223 pixels or more, on which only AlexNet's are quick enough here; narrow ones are the same operations
        let (rows, columns, options) = match family.name {
            "alexnet" => (223, 224, json!({ "hidden": 32 })),
            "vgg16" => (64, 48, json!({ "stages": 5 })),
            "inception_v3" => (80, 76, json!({})),
            _ => (64, 48, json!({})),
        };
        let mut architecture = json!({ "family": family.name, "rows": rows, "columns": columns });
        architecture
            .as_object_mut()
            .unwrap()
            .extend(options.as_object().unwrap().clone());
        let recipe = Recipe {
            labels: vec!["osteoporosis".to_owned(), "fracture".to_owned()],
            architecture: serde_json::from_value(architecture).unwrap(),
            threads: THREADS,
            ..Recipe::default()
        };
        let graph = recipe.graph().unwrap();
        let contract = Preprocessing::grey(rows, columns);
        let engine = Engine::new(&graph, &trained(&graph), THREADS).unwrap();
        let mut network = Replicas::new(engine, &[]).unwrap();
        let [before, after] = step(&mut network, &images(&contract, &samples));
        assert!(
            after < before && before < 20.0,
            "{}: a step led from {before} to {after}",
            family.name
        );

        let weights = network.first.weights().unwrap();
        drop(network);
        let run = run(
            &folder.path().join(family.name),
            &recipe,
            &contract,
            &graph,
            weights,
        );
        let description = Description {
            name: family.name.replace('_', "-"),
            ..read_description(&description).unwrap()
        };
        let draft = draft(&Answering::read(&[run], false).unwrap(), &description, &samples).unwrap();
        let package = Package::publish(folder.path(), draft.manifest, &draft.files, false).unwrap();
        for gate in verify(&package.folder, &[], &runtime) {
            match &gate.result {
                Err(reason) if gate.fails() => {
                    failed.push(format!("{}: {}: {reason}", family.name, gate.name));
                }
                Ok(figure) if gate.name.starts_with("golden") => {
                    eprintln!(
                        "  {:<16} {figure}; {:.1} s",
                        family.name,
                        started.elapsed().as_secs_f64()
                    );
                }
                _ => {}
            }
        }
        std::fs::remove_dir_all(&package.folder).unwrap();
    }
    assert_eq!(failed, Vec::<String>::new());
}
