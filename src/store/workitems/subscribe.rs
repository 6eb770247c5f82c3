//! Who hears what happens to which workitem.
//!
//! Invariants:
//! - a report is a row for each subscriber, written with the change that it tells of, so that every server can send it on;
//! - whoever subscribes to workitems that they do not name hears of every change that they did not see: changes hold the subscriptions
//!   shared from their first report on, and such a subscriber holds them alone, before looking at any workitem.

use std::time::Duration;

use sqlx::Row;

use super::super::database::{Lock, Write, millis, sql};
use super::super::row::{from_json, to_json};
use super::super::{Store, StoreError, Timestamp};
use super::{BATCH, Held};
use crate::dicom::InstanceUid;
use crate::workitem::{EVERY_WORKITEM, Event, MATCHING_WORKITEMS, Query, Workitem};

/// What is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One workitem.
    Workitem(InstanceUid),
    /// All that there are and will be.
    Every,
    /// All that there are and will be and that match this filter, as the request had it.
    Matching(String),
}

impl Target {
    /// The UID that stands for it.
    fn uid(&self) -> &str {
        match self {
            Self::Workitem(uid) => uid.as_str(),
            Self::Every => EVERY_WORKITEM,
            Self::Matching(_) => MATCHING_WORKITEMS,
        }
    }
}

/// Something that a subscriber hears.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Of which workitem.
    pub workitem: InstanceUid,
    /// Which change of the workitem it tells of.
    pub version: i64,
    /// When, by the database's clock.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

impl Store {
    /// Subscribes an application entity; `false` where there is no such workitem. It hears at once where each workitem stands.
    pub async fn subscribe(&self, ae_title: &str, target: &Target) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        match target {
            Target::Workitem(uid) => {
                let row = write
                    .query(sql!("SELECT * FROM workitems WHERE workitem_uid = $1" for_update))
                    .bind(uid.to_string())
                    .fetch_optional(write.connection()?)
                    .await?;
                let Some(row) = row else { return Ok(false) };
                subscribe_to(&mut write, ae_title, &Held::read(&row)?).await?;
            }
            Target::Every => {
                hold_subscriptions(&mut write, Lock::Exclusive).await?;
                put(&mut write, ae_title, EVERY_WORKITEM, None).await?;
                subscribe_to_open(&mut write, ae_title, &Query::default()).await?;
            }
            Target::Matching(filter) => {
                hold_subscriptions(&mut write, Lock::Exclusive).await?;
                put(&mut write, ae_title, MATCHING_WORKITEMS, Some(filter)).await?;
                if let Ok(query) = Query::parse_filter(filter) {
                    subscribe_to_open(&mut write, ae_title, &query).await?;
                }
            }
        }
        write.commit().await?;
        Ok(true)
    }

    /// Ends a subscription; that to every workitem takes those to single ones with it. `false` where there is no such workitem.
    pub async fn unsubscribe(&self, ae_title: &str, target: &Target) -> Result<bool, StoreError> {
        if let Target::Workitem(uid) = target
            && self.workitem(uid).await?.is_none()
        {
            return Ok(false);
        }
        let mut write = self.database.write().await?;
        write
            .query(sql!(
                "DELETE FROM workitem_subscriptions WHERE ae_title = $1 AND (target = $2 OR $2 = $3)"
            ))
            .bind(ae_title.to_owned())
            .bind(target.uid().to_owned())
            .bind(EVERY_WORKITEM)
            .execute(write.connection()?)
            .await?;
        write.commit().await?;
        Ok(true)
    }

    /// New workitems are no longer subscribed to; those that are stay so.
    pub async fn suspend(&self, ae_title: &str, target: &Target) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        write
            .query(sql!(
                "DELETE FROM workitem_subscriptions WHERE ae_title = $1 AND target = $2"
            ))
            .bind(ae_title.to_owned())
            .bind(target.uid().to_owned())
            .execute(write.connection()?)
            .await?;
        write.commit().await
    }

    /// What an application entity has heard since `since`, and no longer ago than `age`; the first thing first.
    pub async fn reports(
        &self,
        ae_title: &str,
        since: Timestamp,
        age: Duration,
    ) -> Result<Vec<Report>, StoreError> {
        let rows = self
            .database
            .query(sql!(
                "SELECT * FROM workitem_reports WHERE ae_title = $1 AND at >= $2 AND at >= " now " - $3 ORDER BY at, workitem_uid, version"
            ))
            .bind(ae_title.to_owned())
            .bind(since.0)
            .bind(millis(age))
            .fetch_all(self.database.read())
            .await?;
        let reports = rows.iter().map(|row| {
            Ok(Report {
                workitem: InstanceUid::parse(row.try_get("workitem_uid")?)
                    .map_err(|error| StoreError::Database(error.into()))?,
                version: row.try_get("version")?,
                at: Timestamp(row.try_get("at")?),
                event: from_json(row.try_get("report")?)?,
            })
        });
        reports.collect()
    }

    /// Forgets reports that are older than `age`: whoever wants to know more looks at the workitem. Gives their number.
    pub async fn forget_reports(&self, age: Duration) -> Result<u64, StoreError> {
        let mut write = self.database.write().await?;
        let forgotten = write
            .query(sql!("DELETE FROM workitem_reports WHERE at < " now " - $1"))
            .bind(millis(age))
            .execute(write.connection()?)
            .await?
            .rows_affected();
        write.commit().await?;
        Ok(forgotten)
    }
}

/// Writes what happened for everyone who has subscribed to the workitem.
pub(super) async fn report(
    write: &mut Write,
    workitem: &InstanceUid,
    version: i64,
    event: &Event,
) -> Result<(), StoreError> {
    hold_subscriptions(write, Lock::Shared).await?;
    write
        .query(sql!(
            "INSERT INTO workitem_reports (ae_title, workitem_uid, version, at, report) \
             SELECT ae_title, target, CAST($2 AS BIGINT), " now ", CAST($3 AS TEXT) FROM workitem_subscriptions WHERE target = $1"
        ))
        .bind(workitem.to_string())
        .bind(version)
        .bind(to_json(event)?)
        .execute(write.connection()?)
        .await?;
    Ok(())
}

/// Subscribes those to a new workitem who want to hear of every one, or of those that match.
pub(super) async fn subscribe_whoever_wants(
    write: &mut Write,
    workitem: &Workitem,
) -> Result<(), StoreError> {
    hold_subscriptions(write, Lock::Shared).await?;
    let wishes = write
        .query(sql!(
            "SELECT ae_title, filter FROM workitem_subscriptions WHERE target IN ($1, $2)"
        ))
        .bind(EVERY_WORKITEM)
        .bind(MATCHING_WORKITEMS)
        .fetch_all(write.connection()?)
        .await?;
    for wish in &wishes {
        let filter: Option<String> = wish.try_get("filter")?;
        let matches = filter.is_none_or(|filter| {
            Query::parse_filter(&filter).is_ok_and(|query| query.matches(&workitem.attributes))
        });
        if matches {
            put(write, wish.try_get("ae_title")?, workitem.uid.as_str(), None).await?;
        }
    }
    Ok(())
}

async fn put(
    write: &mut Write,
    ae_title: &str,
    target: &str,
    filter: Option<&String>,
) -> Result<(), StoreError> {
    write
        .query(sql!(
            "INSERT INTO workitem_subscriptions (ae_title, target, filter) VALUES ($1, $2, $3) \
             ON CONFLICT (ae_title, target) DO UPDATE SET filter = excluded.filter"
        ))
        .bind(ae_title.to_owned())
        .bind(target.to_owned())
        .bind(filter.cloned())
        .execute(write.connection()?)
        .await?;
    Ok(())
}

/// Subscribes to a workitem that does not change meanwhile, and says where it stands.
async fn subscribe_to(write: &mut Write, ae_title: &str, held: &Held) -> Result<(), StoreError> {
    put(write, ae_title, held.workitem.uid.as_str(), None).await?;
    write
        .query(sql!(
            "INSERT INTO workitem_reports (ae_title, workitem_uid, version, at, report) VALUES ($1, $2, $3, " now ", $4) \
             ON CONFLICT (ae_title, workitem_uid, version) DO UPDATE SET at = excluded.at, report = excluded.report"
        ))
        .bind(ae_title.to_owned())
        .bind(held.workitem.uid.to_string())
        .bind(held.version)
        .bind(to_json(&Event::state(&held.workitem))?)
        .execute(write.connection()?)
        .await?;
    Ok(())
}

/// Who hears of what stays as it is until the transaction ends, or changes in it alone.
async fn hold_subscriptions(write: &mut Write, how: Lock) -> Result<(), StoreError> {
    write.lock("subscriptions to workitems".to_owned(), how).await
}

/// Subscribes to all workitems that are not ended and match; none changes meanwhile, for the subscriptions are held.
async fn subscribe_to_open(write: &mut Write, ae_title: &str, query: &Query) -> Result<(), StoreError> {
    let mut last = String::new();
    loop {
        let rows = write
            .query(sql!(
                "SELECT * FROM workitems WHERE workitem_uid > $1 AND state IN ('SCHEDULED', 'IN PROGRESS') \
                 ORDER BY workitem_uid LIMIT $2"
            ))
            .bind(last.clone())
            .bind(BATCH)
            .fetch_all(write.connection()?)
            .await?;
        for row in &rows {
            let held = Held::read(row)?;
            last = held.workitem.uid.to_string();
            if query.matches(&held.workitem.attributes) {
                subscribe_to(write, ae_title, &held).await?;
            }
        }
        if rows.len() < BATCH as usize {
            return Ok(());
        }
    }
}
