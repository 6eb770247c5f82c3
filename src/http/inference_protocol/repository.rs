//! The model repository: which packages there are, and loading and unloading them by name.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State as Handle};
use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::error::ProtocolError;
use super::error::invalid;
use crate::fault::Fault;
use crate::http::{App, body};
use crate::inference::{Priority, State};

/// These requests are short.
const LIMIT: usize = 1 << 20;

/// What a request may say.
#[derive(Default, Deserialize)]
struct Request {
    /// Only the models that are served.
    ready: Option<bool>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    config: Option<IgnoredAny>,
}

/// `POST /v2/repository/index`.
pub(super) async fn index(
    Handle(app): Handle<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ProtocolError> {
    let ready = request(&app, &headers, body).await?.ready.unwrap_or(false);
    let packages: Vec<Value> = app
        .inference
        .catalog()
        .index()
        .into_iter()
        .filter(|package| !ready || package.state == State::Ready)
        .map(|package| {
            let state = match package.state {
                State::Ready => "READY",
                State::Proving => "LOADING",
                State::Waiting | State::Failed | State::Idle | State::Unloaded => "UNAVAILABLE",
            };
            json!({
                "name": package.name,
                "version": package.version.to_string(),
                "state": state,
                "reason": package.reason.unwrap_or_default(),
            })
        })
        .collect();
    Ok(Json(packages.into()))
}

/// `POST /v2/repository/models/{model}/load`: every version in the models folder, again.
pub(super) async fn load(
    Handle(app): Handle<App>,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ProtocolError> {
    let parameters = request(&app, &headers, body).await?.parameters;
    if parameters.is_some_and(|parameters| parameters.config.is_some()) {
        let message = "a model is what its package says: put the package into the models folder, and load it without config";
        return Err(invalid("config", message).into());
    }
    app.inference.load_model(&model).await?;
    Ok(Json(json!({})))
}

/// `POST /v2/repository/models/{model}/unload`.
pub(super) async fn unload(
    Handle(app): Handle<App>,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ProtocolError> {
    request(&app, &headers, body).await?;
    app.inference.unload_model(&model).await?;
    Ok(Json(json!({})))
}

async fn request(app: &App, headers: &HeaderMap, body: Body) -> Result<Request, Fault> {
    let body = body::read(headers, body, LIMIT, &app.intake, Priority::Routine).await?;
    if body.is_empty() {
        return Ok(Request::default());
    }
    serde_json::from_slice(&body).map_err(|_| {
        let message = "the body must be empty or JSON such as {\"ready\": true}";
        invalid("request", message)
    })
}
