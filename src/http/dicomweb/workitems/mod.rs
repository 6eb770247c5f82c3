//! UPS-RS (PS3.18 chapter 11): workitems are created, found, followed, changed and canceled.
//!
//! Handlers read the request, hand it to the workflow, and answer with what the standard has for what that says.

mod answer;
mod body;
mod notify;
mod subscribe;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, FromRef, FromRequestParts, Path, Query as Parameters, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::accept::Accept;
use super::form::Form;
use super::qido::wanted;
use super::service::{LITERAL_ONLY, base};
use crate::dicom::{InstanceUid, uid};
use crate::fault::{Fault, FaultKind};
use crate::http::Intake;
use crate::http::error::HttpError;
use crate::inference::Priority;
use crate::intake::Room;
use crate::store::{MOST_FOUND, Store};
use crate::workflow::{Created, Workflow};
use crate::workitem::{Changed, Query, Refusal, Workitem};
use answer::{changed, refused, warned};
use body::LARGEST;

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

/// A request about workitems.
struct Request {
    worklist: Arc<Worklist>,
    headers: HeaderMap,
    parameters: Named,
    /// The URL of the service.
    base: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Request {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let unreadable = || Fault::new(FaultKind::Invalid, "query", "the query cannot be read");
        let Extension(worklist) = Shared::from_request_parts(parts, state)
            .await
            .map_err(|_| unreadable())?;
        let Parameters(parameters) = Parameters::<Named>::from_request_parts(parts, state)
            .await
            .map_err(|_| unreadable())?;
        let headers = parts.headers.clone();
        Ok(Self {
            base: base(worklist.settings.public_url.as_deref(), &headers),
            worklist,
            headers,
            parameters,
        })
    }
}

impl Request {
    /// How workitems are to be shown.
    fn form(&self) -> Result<Form, Fault> {
        Form::wanted(&Accept::of(&self.headers, wanted(&self.parameters))?)
    }

    /// Room for workitems of this many bytes.
    async fn room(&self, bytes: usize) -> Result<Room, Fault> {
        let outgoing = &self.worklist.settings.outgoing;
        outgoing.whole(bytes, Priority::Routine).await
    }

    /// Workitems, each written when the caller has read the one before it; `room` is given back after the last.
    fn shown(&self, form: Form, workitems: Vec<Workitem>, room: Room) -> Response {
        let base = self.base.clone();
        form.all(workitems.into_iter().map(move |workitem| {
            let _ = &room;
            workitem.shown(&base).into()
        }))
    }

    /// Changes a workitem as `change` says, and answers with `status` where that went well.
    async fn change(
        &self,
        workflow: &Workflow,
        workitem: &str,
        status: StatusCode,
        change: impl FnOnce(&mut Workitem, bool, &str) -> Result<Changed, Refusal> + Send,
    ) -> Result<Response, HttpError> {
        let ended = workflow.change_workitem(&parse(workitem)?, change).await?;
        match ended.ok_or_else(unknown)? {
            Ok(done) => Ok(changed(&done, status, &self.base)),
            Err(Refusal::Invalid(fault)) => Err(HttpError(fault)),
            Err(refusal) => Ok(answer::refusal(&refusal, &self.base)),
        }
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
    request: Request,
    body: Body,
) -> Result<Response, HttpError> {
    let attributes = request.body(body).await?;
    let stated = named_uid(&request.parameters, &["workitem", "AffectedSOPInstanceUID"])?;
    let own = attributes
        .text("00080018")
        .or(attributes.text("00001000"))
        .map(str::to_owned);
    let uid = match stated.or(own) {
        Some(uid) => parse(&uid)?,
        None => new_uid()?,
    };
    let base = &request.base;
    match workflow.schedule(uid.clone(), attributes).await? {
        Created::Exists => Ok(refused(
            StatusCode::CONFLICT,
            base,
            "exists",
            "There is a workitem of this UID already.",
        )),
        Created::Made { modified, elsewhere } => {
            let place = format!("{base}/workitems/{uid}");
            let mut answer = (StatusCode::CREATED, [(header::LOCATION, place)]).into_response();
            if modified {
                warned(&mut answer, base, "The UPS was created with modifications.");
            }
            if elsewhere {
                warned(
                    &mut answer,
                    base,
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
    Path(workitem): Path<String>,
    request: Request,
) -> Result<Response, HttpError> {
    let form = request.form()?;
    let room = request.room(LARGEST).await?;
    let workitem = store.workitem(&parse(&workitem)?).await.map_err(Fault::from)?;
    Ok(request.shown(form, vec![workitem.ok_or_else(unknown)?], room))
}

/// `POST /workitems/{workitem}?TRANSACTION` (section 11.6).
async fn update(
    State(workflow): State<Workflow>,
    Path(workitem): Path<String>,
    request: Request,
    body: Body,
) -> Result<Response, HttpError> {
    let changes = request.body(body).await?;
    let names = ["transaction-uid", "transaction", "TransactionUID"];
    let transaction = named_uid(&request.parameters, &names)?;
    let change =
        |workitem: &mut Workitem, _: bool, now: &str| workitem.update(changes, transaction.as_deref(), now);
    request.change(&workflow, &workitem, StatusCode::OK, change).await
}

/// `PUT /workitems/{workitem}/state` (section 11.7).
async fn change_state(
    State(workflow): State<Workflow>,
    Path(workitem): Path<String>,
    request: Request,
    body: Body,
) -> Result<Response, HttpError> {
    let asked = request.body(body).await?;
    let change = |workitem: &mut Workitem, _: bool, now: &str| workitem.change_state(&asked, now);
    request.change(&workflow, &workitem, StatusCode::OK, change).await
}

/// `POST /workitems/{workitem}/cancelrequest` (section 11.8).
async fn request_cancel(
    State(workflow): State<Workflow>,
    Path(workitem): Path<String>,
    request: Request,
    body: Body,
) -> Result<Response, HttpError> {
    let why = request.optional_body(body).await?;
    let change = |workitem: &mut Workitem, can_be_told: bool, now: &str| {
        workitem.request_cancel(&why, can_be_told, now)
    };
    request
        .change(&workflow, &workitem, StatusCode::ACCEPTED, change)
        .await
}

/// `GET /workitems?...` (section 11.9).
async fn search(State(store): State<Store>, request: Request) -> Result<Response, HttpError> {
    let form = request.form()?;
    let (query, page) = Query::parse(&request.parameters)?;
    let room = request.room(MOST_FOUND).await?;
    let (found, more) = store.find_workitems(&query, &page).await.map_err(Fault::from)?;
    if found.is_empty() && !more {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut answer = request.shown(form, found, room);
    if more {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    if page.fuzzy {
        warned(&mut answer, &request.base, LITERAL_ONLY);
    }
    Ok(answer)
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

/// A UID that nobody has: `2.25.` and 128 random bits (PS3.5 section B.2).
fn new_uid() -> Result<InstanceUid, Fault> {
    let mut drawn = [0; 16];
    getrandom::fill(&mut drawn).map_err(|_| {
        let message = "the operating system has no random numbers: name the workitem in the query";
        Fault::new(FaultKind::Internal, "random", message)
    })?;
    parse(&uid::random(drawn))
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
