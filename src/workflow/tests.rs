//! The workflow's promises, with a real store and a rehearsed engine: one outcome for every study, whatever dies.

use std::path::Path;
use std::sync::atomic::Ordering;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::fixture::{Act, Rehearsed, dicom};
use super::*;
use crate::dicom::StudyUid;
use crate::dicom::query::Query;
use crate::dicom::record::Level;
use crate::store::{Accepted, Search, StoreSettings, StudyRow, StudyState};

const QUICK: WorkflowSettings = WorkflowSettings {
    patience: Patience {
        quiet: Duration::from_millis(20),
        overdue: Duration::from_mins(1),
    },
    lease: Duration::from_millis(1200),
    max_attempts: 3,
    retry: Duration::from_millis(10),
    workers: 2,
    delivery_attempts: 3,
    fetch_attempts: 3,
    instance_limit: 1 << 20,
    drain: Duration::from_millis(400),
    keep_images: None,
};

struct Running {
    store: Store,
    workflow: Workflow,
    engine: Rehearsed,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(folder: &Path, acts: &[Act], settings: WorkflowSettings) -> Self {
        let store = Store::open(&StoreSettings::in_folder(folder)).await.unwrap();
        let engine = Rehearsed::new(acts);
        let workflow = engine.workflow(&store, settings);
        let stop = CancellationToken::new();
        let task = tokio::spawn(workflow.clone().run(stop.clone()));
        Self {
            store,
            workflow,
            engine,
            stop,
            task,
        }
    }

    async fn send(&self, study: &str, sop: &str, content: &str) -> Accepted {
        let submission = Submission::read(dicom(study, sop, content)).await.unwrap();
        self.workflow.accept(&submission).await.unwrap()
    }

    async fn until(&self, study: &str, wanted: impl Fn(&StudyRow) -> bool) -> StudyRow {
        let uid = StudyUid::parse(study).unwrap();
        for _ in 0..500 {
            if let Some(row) = self.store.study(&uid).await.unwrap().filter(&wanted) {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{study} stays {:?}", self.store.study(&uid).await.unwrap());
    }

    async fn settled(&self, study: &str) -> StudyRow {
        self.until(study, |row| row.result.is_some()).await
    }

    fn asked(&self) -> usize {
        self.engine.asked.load(Ordering::SeqCst)
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn code(row: &StudyRow) -> &str {
    &row.result.as_ref().unwrap().reason.as_ref().unwrap().code
}

#[tokio::test]
async fn a_study_is_scored_once_it_is_quiet() {
    let folder = folder();
    let run = Running::start(folder.path(), &[Act::Score], QUICK).await;
    for sop in ["1.2.9.1", "1.2.9.2", "1.2.9.3"] {
        run.send("1.2", sop, "").await;
    }
    let row = run
        .until("1.2", |row| row.state == StudyState::Scored && row.instances == 3)
        .await;
    let uids: Vec<_> = row
        .result
        .unwrap()
        .instances
        .into_iter()
        .map(|one| one.sop_instance_uid.unwrap())
        .collect();
    assert_eq!(uids, ["1.2.9.1", "1.2.9.2", "1.2.9.3"]);
    assert_eq!(run.send("1.2", "1.2.9.1", "").await, Accepted::Identical);
    let asked = run.asked();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        run.asked(),
        asked,
        "the same bytes again are no reason to analyse again"
    );
}

#[tokio::test]
async fn what_must_not_be_scored_is_a_refused_study() {
    let folder = folder();
    let run = Running::start(folder.path(), &[Act::Refuse], QUICK).await;
    run.send("1.2", "1.2.9", "").await;
    let row = run.settled("1.2").await;
    assert_eq!(
        (row.state, code(&row), run.asked()),
        (StudyState::Refused, "no-pixel-data", 1)
    );
}

#[tokio::test]
async fn a_late_image_supersedes_the_result() {
    let folder = folder();
    let run = Running::start(folder.path(), &[Act::Score], QUICK).await;
    run.send("1.2", "1.2.9.1", "").await;
    assert_eq!(run.settled("1.2").await.result.unwrap().instances.len(), 1);
    assert_eq!(run.send("1.2", "1.2.9.2", "").await, Accepted::New);
    let row = run
        .until("1.2", |row| row.generation == 2 && row.result.is_some())
        .await;
    assert_eq!(row.result.unwrap().instances.len(), 2);
}

#[tokio::test]
async fn a_worker_that_dies_with_a_job_is_replaced_after_its_lease() {
    let folder = folder();
    let first = Running::start(folder.path(), &[Act::Hang], QUICK).await;
    first.send("1.2", "1.2.9", "").await;
    while first.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // as a SIGKILL: no drain, no release; the job stays claimed in the database
    first.task.abort();
    assert!(first.task.await.unwrap_err().is_cancelled());
    drop((first.workflow, first.store));

    let second = Running::start(folder.path(), &[Act::Score], QUICK).await;
    let uid = StudyUid::parse("1.2").unwrap();
    assert_eq!(
        second.store.study(&uid).await.unwrap().unwrap().state,
        StudyState::Analysing
    );
    let row = second.settled("1.2").await;
    assert_eq!((row.state, second.asked()), (StudyState::Scored, 1));
    assert_eq!(
        second.store.attempts(&uid, 1).await,
        2,
        "the attempt of the dead worker counts"
    );
}

#[tokio::test]
async fn a_poison_study_is_dead_after_its_attempts_and_the_others_are_scored() {
    let settings = WorkflowSettings { workers: 1, ..QUICK };
    for (poison, cause) in [
        (Act::Panic, "analysis-stopped"),
        (Act::Hang, "timeout"),
        (Act::Fail, "engine"),
    ] {
        let folder = folder();
        let run = Running::start(folder.path(), &[poison, poison, poison, Act::Score], settings).await;
        run.send("1.2", "1.2.9", "").await;
        let row = run.settled("1.2").await;
        assert_eq!(
            (row.state, code(&row), run.asked()),
            (StudyState::Failed, cause, 3),
            "{poison:?}"
        );
        assert_eq!(run.store.attempts(&row.study, 1).await, 3);
        run.send("1.3", "1.3.9", "").await;
        assert_eq!(run.settled("1.3").await.state, StudyState::Scored);
    }
}

/// What could not be analysed and is put back by hand gets another result, with another key: whoever was told of the failure is told
/// of what takes its place.
#[tokio::test]
async fn a_failure_that_is_put_back_by_hand_is_followed_by_another_result() {
    let folder = folder();
    let run = Running::start(
        folder.path(),
        &[Act::Fail, Act::Fail, Act::Fail, Act::Score],
        QUICK,
    )
    .await;
    run.send("1.2", "1.2.9", "").await;
    let failed = run.settled("1.2").await;
    assert_eq!(failed.state, StudyState::Failed);
    assert_eq!(run.store.retry_dead(&failed.study).await.unwrap(), 1);
    let scored = run.until("1.2", |row| row.state == StudyState::Scored).await;
    assert_ne!(scored.result_key, failed.result_key);
    assert_eq!(scored.supersedes, failed.result_key);
}

/// Only the setting of the server stands in the way: it is said at once, and once that was raised, the study has its score.
#[tokio::test]
async fn a_study_that_takes_too_much_memory_to_decode_fails_and_is_scored_when_it_is_put_back() {
    let folder = folder();
    let run = Running::start(folder.path(), &[Act::TooLarge, Act::Score], QUICK).await;
    run.send("1.2", "1.2.9", "").await;
    let failed = run.settled("1.2").await;
    assert_eq!(
        (failed.state, code(&failed), run.asked()),
        (StudyState::Failed, "decode-memory", 1)
    );
    assert_eq!(run.store.retry_dead(&failed.study).await.unwrap(), 1);
    let scored = run.until("1.2", |row| row.state == StudyState::Scored).await;
    assert_ne!(scored.result_key, failed.result_key);
}

/// An order for what failed begins anew and leaves no dead job behind.
#[tokio::test]
async fn an_order_for_a_failed_study_begins_anew() {
    let folder = folder();
    let run = Running::start(
        folder.path(),
        &[Act::Fail, Act::Fail, Act::Fail, Act::Score],
        QUICK,
    )
    .await;
    run.send("1.2", "1.2.9", "").await;
    let failed = run.settled("1.2").await;
    assert!(run.workflow.order(&failed.study, None).await.unwrap());
    run.until("1.2", |row| row.state == StudyState::Scored).await;
    assert_eq!(run.store.backlog().await.unwrap().dead, 0);
}

/// A bad sector under one image: all else can be read, so that waiting would have no end.
#[tokio::test]
async fn an_image_that_alone_cannot_be_read_is_a_failure() {
    let folder = folder();
    let mut settings = QUICK;
    settings.patience.quiet = Duration::from_millis(300);
    let run = Running::start(folder.path(), &[Act::Score], settings).await;
    run.send("1.2", "1.2.9", "").await;
    let shelves = std::fs::read_dir(folder.path().join("objects")).unwrap();
    let mut objects = shelves
        .filter_map(|shelf| std::fs::read_dir(shelf.unwrap().path()).ok())
        .flatten();
    let object = objects.next().unwrap().unwrap().path();
    // what is opened and cannot be read, whoever the test runs as
    std::fs::remove_file(&object).unwrap();
    std::fs::create_dir(&object).unwrap();
    let row = run.settled("1.2").await;
    assert_eq!((row.state, code(&row)), (StudyState::Failed, "object-unreadable"));
    assert_eq!(run.asked(), 0);
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_an_overload_costs_no_attempt() {
    let folder = folder();
    let acts = [&[Act::Fail][..], &[Act::Overload; 8], &[Act::Score]].concat();
    let run = Running::start(folder.path(), &acts, QUICK).await;
    run.send("1.2", "1.2.9", "").await;
    let row = run.settled("1.2").await;
    assert_eq!((row.state, run.asked()), (StudyState::Scored, 10));
    assert_eq!(run.store.attempts(&row.study, 1).await, 2);
}

/// What was scored of a large study is not thrown away because others fill the engine meanwhile.
#[tokio::test]
async fn an_overload_in_the_middle_of_a_study_is_waited_for() {
    let folder = folder();
    let acts = [&[Act::Score][..], &[Act::Overload; 20], &[Act::Score]].concat();
    let settings = WorkflowSettings {
        patience: Patience {
            quiet: Duration::from_millis(300),
            ..QUICK.patience
        },
        ..QUICK
    };
    let run = Running::start(folder.path(), &acts, settings).await;
    for sop in ["1.2.9.1", "1.2.9.2"] {
        run.send("1.2", sop, "").await;
    }
    let row = run.settled("1.2").await;
    assert_eq!((row.state, row.instances), (StudyState::Scored, 2));
    assert_eq!(run.asked(), 22, "the first image was scored once");
    assert_eq!(run.store.attempts(&row.study, row.generation).await, 1);
}

#[tokio::test]
async fn a_study_may_take_longer_than_the_lease_while_it_makes_progress() {
    let folder = folder();
    let settings = WorkflowSettings {
        patience: Patience {
            quiet: Duration::from_millis(300),
            ..QUICK.patience
        },
        ..QUICK
    };
    let run = Running::start(folder.path(), &[Act::Slow(150)], settings).await;
    let sops: Vec<String> = (0..10).map(|number| format!("1.2.9.{number}")).collect();
    for sop in &sops {
        run.send("1.2", sop, "").await;
    }
    let row = run
        .until("1.2", |row| row.instances == 10 && row.result.is_some())
        .await;
    assert_eq!(
        run.store.attempts(&row.study, row.generation).await,
        1,
        "no other claim came between"
    );
}

#[tokio::test]
async fn a_stop_lets_a_job_end_and_puts_back_what_does_not() {
    let folder = folder();
    let run = Running::start(folder.path(), &[Act::Slow(50), Act::Hang], QUICK).await;
    for study in ["1.2", "1.3"] {
        run.send(study, &format!("{study}.9"), "").await;
    }
    while run.asked() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), run.task)
        .await
        .expect("it stops in time")
        .unwrap();
    let (mut scored, mut back) = (0, 0);
    for row in run.store.studies(10).await.unwrap() {
        let attempts = run.store.attempts(&row.study, 1).await;
        scored += usize::from(row.state == StudyState::Scored && attempts == 1);
        back += usize::from(row.state == StudyState::Analysing && attempts == 0);
    }
    assert_eq!((scored, back), (1, 1));
}

#[tokio::test]
async fn fifty_sends_at_once_are_one_result() {
    let folder = folder();
    let run = Arc::new(Running::start(folder.path(), &[Act::Score], QUICK).await);
    let sends: Vec<_> = (0..50)
        .map(|_| {
            let run = run.clone();
            tokio::spawn(async move { run.send("1.2", "1.2.9", "").await })
        })
        .collect();
    for send in sends {
        send.await.unwrap();
    }
    let row = run.settled("1.2").await;
    assert_eq!(
        (row.state, row.generation, run.asked()),
        (StudyState::Scored, 1, 1)
    );
}

#[tokio::test]
async fn what_is_not_dicom_is_not_accepted() {
    let fault = Submission::read("not a DICOM file".into()).await.unwrap_err();
    assert_eq!(fault.code, "not-dicom");
}

/// What a store from before headers were kept has: its instances are found after the server has been up for a moment.
#[tokio::test]
async fn instances_from_before_are_described_when_the_server_starts() {
    let folder = folder();
    let settings = StoreSettings::in_folder(folder.path());
    let store = Store::open(&settings).await.unwrap();
    let workflow = Rehearsed::new(&[Act::Score]).workflow(&store, QUICK);
    for (sop, content) in [("1.2.9.1", "described"), ("1.2.9.2", "lost")] {
        let submission = Submission::read(dicom("1.2", sop, content)).await.unwrap();
        workflow.accept(&submission).await.unwrap();
    }
    store.forget_records().await;
    let lost = store
        .instances(&StudyUid::parse("1.2").unwrap())
        .await
        .unwrap()
        .pop()
        .unwrap();
    let digest = lost.instance.object.to_string();
    let object = folder
        .path()
        .join("objects")
        .join(&digest[..2])
        .join(format!("{}.dcm", &digest[2..]));
    std::fs::remove_file(object).unwrap();

    let run = Running::start(folder.path(), &[Act::Score], QUICK).await;
    for _ in 0..500 {
        if run.store.undescribed("", 1).await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let query = Query::read(Level::Instance, [("StudyDescription", "described")]).unwrap();
    let search = Search {
        level: Level::Instance,
        study: None,
        series: None,
        query: &query,
    };
    let found = run.store.search(&search, 10).await.unwrap();
    assert_eq!(found.len(), 2, "also the one whose object is gone");
    let header = run.store.header(&lost.instance.uid).await.unwrap().unwrap();
    assert!(!header.whole && header.json.contains("1.2.9.2"));
}
