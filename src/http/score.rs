//! `POST /v1/models/{model}/score` and `.../heatmap`: one image in, its outcome or its picture out.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::caller::Caller;
use super::error::HttpError;
use super::{App, body, error};
use crate::fault::{Fault, FaultKind};
use crate::finding::InstanceResult;
use crate::inference::{Call, Priority, ScoreRequest};

/// What the query may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// `intended-use`: score outside the intended use, for research.
    #[serde(rename = "override")]
    overridden: Option<String>,
    /// For the heat map: which finding.
    finding: Option<String>,
    /// How urgent it is.
    priority: Option<Urgency>,
    /// How long the caller waits.
    deadline_ms: Option<u64>,
}

/// [`Priority`] as the query names it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Urgency {
    Stat,
    Routine,
}

impl From<Urgency> for Priority {
    fn from(urgency: Urgency) -> Self {
        match urgency {
            Urgency::Stat => Self::Stat,
            Urgency::Routine => Self::Routine,
        }
    }
}

/// `POST /v1/models/{model}/score`.
pub(super) async fn score(
    State(app): State<App>,
    Path(model): Path<String>,
    query: Result<Query<Options>, axum::extract::rejection::QueryRejection>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let query = query.map(|Query(options)| options);
    let request = match request(&app, model, query, caller, &headers, body).await {
        Ok((request, _)) => request,
        Err(fault) => return error::result(InstanceResult::unscored(&fault, None), Some(fault.kind)),
    };
    let (result, fault) = app.inference.score(request).await;
    error::result(result, fault)
}

/// `POST /v1/models/{model}/heatmap?finding=NAME`: a PNG.
pub(super) async fn heatmap(
    State(app): State<App>,
    Path(model): Path<String>,
    query: Result<Query<Options>, axum::extract::rejection::QueryRejection>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let query = query.map(|Query(options)| options);
    let (request, finding) = request(&app, model, query, caller, &headers, body).await?;
    let png = app.inference.heatmap(request, finding.as_deref()).await?;
    Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response())
}

async fn request<E>(
    app: &App,
    model: String,
    query: Result<Options, E>,
    caller: Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ScoreRequest, Option<String>), Fault> {
    let query = query.map_err(|_| {
        Fault::new(
            FaultKind::Invalid,
            "query",
            "the query takes override=intended-use, priority=stat or routine, deadline_ms=MILLISECONDS and, for a heat map, finding=NAME",
        )
    })?;
    let override_intended_use = match query.overridden.as_deref() {
        None => false,
        Some("intended-use") => true,
        Some(_) => {
            return Err(Fault::new(
                FaultKind::Invalid,
                "query",
                "override takes the one value intended-use",
            ));
        }
    };
    let call = Call {
        priority: query.priority.map_or(Priority::Routine, Priority::from),
        client: caller.0,
        deadline: query.deadline_ms.map(Duration::from_millis),
    };
    let body = body::read(headers, body, app.limits.body_bytes, &app.intake, call.priority).await?;
    let image = body::image(headers, body).await?;
    Ok((
        ScoreRequest {
            model,
            version: None,
            call,
            image,
            override_intended_use,
        },
        query.finding,
    ))
}
