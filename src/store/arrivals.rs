//! What arrives: an instance becomes a row of a study, and the study's time of completion is set anew.
//!
//! Invariants:
//! - whoever changes a study holds its row for as long as its transaction lasts, and takes it before any row of its jobs, so
//!   that no two writers wait for each other;
//! - a change of content takes the token of every analysis that waits or runs, so that no worker can settle it for what it was.

use std::time::Duration;

use serde_json::json;
use sqlx::Row;

use super::database::{Lock, Write, millis, sql};
use super::events::{EventKind, happened};
use super::held::hold_or_make;
use super::records::{mend_records, put_record};
use super::row::snapshot;
use super::{NewInstance, ObjectState, Store, StoreError, Stored};
use crate::dicom::StudyUid;
use crate::dicom::record::Record;
use crate::failpoint;

/// What became of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It was not there before.
    New,
    /// The same bytes were there already; nothing changed.
    Identical,
    /// Other bytes were stored under this UID; the newest are kept.
    Replaced,
    /// It is an object that was made here and came back; nothing changed.
    Made,
}

/// What is known of a study when its time of completion is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// How many instances it has.
    pub instances: i64,
    /// How many someone said that it has.
    pub expected: Option<i64>,
    /// Whether someone asked for its result now.
    pub ordered: bool,
    /// How many instances it lacks of those that a workitem lists, where one does.
    pub awaited: Option<i64>,
}

/// How long a study of which this is known is waited for, from now on.
pub type Patience<'a> = &'a (dyn Fn(&Snapshot) -> Duration + Sync);

/// What became of an attempt to accept an instance.
enum Attempt {
    Settled(Accepted),
    /// Its object is gone.
    Swept,
    /// It was in this study, which was not held, or its UID moved at this moment.
    Again(Option<String>),
}

impl Store {
    /// Records an instance whose object is stored, with what it is found by; when this returns, it may be acknowledged. `None` where
    /// that object was there before and the sweeper has taken it since: store it again, and call this again.
    pub async fn accept(
        &self,
        instance: &NewInstance,
        record: &Record,
        stored: Stored,
        patience: Patience<'_>,
    ) -> Result<Option<Accepted>, StoreError> {
        let mut former = None;
        for _ in 0..10 {
            match self
                .try_accept(instance, record, stored, former, patience)
                .await?
            {
                Attempt::Settled(accepted) => return Ok(Some(accepted)),
                Attempt::Swept => return Ok(None),
                Attempt::Again(found) => former = found,
            }
        }
        Err(StoreError::Busy("an instance moves from study to study".into()))
    }

    /// `former` is another study that the instance is believed to be in.
    async fn try_accept(
        &self,
        instance: &NewInstance,
        record: &Record,
        stored: Stored,
        former: Option<String>,
        patience: Patience<'_>,
    ) -> Result<Attempt, StoreError> {
        let mut write = self.database.write().await?;
        if stored == Stored::Before {
            // until the transaction ends the sweeper keeps off
            write.lock(instance.object.to_string(), Lock::Shared).await?;
            if self.objects.check(&instance.object, false).await? != ObjectState::Present {
                return Ok(Attempt::Swept);
            }
        }
        let study = instance.study.as_str();
        // in one order, so that two transactions with the same studies never wait for each other
        let mut held = vec![study];
        held.extend(former.as_deref());
        held.sort_unstable();
        for study in held {
            hold_or_make(&mut write, study).await?;
        }
        let known = known(&mut write, instance).await?;
        let of = known.as_ref().map(|known| &known.study);
        if known.as_ref().is_some_and(|known| known.is_made) {
            if of.is_some_and(|of| of == study) {
                write.commit().await?;
            }
            // otherwise the study that it claims to be of was made for this transaction only, and goes with it
            return Ok(Attempt::Settled(Accepted::Made));
        }
        let elsewhere = of.filter(|of| *of != study);
        if elsewhere != former.as_ref() {
            return Ok(Attempt::Again(elsewhere.cloned()));
        }
        let accepted = match &known {
            None => Accepted::New,
            Some(known) if known.study == study && known.object == instance.object.as_str() => {
                if known.is_removed {
                    // who sends again what retention has removed wants it looked at again: by the same model that changes nothing
                    put_instance(&mut write, instance, record, study).await?;
                    put_record(&mut write, instance, record).await?;
                    content_changed(&mut write, study, instance.expected, patience).await?;
                }
                write.commit().await?;
                return Ok(Attempt::Settled(Accepted::Identical));
            }
            Some(_) => Accepted::Replaced,
        };
        if !put_instance(&mut write, instance, record, former.as_deref().unwrap_or(study)).await? {
            return Ok(Attempt::Again(None));
        }
        put_record(&mut write, instance, record).await?;
        if let Some(known) = known.filter(|known| !known.is_in_the_place_of(instance)) {
            mend_records(&mut write, &known.study, &known.series).await?;
        }
        if let Some(former) = former {
            // the UID moves to another study: the one that it leaves has changed, too
            content_changed(&mut write, &former, None, patience).await?;
        }
        let generation = content_changed(&mut write, study, instance.expected, patience).await?;
        let detail = json!({ "instance": instance.uid, "bytes": instance.bytes, "replaced": accepted == Accepted::Replaced });
        happened(&mut write, study, generation, EventKind::Received, &detail).await?;
        failpoint::reach("accept.before-commit").await?;
        write.commit().await?;
        Ok(Attempt::Settled(accepted))
    }

    /// Asks for the result of a study now; `expected` is how many instances it should have, if the caller knows. A study that is
    /// settled is analysed anew, unless images of it were removed: what is left would only make its result worse.
    pub async fn order(
        &self,
        study: &StudyUid,
        expected: Option<i64>,
        patience: Patience<'_>,
    ) -> Result<Asked, StoreError> {
        let mut write = self.database.write().await?;
        let known = write
            .query(sql!(
                "SELECT state, (SELECT count(*) FROM instances WHERE instances.study_uid = studies.study_uid AND made_for IS NULL \
                 AND removed_at IS NOT NULL) AS removed FROM studies WHERE study_uid = $1 \
                 AND EXISTS (SELECT 1 FROM instances WHERE instances.study_uid = studies.study_uid AND made_for IS NULL)" for_update
            ))
            .bind(study.to_string())
            .fetch_optional(write.connection()?)
            .await?;
        let Some(row) = known else {
            return Ok(Asked::Unknown);
        };
        if row.try_get::<i64, _>("removed")? > 0 {
            return Ok(Asked::Removed);
        }
        // with a number the study is complete when that many are there; without one, now
        let wish = Wish {
            ordered: Some(expected.is_none()),
            expected,
        };
        let generation = ask(&mut write, study.as_str(), row.try_get(0)?, wish, patience).await?;
        if let Some(generation) = generation {
            let detail = json!({ "expected": expected });
            happened(
                &mut write,
                study.as_str(),
                generation,
                EventKind::Ordered,
                &detail,
            )
            .await?;
        }
        write.commit().await?;
        Ok(Asked::Accepted)
    }
}

/// What became of the wish for a study's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is on its way.
    Accepted,
    /// Nothing of the study was ever received.
    Unknown,
    /// Images of it were removed by the retention policy; nothing was changed.
    Removed,
}

/// What someone wants of a study.
pub(super) struct Wish {
    /// Its result now, or no longer; nothing leaves that as it was.
    pub(super) ordered: Option<bool>,
    /// Its result when it has so many instances.
    pub(super) expected: Option<i64>,
}

/// Asks for the result of a study that is held and in this `state`: one that is settled is analysed anew. Gives its generation, or nothing
/// where the result is on its way.
pub(super) async fn ask(
    write: &mut Write,
    study: &str,
    state: &str,
    wish: Wish,
    patience: Patience<'_>,
) -> Result<Option<i64>, StoreError> {
    if state == "analysing" {
        // what is expected counts for those that come later
        write
            .query(sql!(
                "UPDATE studies SET expected = coalesce($2, expected) WHERE study_uid = $1"
            ))
            .bind(study.to_owned())
            .bind(wish.expected)
            .execute(write.connection()?)
            .await?;
        return Ok(None);
    }
    let row = write
        .query(sql!(
            "UPDATE studies SET ordered = coalesce($3, ordered), expected = coalesce($2, expected), state = 'received', \
             generation = generation + $4 WHERE study_uid = $1 RETURNING generation, expected, ordered, " awaited ", \
             (SELECT count(*) FROM instances WHERE instances.study_uid = studies.study_uid AND made_for IS NULL) AS instances"
        ))
        .bind(study.to_owned())
        .bind(wish.expected)
        .bind(wish.ordered.map(i64::from))
        .bind(i64::from(state != "received"))
        .fetch_one(write.connection()?)
        .await?;
    end_analyses(write, study, "superseded by an order").await?;
    set_due(write, study, &snapshot(&row)?, patience).await?;
    Ok(Some(row.try_get("generation")?))
}

/// What is stored of an instance that arrives.
struct Known {
    study: String,
    series: String,
    object: String,
    /// Its bytes were removed by the retention policy.
    is_removed: bool,
    /// It was made here.
    is_made: bool,
}

impl Known {
    fn is_in_the_place_of(&self, instance: &NewInstance) -> bool {
        self.study == instance.study.as_str() && self.series == instance.series.as_str()
    }
}

async fn known(write: &mut Write, instance: &NewInstance) -> Result<Option<Known>, StoreError> {
    let row = write
        .query(sql!(
            "SELECT study_uid, series_uid, object_sha256, removed_at, made_for FROM instances WHERE sop_uid = $1"
        ))
        .bind(instance.uid.to_string())
        .fetch_optional(write.connection()?)
        .await?;
    row.map(|row| {
        Ok(Known {
            study: row.try_get("study_uid")?,
            series: row.try_get("series_uid")?,
            object: row.try_get("object_sha256")?,
            is_removed: row.try_get::<Option<i64>, _>("removed_at")?.is_some(),
            is_made: row.try_get::<Option<String>, _>("made_for")?.is_some(),
        })
    })
    .transpose()
}

/// A study has other content than before: it is received again, and what was made of it so far is superseded.
async fn content_changed(
    write: &mut Write,
    study: &str,
    expected: Option<i64>,
    patience: Patience<'_>,
) -> Result<i64, StoreError> {
    let row = write
        .query(sql!(
            "UPDATE studies SET state = 'received', last_arrival_at = " now ", generation = generation + 1, \
             result_key = NULL, expected = coalesce($2, expected), ordered = 0, images_removed_at = NULL WHERE study_uid = $1 \
             RETURNING generation, expected, ordered, " awaited ", \
             (SELECT count(*) FROM instances WHERE instances.study_uid = studies.study_uid AND made_for IS NULL) AS instances"
        ))
        .bind(study.to_owned())
        .bind(expected)
        .fetch_one(write.connection()?)
        .await?;
    let generation: i64 = row.try_get("generation")?;
    if generation > 1 {
        supersede(write, study, generation).await?;
    }
    set_due(write, study, &snapshot(&row)?, patience).await?;
    Ok(generation)
}

async fn supersede(write: &mut Write, study: &str, generation: i64) -> Result<(), StoreError> {
    if end_analyses(write, study, "superseded by a later arrival").await? > 0 {
        happened(write, study, generation - 1, EventKind::Superseded, &json!({})).await?;
    }
    Ok(())
}

/// Ends the analyses that wait, run or were given up; gives their number. The token changes, so that a worker that is at one now can no
/// longer settle it.
pub(super) async fn end_analyses(
    write: &mut Write,
    study: &str,
    cause: &'static str,
) -> Result<u64, StoreError> {
    let ended = write
        .query(sql!(
            "UPDATE jobs SET state = 'done', token = token + 1, cause = $2, settled_at = " now
            " WHERE study_uid = $1 AND kind = 'analyse' AND state IN ('ready', 'running', 'dead')"
        ))
        .bind(study.to_owned())
        .bind(cause)
        .execute(write.connection()?)
        .await?;
    Ok(ended.rows_affected())
}

/// Decides when the study counts as complete, from what is known of it now.
async fn set_due(
    write: &mut Write,
    study: &str,
    known: &Snapshot,
    patience: Patience<'_>,
) -> Result<(), StoreError> {
    write
        .query(sql!("UPDATE studies SET due_at = $2 + " now " WHERE study_uid = $1"))
        .bind(study.to_owned())
        .bind(millis(patience(known)))
        .execute(write.connection()?)
        .await?;
    Ok(())
}

/// `false` where the instance, which was in the study `former`, has been moved to another one at this moment, or made here.
async fn put_instance(
    write: &mut Write,
    instance: &NewInstance,
    record: &Record,
    former: &str,
) -> Result<bool, StoreError> {
    let written = write
        .query(sql!(
            "INSERT INTO instances \
             (sop_uid, study_uid, series_uid, sop_class, transfer_syntax, object_sha256, bytes, urgent, number, described, received_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, " now ") \
             ON CONFLICT (sop_uid) DO UPDATE SET study_uid = excluded.study_uid, series_uid = excluded.series_uid, \
             sop_class = excluded.sop_class, transfer_syntax = excluded.transfer_syntax, \
             object_sha256 = excluded.object_sha256, bytes = excluded.bytes, urgent = excluded.urgent, number = excluded.number, \
             described = 1, received_at = excluded.received_at, removed_at = NULL \
             WHERE instances.study_uid = $10 AND instances.made_for IS NULL"
        ))
        .bind(instance.uid.to_string())
        .bind(instance.study.to_string())
        .bind(instance.series.to_string())
        .bind(instance.class.clone())
        .bind(instance.transfer_syntax.clone())
        .bind(instance.object.to_string())
        .bind(instance.bytes)
        .bind(i64::from(instance.urgent))
        .bind(record.instance.number)
        .bind(former.to_owned())
        .execute(write.connection()?)
        .await?
        .rows_affected();
    Ok(written == 1)
}
