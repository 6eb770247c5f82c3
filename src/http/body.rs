//! Request bodies: read within the limit, and recognised by what they are.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::{Instant, timeout};

use super::buffer::Buffer;
use crate::fault::{Fault, FaultKind};
use crate::inference::{ImageBytes, Priority};
use crate::intake::{Intake, Pace};

/// The most bytes of a body that is too large that are read and thrown away.
const MOST_DISCARDED: usize = 64 << 20;
/// How long that may take.
const DISCARDED_WITHIN: Duration = Duration::from_secs(10);

/// How long a sender may pause.
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
        // a client that asks before it sends need not send at all
        if !headers.contains_key(header::EXPECT) {
            discard(body).await;
        }
        return Err(too_large(limit));
    }
    let declared = declared.map(|length| length as usize);
    let mut room = match intake.room(declared, priority).await {
        Ok(room) => room,
        Err(fault) => {
            discard(body).await;
            return Err(fault);
        }
    };
    let mut buffer = Buffer::new(declared);
    let mut pace = Pace::default();
    while let Some(frame) = next_frame(&mut body, &mut pace).await? {
        let frame = frame.map_err(|_| {
            Fault::new(
                FaultKind::Invalid,
                "incomplete",
                "the body ended early: send it again",
            )
        })?;
        let Ok(data) = frame.into_data() else { continue };
        room.grow(buffer.len() + data.len(), declared.unwrap_or(limit))
            .await?;
        if buffer.len() + data.len() > limit || !buffer.push(&data) {
            drop(buffer);
            discard(body).await;
            return Err(too_large(limit));
        }
    }
    Ok(room.hold(buffer.finish()))
}

/// The next frame of a body. A sender that pauses for long, or is slow for long, keeps its room from others.
///
/// # Errors
/// `incomplete`.
pub(super) async fn next_frame(
    body: &mut Body,
    pace: &mut Pace,
) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, Fault> {
    let late = || {
        Fault::new(
            FaultKind::Invalid,
            "incomplete",
            "the body stopped coming, or came too slowly: send it again",
        )
    };
    let asked = Instant::now();
    let frame = timeout(NEXT_WITHIN, body.frame()).await.map_err(|_| late())?;
    let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
    if pace.came(data.map_or(0, Bytes::len), asked.elapsed()) || frame.is_none() {
        Ok(frame)
    } else {
        Err(late())
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
/// `media-type` for any other type, `form` for a form without a file.
pub async fn image(headers: &HeaderMap, body: Bytes) -> Result<ImageBytes, Fault> {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.as_str() {
        "multipart/form-data" => Ok(ImageBytes::recognised(form_file(media_type, body).await?)),
        "" | "application/dicom" | "application/octet-stream" | "image/png" | "image/jpeg" => {
            Ok(ImageBytes::recognised(body))
        }
        _ => Err(Fault::new(
            FaultKind::Unsupported,
            "media-type",
            "send application/dicom, image/png, image/jpeg, or a multipart/form-data with one file",
        )),
    }
}

async fn form_file(media_type: &str, body: Bytes) -> Result<Bytes, Fault> {
    let damaged = || {
        Fault::new(
            FaultKind::Invalid,
            "form",
            "the form cannot be read or holds no file: send one file, as `curl -F file=@image.dcm` does",
        )
    };
    let boundary = multer::parse_boundary(media_type).map_err(|_| damaged())?;
    let stream = futures_once(body);
    let mut form = multer::Multipart::new(stream, boundary);
    while let Some(field) = form.next_field().await.map_err(|_| damaged())? {
        if field.file_name().is_some() || field.content_type().is_some() {
            return field.bytes().await.map_err(|_| damaged());
        }
    }
    Err(damaged())
}

/// A stream of the one chunk that was read.
fn futures_once(body: Bytes) -> http_body_util::BodyDataStream<http_body_util::Full<Bytes>> {
    http_body_util::BodyDataStream::new(http_body_util::Full::new(body))
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
        assert!(pace.came(0, Duration::from_secs(30) - Duration::from_millis(20)));
        let mut late = None;
        for _ in 0..10 {
            late = next_frame(&mut body, &mut pace).await.err();
        }
        assert_eq!(late.map(|fault| fault.code), Some("incomplete"));
    }
}
