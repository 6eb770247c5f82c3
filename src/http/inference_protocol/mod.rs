//! Open Inference Protocol v2 over HTTP: what clients of `KServe` and Triton speak, with its extensions for binary tensors and
//! for the model repository.
//!
//! A client sends either the network's own input, prepared by itself, or whole DICOM files in the input [`outputs::DICOM`], which take
//! the same way as any other image: gates, preprocessing, network, interpretation.

mod answer;
mod bounded;
mod error;
mod infer;
mod metadata;
mod outputs;
mod repository;
mod request;
mod tensors;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::App;
use crate::fault::{Fault, FaultKind};
use crate::inference::ServedModel;
use error::ProtocolError;

/// Images in one request: no more than may wait for a model by default.
const MOST_IMAGES: usize = 64;

/// The routes below `/v2`.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(metadata::server))
        .route("/health/live", get(metadata::live))
        .route("/health/ready", get(metadata::ready))
        .route("/repository/index", post(repository::index))
        .route("/repository/models/{model}/load", post(repository::load))
        .route("/repository/models/{model}/unload", post(repository::unload))
        .nest("/models/{model}", of_model())
        .nest("/models/{model}/versions/{version}", of_model())
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
}

fn of_model() -> Router<App> {
    Router::new()
        .route("/", get(metadata::model))
        .route("/ready", get(metadata::model_ready))
        .route("/config", get(metadata::config))
        .route("/infer", post(infer::infer))
}

/// The model that a path names.
#[derive(Debug, Deserialize)]
struct Address {
    model: String,
    #[serde(default)]
    version: Option<String>,
}

impl FromRequestParts<App> for Address {
    type Rejection = ProtocolError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let path: Result<Path<Self>, PathRejection> = Path::from_request_parts(parts, app).await;
        path.map(|Path(address)| address)
            .map_err(|_| Fault::new(FaultKind::Invalid, "path", "the path is not UTF-8").into())
    }
}

impl Address {
    /// The served model at this address.
    fn find(&self, app: &App) -> Result<Arc<ServedModel>, Fault> {
        let version = self.version.as_deref().map(str::parse).transpose().map_err(|_| {
            let message = "a version is a whole number from 1 on";
            Fault::new(FaultKind::NotFound, "unknown-version", message)
        })?;
        app.inference.catalog().find(&self.model, version)
    }
}

async fn unknown_route() -> ProtocolError {
    let message = "there is nothing here: the protocol's paths are /v2, /v2/health/live, /v2/health/ready, /v2/repository/..., and /v2/models/{model} with /ready, /config and /infer";
    Fault::new(FaultKind::NotFound, "unknown-route", message).into()
}

async fn wrong_method() -> Response {
    let fault = Fault::new(FaultKind::Invalid, "method", "this address takes another method");
    let mut response = ProtocolError::from(fault).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
