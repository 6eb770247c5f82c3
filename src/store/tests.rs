//! The store's promises about what arrives: durable order, de-duplication, and a full disk. On both engines.

use std::ops::Add;
use std::path::Path;

use super::fixture::{Fixture, accept, at_once, both, instance, record, send, uid};
use super::*;
use crate::fault::{Fault, FaultKind};

fn objects_on_disk(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder.join("objects")).unwrap();
    folders
        .map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap().count())
        .sum()
}

#[test]
fn timestamps_are_rfc_3339() {
    // date -u -d @951827696 +%FT%TZ
    assert_eq!(Timestamp(951_827_696_007).to_string(), "2000-02-29T12:34:56.007Z");
    assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
    assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
    assert_eq!(
        Timestamp(4_107_542_400_000).to_string(),
        "2100-03-01T00:00:00.000Z"
    );
}

#[tokio::test]
async fn a_crash_between_object_and_row_leaves_an_orphan_and_no_study() {
    for fixture in both().await {
        fixture
            .store
            .put_object(Bytes::from_static(b"DICM"))
            .await
            .unwrap();
        let store = fixture.reopened().await;
        assert!(store.studies(10).await.unwrap().is_empty());
        assert_eq!(
            send(&store, "1.2.9", b"DICM").await,
            Accepted::New,
            "sending it again finds the object there"
        );
        assert_eq!(objects_on_disk(fixture.folder.path()), 1);
    }
}

#[tokio::test]
async fn what_was_accepted_is_there_after_reopening() {
    for fixture in both().await {
        assert_eq!(send(&fixture.store, "1.2.9", b"DICM").await, Accepted::New);
        let store = fixture.reopened().await;
        let study = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!(
            (study.state, study.generation, study.instances),
            (StudyState::Received, 1, 1)
        );
        let rows = store.instances(&uid()).await.unwrap();
        assert_eq!(store.object(&rows[0].instance.object).await.unwrap(), "DICM");
    }
}

#[tokio::test]
async fn the_same_bytes_change_nothing_and_other_bytes_replace() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"DICM").await;
        let before = store.study(&uid()).await.unwrap();
        assert_eq!(send(&store, "1.2.9", b"DICM").await, Accepted::Identical);
        assert_eq!(store.study(&uid()).await.unwrap(), before);
        assert_eq!(send(&store, "1.2.9", b"DICN").await, Accepted::Replaced);
        let after = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!((after.generation, after.instances), (2, 1));
        assert_eq!(
            store.instances(&uid()).await.unwrap()[0].instance.object,
            Sha::of(b"DICN")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_equal_sends_at_once_are_one_change() {
    for fixture in both().await {
        let other = fixture.reopened().await;
        let sends = (0..50).map(|number| {
            let store = if number % 2 == 0 {
                other.clone()
            } else {
                fixture.store.clone()
            };
            tokio::spawn(async move { send(&store, "1.2.9", b"DICM").await })
        });
        let mut new = 0;
        for send in sends.collect::<Vec<_>>() {
            new += usize::from(send.await.unwrap() == Accepted::New);
        }
        assert_eq!(new, 1);
        assert_eq!(fixture.store.study(&uid()).await.unwrap().unwrap().generation, 1);
    }
}

#[tokio::test]
async fn an_instance_that_moves_changes_both_studies() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        send(&store, "1.2.9", b"DICM").await;
        let moved = instance("1.3", "1.2.9", Sha::of(b"DICN"));
        assert_eq!(accept(&store, &moved).await, Accepted::Replaced);
        let left = store.study(&uid()).await.unwrap().unwrap();
        assert_eq!((left.generation, left.instances), (2, 0));
        let studies = store.studies(10).await.unwrap();
        assert_eq!(studies[0].study.as_str(), "1.3", "newest first");
    }
}

/// Two senders pull one instance to and fro: wherever it ends, every change of a study was counted, and nobody waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_sent_to_two_studies_at_once_is_in_one_of_them() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        let sends = (0..20).map(|number| {
            let store = store.clone();
            let study = if number % 2 == 0 { "1.2" } else { "1.3" };
            tokio::spawn(async move { accept(&store, &instance(study, "1.2.9", Sha::of(b"DICM"))).await })
        });
        let mut moves = 0;
        for send in sends.collect::<Vec<_>>() {
            moves += i64::from(send.await.unwrap() == Accepted::Replaced);
        }
        let (mut instances, mut changes) = (0, 0);
        for study in store.studies(10).await.unwrap() {
            instances += study.instances;
            changes += study.generation;
        }
        // the first arrival is one change, and every move is one for each of the two studies
        assert_eq!((instances, changes), (1, 1 + 2 * moves));
    }
}

/// SQLite's own way to a full disk. The limit is a connection's, so it is set on each of the pool and on the writers'.
async fn limit_pages(store: &Store, pragma: &'static str) {
    let mut connections = vec![store.database.writers().acquire().await.unwrap()];
    for _ in 0..database::CONNECTIONS {
        connections.push(store.database.read().acquire().await.unwrap());
    }
    for connection in &mut connections {
        sqlx::query(pragma).execute(&mut **connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_so_loses_nothing_and_is_recovered_from() {
    let fixture = both().await.remove(0);
    assert!(fixture.is_sqlite());
    let store = &fixture.store;
    send(store, "1.2.9", b"DICM").await;
    let mut full = None;
    limit_pages(store, "PRAGMA max_page_count = 1").await;
    for number in 0..2_000 {
        let next = instance("1.2", &format!("1.2.9.{number}"), Sha::of(b"DICM"));
        if let Err(error) = store.accept(&next, &record(&next), Stored::Now, &at_once).await {
            full = Some((number, Fault::from(error)));
            break;
        }
    }
    let (stored, fault) = full.expect("the limit is reached");
    assert_eq!((fault.kind, fault.code), (FaultKind::NoSpace, "no-space"));
    assert!(store.study(&uid()).await.is_ok(), "reading goes on");
    limit_pages(store, "PRAGMA max_page_count = 1000000").await;
    assert_eq!(send(store, "1.2.10", b"DICM").await, Accepted::New);
    assert_eq!(store.study(&uid()).await.unwrap().unwrap().instances, stored + 2);
}

/// What a store of the version before had: it opens, and its results are still there.
#[tokio::test]
async fn a_store_of_an_earlier_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings::in_folder(folder.path());
    let old = sqlx::SqlitePool::connect(
        &settings
            .database
            .to_string()
            .replace("sqlite:", "sqlite://")
            .add("?mode=rwc"),
    )
    .await
    .unwrap();
    let migrations = sqlx::migrate!("src/store/migrations");
    let first_two = sqlx::migrate::Migrator {
        migrations: migrations
            .iter()
            .filter(|one| one.version < 3)
            .cloned()
            .collect::<Vec<_>>()
            .into(),
        ..sqlx::migrate::Migrator::DEFAULT
    };
    first_two.run(&old).await.unwrap();
    for statement in [
        "INSERT INTO studies VALUES ('1.2', 'refused', 5, 6, 7, 1, '{\"outcome\":\"refused\",\"findings\":[],\"instances\":[]}')",
        "INSERT INTO studies VALUES ('1.3', 'analysing', 5, 6, NULL, 2, NULL)",
        "INSERT INTO instances VALUES ('1.2.9', '1.2', '1.2.3', '', '', 'cafe', 4, 6, 0)",
        "INSERT INTO jobs VALUES ('1.3', 2, 'ready', 1, 1, 0, NULL, NULL)",
    ] {
        sqlx::query(statement).execute(&old).await.unwrap();
    }
    old.close().await;
    let store = Store::open(&settings).await.unwrap();
    let study = store.study(&uid()).await.unwrap().unwrap();
    assert_eq!(
        (study.state, study.analysed_at, study.instances),
        (StudyState::Refused, Some(Timestamp(7)), 1)
    );
    assert_eq!(study.result.unwrap().outcome, crate::finding::Outcome::Refused);
    let lease = std::time::Duration::from_mins(1);
    let job = store.claim(Kind::Analyse, 1, lease, 3).await.unwrap().remove(0);
    assert_eq!((job.study.as_str(), job.generation, job.attempt), ("1.3", 2, 2));
    assert!(!job.suspect, "nothing is known against it");
}

#[tokio::test]
async fn messages_hold_no_path_and_no_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let unwritable = StoreSettings::in_folder(&file.join("data"));
    let unreachable = StoreSettings {
        database: "postgres://osteon:s3cr3t@127.0.0.1:1/osteon".parse().unwrap(),
        ..StoreSettings::in_folder(folder.path())
    };
    for settings in [unwritable, unreachable] {
        let error = Store::open(&settings).await.unwrap_err();
        for secret in [folder.path().to_str().unwrap(), "s3cr3t", "127.0.0.1"] {
            assert!(!error.to_string().contains(secret), "{error}");
        }
    }
}

/// What was committed is on disk when the commit returns, whatever the engine's own default is.
#[tokio::test]
async fn every_connection_commits_durably() {
    for Fixture {
        store, folder: _kept, ..
    } in both().await
    {
        let mut connections = vec![];
        for _ in 0..database::CONNECTIONS {
            connections.push(store.database.read().acquire().await.unwrap());
        }
        for connection in &mut connections {
            let setting = database::Sql {
                sqlite: "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous",
                postgres: "SELECT current_setting('synchronous_commit')",
            };
            let row = store
                .database
                .query(setting)
                .fetch_one(&mut **connection)
                .await
                .unwrap();
            let value: String = sqlx::Row::get(&row, 0);
            assert!(value == "2" || value == "on", "{value}");
        }
    }
}

/// Another server is bringing the tables up to date, for longer than a sender would wait for a lock.
#[tokio::test]
async fn a_server_that_starts_waits_for_one_that_migrates() {
    let Some(fixture) = both().await.into_iter().nth(1) else {
        return;
    };
    let mut other = fixture.store.database.read().acquire().await.unwrap();
    let lock = "BEGIN; LOCK TABLE _sqlx_migrations IN ACCESS EXCLUSIVE MODE";
    sqlx::Executor::execute(&mut *other, lock).await.unwrap();
    let settings = fixture.settings.clone();
    let starting = tokio::spawn(async move { Store::open(&settings).await });
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    sqlx::Executor::execute(&mut *other, "COMMIT").await.unwrap();
    assert!(starting.await.unwrap().is_ok());
}
