//! `POST /v1/models/{model}/score` and `POST /v1/models/{model}/versions/{version}/score`: one image in, its outcome out.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::address::Address;
use super::caller::Caller;
use super::{App, body, error};
use crate::fault::{Fault, FaultKind};
use crate::finding::{InstanceResult, Overrides};
use crate::inference::{Call, Priority, ScoreRequest};

/// What the query may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Gates to set aside, for research: `intended-use`, `quality`, `distribution`, with commas between them.
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

/// `POST /v1/models/{model}/score`, by the newest version, and `POST /v1/models/{model}/versions/{version}/score`.
pub(super) async fn score(
    State(app): State<App>,
    address: Address,
    query: Result<Query<Options>, axum::extract::rejection::QueryRejection>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let query = query.map(|Query(options)| options);
    let request = match request(&app, address, query, caller, &headers, body).await {
        Ok((request, _)) => request,
        Err(fault) => return error::result(InstanceResult::unscored(&fault, None), Some(fault.kind)),
    };
    let (result, fault) = app.inference.score(request).await;
    error::result(result, fault)
}

/// The image in the body and what the query says of it, with the finding that a heat map is to show.
pub(super) async fn request<E>(
    app: &App,
    address: Address,
    query: Result<Options, E>,
    caller: Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ScoreRequest, Option<String>), Fault> {
    let (query, overrides) = match understood(query, &address) {
        Ok(understood) => understood,
        Err(fault) => {
            // whoever is refused while still sending does not hear why
            body::refuse(headers, body).await;
            return Err(fault);
        }
    };
    let asked = Instant::now();
    let mut call = Call {
        priority: query.priority.map_or(Priority::Routine, Priority::from),
        client: caller.0,
        deadline: query.deadline_ms.map(Duration::from_millis),
    };
    let intake = app.intake.of(&call.client).within(call.deadline);
    let body = body::read(headers, body, app.limits.body_bytes, &intake, call.priority).await?;
    call.deadline = call.deadline.map(|all| all.saturating_sub(asked.elapsed()));
    let image = body::image(headers, body)?;
    // last of all: what was published while the body came answers
    let model = address.find(app)?;
    Ok((
        ScoreRequest {
            model,
            image,
            overrides,
            call,
        },
        query.finding,
    ))
}

/// All that is said beside the body.
fn understood<E>(query: Result<Options, E>, address: &Address) -> Result<(Options, Overrides), Fault> {
    let query = query.map_err(|_| {
        invalid(
            "the query takes override=GATE (intended-use, quality, distribution or several of them with commas), priority=stat or routine, deadline_ms=MILLISECONDS and, for a heat map, finding=NAME",
        )
    })?;
    let overrides = overrides(query.overridden.as_deref())?;
    address.version()?;
    Ok((query, overrides))
}

/// The gates that a query sets aside.
///
/// # Errors
/// `query`, with the names that there are.
pub(super) fn overrides(list: Option<&str>) -> Result<Overrides, Fault> {
    list.map_or(Ok(Overrides::default()), str::parse).map_err(invalid)
}

/// A query that cannot be understood.
pub(super) fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Invalid, "query", message)
}
