//! `GET /v1/studies`, `GET /v1/studies/{study}`, its timeline and its result in FHIR, and `POST /v1/studies/{study}/score`: where a
//! study stands, what came of it, how, and the wish to have it now, fetched from a peer if it must be.

use axum::body::Bytes;
use axum::extract::{FromRef, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::dicom::{InstanceUid, SeriesUid, StudyUid};
use crate::fault::{Fault, FaultKind};
use crate::finding::StudyResult;
use crate::http::App;
use crate::http::error::HttpError;
use crate::store::{
    Completeness, DeliveryRow, Event, InstanceRow, ResultKey, Store, StudyRow, StudyState, Timestamp,
};
use crate::workflow::{self, Workflow, account};

/// How many studies the list has.
const NEWEST: u32 = 100;
/// More instances than any study has.
const MOST_EXPECTED: i64 = 1_000_000;

/// A study, as REST shows it.
#[derive(Debug, Serialize)]
pub(super) struct StudyBody {
    study_instance_uid: StudyUid,
    state: StudyState,
    received_at: Timestamp,
    analysed_at: Option<Timestamp>,
    generation: i64,
    instances: i64,
    completeness: Option<Completeness>,
    result: Option<StudyResult>,
    result_key: Option<ResultKey>,
    supersedes: Option<ResultKey>,
    /// What was made of the result; empty until it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<Vec<ObjectBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<DeliveryRow>>,
}

/// An object that was made of a result: an instance of the study.
#[derive(Debug, Serialize)]
struct ObjectBody {
    #[serde(rename = "series_instance_uid")]
    series: SeriesUid,
    #[serde(rename = "sop_instance_uid")]
    instance: InstanceUid,
    #[serde(rename = "sop_class_uid")]
    class: String,
}

impl From<InstanceRow> for ObjectBody {
    fn from(row: InstanceRow) -> Self {
        Self {
            series: row.instance.series,
            instance: row.instance.uid,
            class: row.instance.class,
        }
    }
}

impl From<StudyRow> for StudyBody {
    fn from(row: StudyRow) -> Self {
        Self {
            study_instance_uid: row.study,
            state: row.state,
            received_at: row.received_at,
            analysed_at: row.analysed_at,
            generation: row.generation,
            instances: row.instances,
            completeness: row.completeness,
            result: row.result,
            result_key: row.result_key,
            supersedes: row.supersedes,
            objects: None,
            deliveries: None,
        }
    }
}

/// What happened to a study.
#[derive(Debug, Serialize)]
pub(super) struct TimelineBody {
    study_instance_uid: StudyUid,
    state: StudyState,
    /// In a sentence: why there is a score, or why there is none.
    account: String,
    events: Vec<Event>,
}

/// What may be said with an order.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// How many instances the study has: it is analysed when they are there.
    expected_instances: Option<i64>,
    /// The name of a peer that the study is fetched from before.
    peer: Option<String>,
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
    Workflow: FromRef<S>,
{
    Router::new()
        .route("/v1/studies", get(newest))
        .route("/v1/studies/{study}", get(one))
        .route("/v1/studies/{study}/timeline", get(timeline))
        .route("/v1/studies/{study}/fhir", get(fhir))
        .route("/v1/studies/{study}/score", post(order))
}

async fn newest(State(store): State<Store>) -> Result<Json<Vec<StudyBody>>, HttpError> {
    let rows = store.studies(NEWEST).await.map_err(Fault::from)?;
    Ok(Json(rows.into_iter().map(StudyBody::from).collect()))
}

async fn one(State(store): State<Store>, Path(study): Path<String>) -> Result<Json<StudyBody>, HttpError> {
    let (uid, row) = known(&store, &study).await?;
    let objects = match &row.result_key {
        Some(key) => store.made_for(&uid, key).await.map_err(Fault::from)?,
        None => Vec::new(),
    };
    let mut body = StudyBody::from(row);
    body.objects = Some(objects.into_iter().map(ObjectBody::from).collect());
    body.deliveries = Some(store.deliveries(&uid).await.map_err(Fault::from)?);
    Ok(Json(body))
}

async fn timeline(
    State(store): State<Store>,
    Path(study): Path<String>,
) -> Result<Json<TimelineBody>, HttpError> {
    let (uid, row) = known(&store, &study).await?;
    let events = store.events(&uid).await.map_err(Fault::from)?;
    let now = store.now().await.map_err(Fault::from)?;
    Ok(Json(TimelineBody {
        study_instance_uid: uid,
        state: row.state,
        account: account(&row, &events, now),
        events,
    }))
}

/// The study's result as a Bundle of FHIR R4.
async fn fhir(State(store): State<Store>, Path(study): Path<String>) -> Result<Response, HttpError> {
    let (_, row) = known(&store, &study).await?;
    let result = match &row.result_key {
        Some(key) => store.result(key).await.map_err(Fault::from)?,
        None => None,
    };
    let result = result.ok_or_else(|| {
        let message = "the study has no result yet: GET /v1/studies/{study} says where it stands";
        Fault::new(FaultKind::NotFound, "no-result", message)
    })?;
    let bundle = workflow::fhir(&store, &result).await?;
    let media_type = [(header::CONTENT_TYPE, "application/fhir+json")];
    Ok((media_type, bundle.to_string()).into_response())
}

/// Asks for the result of a study: now, when as many instances are there as it has, or when it was fetched from a peer.
async fn order(
    State(store): State<Store>,
    State(workflow): State<Workflow>,
    Path(study): Path<String>,
    body: Bytes,
) -> Result<impl IntoResponse, HttpError> {
    let order = if body.is_empty() {
        Order::default()
    } else {
        serde_json::from_slice(&body).map_err(|_| unreadable_order())?
    };
    if order
        .expected_instances
        .is_some_and(|count| !(1..=MOST_EXPECTED).contains(&count))
    {
        return Err(HttpError(unreadable_order()));
    }
    let uid = parse(&study)?;
    match (order.peer, order.expected_instances) {
        (Some(peer), None) => workflow.order_from(&uid, &peer).await?,
        // the peer says how many there are
        (Some(_), Some(_)) => return Err(HttpError(unreadable_order())),
        (None, expected) => {
            if !workflow.order(&uid, expected).await? {
                return Err(HttpError(unknown()));
            }
        }
    }
    let (_, row) = known(&store, &study).await?;
    let place = [(header::LOCATION, format!("/v1/studies/{uid}"))];
    Ok((StatusCode::ACCEPTED, place, Json(StudyBody::from(row))))
}

fn unreadable_order() -> Fault {
    let message = "the body must be empty, {\"expected_instances\": N} with N from 1 to 1000000, or {\"peer\": \"NAME\"}";
    Fault::new(FaultKind::Invalid, "order", message)
}

fn parse(study: &str) -> Result<StudyUid, Fault> {
    StudyUid::parse(study).map_err(|error| Fault::new(FaultKind::Invalid, "study-uid", error.to_string()))
}

fn unknown() -> Fault {
    let message = "no instance of this study has been received: send it with POST /dicom-web/studies";
    Fault::new(FaultKind::NotFound, "unknown-study", message)
}

async fn known(store: &Store, study: &str) -> Result<(StudyUid, StudyRow), Fault> {
    let uid = parse(study)?;
    let row = store.study(&uid).await?.ok_or_else(unknown)?;
    Ok((uid, row))
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

    #[tokio::test]
    async fn an_order_names_a_peer_of_the_configuration_or_none() {
        let server = TestServer::new().await;
        let order = |body: &'static str| server.post("/v1/studies/1.2/score", "application/json", body);
        for (body, refused) in [
            (r#"{"peer": "pacs"}"#, "unknown-peer"),
            (r#"{"peer": "http://127.0.0.1/dicom-web"}"#, "unknown-peer"),
            (r#"{"peer": "pacs", "expected_instances": 2}"#, "order"),
            (r#"{"peer": 7}"#, "order"),
            (r#"{"url": "http://127.0.0.1/dicom-web"}"#, "order"),
        ] {
            let (status, answer) = order(body).await;
            assert_eq!(
                (status, code(&answer)),
                (StatusCode::BAD_REQUEST, refused),
                "{body}"
            );
        }
        assert_eq!(order("").await.0, StatusCode::NOT_FOUND);
        let none = (StatusCode::OK, Value::Array(vec![]));
        assert_eq!(server.get("/v1/studies").await, none);
    }
}
