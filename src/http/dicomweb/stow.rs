//! STOW-RS: `POST /dicom-web/studies` and `POST /dicom-web/studies/{study}`.
//!
//! Invariants: an instance is in the answer as stored only when it is durable; parts are read and stored one after the
//! other, and the body is read no faster than that; whether something can be scored is not asked here.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, FromRef, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{LengthLimitError, Limited};

use super::accept::Accept;
use super::service::base;
use super::stow_answer::{Answer, Identity, OTHER_STUDY};
use crate::dicom::StudyUid;
use crate::dicom::media_type::MediaType;
use crate::dicom::multipart::{MultipartError, MultipartReader, Step};
use crate::fault::{Fault, FaultKind};
use crate::http::body::{self, next_frame};
use crate::http::error::HttpError;
use crate::http::{App, Proxies};
use crate::inference::Priority;
use crate::intake::{Intake, Pace, Room};
use crate::workflow::{Submission, Workflow};

/// The most parts of one request: what became of each is in the answer.
const MOST_PARTS: usize = 20_000;

/// What one request may send, and how the service is reached.
#[derive(Clone)]
pub struct StowSettings {
    /// The most bytes of one instance.
    pub instance_limit: usize,
    /// The most bytes of one request.
    pub request_limit: usize,
    /// The URL of the DICOMweb service as clients see it, for the URLs in answers; without it the request's Host is used.
    pub public_url: Option<String>,
    /// Room for what is read.
    pub intake: Intake,
    /// Reverse proxies before the server.
    pub proxies: Proxies,
}

impl StowSettings {
    /// Room for what one client sends.
    fn intake_of(&self, peer: Peer, headers: &HeaderMap) -> Intake {
        match peer {
            Some(Extension(ConnectInfo(peer))) => {
                let client = self.proxies.client(peer.ip(), headers);
                self.intake.of(&client.to_string())
            }
            None => self.intake.clone(),
        }
    }
}

impl FromRef<App> for Workflow {
    fn from_ref(app: &App) -> Self {
        app.workflow.clone()
    }
}

/// The routes of this service.
pub fn routes<S>(settings: StowSettings) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Workflow: FromRef<S>,
{
    Router::new()
        .route("/dicom-web/studies", post(store_instances))
        .route("/dicom-web/studies/{study}", post(store_instances_of))
        .layer(Extension(Arc::new(settings)))
}

type Settings = Extension<Arc<StowSettings>>;
type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;

async fn store_instances(
    State(workflow): State<Workflow>,
    Extension(settings): Settings,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    Request {
        workflow,
        intake: settings.intake_of(peer, &headers),
        settings,
        study: None,
    }
    .serve(&headers, body)
    .await
    .map_err(HttpError)
}

async fn store_instances_of(
    State(workflow): State<Workflow>,
    Extension(settings): Settings,
    peer: Peer,
    Path(study): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let study = StudyUid::parse(&study)
        .map_err(|error| HttpError(Fault::new(FaultKind::Invalid, "study-uid", error.to_string())))?;
    Request {
        workflow,
        intake: settings.intake_of(peer, &headers),
        settings,
        study: Some(study),
    }
    .serve(&headers, body)
    .await
    .map_err(HttpError)
}

struct Request {
    workflow: Workflow,
    settings: Arc<StowSettings>,
    /// Room for what its client sends.
    intake: Intake,
    /// The study that the request names.
    study: Option<StudyUid>,
}

impl Request {
    async fn serve(&self, headers: &HeaderMap, body: Body) -> Result<Response, Fault> {
        // whatever it says, what was stored is said
        let accept = Accept::of(headers, None).unwrap_or_default();
        let kind = content_kind(headers)?;
        let limit = match kind {
            ContentKind::Single => self.settings.instance_limit.min(self.settings.request_limit),
            ContentKind::Multipart { .. } => self.settings.request_limit,
        };
        if content_length(headers).is_some_and(|length| length > limit as u64) {
            return Err(too_large(limit));
        }
        let answer = match kind {
            ContentKind::Single => {
                let bytes = body::read(headers, body, limit, &self.intake, Priority::Routine).await?;
                if bytes.is_empty() {
                    let message = "the body is empty: send the bytes of one DICOM file";
                    return Err(Fault::new(FaultKind::Invalid, "empty", message));
                }
                let mut answer = Answer::default();
                self.store(bytes, &mut answer).await;
                answer
            }
            ContentKind::Multipart { boundary } => {
                // no more than one instance is held at a time, by the reader and while it is stored, and what of the next has arrived
                let declared = content_length(headers).map(|length| 2 * length as usize);
                let room = self.intake.room(declared, Priority::Routine).await?;
                let body = Body::new(Limited::new(body, limit));
                self.store_parts(&boundary, body, room).await?
            }
        };
        Ok(answer.respond(&base(self.settings.public_url.as_deref(), headers), &accept))
    }

    async fn store_parts(&self, boundary: &str, mut body: Body, mut room: Room) -> Result<Answer, Fault> {
        let mut reader = MultipartReader::new(boundary, self.settings.instance_limit).map_err(syntax)?;
        let mut answer = Answer::default();
        let mut pace = Pace::default();
        let most_held = 2 * self.settings.instance_limit;
        while let Some(frame) = next_frame(&mut body, &mut pace).await? {
            let frame = frame.map_err(|error| broken(&error, self.settings.request_limit))?;
            let data = frame.data_ref().map_or(&[][..], |data| data.as_ref());
            room.grow(reader.held() + data.len(), most_held).await?;
            reader.push(data);
            loop {
                let step = reader.step().map_err(syntax)?;
                if matches!(step, Step::Part(_) | Step::TooLarge) && answer.len() == MOST_PARTS {
                    return Err(too_many_parts());
                }
                match step {
                    Step::More | Step::End => break,
                    Step::Part(bytes) => {
                        // it is there twice until the reader has the next
                        let held = reader.held() + bytes.len();
                        room.grow(held, held).await?;
                        self.store(bytes, &mut answer).await;
                        reader.shrink();
                        room.shrink();
                    }
                    Step::TooLarge => answer.failed(None, too_large(self.settings.instance_limit)),
                }
            }
        }
        reader.finish().map_err(syntax)?;
        if answer.len() == 0 {
            let message = "there is no part between the boundaries: send each instance as one part";
            return Err(Fault::new(FaultKind::Invalid, "no-parts", message));
        }
        Ok(answer)
    }

    /// Stores one instance, and says in `answer` what became of it.
    async fn store(&self, bytes: Bytes, answer: &mut Answer) {
        let submission = match Submission::read(bytes).await {
            Ok(submission) => submission,
            Err(fault) => return answer.failed(None, fault),
        };
        let identity = Identity::from(&submission);
        if self
            .study
            .as_ref()
            .is_some_and(|study| study != submission.study())
        {
            let message = "the instance belongs to another study than the request names";
            return answer.failed(
                Some(identity),
                Fault::new(FaultKind::Invalid, OTHER_STUDY, message),
            );
        }
        match self.workflow.accept(&submission).await {
            Ok(_) => answer.stored(identity),
            Err(fault) => answer.failed(Some(identity), fault),
        }
    }
}

enum ContentKind {
    /// One instance as the whole body.
    Single,
    /// One instance in each part.
    Multipart { boundary: String },
}

fn content_kind(headers: &HeaderMap) -> Result<ContentKind, Fault> {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let unsupported = || {
        let message = "the content type must be multipart/related; type=\"application/dicom\"; boundary=..., \
                       or application/dicom for one instance";
        Fault::new(FaultKind::Unsupported, "content-type", message)
    };
    let media = MediaType::parse(text).ok_or_else(unsupported)?;
    let dicom = |text: &str| text.eq_ignore_ascii_case("application/dicom");
    match media.essence.as_str() {
        "application/dicom" => Ok(ContentKind::Single),
        // the standard demands a type; without one the parts are taken for what this service takes
        "multipart/related" if media.parameter("type").is_none_or(dicom) => {
            let boundary = media.parameter("boundary").ok_or_else(|| {
                let message =
                    "the content type has no boundary: add the boundary that stands between the parts";
                Fault::new(FaultKind::Invalid, "no-boundary", message)
            })?;
            Ok(ContentKind::Multipart {
                boundary: boundary.to_owned(),
            })
        }
        _ => Err(unsupported()),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn syntax(error: MultipartError) -> Fault {
    Fault::new(FaultKind::Invalid, "multipart", error.to_string())
}

fn too_large(limit: usize) -> Fault {
    Fault::new(
        FaultKind::TooLarge,
        "too-large",
        format!("this is larger than the {limit} bytes that the server takes"),
    )
}

fn too_many_parts() -> Fault {
    let message = format!(
        "a request has at most {MOST_PARTS} parts; those that came before are stored: send the others in another request"
    );
    Fault::new(FaultKind::TooLarge, "too-many-parts", message)
}

/// Why the body could not be read to its end: a limit, here or in a layer above, or the connection.
fn broken(error: &axum::Error, limit: usize) -> Fault {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return too_large(limit);
        }
        cause = error.source();
    }
    Fault::new(
        FaultKind::Invalid,
        "body",
        "the body could not be read to its end: send it again",
    )
}
