//! The store's promises about jobs: queued once, settled once, fenced, and dead with a visible outcome. On both engines.

use std::time::Duration;

use sqlx::Row;

use super::database::sql;
use super::fixture::{Fixture, accept, both, instance, record, send, uid};
use super::*;
use crate::dicom::StudyUid;
use crate::finding::{Outcome, Reason, StudyResult};

pub(super) const LEASE: Duration = Duration::from_mins(1);
const EXPIRED: Duration = Duration::ZERO;

fn quiet(snapshot: &Snapshot) -> Completeness {
    Completeness {
        basis: Basis::Quiet,
        instances: snapshot.instances,
        expected: snapshot.expected,
    }
}

pub(super) async fn enqueue(store: &Store) -> usize {
    store.enqueue_due(10, quiet).await.unwrap()
}

/// The next analysis, if there is one.
pub(super) async fn claim(store: &Store, lease: Duration) -> Option<Job> {
    let mut jobs = store.claim(Kind::Analyse, 1, lease, 3).await.unwrap();
    jobs.pop()
}

/// A study of one instance whose job is queued.
pub(super) async fn queued(store: &Store) {
    send(store, "1.2.9", b"DICM").await;
    assert_eq!(enqueue(store).await, 1);
}

pub(super) fn result(outcome: Outcome, code: &str) -> NewResult {
    let reason = Reason {
        code: code.to_owned(),
        message: "as the test says".to_owned(),
    };
    NewResult {
        key: ResultKey::of(&uid(), "model", code),
        model: None,
        inputs: vec![Input {
            instance: crate::dicom::InstanceUid::parse("1.2.9").unwrap(),
            object: Sha::of(b"DICM"),
        }],
        body: StudyResult {
            outcome,
            reason: Some(reason),
            findings: vec![],
            instances: vec![],
        },
    }
}

pub(super) async fn study(store: &Store) -> StudyRow {
    store.study(&uid()).await.unwrap().unwrap()
}

async fn code(store: &Store) -> String {
    study(store).await.result.unwrap().reason.unwrap().code
}

pub(super) async fn kinds(store: &Store) -> Vec<String> {
    let events = store.events(&uid()).await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

#[tokio::test]
async fn a_job_is_queued_once_claimed_once_and_settled_once() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        assert_eq!(enqueue(&store).await, 0, "one job for a study and generation");
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!((job.attempt, job.suspect), (1, false));
        assert_eq!(claim(&store, LEASE).await, None);
        assert_eq!(study(&store).await.state, StudyState::Analysing);
        assert_eq!(
            store
                .complete(&job, &result(Outcome::Refused, "a"))
                .await
                .unwrap(),
            Settled::Stored
        );
        assert_eq!(
            store.complete(&job, &result(Outcome::Failed, "b")).await.unwrap(),
            Settled::Stale
        );
        let study = study(&store).await;
        assert_eq!(
            (study.state, code(&store).await.as_str()),
            (StudyState::Refused, "a")
        );
        assert!(study.analysed_at >= Some(study.received_at));
        assert_eq!(
            study.completeness,
            Some(Completeness {
                basis: Basis::Quiet,
                instances: 1,
                expected: None
            })
        );
        let row = store.result(&study.result_key.unwrap()).await.unwrap().unwrap();
        assert_eq!(
            (row.inputs.len(), row.inputs[0].object.clone(), row.supersedes),
            (1, Sha::of(b"DICM"), None)
        );
        assert_eq!(
            kinds(&store).await,
            ["received", "queued", "claimed", "refused", "delivery-queued"]
        );
    }
}

#[tokio::test]
async fn a_late_write_is_fenced() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let stalled = claim(&store, EXPIRED).await.unwrap();
        let current = claim(&store, LEASE).await.unwrap();
        assert_eq!((stalled.attempt, current.attempt, current.suspect), (1, 2, true));
        let late = result(Outcome::Failed, "late");
        assert_eq!(store.complete(&stalled, &late).await.unwrap(), Settled::Stale);
        assert_eq!(store.renew(&stalled, LEASE).await.unwrap(), Settled::Stale);
        assert_eq!(store.release(&stalled, EXPIRED).await.unwrap(), Settled::Stale);
        assert_eq!(
            store.fail_attempt(&stalled, "late", LEASE).await.unwrap(),
            Settled::Stale
        );
        assert_eq!(
            store
                .complete(&current, &result(Outcome::Scored, "current"))
                .await
                .unwrap(),
            Settled::Stored
        );
        assert_eq!(code(&store).await, "current");
    }
}

/// The negative control of [`a_late_write_is_fenced`]: without the token, both claims settle the job.
#[tokio::test]
async fn without_the_token_a_late_write_would_double() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let mut completions = 0;
        for _claim in [
            claim(&store, EXPIRED).await.unwrap(),
            claim(&store, EXPIRED).await.unwrap(),
        ] {
            let unfenced = store
                .database
                .query(sql!("UPDATE jobs SET settled_at = 1 WHERE study_uid = '1.2'"));
            completions += unfenced
                .execute(store.database.read())
                .await
                .unwrap()
                .rows_affected();
        }
        assert_eq!(completions, 2);
    }
}

#[tokio::test]
async fn a_late_image_supersedes_the_running_job_and_its_result() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(send(&store, "1.2.10", b"LATE").await, Accepted::New);
        assert_eq!(
            store
                .complete(&job, &result(Outcome::Scored, "early"))
                .await
                .unwrap(),
            Settled::Stale
        );
        let row = study(&store).await;
        assert_eq!(
            (row.state, row.generation, row.result),
            (StudyState::Received, 2, None)
        );
        assert_eq!(enqueue(&store).await, 1);
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(job.generation, 2);
        let first = result(Outcome::Scored, "first");
        assert_eq!(store.complete(&job, &first).await.unwrap(), Settled::Stored);

        send(&store, "1.2.11", b"LATER").await;
        assert_eq!(
            study(&store).await.result,
            None,
            "it would not cover every instance"
        );
        enqueue(&store).await;
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(
            store
                .complete(&job, &result(Outcome::Scored, "second"))
                .await
                .unwrap(),
            Settled::Stored
        );
        assert_eq!(study(&store).await.supersedes, Some(first.key));
    }
}

#[tokio::test]
async fn spent_attempts_are_a_dead_job_and_a_failed_study_that_can_be_tried_again() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        for attempt in 1..=3 {
            assert_eq!(claim(&store, EXPIRED).await.unwrap().attempt, attempt);
        }
        assert_eq!(claim(&store, EXPIRED).await, None);
        let row = study(&store).await;
        let reason = row.result.unwrap().reason.unwrap();
        assert_eq!(
            (row.state, reason.code.as_str()),
            (StudyState::Failed, "analysis-failed")
        );
        assert!(reason.message.contains("3 attempts"), "{}", reason.message);
        let dead = store.jobs(true, 10).await.unwrap();
        assert_eq!(
            (dead.len(), dead[0].state.as_str(), dead[0].attempts),
            (1, "dead", 3)
        );
        assert_eq!(store.backlog().await.unwrap().dead, 1);

        assert_eq!(store.retry_dead(&uid()).await.unwrap(), 1);
        assert_eq!(store.retry_dead(&uid()).await.unwrap(), 0);
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!((job.attempt, job.suspect), (1, false));
        assert_eq!(
            store
                .complete(&job, &result(Outcome::Scored, "better"))
                .await
                .unwrap(),
            Settled::Stored
        );
        let row = study(&store).await;
        assert_eq!(
            (row.state, store.backlog().await.unwrap().dead),
            (StudyState::Scored, 0)
        );
        assert!(row.supersedes.is_some(), "it takes the place of the failure");
    }
}

#[tokio::test]
async fn a_failed_attempt_counts_and_a_released_one_does_not() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(store.release(&job, EXPIRED).await.unwrap(), Settled::Stored);
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!((job.attempt, job.suspect), (1, false));
        let failed = store
            .fail_attempt(&job, "the engine stopped", Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(failed, Settled::Stored);
        let job = claim(&store, EXPIRED).await.unwrap();
        assert_eq!(
            (job.attempt, job.suspect),
            (2, false),
            "the attempt before said why it failed"
        );
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(
            (job.attempt, job.suspect),
            (3, true),
            "the attempt before ended without a word"
        );
        assert_eq!(store.release(&job, EXPIRED).await.unwrap(), Settled::Stored);
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(
            (job.attempt, job.suspect),
            (3, true),
            "a release does not clear it"
        );
        assert_eq!(
            store.fail_attempt(&job, "again", LEASE).await.unwrap(),
            Settled::Stored
        );
        assert_eq!(claim(&store, LEASE).await, None, "not before its delay is over");
    }
}

#[tokio::test]
async fn many_workers_at_once_take_every_job_once() {
    for fixture in both().await {
        for number in 0..60 {
            let object = Sha::of(b"DICM");
            accept(
                &fixture.store,
                &instance(&format!("1.3.{number}"), &format!("1.3.{number}.1"), object),
            )
            .await;
        }
        while enqueue(&fixture.store).await > 0 {}
        let mut workers = Vec::new();
        for _ in 0..4 {
            let store = fixture.reopened().await;
            workers.push(tokio::spawn(async move {
                let mut taken = Vec::new();
                loop {
                    let jobs = store.claim(Kind::Analyse, 7, LEASE, 3).await.unwrap();
                    if jobs.is_empty() {
                        return taken;
                    }
                    taken.extend(jobs.into_iter().map(|job| job.id));
                }
            }));
        }
        let mut taken = Vec::new();
        for worker in workers {
            taken.extend(worker.await.unwrap());
        }
        // a worker that saw only rows that others held may have stopped early: what it left is there for the next
        taken.extend(
            fixture
                .store
                .claim(Kind::Analyse, 60, LEASE, 3)
                .await
                .unwrap()
                .into_iter()
                .map(|job| job.id),
        );
        let jobs = taken.len();
        taken.sort();
        taken.dedup();
        assert_eq!((jobs, taken.len()), (60, 60));
    }
}

#[tokio::test]
async fn a_study_that_is_ordered_is_due_at_once_and_a_settled_one_anew() {
    let never = |snapshot: &Snapshot| match (snapshot.ordered, snapshot.expected) {
        (false, None) => LEASE,
        (false, Some(expected)) if snapshot.instances < expected => LEASE,
        _ => Duration::ZERO,
    };
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        assert_eq!(store.order(&uid(), None, &never).await.unwrap(), Asked::Unknown);
        let waiting = instance("1.2", "1.2.9", Sha::of(b"DICM"));
        store
            .accept(&waiting, &record(&waiting), Stored::Now, &never)
            .await
            .unwrap();
        assert_eq!(enqueue(&store).await, 0);
        store.order(&uid(), Some(2), &never).await.unwrap();
        assert_eq!(enqueue(&store).await, 0, "one of two is there");
        let second = instance("1.2", "1.2.10", Sha::of(b"DICM"));
        store
            .accept(&second, &record(&second), Stored::Now, &never)
            .await
            .unwrap();
        assert_eq!(enqueue(&store).await, 1);
        store.order(&uid(), None, &never).await.unwrap();
        assert_eq!(study(&store).await.generation, 2, "it is on its way already");
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(
            store.complete(&job, &result(Outcome::Scored, "a")).await.unwrap(),
            Settled::Stored
        );
        store.order(&uid(), None, &never).await.unwrap();
        assert_eq!(enqueue(&store).await, 1);
        let job = claim(&store, LEASE).await.unwrap();
        assert_eq!(job.generation, 3);
        assert_eq!(
            store.complete(&job, &result(Outcome::Scored, "a")).await.unwrap(),
            Settled::Stored
        );
        let row = study(&store).await;
        assert_eq!(
            (row.state, row.supersedes),
            (StudyState::Scored, None),
            "the same result is not its own successor"
        );
    }
}

#[tokio::test]
async fn a_study_says_since_when_it_is_due_until_it_is_queued() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"DICM").await;
        let (waiting, now) = (study(&store).await, store.now().await.unwrap());
        assert!(waiting.due_at >= Some(waiting.received_at) && waiting.due_at <= Some(now));
        assert_eq!(enqueue(&store).await, 1);
        assert_eq!(study(&store).await.due_at, None);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_holds_nothing_up() {
    let hour = Duration::from_hours(1);
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        queued(&store).await;
        accept(&store, &instance("1.5", "1.5.1", Sha::of(b"DICM"))).await;
        for ahead in [
            sql!("UPDATE jobs SET available_at = available_at + 3600000"),
            sql!("UPDATE studies SET due_at = due_at + 3600000"),
        ] {
            store
                .database
                .query(ahead)
                .execute(store.database.read())
                .await
                .unwrap();
        }
        assert_eq!((enqueue(&store).await, claim(&store, LEASE).await), (0, None));
        assert_eq!(
            store.mend_times(hour * 2, hour * 2, hour * 2).await.unwrap(),
            0,
            "so far ahead may be right"
        );
        assert_eq!(store.mend_times(LEASE, LEASE, LEASE).await.unwrap(), 2);
        assert_eq!(enqueue(&store).await, 1);
        assert!(claim(&store, LEASE).await.is_some());
    }
}

impl Store {
    /// How many attempts the job of a study's generation has had.
    pub(crate) async fn attempts(&self, study: &StudyUid, generation: i64) -> i64 {
        let attempts = self
            .database
            .query(sql!(
                "SELECT attempts FROM jobs WHERE kind = 'analyse' AND study_uid = $1 AND generation = $2"
            ))
            .bind(study.to_string())
            .bind(generation);
        attempts.fetch_one(self.database.read()).await.unwrap().get(0)
    }
}
