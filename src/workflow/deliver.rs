//! A delivery: what a stored result was made into is sent, and counts as delivered when the destination has shown that it is there.
//!
//! Invariants: an attempt that was cut off is made again, and the destination ends with one copy, for the objects of a result always
//! have the same UIDs and the same bytes; what a destination does, or does not do, never touches the result.

use bytes::Bytes;
use serde_json::json;

use super::failure::Failure;
use super::{Workflow, fhir, objects};
use crate::failpoint;
use crate::peer::{self, Destination, Parcel};
use crate::store::{Job, ResultKey, ResultRow, StoreError};

/// Sends a result to a destination.
pub(super) async fn deliver(
    workflow: &Workflow,
    job: &Job,
    result: &ResultKey,
    destination: &str,
) -> Result<(), Failure> {
    let Some(destination) = workflow.destinations.named(destination) else {
        return Err(Failure::passing(
            "this destination is not in the configuration any more",
        ));
    };
    let Some(row) = workflow.store.result(result).await? else {
        return Err(Failure::lasting("its result is not stored any more"));
    };
    send(workflow, job, destination, &row).await?;
    failpoint::reach("deliver.after-send")
        .await
        .map_err(StoreError::from)?;
    Ok(())
}

/// Sends all that the destination takes of a result.
async fn send(
    workflow: &Workflow,
    job: &Job,
    destination: &Destination,
    row: &ResultRow,
) -> Result<(), Failure> {
    let parcel = |body: Bytes, objects| Parcel {
        key: row.key.to_string(),
        study: row.study.clone(),
        body,
        objects,
    };
    let before_send = || async {
        let reached = failpoint::reach("deliver.before-send").await;
        reached.map_err(StoreError::from)
    };
    match destination.kind {
        peer::Kind::Webhook => {
            let body = match destination.format.unwrap_or_default() {
                peer::Format::Json => body(row),
                peer::Format::Fhir => fhir::bundle(&workflow.store, row).await?,
            };
            before_send().await?;
            peer::deliver(destination, &parcel(body.to_string().into(), Vec::new())).await?;
        }
        peer::Kind::Stow | peer::Kind::Dimse => {
            let mut waiting = objects::made(workflow, job, row).await?;
            waiting.retain(|row| destination.takes(&row.instance.class));
            before_send().await?;
            while !waiting.is_empty() {
                let portion = objects::portion(&workflow.store, &mut waiting).await?;
                peer::deliver(destination, &parcel(Bytes::new(), portion)).await?;
            }
        }
    }
    Ok(())
}

/// What a webhook gets that wants JSON.
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
