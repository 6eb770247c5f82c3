//! `GET /ws/subscribers/{AE title}`: a WebSocket over which an application entity hears what it has subscribed to (PS3.18 section 8.10).
//!
//! Invariants: what is sent comes from the store, so it does not matter which server a subscriber is connected to and which one made
//! the change; a connection holds no more than what it is sending, and ends when it does not get through, or when the server stops.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::subscribe::check;
use super::{CONNECTIONS, Shared};
use crate::dicom::InstanceUid;
use crate::fault::{Fault, FaultKind};
use crate::http::error::HttpError;
use crate::store::{Store, StoreError, Timestamp};
use crate::workitem::with_message_id;

/// How often the store is asked.
const POLL: Duration = Duration::from_millis(300);
/// How often a subscriber who hears nothing is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// How long a message may take to get through.
const SENT_WITHIN: Duration = Duration::from_secs(20);
/// How far back is looked again: a change may be committed that long after it was made.
const LATE: Duration = Duration::from_mins(2);
/// The most bytes of what a subscriber sends, which means nothing here.
const LARGEST: usize = 4 << 10;

/// Opens the connection; what has happened by then is not sent again.
pub(super) async fn open(
    State(store): State<Store>,
    Extension(worklist): Shared,
    Path(ae_title): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, HttpError> {
    check(&ae_title)?;
    let permit = Arc::clone(&worklist.connections)
        .try_acquire_owned()
        .map_err(|_| {
            let message = format!("{CONNECTIONS} subscribers are connected, and there is no room for more");
            HttpError(Fault::new(FaultKind::Overloaded, "overloaded", message))
        })?;
    let since = store.now().await.map_err(Fault::from)?;
    let listener = Listener {
        store,
        ae_title,
        opened: since,
        heard: HashSet::new(),
        messages: 0,
        _permit: permit,
    };
    let stopping = worklist.settings.stopping.clone();
    let upgrade = upgrade.max_message_size(LARGEST).max_frame_size(LARGEST);
    Ok(upgrade
        .on_upgrade(move |socket| listener.serve(socket, stopping))
        .into_response())
}

/// A connected subscriber.
struct Listener {
    store: Store,
    ae_title: String,
    opened: Timestamp,
    /// What was sent of the time that is looked at again.
    heard: HashSet<(InstanceUid, i64, Timestamp)>,
    messages: u16,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    async fn serve(mut self, mut socket: WebSocket, stopping: CancellationToken) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet_since = Instant::now();
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                came = socket.recv() => match came {
                    // pings are answered by the library; nothing else means anything
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
                _ = ticks.tick() => {
                    let messages = match self.news().await {
                        Ok(messages) => messages,
                        // it is asked again; the conversion logs the cause
                        Err(error) => {
                            let _ = Fault::from(error);
                            continue;
                        }
                    };
                    let due = messages.is_empty() && quiet_since.elapsed() > PING;
                    let ping = due.then(|| Message::Ping(Vec::new().into()));
                    for message in messages.into_iter().chain(ping) {
                        quiet_since = Instant::now();
                        if !matches!(timeout(SENT_WITHIN, socket.send(message)).await, Ok(Ok(()))) {
                            return;
                        }
                    }
                }
            }
        }
        let _ = timeout(Duration::from_secs(1), socket.send(Message::Close(None))).await;
    }

    /// What has happened and was not sent yet.
    async fn news(&mut self) -> Result<Vec<Message>, StoreError> {
        let reports = self.store.reports(&self.ae_title, self.opened, LATE).await?;
        let (mut known, mut messages) = (HashSet::new(), Vec::new());
        for report in reports {
            let key = (report.workitem, report.version, report.at);
            let is_new = !self.heard.contains(&key);
            known.insert(key);
            if is_new {
                self.messages = self.messages.checked_add(1).unwrap_or(1);
                let event = with_message_id(report.event, self.messages);
                let text = serde_json::to_string(&event).unwrap_or_default();
                messages.push(Message::Text(Utf8Bytes::from(text)));
            }
        }
        self.heard = known;
        Ok(messages)
    }
}
