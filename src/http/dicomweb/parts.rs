//! Answers of several parts (multipart/related, RFC 2387), written part by part as fast as the caller reads.
//!
//! Invariant: the next part is made when the one before it has been taken, so that an answer of any size takes the memory of one
//! part. A part that fails ends the connection without the closing boundary: the caller sees that the answer is not whole.

use std::pin::Pin;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use crate::dicom::uid;
use crate::fault::Fault;

/// Pieces of a body, made one after the other.
pub(super) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// One part.
pub(super) struct Part {
    /// Its Content-Type.
    pub(super) content_type: String,
    /// Its Content-Location, if it has one.
    pub(super) location: Option<String>,
    /// Its content.
    pub(super) content: Pieces,
}

/// Pieces that are there already.
pub(super) fn pieces(pieces: impl IntoIterator<Item = Bytes, IntoIter: Send + 'static>) -> Pieces {
    Box::pin(stream::iter(pieces.into_iter().map(Ok)))
}

impl Part {
    /// A part whose content is there already.
    pub(super) fn whole(content_type: &str, content: impl Into<Bytes>) -> Self {
        Self {
            content_type: content_type.to_owned(),
            location: None,
            content: pieces([content.into()]),
        }
    }

    /// The part as the whole answer.
    pub(super) fn alone(self) -> Response {
        let headers = [(header::CONTENT_TYPE, self.content_type)];
        (headers, body(self.content)).into_response()
    }
}

/// An answer of parts of the media type `kind`. `seed` makes its boundary.
pub(super) fn several(
    kind: &str,
    seed: &str,
    parts: impl Stream<Item = Result<Part, Fault>> + Send + 'static,
) -> Response {
    let boundary = uid::derived(&["osteon", "answer", seed]);
    let content_type = format!("multipart/related; type=\"{kind}\"; boundary={boundary}");
    let end = pieces([Bytes::from(format!("--{boundary}--\r\n"))]);
    let parts = parts.flat_map(move |part| match part {
        Ok(part) => {
            let mut head = format!("--{boundary}\r\nContent-Type: {}\r\n", part.content_type);
            if let Some(location) = &part.location {
                head += &format!("Content-Location: {location}\r\n");
            }
            head += "\r\n";
            let head = pieces([Bytes::from(head)]);
            let tail = pieces([Bytes::from_static(b"\r\n")]);
            Box::pin(head.chain(part.content).chain(tail)) as Pieces
        }
        Err(fault) => Box::pin(stream::iter([Err(fault)])),
    });
    ([(header::CONTENT_TYPE, content_type)], body(parts.chain(end))).into_response()
}

/// A body that is written as fast as the caller reads.
pub(super) fn body(pieces: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static) -> Body {
    Body::from_stream(pieces.inspect(|piece| {
        if let Err(fault) = piece {
            tracing::warn!(
                code = fault.code,
                "an answer broke off: what was to come next could not be read"
            );
        }
    }))
}
