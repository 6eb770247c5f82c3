//! Triton's statistics extension: what each served version did since it was loaded.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

use super::At;
use super::error::ProtocolError;
use crate::http::App;
use crate::inference::{ServedModel, Spent, Statistics};

/// `GET /v2/models/stats`: of every version that is served.
pub(super) async fn of_all(State(app): State<App>) -> Json<Value> {
    let models = app.inference.catalog().all();
    answer(models.iter().map(AsRef::as_ref))
}

/// `GET /v2/models/{model}/stats`: of the version that the path names, or of all that are served.
pub(super) async fn of_model(State(app): State<App>, At(address): At) -> Result<Json<Value>, ProtocolError> {
    let models = address.find_all(&app)?;
    Ok(answer(models.iter().map(AsRef::as_ref)))
}

fn answer<'a>(models: impl Iterator<Item = &'a ServedModel>) -> Json<Value> {
    let described = models.map(|model| {
        let mut described = describe(&model.statistics());
        described["name"] = json!(model.manifest.name);
        described["version"] = json!(model.manifest.version.to_string());
        described
    });
    Json(json!({ "model_stats": described.collect::<Vec<_>>() }))
}

fn describe(statistics: &Statistics) -> Value {
    let last = statistics
        .last
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .unwrap_or_default();
    // there is no cache, but clients expect its figures
    let cache = spent(Spent::default());
    let batches = statistics.batches.iter().map(|(size, batches)| {
        let count = batches.infer.count;
        json!({
            "batch_size": size,
            "compute_input": duration(count, batches.input),
            "compute_infer": spent(batches.infer),
            "compute_output": duration(count, batches.output),
        })
    });
    json!({
        "last_inference": last.as_millis() as u64,
        "inference_count": statistics.inferences(),
        "execution_count": statistics.executions(),
        "inference_stats": {
            "success": spent(statistics.success),
            "fail": spent(statistics.fail),
            "queue": spent(statistics.queue),
            "compute_input": spent(statistics.input),
            "compute_infer": spent(statistics.infer),
            "compute_output": spent(statistics.output),
            "cache_hit": cache,
            "cache_miss": cache,
        },
        "batch_stats": batches.collect::<Vec<_>>(),
    })
}

fn spent(spent: Spent) -> Value {
    duration(spent.count, spent.time)
}

fn duration(count: u64, time: Duration) -> Value {
    json!({ "count": count, "ns": time.as_nanos() as u64 })
}
