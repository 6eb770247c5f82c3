//! What happened to a study, in the order in which it happened.
//!
//! Invariant: an event is written in the transaction of the change that it tells of, so that neither is there without the other.

use std::sync::atomic::{AtomicI64, Ordering};

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::database::{Write, sql};
use super::{Store, StoreError, Timestamp};
use crate::dicom::StudyUid;

/// One thing that happened to a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// When, by the database's clock.
    pub at: Timestamp,
    /// What; one of [`EventKind`]'s names.
    pub kind: String,
    /// Which content of the study it was about: the number of its changes until then.
    pub generation: i64,
    /// What else is known of it.
    #[serde(flatten)]
    pub detail: Value,
}

/// What can happen to a study.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An instance of it was stored.
    Received,
    /// Someone asked for its result now.
    Ordered,
    /// It counts as complete and waits for a worker.
    Queued,
    /// A worker has begun an attempt.
    Claimed,
    /// An attempt failed; there will be another one.
    AttemptFailed,
    /// An attempt was put back untried.
    Released,
    /// It was scored.
    Scored,
    /// It must not be scored.
    Refused,
    /// It could not be scored.
    Failed,
    /// What was queued or running was overtaken by a later arrival.
    Superseded,
    /// It was ordered from a peer.
    FetchQueued,
    /// Fetching it failed; there will be another attempt.
    FetchFailed,
    /// What the peer has of it is here.
    Fetched,
    /// Fetching it was given up.
    FetchDead,
    /// A workitem orders its score.
    WorkitemScheduled,
    /// A workitem that ordered its score is completed or canceled.
    WorkitemEnded,
    /// A dead job was put back by hand.
    Retried,
    /// Its result waits to be sent somewhere.
    DeliveryQueued,
    /// Sending it failed; there will be another attempt.
    DeliveryFailed,
    /// Its result arrived, and the destination has shown that it did.
    Delivered,
    /// Sending it was given up.
    DeliveryDead,
    /// A later result is sent in its place.
    DeliverySuperseded,
    /// The DICOM objects of its result were made and are instances of it now.
    ObjectsMade,
    /// Its images were removed by the retention policy.
    ImagesRemoved,
}

impl EventKind {
    /// The name by which it is stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Ordered => "ordered",
            Self::Queued => "queued",
            Self::Claimed => "claimed",
            Self::AttemptFailed => "attempt-failed",
            Self::Released => "released",
            Self::Scored => "scored",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::FetchQueued => "fetch-queued",
            Self::FetchFailed => "fetch-failed",
            Self::Fetched => "fetched",
            Self::FetchDead => "fetch-dead",
            Self::WorkitemScheduled => "workitem-scheduled",
            Self::WorkitemEnded => "workitem-ended",
            Self::Retried => "retried",
            Self::DeliveryQueued => "delivery-queued",
            Self::DeliveryFailed => "delivery-failed",
            Self::Delivered => "delivered",
            Self::DeliveryDead => "delivery-dead",
            Self::DeliverySuperseded => "delivery-superseded",
            Self::ObjectsMade => "objects-made",
            Self::ImagesRemoved => "images-removed",
        }
    }
}

/// Tells apart what this process did in the same millisecond.
static SEQUENCE: AtomicI64 = AtomicI64::new(0);

/// Writes an event; `detail` is a JSON object.
pub(super) async fn happened(
    write: &mut Write,
    study: &str,
    generation: i64,
    kind: EventKind,
    detail: &Value,
) -> Result<(), StoreError> {
    write
        .query(sql!(
            "INSERT INTO events (study_uid, generation, at, seq, kind, detail) VALUES ($1, $2, " now ", $3, $4, $5)"
        ))
        .bind(study.to_owned())
        .bind(generation)
        .bind(SEQUENCE.fetch_add(1, Ordering::Relaxed))
        .bind(kind.name())
        .bind(detail.to_string())
        .execute(write.connection()?)
        .await?;
    Ok(())
}

/// Writes an event, unless it was the last thing that happened to the study: what is claimed and put back every second while the
/// engine is full or the store is away is one event.
pub(super) async fn happened_anew(
    write: &mut Write,
    study: &str,
    generation: i64,
    kind: EventKind,
    detail: &Value,
) -> Result<(), StoreError> {
    let last = write
        .query(sql!(
            "SELECT generation, kind, detail FROM events WHERE study_uid = $1 ORDER BY at DESC, seq DESC LIMIT 1"
        ))
        .bind(study.to_owned())
        .fetch_optional(write.connection()?)
        .await?;
    let text = detail.to_string();
    if let Some(last) = last
        && last.try_get::<i64, _>("generation")? == generation
        && last.try_get::<&str, _>("kind")? == kind.name()
        && last.try_get::<&str, _>("detail")? == text
    {
        return Ok(());
    }
    happened(write, study, generation, kind, detail).await
}

impl Event {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let detail: &str = row.try_get("detail")?;
        Ok(Self {
            at: Timestamp(row.try_get("at")?),
            kind: row.try_get("kind")?,
            generation: row.try_get("generation")?,
            detail: serde_json::from_str(detail).unwrap_or_else(|_| json!({})),
        })
    }
}

impl Store {
    /// Everything that happened to a study, the first thing first.
    pub async fn events(&self, study: &StudyUid) -> Result<Vec<Event>, StoreError> {
        let rows = self
            .database
            .query(sql!("SELECT * FROM events WHERE study_uid = $1 ORDER BY at, seq"))
            .bind(study.to_string())
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(Event::read).collect()
    }
}
