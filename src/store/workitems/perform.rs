//! The workitems that this server performs: taken when their study's analysis is claimed, ended when what is made of its result is kept.

use sqlx::Row;

use super::super::database::{Write, sql};
use super::super::deliveries::delivery_id;
use super::super::row::from_json;
use super::super::{Job, OWN_ARCHIVE, ResultKey, StoreError};
use super::{Held, clock};
use crate::dicom::uid;
use crate::finding::StudyResult;
use crate::workitem::{Ending, Event, State};

/// An analysis of the study was claimed: whatever waits for it and has its input is taken.
pub(in crate::store) async fn begin_workitems(write: &mut Write, study: &str) -> Result<(), StoreError> {
    let rows = write
        .query(sql!(
            "SELECT workitems.*, CASE WHEN " has_input " THEN 1 ELSE 0 END AS has_input FROM workitems WHERE study_uid = $1 \
             AND state IN ('SCHEDULED', 'IN PROGRESS') ORDER BY workitem_uid" for_update
        ))
        .bind(study.to_owned())
        .fetch_all(write.connection()?)
        .await?;
    for row in &rows {
        let mut held = Held::read(row)?;
        if held.workitem.state == State::Scheduled && row.try_get::<i32, _>("has_input")? == 1 {
            let now = clock(write).await?;
            let begun = begin(&mut held, &now)?;
            held.write(write, &[begun]).await?;
        }
    }
    Ok(())
}

/// The study has its outcome, of this key: whatever was taken for it waits for the objects of that result, and whatever came meanwhile
/// and has its input. Gives whether there is any. One that waits for an earlier result goes on doing so.
pub(in crate::store) async fn await_objects(
    write: &mut Write,
    study: &str,
    result: &ResultKey,
) -> Result<bool, StoreError> {
    let rows = write
        .query(sql!(
            "SELECT * FROM workitems WHERE study_uid = $1 AND state IN ('SCHEDULED', 'IN PROGRESS') AND result_key IS NULL \
             AND (performed_here = 1 OR (state = 'SCHEDULED' AND " has_input ")) ORDER BY workitem_uid" for_update
        ))
        .bind(study.to_owned())
        .fetch_all(write.connection()?)
        .await?;
    for row in &rows {
        let mut held = Held::read(row)?;
        let mut events = Vec::new();
        if held.workitem.state == State::Scheduled {
            let now = clock(write).await?;
            events.push(begin(&mut held, &now)?);
        }
        held.result = Some(result.clone());
        held.write(write, &events).await?;
    }
    Ok(!rows.is_empty())
}

/// Nothing more is made of this result of a study that is held: whatever waits for it ends with what there is.
pub(in crate::store) async fn end_workitems(
    write: &mut Write,
    study: &str,
    result: &ResultKey,
) -> Result<(), StoreError> {
    let rows = write
        .query(sql!(
            "SELECT * FROM workitems WHERE study_uid = $1 AND state IN ('SCHEDULED', 'IN PROGRESS') AND result_key = $2 \
             ORDER BY workitem_uid" for_update
        ))
        .bind(study.to_owned())
        .bind(result.to_string())
        .fetch_all(write.connection()?)
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    let row = write
        .query(sql!(
            "SELECT body, (SELECT cause FROM jobs WHERE job_id = $2) AS cause, \
             (SELECT count(*) FROM instances WHERE instances.study_uid = results.study_uid AND made_for = result_key) AS made \
             FROM results WHERE result_key = $1"
        ))
        .bind(result.to_string())
        .bind(delivery_id(result, OWN_ARCHIVE))
        .fetch_one(write.connection()?)
        .await?;
    let body: StudyResult = from_json(row.try_get("body")?)?;
    let cause: Option<String> = row.try_get("cause")?;
    let ending = Ending {
        study,
        key: result.as_str(),
        result: &body,
        is_kept: row.try_get::<i64, _>("made")? > 0,
        cause: cause.as_deref(),
    };
    for row in &rows {
        let mut held = Held::read(row)?;
        let now = clock(write).await?;
        let ended = held.workitem.end(&ending, &now);
        held.write(write, &[ended]).await?;
    }
    Ok(())
}

/// A fetch has ended, and more does not come from there: whatever waits for it and lacks input is canceled.
pub(in crate::store) async fn abandon_workitems(
    write: &mut Write,
    job: &Job,
    code: &str,
    message: &str,
) -> Result<(), StoreError> {
    let rows = write
        .query(sql!(
            "SELECT * FROM workitems WHERE study_uid = $1 AND peer = $2 AND state IN ('SCHEDULED', 'IN PROGRESS') AND state = 'SCHEDULED' \
             AND NOT (" has_input ") ORDER BY workitem_uid" for_update
        ))
        .bind(job.study.to_string())
        .bind(job.peer().unwrap_or_default().to_owned())
        .fetch_all(write.connection()?)
        .await?;
    for row in &rows {
        let mut held = Held::read(row)?;
        let now = clock(write).await?;
        let events = [begin(&mut held, &now)?, held.workitem.cancel(code, message, &now)];
        held.write(write, &events).await?;
    }
    Ok(())
}

/// Takes a workitem, under a Transaction UID that nobody else gets to see, or could guess.
fn begin(held: &mut Held, now: &str) -> Result<Event, StoreError> {
    let mut drawn = [0; 16];
    let no_chance = |_| StoreError::Unavailable("the operating system has no random numbers".into());
    getrandom::fill(&mut drawn).map_err(no_chance)?;
    Ok(held.workitem.begin(uid::random(drawn), now))
}
