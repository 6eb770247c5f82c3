//! The lease of a job that is worked on: extended as there is progress, over when there is none.
//!
//! Invariant: who holds a job stops before its lease runs out, whatever it hangs in; so a hanging analysis never keeps a place from
//! others, and never works beside the one that takes the job over.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::analyse::Stopped;
use crate::fault::Fault;
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

    /// There is progress: the lease is extended when a third of it is over. A store that is out of reach then is asked again at the
    /// next image: until the lease is nearly over, what has been done so far is worth keeping.
    pub(super) async fn progress(&self, store: &Store, job: &Job) -> Result<(), Stopped> {
        // before the request: a lease that seems longer than it is would be worked on beside another claim
        let now = Instant::now();
        if self.renewed().elapsed() <= self.length / 3 {
            return Ok(());
        }
        match store.renew(job, self.length).await {
            Ok(Settled::Stored) => {
                *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = now;
                Ok(())
            }
            Ok(Settled::Stale) => Err(Stopped::Stale),
            Err(error) => {
                let code = Fault::from(error).code;
                tracing::warn!(code, "the lease of an analysis could not be extended yet");
                Ok(())
            }
        }
    }

    /// A wait that costs the lease nothing.
    pub(super) fn short(&self) -> Duration {
        self.length / 6
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Kind, StoreSettings};
    use crate::workflow::WorkflowSettings;
    use crate::workflow::completeness::describe;
    use crate::workflow::fixture::{Act, Rehearsed, dicom};
    use crate::workflow::{Patience, Submission};

    #[tokio::test]
    async fn a_store_that_is_away_for_a_moment_does_not_end_an_analysis() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreSettings::in_folder(folder.path()))
            .await
            .unwrap();
        let patience = Patience {
            quiet: Duration::ZERO,
            overdue: Duration::ZERO,
        };
        let settings = WorkflowSettings {
            patience,
            ..WorkflowSettings::default()
        };
        let workflow = Rehearsed::new(&[Act::Score]).workflow(&store, settings);
        let submission = Submission::read(dicom("1.2", "1.2.1", "")).await.unwrap();
        workflow.accept(&submission).await.unwrap();
        store.enqueue_due(1, describe).await.unwrap();
        let length = Duration::from_mins(1);
        let job = &store.claim(Kind::Analyse, 1, length, 5).await.unwrap()[0];
        let lease = Lease::new(length);
        let old = Instant::now().checked_sub(length / 2).unwrap();
        *lease.renewed.lock().unwrap() = old;
        store.close().await;
        lease.progress(&store, job).await.unwrap();
        assert_eq!(lease.renewed(), old, "it is not longer than the database says");

        let store = Store::open(&StoreSettings::in_folder(folder.path()))
            .await
            .unwrap();
        lease.progress(&store, job).await.unwrap();
        assert!(lease.renewed() > old);
        let Ok(Settled::Stored) = store.release(job, Duration::ZERO).await else {
            panic!("the claim was held");
        };
        *lease.renewed.lock().unwrap() = old;
        assert!(matches!(lease.progress(&store, job).await, Err(Stopped::Stale)));
    }
}
