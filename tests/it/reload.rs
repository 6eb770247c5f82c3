//! Models come, change and go while requests go on: none fails, and each answer is of the package that it names.
//!
//! `examples/reload_check.rs` does the same a thousand times, and watches the memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use osteon::config::Given;
use osteon::finding::ModelReference;
use osteon::image::phantom::{Recipe, to_dicom};
use osteon::inference::{Inference, Priority};
use osteon::model::package::{GOLDENS, MODEL};
use osteon::peer::Destinations;
use osteon::store::{Store, StoreSettings};
use osteon::telemetry::metrics::Metrics;
use osteon::workflow::{
    Chosen, Explaining, Patience, Score, Scoring, Submission, Workflow, WorkflowSettings,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::broken_models::{loaded, under};
use crate::server::{TestServer, bytes, phantom};
use crate::tiny::{SIDE, Tiny, constant};

const ROUNDS: u32 = 60;

/// The tiny model whose answer tells which package it is of.
fn tiny(version: u32, intercept: f32) -> Tiny {
    Tiny {
        labels: vec![("bright", 1.0, intercept)],
        ..Tiny::new("m", version)
    }
}

/// The logit of an answer, without what its package adds.
fn mean(answer: &Value, intercepts: &BTreeMap<String, f32>) -> f64 {
    let digest = answer["model"]["digest"].as_str().unwrap();
    let probability = answer["findings"][0]["probability"].as_f64().unwrap();
    (probability / (1.0 - probability)).ln() - f64::from(intercepts[digest])
}

/// Images of a batch: parsing it takes a while, in which packages come and go.
const BATCH: usize = 32;

/// A batch of the mean 0.5 over `/v2`, whose answers have to be those of the one package that the answer names, whatever that adds.
async fn infer(server: &TestServer, body: Vec<u8>, intercepts: &Mutex<BTreeMap<String, f32>>) {
    let (status, answer) = server.post("/v2/models/m/infer", "application/json", body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let digest = answer["parameters"]["digest"].as_str().unwrap();
    let intercept = intercepts.lock().unwrap()[digest];
    let probabilities: Vec<f32> = serde_json::from_value(answer["outputs"][0]["data"].clone()).unwrap();
    assert_eq!(probabilities.len(), BATCH);
    for probability in probabilities {
        let found = (probability / (1.0 - probability)).ln() - intercept;
        assert!((found - 0.5).abs() < 1e-3, "{found} and not 0.5: {answer}");
    }
}

async fn score(server: &TestServer, model: &str, body: Vec<u8>) -> (StatusCode, Value) {
    server
        .post(&format!("/v1/models/{model}/score"), "application/dicom", body)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_come_change_and_go_and_no_request_fails() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path();
    // what every digest adds to the mean; known before a server can have seen it
    let intercepts = Arc::new(Mutex::new(BTreeMap::new()));
    let publish = |version: u32, intercept: f32| {
        let elsewhere = tempfile::tempdir().unwrap();
        let package = tiny(version, intercept).publish(elsewhere.path());
        intercepts
            .lock()
            .unwrap()
            .insert(package.digest.clone(), intercept);
        let published = tiny(version, intercept).publish(models);
        assert_eq!(published.digest, package.digest);
        package.digest
    };
    publish(1, 0.0);
    Tiny::new("other", 1).publish(models);
    let given = Given {
        watch_seconds: Some(0),
        ..Given::default()
    };
    let server = Arc::new(TestServer::with(models.to_owned(), given).await);
    let body = bytes(&phantom(3));
    let expected = mean(
        &score(&server, "m", body.clone()).await.1,
        &intercepts.lock().unwrap(),
    );

    let (going, answered) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let senders: Vec<_> = (0..3)
        .map(|_| {
            let (server, body) = (Arc::clone(&server), body.clone());
            let (going, answered) = (Arc::clone(&going), Arc::clone(&answered));
            let intercepts = Arc::clone(&intercepts);
            tokio::spawn(async move {
                while going.load(Ordering::Relaxed) {
                    let (status, answer) = score(&server, "m", body.clone()).await;
                    assert_eq!(status, StatusCode::OK, "{answer}");
                    let found = mean(&answer, &intercepts.lock().unwrap());
                    assert!(
                        (found - expected).abs() < 1e-3,
                        "{found} and not {expected}: {answer}"
                    );
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    let shape = [BATCH, 1, SIDE, SIDE];
    let input =
        json!({ "name": "image", "datatype": "FP32", "shape": shape, "data": constant(&[0.5; BATCH]) });
    let batch = json!({ "inputs": [input] }).to_string().into_bytes();
    let batches = {
        let (server, going, intercepts) = (Arc::clone(&server), Arc::clone(&going), Arc::clone(&intercepts));
        tokio::spawn(async move {
            let mut answered = 0;
            while going.load(Ordering::Relaxed) {
                infer(&server, batch.clone(), &intercepts).await;
                answered += 1;
            }
            answered
        })
    };

    let inference = server.inference();
    let serving = || inference.catalog().find("m", None).unwrap().digest.clone();
    let mut newest = 1;
    for round in 1..=ROUNDS {
        let intercept = round as f32 / 100.0;
        match round % 4 {
            // a new version
            0 => {
                newest += 1;
                let digest = publish(newest, intercept);
                look(&inference).await;
                assert_eq!(serving(), digest);
                fs::remove_dir_all(models.join(format!("m/{}", newest - 1))).unwrap();
            }
            // another package in the place of the version that serves
            1 => {
                let digest = publish(newest, intercept);
                look(&inference).await;
                assert_eq!(serving(), digest);
            }
            // a broken one, which changes nothing
            2 => {
                let before = serving();
                broken(models, newest + 1);
                look(&inference).await;
                assert_eq!(serving(), before);
                fs::remove_dir_all(models.join(format!("m/{}", newest + 1))).unwrap();
                look(&inference).await;
            }
            // another model goes and comes back
            _ => {
                inference.unload_model("other").await.unwrap();
                let (status, answer) = score(&server, "other", body.clone()).await;
                assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
                inference.load_model("other").await.unwrap();
                let (status, answer) = score(&server, "other", body.clone()).await;
                assert_eq!(status, StatusCode::OK, "{answer}");
            }
        }
    }
    going.store(false, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    assert!(batches.await.unwrap() > 0);
    assert!(
        answered.load(Ordering::Relaxed) > ROUNDS as usize,
        "there was load"
    );
    assert_eq!(
        inference.load_model("nobody").await.unwrap_err().code,
        "unknown-model"
    );
    Arc::into_inner(server).unwrap().stop().await;
}

/// A package whose goldens are another's.
fn broken(models: &Path, version: u32) {
    tiny(version, 0.0).publish_with(models, |_, files| {
        let goldens = tiny(version, 5.0).goldens();
        files.insert(GOLDENS.into(), serde_json::to_vec(&goldens).unwrap());
        assert!(files.contains_key(MODEL));
    });
}

/// The real models; before the second image another package takes the place of the one that scored the first.
struct Replaced {
    inference: Inference,
    models: PathBuf,
    asked: AtomicUsize,
}

impl Score for Replaced {
    fn model(&self) -> Option<Chosen> {
        Score::model(&self.inference)
    }

    fn score<'a>(&'a self, image: Bytes, model: &'a ModelReference, priority: Priority) -> Scoring<'a> {
        Box::pin(async move {
            if self.asked.fetch_add(1, Ordering::SeqCst) == 1 {
                tiny(1, 1.0).publish(&self.models);
                look(&self.inference).await;
            }
            Score::score(&self.inference, image, model, priority).await
        })
    }

    fn explain<'a>(&'a self, image: Bytes, model: &'a ModelReference, finding: &'a str) -> Explaining<'a> {
        Score::explain(&self.inference, image, model, finding)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_package_makes_all_of_a_studys_result() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    let first = tiny(1, 0.0).publish(&models).digest;
    let inference = loaded(under(&models));
    let replaced = Replaced {
        inference: inference.clone(),
        models,
        asked: AtomicUsize::new(0),
    };
    let store = Store::open(&StoreSettings::in_folder(folder.path()))
        .await
        .unwrap();
    let settings = WorkflowSettings {
        patience: Patience {
            quiet: Duration::from_millis(200),
            ..WorkflowSettings::default().patience
        },
        ..WorkflowSettings::default()
    };
    let metrics = Metrics::new().unwrap();
    let workflow = Workflow::new(
        store.clone(),
        Arc::new(replaced),
        Destinations::default(),
        metrics,
        settings,
    );
    let stop = CancellationToken::new();
    let worker = tokio::spawn(workflow.clone().run(stop.clone()));
    let mut study = None;
    for image in 0..3 {
        let file = to_dicom(&Recipe::new(1, 160, 120).render(), 9, 1, image).unwrap();
        let submission = Submission::read(bytes(&file).into()).await.unwrap();
        workflow.accept(&submission).await.unwrap();
        study = Some(submission.study().clone());
    }
    let study = study.unwrap();
    let key = loop {
        if let Some(key) = store.study(&study).await.unwrap().unwrap().result_key {
            break key;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let result = store.result(&key).await.unwrap().unwrap();
    let newest = inference.catalog().find("m", None).unwrap().digest.clone();
    assert_ne!(newest, first);
    assert_eq!(result.model_digest.as_ref(), Some(&newest));
    let of: Vec<&str> = result
        .body
        .instances
        .iter()
        .map(|instance| instance.model.as_ref().unwrap().digest.as_str())
        .collect();
    assert_eq!(of, [newest.as_str(); 3]);

    // what the first package found is not explained by the second
    let file = bytes(&phantom(1));
    let mut replaced = result.body.instances[0].model.clone().unwrap();
    replaced.digest = first;
    let explained = Score::explain(&inference, file.into(), &replaced, "bright").await;
    assert_eq!(explained.map(|_| ()).unwrap_err().code, "another-model");
    stop.cancel();
    worker.await.unwrap();
}

/// What is new is tried when two looks agree.
async fn look(inference: &Inference) {
    for _ in 0..2 {
        let inference = inference.clone();
        tokio::task::spawn_blocking(move || inference.look())
            .await
            .unwrap();
    }
}

/// The server's own watching, without anybody's help, and what `/v1/models` and `/metrics` say of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_folder_is_watched_and_what_became_of_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path();
    tiny(1, 0.0).publish(models);
    let given = Given {
        watch_seconds: Some(1),
        ..Given::default()
    };
    let server = TestServer::with(models.to_owned(), given).await;
    let until = async |version: u32, state: &str| {
        for _ in 0..200 {
            let (_, list) = server.get("/v1/models").await;
            let packages = list["packages"].as_array().unwrap();
            if let Some(package) = packages
                .iter()
                .find(|package| package["version"] == version && package["state"] == state)
            {
                return (package.clone(), list);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("version {version} never became {state}")
    };
    until(1, "ready").await;
    broken(models, 2);
    let (package, list) = until(2, "failed").await;
    assert_eq!(package["stage"], "goldens");
    assert!(
        package["reason"].as_str().unwrap().contains("is off by"),
        "{package}"
    );
    assert!(package["since"].as_str().unwrap().ends_with('Z'), "{package}");
    assert_eq!(list["models"][0]["version"], 1);
    assert_eq!(
        server.get("/health/ready").await.0,
        StatusCode::OK,
        "version 1 serves"
    );
    let metrics = server
        .client
        .get(format!("{}/metrics", server.url))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        r#"osteon_model_state{model="m",state="ready",version="1"} 1"#,
        r#"osteon_model_state{model="m",state="failed",version="2"} 1"#,
        r#"osteon_model_state{model="m",state="ready",version="2"} 0"#,
        r#"osteon_model_loads_total{model="m",outcome="ready",stage=""} 1"#,
        r#"osteon_model_loads_total{model="m",outcome="failed",stage="goldens"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    tiny(3, 0.5).publish(models);
    until(3, "ready").await;
    until(1, "idle").await;
    server.stop().await;
}
