//! A new project: from a folder of DICOM and a CSV, without a line of JSON written by hand, to a package that serves.

use std::path::Path;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use osteon::config::Given;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::index::said;
use crate::server::{TestServer, phantom, with};
use crate::trainer::{Export, done, succeeded, trainer};

fn read(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn write(file: &Path, value: &Value) {
    std::fs::write(file, serde_json::to_vec_pretty(value).unwrap()).unwrap();
}

/// What a person has to say.
fn fill_in(description: &Path) {
    let mut value = read(description);
    value["licence"] = json!("Apache-2.0");
    value["intended_use"]["statement"] = json!("Phantoms, for a test.");
    let codes = [
        ("64859006", "Osteoporosis"),
        ("42942008", "Compression fracture of vertebral column"),
    ];
    for (label, (code, meaning)) in value["labels"].as_array_mut().unwrap().iter_mut().zip(codes) {
        label["code"] = json!({"scheme": "SCT", "value": code, "meaning": meaning});
    }
    write(description, &value);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_a_csv_become_a_package_that_scores() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let size = ["--rows", "128", "--columns", "96", "--seed", "3", "--count", "40"];
    done(&[&["phantom", "--out", &path("archive")][..], &size].concat());
    let [archive, csv, key, index] = ["archive", "archive/labels.csv", "secret.key", "index"].map(path);
    let told = [
        "--in",
        &archive,
        "--labels",
        &csv,
        "--key-file",
        &key,
        "--new-key",
        "--out",
        &index,
    ];
    let indexed = trainer(&[&["index"][..], &told].concat());
    succeeded(&indexed);
    let table = path("index/images.csv");
    assert!(
        said(&indexed).contains(&format!("next: osteon-train start --labels {table}")),
        "{}",
        said(&indexed)
    );

    let asked = ["--question", "osteoporosis", "--question", "fracture"];
    let start = || {
        trainer(
            &[
                &["start", "--labels", &table, "--out", &path("spine-start")][..],
                &asked,
            ]
            .concat(),
        )
    };
    let started = start();
    succeeded(&started);
    let found = String::from_utf8_lossy(&started.stdout).into_owned();
    for line in [
        "osteoporosis          finding",
        "body part             lumbar-spine",
        "256 rows, 192 columns",
        "every image",
    ] {
        assert!(found.contains(line), "{line} in {found}");
    }
    assert!(said(&started).contains("fit.json is ready"), "{}", said(&started));
    let again = start();
    assert!(
        !again.status.success() && said(&again).contains("is there already"),
        "{}",
        said(&again)
    );

    // the same, small enough for a test
    let (recipe, description) = (
        folder.join("spine-start/fit.json"),
        folder.join("spine-start/package.json"),
    );
    let mut small = read(&recipe);
    small["architecture"] = json!({"family": "residual", "channels": 1, "rows": 64, "columns": 48, "stem": 4, "widths": [8, 8], "blocks": [1, 1],
                                   "pooling": "average", "dropout": 0.0});
    for (setting, value) in [("epochs", 2), ("batch", 8), ("threads", 1)] {
        small[setting] = json!(value);
    }
    write(&recipe, &small);
    let (recipe, run) = (recipe.to_string_lossy().into_owned(), path("run"));
    done(&[
        "fit",
        "--labels",
        &table,
        "--recipe",
        &recipe,
        "--out",
        &run,
        "--validation",
        "0.5",
    ]);

    let export = || {
        let export = Export {
            folder,
            runs: &["run"],
            description: "spine-start/package.json",
            goldens: &[("sample.dcm", "archive/000000.dcm")],
            models: "models",
        };
        export.run(&[])
    };
    let models = folder.join("models");
    let unfinished = export();
    assert!(!unfinished.status.success());
    for part in [
        "package.json is not finished: ",
        "intended_use.statement, ",
        "labels[1].code.value, ",
        "licence",
        " must be filled in: put your own words in the place of every text that begins with FILL IN",
    ] {
        assert!(said(&unfinished).contains(part), "{}", said(&unfinished));
    }
    assert!(!models.exists());
    fill_in(&description);
    succeeded(&export());
    for sheet in ["saliency-1-osteoporosis.png", "saliency-2-fracture.png"] {
        let (columns, rows) = image::image_dimensions(folder.join("run").join(sheet)).unwrap();
        assert!(columns > 600 && rows > 400, "{sheet}: {columns} by {rows}");
    }
    let package = path("models/spine-start/1");
    let verified = trainer(&["package", "verify", &package]);
    succeeded(&verified);

    let server = TestServer::with(models, Given::default()).await;
    let image = std::fs::read(path("archive/000002.dcm")).unwrap();
    let (status, answer) = server
        .post("/v1/models/spine-start/score", "application/dicom", image)
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let names: Vec<&str> = answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["label"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["osteoporosis", "fracture"], "{answer}");
    assert_eq!(answer["findings"][0]["code"]["value"], "64859006", "{answer}");
    // what the index did not see is outside the intended use
    let hand = with(&phantom(5), tags::BODY_PART_EXAMINED, VR::CS, "HAND");
    let (status, answer) = server
        .post("/v1/models/spine-start/score", "application/dicom", hand)
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    server.stop().await;
}
