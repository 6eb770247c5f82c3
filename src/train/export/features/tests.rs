//! Of [`super`].

use super::*;
use crate::train::learn::heads::Head;

/// Six images of four features, of which the last never varies.
fn rows() -> Vec<Vec<f32>> {
    let feature =
        |image: usize, place: usize| ((image * 7 + place * 3 + image * place * 5) % 11) as f32 / 4.0;
    (0..6)
        .map(|image| (0..4).map(|place| feature(image, place)).collect())
        .collect()
}

fn gathered(held_out: Vec<Vec<f32>>) -> Gathered {
    Gathered {
        training: rows(),
        classes: vec![Some(0); 6],
        held_out,
    }
}

/// scikit-learn 1.9.1, `NumPy` 2.4: `S, s = ledoit_wolf(X)`; `L = numpy.linalg.cholesky(numpy.linalg.inv(S))`.
#[test]
fn the_covariance_and_its_factor_are_those_of_scikit_learn() {
    let rows = rows();
    let mean: Vec<f64> = (0..4)
        .map(|place| rows.iter().map(|row| f64::from(row[place])).sum::<f64>() / 6.0)
        .collect();
    let covariance = Covariance::ledoit_wolf(&rows, |_| &mean).unwrap();
    assert!(
        (covariance.shrinkage - 0.478_257_604_933_427_45).abs() < 1e-12,
        "{}",
        covariance.shrinkage
    );
    let expected = [
        1.454_266_870_832_808,
        -0.224_502_581_292_476_08,
        1.990_336_744_762_512_9,
        0.497_007_156_243_811_37,
        -0.014_125_679_259_798_01,
        1.616_084_037_391_934,
        0.0,
        0.0,
        0.0,
        2.521_016_523_903_539,
    ];
    let factor = covariance.precision_factor().unwrap();
    assert_eq!(factor.len(), expected.len());
    for (found, expected) in factor.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }
}

#[test]
fn the_factor_undoes_the_covariance_of_many_features() {
    let feature =
        |image: usize, place: usize| ((image * image * 31 + place * 17 + image * place * 7) % 101) as f32;
    let rows: Vec<Vec<f32>> = (0..30)
        .map(|image| (0..45).map(|place| feature(image, place)).collect())
        .collect();
    let mean = vec![50.0; 45];
    let covariance = Covariance::ledoit_wolf(&rows, |_| &mean).unwrap();
    let factor = covariance.precision_factor().unwrap();
    let lower = |line: usize, column: usize| {
        if column > line {
            0.0
        } else {
            factor[line * (line + 1) / 2 + column]
        }
    };
    let symmetric = |line: usize, column: usize| covariance.values[line.max(column) * 45 + line.min(column)];
    // Lᵀ S L is the identity
    for (a, b) in [(0, 0), (44, 44), (3, 17), (20, 19), (44, 0)] {
        let mut sum = 0.0;
        for line in 0..45 {
            for column in 0..45 {
                sum += lower(line, a) * symmetric(line, column) * lower(column, b);
            }
        }
        let expected = if a == b { 1.0 } else { 0.0 };
        assert!((sum - expected).abs() < 1e-8, "{a}, {b}: {sum}");
    }
}

/// The distance is that of `NumPy` for the matrices above: `sqrt((y - m) @ inv(S) @ (y - m))`; the limit is it, as two
/// images are too few to leave one out.
#[test]
fn the_limit_is_of_images_that_the_statistics_are_not_of() {
    let far = vec![1.0, 2.0, 0.5, -1.0];
    let mean: Vec<f32> = (0..4)
        .map(|place| rows().iter().map(|row| row[place]).sum::<f32>() / 6.0)
        .collect();
    let statistics = gathered(vec![far.clone(), mean]).statistics().unwrap();
    let distance = statistics.distance(&far).unwrap();
    assert!((distance - 8.378_580_222_278_812).abs() < 1e-5, "{distance}");
    assert!((statistics.limit - distance).abs() < 1e-5, "{}", statistics.limit);
    for part in [
        "6 training images",
        "number 2 of 2 images of held-out",
        "about 33.3 % of new ones",
    ] {
        assert!(statistics.origin.contains(part), "{}", statistics.origin);
    }
}

/// Of n images the one of rank ceil(0.99 (n + 1)): a new one is beyond with a probability of (n + 1 - rank) / (n + 1), where the 99th
/// percentile of 50 images is exceeded by every 34th.
#[test]
fn the_limit_keeps_what_it_promises_of_new_images() {
    let distance = |place: usize| -> Vec<f32> { vec![place as f32, 2.0, 0.5, -1.0] };
    for (count, rank) in [(50, 50), (98, 98), (99, 99), (250, 249)] {
        // ever farther away
        let held_out: Vec<Vec<f32>> = (10..10 + count).map(distance).collect();
        let statistics = gathered(held_out).statistics().unwrap();
        let expected = statistics.distance(&distance(9 + rank)).unwrap();
        assert!((statistics.limit - expected).abs() < 1e-9, "{count}");
    }
}

#[test]
fn classes_that_exclude_each_other_have_a_mean_each_if_they_are_large_enough() {
    let of = |classes: [Option<usize>; 2]| {
        let mut training = Vec::new();
        let mut of_image = Vec::new();
        for (place, row) in std::iter::repeat_n(rows(), 5).flatten().enumerate() {
            let class = classes[place % 2];
            let shift = class.map_or(500.0, |class| class as f32 * 100.0);
            training.push(row.iter().map(|feature| feature + shift).collect());
            of_image.push(class);
        }
        let held_out = rows();
        let all = Gathered {
            training,
            classes: of_image,
            held_out,
        };
        all.statistics().unwrap()
    };
    let two = of([Some(0), Some(1)]);
    assert_eq!(two.means.len(), 2);
    assert!(
        (two.means[1][0] - two.means[0][0] - 100.0).abs() < 2.0,
        "{:?}",
        two.means
    );
    assert!(two.origin.contains("the means of 2 classes"), "{}", two.origin);
    let unknown = of([Some(0), None]);
    assert_eq!(unknown.means.len(), 1);
    assert!(unknown.means[0][0] < 10.0 && unknown.origin.contains("15 training images"));
    // one image of a class says little
    let mut small = gathered(rows());
    small.classes[0] = Some(1);
    assert_eq!(small.statistics().unwrap().means.len(), 1);
}

#[test]
fn classes_are_those_of_one_question_alone() {
    let part = Head::new("part", Task::Multiclass, &["hip", "hand"]);
    let fracture = Head::new("fracture", Task::Binary, &["fracture"]);
    let alone = |head: &Head| Heads::new(std::slice::from_ref(head), &[]);
    assert_eq!(class_of(&alone(&part), &[0.0, 1.0]), Some(1));
    assert_eq!(class_of(&alone(&part), &[f32::NAN; 2]), None);
    assert_eq!(class_of(&alone(&fracture), &[1.0]), Some(1));
    assert_eq!(class_of(&alone(&fracture), &[f32::NAN]), None);
    assert_eq!(
        class_of(&Heads::new(&[part, fracture], &[]), &[0.0, 1.0, f32::NAN]),
        Some(0)
    );
    let findings = Heads::new(&[], &["a", "b"].map(str::to_owned));
    assert_eq!(class_of(&findings, &[1.0, 1.0]), Some(0), "they overlap");
}

#[test]
fn features_that_say_nothing_are_no_statistics() {
    let constant = Gathered {
        training: vec![vec![1.0; 3]; 5],
        classes: vec![Some(0); 5],
        held_out: vec![vec![1.0; 3]],
    };
    assert!(constant.statistics().unwrap_err().contains("do not vary"));
    assert!(gathered(Vec::new()).statistics().unwrap_err().contains("too few"));
}
