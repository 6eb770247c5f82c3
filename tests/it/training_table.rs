//! What a training makes of its table: whom it trains on, whom it holds out, and what it says of that before the first step.

use std::path::Path;
use std::process::Output;

use osteon::train::learn::regime::Regime;
use osteon::train::network::Weights;
use osteon::train::run::{RunFolder, RunImages, Wanted};

use crate::index::{index, said, stage, table};
use crate::trainer::{succeeded, trainer};

pub(crate) const RECIPE: &str = r#"{
  "labels": ["fracture"], "epochs": 1, "batch": 8, "threads": 1,
  "architecture": {"family": "residual", "channels": 1, "rows": 32, "columns": 24, "stem": 4, "widths": [8],
                   "blocks": [1], "pooling": "average", "dropout": 0.0}
}"#;

/// Runs a command of the trainer on a table of `folder`, by its recipe, into `out`.
pub(crate) fn on(folder: &Path, command: &[&str], labels: &str, out: &str, more: &[&str]) -> Output {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (labels, recipe, out) = (path(labels), path("recipe.json"), path(out));
    let told = ["--labels", &labels, "--recipe", &recipe, "--out", &out];
    trainer(&[command, &told[..], more].concat())
}

/// A table of phantoms in `in`, with the columns of `header` behind the file.
pub(crate) fn write_table(
    folder: &Path,
    name: &str,
    header: &str,
    lines: impl Iterator<Item = (u32, String)>,
) {
    let lines: String = lines
        .map(|(patient, cells)| format!("in/{patient:03}.dcm,{cells}\n"))
        .collect();
    std::fs::write(folder.join(name), format!("file,{header}\n{lines}")).unwrap();
}

fn weights(run: &Path) -> Vec<u8> {
    let bytes = std::fs::read(run.join("weights.safetensors")).unwrap();
    Weights::from_bytes(&bytes).unwrap();
    bytes
}

#[test]
fn images_without_a_label_of_the_recipe_train_nothing() {
    let stage = stage(24);
    let folder = stage.path();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    let cells = |patient: u32, unknown: bool| {
        let label = if unknown {
            String::new()
        } else {
            (patient % 2).to_string()
        };
        (patient, format!("p{patient},{label}"))
    };
    let is_unknown = |patient: u32| patient % 6 > 3;
    write_table(
        folder,
        "all.csv",
        "patient,fracture",
        (0..24).map(|patient| cells(patient, is_unknown(patient))),
    );
    let known = (0..24).filter(|patient| !is_unknown(*patient));
    write_table(
        folder,
        "known.csv",
        "patient,fracture",
        known.map(|patient| cells(patient, false)),
    );
    let fit = |labels: &str, out: &str| on(folder, &["fit"], labels, out, &["--validation", "0.5"]);
    let (all, known) = (fit("all.csv", "all"), fit("known.csv", "known"));
    succeeded(&all);
    succeeded(&known);
    let words = said(&all);
    assert!(
        words.contains("16 of 24 images have a label of this recipe: the others are left out"),
        "{words}"
    );
    assert!(weights(&folder.join("all")) == weights(&folder.join("known")));

    // what it held out is found again, image for image
    let run = RunFolder {
        path: folder.join("all"),
    };
    let ((recipe, contract), (record, _)) = (run.told().unwrap(), run.outcome().unwrap());
    assert_eq!(record.data.unlabelled_images, Some(8));
    let images = RunImages::find(&run, &recipe, &record, None).unwrap();
    let mut patients = Vec::new();
    images
        .visit(
            Wanted::HELD_OUT,
            &contract,
            || {},
            |few| {
                patients.extend(few.samples.patients.clone());
                Ok(())
            },
        )
        .unwrap();
    assert_eq!(patients, record.validation.patients);

    let none: Vec<(u32, String)> = (0..24).map(|patient| cells(patient, true)).collect();
    write_table(folder, "none.csv", "patient,fracture", none.into_iter());
    let refused = fit("none.csv", "none");
    assert!(
        !refused.status.success() && said(&refused).contains("none of the 24 images of"),
        "{}",
        said(&refused)
    );
}

#[test]
fn an_image_that_the_split_does_not_name_is_in_its_patients_part() {
    let stage = stage(16);
    let folder = stage.path();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    // two images of each patient, of which the split names one, but none of the last patient's
    let split = |patient: u32| match patient {
        14 => "",
        _ if patient % 2 == 1 => "",
        _ if patient < 4 => "test",
        _ if patient < 8 => "validation",
        _ => "train",
    };
    write_table(
        folder,
        "labels.csv",
        "patient,split,fracture",
        (0..16).map(|patient| {
            let cells = format!("p{},{},{}", patient / 2, split(patient), patient % 2);
            (patient, cells)
        }),
    );
    let output = index(folder, "index", &["--labels", "{}/labels.csv"]);
    succeeded(&output);
    let rows = table(&folder.join("index/images.csv"));
    let count = |part: &str| rows.iter().filter(|row| row["split"] == part).count();
    assert_eq!(["test", "validation", "train", ""].map(count), [4, 4, 6, 2]);
    for labels in ["index/images.csv", "labels.csv"] {
        let run = labels.replace(['/', '.'], "-");
        let fit = on(folder, &["fit"], labels, &run, &[]);
        succeeded(&fit);
        let words = said(&fit);
        assert!(
            words.contains("8 images for training, 4 of other patients held out"),
            "{words}"
        );
        assert!(
            words.contains("2 images are of patients of whom the column split says nothing"),
            "{words}"
        );
    }
}

#[test]
fn what_could_be_no_package_is_told_before_the_first_step() {
    let stage = stage(16);
    let folder = stage.path();
    let recipe = RECIPE.replace(
        "\"labels\": [\"fracture\"]",
        "\"heads\": [{\"name\": \"fracture\", \"task\": \"binary\", \"labels\": [\"fracture\"]},
                     {\"name\": \"grade\", \"task\": \"ordinal\", \"labels\": [\"none\", \"mild\", \"severe\"]}]",
    );
    std::fs::write(folder.join("recipe.json"), recipe).unwrap();
    let table = |name: &str, ill: u32| {
        let cells = (0..16).map(|patient| {
            let part = if patient < 6 { "validation" } else { "train" };
            let grade = if patient == 9 {
                "severe"
            } else {
                ["none", "mild"][patient as usize % 2]
            };
            (
                patient,
                format!("p{patient},{part},{},{grade}", u8::from(patient % 6 >= ill)),
            )
        });
        write_table(folder, name, "patient,split,fracture,grade", cells);
    };
    table("healthy.csv", 6);
    let refused = on(folder, &["fit"], "healthy.csv", "run", &[]);
    let words = said(&refused);
    assert!(
        !refused.status.success() && words.contains("because no held-out image has fracture 1"),
        "{words}"
    );
    assert!(!folder.join("run").exists());
    table("both.csv", 3);
    let trained = on(folder, &["fit"], "both.csv", "run", &[]);
    succeeded(&trained);
    let words = said(&trained);
    assert!(
        words.contains("label grade: one patient alone has the value severe"),
        "{words}"
    );
    let cells: Vec<Vec<&str>> = words
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for row in [
        ["fracture", "1", "4", "4", "3", "3"],
        ["grade", "severe", "1", "1", "0", "0"],
    ] {
        assert!(cells.iter().any(|cells| cells[..] == row), "{row:?} in {words}");
    }
}

#[test]
fn a_run_that_stopped_before_its_first_checkpoint_is_not_overwritten() {
    let stage = stage(16);
    let folder = stage.path();
    let recipe = RECIPE.replace(
        "\"epochs\": 1",
        "\"epochs\": 1, \"schedule\": {\"peak\": 1e30, \"start_divisor\": 1}",
    );
    std::fs::write(folder.join("recipe.json"), recipe).unwrap();
    let cells = |patient: u32| (patient, format!("p{patient},{}", patient % 2));
    write_table(folder, "labels.csv", "patient,fracture", (0..16).map(cells));
    let fit = || on(folder, &["fit"], "labels.csv", "run", &["--validation", "0.5"]);
    let diverged = fit();
    assert!(
        said(&diverged).contains("lower the peak rate"),
        "{}",
        said(&diverged)
    );
    let log = std::fs::read(folder.join("run/log.jsonl")).unwrap();
    assert!(!log.is_empty() && !folder.join("run/checkpoint.json").exists());
    let again = fit();
    assert!(
        said(&again).contains("holds a stopped training: go on with it by --resume"),
        "{}",
        said(&again)
    );
    assert!(std::fs::read(folder.join("run/log.jsonl")).unwrap() == log);
}

#[test]
fn a_training_ends_when_its_patience_is_over_and_by_the_regime_of_the_command_line() {
    let stage = stage(16);
    let folder = stage.path();
    let recipe = RECIPE.replace(
        "\"epochs\": 1",
        "\"epochs\": 40, \"patience\": 2, \"weight_average\": null, \"schedule\": {\"peak\": 1e-9}",
    );
    std::fs::write(folder.join("recipe.json"), recipe).unwrap();
    let cells = |patient: u32| (patient, format!("p{patient},{}", patient % 2));
    write_table(folder, "labels.csv", "patient,fracture", (0..16).map(cells));
    let told = ["--validation", "0.5", "--regime", "scratch"];
    succeeded(&on(folder, &["fit"], "labels.csv", "run", &told));
    let run = RunFolder {
        path: folder.join("run"),
    };
    let ((recipe, _), (record, _)) = (run.told().unwrap(), run.outcome().unwrap());
    assert_eq!(recipe.regime, Regime::Scratch {});
    assert_eq!(record.history.len(), record.best_epoch + 1 + 2);
    assert!(record.history.len() < 40);
}

#[test]
fn two_runs_are_compared_on_the_images_that_both_held_out() {
    let stage = stage(24);
    let folder = stage.path();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    let cells = |patient: u32| (patient, format!("p{patient},{}", patient % 2));
    write_table(folder, "all.csv", "patient,fracture", (0..24).map(cells));
    write_table(folder, "fewer.csv", "patient,fracture", (0..20).map(cells));
    let fit = |labels: &str, out: &str, more: &[&str]| {
        let held_out = ["--validation", "0.5"];
        succeeded(&on(
            folder,
            &["fit"],
            labels,
            out,
            &[&held_out[..], more].concat(),
        ));
    };
    fit("all.csv", "first", &[]);
    fit(
        "all.csv",
        "second",
        &["--init", &folder.join("first").to_string_lossy()],
    );
    fit("fewer.csv", "another", &[]);
    let compare = |second: &str| {
        let runs = ["first", second].map(|run| folder.join(run).to_string_lossy().into_owned());
        trainer(&["compare", &runs[0], &runs[1]])
    };
    let compared = compare("second");
    succeeded(&compared);
    let words = String::from_utf8_lossy(&compared.stdout).into_owned();
    let row: Vec<&str> = words.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..3], ["fracture", "AUROC", "12"], "{words}");
    let p: f64 = row.last().unwrap().parse().unwrap();
    assert!((0.0..=1.0).contains(&p), "{words}");
    // a run does not differ from itself
    let itself = compare("first");
    succeeded(&itself);
    let words = String::from_utf8_lossy(&itself.stdout).into_owned();
    assert!(
        words.contains("+0.000 [+0.000, +0.000]  +0.00     1.0000"),
        "{words}"
    );
    for (second, why) in [
        ("another", "they saw other sets of images"),
        ("nowhere", "holds no finished run"),
    ] {
        let refused = compare(second);
        assert!(
            !refused.status.success() && said(&refused).contains(why),
            "{}",
            said(&refused)
        );
    }
}
