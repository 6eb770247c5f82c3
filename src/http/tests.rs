//! The whole of a server's HTTP, on a port of its own, while the device of its model is lost and comes back. The device is a session of
//! the CPU.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::connections::{Bounds, serve};
use super::{App, Limits, Outgoing, Proxies, router};
use crate::inference::Inference;
use crate::inference::fixture::{fail_trials, forget, lose_device, on_a_device, regain_device};
use crate::intake::Intake;
use crate::peer::Destinations;
use crate::store::{Store, StoreSettings};
use crate::telemetry::metrics::Metrics;
use crate::workflow::{Role, Workflow, WorkflowSettings};

const MODEL: &str = "spine-osteoporosis-phantom";
const SAMPLE: &[u8] = include_bytes!("../../models/spine-osteoporosis-phantom/1/sample.dcm");

struct TestServer {
    inference: Inference,
    client: Client,
    url: String,
    stopping: CancellationToken,
    _folder: TempDir,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl TestServer {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreSettings::in_folder(folder.path()))
            .await
            .unwrap();
        let metrics = Metrics::new().unwrap();
        let inference = on_a_device(&metrics);
        let workflow = Workflow::new(
            store.clone(),
            Arc::new(inference.clone()),
            Destinations::default(),
            metrics.clone(),
            WorkflowSettings::default(),
        );
        let room = || Intake::new(64 << 20, Duration::from_secs(10));
        let stopping = CancellationToken::new();
        let app = App {
            inference: inference.clone(),
            store,
            workflow,
            metrics,
            limits: Limits {
                body_bytes: 16 << 20,
                stow_bytes: 16 << 20,
            },
            intake: room(),
            outgoing: Outgoing {
                room: room(),
                decoded: room(),
                decoders: Arc::new(Semaphore::new(1)),
                memory: inference.decode_memory(),
            },
            public_url: None,
            cors: None,
            proxies: Proxies::default(),
            role: Role::All,
            stopping: stopping.clone(),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, router(app), Bounds::default(), stopping.clone()));
        Self {
            inference,
            client: Client::new(),
            url,
            stopping,
            _folder: folder,
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    fn post(&self, path: &str, content_type: &str, body: &[u8]) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.url));
        request.header("content-type", content_type).body(body.to_vec())
    }

    fn score(&self) -> RequestBuilder {
        self.post(&format!("/v1/models/{MODEL}/score"), "application/dicom", SAMPLE)
    }

    /// A tensor that the caller prepared.
    fn infer(&self) -> RequestBuilder {
        let numbers = vec![0.5; 256 * 192];
        let input =
            json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, 256, 192], "data": numbers });
        let body = json!({ "inputs": [input] }).to_string();
        self.post(
            &format!("/v2/models/{MODEL}/infer"),
            "application/json",
            body.as_bytes(),
        )
    }

    /// What is asked whether the model may be asked.
    fn readiness(&self) -> [RequestBuilder; 3] {
        [
            "/health/ready",
            "/v2/health/ready",
            &format!("/v2/models/{MODEL}/ready"),
        ]
        .map(|path| self.get(path))
    }

    fn liveness(&self) -> [RequestBuilder; 2] {
        ["/health/live", "/v2/health/live"].map(|path| self.get(path))
    }

    async fn state(&self) -> Value {
        answer(self.get("/v1/models")).await.2["models"][0]["state"].clone()
    }
}

/// Status, whether it says when to come back, and what is answered.
async fn answer(request: RequestBuilder) -> (StatusCode, bool, Value) {
    let answer = request.send().await.unwrap();
    let (status, again) = (answer.status(), answer.headers().contains_key("retry-after"));
    let bytes = answer.bytes().await.unwrap();
    (status, again, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn statuses<const N: usize>(requests: [RequestBuilder; N]) -> Vec<u16> {
    let answers = requests.map(|request| async { answer(request).await.0.as_u16() });
    futures_util::future::join_all(answers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_probes_hear_of_a_device_that_is_lost_and_of_one_that_is_back() {
    let server = TestServer::start().await;
    let (status, _, scored) = answer(server.score()).await;
    assert_eq!((status, &scored["device"]), (StatusCode::OK, &json!("cuda:0")));
    assert_eq!(statuses([server.infer()]).await, [200]);
    assert_eq!(statuses(server.readiness()).await, [200; 3]);

    lose_device(&server.inference);
    assert_eq!(statuses(server.readiness()).await, [200; 3], "nobody knows yet");
    for _ in 0..2 {
        let (status, again, failed) = answer(server.score()).await;
        assert_eq!(
            (status, again),
            (StatusCode::SERVICE_UNAVAILABLE, true),
            "{failed}"
        );
        assert_eq!(failed["reason"]["code"], "device-failed", "{failed}");
        assert_eq!(failed["findings"], json!([]), "{failed}");
        let (status, again, failed) = answer(server.infer()).await;
        assert_eq!(
            (status, again),
            (StatusCode::SERVICE_UNAVAILABLE, true),
            "{failed}"
        );
        assert!(
            failed["error"].as_str().unwrap().ends_with("(device-failed)"),
            "{failed}"
        );
    }
    let heatmap = server.post(
        &format!("/v1/models/{MODEL}/heatmap"),
        "application/dicom",
        SAMPLE,
    );
    let (status, _, failed) = answer(heatmap).await;
    assert_eq!(
        (status.as_u16(), &failed["reason"]["code"]),
        (503, &json!("device-failed"))
    );
    assert_eq!(statuses(server.readiness()).await, [503; 3]);
    let (_, _, ready) = answer(server.get("/health/ready")).await;
    let reason = ready["reason"].as_str().unwrap();
    assert!(
        reason.starts_with(&format!("{MODEL}/1 does not answer: cuda:0 fails")),
        "{reason}"
    );
    assert_eq!(server.state().await, "silent");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let silent = format!("osteon_device_silent{{device=\"cuda:0\",model=\"{MODEL}\"}} 1");
    assert!(metrics.contains(&silent), "{metrics}");
    // a new process is not worth its start yet
    assert_eq!(statuses(server.liveness()).await, [200; 2]);
    fail_trials(&server.inference, 4);
    assert_eq!(statuses(server.liveness()).await, [503; 2]);

    regain_device(&server.inference);
    assert_eq!(statuses(server.liveness()).await, [200; 2]);
    assert_eq!(statuses(server.readiness()).await, [200; 3]);
    assert_eq!(server.state().await, "ready");
    assert_eq!(statuses([server.score(), server.infer()]).await, [200; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_hear_of_a_device_that_is_lost_while_nobody_asks() {
    let server = TestServer::start().await;
    lose_device(&server.inference);
    forget(&server.inference);
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while statuses(server.readiness()).await != [503; 3] {
        assert!(tokio::time::Instant::now() < until, "nobody tried it");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
