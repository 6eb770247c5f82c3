//! Of [`super`].

use super::*;
use crate::runtime::HeadOutput;

#[test]
fn grades_are_asked_from_the_second_on() {
    let label = |name: &str| {
        let code = serde_json::json!({"scheme": "99TEST", "value": name, "meaning": name});
        serde_json::from_value(serde_json::json!({"name": name, "code": code})).unwrap()
    };
    let mut head = Head {
        name: "grade".to_owned(),
        task: Task::Ordinal,
        labels: ["none", "mild", "severe"].map(label).to_vec(),
        scores: "scores".to_owned(),
        activation: crate::model::Activation::Sigmoid,
        logits: None,
        activation_map: None,
    };
    let places = |head: &Head| -> Vec<_> {
        questions(head, 4, 7)
            .into_iter()
            .map(|own| (own.name, own.values, own.labels))
            .collect()
    };
    let (mild, severe) = ("mild or above".to_owned(), "severe or above".to_owned());
    assert_eq!(
        places(&head),
        [(mild.clone(), 4..5, 8..10), (severe.clone(), 5..6, 9..10)]
    );
    // a network from elsewhere may give a probability for each grade
    head.activation = crate::model::Activation::Softmax;
    assert_eq!(places(&head), [(mild, 5..7, 8..10), (severe, 6..7, 9..10)]);
}

/// Above a logit of about 17 all probabilities are 1 in 32 bits.
#[test]
fn images_are_told_apart_by_logits_where_probabilities_are_all_1() {
    let code = serde_json::json!({"scheme": "99TEST", "value": "a", "meaning": "a"});
    let head = Head {
        name: "a".to_owned(),
        task: Task::Binary,
        labels: vec![serde_json::from_value(serde_json::json!({"name": "a", "code": code})).unwrap()],
        scores: "scores".to_owned(),
        activation: Activation::None,
        logits: Some("logits".to_owned()),
        activation_map: None,
    };
    let said = |logits: Option<f32>| {
        let output = HeadOutput {
            scores: vec![1.0],
            logits: logits.map(|logit| vec![logit]),
            values: vec![1.0],
            activation_maps: Vec::new(),
        };
        let prediction = Prediction {
            heads: vec![output],
            embedding: None,
        };
        Answer::of(&prediction, std::slice::from_ref(&head))
    };
    let mut labelled = Labelled::default();
    for (place, present) in [0.0, 1.0, 0.0, 1.0].into_iter().enumerate() {
        let plane = Plane {
            rows: 1,
            columns: 1,
            values: vec![0],
        };
        labelled.samples.push(plane, vec![present], place.to_string());
    }
    let question = questions(&head, 0, 0).remove(0);
    let area = |logits: [Option<f32>; 4]| {
        let answers: Vec<Answer> = logits.into_iter().map(said).collect();
        let all = [&answers, &answers, &answers];
        one(&question, &labelled, &[], all).unwrap().auroc.value
    };
    assert!((area([Some(20.0), Some(40.0), Some(30.0), Some(35.0)]) - 1.0).abs() < 1e-12);
    assert!((area([None; 4]) - 0.5).abs() < 1e-12);
}

#[test]
fn corners_and_the_rest_are_blanked_apart() {
    let plane = Plane {
        rows: 10,
        columns: 10,
        values: (0..100).map(|value| value * 100).collect(),
    };
    let (without, only) = (blanked(&plane, true), blanked(&plane, false));
    assert_eq!(without.values[0], 4950);
    assert_eq!(without.values[55], 5500);
    assert_eq!(only.values[0], 0);
    assert_eq!(only.values[55], 4950);
    assert_eq!(without.values[5], 500, "an edge is not a corner");
}
