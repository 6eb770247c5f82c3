//! Of [`super`].

use super::super::super::network::{Architecture, Residual, initial_weights};
use super::super::progress::Silent;
use super::super::regime::Regime;
use super::*;
use crate::runtime::Device;

const PIXELS: usize = 20 * 14;

fn recipe() -> Recipe {
    let residual = Residual {
        rows: 20,
        columns: 14,
        stem: 4,
        widths: vec![5, 6],
        blocks: vec![1, 1],
        dropout: 0.2,
        ..Residual::default()
    };
    Recipe {
        architecture: Architecture::Residual(residual),
        batch: 5,
        epochs: 1,
        ..Recipe::default()
    }
}

/// With two replicas.
fn trainer(recipe: &Recipe) -> Trainer<'_> {
    let graph = recipe.graph().unwrap();
    let engine = Engine::new(&graph, &initial_weights(&graph, 1).unwrap(), 1).unwrap();
    let replicas = Replicas::new(engine, &[Device::Cpu]).unwrap();
    Trainer::new(recipe, replicas, 4).unwrap()
}

fn batch(trainer: &Trainer<'_>) -> Ready {
    let image = |place: usize| (0..PIXELS).map(move |pixel| ((pixel * 7 + place * 31) % 50) as f32 / 50.0);
    let placers = trainer.replicas.placers();
    let share = |device: usize, images: std::ops::Range<usize>| {
        let count = images.len();
        let values: Vec<f32> = images.flat_map(image).collect();
        placers[device].place(&values, count).unwrap()
    };
    Ready {
        shares: vec![share(0, 0..3), share(1, 3..5)],
        targets: [1.0, 0.0, f32::NAN, 1.0, 0.0].repeat(2),
        size: 5,
    }
}

#[test]
fn a_device_that_fails_stops_the_training_with_its_name_and_the_training_goes_on_from_its_checkpoint() {
    let recipe = recipe();
    let (mut whole, mut stopped) = (trainer(&recipe), trainer(&recipe));
    for trainer in [&mut whole, &mut stopped] {
        trainer.learning_rate = 0.01;
        trainer.step(&batch(trainer)).unwrap();
    }
    let checkpoint = stopped.checkpoint("this").unwrap();
    // as where no room is left: libtorch refuses the sizes
    stopped.replicas.break_one(|engine| {
        engine.set_objective(super::super::objective::Objective::findings(99));
    });
    let failed = stopped.step(&batch(&stopped)).unwrap_err();
    let said = failed.to_string();
    assert!(matches!(
        failed,
        FitError::Stopped {
            step: 1,
            epoch: 1,
            ..
        }
    ));
    assert!(
        said.contains("cpu: libtorch: ") && said.contains("--resume goes on"),
        "{said}"
    );

    let mut resumed = trainer(&recipe);
    resumed.restore(checkpoint).unwrap();
    for trainer in [&mut whole, &mut resumed] {
        trainer.learning_rate = 0.01;
        trainer.step(&batch(trainer)).unwrap();
    }
    let [expected, found] = [&whole, &resumed].map(|trainer| trainer.replicas.first.trained().unwrap());
    assert!(expected == found, "the weights differ");
}

#[test]
fn a_checkpoint_that_contradicts_itself_is_refused() {
    let recipe = recipe();
    let mut trainer = trainer(&recipe);
    for (epoch, best) in [(1, None), (0, Some((3, 0)))] {
        let mut checkpoint = trainer.checkpoint("this").unwrap();
        (checkpoint.standing.epoch, checkpoint.standing.best) = (epoch, best);
        let refused = trainer.restore(checkpoint).unwrap_err().to_string();
        assert!(refused.contains("epochs do not fit"), "{refused}");
    }
}

#[test]
fn how_long_steps_wait_for_their_images_is_known() {
    let recipe = recipe();
    let mut trainer = trainer(&recipe);
    let slow = Duration::from_millis(30);
    let batches: Vec<Ready> = (0..2).map(|_| batch(&trainer)).collect();
    let batches = batches.into_iter().map(|batch| {
        std::thread::sleep(slow);
        Ok(batch)
    });
    trainer.epoch(batches, None, &mut Silent).unwrap();
    assert!(trainer.waited >= 2 * slow, "{:?}", trainer.waited);
    let at_once = vec![Ok(batch(&trainer))];
    trainer.epoch(at_once, None, &mut Silent).unwrap();
    assert!(trainer.waited < slow, "{:?}", trainer.waited);
}

fn report(mean_measure: f64, validation_loss: f64) -> EpochReport {
    EpochReport {
        epoch: 0,
        learning_rate: 0.01,
        train_loss: 1.0,
        validation_loss,
        measures: Vec::new(),
        mean_measure,
        images_per_second: 1.0,
        waiting: 0.0,
    }
}

/// The best epoch after each of these, and how many were in vain.
fn course(recipe: &Recipe, epochs: &[(f64, f64)]) -> Vec<(usize, usize)> {
    let mut trainer = trainer(recipe);
    let mut seen = Vec::new();
    for (measure, loss) in epochs {
        let weights = trainer.averaged().unwrap();
        trainer.end_epoch(report(*measure, *loss), &weights).unwrap();
        seen.push((trainer.course.best.as_ref().unwrap().0, trainer.in_vain()));
    }
    seen
}

#[test]
fn among_equal_measures_the_smaller_loss_is_better() {
    let epochs = [
        (0.9, 0.7),
        (1.0, 0.6),
        (1.0, 0.6),
        (1.0, 0.4),
        (0.99, 0.1),
        (1.0, 0.5),
    ];
    assert_eq!(
        course(&recipe(), &epochs),
        [(0, 0), (1, 0), (1, 1), (3, 0), (3, 1), (3, 2)]
    );
}

#[test]
fn patience_begins_with_the_last_phase() {
    let recipe = Recipe {
        epochs: 6,
        regime: Regime::Discriminative {
            head_epochs: 3,
            ratio: 100.0,
        },
        ..recipe()
    };
    let epochs = [
        (0.9, 0.5),
        (0.8, 0.5),
        (0.8, 0.5),
        (0.8, 0.5),
        (0.8, 0.5),
        (0.95, 0.5),
    ];
    assert_eq!(
        course(&recipe, &epochs),
        [(0, 0), (0, 0), (0, 0), (0, 1), (0, 2), (5, 0)]
    );
}
