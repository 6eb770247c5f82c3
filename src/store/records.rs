//! What studies, series and instances are found by: written with the instance, in its transaction.
//!
//! Invariants:
//! - whoever writes a record holds the study's row;
//! - where the instances of a study disagree about it, or those of a series, the one that arrived last says what holds; when that
//!   one leaves, the last of those that remain does; what is made here says it of its own series only;
//! - an instance without a kept header is from before there were any; it is described later, and found only then.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::database::{Write, sql};
use super::held::hold;
use super::row::{InstanceRow, unreadable};
use super::{NewInstance, Store, StoreError};
use crate::dicom::record::{Record, SeriesRecord, StudyRecord};

impl Store {
    /// At most `limit` instances whose headers are not kept, by UID and behind `after`.
    pub async fn undescribed(&self, after: &str, limit: u32) -> Result<Vec<InstanceRow>, StoreError> {
        let rows = self
            .database
            .query(sql!(
                "SELECT * FROM instances WHERE described = 0 AND sop_uid > $1 ORDER BY sop_uid LIMIT $2"
            ))
            .bind(after.to_owned())
            .bind(i64::from(limit))
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(InstanceRow::read).collect()
    }

    /// Keeps the record of an instance that has none yet; `false` where it has one by now, or other bytes.
    pub async fn describe(&self, instance: &NewInstance, record: &Record) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        hold(&mut write, instance.study.as_str()).await?;
        let described = write
            .query(sql!(
                "UPDATE instances SET described = 1, number = $4 \
                 WHERE sop_uid = $1 AND study_uid = $2 AND object_sha256 = $3 AND described = 0"
            ))
            .bind(instance.uid.to_string())
            .bind(instance.study.to_string())
            .bind(instance.object.to_string())
            .bind(record.instance.number)
            .execute(write.connection()?)
            .await?
            .rows_affected();
        if described == 1 {
            put_header(&mut write, instance, record).await?;
            mend_records(&mut write, instance.study.as_str(), instance.series.as_str()).await?;
        }
        write.commit().await?;
        Ok(described == 1)
    }
}

/// Writes the record of an instance whose row is written and whose study is held.
pub(super) async fn put_record(
    write: &mut Write,
    instance: &NewInstance,
    record: &Record,
) -> Result<(), StoreError> {
    put_study(write, instance.study.as_str(), &record.study).await?;
    put_own_record(write, instance, record).await
}

/// The same of an instance that says nothing of its study: what is made here.
pub(super) async fn put_own_record(
    write: &mut Write,
    instance: &NewInstance,
    record: &Record,
) -> Result<(), StoreError> {
    put_header(write, instance, record).await?;
    let (study, series) = (instance.study.as_str(), instance.series.as_str());
    put_series(write, study, series, &record.series).await
}

/// Writes the records of a study and a series anew, from the instances that they have: one has left, or came in another order than
/// it arrived. One whose header could not be read says less than the others.
pub(super) async fn mend_records(write: &mut Write, study: &str, series: &str) -> Result<(), StoreError> {
    let last_of_series = write
        .query(sql!(
            "SELECT header, whole FROM headers JOIN instances ON instances.sop_uid = headers.sop_uid \
             WHERE study_uid = $1 AND series_uid = $2 ORDER BY whole DESC, received_at DESC, headers.sop_uid DESC LIMIT 1"
        ))
        .bind(study.to_owned())
        .bind(series.to_owned())
        .fetch_optional(write.connection()?)
        .await?;
    if let Some(row) = last_of_series {
        put_series(write, study, series, &kept_record(&row)?.series).await?;
    } else {
        let gone = sql!("DELETE FROM series_records WHERE study_uid = $1 AND series_uid = $2");
        let gone = write.query(gone).bind(study.to_owned()).bind(series.to_owned());
        gone.execute(write.connection()?).await?;
    }
    let last_of_study = write
        .query(sql!(
            "SELECT header, whole FROM headers JOIN instances ON instances.sop_uid = headers.sop_uid \
             WHERE study_uid = $1 ORDER BY CASE WHEN made_for IS NULL THEN 0 ELSE 1 END, whole DESC, received_at DESC, \
             headers.sop_uid DESC LIMIT 1"
        ))
        .bind(study.to_owned())
        .fetch_optional(write.connection()?)
        .await?;
    if let Some(row) = last_of_study {
        put_study(write, study, &kept_record(&row)?.study).await?;
    } else {
        let gone = sql!("DELETE FROM study_records WHERE study_uid = $1");
        let gone = write.query(gone).bind(study.to_owned());
        gone.execute(write.connection()?).await?;
    }
    Ok(())
}

fn kept_record(row: &AnyRow) -> Result<Record, StoreError> {
    let whole = row.try_get::<i64, _>("whole")? != 0;
    Record::of_header(row.try_get("header")?, whole)
        .ok_or_else(|| unreadable("the header of an instance is no JSON object"))
}

async fn put_header(write: &mut Write, instance: &NewInstance, record: &Record) -> Result<(), StoreError> {
    write
        .query(sql!(
            "INSERT INTO headers (sop_uid, header, whole) VALUES ($1, $2, $3) \
             ON CONFLICT (sop_uid) DO UPDATE SET header = excluded.header, whole = excluded.whole"
        ))
        .bind(instance.uid.to_string())
        .bind(record.instance.header.clone())
        .bind(i64::from(record.instance.whole))
        .execute(write.connection()?)
        .await?;
    Ok(())
}

async fn put_study(write: &mut Write, study: &str, record: &StudyRecord) -> Result<(), StoreError> {
    write
        .query(sql!(
            "INSERT INTO study_records (study_uid, patient_id, patient_name, patient_name_groups, study_date, study_time, \
             accession_number, referring_physician, study_id, attributes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (study_uid) DO UPDATE SET patient_id = excluded.patient_id, patient_name = excluded.patient_name, \
             patient_name_groups = excluded.patient_name_groups, study_date = excluded.study_date, \
             study_time = excluded.study_time, accession_number = excluded.accession_number, \
             referring_physician = excluded.referring_physician, study_id = excluded.study_id, attributes = excluded.attributes \
             WHERE study_records.attributes <> excluded.attributes"
        ))
        .bind(study.to_owned())
        .bind(record.patient_id.clone())
        .bind(record.patient_name.clone())
        .bind(record.patient_name_groups.clone())
        .bind(record.date.clone())
        .bind(record.time.clone())
        .bind(record.accession_number.clone())
        .bind(record.referring_physician.clone())
        .bind(record.study_id.clone())
        .bind(record.attributes.clone())
        .execute(write.connection()?)
        .await?;
    Ok(())
}

async fn put_series(
    write: &mut Write,
    study: &str,
    series: &str,
    record: &SeriesRecord,
) -> Result<(), StoreError> {
    write
        .query(sql!(
            "INSERT INTO series_records (study_uid, series_uid, modality, number, start_date, start_time, attributes) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (study_uid, series_uid) DO UPDATE SET modality = excluded.modality, number = excluded.number, \
             start_date = excluded.start_date, start_time = excluded.start_time, attributes = excluded.attributes \
             WHERE series_records.attributes <> excluded.attributes"
        ))
        .bind(study.to_owned())
        .bind(series.to_owned())
        .bind(record.modality.clone())
        .bind(record.number)
        .bind(record.date.clone())
        .bind(record.time.clone())
        .bind(record.attributes.clone())
        .execute(write.connection()?)
        .await?;
    Ok(())
}

#[cfg(test)]
impl Store {
    /// Makes the store one from before headers were kept.
    pub(crate) async fn forget_records(&self) {
        for forget in [
            sql!("UPDATE instances SET described = 0, number = NULL, received_at = 1"),
            sql!("DELETE FROM headers"),
            sql!("DELETE FROM series_records"),
            sql!("DELETE FROM study_records"),
        ] {
            let forgotten = self.database.query(forget).execute(self.database.read()).await;
            assert!(forgotten.is_ok(), "{forgotten:?}");
        }
    }
}
