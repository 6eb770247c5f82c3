//! The store's promises about what is given up, put back, or queued anew. On both engines.

use std::time::Duration;

use super::database::sql;
use super::fixture::{Fixture, accept, at_once, both, instance, make_nothing, send, uid};
use super::*;
use crate::finding::{Outcome, Reason, StudyResult};

const LEASE: Duration = Duration::from_mins(1);

async fn enqueue(store: &Store) {
    let describe = |snapshot: &Snapshot| Completeness {
        basis: Basis::Quiet,
        instances: snapshot.instances,
        expected: None,
    };
    store.enqueue_due(100, describe).await.unwrap();
}

async fn claim(store: &Store, kind: Kind<'_>) -> Job {
    store.claim(kind, 1, LEASE, 3).await.unwrap().remove(0)
}

fn scored(job: &Job) -> NewResult {
    NewResult {
        key: ResultKey::of(&job.study, "model", "input"),
        model: None,
        inputs: vec![],
        body: StudyResult {
            outcome: Outcome::Scored,
            reason: Some(Reason {
                code: "test".to_owned(),
                message: "as the test says".to_owned(),
            }),
            findings: vec![],
            instances: vec![],
        },
    }
}

async fn complete(store: &Store) {
    let job = claim(store, Kind::Analyse).await;
    assert_eq!(
        store.complete(&job, &scored(&job)).await.unwrap(),
        Settled::Stored
    );
}

async fn run(store: &Store, statement: database::Sql) {
    store
        .database
        .query(statement)
        .execute(store.database.read())
        .await
        .unwrap();
}

/// The row of the spent job is one that this version cannot read, so that it is never given up.
#[tokio::test]
async fn a_spent_job_that_cannot_be_given_up_keeps_no_other_from_being_claimed() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"DICM").await;
        enqueue(&store).await;
        for _ in 0..3 {
            store.claim(Kind::Analyse, 1, Duration::ZERO, 3).await.unwrap();
        }
        run(&store, sql!("UPDATE jobs SET study_uid = 'unreadable'")).await;
        accept(&store, &instance("1.3", "1.3.1", Sha::of(b"DICM"))).await;
        enqueue(&store).await;
        assert_eq!(claim(&store, Kind::Analyse).await.study.as_str(), "1.3");
    }
}

#[tokio::test]
async fn a_study_that_fails_again_after_it_was_put_back_says_why_it_failed_now() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"DICM").await;
        enqueue(&store).await;
        for code in ["engine", "timeout"] {
            store.retry_dead(&uid()).await.unwrap();
            let job = claim(&store, Kind::Analyse).await;
            let failed = NewResult::failed(&job, code, "as the test says".to_owned());
            assert_eq!(store.bury(&job, &failed).await.unwrap(), Settled::Stored);
            let study = store.study(&uid()).await.unwrap().unwrap();
            assert_eq!(study.result.unwrap().reason.unwrap().code, code);
            assert_eq!(study.supersedes.is_some(), code == "timeout");
        }
    }
}

/// A destination refuses all that is put back, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn putting_everything_back_ends_though_it_is_refused_again_at_once() {
    for fixture in both().await {
        let store = &fixture.store;
        for number in 0..20 {
            let study = format!("1.3.{number}");
            accept(store, &instance(&study, &format!("{study}.1"), Sha::of(b"DICM"))).await;
        }
        enqueue(store).await;
        for _ in 0..20 {
            complete(store).await;
        }
        let worker = fixture.reopened().await;
        let refuse = async move |worker: Store| {
            let jobs = worker.claim(Kind::Deliver("pacs"), 4, LEASE, 3).await.unwrap();
            for job in &jobs {
                assert_eq!(
                    worker.bury_delivery(job, "refused").await.unwrap(),
                    Settled::Stored
                );
            }
            jobs.len()
        };
        while refuse(worker.clone()).await > 0 {}
        let refusing = tokio::spawn(async move {
            loop {
                refuse(worker.clone()).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let all = tokio::time::timeout(Duration::from_secs(20), store.retry_all_dead()).await;
        refusing.abort();
        assert_eq!(all.expect("it ends").unwrap(), 20);
    }
}

#[tokio::test]
async fn what_is_queued_anew_has_waited_since_then_only() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"DICM").await;
        enqueue(&store).await;
        complete(&store).await;
        make_nothing(&store).await;
        let job = claim(&store, Kind::Deliver("pacs")).await;
        assert_eq!(store.delivered(&job).await.unwrap(), Settled::Stored);
        run(&store, sql!("UPDATE jobs SET queued_at = 1")).await;

        store.order(&uid(), None, &at_once).await.unwrap();
        enqueue(&store).await;
        complete(&store).await;
        let again = claim(&store, Kind::Deliver("pacs")).await;
        assert_eq!((&again.id, again.attempt), (&job.id, 1), "it is sent once more");
        assert_eq!(store.delivered(&job).await.unwrap(), Settled::Stale);
        assert!(store.backlog().await.unwrap().oldest_ms < 60_000);

        run(&store, sql!("UPDATE jobs SET queued_at = 1")).await;
        assert_eq!(
            store.bury_delivery(&again, "refused").await.unwrap(),
            Settled::Stored
        );
        assert_eq!(store.retry_dead(&uid()).await.unwrap(), 1);
        assert!(store.backlog().await.unwrap().oldest_ms < 60_000);
    }
}

/// The token guards this, too; here it is the only guard that is left.
#[tokio::test]
async fn a_result_of_an_earlier_generation_is_never_the_outcome() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"DICM").await;
        enqueue(&store).await;
        let job = claim(&store, Kind::Analyse).await;
        run(&store, sql!("UPDATE studies SET generation = 2")).await;
        assert_eq!(
            store.complete(&job, &scored(&job)).await.unwrap(),
            Settled::Stored
        );
        let study = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!((study.state, study.result), (StudyState::Analysing, None));
        assert!(store.deliveries(&uid()).await.unwrap().is_empty());
    }
}

/// A statement by which PostgreSQL fails with this code.
macro_rules! raise {
    ($code:literal) => {
        database::Sql {
            sqlite: "",
            postgres: concat!(
                "DO $$ BEGIN RAISE EXCEPTION 'as the test says' USING ERRCODE = '",
                $code,
                "'; END $$"
            ),
        }
    };
}

#[tokio::test]
async fn what_postgresql_says_is_understood() {
    let Some(Fixture {
        store, folder: _kept, ..
    }) = both().await.into_iter().nth(1)
    else {
        return;
    };
    for (statement, code) in [
        (raise!("53100"), "no-space"),
        (raise!("25006"), "store-read-only"),
        (raise!("42501"), "store-read-only"),
        (raise!("40P01"), "store-busy"),
        (raise!("40001"), "store-busy"),
        (raise!("55P03"), "store-busy"),
        (raise!("57014"), "store-busy"),
        (raise!("53300"), "store-busy"),
        (raise!("57P01"), "store-unavailable"),
        (raise!("08006"), "store-unavailable"),
        (raise!("22012"), "database"),
    ] {
        let raised = store
            .database
            .query(statement)
            .execute(store.database.read())
            .await;
        let fault = crate::fault::Fault::from(StoreError::from(raised.unwrap_err()));
        assert_eq!(fault.code, code, "{}", statement.postgres);
    }
}

/// A row that another transaction is about to take is left to it: nobody waits, and no decision rests on what it was before.
#[tokio::test]
async fn what_another_process_holds_is_passed_over() {
    let Some(Fixture {
        store, folder: _kept, ..
    }) = both().await.into_iter().nth(1)
    else {
        return;
    };
    let at_most = Duration::from_secs(3);
    for study in ["1.3", "1.4"] {
        accept(&store, &instance(study, &format!("{study}.1"), Sha::of(b"DICM"))).await;
    }
    // an image arrives and is not committed yet
    let mut arrival = store.database.write().await.unwrap();
    let changed = arrival.query(sql!("UPDATE studies SET generation = 2 WHERE study_uid = '1.3'"));
    changed.execute(arrival.connection().unwrap()).await.unwrap();
    tokio::time::timeout(at_most, enqueue(&store))
        .await
        .expect("nobody waits");
    arrival.commit().await.unwrap();
    let jobs = store.jobs(false, 10).await.unwrap();
    assert_eq!((jobs.len(), jobs[0].study.as_str()), (1, "1.4"));
    enqueue(&store).await;

    let mut elsewhere = store.database.write().await.unwrap();
    let held = elsewhere.query(sql!("SELECT job_id FROM jobs WHERE study_uid = '1.4'" for_update));
    held.execute(elsewhere.connection().unwrap()).await.unwrap();
    let claimed = tokio::time::timeout(at_most, store.claim(Kind::Analyse, 1, LEASE, 3)).await;
    let claimed = claimed.expect("nobody waits").unwrap();
    assert_eq!(claimed[0].id, "analyse/1.3/2");
    elsewhere.commit().await.unwrap();
}
