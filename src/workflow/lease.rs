//! The lease of a job that is worked on: extended as there is progress, over when there is none.
//!
//! Invariant: who holds a job stops before its lease runs out, whatever it hangs in; so a hanging analysis never keeps a place from
//! others, and never works beside the one that takes the job over.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::analyse::Stopped;
use crate::store::{Job, Settled, Store};

/// A lease, from the moment of its claim.
pub(super) struct Lease {
    length: Duration,
    renewed: Mutex<Instant>,
}

impl Lease {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            renewed: Mutex::new(Instant::now()),
        }
    }

    /// There is progress: the lease is extended when a third of it is over.
    pub(super) async fn progress(&self, store: &Store, job: &Job) -> Result<(), Stopped> {
        if self.renewed().elapsed() > self.length / 3 {
            if store.renew(job, self.length).await? == Settled::Stale {
                return Err(Stopped::Stale);
            }
            *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        Ok(())
    }

    /// Returns when there has been no progress for so long that the lease is nearly over; with what begins just before a renewal is due,
    /// half of a lease is left for each image.
    pub(super) async fn nearly_over(&self) {
        let limit = self.length * 5 / 6;
        loop {
            let since = self.renewed().elapsed();
            if since >= limit {
                return;
            }
            tokio::time::sleep(limit.saturating_sub(since)).await;
        }
    }

    fn renewed(&self) -> Instant {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
