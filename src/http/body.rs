//! Request bodies: read within the limit, and recognised by what they are.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::fault::{Fault, FaultKind};
use crate::inference::ImageBytes;

/// The most bytes that are set aside for a body before they have come.
const MOST_AT_ONCE: usize = 32 << 20;

/// Reads a body of at most `limit` bytes; one that says it is longer is refused before a byte is read.
///
/// # Errors
/// `too-large`, or `incomplete` where the sender went away.
pub async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Fault> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    // one buffer of the declared size, so that the parts are not kept beside the whole; no more than a lie may cost
    let expected = declared.map_or(0, |length| length as usize).min(MOST_AT_ONCE);
    let mut bytes = BytesMut::with_capacity(expected);
    let mut body = Limited::new(body, limit);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
            }
            Err(error) if error.is::<LengthLimitError>() => return Err(too_large(limit)),
            Err(_) => {
                return Err(Fault::new(
                    FaultKind::Invalid,
                    "incomplete",
                    "the body ended early: send it again",
                ));
            }
        }
    }
    Ok(bytes.freeze())
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
        "multipart/form-data" => Ok(recognised(form_file(media_type, body).await?)),
        "" | "application/dicom" | "application/octet-stream" | "image/png" | "image/jpeg" => {
            Ok(recognised(body))
        }
        _ => Err(Fault::new(
            FaultKind::Unsupported,
            "media-type",
            "send application/dicom, image/png, image/jpeg, or a multipart/form-data with one file",
        )),
    }
}

fn recognised(bytes: Bytes) -> ImageBytes {
    let picture = bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(b"\xFF\xD8\xFF");
    if picture {
        ImageBytes::Picture(bytes)
    } else {
        ImageBytes::Dicom(bytes)
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
