//! An archive on the loopback interface that behaves, or misbehaves in a way that can be chosen while it runs.
//!
//! It speaks as much of STOW-RS, QIDO-RS and WADO-RS as delivering and fetching need, and counts everything. It knows nothing of osteon: unit
//! tests and the fault harness take it in as a file.

#![allow(dead_code, reason = "each of those who take it in uses a part of it")]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[path = "archive/messages.rs"]
mod messages;

use messages::{
    SERIES_INSTANCE_UID, STUDY_INSTANCE_UID, boundary, failed, instance, parts, sop_instance_uid, stored,
    uid_of,
};

/// How it behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It stores and finds.
    Accepting,
    /// The same, after this pause before every answer.
    Slow(Duration),
    /// 503 with `Retry-After: 7` to everything.
    Unavailable,
    /// The same, to what is to be stored only: its search works.
    StoresNothingNow,
    /// So many requests meet the one behaviour; after them it stores and finds.
    First(usize, Box<Mode>),
    /// 401 to everything.
    Unauthorised,
    /// 401 to all that do not say this of who sends them.
    Expecting(String),
    /// 500 to everything.
    Failing,
    /// 500 to whatever is asked of this study.
    FailingStudy(String),
    /// 409 to what is to be stored, with this Failure Reason (0008,1197) for each instance.
    Rejecting(u16),
    /// 409 without a body.
    RejectingSilently,
    /// 200 as if it had stored, and it stores nothing.
    Lying,
    /// It stores, and the connection is cut before the answer.
    CutAfterStoring,
    /// The connection is cut before it stores.
    CutBeforeStoring,
    /// It stores and finds; searches are 501, single instances can be had.
    WithoutSearch,
    /// It stores and finds; searches without a match are 204.
    SilentSearch,
    /// Its search knows no filter and answers with whatever it has first.
    FilterlessSearch,
    /// Its lists have at most so many, whatever is asked for.
    ShortPages(usize),
    /// Its lists have the first so many, whatever is asked for.
    OnePage(usize),
    /// It answers with one instance as the whole body.
    SinglePart,
    /// It lists what it does not have.
    Forgetful,
    /// It answers with another instance than was asked for.
    Confused,
    /// The connection is cut in the middle of an instance.
    CutWhileSending,
    /// An answer ends in the middle of an instance as if it were whole.
    BreakingOff,
    /// 307 to this place.
    Redirecting(String),
    /// Every answer is 200 and text that means nothing.
    Babbling,
}

/// How many requests of each kind came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    pub(crate) searches: usize,
    pub(crate) metadata: usize,
    pub(crate) stores: usize,
    /// Lists of studies.
    pub(crate) studies: usize,
    /// Lists of a study's instances.
    pub(crate) lists: usize,
    pub(crate) retrievals: usize,
}

struct Inside {
    mode: Mode,
    requests: Requests,
    /// Copies that were stored, by SOP Instance UID.
    copies: BTreeMap<String, usize>,
    /// The latest file of each.
    files: BTreeMap<String, Bytes>,
    /// Authorization of the latest request.
    authorization: Option<String>,
}

impl Inside {
    /// The behaviour that the next request meets.
    fn turn(&mut self) -> Mode {
        match &mut self.mode {
            Mode::First(0, _) => Mode::Accepting,
            Mode::First(left, mode) => {
                *left -= 1;
                (**mode).clone()
            }
            mode => mode.clone(),
        }
    }
}

type Shared = Arc<Mutex<Inside>>;

/// A running archive; dropping it closes its port.
pub(crate) struct Archive {
    pub(crate) address: SocketAddr,
    inside: Shared,
    server: JoinHandle<()>,
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Archive {
    /// On a free port.
    pub(crate) async fn start(mode: Mode) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), mode).await
    }

    /// At `address`, for example where another one was.
    pub(crate) async fn start_at(address: SocketAddr, mode: Mode) -> Self {
        let inside = Arc::new(Mutex::new(Inside {
            mode,
            requests: Requests::default(),
            copies: BTreeMap::new(),
            files: BTreeMap::new(),
            authorization: None,
        }));
        let instance = "/dicom-web/studies/{study}/series/{series}/instances/{instance}/metadata";
        let router = Router::new()
            .route("/dicom-web/studies", post(store).get(studies))
            .route("/dicom-web/instances", get(search))
            .route("/dicom-web/studies/{study}/instances", get(list))
            .route(
                "/dicom-web/studies/{study}/series/{series}/instances/{instance}",
                get(retrieve),
            )
            .route(instance, get(metadata))
            .layer(DefaultBodyLimit::disable())
            .with_state(inside.clone());
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self {
            address,
            inside,
            server,
        }
    }

    /// It has this file from now on.
    pub(crate) fn hold(&self, file: Bytes) {
        let uid = sop_instance_uid(&file).expect("it is a file in Explicit VR Little Endian");
        lock(&self.inside).files.insert(uid, file);
    }

    /// Base URL of its DICOMweb services.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/dicom-web", self.address)
    }

    /// From now on it behaves like this.
    pub(crate) fn set(&self, mode: Mode) {
        lock(&self.inside).mode = mode;
    }

    /// How often each SOP Instance UID was stored: more than once is a duplicate.
    pub(crate) fn copies(&self) -> BTreeMap<String, usize> {
        lock(&self.inside).copies.clone()
    }

    /// The file that it holds of an instance.
    pub(crate) fn file(&self, uid: &str) -> Option<Bytes> {
        lock(&self.inside).files.get(uid).cloned()
    }

    pub(crate) fn requests(&self) -> Requests {
        lock(&self.inside).requests
    }

    /// What the latest request said of who sends it.
    pub(crate) fn authorization(&self) -> Option<String> {
        lock(&self.inside).authorization.clone()
    }
}

fn lock(inside: &Shared) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Counts a request, and gives the answer that the mode has for requests of every kind.
async fn arrive(
    inside: &Shared,
    headers: &HeaderMap,
    count: impl FnOnce(&mut Requests),
) -> Result<Mode, Response> {
    let mode = {
        let mut inside = lock(inside);
        count(&mut inside.requests);
        let value = headers.get(header::AUTHORIZATION);
        inside.authorization = value.and_then(|value| value.to_str().ok()).map(str::to_owned);
        inside.turn()
    };
    match &mode {
        Mode::Expecting(right) if lock(inside).authorization.as_ref() != Some(right) => {
            return Err(StatusCode::UNAUTHORIZED.into_response());
        }
        Mode::Slow(pause) => tokio::time::sleep(*pause).await,
        Mode::Unavailable => return Err(unavailable()),
        Mode::Failing => return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        Mode::Unauthorised => return Err(StatusCode::UNAUTHORIZED.into_response()),
        Mode::Redirecting(place) => return Err(Redirect::temporary(place).into_response()),
        Mode::Babbling => return Err((StatusCode::OK, "<html>welcome</html>").into_response()),
        _ => {}
    }
    Ok(mode)
}

fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "7")]).into_response()
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/dicom+json")], text).into_response()
}

async fn search(
    State(inside): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mode = match arrive(&inside, &headers, |requests| requests.searches += 1).await {
        Ok(mode) => mode,
        Err(answer) => return answer,
    };
    if mode == Mode::WithoutSearch {
        return StatusCode::NOT_IMPLEMENTED.into_response();
    }
    let wanted = query.get("00080018").or_else(|| query.get("SOPInstanceUID"));
    let found: Vec<String> = lock(&inside)
        .copies
        .keys()
        .filter(|uid| mode == Mode::FilterlessSearch || Some(*uid) == wanted)
        .take(1)
        .map(|uid| instance(uid))
        .collect();
    if found.is_empty() && mode == Mode::SilentSearch {
        return StatusCode::NO_CONTENT.into_response();
    }
    json(StatusCode::OK, format!("[{}]", found.join(",")))
}

/// Where the page begins that is asked for, and how many items it may have.
fn window(mode: &Mode, query: &HashMap<String, String>) -> (usize, usize) {
    let number = |key: &str, otherwise| {
        query
            .get(key)
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise)
    };
    match mode {
        Mode::OnePage(most) => (0, *most),
        Mode::ShortPages(most) => (number("offset", 0), number("limit", *most).min(*most)),
        _ => (number("offset", 0), number("limit", usize::MAX)),
    }
}

async fn studies(
    State(inside): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mode = match arrive(&inside, &headers, |requests| requests.studies += 1).await {
        Ok(mode) => mode,
        Err(answer) => return answer,
    };
    let (offset, limit) = window(&mode, &query);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for file in lock(&inside).files.values() {
        let study = uid_of(file, STUDY_INSTANCE_UID).unwrap_or_default();
        *counts.entry(study).or_default() += 1;
    }
    let page: Vec<String> = counts
        .into_iter()
        .skip(offset)
        .take(limit)
        .map(|(study, count)| {
            format!(
                r#"{{"0020000D":{{"vr":"UI","Value":["{study}"]}},"00201208":{{"vr":"IS","Value":[{count}]}}}}"#
            )
        })
        .collect();
    if page.is_empty() && mode == Mode::SilentSearch {
        return StatusCode::NO_CONTENT.into_response();
    }
    json(StatusCode::OK, format!("[{}]", page.join(",")))
}

async fn list(
    State(inside): State<Shared>,
    Path(study): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mode = match arrive(&inside, &headers, |requests| requests.lists += 1).await {
        Ok(mode) => mode,
        Err(answer) => return answer,
    };
    if mode == Mode::FailingStudy(study.clone()) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let (offset, limit) = window(&mode, &query);
    let files = lock(&inside).files.clone();
    let of_study = files
        .iter()
        .filter(|(_, file)| uid_of(file, STUDY_INSTANCE_UID).as_ref() == Some(&study));
    let page: Vec<String> = of_study
        .skip(offset)
        .take(limit)
        .map(|(uid, file)| {
            let series = uid_of(file, SERIES_INSTANCE_UID).unwrap_or_default();
            format!(
                r#"{{"00080018":{{"vr":"UI","Value":["{uid}"]}},"0020000E":{{"vr":"UI","Value":["{series}"]}},"00081190":{{"vr":"UR","Value":["http://127.0.0.1:1/elsewhere"]}}}}"#
            )
        })
        .collect();
    if page.is_empty() && mode == Mode::SilentSearch {
        return StatusCode::NO_CONTENT.into_response();
    }
    json(StatusCode::OK, format!("[{}]", page.join(",")))
}

async fn retrieve(
    State(inside): State<Shared>,
    Path((study, _, uid)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let mode = match arrive(&inside, &headers, |requests| requests.retrievals += 1).await {
        Ok(mode) => mode,
        Err(answer) => return answer,
    };
    if mode == Mode::FailingStudy(study) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let files = lock(&inside).files.clone();
    let file = match mode {
        Mode::Forgetful => None,
        Mode::Confused => files
            .iter()
            .find(|(other, _)| **other != uid)
            .map(|(_, file)| file),
        _ => files.get(&uid),
    };
    let Some(file) = file else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if mode == Mode::SinglePart {
        return (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/dicom")],
            file.clone(),
        )
            .into_response();
    }
    let head = b"--part\r\nContent-Type: application/dicom\r\n\r\n";
    let mut body = [&head[..], file, b"\r\n--part--\r\n"].concat();
    if matches!(mode, Mode::CutWhileSending | Mode::BreakingOff) {
        body.truncate(head.len() + file.len() / 2);
    }
    if mode == Mode::CutWhileSending {
        let cut = futures_util::stream::iter([Ok(Bytes::from(body)), Err(std::io::Error::other("cut"))]);
        let media_type = [(
            header::CONTENT_TYPE,
            "multipart/related; type=\"application/dicom\"; boundary=part",
        )];
        return (StatusCode::OK, media_type, axum::body::Body::from_stream(cut)).into_response();
    }
    // unquoted, as some archives write it
    let media_type = [(
        header::CONTENT_TYPE,
        "multipart/related; type=application/dicom; boundary=part",
    )];
    (StatusCode::OK, media_type, body).into_response()
}

async fn metadata(
    State(inside): State<Shared>,
    Path((_, _, uid)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Err(answer) = arrive(&inside, &headers, |requests| requests.metadata += 1).await {
        return answer;
    }
    if lock(&inside).copies.contains_key(&uid) {
        json(StatusCode::OK, format!("[{}]", instance(&uid)))
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

async fn store(State(inside): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mode = match arrive(&inside, &headers, |requests| requests.stores += 1).await {
        Ok(mode) => mode,
        Err(answer) => return answer,
    };
    let parts = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(boundary)
        .map(|boundary| parts(&body, &boundary))
        .unwrap_or_default();
    let uids: Option<Vec<String>> = parts.iter().map(|part| sop_instance_uid(part)).collect();
    let Some(uids) = uids.filter(|uids| !uids.is_empty()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match mode {
        Mode::StoresNothingNow => return unavailable(),
        Mode::Rejecting(reason) => return json(StatusCode::CONFLICT, failed(&uids, reason)),
        Mode::RejectingSilently => return StatusCode::CONFLICT.into_response(),
        Mode::Lying => return json(StatusCode::OK, stored(&uids)),
        // it ends the task of this connection, and the connection with it, without a word
        Mode::CutBeforeStoring => resume_unwind(Box::new("cut")),
        _ => {}
    }
    {
        let mut inside = lock(&inside);
        for (uid, part) in uids.iter().zip(&parts) {
            *inside.copies.entry(uid.clone()).or_default() += 1;
            inside.files.insert(uid.clone(), Bytes::copy_from_slice(part));
        }
    }
    if mode == Mode::CutAfterStoring {
        resume_unwind(Box::new("cut"));
    }
    json(StatusCode::OK, stored(&uids))
}
