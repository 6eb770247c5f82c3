//! Of [`super`].

use super::super::super::learn::heads::Head;
use super::*;

fn heads(task: Task, labels: &[&str]) -> Heads {
    Heads::new(&[Head::new("question", task, labels)], &[])
}

/// Images that each have a patient of their own.
fn validation(labels: Vec<Vec<Option<f32>>>, logits: Vec<Vec<f64>>) -> Validation {
    Validation {
        patients: (0..labels.len()).map(|place| place.to_string()).collect(),
        places: (0..labels.len()).collect(),
        labels,
        logits,
        mirrored: None,
    }
}

/// A network that counts a present finding three times, says everything twice too sure, and too much of everybody.
#[test]
fn logits_are_divided_and_what_the_loss_counted_and_the_network_added_is_taken_off() {
    let heads = heads(Task::Binary, &["fracture"]);
    let shift = 3.0_f64.ln();
    // half of the images at a logit of 0, three quarters at one of ln 3, a quarter at -ln 3
    let truth = |place: usize| place % 4 < [2, 3, 1][place / 4 % 3];
    let said = |place: usize| 2.0 * ([0.0, shift, -shift][place / 4 % 3] + shift + 0.7);
    let held_out = validation(
        (0..1200)
            .map(|place| vec![Some(f32::from(u8::from(truth(place))))])
            .collect(),
        (0..1200).map(|place| vec![said(place)]).collect(),
    );
    let calibration = Calibration::of(&heads, &held_out, Some(&[3.0])).unwrap();
    assert!(
        (calibration.temperatures[0] - 2.0).abs() < 0.04,
        "{calibration:?}"
    );
    assert!((calibration.offsets[0] + 0.7).abs() < 0.04, "{calibration:?}");
    let none = calibration.apply(&[said(0)])[0];
    assert!(none.abs() < 0.02, "{none}");
    // what the exported network does: first the bias, then the temperature
    let exported = (said(4) + calibration.bias()[0]) / calibration.temperatures[0];
    assert!((exported - calibration.apply(&[said(4)])[0]).abs() < 1e-12);
    assert!(calibration.warnings.is_empty());
    assert!(Calibration::of(&heads, &held_out, Some(&[3.0; 2])).is_err());

    let mut cut = held_out.clone();
    cut.logits[7].clear();
    let refused = Calibration::of(&heads, &cut, None).unwrap_err();
    assert!(refused.contains("1 labels, 1 logits and a patient"), "{refused}");

    let mut constant = held_out;
    constant.logits.iter_mut().for_each(|row| row[0] = 0.0);
    let calibration = Calibration::of(&heads, &constant, None).unwrap();
    assert_eq!(calibration.temperatures, [1.0]);
    assert!(calibration.warnings[0].contains("label fracture: the held-out images tell no temperature"));
}

#[test]
fn what_is_fitted_to_calibrated_logits_comes_after() {
    let heads = heads(Task::Binary, &["fracture"]);
    let mut calibration = Calibration {
        temperatures: vec![2.0],
        shifts: vec![0.5],
        offsets: vec![0.25],
        warnings: Vec::new(),
    };
    let before = calibration.apply(&[3.0])[0];
    let scaling = Scaling {
        temperature: Some(0.8),
        offsets: vec![-0.3],
    };
    calibration.then(&Question::all(&heads)[0], &scaling);
    assert!((calibration.apply(&[3.0])[0] - (before / 0.8 - 0.3)).abs() < 1e-12);
}

/// Grades of which the network says too much at the first threshold and too little at the second.
#[test]
fn thresholds_between_grades_have_an_offset_each() {
    let heads = heads(Task::Ordinal, &["none", "mild", "severe"]);
    // of ten images one is severe and three mild, whatever the logits
    let labels = (0..1000).map(|place| {
        let grade = [2, 1, 1, 1, 0, 0, 0, 0, 0, 0][place % 10];
        (0..3)
            .map(|own| Some(f32::from(u8::from(own == grade))))
            .collect()
    });
    let noise = |place: usize| if (place / 10).is_multiple_of(2) { 0.1 } else { -0.1 };
    let logits = (0..1000).map(|place| vec![1.0 + noise(place), -5.0 + noise(place)]);
    let calibration = Calibration::of(&heads, &validation(labels.collect(), logits.collect()), None).unwrap();
    let found = calibration.apply(&[1.0, -5.0]);
    for (found, share) in found.iter().zip([0.4_f64, 0.1]) {
        let probability = 1.0 / (1.0 + (-found).exp());
        assert!(
            (probability - share).abs() < 0.02,
            "{probability} {calibration:?}"
        );
    }
}

#[test]
fn the_mean_of_views_is_judged() {
    let classes = heads(Task::Multiclass, &["hip", "hand"]);
    let question = &Question::all(&classes)[0];
    let known = [Some(0.0), Some(1.0)];
    let row = Row {
        labels: &known,
        views: vec![vec![0.0, 2.0], vec![1.0, 0.0]],
    };
    let judged = question.judged(&row);
    let softmax = |difference: f64| 1.0 / (1.0 + (-difference).exp());
    let expected = f64::midpoint(softmax(2.0), softmax(-1.0));
    assert!(judged[0].truth && (judged[0].probability - expected).abs() < 1e-12);
    let unknown = [None, None];
    let views = vec![vec![0.0, 2.0]];
    assert!(
        question
            .judged(&Row {
                labels: &unknown,
                views
            })
            .is_empty()
    );
    assert_eq!(question.judgements(), ["head question: the likeliest"]);

    let grades = heads(Task::Ordinal, &["none", "mild", "severe"]);
    let question = &Question::all(&grades)[0];
    let mild = [Some(0.0), Some(1.0), Some(0.0)];
    let judged = question.judged(&Row {
        labels: &mild,
        views: vec![vec![1.0, -2.0]],
    });
    assert_eq!(
        judged.iter().map(|own| own.truth).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(question.judgements(), ["mild or above", "severe or above"]);
    // the second threshold is passed with more than the first, which is not served
    let judged = question.judged(&Row {
        labels: &mild,
        views: vec![vec![-1.0, 2.0]],
    });
    let expected = softmax(-1.0);
    assert!(judged.iter().all(|own| (own.probability - expected).abs() < 1e-6));
}
