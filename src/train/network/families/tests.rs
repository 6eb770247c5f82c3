//! Of [`super`].

use super::*;
use crate::train::network::{Layer, Part, Shape, initial_weights};

fn colour(rows: usize, columns: usize) -> Published {
    Published {
        channels: 3,
        rows,
        columns,
        ..Published::default()
    }
}

/// `num_params` and `_ops` (in thousand million) in the metadata of torchvision 0.26's weights; of timm 1.0.31 the number of
/// parameters of `legacy_xception` and `inception_v3` (torchvision counts the auxiliary classifier).
const PUBLISHED: [(&str, usize, usize, f64); 10] = [
    ("resnet18", 224, 11_689_512, 1.814),
    ("resnet34", 224, 21_797_672, 3.664),
    ("resnet50", 224, 25_557_032, 4.089),
    ("densenet121", 224, 7_978_856, 2.834),
    ("convnext_tiny", 224, 28_589_128, 4.456),
    ("efficientnet_b0", 224, 5_288_548, 0.386),
    ("vgg16", 224, 138_357_544, 15.47),
    ("inception_v3", 299, 23_834_568, 5.713),
    ("xception", 299, 22_855_952, 8.4),
    ("alexnet", 224, 61_100_840, 0.714),
];

#[test]
fn parameters_and_operations_are_as_many_as_published() {
    assert_eq!(
        PUBLISHED.map(|published| published.0),
        FAMILIES.map(|family| family.name)
    );
    for (family, (name, side, parameters, operations)) in FAMILIES.iter().zip(PUBLISHED) {
        let graph = colour(side, side).graph(family, "image", 1000).unwrap();
        let shapes = graph.shapes().unwrap();
        assert_eq!(shapes.trained_count(&graph), parameters, "{name}");
        let own: usize = (0..graph.nodes.len())
            .map(|place| shapes.multiply_accumulates(&graph, super::super::NodeId(place)))
            .sum();
        // the head is applied to each pixel of the last map, which the published count does not do
        let map = shapes.of(graph.output("activation_map").unwrap()).count();
        let last = shapes.of(graph.output("embedding").unwrap()).count();
        let head = (map - 1000) * last;
        let off = (own - head) as f64 / 1e9 / operations;
        assert!((0.99..1.01).contains(&off), "{name}: {own} {off}");
    }
}

#[test]
fn every_stage_can_be_the_last_on_any_size() {
    for family in FAMILIES {
        let mut before = 0;
        for stages in 1..=family.stages {
            let settings = Published {
                stages: Some(stages),
                ..colour(289, 231)
            };
            let graph = settings.graph(family, "image", 2).unwrap();
            let shapes = graph.shapes().unwrap();
            assert_eq!(shapes.of(graph.output("logits").unwrap()), Shape::Features(2));
            let last = graph
                .nodes
                .iter()
                .map(|node| node.part)
                .filter(|part| *part != Part::Head)
                .max();
            assert_eq!(last, Some(Part::Stage(stages)), "{}", family.name);
            let count = shapes.trained_count(&graph);
            assert!(count > before, "{} has nothing in stage {stages}", family.name);
            before = count;
            let places: Vec<Part> = graph.nodes.iter().map(|node| node.part).collect();
            assert!(places.is_sorted(), "{}", family.name);
        }
    }
}

#[test]
fn a_small_grey_image_is_enough_where_there_are_no_hidden_layers() {
    for family in FAMILIES {
        let settings = Published {
            rows: 80,
            columns: 80,
            stages: family.hidden.map(|_| family.stages - 1),
            ..Published::default()
        };
        let graph = settings.graph(family, "image", 2).unwrap();
        let map = graph
            .shapes()
            .unwrap()
            .of(graph.output("activation_map").unwrap());
        assert!(map.count() >= 2, "{}: {map}", family.name);
    }
}

#[test]
fn what_is_left_out_in_training_is_as_published_unless_the_recipe_says_otherwise() {
    let rates = |settings: &Published, name: &str| -> Vec<(bool, f64)> {
        let family = FAMILIES.iter().find(|family| family.name == name).unwrap();
        let graph = settings.graph(family, "image", 2).unwrap();
        let rate = |layer: &Layer| match layer {
            Layer::Dropout { probability } => Some((false, *probability)),
            Layer::StochasticDepth { probability } => Some((true, *probability)),
            _ => None,
        };
        graph.nodes.iter().filter_map(|node| rate(&node.layer)).collect()
    };
    let published = Published::default();
    assert_eq!(rates(&published, "vgg16"), [(false, 0.5), (false, 0.5)]);
    assert_eq!(rates(&published, "inception_v3"), [(false, 0.5)]);
    let depths = rates(&published, "convnext_tiny");
    assert_eq!((depths.len(), depths[16]), (17, (true, 0.1)));
    let plain = Published {
        dropout: Some(0.0),
        stochastic_depth: Some(0.0),
        ..published
    };
    assert_eq!(rates(&plain, "efficientnet_b0"), []);
}

#[test]
fn initial_weights_fit() {
    let settings = Published {
        rows: 80,
        columns: 80,
        ..Published::default()
    };
    let family = FAMILIES
        .iter()
        .find(|family| family.name == "efficientnet_b0")
        .unwrap();
    let graph = settings.graph(family, "image", 2).unwrap();
    initial_weights(&graph, 1).unwrap().check(&graph).unwrap();
}
