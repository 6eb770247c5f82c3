//! The commands that help to choose before a training: rates, augmentations, and what each setting is worth: in small.

use serde_json::json;

use crate::trainer::{succeeded, trainer};
use crate::training_answers::{Stage, architecture};

#[test]
fn rates_and_augmentations_can_be_looked_at_before_training() {
    let stage = Stage::new(&json!({
        "labels": ["osteoporosis"], "epochs": 1, "batch": 8, "threads": 1, "architecture": architecture(),
        "augmentation": {"horizontal_flip": true, "rotation": 5.0, "translation": 0.0, "scale": [1.0, 1.0], "gamma": [1.0, 1.0],
                         "contrast": [1.0, 1.0], "brightness": 0.0, "noise": 0.0, "cutout_probability": 0.0},
    }));
    let rates = stage.with_images(&["lr-find"], &["--out", &stage.text("rates"), "--steps", "30"]);
    assert!(rates.contains("valley"), "{rates}");
    assert!(
        stage.json("rates/lr-find.json")["points"]
            .as_array()
            .unwrap()
            .len()
            > 10
    );
    let svg = std::fs::read_to_string(stage.path("rates/lr-find.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("learning rate"));

    let words = stage.run(&["augment", "explain", "--recipe", &stage.text("recipe.json")]);
    assert!(words.contains("turned by up to 5 degrees either way"), "{words}");
    assert_eq!(
        words.lines().filter(|line| line.ends_with("  off")).count(),
        7,
        "{words}"
    );
    stage.with_images(
        &["augment", "preview"],
        &[
            "--out",
            &stage.text("sheet.png"),
            "--images",
            "2",
            "--epochs",
            "3",
        ],
    );
    assert!(
        std::fs::read(stage.path("sheet.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
}

#[test]
fn what_a_setting_is_worth_is_told_over_seeds_on_the_same_patients() {
    let stage = Stage::new(&json!({
        "labels": ["osteoporosis"], "epochs": 1, "batch": 8, "threads": 1, "architecture": architecture(),
        "augmentation": {"horizontal_flip": true, "rotation": 5.0, "translation": 0.0, "scale": [1.0, 1.0], "gamma": [1.0, 1.0],
                         "contrast": [1.0, 1.0], "brightness": 0.0, "noise": 0.0, "cutout_probability": 0.0},
    }));
    let (labels, recipe) = (stage.text("images/labels.csv"), stage.text("recipe.json"));
    let ablate = |out: &str, seeds: &str| {
        let told = ["--labels", &labels, "--recipe", &recipe, "--validation", "0.5"];
        let output = trainer(&[&["augment", "ablate", "--out", out, "--seeds", seeds], &told[..]].concat());
        let [table, words] =
            [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
        (output.status.success(), table, words)
    };
    let (done, _, words) = ablate(&recipe, "1");
    assert!(
        !done && words.contains("cannot be written") && !words.contains("training 1 of"),
        "{words}"
    );
    let out = stage.text("a/new/folder");
    let (done, table, words) = ablate(&out, "1");
    assert!(
        done && words.contains("training 3 of 3: without horizontal_flip, seed 1, about"),
        "{words}"
    );
    assert!(words.contains("another seed may move a difference"), "{words}");
    let row = |table: &str, place: usize| -> Vec<String> {
        let cells = table.lines().nth(place).unwrap().split("  ");
        cells
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let arms = |table: &str| [1, 2, 3].map(|place| row(table, place)[..2].join(" "));
    assert_eq!(
        arms(&table),
        ["(whole recipe) 1", "rotation 1", "horizontal_flip 1"],
        "{table}"
    );

    // with more seeds it goes on
    let (done, table, words) = ablate(&out, "2");
    let begun: Vec<&str> = words.lines().filter(|line| line.contains(" of 6: ")).collect();
    assert!(done && begun.len() == 3, "{words}");
    assert!(
        begun[0].starts_with("training 4 of 6: by the whole recipe, seed 2"),
        "{words}"
    );
    assert!(words.contains("of other seeds and other patients"), "{words}");
    assert_eq!(
        arms(&table),
        ["(whole recipe) 2", "rotation 2", "horizontal_flip 2"],
        "{table}"
    );
    let summary = stage.json("a/new/folder/summary.json");
    assert_eq!(summary[2]["trainings"].as_array().unwrap().len(), 2);
    assert!(summary[1]["worth"][0]["lower"].is_number(), "{summary}");
    let svg = std::fs::read_to_string(stage.path("a/new/folder/summary.svg")).unwrap();
    assert!(
        svg.contains("what each setting is worth") && svg.contains("rotation"),
        "{svg}"
    );
    let file = |run: &str, name: &str| stage.path(&format!("a/new/folder/{run}/{name}"));
    let weights = |run: &str| std::fs::read(file(run, "weights.safetensors")).unwrap();
    let held_out =
        |run: &str| stage.json(&format!("a/new/folder/{run}/record.json"))["validation"]["places"].clone();
    assert_eq!(held_out("whole/seed-1"), held_out("without-rotation/seed-2"));
    assert!(
        weights("whole/seed-1") != weights("whole/seed-2"),
        "seeds are others"
    );
    assert!(weights("whole/seed-2") != weights("without-rotation/seed-2"));

    // each is a run of its own, which goes on by itself with the same patients held out
    let (run, before) = ("without-rotation/seed-2", weights("without-rotation/seed-2"));
    for name in ["weights.safetensors", "record.json"] {
        std::fs::remove_file(file(run, name)).unwrap();
    }
    succeeded(&trainer(&[
        "fit",
        "--resume",
        "--out",
        &file(run, "").to_string_lossy(),
    ]));
    assert!(weights(run) == before && held_out(run) == held_out("whole/seed-1"));
    let (done, again, words) = ablate(&out, "2");
    assert!(
        done && again == table && !words.contains("\ntraining "),
        "{words}"
    );
}
