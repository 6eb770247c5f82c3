//! `GET /v1/models`, `GET /v1/models/{model}` and `GET /v1/models/{model}/versions/{version}`: what is served, and why something is not.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::App;
use super::address::Address;
use super::error::HttpError;
use crate::inference::ServedModel;

/// `GET /v1/models`.
pub(super) async fn list(State(app): State<App>) -> Json<Value> {
    let catalog = app.inference.catalog();
    let models: Vec<Value> = catalog.all().iter().map(|model| summary(&app, model)).collect();
    let study_model = catalog.study_model().map(|chosen| {
        json!({
            "name": chosen.name,
            "basis": chosen.basis,
            "served": app.inference.study_model().is_ok(),
            "warning": chosen.doubt(),
        })
    });
    Json(json!({
        "models": models,
        "rejected": catalog.rejected(),
        "packages": catalog.index(),
        "study_model": study_model,
    }))
}

/// `GET /v1/models/{model}`: the newest version, or the one that the path names, with its manifest.
pub(super) async fn one(State(app): State<App>, address: Address) -> Result<Json<Value>, HttpError> {
    let model = address.find(&app)?;
    let mut answer = summary(&app, &model);
    let versions = app.inference.catalog().versions(&address.model);
    let served = versions.iter().map(|served| served.manifest.version);
    answer["versions"] = served.collect();
    answer["manifest"] = json!(model.manifest);
    Ok(Json(answer))
}

fn summary(app: &App, model: &ServedModel) -> Value {
    json!({
        "name": model.manifest.name,
        "version": model.manifest.version,
        "title": model.manifest.title,
        "notice": model.manifest.notice,
        "digest": model.digest,
        "signed": model.signed,
        "provider": model.provider(),
        "device": model.device(),
        "bits": model.bits,
        "state": if model.is_silent() { "silent" } else { "ready" },
        "findings": model.manifest.labels().map(|label| &label.name).collect::<Vec<_>>(),
        "intended_use": model.manifest.intended_use,
        "waiting": app.inference.waiting(model),
        "largest_golden_difference": model.difference,
        "proven_in_ms": model.proven_in.as_millis() as u64,
    })
}
