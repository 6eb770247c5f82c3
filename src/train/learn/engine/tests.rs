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

/// A step of one device alone.
pub(super) fn step(engine: &mut Engine, input: &Input, targets: &[f32], random: &mut dyn Rng) -> Step {
    let known = engine.objective.known(targets, engine.width());
    let loss = engine.learn(input, targets, &known, random).unwrap();
    engine.told(&loss).unwrap()
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
        let input = engine.placer().place(&images, 4).unwrap();
        let step = step(&mut engine, &input, &labels, &mut random);
        (step, engine.gradient().unwrap())
    };
    let start = tiny(Pooling::Average).trained().unwrap();
    let (step, gradient) = loss_at(&start);
    let norm: f64 = gradient.iter().map(|value| f64::from(*value).powi(2)).sum();
    assert!(
        (step.norm - norm.sqrt()).abs() < 1e-4 * step.norm,
        "{step:?} {norm}"
    );
    let largest = (0..start.len())
        .max_by(|l, r| gradient[*l].abs().total_cmp(&gradient[*r].abs()))
        .unwrap();
    for place in [largest, 0, start.len() - 1] {
        let mut moved = start.clone();
        moved[place] += 2e-3;
        let above = loss_at(&moved).0.loss;
        moved[place] -= 4e-3;
        let slope = (above - loss_at(&moved).0.loss) / 4e-3;
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
    let images = engine.placer().place(&noise(2 * 280), 2).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let step = step(&mut engine, &images, &[f32::NAN; 4], &mut random);
    assert_eq!([step.loss, step.norm], [0.0; 2]);
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
    let gradient_of_step = |engine: &mut Engine| {
        let input = engine.placer().place(&noise(2 * 280), 2).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(0);
        step(engine, &input, &[1.0, 0.0, 0.0, 1.0], &mut random);
        engine.gradient().unwrap()
    };
    let gradient = gradient_of_step(&mut engine);
    let is_stem = engine
        .parameters
        .each_trained(|node, _| if node.starts_with("stem.") { 1.0 } else { 0.0 });
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
    let gradient = gradient_of_step(&mut engine);
    assert!(
        gradient
            .iter()
            .zip(&is_stem)
            .any(|(gradient, stem)| *stem > 0.0 && *gradient != 0.0),
        "thawed"
    );
}

#[test]
fn steps_in_16_bits_go_the_same_way_and_answers_stay_at_32() {
    let mut engine = tiny(Pooling::LogMeanExp { sharpness: 3.0 });
    let images = engine.placer().place(&noise(4 * 280), 4).unwrap();
    let answers = engine.answers(&images).unwrap();
    let targets = [1.0, 0.0, f32::NAN, 1.0, 0.0, 0.0, 1.0, f32::NAN];
    let step = |engine: &mut Engine| {
        let step = step(engine, &images, &targets, &mut ChaCha8Rng::seed_from_u64(0));
        (step.loss, engine.gradient().unwrap())
    };
    let statistics = engine.statistics().unwrap();
    let (loss, gradient) = step(&mut engine);
    engine.set_statistics(&statistics).unwrap();
    engine.set_precision(Precision::Bfloat16);
    assert!(engine.answers(&images).unwrap() == answers, "answers in 16 bits");
    let (short_loss, short_gradient) = step(&mut engine);
    assert!(
        (1e-9..0.02).contains(&(short_loss - loss).abs()),
        "{loss} {short_loss}"
    );
    let product = |left: &[f32], right: &[f32]| -> f64 {
        let each = left.iter().zip(right);
        each.map(|(left, right)| f64::from(*left) * f64::from(*right))
            .sum()
    };
    let cosine = product(&gradient, &short_gradient)
        / (product(&gradient, &gradient) * product(&short_gradient, &short_gradient)).sqrt();
    assert!(cosine > 0.98, "{cosine}");
}

#[test]
fn colour_reaches_the_network_as_it_was_laid_out() {
    let residual = Residual {
        channels: 3,
        rows: 20,
        columns: 14,
        stem: 4,
        widths: vec![5, 6],
        blocks: vec![1, 1],
        dropout: 0.0,
        ..Residual::default()
    };
    let graph = residual.graph("image", 2).unwrap();
    let engine = Engine::new(&graph, &initial_weights(&graph, 3).unwrap(), 1).unwrap();
    let images = noise(2 * 3 * 280);
    let placed = engine.placer().place(&images, 2).unwrap().images;
    assert_eq!(placed.size(), [2, 3, 20, 14]);
    assert!(
        values(&placed).unwrap() == images,
        "pixels or channels changed places"
    );
    // channels-last: the next number in memory is the next channel of the same pixel
    assert_eq!(placed.stride(), [3 * 280, 1, 3 * 14, 3]);
}
