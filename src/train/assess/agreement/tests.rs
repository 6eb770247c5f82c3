//! Of [`super`].

use super::*;

const EXACT: Bounds = Bounds {
    value: Some(1e-4),
    area: 1e-4,
    not_inferior: false,
    calibration: 0.01,
};

fn head(name: &str, task: Task, labels: &[&str]) -> Head {
    let label = |name: &&str| {
        let code = serde_json::json!({"scheme": "99TEST", "value": name, "meaning": name});
        let mut label = serde_json::json!({"name": name, "code": code});
        if task == Task::Regression {
            label["quantity"] =
                serde_json::json!({"unit": "a", "scale": 10.0, "offset": 50.0, "range": [0.0, 120.0]});
        }
        serde_json::from_value(label).unwrap()
    };
    Head {
        name: name.to_owned(),
        task,
        labels: labels.iter().map(label).collect(),
        scores: "scores".to_owned(),
        activation: crate::model::Activation::None,
        logits: None,
        activation_map: None,
    }
}

/// Forty patients, every third of whom has the finding, with probabilities that mostly say so.
fn pairs() -> Pairs {
    let probability = |image: usize| {
        let spread = (image * 37 % 40) as f32 / 100.0;
        if image.is_multiple_of(3) {
            0.45 + spread
        } else {
            0.1 + spread
        }
    };
    let rows: Vec<Vec<f32>> = (0..40).map(|image| vec![probability(image)]).collect();
    Pairs {
        trained: rows.clone(),
        exported: rows,
        labels: (0..40)
            .map(|image: usize| vec![f32::from(u8::from(image.is_multiple_of(3)))])
            .collect(),
        patients: (0..40).map(|image| image.to_string()).collect(),
    }
}

fn judged(pairs: &Pairs, bounds: &Bounds) -> Result<String, String> {
    let heads = [head("fracture", Task::Binary, &["fracture"])];
    pairs.agreements(&heads).unwrap()[0].judge(bounds)
}

#[test]
fn the_same_function_agrees_with_its_figures() {
    let said = judged(&pairs(), &EXACT).unwrap();
    for part in [
        "0 of 40 decisions differ",
        "AUROC 0.",
        "moved by +0.0e0 [+0.0e0, +0.0e0]",
        "calibration error",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_moves_is_beyond_the_bounds_and_said() {
    let mut one = pairs();
    one.exported[0][0] += 2e-4;
    assert!(judged(&one, &EXACT).unwrap_err().contains("values are no longer"));
    let fp16 = Bounds {
        value: None,
        area: 2e-3,
        ..EXACT
    };
    judged(&one, &fp16).unwrap();

    // a patient with the finding falls behind all without
    let mut moved = pairs();
    moved.exported[3][0] = 0.01;
    let said = judged(&moved, &fp16).unwrap_err();
    assert!(
        said.contains("1 of 40 decisions differ") && said.contains("it moved too far"),
        "{said}"
    );

    // the order stays, and so does the area, but the probabilities say too much
    let mut sure = pairs();
    for row in &mut sure.exported {
        row[0] = row[0].sqrt();
    }
    let said = judged(&sure, &fp16).unwrap_err();
    assert!(
        said.contains("calibration error rose") && !said.contains("it moved too far"),
        "{said}"
    );

    let mut odd = pairs();
    odd.exported[5][0] = f32::NAN;
    assert!(judged(&odd, &EXACT).is_err());
}

/// `count` patients, half of whom have the finding, and an export that puts one in `every` of them behind all others.
fn with_losses(count: usize, every: usize) -> Pairs {
    let spread = |image: usize| (image * 37 % count) as f32 / count as f32;
    let with = |image: usize| image % 2 == 1;
    let rows: Vec<Vec<f32>> = (0..count)
        .map(|image| vec![0.5 * spread(image) + if with(image) { 0.4 } else { 0.1 }])
        .collect();
    let mut exported = rows.clone();
    for image in (0..count).filter(|image| with(*image)).step_by(every) {
        exported[image][0] = 0.01;
    }
    Pairs {
        trained: rows,
        exported,
        labels: (0..count)
            .map(|image| vec![f32::from(u8::from(with(image)))])
            .collect(),
        patients: (0..count).map(|image| image.to_string()).collect(),
    }
}

#[test]
fn that_it_is_no_worse_has_to_be_shown() {
    let margin = |area: f64| Bounds {
        value: None,
        not_inferior: true,
        calibration: 1.0,
        area,
    };
    // one of fifty falls behind: the area by about 0.02, give or take two standard errors of about 0.02
    let (few, many) = (with_losses(100, 50), with_losses(2000, 50));
    let said = judged(&few, &margin(0.04)).unwrap_err();
    assert!(
        said.contains("it may be worse by more than 0.04: about "),
        "{said}"
    );
    let said = said.split("about ").nth(1).unwrap();
    let needed: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!((51..1000).contains(&needed), "{needed}");
    judged(&many, &margin(0.04)).unwrap();
    // what was passed as "not worse beyond doubt"
    let unproven = Bounds {
        not_inferior: false,
        ..margin(0.04)
    };
    judged(&few, &unproven).unwrap();

    let said = judged(&with_losses(2 * LEAST_PATIENTS - 2, 100), &margin(0.2)).unwrap_err();
    assert!(
        said.contains("24 patients with it and 24 without are too few"),
        "{said}"
    );
    judged(&with_losses(2 * LEAST_PATIENTS, 1000), &margin(0.2)).unwrap();
    let mut unknown = few;
    unknown.labels.iter_mut().for_each(|labels| labels[0] = 0.0);
    let said = judged(&unknown, &margin(1.0)).unwrap_err();
    assert!(said.contains("nothing shows that it is no worse"), "{said}");
}

/// Where both tell all patients apart, a fall of the area was not seen, and thirty patients of each kind say little of others.
#[test]
fn an_order_that_no_pair_changed_is_within_and_its_interval_says_for_how_many() {
    let bounds = Bounds {
        value: None,
        area: 0.005,
        not_inferior: true,
        calibration: 1.0,
    };
    let mut pairs = with_losses(60, 1000);
    let with = |image: usize| image % 2 == 1;
    for rows in [&mut pairs.trained, &mut pairs.exported] {
        for (image, row) in rows.iter_mut().enumerate() {
            row[0] = if with(image) { 0.9 } else { 0.1 } + image as f32 / 1000.0;
        }
    }
    pairs.exported[1][0] = 0.95;
    let said = judged(&pairs, &bounds).unwrap();
    // 1 - 0.025^(1 / 30) = 0.116
    for part in [
        "AUROC 1.000 [0.884, 1.000]",
        "moved by +0.0e0 [-1.2e-1, +1.2e-1], no pair",
    ] {
        assert!(said.contains(part), "{said}");
    }
    // three pairs in another order are judged by their interval
    pairs.exported[1][0] = 0.1535;
    let said = judged(&pairs, &bounds).unwrap_err();
    assert!(
        said.contains("it may be worse by more than 0.005") && !said.contains("no pair"),
        "{said}"
    );
}

#[test]
fn what_is_not_known_of_both_classes_is_compared_all_the_same() {
    let mut unknown = pairs();
    for labels in &mut unknown.labels {
        labels[0] = f32::NAN;
    }
    let said = judged(&unknown, &EXACT).unwrap();
    assert!(said.contains("one class only"), "{said}");
    unknown.exported[7][0] = 0.9;
    assert!(judged(&unknown, &EXACT).is_err());
    unknown.exported.pop();
    let heads = [head("fracture", Task::Binary, &["fracture"])];
    assert!(unknown.agreements(&heads).is_err());
}

#[test]
fn of_classes_the_likeliest_is_the_decision_and_numbers_are_measured_in_their_unit() {
    let heads = [
        head("part", Task::Multiclass, &["hip", "hand", "chest"]),
        head("age", Task::Regression, &["years"]),
    ];
    let trained = vec![
        vec![0.4, 0.35, 0.25, 0.0],
        vec![0.3, 0.5, 0.2, 1.0],
        vec![0.2, 0.2, 0.6, 2.0],
    ];
    let mut pairs = Pairs {
        exported: trained.clone(),
        trained,
        labels: vec![
            vec![1.0, 0.0, 0.0, 50.0],
            vec![0.0, 1.0, 0.0, 61.0],
            vec![0.0, 0.0, 1.0, 70.0],
        ],
        patients: ["a", "b", "c"].map(str::to_owned).to_vec(),
    };
    // below a half it was, and the likeliest all the same
    pairs.exported[0] = vec![0.36, 0.39, 0.25, 1.0];
    let found = pairs.agreements(&heads).unwrap();
    let changed: Vec<(&str, usize)> = found
        .iter()
        .map(|one| (one.label.as_str(), one.changed))
        .collect();
    assert_eq!(changed, [("hip", 1), ("hand", 1), ("chest", 0), ("years", 0)]);
    let years = found[3].measured.unwrap();
    assert_eq!(years.name, "R2");
    assert!((found[3].difference - 1.0).abs() < 1e-6);
    // ten years too many for one of three, who are 60.33 on average and 200.67 years squared apart
    assert!(
        (years.moved.value + 100.0 / (602.0 / 3.0)).abs() < 1e-6,
        "{years:?}"
    );
}
