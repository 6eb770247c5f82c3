//! What keeps the loops of the workflow going.
//!
//! Invariant: a mistake in one of them never stops it for good, nor another one: a server that goes on taking studies in and no longer
//! analyses them would look healthy from outside.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The wait before a loop that panicked begins anew, so that one that panics at once does not fill the log.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs what `begin` begins until it ends by itself; after a panic it is begun anew, unless `stop` is cancelled. What it had claimed is
/// claimed again when its lease has run out.
pub(super) async fn supervise<L>(name: &'static str, stop: &CancellationToken, begin: impl Fn() -> L)
where
    L: Future<Output = ()> + Send + 'static,
{
    // a task of its own, so that a panic ends there
    while AbortOnDropHandle::new(tokio::spawn(begin())).await.is_err() {
        tracing::error!(name, "workflow.loop_panicked: it begins anew");
        if stop
            .run_until_cancelled(tokio::time::sleep(PAUSE))
            .await
            .is_none()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_loop_that_panics_begins_anew_until_it_ends_by_itself() {
        let begun = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        supervise("test", &stop, || {
            let begun = begun.clone();
            async move { assert!(begun.fetch_add(1, Ordering::SeqCst) == 1, "as rehearsed") }
        })
        .await;
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_stop_ends_one_that_panics() {
        let stop = CancellationToken::new();
        stop.cancel();
        supervise("test", &stop, || async { panic!("as rehearsed") }).await;
    }
}
