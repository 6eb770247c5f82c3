//! Reading studies and their instances.

use super::database::sql;
use super::{InstanceRow, Store, StoreError, StudyRow};
use crate::dicom::StudyUid;

impl Store {
    /// One study.
    pub async fn study(&self, study: &StudyUid) -> Result<Option<StudyRow>, StoreError> {
        let row = self
            .database
            .query(sql!(study_columns "WHERE studies.study_uid = $1"))
            .bind(study.to_string())
            .fetch_optional(self.database.read())
            .await?;
        row.as_ref().map(StudyRow::read).transpose()
    }

    /// The studies that arrived last, newest first.
    pub async fn studies(&self, limit: u32) -> Result<Vec<StudyRow>, StoreError> {
        let rows = self
            .database
            .query(sql!(study_columns "ORDER BY received_at DESC, studies.study_uid LIMIT $1"))
            .bind(i64::from(limit))
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(StudyRow::read).collect()
    }

    /// The instances of a study that were received, by series and UID; what was made of them is not among them.
    pub async fn instances(&self, study: &StudyUid) -> Result<Vec<InstanceRow>, StoreError> {
        let rows = self
            .database
            .query(sql!(
                "SELECT * FROM instances WHERE study_uid = $1 AND made_for IS NULL ORDER BY series_uid, sop_uid"
            ))
            .bind(study.to_string())
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(InstanceRow::read).collect()
    }
}
