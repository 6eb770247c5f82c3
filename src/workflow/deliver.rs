//! A delivery: a stored result becomes what its destination takes, is sent, and counts as delivered when the destination has shown
//! that it is there.
//!
//! Invariants: an attempt that was cut off is made again, and the destination ends with one copy, for the objects of a result always
//! have the same UIDs and the same bytes; what a destination does, or does not do, never touches the result.

use bytes::Bytes;
use chrono::{DateTime, FixedOffset};
use serde_json::json;

use super::Workflow;
use super::errand::Failure as Undelivered;
use crate::dicom::{Instance, InstanceUid, SeriesUid};
use crate::failpoint;
use crate::peer::{self, Parcel, ParcelObject};
use crate::report::{self, SourceInstance};
use crate::store::{Input, ResultKey, ResultRow, Store, StoreError};

/// Sends a result to a destination.
pub(super) async fn deliver(
    workflow: &Workflow,
    result: &ResultKey,
    destination: &str,
) -> Result<(), Undelivered> {
    let Some(destination) = workflow.destinations.named(destination) else {
        return Err(Undelivered::passing(
            "this destination is not in the configuration any more",
        ));
    };
    let Some(row) = workflow.store.result(result).await? else {
        return Err(Undelivered::lasting("its result is not stored any more"));
    };
    let objects = match destination.kind {
        peer::Kind::Webhook => Vec::new(),
        peer::Kind::Stow | peer::Kind::Dimse => vec![structured_report(&workflow.store, result, &row).await?],
    };
    let parcel = Parcel {
        key: result.to_string(),
        study: row.study.clone(),
        json: Bytes::from(body(&row).to_string()),
        objects,
    };
    failpoint::reach("deliver.before-send")
        .await
        .map_err(StoreError::from)?;
    peer::deliver(destination, &parcel).await?;
    failpoint::reach("deliver.after-send")
        .await
        .map_err(StoreError::from)?;
    Ok(())
}

/// What a webhook gets.
fn body(row: &ResultRow) -> serde_json::Value {
    json!({
        "study_instance_uid": row.study,
        "result_key": row.key,
        "supersedes": row.supersedes,
        "made_at": row.made_at,
        "completeness": row.completeness,
        "result": row.body,
    })
}

/// What an archive gets.
async fn structured_report(
    store: &Store,
    key: &ResultKey,
    row: &ResultRow,
) -> Result<ParcelObject, Undelivered> {
    let mut inputs = row.inputs.clone();
    if inputs.is_empty() {
        // a study that was given up before it was looked at
        let instances = store.instances(&row.study).await?.into_iter();
        inputs.extend(instances.map(|row| Input {
            instance: row.instance.uid,
            object: row.instance.object,
        }));
    }
    let (mut sources, mut header) = (Vec::new(), None);
    for input in inputs {
        let bytes = store.object(&input.object).await?;
        let parsed = tokio::task::spawn_blocking(move || Instance::parse(bytes)).await;
        let Ok(Ok(instance)) = parsed else { continue };
        if let Ok(source) = SourceInstance::of(&instance.header) {
            sources.push(source);
            header.get_or_insert(instance.header);
        }
    }
    let header = header.ok_or_else(|| Undelivered::lasting("none of its images can be read any more"))?;
    let made_at = made_at(row);
    let report = report::structured_report(&row.body, key.as_str(), &sources, &header, made_at)
        .map_err(|error| Undelivered::lasting(error.to_string()))?;
    let mut file = Vec::new();
    report
        .write_all(&mut file)
        .map_err(|_| Undelivered::lasting("its report could not be written"))?;
    let unusable = |_| Undelivered::lasting("its report has no valid UID");
    Ok(ParcelObject {
        class: report.meta().media_storage_sop_class_uid().to_owned(),
        series: SeriesUid::parse(&report::report_series_uid(key.as_str())).map_err(unusable)?,
        uid: InstanceUid::parse(&report::report_uid(key.as_str())).map_err(unusable)?,
        file: file.into(),
    })
}

fn made_at(row: &ResultRow) -> DateTime<FixedOffset> {
    DateTime::from_timestamp_millis(row.made_at.0)
        .unwrap_or_default()
        .fixed_offset()
}
