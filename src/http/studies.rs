//! `GET /v1/studies` and `GET /v1/studies/{study}`: where a study stands, and what came of it.

use axum::extract::{FromRef, Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::dicom::StudyUid;
use crate::fault::{Fault, FaultKind};
use crate::finding::StudyResult;
use crate::http::App;
use crate::http::error::HttpError;
use crate::store::{Store, StudyRow, StudyState, Timestamp};

/// How many studies the list has.
const NEWEST: u32 = 100;

/// A study, as REST shows it.
#[derive(Debug, Serialize)]
pub struct StudyBody {
    study_instance_uid: StudyUid,
    state: StudyState,
    received_at: Timestamp,
    analysed_at: Option<Timestamp>,
    instances: i64,
    result: Option<StudyResult>,
}

impl From<StudyRow> for StudyBody {
    fn from(row: StudyRow) -> Self {
        Self {
            study_instance_uid: row.study,
            state: row.state,
            received_at: row.received_at,
            analysed_at: row.analysed_at,
            instances: row.instances,
            result: row.result,
        }
    }
}

impl FromRef<App> for Store {
    fn from_ref(app: &App) -> Self {
        app.store.clone()
    }
}

/// The routes of this service.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Store: FromRef<S>,
{
    Router::new()
        .route("/v1/studies", get(newest))
        .route("/v1/studies/{study}", get(one))
}

async fn newest(State(store): State<Store>) -> Result<Json<Vec<StudyBody>>, HttpError> {
    let rows = store.studies(NEWEST).await.map_err(|error| HttpError(error.into()))?;
    Ok(Json(rows.into_iter().map(StudyBody::from).collect()))
}

async fn one(State(store): State<Store>, Path(study): Path<String>) -> Result<Json<StudyBody>, HttpError> {
    let uid = StudyUid::parse(&study)
        .map_err(|error| HttpError(Fault::new(FaultKind::Invalid, "study-uid", error.to_string())))?;
    let row = store.study(&uid).await.map_err(|error| HttpError(error.into()))?;
    let row = row.ok_or_else(|| {
        let message = "no instance of this study has been received: send it with POST /dicom-web/studies";
        HttpError(Fault::new(FaultKind::NotFound, "unknown-study", message))
    })?;
    Ok(Json(row.into()))
}
