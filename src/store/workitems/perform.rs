//! The workitems that this server performs: taken when their study's analysis is claimed, ended when it has its outcome.

use sqlx::Row;

use super::super::database::{Write, sql};
use super::super::{Job, NewResult, StoreError};
use super::{Held, clock};
use crate::dicom::uid;
use crate::workitem::{Event, State};

/// An analysis of the study was claimed: whatever waits for it and has its input is taken. Gives whether anything is urgent.
pub(in crate::store) async fn begin_workitems(write: &mut Write, study: &str) -> Result<bool, StoreError> {
    let rows = write
        .query(sql!(
            "SELECT workitems.*, CASE WHEN " has_input " THEN 1 ELSE 0 END AS has_input FROM workitems WHERE study_uid = $1 \
             AND state IN ('SCHEDULED', 'IN PROGRESS') ORDER BY workitem_uid" for_update
        ))
        .bind(study.to_owned())
        .fetch_all(write.connection()?)
        .await?;
    let mut urgent = false;
    for row in &rows {
        urgent |= row.try_get::<i64, _>("urgent")? != 0;
        let mut held = Held::read(row)?;
        if held.workitem.state == State::Scheduled && row.try_get::<i32, _>("has_input")? == 1 {
            let now = clock(write).await?;
            let begun = begin(&mut held, &now);
            held.write(write, &[begun]).await?;
        }
    }
    Ok(urgent)
}

/// The study has its outcome: whatever was taken for it ends, and whatever came meanwhile and has its input.
pub(in crate::store) async fn end_workitems(
    write: &mut Write,
    study: &str,
    result: &NewResult,
) -> Result<(), StoreError> {
    let rows = write
        .query(sql!(
            "SELECT * FROM workitems WHERE study_uid = $1 AND ((state = 'IN PROGRESS' AND performed_here = 1) \
             OR (state = 'SCHEDULED' AND " has_input ")) ORDER BY workitem_uid" for_update
        ))
        .bind(study.to_owned())
        .fetch_all(write.connection()?)
        .await?;
    for row in &rows {
        let mut held = Held::read(row)?;
        let now = clock(write).await?;
        let mut events = Vec::new();
        if held.workitem.state == State::Scheduled {
            events.push(begin(&mut held, &now));
        }
        events.push(held.workitem.end(study, result.key.as_str(), &result.body, &now));
        held.write(write, &events).await?;
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
            "SELECT * FROM workitems WHERE study_uid = $1 AND peer = $2 AND state = 'SCHEDULED' AND NOT (" has_input ") \
             ORDER BY workitem_uid" for_update
        ))
        .bind(job.study.to_string())
        .bind(job.peer().unwrap_or_default().to_owned())
        .fetch_all(write.connection()?)
        .await?;
    for row in &rows {
        let mut held = Held::read(row)?;
        let now = clock(write).await?;
        let events = [begin(&mut held, &now), held.workitem.cancel(code, message, &now)];
        held.write(write, &events).await?;
    }
    Ok(())
}

/// Takes a workitem. The Transaction UID differs from claim to claim, and nobody else gets to see it.
fn begin(held: &mut Held, now: &str) -> Event {
    let workitem = &mut held.workitem;
    let made_of = ["osteon", "transaction", workitem.uid.as_str(), now];
    workitem.begin(uid::derived(&made_of), now)
}
