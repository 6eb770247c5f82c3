//! Answers of several parts (multipart/related, RFC 2387), written part by part as fast as the caller reads.
//!
//! Invariants: the next part is made when the one before it has been taken, so that an answer of any size takes the memory of one
//! part; a caller who takes nothing for [`TAKEN_WITHIN`] gives up its room to others. A part that fails ends the connection without the
//! closing boundary: the caller sees that the answer is not whole.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fault::Fault;
use crate::intake::Room;

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

    /// The part, which holds this room until its last piece is on its way.
    pub(super) fn holding(mut self, room: Room) -> Self {
        self.content = Box::pin(self.content.map(move |piece| {
            let _ = &room;
            piece
        }));
        self
    }

    /// The part as the whole answer.
    pub(super) fn alone(self) -> Response {
        let headers = [(header::CONTENT_TYPE, self.content_type)];
        (headers, body(self.content)).into_response()
    }
}

/// An answer of parts of the media type `kind`.
pub(super) fn several(
    kind: &str,
    parts: impl Stream<Item = Result<Part, Fault>> + Send + 'static,
) -> Response {
    let boundary = boundary();
    let content_type = format!("multipart/related; type=\"{kind}\"; boundary={boundary}");
    let end = pieces([Bytes::from(format!("--{boundary}--\r\n"))]);
    let parts = parts.flat_map(move |part| match part {
        Ok(part) => {
            let mut head = format!("--{boundary}\r\nContent-Type: {}\r\n", part.content_type);
            if let Some(location) = &part.location {
                head += "Content-Location: ";
                head += location;
                head += "\r\n";
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

/// A boundary that nobody can foresee: what is stored cannot have it inside, however much it tries to.
fn boundary() -> String {
    // two numbers from the system's own chance
    let chance = || RandomState::new().hash_one(Instant::now());
    format!("{:016x}{:016x}", chance(), chance())
}

/// How long a caller may take for [`PIECE`] bytes.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// The most bytes that are handed on at once.
const PIECE: usize = 256 << 10;

/// A body that is written as fast as the caller reads.
pub(super) fn body(pieces: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static) -> Body {
    body_taken_within(TAKEN_WITHIN, pieces)
}

fn body_taken_within(
    patience: Duration,
    pieces: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static,
) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(hand_on(pieces, sender, patience));
    let handed = stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Handed::Piece(piece)) => Some((Ok(piece), Some(receiver))),
            Some(Handed::End) => None,
            // it broke off; without an error the body would seem whole
            None => Some((Err(BrokenOff), None)),
        }
    });
    // a connection asks once more after the end
    Body::from_stream(handed.fuse())
}

enum Handed {
    Piece(Bytes),
    End,
}

#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
struct BrokenOff;

async fn hand_on(
    pieces: impl Stream<Item = Result<Bytes, Fault>>,
    sender: mpsc::Sender<Handed>,
    patience: Duration,
) {
    let hand = async |handed| {
        let taken = timeout(patience, sender.send(handed)).await;
        matches!(taken, Ok(Ok(())))
    };
    let mut pieces = pin!(pieces);
    loop {
        // what is long in making is not made for a caller who has gone
        let next = tokio::select! {
            next = pieces.next() => next,
            () = sender.closed() => return,
        };
        let Some(piece) = next else { break };
        let mut piece = match piece {
            Ok(piece) => piece,
            Err(fault) => {
                tracing::warn!(
                    code = fault.code,
                    "an answer broke off: what was to come next could not be read"
                );
                return;
            }
        };
        while !piece.is_empty() {
            let next = piece.split_to(piece.len().min(PIECE));
            // a caller who has gone, or stands still
            if !hand(Handed::Piece(next)).await {
                return;
            }
        }
    }
    hand(Handed::End).await;
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::fault::FaultKind;

    async fn read(body: Body) -> Result<Bytes, axum::Error> {
        body.collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn a_body_is_whole_or_visibly_broken() {
        let piece = Bytes::from(vec![7; 3 * PIECE + 1]);
        let whole = body(pieces([piece.clone(), Bytes::new(), Bytes::from_static(b"end")]));
        assert_eq!(read(whole).await.unwrap(), [&piece[..], b"end"].concat());
        let mut empty = body(pieces([]));
        assert!(empty.frame().await.is_none() && empty.frame().await.is_none());
        let fault = Fault::new(FaultKind::Internal, "test", "as the test wants it");
        let broken = body(stream::iter([Ok(piece), Err(fault)]));
        assert!(read(broken).await.is_err());
    }

    /// Nor is anything made on for one who has gone, however long the next piece is in coming.
    #[tokio::test]
    async fn a_caller_who_has_gone_is_noticed_while_a_piece_is_made() {
        let held = std::sync::Arc::new(());
        let content = stream::once(std::future::pending()).map({
            let held = held.clone();
            move |piece| {
                let _ = &held;
                piece
            }
        });
        drop(body(content));
        while std::sync::Arc::strong_count(&held) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The room of a part is given back when a caller has stood still for too long.
    #[tokio::test]
    async fn a_caller_who_takes_nothing_is_given_up() {
        let held = std::sync::Arc::new(());
        let content = {
            let held = held.clone();
            stream::iter((0..9).map(move |_| {
                let _ = &held;
                Ok(Bytes::from_static(b"piece"))
            }))
        };
        let mut stalled = body_taken_within(Duration::from_millis(10), content);
        stalled.frame().await.unwrap().unwrap();
        while std::sync::Arc::strong_count(&held) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(read(stalled).await.is_err(), "and the body does not seem whole");
    }
}
