//! What a job is: to a worker that has claimed it, and to people who look at the queue.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::row::study_uid;
use super::{ResultKey, StoreError, Timestamp};
use crate::dicom::StudyUid;

/// What a job is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Make the result of a study.
    Analyse,
    /// Send a result somewhere.
    Deliver {
        /// Which result.
        result: ResultKey,
        /// The name of the destination.
        destination: String,
    },
    /// Fetch a study from somewhere.
    Fetch {
        /// The name of the peer.
        peer: String,
    },
}

/// Which jobs a worker wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Analyses.
    Analyse,
    /// Deliveries to the destination of this name: each has a queue of its own, so that one that is slow holds up no other.
    Deliver(&'a str),
    /// Fetches from the peer of this name; the same.
    Fetch(&'a str),
}

impl Kind<'_> {
    /// The name by which it is stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Analyse => "analyse",
            Self::Deliver(_) => "deliver",
            Self::Fetch(_) => "fetch",
        }
    }

    /// The peer that it is about; empty where there is none, as the index of the queue has it.
    pub(super) fn peer(self) -> String {
        match self {
            Self::Analyse => String::new(),
            Self::Deliver(peer) | Self::Fetch(peer) => peer.to_owned(),
        }
    }
}

/// A claimed job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// What to do.
    pub work: Work,
    /// The study it is about.
    pub study: StudyUid,
    /// The generation of the study that the result belongs to.
    pub generation: i64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether the attempt before this one ended without a word: its worker died or stalled, perhaps because of this job.
    pub suspect: bool,
    /// Whether its study goes before others: an image or a workitem says so.
    pub urgent: bool,
    /// The fencing token of this claim.
    pub(super) token: i64,
}

impl Job {
    /// The key of a result of this claim in which something failed, from `input` by `model`; both are digests.
    #[must_use]
    pub fn failure(&self, model: &str, input: &str) -> ResultKey {
        ResultKey::of_failure(&self.study, (self.generation, self.token), model, input)
    }
}

/// What became of an attempt to settle a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Settled {
    /// It was written.
    Stored,
    /// Another claim, or a later generation of the study, holds the job now; nothing was changed.
    Stale,
}

impl Settled {
    pub(super) fn of(rows: u64) -> Self {
        if rows == 0 { Self::Stale } else { Self::Stored }
    }
}

/// A job, as those who look after the server see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct JobRow {
    /// Its name.
    pub job: String,
    /// `analyse`, `deliver` or `fetch`.
    pub kind: String,
    /// `ready`, `running`, `done` or `dead`.
    pub state: String,
    /// The study it is about.
    pub study: StudyUid,
    /// Where its result goes, for a delivery.
    pub destination: Option<String>,
    /// Where its study comes from, for a fetch.
    pub peer: Option<String>,
    /// How often it was tried.
    pub attempts: i64,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When it may be claimed, or its lease ends.
    pub available_at: Timestamp,
    /// Why it was put back or given up.
    pub cause: Option<String>,
}

impl JobRow {
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            job: row.try_get("job_id")?,
            kind: row.try_get("kind")?,
            state: row.try_get("state")?,
            study: study_uid(row)?,
            destination: row.try_get("destination")?,
            peer: row.try_get("peer")?,
            attempts: row.try_get("attempts")?,
            queued_at: Timestamp(row.try_get("queued_at")?),
            available_at: Timestamp(row.try_get("available_at")?),
            cause: row.try_get("cause")?,
        })
    }
}
