//! What a worker takes into its hands, and what it makes of an attempt's end.

use super::*;
use crate::store::{Store, StoreSettings};
use crate::workflow::Submission;
use crate::workflow::completeness::Patience;
use crate::workflow::fixture::{Act, Rehearsed, dicom};

struct Bench {
    store: Store,
    workflow: Workflow,
    hands: Hands,
    abandon: CancellationToken,
}

impl Bench {
    /// A worker with two hands, whose analyses take a moment.
    async fn new(folder: &std::path::Path) -> Self {
        let store = Store::open(&StoreSettings::in_folder(folder)).await.unwrap();
        let settings = WorkflowSettings {
            patience: Patience {
                quiet: Duration::ZERO,
                overdue: Duration::ZERO,
            },
            ..WorkflowSettings::default()
        };
        let workflow = Rehearsed::new(&[Act::Slow(300)]).workflow(&store, settings);
        Self {
            store,
            workflow,
            hands: Hands::default(),
            abandon: CancellationToken::new(),
        }
    }

    async fn send(&self, study: &str, sop: &str) {
        let submission = Submission::read(dicom(study, sop, "")).await.unwrap();
        self.workflow.accept(&submission).await.unwrap();
        self.store.enqueue_due(10, describe).await.unwrap();
    }

    /// Queues a study whose last attempt ended without a word.
    async fn send_suspect(&self, study: &str) {
        self.send(study, &format!("{study}.1")).await;
        let gone = self
            .store
            .claim(Kind::Analyse, 1, Duration::ZERO, 5)
            .await
            .unwrap();
        assert_eq!(gone[0].study.as_str(), study);
    }

    async fn start(&mut self) {
        start(&self.workflow, &mut self.hands, &self.abandon)
            .await
            .unwrap();
    }

    async fn all_ended(&mut self) {
        while self.hands.running.join_next().await.is_some() {}
    }

    async fn running(&self) -> Vec<String> {
        let jobs = self.store.jobs(false, 10).await.unwrap().into_iter();
        let running = jobs.filter(|job| job.state == "running");
        let mut running: Vec<_> = running.map(|job| job.study.to_string()).collect();
        running.sort();
        running
    }
}

#[tokio::test]
async fn a_suspect_runs_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path()).await;
    bench.send_suspect("1.1").await;
    bench.send("1.2", "1.2.1").await;
    bench.start().await;
    assert_eq!(bench.running().await, ["1.2"], "the suspect was put back");
    bench.send("1.3", "1.3.1").await;
    bench.start().await;
    assert_eq!(
        bench.running().await,
        ["1.2"],
        "nothing more until the suspect has run"
    );
    bench.all_ended().await;
    bench.start().await;
    assert_eq!(bench.running().await, ["1.1"]);
    bench.start().await;
    assert_eq!(bench.running().await, ["1.1"], "nothing runs beside it");
    bench.all_ended().await;
    bench.start().await;
    assert_eq!(bench.running().await, ["1.3"]);
}

/// Whoever put a suspect back works with both hands again once it is another's, or was superseded.
#[tokio::test]
async fn a_suspect_that_does_not_come_back_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path()).await;
    bench.send_suspect("1.1").await;
    bench.send("1.2", "1.2.1").await;
    bench.start().await;
    assert!(bench.hands.wary);
    let elsewhere = bench
        .store
        .claim(Kind::Analyse, 1, Duration::from_mins(1), 5)
        .await;
    assert_eq!(elsewhere.unwrap()[0].study.as_str(), "1.1");
    bench.all_ended().await;
    for (study, sop) in [("1.3", "1.3.1"), ("1.4", "1.4.1")] {
        bench.send(study, sop).await;
    }
    bench.start().await;
    assert_eq!(bench.running().await, ["1.1", "1.3", "1.4"]);
}

#[tokio::test]
async fn what_was_not_tried_is_put_back_and_what_failed_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path()).await;
    bench.send("1.2", "1.2.1").await;
    let settings = WorkflowSettings::default();
    let job = bench.store.claim(Kind::Analyse, 1, settings.lease, 5).await;
    let job = job.unwrap().remove(0);
    let of = |code| {
        let fault = Fault::new(FaultKind::Unavailable, code, "as the test says");
        judge(&settings, &job, Err(Stopped::Fault(fault)))
    };
    for code in [
        "overloaded",
        "too-many-requests",
        "not-ready",
        "device-failed",
        "store-busy",
        "store-unavailable",
        "store-read-only",
        "no-space",
    ] {
        assert!(matches!(of(code), Verdict::Release(_)), "{code}");
    }
    for code in ["engine", "timeout", "database", "object-key-missing"] {
        assert!(matches!(of(code), Verdict::Retry(..)), "{code}");
    }
}
