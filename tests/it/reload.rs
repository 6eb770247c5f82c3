//! Models come, change and go while requests go on: none fails, and each answer is of the package that it names.
//!
//! `examples/reload_check.rs` does the same a thousand times, and watches the memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use osteon::config::Given;
use osteon::model::package::{GOLDENS, MODEL};
use reqwest::StatusCode;
use serde_json::Value;

use crate::server::{TestServer, bytes, phantom};
use crate::tiny::Tiny;

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

    let inference = server.inference();
    let look = || async {
        // what is new is tried when two looks agree
        for _ in 0..2 {
            let inference = inference.clone();
            tokio::task::spawn_blocking(move || inference.look())
                .await
                .unwrap();
        }
    };
    let serving = || inference.catalog().find("m", None).unwrap().digest.clone();
    let mut newest = 1;
    for round in 1..=ROUNDS {
        let intercept = round as f32 / 100.0;
        match round % 4 {
            // a new version
            0 => {
                newest += 1;
                let digest = publish(newest, intercept);
                look().await;
                assert_eq!(serving(), digest);
                fs::remove_dir_all(models.join(format!("m/{}", newest - 1))).unwrap();
            }
            // another package in the place of the version that serves
            1 => {
                let digest = publish(newest, intercept);
                look().await;
                assert_eq!(serving(), digest);
            }
            // a broken one, which changes nothing
            2 => {
                let before = serving();
                broken(models, newest + 1);
                look().await;
                assert_eq!(serving(), before);
                fs::remove_dir_all(models.join(format!("m/{}", newest + 1))).unwrap();
                look().await;
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
