//! `/health/live`, `/health/ready` and `/metrics`: for whoever watches the server.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;

/// `GET /health/live`: the process answers, and nothing is known that only a new one is likely to mend.
pub(super) async fn live(State(app): State<App>) -> Response {
    match app.lost() {
        None => Json(json!({ "live": true })).into_response(),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "live": false, "reason": reason })),
        )
            .into_response(),
    }
}

/// `GET /health/ready`: every model has a version that reproduced its goldens and answers, and the server is not about to stop.
pub(super) async fn ready(State(app): State<App>) -> Response {
    match app.not_ready() {
        None => Json(json!({ "ready": true })).into_response(),
        Some(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "ready": false, "reason": reason })),
        )
            .into_response(),
    }
}

/// `GET /metrics`: Prometheus' text format.
pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        app.metrics.text(),
    )
}
