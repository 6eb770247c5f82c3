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
pub(super) struct StudyBody {
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
pub(super) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Store: FromRef<S>,
{
    Router::new()
        .route("/v1/studies", get(newest))
        .route("/v1/studies/{study}", get(one))
}

async fn newest(State(store): State<Store>) -> Result<Json<Vec<StudyBody>>, HttpError> {
    let rows = store
        .studies(NEWEST)
        .await
        .map_err(|error| HttpError(error.into()))?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::StatusCode;
    use serde_json::Value;
    use tokio_util::sync::CancellationToken;

    use crate::http::dicomweb::fixture::{TestServer, code};
    use crate::workflow::fixture::dicom;

    #[tokio::test]
    async fn a_study_is_shown_from_its_arrival_to_its_outcome() {
        let server = TestServer::new().await;
        let sent = dicom("1.2", "1.2.1", "a");
        server.post("/dicom-web/studies", "application/dicom", sent).await;
        let (status, body) = server.get("/v1/studies/1.2").await;
        assert_eq!((status, &body["state"]), (StatusCode::OK, &"received".into()));
        assert_eq!((&body["instances"], &body["result"]), (&1.into(), &Value::Null));
        assert!(body["received_at"].as_str().unwrap().ends_with('Z'));

        let stop = CancellationToken::new();
        let worker = tokio::spawn(server.doors.workflow.clone().run(stop.clone()));
        let mut state = Value::Null;
        for _ in 0..200 {
            let (_, list) = server.get("/v1/studies").await;
            state = list[0]["state"].clone();
            if state == "scored" {
                assert_eq!(list[0]["result"]["instances"][0]["sop_instance_uid"], "1.2.1");
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(state, "scored");
        stop.cancel();
        worker.await.unwrap();
    }

    #[tokio::test]
    async fn unknown_and_malformed_studies_say_so() {
        let server = TestServer::new().await;
        let (status, body) = server.get("/v1/studies/1.2.3").await;
        assert_eq!((status, code(&body)), (StatusCode::NOT_FOUND, "unknown-study"));
        for path in ["/v1/studies/abc", "/v1/studies/..%2f1", "/v1/studies/1..2"] {
            let (status, body) = server.get(path).await;
            let refused = (StatusCode::BAD_REQUEST, "study-uid");
            assert_eq!((status, code(&body)), refused, "{path}");
        }
        let none = (StatusCode::OK, Value::Array(vec![]));
        assert_eq!(server.get("/v1/studies").await, none);
    }
}
