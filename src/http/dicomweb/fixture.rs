//! For tests of the doors: a router over a real store and a rehearsed engine.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::stow::{StowSettings, routes};
use crate::http::studies;
use crate::intake::Intake;
use crate::store::{Store, StoreSettings};
use crate::workflow::fixture::{Act, Rehearsed};
use crate::workflow::{Patience, Workflow, WorkflowSettings};

#[derive(Clone)]
pub(in crate::http) struct Doors {
    pub(in crate::http) workflow: Workflow,
    store: Store,
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
    router: Router,
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
        let stow = StowSettings {
            instance_limit: 20_000,
            request_limit: 50_000,
            public_url: None,
            intake: Intake::new(1 << 20, Duration::from_secs(1)),
        };
        let router = routes::<Doors>(stow)
            .merge(studies::routes::<Doors>())
            .with_state(doors.clone());
        Self {
            folder,
            doors,
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

    pub(in crate::http) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            !text.contains("Canary") && !text.contains(self.folder.path().to_str().unwrap()),
            "{text}"
        );
        (status, serde_json::from_str(&text).unwrap())
    }
}

/// The code of a refusal or failure.
pub(in crate::http) fn code(body: &Value) -> &str {
    body["reason"]["code"].as_str().unwrap()
}
