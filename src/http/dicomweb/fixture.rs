//! For tests of the doors: a router over a real store and a rehearsed engine.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::stow::{self, StowSettings};
use super::workitems::{self, WorklistSettings};
use super::{Service, routes};
use crate::dicom::media_type::MediaType;
use crate::http::Proxies;
use crate::http::studies;
use crate::inference::DecodeMemory;
use crate::intake::Intake;
use crate::store::{
    Basis, Completeness, Kind, NewResult, OWN_ARCHIVE, Settled, Snapshot, Store, StoreSettings,
};
use crate::workflow::fixture::{Act, Rehearsed};
use crate::workflow::{Patience, Submission, Workflow, WorkflowSettings};

#[derive(Clone)]
pub(in crate::http) struct Doors {
    pub(in crate::http) workflow: Workflow,
    pub(in crate::http) store: Store,
}

impl FromRef<Doors> for Workflow {
    fn from_ref(doors: &Doors) -> Self {
        doors.workflow.clone()
    }
}

impl FromRef<Doors> for Store {
    fn from_ref(doors: &Doors) -> Self {
        doors.store.clone()
    }
}

pub(in crate::http) struct TestServer {
    pub(in crate::http) folder: TempDir,
    pub(in crate::http) doors: Doors,
    /// Room for what is decoded.
    pub(in crate::http) decoded: Intake,
    pub(in crate::http) router: Router,
}

impl TestServer {
    pub(in crate::http) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreSettings::in_folder(folder.path()))
            .await
            .unwrap();
        let settings = WorkflowSettings {
            patience: Patience {
                quiet: Duration::ZERO,
                ..WorkflowSettings::default().patience
            },
            ..WorkflowSettings::default()
        };
        let workflow = Rehearsed::new(&[Act::Score]).workflow(&store, settings);
        let doors = Doors { workflow, store };
        let settings = StowSettings {
            instance_limit: 20_000,
            request_limit: 200_000,
            public_url: None,
            intake: Intake::new(1 << 20, Duration::from_secs(1)),
            proxies: Proxies::default(),
        };
        let worklist = WorklistSettings {
            public_url: None,
            intake: settings.intake.clone(),
            outgoing: Intake::new(1 << 20, Duration::from_secs(1)),
            stopping: CancellationToken::new(),
        };
        let decoded = Intake::new(1 << 20, Duration::from_millis(200));
        let service = Service {
            public_url: None,
            outgoing: Intake::new(1 << 20, Duration::from_secs(1)),
            decoded: decoded.clone(),
            decoders: Arc::new(Semaphore::new(2)),
            memory: DecodeMemory::new(1 << 30, 2),
        };
        let router = stow::routes::<Doors>(settings)
            .merge(routes(service))
            .merge(workitems::routes(worklist))
            .merge(studies::routes::<Doors>())
            .with_state(doors.clone());
        Self {
            folder,
            doors,
            decoded,
            router,
        }
    }

    pub(in crate::http) async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Value) {
        let request = Request::post(path).header(header::HOST, "pacs.example:8080");
        let request = request
            .header(header::CONTENT_TYPE, content_type)
            .body(body.into())
            .unwrap();
        self.send(request).await
    }

    pub(in crate::http) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Stores one file of any size.
    pub(in crate::http) async fn store(&self, file: Bytes) {
        let submission = Submission::read(file).await.unwrap();
        self.doors.workflow.accept(&submission).await.unwrap();
    }

    /// Lets the retention policy remove all images, once their studies are settled.
    pub(in crate::http) async fn forget_images(&self) {
        let store = &self.doors.store;
        let describe = |snapshot: &Snapshot| Completeness {
            basis: Basis::Quiet,
            instances: snapshot.instances,
            expected: None,
        };
        store.enqueue_due(100, describe).await.unwrap();
        let lease = Duration::from_mins(1);
        for job in store.claim(Kind::Analyse, 100, lease, 1).await.unwrap() {
            let result = NewResult::failed(&job, "test", "as the test wants it".to_owned());
            assert_eq!(store.bury(&job, &result).await.unwrap(), Settled::Stored);
        }
        // the images stay until all that is made of them is there, or never will be
        let making = Kind::Deliver(OWN_ARCHIVE);
        for job in store.claim(making, 100, lease, 1).await.unwrap() {
            let buried = store.bury_delivery(&job, "as the test wants it").await;
            assert_eq!(buried.unwrap(), Settled::Stored);
        }
        store.forget_images(Duration::ZERO).await.unwrap();
    }

    /// What comes back to a request that takes these media types.
    pub(in crate::http) async fn fetch(&self, path: &str, accept: &str) -> Answer {
        let request = Request::get(path).header(header::HOST, "pacs.example:8080");
        let request = request
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .unwrap();
        self.answer(request).await
    }

    pub(in crate::http) async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(in crate::http) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let Answer { status, body, .. } = self.answer(request).await;
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            !text.contains("Canary") && !text.contains(self.folder.path().to_str().unwrap()),
            "{text}"
        );
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        };
        (status, body)
    }
}

/// A whole answer.
pub(in crate::http) struct Answer {
    pub(in crate::http) status: StatusCode,
    pub(in crate::http) headers: HeaderMap,
    pub(in crate::http) body: Bytes,
}

impl Answer {
    pub(in crate::http) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Its status and, of a refusal, the code.
    pub(in crate::http) fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), code(&self.json()).to_owned())
    }

    pub(in crate::http) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The Content-Type and the content of each part.
    pub(in crate::http) fn parts(&self) -> Vec<(String, Bytes)> {
        let media = MediaType::parse(self.header("content-type")).unwrap();
        assert_eq!(media.essence, "multipart/related");
        let boundary = format!("--{}", media.parameter("boundary").unwrap());
        let (mut parts, mut rest) = (Vec::new(), &self.body[..]);
        rest = rest.strip_prefix(boundary.as_bytes()).unwrap();
        while let Some(part) = rest.strip_prefix(b"\r\n") {
            let head = memchr::memmem::find(part, b"\r\n\r\n").unwrap();
            let headers = std::str::from_utf8(&part[..head]).unwrap();
            let kind = headers
                .lines()
                .find_map(|line| line.strip_prefix("Content-Type: "))
                .unwrap();
            let end = memchr::memmem::find(part, format!("\r\n{boundary}").as_bytes()).unwrap();
            parts.push((kind.to_owned(), Bytes::copy_from_slice(&part[head + 4..end])));
            rest = &part[end + 2 + boundary.len()..];
        }
        assert_eq!(rest, b"--\r\n", "the closing boundary");
        parts
    }
}

/// The code of a refusal or failure.
pub(in crate::http) fn code(body: &Value) -> &str {
    body["reason"]["code"].as_str().unwrap()
}
