//! Request bodies: read within the limit, and recognised by what they are.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::{Instant, timeout};

use super::buffer::Buffer;
use super::form;
use crate::dicom::media_type::MediaType;
use crate::fault::{Fault, FaultKind};
use crate::inference::{ImageBytes, Priority};
use crate::intake::{Intake, Pace};

/// The most bytes of a body that is too large that are read and thrown away.
const MOST_DISCARDED: usize = 64 << 20;
/// How long that may take.
const DISCARDED_WITHIN: Duration = Duration::from_secs(10);

/// How long a sender may take to begin, and how long one that has sent much may pause.
const NEXT_WITHIN: Duration = Duration::from_secs(30);

/// Reads a body of at most `limit` bytes when there is room for it; nothing is kept of one that is longer.
///
/// # Errors
/// `too-large`, `overloaded`, or `incomplete` where the sender went away.
pub async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    intake: &Intake,
    priority: Priority,
) -> Result<Bytes, Fault> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        refuse(headers, body).await;
        return Err(too_large(limit));
    }
    let declared = declared.map(|length| length as usize);
    // whoever says that it has a body and sends none of it keeps no room from others
    let Ok(mut frame) = timeout(NEXT_WITHIN, body.frame()).await else {
        return Err(late());
    };
    let mut room = match intake.room(declared, priority).await {
        Ok(room) => room,
        Err(fault) => {
            discard(body).await;
            return Err(fault);
        }
    };
    let mut buffer = Buffer::new(declared);
    let mut pace = Pace::default();
    while let Some(next) = frame {
        let next = next.map_err(|_| {
            Fault::new(
                FaultKind::Invalid,
                "incomplete",
                "the body ended early: send it again",
            )
        })?;
        let data = next.into_data().unwrap_or_default();
        if let Err(fault) = room
            .grow(buffer.len() + data.len(), declared.unwrap_or(limit))
            .await
        {
            drop(buffer);
            discard(body).await;
            return Err(fault);
        }
        if buffer.len() + data.len() > limit || !buffer.push(&data) {
            drop(buffer);
            discard(body).await;
            return Err(too_large(limit));
        }
        frame = next_frame(&mut body, &mut pace).await?;
    }
    Ok(room.hold(buffer.finish()))
}

fn late() -> Fault {
    Fault::new(
        FaultKind::Invalid,
        "incomplete",
        "the body stopped coming, or came too slowly: send it again",
    )
}

/// The next frame of a body. A sender that pauses for long, or is slow for long, keeps its room from others.
///
/// # Errors
/// `incomplete`.
pub(super) async fn next_frame(
    body: &mut Body,
    pace: &mut Pace,
) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, Fault> {
    let asked = Instant::now();
    let within = pace.left().min(NEXT_WITHIN);
    let frame = timeout(within, body.frame()).await.map_err(|_| late())?;
    let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
    if pace.came(data.map_or(0, Bytes::len), asked.elapsed()) || frame.is_none() {
        Ok(frame)
    } else {
        Err(late())
    }
}

/// Takes a body that is refused before any of it was read. A client that asks before it sends (`Expect`) need not send at all.
pub(super) async fn refuse(headers: &HeaderMap, body: Body) {
    if !headers.contains_key(header::EXPECT) {
        discard(body).await;
    }
}

/// Takes the rest of a body that is refused: a client that is still sending when the connection closes sees a broken
/// connection, not the answer that says why.
async fn discard(mut body: Body) {
    let mut left = MOST_DISCARDED;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // one that sends slowly for longer does not get the answer; there is nothing else to do for it
    let _ = timeout(DISCARDED_WITHIN, reading).await;
}

/// The fault of a body over the limit.
#[must_use]
pub fn too_large(limit: usize) -> Fault {
    let limit = limit / (1 << 20);
    Fault::new(
        FaultKind::TooLarge,
        "too-large",
        format!(
            "the body is larger than the {limit} MiB that this server takes: send one image a request, or raise --body-limit-mib"
        ),
    )
}

/// The image in a body: `application/dicom`, `image/png`, `image/jpeg`, `application/octet-stream`, or the first file
/// of a `multipart/form-data`. What it really is, its first bytes say.
///
/// # Errors
/// `media-type` for any other type, `content-encoding` for a compressed body, `form` for a form without a file.
pub fn image(headers: &HeaderMap, body: Bytes) -> Result<ImageBytes, Fault> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Fault::new(
            FaultKind::Unsupported,
            "content-encoding",
            "the body is compressed: send it as it is, without Content-Encoding (DICOM has transfer syntaxes of its own for that)",
        ));
    }
    let media = MediaType::parse(text(header::CONTENT_TYPE).unwrap_or("application/octet-stream"));
    match media.as_ref().map(|media| media.essence.as_str()) {
        Some("multipart/form-data") => {
            let boundary = media.as_ref().and_then(|media| media.parameter("boundary"));
            let file = boundary.and_then(|boundary| form::file(boundary, &body));
            file.map(ImageBytes::recognised).ok_or_else(|| {
                Fault::new(
                    FaultKind::Invalid,
                    "form",
                    "the form cannot be read or holds no file: send one file, as `curl -F file=@image.dcm` does",
                )
            })
        }
        Some("application/dicom" | "application/octet-stream" | "image/png" | "image/jpeg") => {
            Ok(ImageBytes::recognised(body))
        }
        _ => Err(Fault::new(
            FaultKind::Unsupported,
            "media-type",
            "send application/dicom, image/png, image/jpeg, or a multipart/form-data with one file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};

    use super::*;

    #[tokio::test]
    async fn a_slow_line_is_waited_for_and_a_trickle_is_not() {
        let piece = || async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"a"))
        };
        let mut body = Body::from_stream(stream::repeat_with(piece).then(|piece| piece));
        let mut pace = Pace::default();
        assert!(next_frame(&mut body, &mut pace).await.is_ok());
        // as if the first byte had come after all the time that it may take
        assert!(pace.came(0, Duration::from_secs(10) - Duration::from_millis(20)));
        let mut late = None;
        for _ in 0..10 {
            late = next_frame(&mut body, &mut pace).await.err();
        }
        assert_eq!(late.map(|fault| fault.code), Some("incomplete"));
    }
}
