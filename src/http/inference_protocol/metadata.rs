//! What there is: the server, its models, their inputs and outputs.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::ProtocolError;
use super::outputs::{self, DICOM, Source};
use super::{At, MOST_IMAGES};
use crate::fault::{Fault, FaultKind};
use crate::http::App;
use crate::inference::ServedModel;

/// `GET /v2`.
pub(super) async fn server() -> Json<Value> {
    Json(json!({
        "name": "osteon",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "model_configuration", "model_repository", "parameters", "schedule_policy", "statistics"],
    }))
}

/// `GET /v2/health/live`: what `/health/live` says.
pub(super) async fn live(State(app): State<App>) -> Result<Json<Value>, ProtocolError> {
    match app.lost() {
        None => Ok(Json(json!({ "live": true }))),
        Some(reason) => Err(Fault::new(FaultKind::Unavailable, "device-failed", reason).into()),
    }
}

/// `GET /v2/health/ready`: what `/health/ready` says.
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, ProtocolError> {
    match app.not_ready() {
        None => Ok(Json(json!({ "ready": true }))),
        Some(reason) => Err(Fault::new(FaultKind::Unavailable, "not-ready", reason).into()),
    }
}

/// `GET /v2/models/{model}/ready`: it proved itself, is served, and has a device that answers.
pub(super) async fn model_ready(
    State(app): State<App>,
    At(address): At,
) -> Result<Json<Value>, ProtocolError> {
    let model = address.find(&app)?;
    if model.is_silent() {
        let message = format!(
            "no device runs {} any more: the server's log has the cause",
            model.place()
        );
        return Err(Fault::new(FaultKind::Unavailable, "device-failed", message).into());
    }
    Ok(Json(json!({ "name": model.manifest.name, "ready": true })))
}

/// `GET /v2/models/{model}`.
pub(super) async fn model(State(app): State<App>, At(address): At) -> Result<Json<Value>, ProtocolError> {
    let model = address.find(&app)?;
    let contract = &model.manifest.preprocessing;
    let [a, b, c] = contract.input_shape();
    let outputs: Vec<Value> = outputs::of(&model)
        .iter()
        .map(|output| {
            let shape: Vec<i64> = std::iter::once(-1)
                .chain(output.shape().iter().copied())
                .collect();
            let mut described = json!({ "name": output.name, "datatype": "FP32", "shape": shape });
            if let Some(meaning) = meaning(&model, output.source) {
                described["parameters"] = meaning;
            }
            described
        })
        .collect();
    Ok(Json(json!({
        "name": model.manifest.name,
        "versions": versions(&app, &model),
        "platform": PLATFORM,
        "inputs": [
            { "name": contract.tensor, "datatype": "FP32", "shape": [-1_i64, a as i64, b as i64, c as i64] },
            { "name": DICOM, "datatype": "BYTES", "shape": [-1, 1] },
        ],
        "outputs": outputs,
    })))
}

/// `GET /v2/models/{model}/config`: the part of Triton's configuration that its clients read.
pub(super) async fn config(State(app): State<App>, At(address): At) -> Result<Json<Value>, ProtocolError> {
    let model = address.find(&app)?;
    let contract = &model.manifest.preprocessing;
    let outputs: Vec<Value> = outputs::of(&model)
        .iter()
        .map(|output| json!({ "name": output.name, "data_type": "TYPE_FP32", "dims": output.shape() }))
        .collect();
    // of the two inputs a request brings one
    Ok(Json(json!({
        "name": model.manifest.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": MOST_IMAGES.min(app.inference.most_of_a_client()),
        "input": [
            { "name": contract.tensor, "data_type": "TYPE_FP32", "dims": contract.input_shape(), "optional": true },
            { "name": DICOM, "data_type": "TYPE_STRING", "dims": [1], "optional": true },
        ],
        "output": outputs,
    })))
}

/// How Triton calls ONNX Runtime.
const PLATFORM: &str = "onnxruntime_onnx";

/// What the numbers of an output stand for.
fn meaning(model: &ServedModel, source: Source) -> Option<Value> {
    let (Source::Head(index) | Source::Maps(index)) = source else {
        return None;
    };
    let head = model.manifest.heads.get(index)?;
    let labels: Vec<&str> = head.labels.iter().map(|label| label.name.as_str()).collect();
    Some(json!({ "task": head.task, "labels": labels }))
}

fn versions(app: &App, model: &ServedModel) -> Vec<String> {
    let served = app.inference.catalog().versions(&model.manifest.name);
    served
        .iter()
        .map(|version| version.manifest.version.to_string())
        .collect()
}
