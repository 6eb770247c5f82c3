//! For tests of the store: the same store on SQLite and on a real PostgreSQL.
//!
//! One cluster serves all tests of the process, each with a database of its own. It needs PostgreSQL's server programs; where they
//! are missing the tests fail and say so, unless `OSTEON_TEST_WITHOUT_POSTGRES=1` leaves that half out.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tempfile::TempDir;

use super::{Accepted, Kind, NewInstance, OWN_ARCHIVE, Settled, Sha, Snapshot, Store, StoreSettings, Stored};
use crate::dicom::record::Record;
use crate::dicom::{InstanceUid, SeriesUid, StudyUid};

#[path = "../../tests/stage/postgres.rs"]
mod postgres;
mod server {
    /// A port that nobody listens on.
    pub(super) fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    }
}

use postgres::Postgres;

static CLUSTER: OnceLock<Option<Postgres>> = OnceLock::new();
static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// A store and where it is.
pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) settings: StoreSettings,
    pub(crate) store: Store,
}

impl Fixture {
    async fn new(database: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = StoreSettings::in_folder(folder.path());
        settings.destinations = vec!["pacs".to_owned()];
        if let Some(url) = database {
            settings.database = url.parse().unwrap();
        }
        let store = Store::open(&settings).await.unwrap();
        Self {
            folder,
            settings,
            store,
        }
    }

    /// Another handle, as of another process.
    pub(crate) async fn reopened(&self) -> Store {
        Store::open(&self.settings).await.unwrap()
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.settings.database.file().is_some()
    }
}

/// The URL of a new, empty database of PostgreSQL, if there is one on this machine.
pub(crate) fn new_postgres_database() -> Option<String> {
    let cluster = CLUSTER.get_or_init(|| {
        if std::env::var("OSTEON_TEST_WITHOUT_POSTGRES").is_ok_and(|value| value == "1") {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("osteon-store-{}", std::process::id()));
        let cluster = Postgres::start(&folder, &[]).unwrap_or_else(|error| {
            panic!(
                "the store's tests need PostgreSQL: {error} (OSTEON_TEST_WITHOUT_POSTGRES=1 leaves them out)"
            )
        });
        // statics are never dropped: whoever holds the other end of this pipe cleans up when the tests end
        let after = format!(
            "cat > /dev/null; kill -QUIT $(head -1 {0}/data/postmaster.pid); sleep 1; rm -rf {0}",
            folder.display()
        );
        let waiting = Command::new("sh")
            .args(["-c", &after])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        std::mem::forget(waiting);
        Some(cluster)
    });
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    Some(cluster.as_ref()?.database(&format!("store_{number}")).unwrap())
}

/// An empty store on each engine.
pub(crate) async fn both() -> Vec<Fixture> {
    let mut both = vec![Fixture::new(None).await];
    let url = tokio::task::spawn_blocking(new_postgres_database).await.unwrap();
    if url.is_some() {
        both.push(Fixture::new(url).await);
    }
    both
}

pub(super) fn instance(study: &str, sop: &str, object: Sha) -> NewInstance {
    NewInstance {
        uid: InstanceUid::parse(sop).unwrap(),
        study: StudyUid::parse(study).unwrap(),
        series: SeriesUid::parse("1.2.3").unwrap(),
        class: "1.2.840.10008.5.1.4.1.1.1.1".to_owned(),
        transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
        object,
        bytes: 4,
        urgent: false,
        expected: None,
    }
}

/// The record of an instance of which nothing is known but who it is.
pub(super) fn record(instance: &NewInstance) -> Record {
    Record::of_identity(
        instance.study.as_str(),
        instance.series.as_str(),
        instance.uid.as_str(),
        &instance.class,
    )
}

pub(super) fn uid() -> StudyUid {
    StudyUid::parse("1.2").unwrap()
}

/// Every study is complete at once.
pub(super) fn at_once(_: &Snapshot) -> std::time::Duration {
    std::time::Duration::ZERO
}

pub(super) async fn accept(store: &Store, instance: &NewInstance) -> Accepted {
    store
        .accept(instance, &record(instance), Stored::Now, &at_once)
        .await
        .unwrap()
        .unwrap()
}

/// Ends the making of objects as if there were none to make.
pub(super) async fn make_nothing(store: &Store) {
    let own = Kind::Deliver(OWN_ARCHIVE);
    let lease = std::time::Duration::from_mins(1);
    for job in store.claim(own, 10, lease, 3).await.unwrap() {
        let settled = store.keep_made(&job, &[], &serde_json::json!({})).await;
        assert_eq!(settled.unwrap(), Settled::Stored);
    }
}

pub(super) async fn send(store: &Store, sop: &str, content: &'static [u8]) -> Accepted {
    let (object, stored) = store.put_object(Bytes::from_static(content)).await.unwrap();
    let instance = instance("1.2", sop, object);
    store
        .accept(&instance, &record(&instance), stored, &at_once)
        .await
        .unwrap()
        .unwrap()
}
