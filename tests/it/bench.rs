//! `osteon bench`: the program measures the test server over HTTP, and suggests settings that a server takes.

use std::path::Path;
use std::process::{Command, Output};

use osteon::config::{Config, Given};
use serde_json::Value;

use crate::server::{MODEL, TestServer, bundled_models};

async fn bench(arguments: &[&str]) -> Output {
    bench_with(arguments, &[]).await
}

async fn bench_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osteon"));
    command.arg("bench").args(arguments);
    command.envs(environment.iter().copied());
    // the test server has to answer meanwhile
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn sample() -> String {
    let file = bundled_models().join(MODEL).join("1/sample.dcm");
    file.to_string_lossy().into_owned()
}

/// The one sentence that a failure is.
fn sentence(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn rows(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn consistent(row: &Value) {
    let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"));
    assert!(number("images") > 0.0 && number("images_per_second") > 0.0);
    assert_eq!((number("refused"), number("errors")), (0.0, 0.0));
    assert!(number("p50_ms") > 0.0 && number("p50_ms") <= number("p99_ms"));
    assert!(number("cpu_ms_per_image") > 0.0 && number("memory_mb") > 10.0);
    assert!(number("peak_memory_mb") >= number("memory_mb"));
    let infer = row["timings_ms"]["infer"].as_f64().unwrap();
    assert!(infer > 0.0 && infer < number("p99_ms"));
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_a_running_server_agree_with_each_other() {
    let server = TestServer::start().await;
    let file = sample();
    let levels = ["--concurrency", "1,4", "--seconds", "1"];
    let arguments = [&["--url", &server.url, "--json", &file, &file], &levels[..]].concat();
    let rows = rows(&bench(&arguments).await);
    let levels: Vec<_> = rows
        .iter()
        .map(|row| row["concurrency"].as_u64().unwrap())
        .collect();
    assert_eq!(levels, [1, 4]);
    rows.iter().for_each(consistent);

    // what the server counted is what was measured, and the two files that were sent first
    let metrics = server.client.get(format!("{}/metrics", server.url));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let images: u64 = rows.iter().map(|row| row["images"].as_u64().unwrap()).sum();
    let counted = format!("outcome=\"scored\",reason=\"\",site=\"other\"}} {}", images + 2);
    assert!(metrics.contains(&counted), "{counted} in {metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_said_in_one_sentence() {
    let server = TestServer::start().await;
    let at = |more: &[&'static str]| {
        let mut arguments = vec!["--url".to_owned(), server.url.clone(), sample()];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    };
    let said = |arguments: Vec<String>| async move {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        sentence(&bench(&arguments).await)
    };
    assert!(said(at(&["--model", "lungs"])).await.contains(MODEL));
    assert!(
        said(at(&["/nowhere/image.dcm"]))
            .await
            .contains("/nowhere/image.dcm")
    );
    assert!(
        said(at(&["Cargo.toml"]))
            .await
            .contains("Cargo.toml was not scored")
    );
    let nobody = ["--url", "http://127.0.0.1:1", &sample()].map(str::to_owned);
    assert!(said(nobody.to_vec()).await.contains("cannot be reached"));
    let empty = tempfile::tempdir().unwrap();
    let models = empty.path().to_string_lossy().into_owned();
    let modelless = vec!["--models".to_owned(), models, sample()];
    assert!(said(modelless).await.contains("there is no model"));
    server.stop().await;
}

/// The suggestion for eight callers of a server with so many places in its line, as the server takes it, and the rows before it.
async fn suggestion(places: &str) -> (Config, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("osteon.toml");
    let models = bundled_models().to_string_lossy().into_owned();
    let output = bench_with(
        &[
            "--suggest",
            &path.to_string_lossy(),
            "--models",
            &models,
            "--concurrency",
            "8",
            "--seconds",
            "1",
            "--p99-ms",
            "60000",
            "--json",
            &sample(),
        ],
        &[("OSTEON_QUEUE", places)],
    )
    .await;
    let rows = rows(&output);
    let config = Config::resolve(Given::default(), Some(&path)).unwrap();
    assert_eq!(config.models, Path::new(&models));
    (config, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suggestion_is_a_configuration() {
    let (config, rows) = suggestion("32").await;
    rows.iter().for_each(consistent);
    let fastest = |a: &&Value, b: &&Value| {
        let rate = |row: &Value| row["images_per_second"].as_f64().unwrap();
        rate(a).total_cmp(&rate(b))
    };
    let best = rows.iter().max_by(fastest).unwrap();
    assert_eq!(config.cores as u64, best["settings"]["cores"].as_u64().unwrap());
    // nobody was turned away, so nothing is said of the line
    assert_eq!(config.queue, 256);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_line_is_suggested_where_callers_were_turned_away() {
    let (config, mut rows) = suggestion("2").await;
    let roomier = rows.pop().unwrap();
    consistent(&roomier);
    assert_eq!(roomier["settings"]["queue"], 16);
    assert_eq!(config.queue, 16);
    assert_eq!(
        config.cores as u64,
        roomier["settings"]["cores"].as_u64().unwrap()
    );
    for row in &rows {
        let causes = row["unscored"].as_array().unwrap();
        let count = |cause: &Value| cause["count"].as_u64().unwrap();
        let counted: u64 = causes.iter().map(count).sum();
        assert!(
            counted > 0 && row["refused"] == counted && row["errors"] == 0,
            "{row}"
        );
        let full = |cause: &Value| {
            let [status, code] = ["status", "code"].map(|key| cause[key].clone());
            (status == 429 && code == "too-many-requests") || (status == 503 && code == "overloaded")
        };
        assert!(causes.iter().all(full), "{row}");
    }
}
