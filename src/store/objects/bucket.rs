//! Objects in a bucket of an S3-compatible object storage.
//!
//! Invariants:
//! - one request writes an object, whole or not at all, with the digest of what is sent in its signature: when
//!   [`Bucket::write`] returns, the storage has checked and kept it;
//! - every request ends within [`PATIENCE`], or a second for each 2 MiB longer; what passes, such as a broken connection, is
//!   tried again within that time;
//! - credentials come from the environment and are in no debug output.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::{Path, PathPart};
use object_store::{
    BackoffConfig, ClientConfigKey, Error, GetOptions, ObjectMeta, ObjectStore, PutOptions, RetryConfig,
};

use super::super::{StoreError, Timestamp};
use super::blocking;
use super::sha::Sha;
use super::state::StoredObject;

/// How long a request may take before it fails: below the time-outs of those who send images.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// What a connection must carry in a second to be called one.
const SLOWEST: u64 = 2 * 1024 * 1024;
/// The object by which [`Bucket::ping`] knows that the bucket can be written.
const MARK: &str = "writable";

#[derive(Clone)]
pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    prefix: Path,
    patience: Duration,
    /// This process has written the mark.
    marked: Arc<AtomicBool>,
}

impl Bucket {
    /// Makes ready what is needed to reach the bucket, and does not reach for it yet. `settings` are stronger than the
    /// environment.
    pub(super) fn open(
        bucket: &str,
        prefix: &str,
        patience: Duration,
        settings: &[(AmazonS3ConfigKey, String)],
    ) -> Result<Self, StoreError> {
        let setting = |key| AmazonS3ConfigKey::Client(key);
        let builder = settings
            .iter()
            .fold(AmazonS3Builder::from_env(), |builder, (key, value)| {
                builder.with_config(*key, value)
            })
            .with_bucket_name(bucket)
            // not every S3-compatible storage has it
            .with_disable_bulk_delete(true)
            .with_config(setting(ClientConfigKey::ConnectTimeout), "2 seconds")
            // `patience` ends a request earlier
            .with_config(setting(ClientConfigKey::Timeout), "10 minutes")
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(100),
                    max_backoff: Duration::from_secs(1),
                    base: 2.0,
                },
                max_retries: 4,
                retry_timeout: patience / 2,
            });
        Ok(Self {
            store: Arc::new(builder.build().map_err(fault)?),
            prefix: Path::parse(prefix).map_err(|error| StoreError::Unavailable(error.into()))?,
            patience,
            marked: Arc::default(),
        })
    }

    /// The stored form of an object, where there is one.
    pub(super) async fn read(&self, sha: &Sha) -> Result<Option<Bytes>, StoreError> {
        let path = self.path_of(sha);
        let begun = self.store.get_opts(&path, GetOptions::default());
        let Some(object) = found(within(self.patience, begun).await)? else {
            return Ok(None);
        };
        let patience = self.patience_for(object.meta.size);
        within(patience, object.bytes()).await.map(Some).map_err(fault)
    }

    /// When an object was written, where there is one.
    pub(super) async fn modified(&self, sha: &Sha) -> Result<Option<Timestamp>, StoreError> {
        let path = self.path_of(sha);
        let head = self.store.get_opts(&path, GetOptions::new().with_head(true));
        let object = found(within(self.patience, head).await)?;
        Ok(object.map(|object| Timestamp(object.meta.last_modified.timestamp_millis())))
    }

    pub(super) async fn write(&self, sha: &Sha, stored: Bytes) -> Result<(), StoreError> {
        let patience = self.patience_for(stored.len() as u64);
        let (store, path) = (self.store.clone(), self.path_of(sha));
        let mut put = Box::pin(async move {
            store
                .put_opts(&path, stored.into(), PutOptions::default())
                .await
                .map(drop)
        });
        // the first step signs, for which it hashes all that is sent: not on an async thread
        let (put, done) = blocking(move || {
            let done = (&mut put).now_or_never();
            (put, done)
        })
        .await?;
        match done {
            Some(done) => done.map_err(fault),
            None => within(patience, put).await.map_err(fault),
        }
    }

    pub(super) async fn remove(&self, sha: &Sha) -> Result<(), StoreError> {
        let path = self.path_of(sha);
        let mut removal = self.store.delete_stream(Box::pin(stream::iter([Ok(path)])));
        let removed = within(self.patience, removal.next().map(Option::transpose)).await;
        found(removed).map(drop)
    }

    pub(super) fn list(&self) -> impl Stream<Item = Result<StoredObject, StoreError>> + Send + use<> {
        let prefix = self.prefix.clone();
        let pages = self.store.list((!prefix.is_root()).then_some(&prefix));
        let patience = self.patience;
        stream::unfold(Some(pages), move |pages| async move {
            let mut pages = pages?;
            match within(patience, pages.next().map(Option::transpose)).await {
                Ok(object) => object.map(|object| (Ok(object), Some(pages))),
                Err(error) => Some((Err(fault(error)), None)),
            }
        })
        .filter_map(move |object| ready(object.map(|meta| stored(&prefix, &meta)).transpose()))
    }

    /// Whether the bucket is there and can be written: written once in this process, looked at afterwards.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let mark = self.prefix.clone().join(MARK);
        if self.marked.load(Ordering::Relaxed) {
            let head = self.store.get_opts(&mark, GetOptions::new().with_head(true));
            if found(within(self.patience, head).await)?.is_some() {
                return Ok(());
            }
        }
        let put = self
            .store
            .put_opts(&mark, Bytes::new().into(), PutOptions::default());
        within(self.patience, put).await.map_err(fault)?;
        self.marked.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn path_of(&self, sha: &Sha) -> Path {
        let (folder, file) = sha.location();
        self.prefix.clone().join(folder).join(file)
    }

    fn patience_for(&self, bytes: u64) -> Duration {
        self.patience + Duration::from_secs(bytes / SLOWEST)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}

/// An object of a listing; `None` for what is not ours.
fn stored(prefix: &Path, meta: &ObjectMeta) -> Option<StoredObject> {
    let mut parts = meta.location.prefix_match(prefix)?;
    let (folder, file): (PathPart<'_>, PathPart<'_>) = (parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some(StoredObject {
        sha: Sha::at(folder.as_ref(), file.as_ref())?,
        modified: Timestamp(meta.last_modified.timestamp_millis()),
        bytes: meta.size,
    })
}

async fn within<T>(patience: Duration, request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(patience, request)
        .await
        .unwrap_or_else(|late| {
            Err(Error::Generic {
                store: "S3",
                source: late.into(),
            })
        })
}

/// `None` for what is not there.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, StoreError> {
    match result {
        Err(Error::NotFound { source, .. }) if !source.to_string().contains("NoSuchBucket") => Ok(None),
        result => result.map(Some).map_err(fault),
    }
}

/// What an error of the storage means to the store.
fn fault(error: Error) -> StoreError {
    // https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the storages that one runs oneself say it with
    // 507 (RFC 4918, 11.5) or with a code of their own, some with 403
    const FULL: [&str; 4] = [
        "507 Insufficient Storage",
        "StorageFull",
        "QuotaExceeded",
        "InsufficientStorage",
    ];
    let text = error.to_string();
    if FULL.iter().any(|full| text.contains(full)) {
        return StoreError::Full(error.into());
    }
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreError::ReadOnly(error.into()),
        error => StoreError::Unavailable(error.into()),
    }
}
