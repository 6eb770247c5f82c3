//! Of [`super`].

use super::super::checkpoint::Format;
use super::super::{Architecture, TensorF32, initial_weights};
use super::*;

fn graph(text: &str) -> Graph {
    serde_json::from_str::<Architecture>(text)
        .unwrap()
        .graph("image", 2)
        .unwrap()
}

/// A file with the weights of `graph`, each value by its place, and other names.
fn file(graph: &Graph, rename: impl Fn(&str) -> String) -> Checkpoint {
    let tensors = graph
        .shapes()
        .unwrap()
        .parameters(graph)
        .into_iter()
        .map(|(name, parameter)| {
            let values = (0..parameter.count()).map(|place| place as f32).collect();
            let shape = parameter.shape;
            (rename(&name), TensorF32 { shape, values })
        });
    Checkpoint {
        format: Format::TorchZip,
        tensors: tensors.collect(),
        whole: vec!["bn1.num_batches_tracked".to_owned()],
        within: None,
    }
}

fn filled(graph: &Graph, source: &Checkpoint, selection: Selection) -> (Weights, Report) {
    let mut weights = initial_weights(graph, 1).unwrap();
    let report = transfer(graph, &mut weights, source, selection).unwrap();
    weights.check(graph).unwrap();
    (weights, report)
}

const RESNET18: &str = r#"{"family": "resnet18", "rows": 64, "columns": 64}"#;
const RESNET18_COLOUR: &str = r#"{"family": "resnet18", "channels": 3, "rows": 64, "columns": 64}"#;

#[test]
fn a_wrapper_before_names_and_colours_are_no_hindrance() {
    let source = file(&graph(RESNET18_COLOUR), |name| {
        format!("module.{}", name.replace("label_map", "fc"))
    });
    let own = graph(RESNET18);
    let (weights, report) = filled(&own, &source, Selection::default());
    assert_eq!(report.prefix, "module.");
    assert_eq!(report.random, []);
    let summed: Vec<&Taken> = report
        .taken
        .iter()
        .filter(|taken| taken.how == How::Summed)
        .collect();
    assert_eq!((summed.len(), summed[0].parameter.as_str()), (1, "conv1.weight"));
    // the three colours of the first kernel begin with 0, 49 and 98, those of the second with 147, 196 and 245
    let stem = weights.get("conv1.weight").unwrap();
    assert_eq!(stem.values[..2], [147.0, 150.0]);
    assert_eq!(stem.values[49], 588.0);
    let left: Vec<&str> = report.left_out.iter().map(|left| left.tensor.as_str()).collect();
    assert_eq!((left, report.whole), (vec!["module.temperature.scale"], 1));
    assert_eq!(
        report.to_string(),
        "102 of 102 parameters taken, 1 summed to one channel\nleft out of the file: 1: module.temperature.scale [2]"
    );
}

#[test]
fn one_channel_spread_over_three_sums_to_itself() {
    let (weights, report) = filled(
        &graph(RESNET18_COLOUR),
        &file(&graph(RESNET18), str::to_owned),
        Selection::default(),
    );
    assert_eq!(report.taken[0].how, How::Spread);
    let stem = weights.get("conv1.weight").unwrap();
    for (place, value) in [(0, 0.0), (48, 16.0), (49, 0.0), (146, 16.0), (147, 49.0 / 3.0)] {
        assert_eq!(stem.values[place], value);
    }
}

#[test]
fn what_does_not_fit_starts_at_random_with_the_reason() {
    let mut source = file(&graph(RESNET18), |name| name.replace("label_map", "fc"));
    for (name, tensor) in &mut source.tensors {
        if name == "fc.weight" {
            (tensor.shape, tensor.values) = (vec![1000, 512], vec![0.0; 512_000]);
        }
    }
    source
        .tensors
        .retain(|(name, _)| name != "layer4.1.bn2.running_var");
    let (_, report) = filled(&graph(RESNET18), &source, Selection::default());
    let why: Vec<(&str, &str)> = report
        .random
        .iter()
        .map(|random| (random.parameter.as_str(), random.why.as_str()))
        .collect();
    assert_eq!(
        why,
        [
            ("layer4.1.bn2.running_var", "the file has nothing of its name"),
            (
                "label_map.weight",
                "fc.weight: the file has [1000, 512], the network needs [2, 512, 1, 1]"
            ),
        ]
    );
    assert_eq!(report.left_out[0].tensor, "fc.weight");
}

#[test]
fn chosen_stages_alone_are_filled() {
    let selection = Selection {
        stages: Some(1),
        ..Selection::default()
    };
    let (_, report) = filled(
        &graph(RESNET18),
        &file(&graph(RESNET18), str::to_owned),
        selection,
    );
    assert!(
        report
            .taken
            .iter()
            .all(|taken| !taken.parameter.starts_with("layer2"))
    );
    assert_eq!(report.taken.len(), 5 + 4 * 5);
    let last = report.random.last().unwrap();
    assert_eq!(last.why, "head is not among the chosen stages");
}

#[test]
fn another_architecture_takes_what_is_alike_from_the_image_on() {
    let selection = Selection {
        matching: Matching::Order,
        stages: None,
    };
    // both begin with a 7x7 convolution to 64 channels and a norm, and part there
    let source = file(&graph(RESNET18), str::to_owned);
    let (_, report) = filled(
        &graph(r#"{"family": "densenet121", "rows": 64, "columns": 64}"#),
        &source,
        selection,
    );
    let taken: Vec<(&str, &str)> = report
        .taken
        .iter()
        .map(|taken| (taken.parameter.as_str(), taken.tensor.as_str()))
        .collect();
    let norm = ["weight", "bias", "running_mean", "running_var"];
    let expected: Vec<(String, String)> =
        std::iter::once(("features.conv0.weight".to_owned(), "conv1.weight".to_owned()))
            .chain(norm.map(|end| (format!("features.norm0.{end}"), format!("bn1.{end}"))))
            .collect();
    let expected: Vec<(&str, &str)> = expected
        .iter()
        .map(|(left, right)| (left.as_str(), right.as_str()))
        .collect();
    assert_eq!(taken, expected);
    // the deeper ResNet goes on for two whole blocks, and parts where its first stage has a third
    let source = file(&graph(RESNET18), str::to_owned);
    let (_, report) = filled(
        &graph(r#"{"family": "resnet34", "rows": 64, "columns": 64}"#),
        &source,
        selection,
    );
    assert_eq!(report.taken.len(), 5 + 4 * 5);
}

#[test]
fn a_known_network_is_followed_as_it_runs_whatever_the_order_of_its_file() {
    let mut source = file(&graph(RESNET18), str::to_owned);
    source.tensors.reverse();
    let selection = Selection {
        matching: Matching::Order,
        stages: None,
    };
    let (_, report) = filled(
        &graph(r#"{"family": "resnet34", "rows": 64, "columns": 64}"#),
        &source,
        selection,
    );
    assert_eq!(report.taken.len(), 5 + 4 * 5);
}

#[test]
fn a_file_of_something_else_is_refused_with_what_may_help() {
    let mut weights = initial_weights(&graph(RESNET18), 1).unwrap();
    let source = file(
        &graph(r#"{"family": "vgg16", "rows": 64, "columns": 64, "stages": 5}"#),
        |name| name.replace("label_map", "head"),
    );
    let refused = transfer(&graph(RESNET18), &mut weights, &source, Selection::default());
    assert_eq!(
        refused.unwrap_err().to_string(),
        "none of the 29 tensors, such as `features.0.weight`, fits a parameter, such as `conv1.weight`; for low-level weights of another architecture, match them in order"
    );
}
