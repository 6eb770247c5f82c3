//! Open Inference Protocol v2 over HTTP: what clients of `KServe` and Triton speak, with its extensions for binary tensors and
//! for the model repository, and for statistics.
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
mod statistics;
mod tensors;
#[cfg(test)]
mod tests;
mod values;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::App;
use super::address::Address;
use super::error::HttpError;
use crate::fault::{Fault, FaultKind};
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
        // a model of that name has its metadata at the address of its version
        .route("/models/stats", get(statistics::of_all))
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
        .route("/stats", get(statistics::of_model))
        .route("/infer", post(infer::infer))
}

/// The model that a path names; a fault in it has the protocol's form.
struct At(Address);

impl FromRequestParts<App> for At {
    type Rejection = ProtocolError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let address = Address::from_request_parts(parts, app).await;
        address.map(Self).map_err(|HttpError(fault)| fault.into())
    }
}

async fn unknown_route() -> ProtocolError {
    let message = "there is nothing here: the protocol's paths are /v2, /v2/health/live, /v2/health/ready, /v2/repository/..., and /v2/models/{model} with /ready, /config, /stats and /infer";
    Fault::new(FaultKind::NotFound, "unknown-route", message).into()
}

async fn wrong_method() -> Response {
    let fault = Fault::new(FaultKind::Invalid, "method", "this address takes another method");
    let mut response = ProtocolError::from(fault).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
