//! `POST /v1/models/{model}/heatmap`, also of one of its versions, and `GET /v1/studies/{study}/instances/{instance}/heatmap`: a
//! radiograph, sent or stored, with the evidence for one finding over it, as a PNG. `osteon-explanation` says where the evidence comes from.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::inference::{Call, Heatmap, ImageBytes, Priority, ScoreRequest, ServedModel};
use crate::intake::Intake;
use crate::store::Store;

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
    let asked = Instant::now();
    let overrides = overrides(query.overridden.as_deref())?;
    let model = model(&app, query.model.as_deref(), query.version)?;
    model.position(query.finding.as_deref())?;
    let mut call = Call {
        client: caller.0,
        deadline: query.deadline_ms.map(Duration::from_millis),
        ..Call::default()
    };
    // before a byte of it is read: a hundred requests for large images would fill the memory
    let room = app.outgoing.room.of(&call.client).within(call.deadline);
    let image = ImageBytes::Dicom(object(&app.store, &room, &study, &instance).await?);
    call.deadline = call.deadline.map(|all| all.saturating_sub(asked.elapsed()));
    let request = ScoreRequest {
        model,
        image,
        overrides,
        call,
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

/// The bytes of a stored instance, which hold their room until the last that looks at them is done.
async fn object(store: &Store, room: &Intake, study: &str, instance: &str) -> Result<Bytes, Fault> {
    let uid =
        |code| move |error: crate::dicom::InvalidUid| Fault::new(FaultKind::Invalid, code, error.to_string());
    let study = StudyUid::parse(study).map_err(uid("study-uid"))?;
    let instance = InstanceUid::parse(instance).map_err(uid("instance-uid"))?;
    let rows = store.instances(&study).await?;
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
    let size = usize::try_from(row.instance.bytes).unwrap_or(usize::MAX);
    let room = room.whole(size, Priority::Routine).await?;
    Ok(room.hold(store.object(&row.instance.object).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreSettings;
    use crate::workflow::fixture::{Act, Rehearsed, dicom};
    use crate::workflow::{Submission, WorkflowSettings};

    #[tokio::test]
    async fn an_image_is_read_when_there_is_room_and_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreSettings::in_folder(folder.path()))
            .await
            .unwrap();
        let workflow = Rehearsed::new(&[Act::Score]).workflow(&store, WorkflowSettings::default());
        let file = dicom("1.2", "1.2.1", "large");
        let submission = Submission::read(file.clone()).await.unwrap();
        workflow.accept(&submission).await.unwrap();

        let intake = Intake::new(1 << 20, Duration::from_millis(10));
        let all = intake.left();
        let mut others = Vec::new();
        while let Ok(room) = intake.whole(64 << 10, Priority::Routine).await {
            others.push(room);
        }
        let full = object(&store, &intake, "1.2", "1.2.1").await.unwrap_err();
        assert_eq!(full.code, "overloaded");
        drop(others);
        let read = object(&store, &intake, "1.2", "1.2.1").await.unwrap();
        assert_eq!(read, file);
        assert!(intake.left() < all);
        drop(read);
        assert_eq!(intake.left(), all);

        let unknown = object(&store, &intake, "1.2", "1.9").await.unwrap_err();
        assert_eq!(unknown.code, "unknown-instance");
    }
}
