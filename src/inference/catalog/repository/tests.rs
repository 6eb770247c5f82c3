//! Of [`super`]: a proof that lasts, for as long as the test has the turn.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::super::Settings;
use crate::fault::Fault;
use crate::inference::{Inference, LOADS};
use crate::runtime::{Device, Runtime};
use crate::telemetry::metrics::Metrics;

const MODEL: &str = "spine-osteoporosis-phantom";

fn loaded() -> Inference {
    let settings = Settings {
        cores: 1,
        instances: 1,
        queue: 8,
        deadline: Duration::from_secs(30),
        decode_memory: 1 << 30,
    };
    let inference = Inference::new(settings, Metrics::new().unwrap()).unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    inference.load(&models, Runtime::open(None, Device::Cpu).unwrap());
    inference
}

/// What has to be answered while a proof lasts.
async fn at_once(answer: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
    answer.expect("it waits for the proof")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_few_wait_for_a_proof_and_neither_unloading_nor_an_unknown_name_does() {
    let inference = loaded();
    let (prove, (end, ended)) = (channel(), channel::<()>());
    let (begun, proving) = prove;
    let proof = {
        let inference = inference.clone();
        std::thread::spawn(move || {
            let _turn = inference.repository.get().unwrap().turn();
            begun.send(()).unwrap();
            // until the test is over, however it ends
            let _ = ended.recv();
        })
    };
    proving.recv().unwrap();

    for name in ["nobody", "..", "a/b", "", "\0"] {
        let unknown = at_once(inference.load_model(name)).await.unwrap_err();
        assert_eq!(unknown.code, "unknown-model", "{name}");
        let unknown = at_once(inference.unload_model(name)).await.unwrap_err();
        assert_eq!(unknown.code, "unknown-model", "{name}");
    }
    at_once(inference.unload_model(MODEL)).await.unwrap();
    assert!(inference.catalog().find(MODEL, None).is_err());

    let waiting: Vec<_> = (0..LOADS)
        .map(|_| {
            let inference = inference.clone();
            tokio::spawn(async move { inference.load_model(MODEL).await })
        })
        .collect();
    while inference.loads.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let full = at_once(inference.load_model(MODEL)).await.unwrap_err();
    assert_eq!(full.code, "overloaded");
    end.send(()).unwrap();
    proof.join().unwrap();
    for load in waiting {
        load.await.unwrap().unwrap();
    }
    assert!(inference.catalog().find(MODEL, None).is_ok());
}
