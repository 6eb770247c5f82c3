//! Of [`super`].

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::super::learn::heads::Head;
use super::*;
use crate::evaluation::interval::wilson;
use crate::finding::Task;

fn heads() -> Heads {
    Heads::new(&[Head::new("fracture", Task::Binary, &["fracture"])], &[])
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Images at these places, of which those beyond 1 have the finding.
fn validation(places: &[usize], logits: &[f64]) -> Validation {
    Validation {
        labels: places
            .iter()
            .map(|place| vec![Some(f32::from(u8::from(*place > 1)))])
            .collect(),
        logits: logits.iter().map(|logit| vec![*logit]).collect(),
        patients: places.iter().map(usize::to_string).collect(),
        places: places.to_vec(),
        mirrored: None,
    }
}

fn member(validation: &Validation) -> HeldOut<'_> {
    HeldOut {
        validation,
        positive_weights: None,
    }
}

#[test]
fn images_that_all_held_out_are_those_of_the_threshold() {
    let heads = heads();
    let question = &Question::all(&heads)[0];
    let calibrations = vec![
        Calibration {
            temperatures: vec![2.0],
            shifts: vec![0.0],
            offsets: vec![0.5],
            warnings: Vec::new(),
        };
        2
    ];
    let near = |found: &[f64], expected: &[f64]| {
        let mut both = found.iter().zip(expected);
        found.len() == expected.len() && both.all(|(found, expected)| (found - expected).abs() < 1e-12)
    };
    let (first, second) = (
        validation(&[0, 2, 5], &[0.0, 2.0, 8.0]),
        validation(&[0, 2, 3], &[1.0, 4.0, 0.0]),
    );
    let together = Together::new(&heads, vec![member(&first), member(&second)], false).unwrap();
    let found = together.said(question, &calibrations);
    let means = [
        f64::midpoint(sigmoid(0.5), sigmoid(1.0)),
        f64::midpoint(sigmoid(1.5), sigmoid(2.5)),
    ];
    assert!(found.by_all && near(&found.probabilities, &means), "{found:?}");
    assert_eq!(
        (found.truth, found.patients),
        (vec![false, true], vec!["0".to_owned(), "2".to_owned()])
    );

    // of one class only: each image with the mean of those that held it out
    let (first, second) = (validation(&[0, 2], &[0.0, 2.0]), validation(&[2, 3], &[4.0, 0.0]));
    let together = Together::new(&heads, vec![member(&first), member(&second)], false).unwrap();
    let found = together.said(question, &calibrations);
    let means = [
        sigmoid(0.5),
        f64::midpoint(sigmoid(1.5), sigmoid(2.5)),
        sigmoid(0.5),
    ];
    assert!(!found.by_all && near(&found.probabilities, &means), "{found:?}");
    assert_eq!(found.truth, [false, true, true]);
    let refused = Together::new(&heads, vec![member(&first)], true).err().unwrap();
    assert!(refused.contains("mirror images"), "{refused}");
}

/// Two networks that say the truth and noise of their own, each too sure.
fn noisy(images: usize) -> [Validation; 2] {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let truth: Vec<f64> = (0..images).map(|_| 6.0 * random.random::<f64>() - 4.0).collect();
    let labels: Vec<Vec<Option<f32>>> = truth
        .iter()
        .map(|logit| {
            vec![Some(f32::from(u8::from(
                random.random::<f64>() < sigmoid(*logit),
            )))]
        })
        .collect();
    [1.0, 1.5].map(|off| {
        let mut noise = || 8.0 * (random.random::<f64>() - 0.5);
        Validation {
            logits: truth
                .iter()
                .map(|logit| vec![2.0 * (logit + off) + noise()])
                .collect(),
            labels: labels.clone(),
            patients: (0..images).map(|place| format!("p{place}")).collect(),
            places: (0..images).collect(),
            mirrored: None,
        }
    })
}

#[test]
fn the_mean_of_networks_has_a_slope_and_an_offset_of_its_own() {
    let heads = heads();
    let question = &Question::all(&heads)[0];
    let members = noisy(4000);
    let both = Together::new(&heads, members.iter().map(member).collect(), false).unwrap();
    let each: Vec<Calibration> = members
        .iter()
        .map(|own| Calibration::of(&heads, own, None).unwrap())
        .collect();
    let error = |calibrations: &[Calibration]| {
        let said = both.said(question, calibrations);
        let bootstrap = Bootstrap::default();
        calibration_error_interval(&said.probabilities, &said.truth, &said.patients, BINS, bootstrap)
            .unwrap()
            .value
    };
    let calibrations = both.calibrations().unwrap();
    let (alone, together) = (error(&each), error(&calibrations));
    assert!(alone > 0.035 && together < 0.02, "{alone} {together}");
    assert!(calibrations.iter().all(|own| own.warnings.is_empty()));
    // the mean is surer than that of networks which are calibrated by themselves
    assert!(calibrations[0].temperatures[0] < each[0].temperatures[0]);

    let errors = &both.cross_fitted(question).calibration[0];
    assert_eq!((errors.name.as_str(), errors.images), ("fracture", 4000));
    assert!(
        errors.before.value > 0.1 && errors.after.value < 0.03,
        "{errors:?}"
    );
}

#[test]
fn networks_that_held_out_nothing_in_common_keep_their_own() {
    let heads = heads();
    let [first, mut second] = noisy(400);
    second.places.iter_mut().for_each(|place| *place += 400);
    let both = Together::new(&heads, vec![member(&first), member(&second)], false).unwrap();
    let calibrations = both.calibrations().unwrap();
    let own = Calibration::of(&heads, &first, None).unwrap();
    assert_eq!(calibrations[0].temperatures, own.temperatures);
    assert_eq!(calibrations[0].offsets, own.offsets);
    assert!(calibrations[0].warnings[0].contains("a slope and an offset of their mean"));
    assert!(
        both.cross_fitted(&Question::all(&heads)[0])
            .calibration
            .is_empty()
    );
}

/// Every fifth patient has the finding with 0.6, the others with 0.1, and the network says nothing: an offset that knows them all is
/// right on the whole, one that knows the other four fifths is not.
#[test]
fn the_error_of_patients_is_by_others() {
    let heads = heads();
    let present = |place: usize| place / 5 % 10 < if place.is_multiple_of(5) { 6 } else { 1 };
    let held_out = Validation {
        labels: (0..1000)
            .map(|place| vec![Some(f32::from(u8::from(present(place))))])
            .collect(),
        logits: vec![vec![0.3]; 1000],
        patients: (0..1000).map(|place| format!("{place:04}")).collect(),
        places: (0..1000).collect(),
        mirrored: None,
    };
    let one = Together::new(&heads, vec![member(&held_out)], false).unwrap();
    let question = &Question::all(&heads)[0];
    let said = one.said(question, &one.calibrations().unwrap());
    assert!(
        (said.probabilities[0] - 0.2).abs() < 0.01,
        "{}",
        said.probabilities[0]
    );
    let errors = &one.cross_fitted(question).calibration[0];
    assert!(errors.after.value > 0.15, "{errors:?}");
}

/// A network that says too much of a rare class: it is answered for all images of it without offsets,
/// and with them never. The figures are by the functions of the server.
#[test]
fn what_is_answered_is_told_before_and_after() {
    let class = |place: usize| usize::from(place % 10 >= 6) + usize::from(place % 10 == 9);
    for (task, logits) in [
        (
            Task::Multiclass,
            [[2.0, 0.0, 1.0], [0.0, 2.0, 1.0], [1.0, 1.5, 1.6]].map(Vec::from),
        ),
        (
            Task::Ordinal,
            [[-2.0, -4.0], [0.2, -1.0], [2.0, 0.2]].map(Vec::from),
        ),
    ] {
        let labels = ["none", "mild", "severe"];
        let heads = Heads::new(&[Head::new("grade", task, &labels)], &[]);
        // of three images that look severe one is, and the others are mild
        let looks = |place: usize| {
            if class(place) == 1 && place % 10 != 6 {
                2
            } else {
                class(place)
            }
        };
        let held_out = Validation {
            labels: (0..600)
                .map(|place| {
                    (0..3)
                        .map(|own| Some(f32::from(u8::from(own == class(place)))))
                        .collect()
                })
                .collect(),
            logits: (0..600).map(|place| logits[looks(place)].clone()).collect(),
            // two images of each
            patients: (0..600).map(|place| format!("{:04}", place % 300)).collect(),
            places: (0..600).collect(),
            mirrored: None,
        };
        let one = Together::new(&heads, vec![member(&held_out)], false).unwrap();
        let found = one.cross_fitted(&Question::all(&heads)[0]);
        let severe = &found.recalls[2];
        assert_eq!(
            (severe.head.as_str(), severe.label.as_str(), severe.images),
            ("grade", "severe", 60)
        );
        assert_eq!((severe.before.value, severe.after.value), (1.0, 0.0), "{found:?}");
        // of thirty patients, not of sixty images
        let [lower, upper] = wilson(1.0, 30);
        assert_eq!((severe.before.lower, severe.before.upper), (lower, upper));
        assert!(
            severe
                .warning()
                .unwrap()
                .contains("head grade: severe is answered for 0.00 of the 60")
        );
        assert_eq!(
            found.recalls.iter().map(|own| own.images).collect::<Vec<_>>(),
            [360, 180, 60]
        );
    }
    let finding = self::heads();
    let [one, _] = noisy(400);
    let together = Together::new(&finding, vec![member(&one)], false).unwrap();
    assert!(
        together
            .cross_fitted(&Question::all(&finding)[0])
            .recalls
            .is_empty()
    );
}
