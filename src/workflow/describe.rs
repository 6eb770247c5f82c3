//! Instances from before headers were kept are described by and by, so that they are found like all others.

use super::Workflow;
use super::ingest::place_to_read;
use crate::dicom::Instance;
use crate::dicom::record::Record;
use crate::fault::Fault;
use crate::store::{InstanceRow, StoreError};

/// How many are looked for at once.
const PAGE: u32 = 100;

/// Describes every instance that is not; gives their number. One whose object cannot be reached now is left for the next time.
pub(super) async fn describe_old(workflow: &Workflow) -> Result<u64, StoreError> {
    let (mut described, mut after) = (0, String::new());
    loop {
        let rows = workflow.store.undescribed(&after, PAGE).await?;
        let Some(last) = rows.last() else {
            return Ok(described);
        };
        last.instance.uid.as_str().clone_into(&mut after);
        for row in rows {
            match record(workflow, &row).await {
                Ok(record) => described += u64::from(workflow.store.describe(&row.instance, &record).await?),
                // the conversion logs the cause
                Err(error) => drop(Fault::from(error)),
            }
        }
    }
}

/// What its header says, or, where that is gone or cannot be read, what its row does.
async fn record(workflow: &Workflow, row: &InstanceRow) -> Result<Record, StoreError> {
    let instance = &row.instance;
    let bytes = match row.removed_at {
        Some(_) => Err(StoreError::Damaged),
        None => workflow.store.object(&instance.object).await,
    };
    let read = match bytes {
        Ok(bytes) => {
            let place = place_to_read(&bytes).await;
            let reading = tokio::task::spawn_blocking(move || {
                let _place = place;
                Instance::parse(bytes).map(|read| Record::of(&read))
            });
            reading.await.ok().and_then(Result::ok)
        }
        Err(StoreError::Damaged) => None,
        Err(error) => return Err(error),
    };
    Ok(read.unwrap_or_else(|| {
        Record::of_identity(
            instance.study.as_str(),
            instance.series.as_str(),
            instance.uid.as_str(),
            &instance.class,
        )
    }))
}
