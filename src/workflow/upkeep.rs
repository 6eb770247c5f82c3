//! What has to be done now and then: counting what waits, describing what is from before headers were kept, letting go of images and of
//! workitems that have ended, removing what nobody names.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Workflow;
use super::describe::describe_old;
use super::errand::{self, LONGEST_WAIT};
use super::worker::LONGEST_RETRY;
use crate::fault::Fault;
use crate::store::StoreError;

/// How often what waits is counted.
const COUNT: Duration = Duration::from_secs(5);
/// How often it is tried whether images could be stored: a bucket counts requests.
const PING: Duration = Duration::from_mins(1);
/// How often the store is tidied.
const TIDY: Duration = Duration::from_hours(1);
/// How long what subscribers hear is kept: far longer than it takes to send it on.
const REPORTS: Duration = Duration::from_hours(24);
/// How old an object must be that no row names: far older than any sender needs between the two.
const ORPHAN: Duration = Duration::from_hours(1);
/// How long a job waits for a peer that is not in the configuration: longer than any roll-out of one takes.
const UNSERVED: Duration = Duration::from_hours(24);

/// Counts and tidies until `stop` is cancelled. Any number of replicas may do so at the same time.
pub(super) async fn run(workflow: Workflow, stop: CancellationToken) {
    // a large store takes a while to tidy: what waits is counted meanwhile, and a stop does not wait for it
    let both = async { tokio::join!(keep_counting(&workflow), keep_tidy(&workflow)) };
    stop.run_until_cancelled(both).await;
}

async fn keep_counting(workflow: &Workflow) {
    let (mut pinged, mut objects) = (None::<Instant>, true);
    loop {
        if pinged.is_none_or(|at| at.elapsed() > PING) {
            pinged = Some(Instant::now());
            objects = reported(workflow.store.ping().await);
        }
        let database = reported(count(workflow).await);
        workflow.metrics.work.store_reachable(database && objects);
        sleep(COUNT).await;
    }
}

async fn keep_tidy(workflow: &Workflow) {
    loop {
        if let Err(error) = tidy(workflow).await {
            let fault = Fault::from(error);
            tracing::warn!(
                code = fault.code,
                "the store could not be tidied; it is tried again in an hour"
            );
        }
        sleep(TIDY).await;
    }
}

/// Whether it went well; if not, the conversion logs the cause.
fn reported(result: Result<(), StoreError>) -> bool {
    result.map_err(Fault::from).is_ok()
}

async fn count(workflow: &Workflow) -> Result<(), StoreError> {
    let settings = &workflow.settings;
    let longest = settings.patience.quiet.max(settings.patience.overdue);
    let analyses = (settings.lease * 2).max(LONGEST_RETRY * 2);
    let mended = workflow
        .store
        .mend_times(longest * 2 + COUNT, analyses, LONGEST_WAIT + COUNT)
        .await?;
    if mended > 0 {
        tracing::warn!(
            mended,
            "store.clock_set_back: what waited for a time far ahead waits no longer"
        );
    }
    let backlog = workflow.store.backlog().await?;
    let waiting = [
        ("received", backlog.received),
        ("analyse", backlog.analyses),
        ("deliver", backlog.deliveries),
        ("fetch", backlog.fetches),
        ("workitem", backlog.workitems),
    ];
    workflow
        .metrics
        .work
        .backlog(&waiting, backlog.dead, backlog.oldest_ms);
    Ok(())
}

async fn tidy(workflow: &Workflow) -> Result<(), StoreError> {
    let described = describe_old(workflow).await?;
    if described > 0 {
        tracing::info!(described, "store.described");
    }
    if let Some(age) = workflow.settings.keep_images {
        let studies = workflow.store.forget_images(age).await?;
        if studies > 0 {
            tracing::info!(studies, "store.images_removed");
        }
        let workitems = workflow.store.forget_workitems(age).await?;
        if workitems > 0 {
            tracing::info!(workitems, "store.workitems_removed");
        }
    }
    workflow.store.forget_reports(REPORTS).await?;
    let served = errand::queues(&workflow.destinations);
    let given_up = workflow.store.give_up_unserved(&served, UNSERVED).await?;
    if given_up > 0 {
        tracing::warn!(
            given_up,
            "store.unserved: jobs waited for peers that are not in the configuration"
        );
    }
    let swept = workflow.store.sweep(ORPHAN).await?;
    if swept.objects > 0 {
        tracing::info!(objects = swept.objects, bytes = swept.bytes, "store.swept");
    }
    Ok(())
}
