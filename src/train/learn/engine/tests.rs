//! Of [`super`].

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::super::network::{Pooling, Residual, initial_weights};
use super::*;

fn tiny(pooling: Pooling) -> Engine {
    let residual = Residual {
        rows: 20,
        columns: 14,
        stem: 4,
        widths: vec![5, 6],
        blocks: vec![1, 1],
        pooling,
        dropout: 0.0,
        ..Residual::default()
    };
    let graph = residual.graph("image", 2).unwrap();
    Engine::new(&graph, &initial_weights(&graph, 3).unwrap(), 1).unwrap()
}

fn noise(count: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    (0..count).map(|_| random.random::<f32>() - 0.5).collect()
}

#[test]
fn the_gradient_equals_finite_differences() {
    let mut engine = tiny(Pooling::LogMeanExp { sharpness: 3.0 });
    let (images, labels) = (noise(4 * 280), [1.0, 0.0, f32::NAN, 1.0, 0.0, 0.0, 1.0, f32::NAN]);
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut loss_at = |numbers: &[f32]| {
        engine.set_trained(numbers).unwrap();
        engine.step(&images, &labels, 4, &mut random).unwrap()
    };
    let start = tiny(Pooling::Average).trained().unwrap();
    let gradient = loss_at(&start).gradient;
    let largest = (0..start.len())
        .max_by(|l, r| gradient[*l].abs().total_cmp(&gradient[*r].abs()))
        .unwrap();
    for place in [largest, 0, start.len() - 1] {
        let mut moved = start.clone();
        moved[place] += 2e-3;
        let above = loss_at(&moved).loss;
        moved[place] -= 4e-3;
        let slope = (above - loss_at(&moved).loss) / 4e-3;
        let own = f64::from(gradient[place]);
        assert!(
            (slope - own).abs() < 0.02 * own.abs().max(0.02),
            "parameter {place}: {slope} {own}"
        );
    }
}

#[test]
fn an_unknown_label_has_no_gradient() {
    let mut engine = tiny(Pooling::Average);
    let images = noise(2 * 280);
    let step = engine
        .step(&images, &[f32::NAN; 4], 2, &mut ChaCha8Rng::seed_from_u64(0))
        .unwrap();
    assert!(step.loss == 0.0 && step.gradient.iter().all(|value| *value == 0.0));
}

#[test]
fn the_logit_is_the_mean_of_the_activation_map() {
    let mut engine = tiny(Pooling::Average);
    let changed: Vec<f32> = noise(engine.trained().unwrap().len());
    engine.set_trained(&changed).unwrap();
    let outputs = engine.run(&noise(3 * 280), 3).unwrap();
    let (map, logits) = (&outputs["activation_map"], &outputs["logits"]);
    assert_eq!(
        (map.shape.as_slice(), logits.shape.as_slice()),
        ([3, 2, 3, 2].as_slice(), [3, 2].as_slice())
    );
    for (own, logit) in map.values.chunks(6).zip(&logits.values) {
        assert!((own.iter().sum::<f32>() / 6.0 - logit).abs() < 1e-5);
    }
}

#[test]
fn weights_survive_the_engine() {
    let engine = tiny(Pooling::Average);
    let weights = engine.weights().unwrap();
    assert_eq!(weights, initial_weights(engine.graph(), 3).unwrap());
    assert_eq!(engine.decays().len(), engine.trained().unwrap().len());
    assert!(matches!(
        engine.run(&[0.0; 3], 1),
        Err(EngineError::Length { needed: 280, .. })
    ));
}

#[test]
fn frozen_nodes_keep_their_numbers_and_their_statistics() {
    let mut engine = tiny(Pooling::Average);
    let nodes = ["stem.convolution", "stem.norm"].map(str::to_owned);
    engine.freeze(nodes.into()).unwrap();
    let before = engine.weights().unwrap();
    let step = |engine: &mut Engine| {
        let targets = [1.0, 0.0, 0.0, 1.0];
        engine
            .step(&noise(2 * 280), &targets, 2, &mut ChaCha8Rng::seed_from_u64(0))
            .unwrap()
    };
    let gradient = step(&mut engine).gradient;
    let is_stem = engine.by_node(|node| if node.starts_with("stem.") { 1.0 } else { 0.0 });
    assert_eq!(gradient.len(), is_stem.len());
    for (gradient, stem) in gradient.iter().zip(&is_stem) {
        assert!(*stem == 0.0 || *gradient == 0.0);
    }
    assert!(gradient.iter().any(|gradient| *gradient != 0.0));
    let after = engine.weights().unwrap();
    let same = |name: &str| before.get(name).unwrap() == after.get(name).unwrap();
    assert!(same("stem.norm.running_mean") && same("stem.norm.running_var"));
    assert!(!same("stage1.block1.norm1.running_mean"));

    engine.freeze(BTreeSet::new()).unwrap();
    let gradient = step(&mut engine).gradient;
    assert!(
        gradient
            .iter()
            .zip(&is_stem)
            .any(|(gradient, stem)| *stem > 0.0 && *gradient != 0.0),
        "thawed"
    );
}
