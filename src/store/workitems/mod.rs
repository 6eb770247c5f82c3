//! Workitems: orders that others can follow, find and cancel.
//!
//! Invariants:
//! - a workitem is changed by whoever holds its row, and only as [`Workitem`] allows; `version` counts what happened to it, and what
//!   subscribers hear of it is written in the same transaction;
//! - a workitem that orders a score of this server makes its study's row, so that whatever arrives afterwards finds it; the study's row is
//!   held before jobs, and these before workitems;
//! - one that this server performs waits for one result from the transaction that settles its study, and ends in the transaction that
//!   keeps the objects of that result, or after which none will be made: what a completed one names is stored.

mod find;
mod forget;
mod perform;
mod subscribe;

use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::arrivals::{Wish, ask};
use super::database::{Write, sql};
use super::events::{EventKind, happened};
use super::fetches::queue_fetch;
use super::held::{hold, hold_or_make};
use super::queue::{hold_jobs, rank_jobs};
use super::row::{from_json, key, to_json, unreadable};
use super::{Patience, ResultKey, Store, StoreError, Timestamp};
use crate::dicom::InstanceUid;
use crate::failpoint;
use crate::workitem::{Changed, Event, Order, Refusal, State, Workitem, date_time, tag};
pub(super) use perform::{abandon_workitems, await_objects, begin_workitems, end_workitems};
pub use subscribe::{Report, Target};
use subscribe::{report, subscribe_whoever_wants};

/// How many workitems are looked at in one query: each may have a megabyte.
const BATCH: i64 = 32;
/// The most bytes of DICOM JSON that are found at once, unless one workitem alone has more.
pub const MOST_FOUND: usize = 8 << 20;

/// A workitem to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewWorkitem {
    /// Itself.
    pub workitem: Workitem,
    /// What it orders of this server.
    pub order: Option<Order>,
    /// The peer that its study is fetched from, if it must be.
    pub peer: Option<String>,
}

/// A workitem as it is stored.
struct Held {
    workitem: Workitem,
    version: i64,
    study: Option<String>,
    /// The result with whose objects it ends.
    result: Option<ResultKey>,
}

impl Held {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let state: &str = row.try_get("state")?;
        Ok(Self {
            workitem: Workitem {
                uid: InstanceUid::parse(row.try_get("workitem_uid")?)
                    .map_err(|error| StoreError::Database(error.into()))?,
                state: State::parse(state)
                    .ok_or_else(|| unreadable("the state of a workitem is not known"))?,
                transaction: row.try_get("transaction_uid")?,
                performed_here: row.try_get::<i64, _>("performed_here")? != 0,
                attributes: from_json(row.try_get("attributes")?)?,
            },
            version: row.try_get("version")?,
            study: row.try_get("study_uid")?,
            result: key(row, "result_key")?,
        })
    }

    /// Writes what was changed, and what subscribers hear of it.
    async fn write(mut self, write: &mut Write, events: &[Event]) -> Result<(), StoreError> {
        let (workitem, former) = (&self.workitem, self.version);
        for event in events {
            self.version += 1;
            report(write, &workitem.uid, self.version, event).await?;
        }
        let written = write
            .query(sql!(
                "UPDATE workitems SET state = $3, version = $4, transaction_uid = $5, performed_here = $6, attributes = $7, result_key = $8, \
                 urgent = $10, ended_at = CASE WHEN $9 = 1 THEN coalesce(ended_at, " now ") END WHERE workitem_uid = $1 AND version = $2"
            ))
            .bind(workitem.uid.to_string())
            .bind(former)
            .bind(workitem.state.name())
            .bind(self.version)
            .bind(workitem.transaction.clone())
            .bind(i64::from(workitem.performed_here))
            .bind(to_json(&workitem.attributes)?)
            .bind(self.result.as_ref().map(ToString::to_string))
            .bind(i64::from(workitem.state.is_final()))
            .bind(i64::from(workitem.attributes.is_urgent()))
            .execute(write.connection()?)
            .await?
            .rows_affected();
        if written != 1 {
            return Err(StoreError::Busy("a workitem was changed at the same time".into()));
        }
        if let Some(study) = self.study.as_deref().filter(|_| workitem.state.is_final()) {
            let detail = json!({ "workitem": workitem.uid, "state": workitem.state.name() });
            note(write, study, EventKind::WorkitemEnded, &detail).await?;
        }
        Ok(())
    }
}

impl Store {
    /// The time by the database's clock.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        let row = self
            .database
            .query(sql!("SELECT " now))
            .fetch_one(self.database.read())
            .await?;
        Ok(Timestamp(row.try_get(0)?))
    }

    /// Keeps a new workitem; `false` where there is one of this UID. Its study is analysed at once where all of its input is here, is
    /// fetched where a peer has it, and is waited for otherwise.
    pub async fn create_workitem(
        &self,
        new: &NewWorkitem,
        patience: Patience<'_>,
    ) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        if let Some(order) = &new.order {
            hold_or_make(&mut write, order.study.as_str()).await?;
        }
        if !insert(&mut write, new).await? {
            return Ok(false);
        }
        let workitem = &new.workitem;
        subscribe_whoever_wants(&mut write, workitem).await?;
        report(&mut write, &workitem.uid, 1, &Event::state(workitem)).await?;
        if let Some(order) = &new.order {
            place(&mut write, new, order, patience).await?;
        }
        failpoint::reach("order.before-commit").await?;
        write.commit().await?;
        failpoint::reach("order.after-commit").await?;
        Ok(true)
    }

    /// A workitem by its UID.
    pub async fn workitem(&self, uid: &InstanceUid) -> Result<Option<Workitem>, StoreError> {
        let row = self
            .database
            .query(sql!("SELECT * FROM workitems WHERE workitem_uid = $1"))
            .bind(uid.to_string())
            .fetch_optional(self.database.read())
            .await?;
        row.map(|row| Ok(Held::read(&row)?.workitem)).transpose()
    }

    /// Changes a workitem, if there is one of this UID. `change` gets it, whether anyone has subscribed to it, and the time; what it refuses
    /// changes nothing.
    pub async fn change_workitem(
        &self,
        uid: &InstanceUid,
        change: impl FnOnce(&mut Workitem, bool, &str) -> Result<Changed, Refusal> + Send,
    ) -> Result<Option<Result<Changed, Refusal>>, StoreError> {
        let mut write = self.database.write().await?;
        let Some(mut held) = hold_workitem(&mut write, uid).await? else {
            return Ok(None);
        };
        let study = held.study.clone();
        let subscribers = write
            .query(sql!(
                "SELECT 1 FROM workitem_subscriptions WHERE target = $1 LIMIT 1"
            ))
            .bind(uid.to_string())
            .fetch_optional(write.connection()?)
            .await?;
        let now = clock(&mut write).await?;
        let changed = match change(&mut held.workitem, subscribers.is_some(), &now) {
            Ok(changed) => changed,
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        if changed.already.is_none() {
            held.write(&mut write, &changed.events).await?;
            if let Some(study) = study {
                rank_jobs(&mut write, &study).await?;
            }
        }
        write.commit().await?;
        Ok(Some(Ok(changed)))
    }
}

/// Holds a workitem; before it the study that it orders a score of, and the study's jobs.
async fn hold_workitem(write: &mut Write, uid: &InstanceUid) -> Result<Option<Held>, StoreError> {
    // the study of a workitem never changes
    let row = write
        .query(sql!("SELECT study_uid FROM workitems WHERE workitem_uid = $1"))
        .bind(uid.to_string())
        .fetch_optional(write.connection()?)
        .await?;
    let Some(row) = row else { return Ok(None) };
    if let Some(study) = row.try_get::<Option<String>, _>("study_uid")? {
        hold(write, &study).await?;
        hold_jobs(write, &study).await?;
    }
    let row = write
        .query(sql!("SELECT * FROM workitems WHERE workitem_uid = $1" for_update))
        .bind(uid.to_string())
        .fetch_optional(write.connection()?)
        .await?;
    row.map(|row| Held::read(&row)).transpose()
}

/// The time by the database's clock, as VR DT has it.
async fn clock(write: &mut Write) -> Result<String, StoreError> {
    let row = write
        .query(sql!("SELECT " now))
        .fetch_one(write.connection()?)
        .await?;
    Ok(date_time(row.try_get(0)?))
}

async fn insert(write: &mut Write, new: &NewWorkitem) -> Result<bool, StoreError> {
    let (workitem, order) = (&new.workitem, new.order.as_ref());
    let inserted = write
        .query(sql!(
            "INSERT INTO workitems (workitem_uid, state, version, performed_here, study_uid, urgent, peer, attributes, patient_id, created_at) \
             VALUES ($1, $2, 1, 0, $3, $4, $5, $6, $7, " now ") ON CONFLICT (workitem_uid) DO NOTHING"
        ))
        .bind(workitem.uid.to_string())
        .bind(workitem.state.name())
        .bind(order.map(|order| order.study.to_string()))
        .bind(i64::from(workitem.attributes.is_urgent()))
        .bind(new.peer.clone())
        .bind(to_json(&workitem.attributes)?)
        .bind(workitem.attributes.only_text(tag::PATIENT_ID).map(str::to_owned))
        .execute(write.connection()?)
        .await?
        .rows_affected();
    let listed = order.iter().flat_map(|order| &order.instances);
    for instance in listed.filter(|_| inserted == 1) {
        write
            .query(sql!(
                "INSERT INTO workitem_inputs (workitem_uid, sop_uid) VALUES ($1, $2)"
            ))
            .bind(workitem.uid.to_string())
            .bind(instance.to_string())
            .execute(write.connection()?)
            .await?;
    }
    Ok(inserted == 1)
}

/// What a new workitem means for its study, which is held.
async fn place(
    write: &mut Write,
    new: &NewWorkitem,
    order: &Order,
    patience: Patience<'_>,
) -> Result<(), StoreError> {
    let study = order.study.as_str();
    let detail =
        json!({ "workitem": new.workitem.uid, "instances": order.instances.len(), "peer": new.peer });
    note(write, study, EventKind::WorkitemScheduled, &detail).await?;
    rank_jobs(write, study).await?;
    let row = write
        .query(sql!(
            "SELECT studies.state, (SELECT count(*) FROM instances WHERE instances.study_uid = studies.study_uid AND made_for IS NULL \
             AND removed_at IS NULL) AS instances, CASE WHEN " has_input " THEN 1 ELSE 0 END AS has_input \
             FROM workitems JOIN studies ON studies.study_uid = workitems.study_uid WHERE workitem_uid = $1"
        ))
        .bind(new.workitem.uid.to_string())
        .fetch_one(write.connection()?)
        .await?;
    let some_are_here = row.try_get::<i64, _>("instances")? > 0;
    let all_are_here = some_are_here && row.try_get::<i32, _>("has_input")? == 1;
    let state: &str = row.try_get("state")?;
    if let Some(peer) = new.peer.as_deref().filter(|_| !all_are_here) {
        return queue_fetch(write, study, peer).await;
    }
    // what is received is decided anew with what the workitem lists; what is settled is analysed again only if nothing is missing
    if all_are_here || (some_are_here && state == "received") {
        let wish = Wish {
            ordered: (all_are_here && order.instances.is_empty()).then_some(true),
            expected: None,
        };
        ask(write, study, state, wish, patience).await?;
    }
    Ok(())
}

/// Writes an event of a study as it is now.
async fn note(
    write: &mut Write,
    study: &str,
    kind: EventKind,
    detail: &serde_json::Value,
) -> Result<(), StoreError> {
    let row = write
        .query(sql!("SELECT generation FROM studies WHERE study_uid = $1"))
        .bind(study.to_owned())
        .fetch_one(write.connection()?)
        .await?;
    happened(write, study, row.try_get("generation")?, kind, detail).await
}
