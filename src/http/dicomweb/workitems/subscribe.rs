//! Subscriptions (PS3.18 sections 11.10 to 11.12): to one workitem, to every one, to all that match a filter.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::warned;
use super::{Request, parse, unknown};
use crate::fault::{Fault, FaultKind};
use crate::http::error::HttpError;
use crate::store::{Store, Target};
use crate::workitem::{EVERY_WORKITEM, MATCHING_WORKITEMS, Query};

/// `POST /workitems/{workitem}/subscribers/{AE title}`.
pub(super) async fn subscribe(
    State(store): State<Store>,
    Path((workitem, ae_title)): Path<(String, String)>,
    request: Request,
) -> Result<Response, HttpError> {
    check(&ae_title)?;
    let value = |name: &str| {
        let found = request.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    let locks = value("deletionlock").unwrap_or("false").parse::<bool>();
    let locks = locks.map_err(|_| wrong("deletionlock must be true or false"))?;
    let target = match workitem.as_str() {
        MATCHING_WORKITEMS => {
            let filter = value("filter").unwrap_or_default();
            Query::parse_filter(filter)?;
            Target::Matching(filter.to_owned())
        }
        other => target(other)?,
    };
    if !store.subscribe(&ae_title, &target).await.map_err(Fault::from)? {
        return Err(HttpError(unknown()));
    }
    let server = request.base.strip_suffix("/dicom-web").unwrap_or_default();
    // the scheme of a URL, or nothing of one that is relative
    let server = server
        .strip_prefix("http")
        .map_or(String::new(), |rest| format!("ws{rest}"));
    let place = format!("{server}/ws/subscribers/{ae_title}");
    let mut answer = (StatusCode::CREATED, [(header::CONTENT_LOCATION, place)]).into_response();
    if locks {
        // what the retention policy removes does not wait for a subscriber who never comes back
        warned(&mut answer, &request.base, "Deletion Lock not granted.");
    }
    Ok(answer)
}

/// `DELETE /workitems/{workitem}/subscribers/{AE title}`.
pub(super) async fn unsubscribe(
    State(store): State<Store>,
    Path((workitem, ae_title)): Path<(String, String)>,
) -> Result<StatusCode, HttpError> {
    check(&ae_title)?;
    let known = store.unsubscribe(&ae_title, &target(&workitem)?).await;
    if known.map_err(Fault::from)? {
        Ok(StatusCode::OK)
    } else {
        Err(HttpError(unknown()))
    }
}

/// `POST /workitems/{all or matching}/subscribers/{AE title}/suspend`.
pub(super) async fn suspend(
    State(store): State<Store>,
    Path((workitem, ae_title)): Path<(String, String)>,
) -> Result<StatusCode, HttpError> {
    check(&ae_title)?;
    let target = target(&workitem)?;
    if let Target::Workitem(_) = target {
        return Err(HttpError(wrong(
            "only the subscription to every workitem (1.2.840.10008.5.1.4.34.5) or to those that match (1.2.840.10008.5.1.4.34.5.1) \
             can be suspended",
        )));
    }
    store.suspend(&ae_title, &target).await.map_err(Fault::from)?;
    Ok(StatusCode::OK)
}

fn target(workitem: &str) -> Result<Target, Fault> {
    Ok(match workitem {
        EVERY_WORKITEM => Target::Every,
        MATCHING_WORKITEMS => Target::Matching(String::new()),
        uid => Target::Workitem(parse(uid)?),
    })
}

/// VR AE (PS3.5 section 6.2); it becomes part of a URL.
pub(super) fn check(ae_title: &str) -> Result<(), Fault> {
    let plain = |byte: u8| (0x21..0x7F).contains(&byte) && !b"\\/?#%".contains(&byte);
    if (1..=16).contains(&ae_title.len()) && ae_title.bytes().all(plain) {
        return Ok(());
    }
    Err(wrong(
        "an AE title here has 1 to 16 characters of ASCII, without blanks and without \\ / ? # %",
    ))
}

fn wrong(message: &str) -> Fault {
    Fault::new(FaultKind::Invalid, "subscription", message)
}
