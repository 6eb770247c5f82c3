//! Who is served when: nobody gets another's answer, a batch changes nothing, late and gone callers cost nothing, and what is
//! full says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use osteon::config::Given;
use osteon::image::Tensor;
use osteon::inference::{Call, Inference, Settings, TensorRequest};
use osteon::model::{GoldenInput, Package};
use osteon::runtime::{Device, Engine, Runtime};
use osteon::telemetry::metrics::Metrics;
use reqwest::StatusCode;

use crate::server::{MODEL, TestServer, bundled_models, bytes, phantom, sample, second};
use crate::tiny::{SIDE, Tiny};

/// A model that takes about a second for an image.
fn slow(models: &std::path::Path) {
    Tiny {
        slow: 60,
        ..Tiny::new("slow", 1)
    }
    .publish(models);
}

fn inference(models: &std::path::Path, cores: usize) -> Inference {
    let settings = Settings {
        cores,
        instances: 1,
        queue: 256,
        deadline: Duration::from_mins(2),
        decode_memory: 1 << 30,
    };
    let inference = Inference::new(settings, Metrics::new().unwrap()).unwrap();
    let runtime = Runtime::open(None, Device::Cpu).unwrap();
    inference.load(models, &runtime);
    inference
}

/// A hundred thousand requests to two models, each with a mean of its own, 64 at the same time: every answer is the sigmoid of the
/// mean that was asked, in one model of its opposite.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_interleaved_requests_are_never_mixed_up() {
    const REQUESTS: usize = 100_000;
    let models = tempfile::tempdir().unwrap();
    Tiny::new("bright", 1).publish(models.path());
    Tiny {
        labels: vec![("dark", -1.0, 0.0)],
        ..Tiny::new("dark", 1)
    }
    .publish(models.path());
    let inference = inference(models.path(), 3);
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let askers: Vec<_> = (0..64)
        .map(|asker| {
            let (inference, next) = (inference.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut asked = 0;
                loop {
                    let id = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if id >= REQUESTS {
                        return asked;
                    }
                    let (model, sign) = [("bright", 1.0), ("dark", -1.0)][id % 2];
                    let code = id as f32 / REQUESTS as f32 * 8.0 - 4.0;
                    let request = TensorRequest {
                        model: inference.catalog().find(model, None).unwrap(),
                        tensor: Tensor {
                            shape: [1, SIDE, SIDE],
                            values: vec![code; SIDE * SIDE],
                        },
                        call: Call {
                            client: format!("client-{}", asker % 5).into(),
                            ..Call::default()
                        },
                    };
                    let said = inference.infer(request).await.unwrap();
                    let logit = said.prediction.heads[0].logits.as_ref().unwrap()[0];
                    // neighbours are 8e-5 apart
                    assert!((logit - sign * code).abs() < 2e-5, "{id}: {logit} for {code}");
                    asked += 1;
                }
            })
        })
        .collect();
    let mut asked = 0;
    for asker in askers {
        asked += asker.await.unwrap();
    }
    assert_eq!(asked, REQUESTS);
}

/// The same through the batches of two engines that stand in for GPUs: who asks while both are busy is run together with others.
#[tokio::test(flavor = "multi_thread")]
async fn batches_of_two_engines_mix_nothing_up_and_grow_with_what_waits() {
    const REQUESTS: usize = 20_000;
    let models = tempfile::tempdir().unwrap();
    Tiny::new("bright", 1).publish(models.path());
    let settings = Settings {
        cores: 1,
        instances: 2,
        queue: 256,
        deadline: Duration::from_mins(2),
        decode_memory: 1 << 30,
    };
    let inference = Inference::new(settings, Metrics::new().unwrap()).unwrap();
    let runtime = Runtime::open(None, Device::Cpu).unwrap().in_batches();
    inference.load(models.path(), &runtime);
    let model = inference.catalog().find("bright", None).unwrap();
    assert_eq!(model.device(), "cpu");
    let ask = async |code: f32| {
        let request = TensorRequest {
            model: Arc::clone(&model),
            tensor: Tensor {
                shape: [1, SIDE, SIDE],
                values: vec![code; SIDE * SIDE],
            },
            call: Call::default(),
        };
        let said = inference.infer(request).await.unwrap();
        let logit = said.prediction.heads[0].logits.as_ref().unwrap()[0];
        assert!((logit - code).abs() < 2e-5, "{logit} for {code}");
    };
    // one caller at a time is alone in its batch
    for code in 0..100 {
        ask(code as f32 / 25.0 - 2.0).await;
    }
    let alone = model.statistics();
    assert_eq!(alone.batches.keys().copied().collect::<Vec<_>>(), [1]);

    let askers = (0..128).map(|asker| async move {
        for id in (asker..REQUESTS).step_by(128) {
            ask(id as f32 / REQUESTS as f32 * 8.0 - 4.0).await;
        }
    });
    futures_util::future::join_all(askers).await;
    let all = model.statistics();
    assert_eq!(all.inferences(), REQUESTS as u64 + 100);
    assert!(all.batches.keys().all(|size| *size <= 32));
    let mean = REQUESTS as f64 / (all.executions() - 100) as f64;
    assert!(mean > 2.0, "{mean} images in a batch");
}

/// One image alone, and at each place of each batch that a GPU would run, beside others.
#[test]
fn a_batch_changes_no_answer() {
    let package = Package::open(&bundled_models().join(MODEL).join("1")).unwrap();
    let runtime = Runtime::open(None, Device::Cpu).unwrap();
    let mut engine = Engine::load(&runtime, &package.model, &package.manifest).unwrap();
    let shape = package.manifest.preprocessing.input_shape();
    let image = |seed| GoldenInput::Noise { seed }.tensor(shape).unwrap();
    let one = image(1);
    let others: Vec<Tensor> = (2..8).map(image).collect();
    let alone = engine.run(&[&one]).unwrap().remove(0);
    // the bindings of a GPU, with a session for each size
    let in_batches = runtime.clone().in_batches();
    let mut batches = Engine::load(&in_batches, &package.model, &package.manifest).unwrap();
    assert_eq!(batches.batch_sizes(), Device::Cuda(0).buckets());
    for size in Device::Cuda(0).buckets() {
        for place in 0..*size {
            let batch: Vec<&Tensor> = (0..*size)
                .map(|index| {
                    if index == place {
                        &one
                    } else {
                        &others[index % others.len()]
                    }
                })
                .collect();
            for engine in [&mut engine, &mut batches] {
                let together = &engine.run(&batch).unwrap()[place];
                for (a, b) in alone.values().iter().zip(together.values()) {
                    assert!((a - b).abs() < 1e-6, "place {place} of {size}: {a} and {b}");
                }
            }
        }
    }
}

/// The same file, alone and while others are scored.
#[tokio::test(flavor = "multi_thread")]
async fn load_changes_no_answer() {
    let server = TestServer::start().await;
    let (_, alone) = server.score(sample()).await;
    // of the phantoms that the bundled model takes: one in a hundred is unlike those it knows
    let (one, other) = (sample(), second());
    let answers = futures_util::future::join_all((0..24).map(|index| {
        let file = if index % 3 == 0 {
            one.clone()
        } else {
            other.clone()
        };
        server.score(file)
    }));
    for (index, (status, answer)) in answers.await.into_iter().enumerate() {
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["findings"] == alone["findings"], index % 3 == 0, "{index}");
    }
    server.stop().await;
}

/// A caller who waits too long is told so at the deadline, and one who hangs up stops the network: the next is served at once.
#[tokio::test(flavor = "multi_thread")]
async fn late_and_gone_callers_cost_no_more() {
    let models = tempfile::tempdir().unwrap();
    slow(models.path());
    let given = Given {
        cores: Some(1),
        ..Given::default()
    };
    let server = TestServer::with(models.path().to_owned(), given).await;
    let file = bytes(&phantom(1));
    let url = "/v1/models/slow/score?override=intended-use";
    let begun = Instant::now();
    let (status, answer) = server.post(url, "application/dicom", file.clone()).await;
    let whole = begun.elapsed();
    assert_eq!(status, StatusCode::OK, "{answer}");

    // it is stopped, so the next one waits for nobody
    let begun = Instant::now();
    let (status, answer) = server
        .post(
            &format!("{url}&deadline_ms=50"),
            "application/dicom",
            file.clone(),
        )
        .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert_eq!(answer["reason"]["code"], "deadline");
    assert!(begun.elapsed() < whole / 2, "{:?} of {whole:?}", begun.elapsed());
    let hung_up = server
        .client
        .post(format!("{}{url}", server.url))
        .header("content-type", "application/dicom")
        .body(file.clone())
        .timeout(whole / 4)
        .send()
        .await;
    assert!(hung_up.unwrap_err().is_timeout());
    // what it has waited for, and not how long it took: a busy machine may be slower now
    let (status, answer) = server.post(url, "application/dicom", file).await;
    assert_eq!(status, StatusCode::OK);
    let waited = answer["timings_ms"]["queue"].as_f64().unwrap();
    assert!(
        waited < whole.as_secs_f64() * 1e3 / 2.0,
        "{waited} ms of {whole:?}"
    );
    server.stop().await;
}

/// Four times what the line holds: some are served, the rest is refused at once with 429 or 503 and a time to come back; what is
/// urgent and comes last is served first.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_full_says_so_and_what_is_urgent_goes_first() {
    let models = tempfile::tempdir().unwrap();
    Tiny {
        slow: 20,
        ..Tiny::new("slow", 1)
    }
    .publish(models.path());
    let given = Given {
        cores: Some(1),
        queue: Some(4),
        ..Given::default()
    };
    let server = TestServer::with(models.path().to_owned(), given).await;
    let url = format!("{}/v1/models/slow/score?override=intended-use", server.url);
    let file = bytes(&phantom(1));
    let ask = |urgency: &str| {
        let request = server
            .client
            .post(format!("{url}&priority={urgency}"))
            .header("content-type", "application/dicom")
            .body(file.clone());
        async move {
            let answer = request.send().await.unwrap();
            let retry = answer.headers().get("retry-after").is_some();
            (answer.status().as_u16(), retry, Instant::now())
        }
    };
    let routine = tokio::spawn(futures_util::future::join_all((0..16).map(|_| ask("routine"))));
    // all of the routine ones are in the line or refused by then
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (status, _, urgent) = ask("stat").await;
    let answers = routine.await.unwrap();
    let served: Vec<Instant> = answers
        .iter()
        .filter(|(status, ..)| *status == 200)
        .map(|(.., at)| *at)
        .collect();
    assert!((3..=5).contains(&served.len()), "{answers:?}");
    for (status, retry, _) in &answers {
        assert!(
            *status == 200 || ([429, 503].contains(status) && *retry),
            "{status}"
        );
    }
    assert_eq!(status, 200);
    let last = served.iter().max().unwrap();
    assert!(
        urgent < *last,
        "the urgent one was not served before the last routine one"
    );
    server.stop().await;
}

/// Behind a proxy that is trusted, each client has its share of the line, whatever else it writes into the header; of others the header is
/// not believed, and all that one address sends has one share.
#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_a_trusted_proxy_are_told_apart_and_nobody_else_is_believed() {
    let models = tempfile::tempdir().unwrap();
    Tiny {
        slow: 2,
        ..Tiny::new("slow", 1)
    }
    .publish(models.path());
    let statuses = async |trusted: &str, images: [usize; 2]| {
        let given = Given {
            cores: Some(1),
            queue: Some(32),
            trusted_proxies: Some(trusted.parse().unwrap()),
            ..Given::default()
        };
        let server = TestServer::with(models.path().to_owned(), given).await;
        let ask = |forwarded: &str, images: usize| {
            let image = serde_json::json!({
                "name": "image", "datatype": "FP32", "shape": [images, 1, SIDE, SIDE],
                "data": vec![0.0; images * SIDE * SIDE],
            });
            let request = server
                .client
                .post(format!("{}/v2/models/slow/infer", server.url))
                .header("x-forwarded-for", forwarded)
                .body(serde_json::json!({ "inputs": [image] }).to_string());
            async move { request.send().await.unwrap().status().as_u16() }
        };
        let asked = tokio::join!(
            ask("192.0.2.2, 192.0.2.1", images[0]),
            ask("192.0.2.1, 192.0.2.2", images[1])
        );
        server.stop().await;
        <[u16; 2]>::from(asked)
    };
    // a share is 24 of 32 places, and 4 are for what is urgent: one client's takes all of its own, and the rest is left to the other
    assert_eq!(statuses("127.0.0.0/8", [24, 4]).await, [200, 200]);
    // were these two clients, the line would be full (503) before either had more than its share
    let together = statuses("10.0.0.0/8", [24, 24]).await;
    assert!(together.contains(&429), "{together:?}");
}

/// Bodies that stop coming hold their client's share of the room for a while: a request that waits behind them is told so when its own deadline
/// is over, and not when the server's is.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_room_waits_no_longer_than_it_said() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("tiny", 1).publish(models.path());
    let given = Given {
        body_memory_mib: Some(1),
        ..Given::default()
    };
    let server = TestServer::with(models.path().to_owned(), given).await;
    let address = server.url.trim_start_matches("http://");
    let mut holding = Vec::new();
    for _ in 0..4 {
        let mut one = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = "POST /v1/models/tiny/score HTTP/1.1\r\nHost: h\r\nContent-Type: application/dicom\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut one, head.as_bytes())
            .await
            .unwrap();
        holding.push(one);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = Instant::now();
    let path = "/v1/models/tiny/score?deadline_ms=300";
    let (status, answer) = server.post(path, "application/dicom", bytes(&phantom(1))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert_eq!(answer["reason"]["code"], "overloaded", "{answer}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    drop(holding);
    server.stop().await;
}
