//! Publishes, replaces and takes away versions of a model under load on `/v1` and in batches on `/v2`, a thousand times: no request may fail,
//! each answer names the package that it is of, and the memory stays where it was. `make reload`; the exit status is 1 where one of these does not hold.
//!
//! `cargo run --release --example reload_check -- models/spine-osteoporosis-phantom/1`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use osteon::app::Server;
use osteon::config::{Config, Given};
use osteon::model::{ModelManifest, Package};
use serde_json::{Value, json};

/// Rounds after which the memory has found its level.
const SETTLED: u32 = 100;
/// KiB that it may grow by from then on: less than one copy of the smallest network in a thousand rounds.
const MAY_GROW: u64 = 4 << 10;

#[derive(Parser)]
struct Arguments {
    /// The package to publish again and again, with a `sample.dcm`
    package: PathBuf,
    /// Rounds; each is one publication
    #[arg(long, default_value_t = 1000)]
    rounds: u32,
    /// Requests at the same time
    #[arg(long, default_value_t = 4)]
    clients: usize,
}

/// Images of a request to `/v2`.
const BATCH: usize = 4;

/// What the senders share.
struct Load {
    /// Where the model is, but for `/v1` or `/v2` before it.
    server: SocketAddr,
    model: String,
    sample: Vec<u8>,
    /// The sample a few times, as JSON.
    batch: String,
    /// Every digest that was ever published, with its notice, which every answer holds, too.
    published: Mutex<BTreeMap<String, String>>,
    going: AtomicBool,
    answered: AtomicUsize,
    failed: AtomicUsize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let original = Package::open(&arguments.package)?;
    let mut files = BTreeMap::new();
    for name in original.manifest.files.keys() {
        files.insert(name.clone(), original.file(name)?);
    }
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models");
    let published = Mutex::new(BTreeMap::new());
    publish(&models, &original.manifest, &files, (1, 0), &published)?;

    let given = Given {
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        models: Some(models.clone()),
        data: Some(folder.path().join("data")),
        // looked at by this program, as often as it likes
        watch_seconds: Some(0),
        ..Given::default()
    };
    let mut server = Server::start(Config::resolve(given, None)?).await?;
    server.loaded().await?;
    let name = original.manifest.name.clone();
    let sample = files.get("sample.dcm").context("the package has no sample.dcm")?;
    let load = Arc::new(Load {
        server: server.address,
        model: name.clone(),
        batch: batch(sample).to_string(),
        sample: sample.clone(),
        published,
        going: AtomicBool::new(true),
        answered: AtomicUsize::new(0),
        failed: AtomicUsize::new(0),
    });
    let senders: Vec<_> = (0..arguments.clients)
        .map(|_| tokio::spawn(send(Arc::clone(&load))))
        .collect();

    let started = Instant::now();
    let mut version = 1;
    let (mut settled, mut resident) = (None, 0);
    for round in 1..=arguments.rounds {
        // in turn a new version, and another package in the place of the one that serves
        if round % 2 == 0 {
            version += 1;
        }
        let digest = publish(
            &models,
            &original.manifest,
            &files,
            (version, round),
            &load.published,
        )?;
        for _ in 0..2 {
            let inference = server.inference.clone();
            tokio::task::spawn_blocking(move || inference.look()).await?;
        }
        let serving = server.inference.catalog().find(&name, None)?;
        anyhow::ensure!(
            serving.digest == digest,
            "round {round}: {} serves",
            serving.manifest.version
        );
        if round % 2 == 0 {
            std::fs::remove_dir_all(models.join(&name).join((version - 1).to_string()))?;
        }
        if [1, SETTLED, arguments.rounds].contains(&round) || round % 500 == 0 {
            resident = report(&load, round, started.elapsed())?;
        }
        if round == SETTLED {
            settled = Some(resident);
        }
    }
    load.going.store(false, Ordering::Relaxed);
    for sender in senders {
        sender.await?;
    }
    let failed = load.failed.load(Ordering::Relaxed);
    server.stopping.cancel();
    server.stopped().await?;
    anyhow::ensure!(failed == 0, "{failed} requests failed");
    if let Some(settled) = settled {
        anyhow::ensure!(
            resident <= settled + MAY_GROW,
            "the memory grew from {settled} kB after {SETTLED} rounds to {resident} kB"
        );
    }
    Ok(())
}

/// Publishes a package that differs from every other in its notice, and gives its digest.
fn publish(
    models: &Path,
    manifest: &ModelManifest,
    files: &BTreeMap<String, Vec<u8>>,
    (version, round): (u32, u32),
    published: &Mutex<BTreeMap<String, String>>,
) -> anyhow::Result<String> {
    let notice = format!("Round {round}. {}", manifest.notice);
    let manifest = ModelManifest {
        version,
        notice: notice.clone(),
        ..manifest.clone()
    };
    // a server may answer in its name as soon as it is there: its digest has to be known before
    let elsewhere = tempfile::tempdir()?;
    let digest = Package::publish(elsewhere.path(), manifest.clone(), files, false)?.digest;
    let mut known = published
        .lock()
        .map_err(|_| anyhow::anyhow!("a sender panicked"))?;
    known.insert(digest.clone(), notice);
    drop(known);
    Package::publish(models, manifest, files, true)?;
    Ok(digest)
}

fn batch(sample: &[u8]) -> Value {
    let data = vec![BASE64_STANDARD.encode(sample); BATCH];
    json!({ "inputs": [{ "name": "dicom", "datatype": "BYTES", "shape": [BATCH, 1], "data": data }] })
}

async fn send(load: Arc<Load>) {
    let client = reqwest::Client::new();
    for turn in 0.. {
        if !load.going.load(Ordering::Relaxed) {
            return;
        }
        let once = if turn % 2 == 0 {
            one(&client, &load).await
        } else {
            several(&client, &load).await
        };
        match once {
            Ok(()) => load.answered.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                eprintln!("failed: {error:#}");
                load.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// One image, whose answer has to be a score.
async fn one(client: &reqwest::Client, load: &Load) -> anyhow::Result<()> {
    let request = client
        .post(format!("http://{}/v1/models/{}/score", load.server, load.model))
        .header("content-type", "application/dicom")
        .body(load.sample.clone());
    let answer: Value = request.send().await?.error_for_status()?.json().await?;
    anyhow::ensure!(answer["outcome"] == "scored", "{answer}");
    published(load, &answer["model"])
}

/// A batch, with an answer for each image.
async fn several(client: &reqwest::Client, load: &Load) -> anyhow::Result<()> {
    let request = client
        .post(format!("http://{}/v2/models/{}/infer", load.server, load.model))
        .body(load.batch.clone());
    let response = request.send().await?;
    let status = response.status();
    let answer: Value = response.json().await?;
    anyhow::ensure!(status.is_success(), "{answer}");
    anyhow::ensure!(answer["outputs"][0]["shape"][0] == BATCH, "{answer}");
    published(load, &answer["parameters"])
}

/// An answer is in the name of a package that was published, with that package's notice.
fn published(load: &Load, answer: &Value) -> anyhow::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let known = load
        .published
        .lock()
        .map_err(|_| anyhow::anyhow!("a sender panicked"))?;
    let notice = known.get(&text(&answer["digest"]));
    anyhow::ensure!(notice == Some(&text(&answer["notice"])), "{answer}");
    Ok(())
}

/// Says how it stands, and gives the resident memory in KiB.
#[expect(clippy::print_stdout, reason = "the figures are what the program is run for")]
fn report(load: &Load, round: u32, since: Duration) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"))
        .and_then(|size| size.trim().parse().ok())
        .context("the system does not tell the resident memory")?;
    println!(
        "round {round}: {} requests, {} failed, {resident} kB resident, {} s",
        load.answered.load(Ordering::Relaxed),
        load.failed.load(Ordering::Relaxed),
        since.as_secs()
    );
    Ok(resident)
}
