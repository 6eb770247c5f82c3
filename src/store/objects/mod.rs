//! Pixel objects, named by the SHA-256 of their content, in a local folder or in a bucket; encrypted where there are keys.
//!
//! Invariants: when [`Objects::put`] returns, the object survives a power cut (a folder) or is kept by the storage (a
//! bucket), in the form that the keys of now give it; [`Objects::get`] returns the bytes of that digest or an error, and
//! says that an object is missing only where its place is there; hashing, encryption and file work stay off the async
//! threads.

mod bucket;
mod folder;
mod keys;
mod place;
mod sealed;
mod sha;
mod state;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::{Stream, StreamExt as _, stream};
use object_store::aws::AmazonS3ConfigKey;

pub use keys::{KeysError, ObjectKeys};
pub use place::{ObjectPlace, PlaceError};
pub use sha::Sha;
pub use state::{ObjectState, Stored, StoredObject};

use super::{StoreError, Timestamp};
use bucket::Bucket;
use folder::Folder;

/// How old a file must be that a writer has begun to be taken for a leftover: no object is written for so long.
const LEFTOVER: Duration = Duration::from_hours(1);

/// A handle to all objects of one place; a clone is the same place.
#[derive(Clone, Debug)]
pub struct Objects {
    place: Place,
    keys: Option<ObjectKeys>,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(Folder),
    Bucket(Bucket),
}

impl Objects {
    /// Opens a place. A folder is made where it is missing; a bucket is not reached for before the first request.
    ///
    /// # Errors
    /// [`StoreError`] where the folder cannot be made, or the settings of the bucket in the environment cannot be understood.
    pub async fn open(place: &ObjectPlace, keys: Option<ObjectKeys>) -> Result<Self, StoreError> {
        Self::open_with(place, keys, &[]).await
    }

    /// [`Objects::open`] with settings that are stronger than those of the environment, by their names there, such as
    /// `AWS_ENDPOINT_URL`.
    ///
    /// # Errors
    /// As [`Objects::open`], and where there is no setting of a name.
    pub async fn open_with(
        place: &ObjectPlace,
        keys: Option<ObjectKeys>,
        settings: &[(&str, &str)],
    ) -> Result<Self, StoreError> {
        let place = match place {
            ObjectPlace::Folder(path) => {
                let path = path.clone();
                let folder = blocking(move || {
                    let folder = Folder::open(&path)?;
                    folder.remove_leftovers(LEFTOVER)?;
                    io::Result::Ok(folder)
                });
                Place::Folder(folder.await??)
            }
            ObjectPlace::Bucket { bucket, prefix } => {
                let settings = settings
                    .iter()
                    .map(|(name, value)| {
                        Ok((
                            name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()?,
                            (*value).to_owned(),
                        ))
                    })
                    .collect::<Result<Vec<_>, object_store::Error>>()
                    .map_err(|error| StoreError::Unavailable(error.into()))?;
                Place::Bucket(Bucket::open(bucket, prefix, bucket::PATIENCE, &settings)?)
            }
        };
        Ok(Self { place, keys })
    }

    /// [`Objects::keep`], for those who need not know whether it was there.
    ///
    /// # Errors
    /// [`StoreError`] where the object is not durable.
    pub async fn put(&self, content: Bytes) -> Result<Sha, StoreError> {
        Ok(self.keep(content).await?.0)
    }

    /// Keeps an object, and tells whether it was there before, in whatever form. One that is there and intact is not written again, unless keys have changed since; a damaged one is:
    /// sending it once more mends it.
    ///
    /// # Errors
    /// [`StoreError`] where the object is not durable.
    pub async fn keep(&self, content: Bytes) -> Result<(Sha, Stored), StoreError> {
        let (sha, content) = blocking(move || (Sha::of(&content), content)).await?;
        loop {
            if let Some(stored) = self.try_keep(&sha, content.clone()).await? {
                return Ok((sha, stored));
            }
        }
    }

    /// `None` where it was there and a sweeper has taken it in between.
    async fn try_keep(&self, sha: &Sha, content: Bytes) -> Result<Option<Stored>, StoreError> {
        let kept = self.read(sha).await?;
        let stored = if kept.is_some() {
            Stored::Before
        } else {
            Stored::Now
        };
        let keys = self.keys.clone();
        let new = {
            let sha = sha.clone();
            blocking(move || {
                let keys = keys.as_ref();
                if kept.is_some_and(|kept| sealed::is_current(keys, &sha, &kept, &content)) {
                    return Ok(None);
                }
                sealed::seal(keys, &sha, content).map(Some)
            })
        };
        let new = new.await??;
        match (new, self.place.clone()) {
            (Some(new), Place::Bucket(bucket)) => bucket.write(sha, new).await?,
            (None, Place::Bucket(_)) => {}
            (new, Place::Folder(folder)) => {
                let sha = sha.clone();
                let there = blocking(move || match new {
                    Some(new) => folder.write(&sha, &new).map(|()| true),
                    None => folder.settle(&sha),
                });
                if !there.await?? {
                    return Ok(None);
                }
            }
        }
        Ok(Some(stored))
    }

    /// The bytes of an object, exactly as they were put.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where they are gone or no longer have this digest, [`StoreError::KeyMissing`] where they are
    /// encrypted and the key is not here.
    pub async fn get(&self, sha: &Sha) -> Result<Bytes, StoreError> {
        if let Some(stored) = self.read(sha).await? {
            return self.content(sha, stored).await;
        }
        self.is_there().await?;
        Err(StoreError::Damaged)
    }

    /// How it stands with an object; its content is looked at only where this is to be `deep`.
    ///
    /// # Errors
    /// [`StoreError`] where that cannot be found out, such as without its key.
    pub async fn check(&self, sha: &Sha, deep: bool) -> Result<ObjectState, StoreError> {
        let state = if deep {
            match self.read(sha).await? {
                Some(stored) => match self.content(sha, stored).await {
                    Err(StoreError::Damaged) => Some(ObjectState::Damaged),
                    content => content.map(|_| Some(ObjectState::Present))?,
                },
                None => None,
            }
        } else {
            self.modified(sha).await?.map(|_| ObjectState::Present)
        };
        match state {
            Some(state) => Ok(state),
            None => self.is_there().await.map(|()| ObjectState::Missing),
        }
    }

    /// When an object was written last, where there is one.
    ///
    /// # Errors
    /// [`StoreError`] where that cannot be found out.
    pub async fn modified(&self, sha: &Sha) -> Result<Option<Timestamp>, StoreError> {
        match self.place.clone() {
            Place::Bucket(bucket) => bucket.modified(sha).await,
            Place::Folder(folder) => {
                let sha = sha.clone();
                Ok(blocking(move || folder.modified(&sha)).await??)
            }
        }
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`StoreError`] where it may still be there.
    pub async fn remove(&self, sha: &Sha) -> Result<(), StoreError> {
        match self.place.clone() {
            Place::Bucket(bucket) => bucket.remove(sha).await,
            Place::Folder(folder) => {
                let sha = sha.clone();
                Ok(blocking(move || folder.remove(&sha)).await??)
            }
        }
    }

    /// All objects, in no promised order, a page or a sub-folder of them in memory at a time. What is stored or removed
    /// meanwhile may be among them or not.
    pub fn list(&self) -> impl Stream<Item = Result<StoredObject, StoreError>> + Send + use<> {
        match self.place.clone() {
            Place::Bucket(bucket) => Either::Left(bucket.list()),
            Place::Folder(folder) => Either::Right(
                stream::iter(0..=u8::MAX)
                    .then(move |subfolder| {
                        let folder = folder.clone();
                        async move {
                            blocking(move || folder.list(subfolder))
                                .await?
                                .map_err(StoreError::from)
                        }
                    })
                    .flat_map(|objects| {
                        let (objects, error) = match objects {
                            Ok(objects) => (objects, None),
                            Err(error) => (Vec::new(), Some(Err(error))),
                        };
                        stream::iter(objects.into_iter().map(Ok).chain(error))
                    }),
            ),
        }
    }

    /// Whether the place is reachable and can be written, for a readiness check.
    ///
    /// # Errors
    /// [`StoreError`] where it is not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self.place.clone() {
            Place::Bucket(bucket) => bucket.ping().await,
            Place::Folder(folder) => Ok(blocking(move || folder.ping()).await??),
        }
    }

    /// Removes what writers have left half-written when they died, an hour ago or earlier, and tells how much that was.
    /// Opening does it, too; but a server that starts again at once finds what it left too young.
    ///
    /// # Errors
    /// [`StoreError`] where something could not be removed.
    pub async fn remove_leftovers(&self) -> Result<u64, StoreError> {
        match self.place.clone() {
            // a bucket shows nothing before it is whole
            Place::Bucket(_) => Ok(0),
            Place::Folder(folder) => Ok(blocking(move || folder.remove_leftovers(LEFTOVER)).await??),
        }
    }

    async fn read(&self, sha: &Sha) -> Result<Option<Bytes>, StoreError> {
        match self.place.clone() {
            Place::Bucket(bucket) => bucket.read(sha).await,
            Place::Folder(folder) => {
                let sha = sha.clone();
                Ok(blocking(move || folder.read(&sha)).await??)
            }
        }
    }

    async fn content(&self, sha: &Sha, stored: Bytes) -> Result<Bytes, StoreError> {
        let (keys, sha) = (self.keys.clone(), sha.clone());
        blocking(move || sealed::open(keys.as_ref(), &sha, stored)).await?
    }

    /// An object is missing only where its place is there: of a bucket that is gone, or may not be entered, nothing is lost.
    async fn is_there(&self) -> Result<(), StoreError> {
        match &self.place {
            Place::Bucket(bucket) => bucket.ping().await,
            // it has looked for the sub-folder
            Place::Folder(_) => Ok(()),
        }
    }
}

/// Runs work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Unavailable(error.into()))
}

#[cfg(test)]
mod tests;
