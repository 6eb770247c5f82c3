//! `POST /v1/studies`: one DICOM file is kept, and its study scored, for hospital systems that do not speak DICOMweb.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::caller::Caller;
use super::error::HttpError;
use super::studies::StudyBody;
use super::{App, body};
use crate::fault::{Fault, FaultKind};
use crate::inference::Priority;
use crate::workflow::Submission;

/// Answers when the file is durable, with the study that it belongs to and, in Location, where its result will be.
pub(super) async fn arrive(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let intake = app.intake.of(&caller.0);
    let bytes = body::read(&headers, body, app.limits.body_bytes, &intake, Priority::Routine).await?;
    let submission = Submission::read(bytes).await?;
    app.workflow.accept(&submission).await?;
    let study = submission.study();
    let row = app.store.study(study).await.map_err(Fault::from)?;
    // it was committed a moment ago
    let row = row.ok_or_else(|| Fault::new(FaultKind::Internal, "unknown-study", "the study is gone"))?;
    let place = format!(
        "{}/v1/studies/{study}",
        app.public_url.as_deref().unwrap_or_default()
    );
    let location = [(header::LOCATION, place)];
    Ok((StatusCode::ACCEPTED, location, Json(StudyBody::from(row))).into_response())
}
