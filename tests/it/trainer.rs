//! From phantoms to a package that the server loads, in small: the trainer's own commands, one after the other.

use std::path::Path;
use std::process::{Command, Output};

use osteon::config::Given;
use reqwest::StatusCode;

use crate::gates::picture;
use crate::server::{TestServer, bytes, sample};

pub(crate) fn trainer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osteon-train"))
        .args(arguments)
        .output()
        .unwrap()
}

pub(crate) fn done(arguments: &[&str]) {
    succeeded(&trainer(arguments));
}

pub(crate) fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "{} {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

const RECIPE: &str = r#"{
  "labels": ["osteoporosis", "fracture"], "epochs": 2, "batch": 8, "threads": 1, "augmentation": {"horizontal_flip": true},
  "architecture": {"family": "residual", "channels": 1, "rows": 64, "columns": 48, "stem": 4, "widths": [8, 8],
                   "blocks": [1, 1], "pooling": "average", "dropout": 0.0}
}"#;

/// Writes what people say of the package into `folder`.
fn describe(folder: &Path) {
    let description =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/spine-osteoporosis-phantom/package.json");
    let text = std::fs::read_to_string(description)
        .unwrap()
        .replace("spine-osteoporosis-phantom", "tiny");
    std::fs::write(folder.join("package.json"), text).unwrap();
}

/// Phantoms, a run and a package in `folder`; gives the package's folder name under `models`.
pub(crate) fn make(folder: &Path) {
    make_of(folder, "40");
}

/// As [`make`], of so many phantoms, of which half are held out.
pub(crate) fn make_of(folder: &Path, count: &str) {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    describe(folder);
    done(&[
        "phantom",
        "--out",
        &path("images"),
        "--count",
        count,
        "--seed",
        "3",
        "--rows",
        "128",
        "--columns",
        "96",
    ]);
    done(&[
        "fit",
        "--labels",
        &path("images/labels.csv"),
        "--recipe",
        &path("recipe.json"),
        "--out",
        &path("run"),
        "--validation",
        "0.5",
    ]);
    let test = unseen(folder);
    let described = "phantoms of another seed";
    succeeded(&export(
        folder,
        "models",
        &["--test", &test, "--test-description", described],
    ));
}

/// The table of phantoms of patients that no run in `folder` saw.
pub(crate) fn unseen(folder: &Path) -> String {
    let test = folder.join("test");
    let size = ["--count", "40", "--seed", "4", "--rows", "128", "--columns", "96"];
    done(&[&["phantom", "--out", &test.to_string_lossy()][..], &size].concat());
    test.join("labels.csv").to_string_lossy().into_owned()
}

/// An export; everything is called by its path in `folder`.
pub(crate) struct Export<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) runs: &'a [&'a str],
    pub(crate) description: &'a str,
    /// Names in the package, each with the file that it is made of.
    pub(crate) goldens: &'a [(&'a str, &'a str)],
    pub(crate) models: &'a str,
}

impl Export<'_> {
    pub(crate) fn run(&self, more: &[&str]) -> Output {
        let path = |name: &str| self.folder.join(name).to_string_lossy().into_owned();
        let mut told = vec!["export".to_owned()];
        for run in self.runs {
            told.extend(["--run".to_owned(), path(run)]);
        }
        for (name, file) in self.goldens {
            told.extend(["--golden".to_owned(), format!("{name}={}", path(file))]);
        }
        told.extend(["--description".to_owned(), path(self.description)]);
        told.extend(["--models".to_owned(), path(self.models)]);
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        trainer(&[&told[..], more].concat())
    }
}

/// The first two phantoms, as golden images.
pub(crate) const GOLDENS: [(&str, &str); 2] = [
    ("sample.dcm", "images/000000.dcm"),
    ("second.dcm", "images/000001.dcm"),
];

/// Exports the run in `folder` into a folder of models there.
pub(crate) fn export(folder: &Path, models: &str, more: &[&str]) -> Output {
    let export = Export {
        folder,
        runs: &["run"],
        description: "package.json",
        goldens: &GOLDENS,
        models,
    };
    export.run(more)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trained_passes_its_gates_and_is_served() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let package = folder.path().join("models/tiny/1");
    let card = std::fs::read_to_string(package.join("model-card.md")).unwrap();
    assert!(
        card.contains("Shortcut audit") && card.contains("Not for clinical use"),
        "{card}"
    );
    // twenty images were held out
    let [found, few] = [
        "| osteoporosis | 20 | ",
        "held-out images with it are too few to find 0.92",
    ];
    assert!(
        card.contains("## Held-out patients") && card.contains(found),
        "{card}"
    );
    assert!(
        card.contains(few) && card.contains("number 20 of 20 images"),
        "{card}"
    );
    let (folder_of_package, run) = (package.to_string_lossy(), folder.path().join("run"));
    let run = run.to_string_lossy();
    let verified = trainer(&["package", "verify", &folder_of_package, "--run", &run]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    eprintln!("{said}");
    assert!(
        verified.status.success(),
        "{said} {}",
        String::from_utf8_lossy(&verified.stderr)
    );
    for gate in [
        "pass  statistics of the embedding",
        "pass  test set, osteoporosis",
        "pass  a blind network is caught by the test set",
        "pass  swapped answers are caught by the test set",
        "0 of 20 decisions differ",
    ] {
        assert!(said.contains(gate), "{gate} in {said}");
    }

    let server = TestServer::with(folder.path().join("models"), Given::default()).await;
    assert_eq!(server.get("/health/ready").await.0, StatusCode::OK);
    let (status, answer) = server
        .post("/v1/models/tiny/score", "application/dicom", sample())
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["distribution"]["status"], "met", "{answer}");
    unlike_the_training(&server).await;
    server.stop().await;

    // the same recipe and images give the same network, byte for byte
    let again = tempfile::tempdir().unwrap();
    make(again.path());
    let model = |folder: &Path| std::fs::read(folder.join("models/tiny/1/model.onnx")).unwrap();
    assert!(
        model(folder.path()) == model(again.path()),
        "the second training differs"
    );
}

/// What says of itself that it is a lateral spine and is none has no score.
async fn unlike_the_training(server: &TestServer) {
    let noise = |row: usize, column: usize| (row * 7919 + column * 104_729 + row * column * 31) as u16 % 4096;
    let bars = |row: usize, _: usize| if (row / 10).is_multiple_of(2) { 400 } else { 3600 };
    let mut refused = 0;
    for (name, body) in [("noise", bytes(&picture(noise))), ("bars", bytes(&picture(bars)))] {
        let (_, answer) = server
            .post(
                "/v1/models/tiny/score?override=quality",
                "application/dicom",
                body,
            )
            .await;
        eprintln!("  {name}: {}", answer["distribution"]);
        refused += usize::from(answer["reason"]["code"] == "out-of-distribution");
    }
    assert_eq!(refused, 2);
}

/// What a server may pick up has passed its gates; what has not is not there, and what was there before still is.
#[test]
fn a_training_starts_from_an_earlier_one_and_says_what_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let csv = path("images/labels.csv");
    let size = ["--rows", "128", "--columns", "96", "--seed", "3", "--count", "40"];
    done(&[&["phantom", "--out", &path("images")][..], &size].concat());
    std::fs::write(
        path("recipe.json"),
        RECIPE.replace("\"epochs\": 2", "\"epochs\": 1"),
    )
    .unwrap();
    let recipe = path("recipe.json");
    let fit = |out: &str, options: &[&str]| {
        let own = [
            "fit",
            "--labels",
            &csv,
            "--recipe",
            &recipe,
            "--validation",
            "0.5",
            "--out",
            &path(out),
        ];
        trainer(&[&own[..], options].concat())
    };
    assert!(fit("first", &[]).status.success());
    let second = fit("second", &["--init", &path("first"), "--init-stages", "1"]);
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.success(), "{words}");
    assert!(
        words.contains("initial weights from first: 20 of 37 parameters taken"),
        "{words}"
    );

    let json = |file: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(folder.path().join(file)).unwrap()).unwrap()
    };
    let initial = &json("second/recipe.json")["initial"];
    assert_eq!(
        initial["file"], "first",
        "the folder stays out of what is written down"
    );
    let weights = std::fs::read(path("first/weights.safetensors")).unwrap();
    assert_eq!(initial["sha256"], osteon::model::package::sha256(&weights));
    let origin = json("second/initial-weights.json");
    assert_eq!(
        origin["report"]["taken"][0]["parameter"],
        "stem.convolution.weight"
    );
    assert_eq!(
        origin["report"]["random"][0]["why"],
        "stage 2 is not among the chosen stages"
    );

    // the third of a line knows the first by its digest, and says so in its package
    let run = fit("run", &["--init", &path("second")]);
    succeeded(&run);
    let digest = |run: &str| {
        let weights = std::fs::read(path(&format!("{run}/weights.safetensors"))).unwrap();
        osteon::model::package::sha256(&weights)
    };
    let before = &json("run/initial-weights.json")["before"];
    assert_eq!(before[0]["sha256"], digest("first"), "{before}");
    describe(folder.path());
    succeeded(&export(folder.path(), "models", &[]));
    let lineage = &json("models/tiny/1/manifest.json")["lineage"]["initial weights"];
    let lineage = lineage.as_str().unwrap();
    let line = format!("37 of 37 parameters from second (sha256 {})", digest("second"));
    let line_before = format!(
        "before that 20 of 37 parameters from first (sha256 {})",
        digest("first")
    );
    assert!(
        lineage.starts_with(&line) && lineage.ends_with(&line_before),
        "{lineage}"
    );

    std::fs::write(path("broken.pth"), b"PK\x03\x04").unwrap();
    let broken = fit("third", &["--init", &path("broken.pth")]);
    let words = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(
        words.contains("initial weights, broken.pth: not a file of weights: its ZIP archive"),
        "{words}"
    );
    assert!(!folder.path().join("third").exists(), "{words}");
}

#[test]
fn mistakes_are_named() {
    let output = trainer(&[
        "fit",
        "--labels",
        "/nowhere.csv",
        "--recipe",
        "/nowhere.json",
        "--out",
        "/tmp/x",
    ]);
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("/nowhere.json cannot be read"), "{words}");
    assert!(trainer(&["--help"]).status.success());
}
