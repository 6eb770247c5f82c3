//! The DICOM objects of a result: made once, after the result is stored, and kept as instances of its study. Destinations get what is
//! kept.
//!
//! Invariants: every result has its report, whatever its outcome; a heat map that cannot be made is left out and named in the
//! timeline, and takes nothing else along; one object at a time is in memory, however many images a study has.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::DateTime;
use dicom_object::{FileDicomObject, InMemDicomObject};
use serde_json::{Value, json};

use super::Workflow;
use super::failure::Failure;
use super::sources::{self, Sources};
use crate::dicom::Instance;
use crate::dicom::record::Record;
use crate::failpoint;
use crate::fault::{Fault, FaultKind};
use crate::finding::{Finding, ModelReference};
use crate::peer::ParcelObject;
use crate::report;
use crate::store::{
    InstanceRow, Job, MadeObject, NewInstance, ResultKey, ResultRow, Settled, Store, StoreError,
};

/// How long a delivery waits for objects before it looks again by itself; the end of their making wakes it.
const LOOK: Duration = Duration::from_secs(20);
/// How long the heat maps of one result may take; what has none by then goes without.
const HEATMAPS: Duration = Duration::from_mins(5);
/// The code of what ended because of its time.
const DEADLINE: &str = "deadline";
/// At which attempt a heat map that an engine without room or models could not make is left out: after about half a minute.
const PATIENCE: u32 = 6;
/// How many bytes of objects are sent together, unless one has more.
const PORTION: i64 = 16 << 20;

/// Makes the objects of the job's result, unless it has them, and settles the job.
pub(super) async fn make(workflow: &Workflow, job: &Job, key: &ResultKey) -> Result<Settled, Failure> {
    let store = &workflow.store;
    let row = store.result(key).await?;
    let row = row.ok_or_else(|| Failure::lasting("its result is not stored any more"))?;
    let (mut objects, mut without_heatmap) = (Vec::new(), Vec::new());
    if store.made_for(&row.study, key).await?.is_empty() {
        let Some(sources) = Sources::of(store, &row).await? else {
            if row.inputs.is_empty() && store.instances(&row.study).await?.is_empty() {
                // nothing of the study ever came: there is no patient whose a report could be
                return Ok(store.keep_made(job, &[], &json!({})).await?);
            }
            return Err(Failure::lasting("none of its images can be read any more"));
        };
        let report = report::structured_report(&row.body, &identity(&row), &sources.images, &sources.header);
        let report = report.map_err(|error| Failure::lasting(error.to_string()))?;
        objects.push(keep(store, report).await?);
        without_heatmap = heatmaps(workflow, job, &row, &mut objects).await?;
    }
    failpoint::reach("made.before-begin")
        .await
        .map_err(StoreError::from)?;
    let detail = json!({ "without_heatmap": without_heatmap });
    Ok(store.keep_made(job, &objects, &detail).await?)
}

/// Adds the heat map of every scored image, image by image; gives those that have none, with the code of why.
async fn heatmaps(
    workflow: &Workflow,
    job: &Job,
    row: &ResultRow,
    objects: &mut Vec<MadeObject>,
) -> Result<Vec<Value>, Failure> {
    let (began, mut without) = (Instant::now(), Vec::new());
    for (index, instance) in row.body.instances.iter().enumerate() {
        let (Some(finding), Some(model)) = (report::shown_finding(instance), &instance.model) else {
            continue;
        };
        let image = Image {
            number: index + 1,
            uid: instance.sop_instance_uid.as_deref().unwrap_or_default(),
            finding,
            model,
        };
        let made = if began.elapsed() < HEATMAPS {
            heatmap(workflow, row, &image).await?
        } else {
            Err(Fault::new(
                FaultKind::Overloaded,
                DEADLINE,
                "the others took too long",
            ))
        };
        match made {
            Ok(made) => objects.push(made),
            // a longer wait would not help: it is the work itself that takes too long
            Err(fault) if fault.retry() && fault.code != DEADLINE && job.attempt < PATIENCE => {
                return Err(Failure::passing(fault.message));
            }
            Err(fault) => without.push(json!({ "instance": image.uid, "code": fault.code })),
        }
    }
    Ok(without)
}

/// One scored image of a result.
struct Image<'a> {
    /// Its place, from 1.
    number: usize,
    uid: &'a str,
    finding: &'a Finding,
    model: &'a ModelReference,
}

/// Makes and keeps the heat map of one image; a [`Fault`] where there is none.
async fn heatmap(
    workflow: &Workflow,
    row: &ResultRow,
    image: &Image<'_>,
) -> Result<Result<MadeObject, Fault>, Failure> {
    let store = &workflow.store;
    let gone = || {
        Fault::new(
            FaultKind::NotFound,
            "image-removed",
            "its image cannot be read any more",
        )
    };
    let input = row
        .inputs
        .iter()
        .find(|input| input.instance.as_str() == image.uid);
    let Some(input) = input else {
        return Ok(Err(gone()));
    };
    let bytes = match store.object(&input.object).await {
        Ok(bytes) => bytes,
        Err(StoreError::Damaged) => return Ok(Err(gone())),
        Err(error) => return Err(error.into()),
    };
    let label = &image.finding.label;
    let explained = match workflow.scorer.explain(bytes, image.model, label).await {
        Ok(explained) => explained,
        Err(fault) => return Ok(Err(fault)),
    };
    let Some(instance) = sources::read(store, &input.object).await? else {
        return Ok(Err(gone()));
    };
    let map = report::HeatmapPicture {
        picture: &explained.picture,
        explanation: explained.explanation,
        finding: image.finding,
        model: image.model,
        number: image.number,
    };
    match report::secondary_capture(&map, &identity(row), &instance.header) {
        Ok(object) => keep(store, object).await.map(Ok),
        Err(error) => Ok(Err(Fault::new(FaultKind::Internal, "capture", error.to_string()))),
    }
}

/// What was made of a result; while it is being made, a delivery is put back untried.
pub(super) async fn made(
    workflow: &Workflow,
    job: &Job,
    row: &ResultRow,
) -> Result<Vec<InstanceRow>, Failure> {
    let store = &workflow.store;
    // asked before the objects: they and the end of their making are one transaction, so whoever has seen its end sees them
    let making = store.making(&row.key).await?;
    let made = store.made_for(&row.study, &row.key).await?;
    if !made.is_empty() {
        return Ok(made);
    }
    match making {
        Some(making) if making.state == "dead" => {
            let cause = making.cause.unwrap_or_default();
            return Err(Failure::passing(format!(
                "the objects of its result could not be made: {cause}"
            )));
        }
        // no image of the study is left or ever came: there is nothing that an archive could be told
        Some(making) if making.state == "delivered" => return Ok(Vec::new()),
        Some(_) => {}
        // a result from before objects were kept
        None => store.queue_making(&row.study, job.generation, &row.key).await?,
    }
    Err(Failure::untried("its objects are being made", LOOK))
}

/// Takes the first of `waiting`, with their bytes: as many as are sent together.
pub(super) async fn portion(
    store: &Store,
    waiting: &mut Vec<InstanceRow>,
) -> Result<Vec<ParcelObject>, StoreError> {
    let mut bytes = 0;
    let fits = waiting.iter().take_while(|row| {
        bytes += row.instance.bytes;
        bytes <= PORTION
    });
    let count = fits.count().max(1).min(waiting.len());
    let mut portion = Vec::new();
    for row in waiting.drain(..count) {
        let file = store.object(&row.instance.object).await?;
        portion.push(ParcelObject {
            class: row.instance.class,
            series: row.instance.series,
            uid: row.instance.uid,
            file,
        });
    }
    Ok(portion)
}

/// Keeps the bytes of an object that was made.
async fn keep(store: &Store, object: FileDicomObject<InMemDicomObject>) -> Result<MadeObject, Failure> {
    let written = tokio::task::spawn_blocking(move || {
        let mut file = Vec::new();
        object.write_all(&mut file).ok()?;
        let file = Bytes::from(file);
        // read as what comes from elsewhere, so that what is kept is as sound
        let instance = Instance::parse(file.clone()).ok()?;
        Some((file, Record::of(&instance), instance))
    });
    let written = written.await.ok().flatten();
    let (file, record, instance) =
        written.ok_or_else(|| Failure::lasting("an object of its result could not be written"))?;
    let bytes = i64::try_from(file.len()).unwrap_or(i64::MAX);
    let (object, stored) = store.put_object(file).await?;
    Ok(MadeObject {
        instance: NewInstance {
            uid: instance.uid,
            study: instance.study,
            series: instance.series,
            class: instance.class,
            transfer_syntax: instance.transfer_syntax,
            object,
            bytes,
            urgent: false,
            expected: None,
        },
        record,
        stored,
    })
}

/// Which result the objects are of.
pub(super) fn identity(row: &ResultRow) -> report::Identity<'_> {
    let made_at = DateTime::from_timestamp_millis(row.made_at.0).unwrap_or_default();
    report::Identity {
        key: row.key.as_str(),
        supersedes: row.supersedes.as_ref().map(ResultKey::as_str),
        made_at: made_at.fixed_offset(),
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
