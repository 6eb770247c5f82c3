//! UPS-RS (PS3.18 chapter 11): workitems are created, found, followed, changed and canceled.
//!
//! Handlers read the request, hand it to the workflow, and answer with what the standard has for what that says. Data sets are in DICOM
//! JSON.

mod answer;
mod notify;
mod subscribe;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, FromRef, Path, Query as Parameters, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::service::base;
use crate::dicom::{InstanceUid, uid};
use crate::fault::{Fault, FaultKind};
use crate::http::Intake;
use crate::http::body;
use crate::http::error::HttpError;
use crate::inference::Priority;
use crate::store::{MOST_FOUND, Store};
use crate::workflow::{Created, Workflow};
use crate::workitem::{Attributes, Changed, Query, Refusal, Workitem};
use answer::{changed, data_sets, refused, takes_json, warned};

/// The most bytes of a workitem.
const LARGEST: usize = 1 << 20;
/// How many subscribers may be connected.
const CONNECTIONS: usize = 256;

/// How the service is reached, and what it shares with others.
#[derive(Clone)]
pub struct WorklistSettings {
    /// The URL of the DICOMweb service as clients see it; without it the request's Host is used.
    pub public_url: Option<String>,
    /// Room for bodies.
    pub intake: Intake,
    /// Room for what is found.
    pub outgoing: Intake,
    /// Cancelled when the server is asked to stop: connections to subscribers end.
    pub stopping: CancellationToken,
}

/// What the handlers have of it.
struct Worklist {
    settings: WorklistSettings,
    connections: Arc<Semaphore>,
}

type Shared = Extension<Arc<Worklist>>;

/// The parameters of a query, in order; one without `=` is a name without a value.
type Named = Vec<(String, String)>;

impl Worklist {
    fn base(&self, headers: &HeaderMap) -> String {
        base(self.settings.public_url.as_deref(), headers)
    }

    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<Attributes, Fault> {
        Attributes::read(&self.bytes(headers, body).await?)
    }

    /// The same where the standard lets the body be empty.
    async fn optional_body(&self, headers: &HeaderMap, body: Body) -> Result<Attributes, Fault> {
        let bytes = self.bytes(headers, body).await?;
        if bytes.is_empty() {
            return Ok(Attributes::default());
        }
        Attributes::read(&bytes)
    }

    async fn bytes(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
        takes_json(headers, header::CONTENT_TYPE)?;
        body::read(headers, body, LARGEST, &self.settings.intake, Priority::Routine).await
    }
}

/// The routes of this service.
pub fn routes<S>(settings: WorklistSettings) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Store: FromRef<S>,
    Workflow: FromRef<S>,
{
    let worklist = Arc::new(Worklist {
        settings,
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
    });
    let subscriber = "/dicom-web/workitems/{workitem}/subscribers/{ae_title}";
    Router::new()
        .route("/dicom-web/workitems", get(search).post(create))
        .route("/dicom-web/workitems/{workitem}", get(retrieve).post(update))
        .route("/dicom-web/workitems/{workitem}/state", put(change_state))
        .route(
            "/dicom-web/workitems/{workitem}/cancelrequest",
            post(request_cancel),
        )
        .route(
            subscriber,
            post(subscribe::subscribe).delete(subscribe::unsubscribe),
        )
        .route(&format!("{subscriber}/suspend"), post(subscribe::suspend))
        .route("/ws/subscribers/{ae_title}", get(notify::open))
        .layer(Extension(worklist))
}

/// `POST /workitems?UID` (section 11.4).
async fn create(
    State(workflow): State<Workflow>,
    Extension(worklist): Shared,
    Parameters(parameters): Parameters<Named>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let base = worklist.base(&headers);
    let attributes = worklist.body(&headers, body).await?;
    let stated = named_uid(&parameters, &["workitem", "AffectedSOPInstanceUID"])?;
    let own = attributes
        .text("00080018")
        .or(attributes.text("00001000"))
        .map(str::to_owned);
    let uid = stated.or(own).unwrap_or_else(new_uid);
    let uid = parse(&uid)?;
    match workflow.schedule(uid.clone(), attributes).await? {
        Created::Exists => Ok(refused(
            StatusCode::CONFLICT,
            &base,
            "exists",
            "There is a workitem of this UID already.",
        )),
        Created::Made { modified, elsewhere } => {
            let place = format!("{base}/workitems/{uid}");
            let mut answer = (StatusCode::CREATED, [(header::LOCATION, place)]).into_response();
            if modified {
                warned(&mut answer, &base, "The UPS was created with modifications.");
            }
            if elsewhere {
                warned(
                    &mut answer,
                    &base,
                    "The place of the input is no peer of this server and is not opened: send the input.",
                );
            }
            Ok(answer)
        }
    }
}

/// `GET /workitems/{workitem}` (section 11.5).
async fn retrieve(
    State(store): State<Store>,
    Extension(worklist): Shared,
    Path(workitem): Path<String>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    if let Some(answer) = answer::not_acceptable(&headers) {
        return Ok(answer);
    }
    let room = worklist
        .settings
        .outgoing
        .whole(LARGEST, Priority::Routine)
        .await?;
    let workitem = store.workitem(&parse(&workitem)?).await.map_err(Fault::from)?;
    let workitem = workitem.ok_or_else(unknown)?;
    let shown = workitem.shown(&worklist.base(&headers));
    Ok(data_sets(StatusCode::OK, [shown], room))
}

/// `POST /workitems/{workitem}?TRANSACTION` (section 11.6).
async fn update(
    State(workflow): State<Workflow>,
    Extension(worklist): Shared,
    Path(workitem): Path<String>,
    Parameters(parameters): Parameters<Named>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let changes = worklist.body(&headers, body).await?;
    let names = ["transaction-uid", "transaction", "TransactionUID"];
    let transaction = named_uid(&parameters, &names)?;
    let change =
        |workitem: &mut Workitem, _: bool, now: &str| workitem.update(changes, transaction.as_deref(), now);
    let ended = workflow.change_workitem(&parse(&workitem)?, change).await?;
    respond(ended, StatusCode::OK, &worklist.base(&headers))
}

/// `PUT /workitems/{workitem}/state` (section 11.7).
async fn change_state(
    State(workflow): State<Workflow>,
    Extension(worklist): Shared,
    Path(workitem): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let request = worklist.body(&headers, body).await?;
    let change = |workitem: &mut Workitem, _: bool, now: &str| workitem.change_state(&request, now);
    let ended = workflow.change_workitem(&parse(&workitem)?, change).await?;
    respond(ended, StatusCode::OK, &worklist.base(&headers))
}

/// `POST /workitems/{workitem}/cancelrequest` (section 11.8).
async fn request_cancel(
    State(workflow): State<Workflow>,
    Extension(worklist): Shared,
    Path(workitem): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let request = worklist.optional_body(&headers, body).await?;
    let change = |workitem: &mut Workitem, can_be_told: bool, now: &str| {
        workitem.request_cancel(&request, can_be_told, now)
    };
    let ended = workflow.change_workitem(&parse(&workitem)?, change).await?;
    respond(ended, StatusCode::ACCEPTED, &worklist.base(&headers))
}

/// `GET /workitems?...` (section 11.9).
async fn search(
    State(store): State<Store>,
    Extension(worklist): Shared,
    Parameters(parameters): Parameters<Named>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    if let Some(answer) = answer::not_acceptable(&headers) {
        return Ok(answer);
    }
    let base = worklist.base(&headers);
    let (query, page) = Query::parse(&parameters)?;
    let room = worklist.settings.outgoing.whole(MOST_FOUND, Priority::Routine);
    let room = room.await?;
    let (found, more) = store.find_workitems(&query, &page).await.map_err(Fault::from)?;
    if found.is_empty() && !more {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let status = if more {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    let service = base.clone();
    let shown = found.into_iter().map(move |workitem| workitem.shown(&service));
    let mut answer = data_sets(status, shown, room);
    if page.fuzzy {
        warned(
            &mut answer,
            &base,
            "The fuzzymatching parameter is not supported. Only literal matching has been performed.",
        );
    }
    Ok(answer)
}

/// The answer to a request that was to change a workitem.
fn respond(
    ended: Option<Result<Changed, Refusal>>,
    status: StatusCode,
    base: &str,
) -> Result<Response, HttpError> {
    match ended {
        None => Err(HttpError(unknown())),
        Some(Ok(done)) => Ok(changed(&done, status, base)),
        Some(Err(Refusal::Invalid(fault))) => Err(HttpError(fault)),
        Some(Err(refusal)) => Ok(answer::refusal(&refusal, base)),
    }
}

/// The UID in a query: that of a parameter of one of these names, or, as the standard writes it, the query itself.
fn named_uid(parameters: &Named, names: &[&str]) -> Result<Option<String>, Fault> {
    for (name, value) in parameters {
        if names.contains(&name.as_str()) {
            return Ok(Some(parse(value)?.to_string()));
        }
        if value.is_empty() && InstanceUid::parse(name).is_ok() {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

/// A UID that nobody has: from what the standard library draws for hash tables.
fn new_uid() -> String {
    let drawn = [(); 2].map(|()| RandomState::new().build_hasher().finish().to_string());
    uid::derived(&["osteon", "workitem", &drawn[0], &drawn[1]])
}

fn parse(workitem: &str) -> Result<InstanceUid, Fault> {
    InstanceUid::parse(workitem).map_err(|_| {
        let message = "the UID of a workitem is 1 to 64 digits and dots without an empty component";
        Fault::new(FaultKind::Invalid, "workitem-uid", message)
    })
}

fn unknown() -> Fault {
    Fault::new(
        FaultKind::NotFound,
        "unknown-workitem",
        "there is no workitem of this UID: GET /dicom-web/workitems lists those that there are",
    )
}

#[cfg(test)]
mod tests;
