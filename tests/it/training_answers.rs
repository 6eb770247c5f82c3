//! Every kind of question, several networks as one, and cross-validation: in small.

use std::path::{Path, PathBuf};

use osteon::config::Given;
use osteon::train::export::Answering;
use osteon::train::learn::Engine;
use osteon::train::network::Weights;
use osteon::train::run::RunFolder;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::server::{TestServer, sample};
use crate::trainer::{Export, GOLDENS, succeeded, trainer};

pub(crate) struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// Phantoms and a recipe.
    pub(crate) fn new(recipe: &Value) -> Self {
        let stage = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        stage.phantoms("images", "3");
        std::fs::write(stage.path("recipe.json"), recipe.to_string()).unwrap();
        stage
    }

    /// Forty phantoms in the folder `name`, with columns for every kind of head.
    pub(crate) fn phantoms(&self, name: &str, seed: &str) {
        let images = self.text(name);
        self.run(&[
            "phantom",
            "--out",
            &images,
            "--count",
            "40",
            "--seed",
            seed,
            "--rows",
            "128",
            "--columns",
            "96",
        ]);
        let table = format!("{name}/labels.csv");
        let text = std::fs::read_to_string(self.path(&table)).unwrap();
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap().split(',').collect();
        let place = |name: &str| header.iter().position(|column| *column == name).unwrap();
        let mut written = header.join(",") + ",sex,worst\n";
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let worst = ["grade_1", "grade_2", "grade_3"]
                .map(|name| cells[place(name)])
                .into_iter()
                .max()
                .unwrap();
            let worst = ["none", "mild", "moderate", "severe"][worst.parse::<usize>().unwrap()];
            let sex = if cells[place("female")] == "1" {
                "woman"
            } else {
                "man"
            };
            written += &format!("{line},{sex},{worst}\n");
        }
        std::fs::write(self.path(&table), written).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// What the trainer writes to standard output.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = trainer(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The arguments that name the images and the recipe, and then `more`.
    pub(crate) fn with_images(&self, command: &[&str], more: &[&str]) -> String {
        let (labels, recipe) = (self.text("images/labels.csv"), self.text("recipe.json"));
        let told = ["--labels", &labels, "--recipe", &recipe];
        self.run(&[command, &told, more].concat())
    }

    /// Exports runs, with the labels and sensitivities of findings, and runs every gate, on other phantoms than theirs.
    pub(crate) fn export(&self, runs: &[&str], labels: &[(&str, Option<f64>)], more: &[&str]) -> PathBuf {
        self.phantoms("test", "4");
        let published =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/spine-osteoporosis-phantom/package.json");
        let mut description: Value = serde_json::from_slice(&std::fs::read(published).unwrap()).unwrap();
        description["name"] = json!("tiny");
        let label = |(name, sensitivity): &(&str, Option<f64>)| {
            let mut label =
                json!({"name": name, "code": {"scheme": "99TEST", "value": name, "meaning": name}});
            if let Some(sensitivity) = sensitivity {
                label["sensitivity"] = json!(sensitivity);
            }
            label
        };
        description["labels"] = labels.iter().map(label).collect();
        std::fs::write(self.path("package.json"), description.to_string()).unwrap();
        let test = self.text("test/labels.csv");
        let tested = ["--test", &test, "--test-description", "phantoms of another seed"];
        succeeded(&self.exporting(runs, "models").run(&[&tested[..], more].concat()));
        let package = self.path("models/tiny/1");
        let (folder, images) = (package.to_string_lossy(), self.text("test/labels.csv"));
        let mut verify = vec!["package", "verify", &folder, "--labels", &images];
        let runs: Vec<String> = runs.iter().map(|run| self.text(run)).collect();
        verify.extend(runs.iter().flat_map(|run| ["--run", run]));
        let gates = self.run(&verify);
        assert!(gates.contains("pass  a blind network is caught"), "{gates}");
        package
    }

    pub(crate) fn exporting<'a>(&'a self, runs: &'a [&'a str], models: &'a str) -> Export<'a> {
        Export {
            folder: self.folder.path(),
            runs,
            description: "package.json",
            goldens: &GOLDENS,
            models,
        }
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

pub(crate) fn architecture() -> Value {
    json!({"family": "residual", "channels": 1, "rows": 64, "columns": 48, "stem": 4, "widths": [8, 8],
           "blocks": [1, 1], "pooling": "average", "dropout": 0.0})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_question_is_trained_proven_and_served() {
    let years = json!({"unit": "a", "scale": 10.0, "offset": 70.0, "range": [0.0, 150.0]});
    let stage = Stage::new(&json!({
        "heads": [
            {"name": "findings", "task": "multilabel", "labels": ["osteoporosis", "fracture"]},
            {"name": "sex", "task": "multiclass", "labels": ["man", "woman"], "weight": 0.5},
            {"name": "worst", "task": "ordinal", "labels": ["none", "mild", "moderate", "severe"]},
            {"name": "years", "task": "regression", "labels": ["age"], "quantities": [years]},
        ],
        "loss": {"balanced": true, "focal": 1.0}, "epochs": 2, "batch": 8, "threads": 1,
        "architecture": architecture(),
    }));
    stage.with_images(&["fit"], &["--out", &stage.text("run"), "--validation", "0.5"]);
    let labels = [
        ("osteoporosis", Some(0.9)),
        ("fracture", Some(0.9)),
        ("man", None),
        ("woman", None),
        ("none", None),
        ("mild", None),
        ("moderate", None),
        ("severe", None),
        ("age", None),
    ];
    let package = stage.export(&["run"], &labels, &[]);
    what_the_loss_counted_is_taken_off_and_offsets_are_added(&stage);
    let manifest = stage.json("models/tiny/1/manifest.json");
    let tasks: Vec<&str> = manifest["heads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|head| head["task"].as_str().unwrap())
        .collect();
    assert_eq!(tasks, ["multilabel", "multiclass", "ordinal", "regression"]);
    let card = std::fs::read_to_string(package.join("model-card.md")).unwrap();
    assert!(
        card.contains("| moderate or above |") && card.contains("| age | a | 40 |"),
        "{card}"
    );

    let server = TestServer::with(stage.path("models"), Given::default()).await;
    assert_eq!(server.get("/health/ready").await.0, StatusCode::OK);
    let (status, answer) = server
        .post("/v1/models/tiny/score", "application/dicom", sample())
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for label in labels {
        assert!(answer.to_string().contains(label.0), "{}: {answer}", label.0);
    }
    server.stop().await;
}

/// In the bias, so that logits, maps and probabilities agree: less the logarithm of the weight, and with the fitted offset, after the
/// temperature divided. What the network says of an image is what the calibration makes of the training's logits.
fn what_the_loss_counted_is_taken_off_and_offsets_are_added(stage: &Stage) {
    let run = RunFolder {
        path: stage.path("run"),
    };
    let (record, trained) = run.outcome().unwrap();
    let counted = record.data.positive_weights.unwrap();
    assert_eq!(counted.len(), 2 + 2 + 3 + 1);
    assert!(counted[..7].iter().any(|weight| *weight > 1.2), "{counted:?}");
    let answering = Answering::read(&[run], false).unwrap();
    let calibration = &answering.first().calibration;
    assert!(
        calibration.offsets[..7].iter().all(|offset| offset.abs() > 1e-3),
        "{calibration:?}"
    );
    assert!(calibration.offsets[7].abs() < f64::EPSILON, "of a number");
    let bias = |weights: &Weights| weights.get("label_map.bias").unwrap().values.clone();
    let (before, after) = (bias(&trained), bias(&answering.network.weights));
    for (logit, weight) in counted.iter().enumerate() {
        let added = calibration.offsets[logit] as f32 - weight.ln();
        let added = calibration.temperatures[logit] as f32 * added;
        assert!(
            (before[logit] + added - after[logit]).abs() < 1e-5,
            "logit {logit}"
        );
    }

    let image: Vec<f32> = (0..64 * 48)
        .map(|pixel| (pixel * 37 % 101) as f32 / 101.0)
        .collect();
    let graph = answering.first().recipe.graph().unwrap();
    let untouched = Engine::new(&graph, &trained, 1).unwrap();
    let logits: Vec<f64> = untouched.run(&image, 1).unwrap()["logits"]
        .values
        .iter()
        .map(|logit| f64::from(*logit))
        .collect();
    let calibrated = calibration.apply(&logits);
    let answers = answering.engine().unwrap().run(&image, 1).unwrap();
    let near = |head: usize, expected: &[f64]| {
        let found = &answers[&answering.outputs[head].scores].values;
        let off = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs());
        assert!(
            off.fold(0.0, f64::max) < 1e-5,
            "head {head}: {found:?} {expected:?}"
        );
    };
    let sigmoid = |logit: &f64| 1.0 / (1.0 + (-logit).exp());
    near(0, &calibrated[..2].iter().map(sigmoid).collect::<Vec<_>>());
    let second = sigmoid(&(calibrated[3] - calibrated[2]));
    near(1, &[1.0 - second, second]);
    near(2, &calibrated[4..7]);
    near(3, &calibrated[7..]);
}

/// Two questions of one label each, on three channels, from random weights on purpose.
#[test]
fn findings_of_their_own_are_trained_from_scratch_on_three_channels() {
    let mut three = architecture();
    three["channels"] = json!(3);
    let stage = Stage::new(&json!({
        "heads": [
            {"name": "bone", "task": "binary", "labels": ["osteoporosis"]},
            {"name": "break", "task": "binary", "labels": ["fracture"]},
        ],
        "epochs": 2, "batch": 8, "threads": 1, "architecture": three,
    }));
    let (run, again) = (stage.text("run"), stage.text("again"));
    let scratch = ["--regime", "scratch", "--validation", "0.5"];
    stage.with_images(&["fit"], &[&["--out", &run][..], &scratch].concat());
    let (labels, recipe) = (stage.text("images/labels.csv"), stage.text("recipe.json"));
    let told = ["fit", "--labels", &labels, "--recipe", &recipe, "--out", &again];
    let refused = trainer(&[&told[..], &scratch, &["--init", &run]].concat());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("scratch"), "{said}");

    stage.export(
        &["run"],
        &[("osteoporosis", Some(0.9)), ("fracture", Some(0.9))],
        &[],
    );
    let manifest = stage.json("models/tiny/1/manifest.json");
    assert_eq!(manifest["preprocessing"]["channels"], 3);
    for (place, name) in ["bone", "break"].into_iter().enumerate() {
        let head = &manifest["heads"][place];
        assert_eq!((&head["name"], &head["task"]), (&json!(name), &json!("binary")));
        let label = &head["labels"][0];
        assert!(
            label["threshold"].is_f64() && label["temperature"].is_f64(),
            "{label}"
        );
    }
    let gates = stage.run(&["package", "verify", &stage.text("models/tiny/1")]);
    // labels of one head each can be swapped, too
    let caught = gates
        .lines()
        .find(|line| line.contains("swapped labels are caught"));
    assert!(
        caught.unwrap().contains("osteon.labels in the ONNX file"),
        "{gates}"
    );
}

#[test]
fn folds_are_summed_up_and_answer_together_with_mirror_images() {
    let stage = Stage::new(&json!({
        "heads": [
            {"name": "findings", "task": "multilabel", "labels": ["osteoporosis", "fracture"]},
            {"name": "worst", "task": "ordinal", "labels": ["none", "mild", "moderate", "severe"]},
        ],
        "epochs": 2, "batch": 8, "threads": 1, "architecture": architecture(), "augmentation": {"horizontal_flip": true},
    }));
    let folds = || {
        stage.with_images(
            &["cross-validate"],
            &[
                "--out",
                &stage.text("folds"),
                "--folds",
                "2",
                "--validation",
                "0.4",
            ],
        )
    };
    let table = folds();
    assert!(table.contains("within folds"), "{table}");
    let summary = stage.json("folds/summary.json");
    assert_eq!(summary["folds"].as_array().unwrap().len(), 2);
    assert_eq!(table, folds(), "what is finished is not trained again");
    let by_site = stage.with_images(
        &["cross-validate"],
        &[
            "--out",
            &stage.text("sexes"),
            "--by",
            "sex",
            "--validation",
            "0.4",
        ],
    );
    assert!(
        by_site.lines().any(|line| line.starts_with("woman  ")),
        "{by_site}"
    );

    let labels = [("osteoporosis", Some(0.9)), ("fracture", Some(0.9))]
        .into_iter()
        .chain(["none", "mild", "moderate", "severe"].map(|grade| (grade, None)));
    let labels: Vec<_> = labels.collect();
    let package = stage.export(&["folds/1", "folds/2"], &labels, &["--mirror"]);
    let manifest = stage.json("models/tiny/1/manifest.json");
    // no image was held out by both
    let label = &manifest["heads"][0]["labels"][0];
    assert!(
        label["threshold"].is_f64() && label["operating_point"].is_null(),
        "{label}"
    );
    let card = std::fs::read_to_string(package.join("model-card.md")).unwrap();
    assert!(
        card.contains("held out by all networks. Its threshold is chosen on the means of fewer networks"),
        "{card}"
    );
    assert_eq!(
        manifest["heads"][1]["activation"], "sigmoid",
        "grades are told by thresholds"
    );
    assert_eq!(manifest["embedding"], "embedding");
    assert!(stage.json("models/tiny/1/embedding.json")["origin"].is_string());
    assert_eq!(manifest["lineage"]["views"], "the mean of image and mirror image");
    assert!(manifest["lineage"]["member 2 weights sha256"].is_string());
    assert!(manifest["files"]["recipe-2.json"].is_string());

    let recipe = stage.path("folds/2/recipe.json");
    let mut told = stage.json("folds/2/recipe.json");
    told["augmentation"]["horizontal_flip"] = json!({"body_part": {"chest": false}, "other": true});
    std::fs::write(recipe, told.to_string()).unwrap();
    for (more, words) in [
        (
            ["--mirror", "--without-statistics"],
            "does not allow horizontal_flip for every image",
        ),
        (
            ["--precision", "fp16"],
            "none of the images was held out by all 2 networks",
        ),
    ] {
        let refused = stage.exporting(&["folds/1", "folds/2"], "others").run(&more);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(words), "{said}");
    }
}

#[test]
fn flips_by_body_part_need_the_column_that_says_what_images_show() {
    let stage = Stage::new(&json!({
        "labels": ["osteoporosis"], "epochs": 1, "batch": 8, "threads": 1, "architecture": architecture(),
        "augmentation": {"horizontal_flip": {"body_part": {"chest": false, "foot": false}, "other": true}},
    }));
    let words = stage.run(&["augment", "explain", "--recipe", &stage.text("recipe.json")]);
    assert!(
        words.contains("any known body part but chest, foot, by the table's column body_part"),
        "{words}"
    );
    let (labels, recipe, sheet) = (
        stage.text("images/labels.csv"),
        stage.text("recipe.json"),
        stage.text("sheet.png"),
    );
    let preview = || {
        let shown = trainer(&[
            "augment", "preview", "--labels", &labels, "--recipe", &recipe, "--out", &sheet,
        ]);
        (
            shown.status.success(),
            String::from_utf8_lossy(&shown.stderr).into_owned(),
        )
    };
    let (drawn, words) = preview();
    assert!(
        !drawn && words.contains("labels.csv has no column body_part"),
        "{words}"
    );
    let table = std::fs::read_to_string(&labels).unwrap();
    let mut text = String::new();
    for (place, line) in table.lines().enumerate() {
        let part = ["body_part", "chest", "spine", ""][if place == 0 { 0 } else { 1 + place % 3 }];
        text += &format!("{line},{part}\n");
    }
    std::fs::write(&labels, text).unwrap();
    let (drawn, words) = preview();
    assert!(drawn, "{words}");
    assert!(
        words.contains("names foot, which no image shows: the column body_part has chest, spine"),
        "{words}"
    );
}
