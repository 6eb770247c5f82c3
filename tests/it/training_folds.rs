//! Cross-validation: who takes part, a fold that was stopped, and folds that can have no figures.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::index::{said, stage};
use crate::trainer::{succeeded, trainer};
use crate::training_table::{RECIPE, on, write_table};

fn json(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

const FOLDS: [&str; 4] = ["--folds", "2", "--validation", "0.4"];

#[test]
fn the_test_part_of_a_split_takes_part_in_no_fold_and_a_stopped_fold_goes_on_as_one() {
    let stage = stage(32);
    let folder = stage.path();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    let is_test = |patient: u32| patient % 4 == 3 || patient.is_multiple_of(8);
    write_table(
        folder,
        "labels.csv",
        "patient,split,fracture",
        (0..32).map(|patient| {
            let split = if is_test(patient) { "test" } else { "" };
            (patient, format!("p{patient},{split},{}", patient % 2))
        }),
    );
    let folds = || on(folder, &["cross-validate"], "labels.csv", "folds", &FOLDS);
    let output = folds();
    succeeded(&output);
    let words = said(&output);
    assert!(
        words.contains("12 images are the test part of the table's split: they take part in no fold"),
        "{words}"
    );
    let summary = json(&folder.join("folds/summary.json"));
    let images = |fold: usize| summary["folds"][fold]["images"].as_u64().unwrap();
    assert_eq!(images(0) + images(1), 20);
    for fold in ["1", "2"] {
        let record = json(&folder.join("folds").join(fold).join("record.json"));
        let trained = record["data"]["training_images"].as_u64().unwrap();
        let list = |name: &str| record["validation"][name].as_array().unwrap().clone();
        let held_out: BTreeSet<String> = list("patients")
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        assert!(
            trained + (held_out.len() as u64) <= 12,
            "{trained} and {held_out:?}"
        );
        // places count all images of the table
        let of_places = list("places").into_iter().map(|place| format!("p{place}"));
        assert_eq!(of_places.collect::<BTreeSet<_>>(), held_out);
        assert!(held_out.iter().all(|name| !is_test(name[1..].parse().unwrap())));
    }

    // as a kill before the first checkpoint leaves it
    let second = folder.join("folds/2");
    let weights = std::fs::read(second.join("weights.safetensors")).unwrap();
    for file in ["weights.safetensors", "record.json"] {
        std::fs::remove_file(second.join(file)).unwrap();
    }
    let out = second.to_string_lossy().into_owned();
    let resumed = trainer(&["fit", "--resume", "--out", &out]);
    let words = said(&resumed);
    assert!(
        !resumed.status.success()
            && words.contains("is a fold of a cross-validation")
            && words.contains("osteon-train cross-validate --folds 2"),
        "{words}"
    );
    // nor is an ordinary training taken for a fold
    let source = std::fs::read_to_string(second.join("source.json")).unwrap();
    let mut ordinary: Value = serde_json::from_str(&source).unwrap();
    ordinary.as_object_mut().unwrap().remove("fold").unwrap();
    std::fs::write(second.join("source.json"), ordinary.to_string()).unwrap();
    let refused = folds();
    assert!(
        said(&refused).contains("was told something else"),
        "{}",
        said(&refused)
    );
    std::fs::write(second.join("source.json"), source).unwrap();
    succeeded(&folds());
    assert!(std::fs::read(second.join("weights.safetensors")).unwrap() == weights);
}

#[test]
fn folds_without_figures_are_told_before_the_first_trains_or_leave_the_others_theirs() {
    let stage = stage(16);
    let folder = stage.path();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    let table = |name: &str, ill: &dyn Fn(u32) -> bool| {
        let cells = (0..16).map(|patient| (patient, format!("p{patient},{}", u8::from(ill(patient)))));
        write_table(folder, name, "patient,fracture", cells);
    };
    table("rare.csv", &|patient| patient < 2);
    let told = on(folder, &["cross-validate"], "rare.csv", "rare", &FOLDS);
    let words = said(&told);
    assert!(
        !told.status.success() && words.contains("fold 1: no held-out image has fracture 1"),
        "{words}"
    );
    assert!(!folder.join("rare").exists(), "something was trained: {words}");

    let diverging = RECIPE.replace(
        "\"epochs\": 1",
        "\"epochs\": 1, \"schedule\": {\"peak\": 1e30, \"start_divisor\": 1}",
    );
    std::fs::write(folder.join("recipe.json"), diverging).unwrap();
    table("even.csv", &|patient| patient % 2 == 0);
    let diverged = on(folder, &["cross-validate"], "even.csv", "even", &FOLDS);
    assert!(
        said(&diverged).contains("2 of 2 folds have no figures"),
        "{}",
        said(&diverged)
    );
    let summary = json(&folder.join("even/summary.json"));
    for fold in 0..2 {
        let problem = summary["folds"][fold]["problem"].as_str().unwrap();
        assert!(problem.contains("lower the peak rate"), "{problem}");
    }
}

#[test]
fn each_site_is_left_out_once() {
    let stage = stage(18);
    let folder = stage.path();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    let cells = (0..18).map(|patient| {
        let site = ["north", "south", "west"][patient as usize % 3];
        (patient, format!("p{patient},{site},{}", patient / 3 % 2))
    });
    write_table(folder, "labels.csv", "patient,site,fracture", cells);
    let by = ["--by", "site", "--validation", "0.4"];
    let output = on(folder, &["cross-validate"], "labels.csv", "sites", &by);
    succeeded(&output);
    let summary = json(&folder.join("sites/summary.json"));
    let folds = summary["folds"].as_array().unwrap();
    let names: Vec<&str> = folds.iter().map(|fold| fold["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["north", "south", "west"]);
    assert!(folds.iter().all(|fold| fold["images"] == 6));
    let record = json(&folder.join("sites/2/record.json"));
    for patient in record["validation"]["patients"].as_array().unwrap() {
        let number: u32 = patient.as_str().unwrap()[1..].parse().unwrap();
        assert_ne!(number % 3, 1, "a patient of the site that is left out");
    }
}
