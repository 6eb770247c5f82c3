//! The promises about objects, each kept by a folder and by a bucket on a real S3 server.

mod bucket_tests;
mod folder_tests;
mod sealed_tests;
mod setting_tests;

#[path = "../../../tests/stage/s3.rs"]
mod s3;

use std::fs;
use std::path::PathBuf;

use futures_util::TryStreamExt as _;
use tempfile::TempDir;

use super::*;
use s3::S3Server;

/// A place for objects and what lies under it, so that a test can break it.
struct Ground {
    /// Removed when the test is over.
    _root: TempDir,
    server: Option<S3Server>,
    place: ObjectPlace,
    /// Where the files of the place are.
    files: PathBuf,
}

impl Ground {
    fn folder() -> Self {
        let root = tempfile::tempdir().unwrap();
        let files = root.path().join("data").join("objects");
        Self {
            _root: root,
            server: None,
            place: ObjectPlace::Folder(files.clone()),
            files,
        }
    }

    async fn bucket() -> Self {
        let root = tempfile::tempdir().unwrap();
        let server = S3Server::start(root.path()).await;
        let place = format!("s3://{}/hospital/objects", server.bucket)
            .parse()
            .unwrap();
        Self {
            files: server.folder().join("hospital").join("objects"),
            _root: root,
            server: Some(server),
            place,
        }
    }

    async fn open(&self, keys: Option<&str>) -> Objects {
        let settings = self
            .server
            .iter()
            .flat_map(S3Server::environment)
            .collect::<Vec<_>>();
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let keys = keys.map(|keys| keys.parse().unwrap());
        Objects::open_with(&self.place, keys, &settings).await.unwrap()
    }

    fn file(&self, sha: &Sha) -> PathBuf {
        let (folder, file) = sha.location();
        self.files.join(folder).join(file)
    }

    /// How many files there are, of objects or of anything else but the mark of a bucket.
    fn count(&self) -> usize {
        let entries = |folder| fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
        entries(self.files.clone())
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entries(entry.path()).count())
            .sum()
    }

    /// Tells whether the file was written anew.
    fn identity(&self, sha: &Sha) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(self.file(sha)).unwrap())
    }
}

const OLD: &str = "8d3f1c0a5b7e92644f0e1d2c3b4a59687f6e5d4c3b2a19081726354453627180";
const NEW: &str = "1b0c9d8e7f6a5b4c3d2e1f00112233445566778899aabbccddeeff0123456789";

macro_rules! on_a_folder_and_on_a_bucket {
    ($($name:ident),* $(,)?) => {
        mod on_a_folder {
            $(#[tokio::test] async fn $name() { super::$name(super::Ground::folder()).await; })*
        }
        mod on_a_bucket {
            $(#[tokio::test] async fn $name() { super::$name(super::Ground::bucket().await).await; })*
        }
    };
}

on_a_folder_and_on_a_bucket!(
    objects_come_back_byte_for_byte_and_once,
    a_damaged_or_lost_object_is_said_to_be_and_sending_it_again_mends_it,
    an_intact_object_is_not_written_again,
    a_sealed_object_shows_nothing_and_comes_back,
    without_its_key_a_sealed_object_is_refused_and_can_be_sent_again,
    keys_can_be_changed,
    what_was_stored_in_clear_is_read_and_is_sealed_when_it_is_sent_again,
    an_object_does_not_pass_for_another,
    objects_are_listed_and_removed,
    a_place_that_has_vanished_is_an_error_and_is_not_made_anew,
);

async fn objects_come_back_byte_for_byte_and_once(ground: Ground) {
    let objects = ground.open(None).await;
    let bytes = Bytes::from((0..=255_u8).cycle().take(100_000).collect::<Vec<_>>());
    let puts = (0..8).map(|_| {
        tokio::spawn({
            let (objects, bytes) = (objects.clone(), bytes.clone());
            async move { objects.put(bytes).await }
        })
    });
    for put in puts.collect::<Vec<_>>() {
        assert_eq!(put.await.unwrap().unwrap(), Sha::of(&bytes));
    }
    assert_eq!(objects.get(&Sha::of(&bytes)).await.unwrap(), bytes);
    assert_eq!(fs::read(ground.file(&Sha::of(&bytes))).unwrap(), bytes);
    assert_eq!(ground.count(), 1, "one object, and no temporary file is left");
}

async fn a_damaged_or_lost_object_is_said_to_be_and_sending_it_again_mends_it(ground: Ground) {
    for keys in [None, Some(OLD)] {
        let objects = ground.open(keys).await;
        let sha = objects.put(Bytes::from_static(b"DICM")).await.unwrap();
        let stored = fs::read(ground.file(&sha)).unwrap();
        assert_eq!(objects.check(&sha, true).await.unwrap(), ObjectState::Present);

        let mut damaged = stored.clone();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(ground.file(&sha), &damaged).unwrap();
        assert!(matches!(objects.get(&sha).await, Err(StoreError::Damaged)));
        assert_eq!(objects.check(&sha, true).await.unwrap(), ObjectState::Damaged);
        assert_eq!(objects.check(&sha, false).await.unwrap(), ObjectState::Present);
        objects.put(Bytes::from_static(b"DICM")).await.unwrap();
        assert_eq!(objects.get(&sha).await.unwrap(), "DICM");

        fs::remove_file(ground.file(&sha)).unwrap();
        assert!(matches!(objects.get(&sha).await, Err(StoreError::Damaged)));
        for deep in [false, true] {
            assert_eq!(objects.check(&sha, deep).await.unwrap(), ObjectState::Missing);
        }
        objects.put(Bytes::from_static(b"DICM")).await.unwrap();
        assert_eq!(objects.get(&sha).await.unwrap(), "DICM");
    }
}

async fn an_intact_object_is_not_written_again(ground: Ground) {
    for keys in [None, Some(OLD)] {
        let objects = ground.open(keys).await;
        let sha = objects.put(Bytes::from_static(b"DICM")).await.unwrap();
        let before = ground.identity(&sha);
        objects.put(Bytes::from_static(b"DICM")).await.unwrap();
        assert_eq!(ground.identity(&sha), before);
    }
}

async fn a_sealed_object_shows_nothing_and_comes_back(ground: Ground) {
    let objects = ground.open(Some(OLD)).await;
    let bytes = Bytes::from(b"NAME^OF^NOBODY ".repeat(10_000));
    let sha = objects.put(bytes.clone()).await.unwrap();
    assert_eq!(sha, Sha::of(&bytes), "the name is that of the content");
    let stored = fs::read(ground.file(&sha)).unwrap();
    assert!(!stored.windows(4).any(|window| window == b"NAME"));
    assert_eq!(objects.get(&sha).await.unwrap(), bytes);

    fs::remove_file(ground.file(&sha)).unwrap();
    objects.put(bytes).await.unwrap();
    let again = fs::read(ground.file(&sha)).unwrap();
    assert_ne!(again[16..28], stored[16..28], "a nonce is never used again");
}

async fn without_its_key_a_sealed_object_is_refused_and_can_be_sent_again(ground: Ground) {
    let sha = ground
        .open(Some(OLD))
        .await
        .put(Bytes::from_static(b"DICM"))
        .await
        .unwrap();
    for keys in [None, Some(NEW)] {
        let objects = ground.open(keys).await;
        assert!(matches!(objects.get(&sha).await, Err(StoreError::KeyMissing)));
        assert!(matches!(
            objects.check(&sha, true).await,
            Err(StoreError::KeyMissing)
        ));
    }
    let objects = ground.open(Some(NEW)).await;
    objects.put(Bytes::from_static(b"DICM")).await.unwrap();
    assert_eq!(objects.get(&sha).await.unwrap(), "DICM");
}

async fn keys_can_be_changed(ground: Ground) {
    let sha = ground
        .open(Some(OLD))
        .await
        .put(Bytes::from_static(b"DICM"))
        .await
        .unwrap();
    let both = ground.open(Some(&format!("{NEW}\n{OLD}\n"))).await;
    assert_eq!(both.get(&sha).await.unwrap(), "DICM", "every key decrypts");
    let new = both.put(Bytes::from_static(b"DICN")).await.unwrap();
    both.put(Bytes::from_static(b"DICM")).await.unwrap();
    let objects = ground.open(Some(NEW)).await;
    assert_eq!(objects.get(&new).await.unwrap(), "DICN", "the first key encrypts");
    assert_eq!(
        objects.get(&sha).await.unwrap(),
        "DICM",
        "also what is sent again"
    );
}

async fn what_was_stored_in_clear_is_read_and_is_sealed_when_it_is_sent_again(ground: Ground) {
    let sha = ground
        .open(None)
        .await
        .put(Bytes::from_static(b"DICM"))
        .await
        .unwrap();
    let objects = ground.open(Some(OLD)).await;
    assert_eq!(objects.get(&sha).await.unwrap(), "DICM");
    objects.put(Bytes::from_static(b"DICM")).await.unwrap();
    assert_ne!(fs::read(ground.file(&sha)).unwrap(), b"DICM");
    assert_eq!(objects.get(&sha).await.unwrap(), "DICM");
}

async fn an_object_does_not_pass_for_another(ground: Ground) {
    for keys in [None, Some(OLD)] {
        let objects = ground.open(keys).await;
        let one = objects.put(Bytes::from_static(b"DICM")).await.unwrap();
        let two = objects.put(Bytes::from_static(b"DICN")).await.unwrap();
        fs::copy(ground.file(&two), ground.file(&one)).unwrap();
        assert!(matches!(objects.get(&one).await, Err(StoreError::Damaged)));
    }
}

async fn objects_are_listed_and_removed(ground: Ground) {
    let objects = ground.open(None).await;
    objects.ping().await.unwrap();
    let mut shas = Vec::new();
    for number in 0..20_u8 {
        shas.push(objects.put(vec![number; 5].into()).await.unwrap());
    }
    shas.sort();
    // what is not an object is not listed as one
    let folder = ground.file(&shas[0]).with_file_name("");
    fs::write(folder.join("notes.txt"), "of somebody").unwrap();
    fs::write(folder.join("abc.dcm"), "of somebody").unwrap();

    let mut listed: Vec<_> = objects.list().try_collect().await.unwrap();
    listed.sort_by(|one, two| one.sha.cmp(&two.sha));
    assert_eq!(
        listed.iter().map(|object| &object.sha).collect::<Vec<_>>(),
        shas.iter().collect::<Vec<_>>()
    );
    assert!(listed.iter().all(|object| object.bytes == 5));
    let written = fs::metadata(ground.file(&shas[7])).unwrap().modified().unwrap();
    let written = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    // a bucket tells whole seconds
    assert_eq!(listed[7].modified.0 / 1000, written / 1000);

    objects.remove(&shas[0]).await.unwrap();
    objects.remove(&shas[0]).await.unwrap();
    assert_eq!(
        objects.check(&shas[0], false).await.unwrap(),
        ObjectState::Missing
    );
    let left: Vec<_> = objects.list().try_collect().await.unwrap();
    assert_eq!(left.len(), 19);
    assert!(left.iter().all(|object| object.sha != shas[0]));
}

async fn a_place_that_has_vanished_is_an_error_and_is_not_made_anew(ground: Ground) {
    let objects = ground.open(None).await;
    objects.ping().await.unwrap();
    let sha = objects.put(Bytes::from_static(b"DICM")).await.unwrap();
    let gone = ground
        .server
        .as_ref()
        .map_or(ground.files.clone(), S3Server::folder);
    fs::rename(&gone, gone.with_extension("elsewhere")).unwrap();
    assert!(matches!(objects.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(
        objects.put(Bytes::from_static(b"DICN")).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(
        matches!(objects.get(&sha).await, Err(StoreError::Unavailable(_))),
        "it is not lost"
    );
    for deep in [false, true] {
        assert!(matches!(
            objects.check(&sha, deep).await,
            Err(StoreError::Unavailable(_))
        ));
    }
    assert!(matches!(
        objects.remove(&sha).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(objects.list().try_collect::<Vec<_>>().await.is_err());
    assert!(!gone.exists());
    fs::rename(gone.with_extension("elsewhere"), &gone).unwrap();
    objects.ping().await.unwrap();
    assert_eq!(objects.get(&sha).await.unwrap(), "DICM");
}
