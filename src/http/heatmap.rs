//! `POST /v1/models/{model}/heatmap`, also of one of its versions, and `GET /v1/studies/{study}/instances/{instance}/heatmap`: a
//! radiograph, sent or stored, with the evidence for one finding over it, as a PNG. `osteon-explanation` says where the evidence comes from.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;

use super::App;
use super::address::Address;
use super::caller::Caller;
use super::error::HttpError;
use super::score::{self, invalid, overrides};
use crate::dicom::{InstanceUid, StudyUid};
use crate::fault::{Fault, FaultKind};
use crate::inference::{Call, Heatmap, ImageBytes, ScoreRequest, ServedModel};

/// `activation-map` or `occlusion`.
const EXPLANATION: HeaderName = HeaderName::from_static("osteon-explanation");

/// What the query for a stored image may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    #[serde(rename = "override")]
    overridden: Option<String>,
    finding: Option<String>,
    model: Option<String>,
    version: Option<u32>,
    deadline_ms: Option<u64>,
}

/// `POST /v1/models/{model}/heatmap?finding=NAME`, and with `/versions/{version}` after the model: of the image in the body.
pub(super) async fn sent(
    State(app): State<App>,
    address: Address,
    query: Result<Query<score::Options>, QueryRejection>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let query = query.map(|Query(options)| options);
    let (request, finding) = score::request(&app, address, query, caller, &headers, body).await?;
    Ok(picture(app.inference.heatmap(request, finding.as_deref()).await?))
}

/// `GET /v1/studies/{study}/instances/{instance}/heatmap?finding=NAME&model=NAME&version=NUMBER`: of a stored image, by the model that
/// scores stored studies where none is named, and the newest version of it that is served.
pub(super) async fn stored(
    State(app): State<App>,
    Path((study, instance)): Path<(String, String)>,
    query: Result<Query<Options>, QueryRejection>,
    caller: Caller,
) -> Result<Response, HttpError> {
    let Query(query) = query.map_err(|_| {
        invalid("the query takes finding=NAME, model=NAME, version=NUMBER, override=GATE and deadline_ms=MILLISECONDS")
    })?;
    let overrides = overrides(query.overridden.as_deref())?;
    let image = ImageBytes::Dicom(object(&app, &study, &instance).await?);
    let model = model(&app, query.model.as_deref(), query.version)?;
    let request = ScoreRequest {
        model,
        call: Call {
            client: caller.0,
            deadline: query.deadline_ms.map(Duration::from_millis),
            ..Call::default()
        },
        image,
        overrides,
    };
    let heatmap = app.inference.heatmap(request, query.finding.as_deref()).await?;
    Ok(picture(heatmap))
}

/// The model that is named, or the one that scores stored studies; the newest version of it that is served where none is named.
fn model(app: &App, name: Option<&str>, version: Option<u32>) -> Result<Arc<ServedModel>, Fault> {
    let catalog = app.inference.catalog();
    match (name, version) {
        (Some(name), version) => catalog.find(name, version),
        (None, None) => app.inference.study_model(),
        (None, version) => catalog.find(&app.inference.study_model()?.manifest.name, version),
    }
}

fn picture(heatmap: Heatmap) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (EXPLANATION, heatmap.explanation.name()),
    ];
    (headers, heatmap.png).into_response()
}

/// The bytes of a stored instance.
async fn object(app: &App, study: &str, instance: &str) -> Result<Bytes, Fault> {
    let uid =
        |code| move |error: crate::dicom::InvalidUid| Fault::new(FaultKind::Invalid, code, error.to_string());
    let study = StudyUid::parse(study).map_err(uid("study-uid"))?;
    let instance = InstanceUid::parse(instance).map_err(uid("instance-uid"))?;
    let rows = app.store.instances(&study).await?;
    let missing = |code, what| {
        let message = format!("no {what} has been received: send it with POST /dicom-web/studies");
        Fault::new(FaultKind::NotFound, code, message)
    };
    if rows.is_empty() {
        return Err(missing("unknown-study", "instance of this study"));
    }
    let row = rows
        .into_iter()
        .find(|row| row.instance.uid == instance)
        .ok_or_else(|| missing("unknown-instance", "such instance of this study"))?;
    Ok(app.store.object(&row.instance.object).await?)
}
