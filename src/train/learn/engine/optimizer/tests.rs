//! Of [`super`].

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::train::network::{Residual, initial_weights};

/// More parameters than are worked on together.
fn engine() -> Engine {
    let residual = Residual {
        rows: 16,
        columns: 12,
        stem: 64,
        widths: vec![64, 80],
        blocks: vec![1, 1],
        dropout: 0.0,
        ..Residual::default()
    };
    let graph = residual.graph("image", 2).unwrap();
    let engine = Engine::new(&graph, &initial_weights(&graph, 3).unwrap(), 1).unwrap();
    assert!(engine.parameters.trained.numel() as i64 > TOGETHER);
    engine
}

fn learn(engine: &mut Engine) -> Step {
    let images: Vec<f32> = (0..2 * 192).map(|pixel| (pixel % 37) as f32 / 37.0).collect();
    let input = engine.placer().place(&images, 2).unwrap();
    let random = &mut ChaCha8Rng::seed_from_u64(0);
    super::super::tests::step(engine, &input, &[1.0, 0.0, 0.0, 1.0], random)
}

/// `AdamW` as its paper has it, in 64 bits, parameter by parameter.
#[test]
fn steps_are_those_of_the_paper_with_a_gradient_that_is_shortened() {
    let mut engine = engine();
    let settings = AdamWSettings {
        weight_decay: 0.3,
        largest_norm: 0.1,
        ..AdamWSettings::default()
    };
    let mut optimizer = AdamW::new(settings, &engine).unwrap();
    let factor = |node: &str| if node.starts_with("stem.") { 0.1 } else { 1.0 };
    optimizer.set_factors(&engine, factor).unwrap();
    let kernel = |_: &str, role| f32::from(matches!(role, Role::Kernel { .. }));
    let decays = engine.parameters.each_trained(kernel);
    let factors = engine.parameters.each_trained(|node, _| factor(node));
    let mut expected: Vec<f64> = engine.trained().unwrap().into_iter().map(f64::from).collect();
    let mut memory = vec![[0.0_f64; 2]; expected.len()];
    for step in 1..=3 {
        let newest = learn(&mut engine);
        assert!(newest.norm > settings.largest_norm, "{newest:?}");
        let gradient = engine.gradient().unwrap();
        let rate = 0.01 * f64::from(step);
        optimizer.step(&mut engine, &newest, rate).unwrap();
        for (place, own) in expected.iter_mut().enumerate() {
            let slope = f64::from(gradient[place]) * settings.largest_norm / newest.norm;
            let [mean, square] = &mut memory[place];
            *mean = settings.beta1 * *mean + (1.0 - settings.beta1) * slope;
            *square = settings.beta2 * *square + (1.0 - settings.beta2) * slope * slope;
            let rate = rate * f64::from(factors[place]);
            let (mean, square) = (
                *mean / (1.0 - settings.beta1.powi(step)),
                *square / (1.0 - settings.beta2.powi(step)),
            );
            *own -= rate * settings.weight_decay * f64::from(decays[place]) * *own
                + rate * mean / (square.sqrt() + EPSILON);
        }
        let off = engine
            .trained()
            .unwrap()
            .iter()
            .zip(&expected)
            .map(|(found, expected)| (f64::from(*found) - expected).abs())
            .fold(0.0, f64::max);
        assert!(off < 1e-5, "step {step}: {off}");
    }
}

#[test]
fn a_frozen_node_moves_by_neither_gradient_nor_decay() {
    let mut engine = engine();
    let mut optimizer = AdamW::new(AdamWSettings::default(), &engine).unwrap();
    let factor = |node: &str| f32::from(!node.starts_with("stem."));
    optimizer.set_factors(&engine, factor).unwrap();
    engine
        .freeze(["stem.convolution", "stem.norm"].map(str::to_owned).into())
        .unwrap();
    let before = engine.weights().unwrap();
    let newest = learn(&mut engine);
    optimizer.step(&mut engine, &newest, 0.01).unwrap();
    let after = engine.weights().unwrap();
    for (name, own) in &before.tensors {
        let moved = after.tensors[name] != *own;
        let stays = name.starts_with("stem.");
        assert!(!(moved && stays), "{name}");
    }
    assert_ne!(before, after);
}

#[test]
fn memories_survive_their_slices_and_are_forgotten() {
    let mut engine = engine();
    let mut optimizer = AdamW::new(AdamWSettings::default(), &engine).unwrap();
    let newest = learn(&mut engine);
    optimizer.step(&mut engine, &newest, 0.01).unwrap();
    let (mean, square, steps) = optimizer.memory().unwrap();
    assert!(steps == 1 && mean.iter().any(|value| *value != 0.0));
    let mut other = AdamW::new(AdamWSettings::default(), &engine).unwrap();
    other.restore(&mean, &square, steps).unwrap();
    assert_eq!(other.memory().unwrap(), (mean, square, steps));
    other.forget().unwrap();
    let (mean, square, steps) = other.memory().unwrap();
    assert!(steps == 0 && mean.iter().chain(&square).all(|value| *value == 0.0));
    assert!(other.restore(&[0.0], &[0.0], 1).is_err());
}

#[test]
fn the_running_mean_forgets_its_start() {
    let mut engine = engine();
    let count = engine.trained().unwrap().len();
    engine.set_trained(&vec![100.0; count]).unwrap();
    let mut mean = RunningMean::new(&engine, 0.9).unwrap();
    engine.set_trained(&vec![1.0; count]).unwrap();
    (0..200).for_each(|_| mean.update(&engine).unwrap());
    let [parameters, _] = mean.values().unwrap();
    assert!(parameters.iter().all(|value| (value - 1.0).abs() < 1e-4));
}
