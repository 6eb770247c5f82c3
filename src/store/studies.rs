//! Studies and their instances.
//!
//! Invariant: whatever changes a study's content also raises its generation, removes its result and supersedes its
//! unfinished jobs, in the same transaction.

use sqlx::Row;

use super::database::{Write, now, sql};
use super::{InstanceRow, NewInstance, Store, StoreError, StudyRow};
use crate::dicom::StudyUid;

/// What an arrival changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The instance was not known.
    New,
    /// The same bytes are stored already; nothing changed.
    Identical,
    /// Other bytes were stored under this UID; the newest are kept.
    Replaced,
}

/// The columns of a [`StudyRow`].
macro_rules! study_columns {
    () => {
        "SELECT study_uid, state, received_at, last_arrival_at, analysed_at, generation, result, \
         (SELECT count(*) FROM instances WHERE instances.study_uid = studies.study_uid) AS instances FROM studies "
    };
}

impl Store {
    /// Records an instance whose object is stored; when this returns, it may be acknowledged.
    pub async fn accept(&self, instance: &NewInstance) -> Result<Accepted, StoreError> {
        let mut write = self.database.write().await?;
        let known = sqlx::query("SELECT study_uid, object_sha256 FROM instances WHERE sop_uid = ?1")
            .bind(instance.uid.as_str())
            .fetch_optional(write.connection()?)
            .await?;
        let accepted = if let Some(row) = &known {
            let former: &str = row.try_get("study_uid")?;
            let same_study = former == instance.study.as_str();
            if same_study && row.try_get::<&str, _>("object_sha256")? == instance.object.as_str() {
                write.commit().await?;
                return Ok(Accepted::Identical);
            }
            if !same_study {
                // the UID moves to another study: the one that it leaves has changed, too
                content_changed(&mut write, former).await?;
            }
            Accepted::Replaced
        } else {
            Accepted::New
        };
        content_changed(&mut write, instance.study.as_str()).await?;
        put_instance(&mut write, instance).await?;
        write.commit().await?;
        Ok(accepted)
    }

    /// One study.
    pub async fn study(&self, study: &StudyUid) -> Result<Option<StudyRow>, StoreError> {
        let row = sqlx::query(sql!(study_columns!(), "WHERE study_uid = ?1"))
            .bind(study.as_str())
            .fetch_optional(self.database.read())
            .await?;
        row.as_ref().map(StudyRow::read).transpose()
    }

    /// The studies that arrived last, newest first.
    pub async fn studies(&self, limit: u32) -> Result<Vec<StudyRow>, StoreError> {
        let rows = sqlx::query(sql!(
            study_columns!(),
            "ORDER BY received_at DESC, study_uid LIMIT ?1"
        ))
        .bind(limit)
        .fetch_all(self.database.read())
        .await?;
        rows.iter().map(StudyRow::read).collect()
    }

    /// The instances of a study, by series and UID.
    pub async fn instances(&self, study: &StudyUid) -> Result<Vec<InstanceRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM instances WHERE study_uid = ?1 ORDER BY series_uid, sop_uid")
            .bind(study.as_str())
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(InstanceRow::read).collect()
    }
}

async fn content_changed(write: &mut Write, study: &str) -> Result<(), StoreError> {
    sqlx::query(sql!(
        "INSERT INTO studies (study_uid, state, received_at, last_arrival_at, generation) \
         VALUES (?1, 'received', ",
        now!(),
        ", ",
        now!(),
        ", 1) ON CONFLICT (study_uid) DO UPDATE SET state = 'received', last_arrival_at = excluded.last_arrival_at, \
         generation = studies.generation + 1, analysed_at = NULL, result = NULL"
    ))
    .bind(study)
    .execute(write.connection()?)
    .await?;
    // the token changes, so that a worker that is at it now can no longer settle it
    sqlx::query(sql!(
        "UPDATE jobs SET state = 'done', token = token + 1, cause = 'superseded by a later arrival', settled_at = ",
        now!(),
        " WHERE study_uid = ?1 AND state IN ('ready', 'running')"
    ))
    .bind(study)
    .execute(write.connection()?)
    .await?;
    Ok(())
}

async fn put_instance(write: &mut Write, instance: &NewInstance) -> Result<(), StoreError> {
    sqlx::query(sql!(
        "INSERT INTO instances \
         (sop_uid, study_uid, series_uid, sop_class, transfer_syntax, object_sha256, bytes, urgent, received_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ",
        now!(),
        ") ON CONFLICT (sop_uid) DO UPDATE SET study_uid = excluded.study_uid, series_uid = excluded.series_uid, \
         sop_class = excluded.sop_class, transfer_syntax = excluded.transfer_syntax, \
         object_sha256 = excluded.object_sha256, bytes = excluded.bytes, urgent = excluded.urgent, received_at = excluded.received_at"
    ))
    .bind(instance.uid.as_str())
    .bind(instance.study.as_str())
    .bind(instance.series.as_str())
    .bind(&instance.class)
    .bind(&instance.transfer_syntax)
    .bind(instance.object.as_str())
    .bind(instance.bytes)
    .bind(i64::from(instance.urgent))
    .execute(write.connection()?)
    .await?;
    Ok(())
}
