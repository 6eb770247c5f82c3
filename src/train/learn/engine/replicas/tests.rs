//! Of [`super`], with replicas that share one CPU: what the devices are makes no difference to it.

use rand::RngExt;

use super::super::super::super::network::{Layer, Residual, initial_weights};
use super::super::super::objective::{Form, Objective, Term};
use super::super::optimizer::{AdamW, AdamWSettings};
use super::super::tests::step as alone;
use super::*;

const PIXELS: usize = 20 * 14;
const LOGITS: usize = 6;

/// Findings, classes and a number, of which not all is known.
fn engine(dropout: f64) -> Engine {
    let residual = Residual {
        rows: 20,
        columns: 14,
        stem: 4,
        widths: vec![5, 6],
        blocks: vec![1, 1],
        dropout,
        ..Residual::default()
    };
    let graph = residual.graph("image", LOGITS).unwrap();
    let mut engine = Engine::new(&graph, &initial_weights(&graph, 3).unwrap(), 1).unwrap();
    let term = |logits, form, weight| Term {
        logits,
        form,
        weight,
        positive: None,
    };
    engine.set_objective(Objective {
        terms: vec![
            term(0..2, Form::Sigmoid, 1.0),
            term(2..5, Form::Softmax, 0.5),
            term(5..6, Form::Huber, 2.0),
        ],
        focal: 0.0,
    });
    engine
}

/// Batch norms, whose statistics are those of a share: frozen, they are those of no batch.
fn norms(engine: &Engine) -> BTreeSet<String> {
    let norms = engine.graph.nodes.iter();
    let norms = norms.filter(|node| matches!(node.layer, Layer::BatchNorm { .. }));
    norms.map(|node| node.name.clone()).collect()
}

fn images(count: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    (0..count * PIXELS)
        .map(|_| random.random::<f32>() - 0.5)
        .collect()
}

/// Of five images: shares of any size know other shares of each question.
fn targets() -> Vec<f32> {
    const NONE: f32 = f32::NAN;
    let rows: [[f32; LOGITS]; 5] = [
        [1.0, 0.0, 1.0, 0.0, 0.0, 0.3],
        [NONE, NONE, 0.0, 1.0, 0.0, NONE],
        [0.0, NONE, NONE, NONE, NONE, NONE],
        [1.0, 1.0, NONE, NONE, NONE, -2.0],
        [NONE, NONE, NONE, NONE, NONE, 0.1],
    ];
    rows.concat()
}

/// The images of a batch on its devices.
fn shares(replicas: &Replicas, images: &[f32], sizes: &[usize]) -> Vec<Input> {
    let mut left = images;
    let placers = replicas.placers();
    let place = |(placer, size): (&Placer, &usize)| {
        let (own, rest) = left.split_at(size * PIXELS);
        left = rest;
        placer.place(own, *size).unwrap()
    };
    placers.iter().zip(sizes).map(place).collect()
}

fn furthest(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let apart = left.iter().zip(right).map(|(left, right)| (left - right).abs());
    apart.fold(0.0, f32::max)
}

#[test]
fn shares_of_any_size_make_the_steps_of_one_device_on_the_whole_batch() {
    for sizes in [&[3, 2][..], &[2, 2, 1], &[4, 1, 0][..2]] {
        let mut whole = engine(0.0);
        whole.freeze(norms(&whole)).unwrap();
        let first = engine(0.0);
        let frozen = norms(&first);
        let mut replicas = Replicas::new(first, &vec![Device::Cpu; sizes.len() - 1]).unwrap();
        replicas.freeze(frozen).unwrap();
        let mut optimizers =
            [&whole, &replicas.first].map(|engine| AdamW::new(AdamWSettings::default(), engine).unwrap());
        let start = whole.trained().unwrap();
        let input = whole.placer().place(&images(5), 5).unwrap();
        for _ in 0..4 {
            let mut random = ChaCha8Rng::seed_from_u64(0);
            let expected = alone(&mut whole, &input, &targets(), &mut random);
            let shares = shares(&replicas, &images(5), sizes);
            let found = replicas.step(&shares, &targets(), &mut random).unwrap();
            assert!(
                (found.loss - expected.loss).abs() < 1e-6,
                "{found:?} {expected:?}"
            );
            assert!(
                (found.norm - expected.norm).abs() < 1e-5,
                "{found:?} {expected:?}"
            );
            let gradients = [&whole, &replicas.first].map(|engine| engine.gradient().unwrap());
            let apart = furthest(&gradients[0], &gradients[1]);
            assert!(apart < 1e-6, "{sizes:?}: {apart}");
            optimizers[0].step(&mut whole, &expected, 1e-3).unwrap();
            optimizers[1].step(&mut replicas.first, &found, 1e-3).unwrap();
        }
        let (expected, found) = (whole.trained().unwrap(), replicas.first.trained().unwrap());
        // AdamW divides by the gradient's own size, so that rounding shows where it is about 0
        let (moved, apart) = (furthest(&start, &expected), furthest(&expected, &found));
        assert!(moved > 2e-3 && apart < 1e-4, "{sizes:?}: {moved} {apart}");
    }
}

#[test]
fn batch_norms_take_the_statistics_of_their_share_and_those_of_the_first_are_kept() {
    let mut first_share = engine(0.0);
    let input = first_share.placer().place(&images(3), 3).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    alone(&mut first_share, &input, &targets()[..3 * LOGITS], &mut random);
    let mut replicas = Replicas::new(engine(0.0), &[Device::Cpu]).unwrap();
    let shares = shares(&replicas, &images(5), &[3, 2]);
    replicas.step(&shares, &targets(), &mut random).unwrap();
    assert!(replicas.first.statistics().unwrap() == first_share.statistics().unwrap());
}

#[test]
fn each_share_is_left_something_else_out_of_and_the_same_seed_makes_the_same_step() {
    let step = |seed| {
        let mut replicas = Replicas::new(engine(0.5), &[Device::Cpu]).unwrap();
        let frozen = norms(&replicas.first);
        replicas.freeze(frozen).unwrap();
        // two shares of the same image
        let shares = shares(&replicas, &[images(1), images(1)].concat(), &[1, 1]);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let targets = targets()[..LOGITS].repeat(2);
        let both = replicas.step(&shares, &targets, &mut random).unwrap();
        let one = replicas.step(
            &shares[..1],
            &targets[..LOGITS],
            &mut ChaCha8Rng::seed_from_u64(seed),
        );
        (both, one.unwrap(), random.get_word_pos())
    };
    let (both, one, drawn) = step(5);
    assert_eq!((both, one, drawn), step(5));
    assert!(drawn > 0, "a checkpoint knows where the draws stand");
    assert!(
        (both.loss - one.loss).abs() > 1e-6,
        "the same was left out of both"
    );
}

#[test]
fn a_replica_that_fails_is_named_and_so_is_the_first() {
    let step = |broken: &dyn Fn(&mut Replicas)| {
        let mut replicas = Replicas::new(engine(0.0), &[Device::Cpu]).unwrap();
        broken(&mut replicas);
        let shares = shares(&replicas, &images(5), &[3, 2]);
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let failed = replicas.step(&shares, &targets(), &mut random).unwrap_err();
        failed.to_string()
    };
    // more logits than there are, which libtorch refuses
    let spoil = |engine: &mut Engine| engine.set_objective(Objective::findings(99));
    let said = step(&|replicas| replicas.break_one(spoil));
    assert!(said.starts_with("cpu: libtorch: "), "{said}");
    let said = step(&|replicas| spoil(&mut replicas.first));
    assert!(said.starts_with("cpu: libtorch: "), "{said}");
    let said = step(&|replicas| replicas.others[0].work = None);
    assert!(said.starts_with("cpu: the thread"), "{said}");
}

#[test]
fn a_list_of_shares_that_does_not_fit_the_devices_is_refused() {
    let mut replicas = Replicas::new(engine(0.0), &[]).unwrap();
    let input = replicas.first.placer().place(&images(1), 1).unwrap();
    let two = [input.shared(), input];
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for (shares, targets) in [(&two[..], 2), (&two[..0], 0)] {
        let refused = replicas.step(shares, &vec![0.0; targets * LOGITS], &mut random);
        assert!(matches!(refused, Err(EngineError::Length { needed: 1, .. })));
    }
}

impl Replicas {
    /// Spoils the second replica, so that its next step fails.
    pub(in super::super::super) fn break_one(&self, spoil: impl Fn(&mut Engine) + Send + 'static) {
        let replica = &self.others[0];
        let done = replica.begin(move |engine| {
            spoil(engine);
            Ok(())
        });
        replica.ended(&done).unwrap();
    }
}
