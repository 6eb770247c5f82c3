//! A fetch: a study is ordered from a peer, and its instances arrive as if someone had sent them.
//!
//! Invariants: peers are those of the configuration that studies may be fetched from; an instance whose UID is here already is not
//! fetched again, for the archive it came from does not change what a SOP Instance UID names, so an attempt goes on where the last one
//! ended; what was made here of the study is no part of it, though the archive may have it; one that cannot be taken keeps none of the
//! others back.

use std::collections::HashSet;

use bytes::Bytes;

use super::failure::Failure;
use super::{Submission, Workflow};
use crate::dicom::StudyUid;
use crate::failpoint;
use crate::peer::{Listed, PeerError, Source};
use crate::store::{Fetched, StoreError};

/// What became of one instance.
enum One {
    Here,
    /// It is not to be had, or not to be taken, and never will be.
    Refused(String),
}

/// Brings all that `peer` has of a study and that is not here.
pub(super) async fn fetch(workflow: &Workflow, study: &StudyUid, peer: &str) -> Result<Fetched, Failure> {
    let Some(peer) = workflow.destinations.source(peer) else {
        return Err(Failure::passing(
            "the configuration has no peer of this name any more that studies are fetched from",
        ));
    };
    let source = Source::open(peer, workflow.settings.instance_limit).await?;
    let mut listed = source.list(study).await?;
    failpoint::reach("fetch.after-list")
        .await
        .map_err(StoreError::from)?;
    let (mut here, mut made) = (HashSet::new(), HashSet::new());
    for row in workflow.store.stored(study, None, None).await? {
        if row.made_for.is_some() {
            made.insert(row.instance.uid);
        } else if row.removed_at.is_none() {
            here.insert(row.instance.uid);
        }
    }
    // an archive that gets our results lists them with the study
    listed.retain(|one| !made.contains(&one.uid));
    if listed.is_empty() {
        return Err(Failure::lasting(
            "the peer has nothing of it but what was made here",
        ));
    }
    let (mut fetched, mut already_here, mut refused) = (0, 0, None);
    for one in &listed {
        if here.contains(&one.uid) {
            already_here += 1;
            continue;
        }
        match bring(workflow, &source, study, one).await? {
            One::Here => fetched += 1,
            One::Refused(reason) => {
                refused.get_or_insert(reason);
            }
        }
        failpoint::reach("fetch.after-instance")
            .await
            .map_err(StoreError::from)?;
    }
    if let (0, Some(reason)) = (fetched + already_here, &refused) {
        return Err(Failure::lasting(format!(
            "none of its {} instances could be taken: {reason}",
            listed.len()
        )));
    }
    Ok(Fetched {
        listed: listed.len() as i64,
        fetched,
        already_here,
        refused,
    })
}

async fn bring(
    workflow: &Workflow,
    source: &Source<'_>,
    study: &StudyUid,
    one: &Listed,
) -> Result<One, Failure> {
    let bytes: Bytes = match source.fetch(study, one).await {
        Ok(bytes) => bytes,
        Err(error) if is_of_instance(&error) => return Ok(One::Refused(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let submission = match Submission::read(bytes).await {
        Ok(submission) => submission,
        Err(fault) if fault.is_callers() => return Ok(One::Refused(fault.to_string())),
        Err(fault) => return Err(Failure::passing(fault.to_string())),
    };
    if submission.study() != study || submission.instance() != &one.uid {
        return Err(Failure::passing(
            "the peer answered with another instance than was asked for",
        ));
    }
    let accepted = workflow.accept(&submission).await;
    accepted.map_err(|fault| Failure::passing(fault.message))?;
    Ok(One::Here)
}

/// Whether it says something of one instance and nothing of the others.
fn is_of_instance(error: &PeerError) -> bool {
    ["not-found", "too-large", "rejected"].contains(&error.code)
}
