//! What a result was made from, as its objects need to know it.

use dicom_object::InMemDicomObject;

use super::ingest::place_to_read;
use crate::dicom::{Instance, InstanceError};
use crate::report::SourceInstance;
use crate::store::{Input, ResultRow, Sha, Store, StoreError};

/// The images of a result that can be read, and the header of the first of them.
pub(super) struct Sources {
    pub(super) images: Vec<SourceInstance>,
    pub(super) header: InMemDicomObject,
}

impl Sources {
    /// Reads them, one after the other; `None` where none can be read any more.
    pub(super) async fn of(store: &Store, row: &ResultRow) -> Result<Option<Self>, StoreError> {
        let mut inputs = row.inputs.clone();
        if inputs.is_empty() {
            // a study that was given up before it was looked at
            let instances = store.instances(&row.study).await?.into_iter();
            inputs.extend(instances.map(|row| Input {
                instance: row.instance.uid,
                object: row.instance.object,
            }));
        }
        let (mut images, mut header) = (Vec::new(), None);
        for input in inputs {
            let read = match read(store, &input.object).await {
                Ok(read) => read,
                Err(StoreError::Damaged) => None,
                Err(error) => return Err(error),
            };
            let Some(instance) = read else { continue };
            if let Ok(image) = SourceInstance::of(&instance.header) {
                images.push(image);
                header.get_or_insert(instance.header);
            }
        }
        Ok(header.map(|header| Self { images, header }))
    }
}

/// A stored object as an instance without its pixels, off the async threads; `None` where it is not one.
pub(super) async fn read(store: &Store, object: &Sha) -> Result<Option<Instance>, StoreError> {
    let bytes = store.object(object).await?;
    let place = place_to_read(&bytes).await;
    let parsed = tokio::task::spawn_blocking(move || {
        let _place = place;
        let instance = Instance::parse(bytes)?;
        Ok::<_, InstanceError>(Instance {
            pixels: None,
            ..instance
        })
    });
    Ok(parsed.await.ok().and_then(Result::ok))
}
