//! A webhook on the loopback interface that answers with a status that can be chosen while it runs, and keeps what comes.
//!
//! It knows nothing of osteon: unit tests and the fault harness take it in as a file.

#![allow(dead_code, reason = "each of those who take it in uses a part of it")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

struct Inside {
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    came: Vec<(HeaderMap, Bytes)>,
}

/// A running webhook; dropping it closes its port.
pub(crate) struct Webhook {
    pub(crate) address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    server: JoinHandle<()>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Webhook {
    /// On a free port, with this status and these headers as its answer.
    pub(crate) async fn start(status: u16, headers: &'static [(&'static str, &'static str)]) -> Self {
        let inside = Arc::new(Mutex::new(Inside {
            status,
            headers,
            came: Vec::new(),
        }));
        let router = Router::new()
            .route("/{*path}", post(answer))
            .with_state(inside.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self {
            address,
            inside,
            server,
        }
    }

    /// Where it listens; every path is the same to it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// From now on it answers with this status.
    pub(crate) fn set(&self, status: u16) {
        lock(&self.inside).status = status;
    }

    /// Headers and bodies of what came, in its order.
    pub(crate) fn came(&self) -> Vec<(HeaderMap, Bytes)> {
        lock(&self.inside).came.clone()
    }
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(inside): State<Arc<Mutex<Inside>>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut inside = lock(&inside);
    inside.came.push((headers, body));
    let status = StatusCode::from_u16(inside.status).expect("a status");
    let mut response = status.into_response();
    for (name, value) in inside.headers {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
