//! Reading stored instances, whoever made them, and their headers: what retrieving needs.

use sqlx::Row;

use super::database::sql;
use super::{InstanceRow, Store, StoreError};
use crate::dicom::{InstanceUid, SeriesUid, StudyUid};

/// What is kept of an instance's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptHeader {
    /// DICOM JSON, with bulk data named by its place.
    pub json: String,
    /// Whether it is all of the header; otherwise the object has the rest.
    pub whole: bool,
}

impl Store {
    /// The instances of a study, of one of its series, or one of them, in the order in which a reader goes through them: by series
    /// number and instance number. Those made here are among them.
    pub async fn stored(
        &self,
        study: &StudyUid,
        series: Option<&SeriesUid>,
        instance: Option<&InstanceUid>,
    ) -> Result<Vec<InstanceRow>, StoreError> {
        let rows = self
            .database
            .query(sql!(
                "SELECT instances.* FROM instances LEFT JOIN series_records \
                 ON series_records.study_uid = instances.study_uid AND series_records.series_uid = instances.series_uid \
                 WHERE instances.study_uid = $1 AND ($2 = '' OR instances.series_uid = $2) AND ($3 = '' OR sop_uid = $3) \
                 ORDER BY coalesce(series_records.number, 9223372036854775807), instances.series_uid, \
                 coalesce(instances.number, 9223372036854775807), sop_uid"
            ))
            .bind(study.to_string())
            .bind(series.map(ToString::to_string).unwrap_or_default())
            .bind(instance.map(ToString::to_string).unwrap_or_default())
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(InstanceRow::read).collect()
    }

    /// The header of an instance; `None` where it is not kept yet.
    pub async fn header(&self, instance: &InstanceUid) -> Result<Option<KeptHeader>, StoreError> {
        let row = self
            .database
            .query(sql!("SELECT header, whole FROM headers WHERE sop_uid = $1"))
            .bind(instance.to_string())
            .fetch_optional(self.database.read())
            .await?;
        row.map(|row| {
            Ok(KeptHeader {
                json: row.try_get("header")?,
                whole: row.try_get::<i64, _>("whole")? != 0,
            })
        })
        .transpose()
    }
}
