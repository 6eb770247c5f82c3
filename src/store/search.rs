//! Searching studies, series and instances by what is kept of them.
//!
//! Invariants: the words of a statement are ours and every value is bound; results are in one order, newest studies first, so that
//! pages of a search fit together; a search by a key of a study looks it up in an index.

mod condition;
mod moment;
mod statement;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::row::study_uid;
use super::{Store, StoreError};
use crate::dicom::query::Query;
use crate::dicom::record::Level;
use crate::dicom::{InstanceUid, InvalidUid, SeriesUid, StudyUid};
use statement::Select;

/// Where is looked, and for what.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// What a result is.
    pub level: Level,
    /// The study that is looked into; of all studies, results tell what each is, too.
    pub study: Option<&'a StudyUid>,
    /// The series that is looked into.
    pub series: Option<&'a SeriesUid>,
    /// What results have to be.
    pub query: &'a Query,
}

/// One result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The study, or that of the series or instance.
    pub study: StudyUid,
    /// DICOM JSON of the attributes of patient and study.
    pub of_study: String,
    /// What the study has, where it was not named.
    pub study_counts: Option<StudyCounts>,
    /// The series, or that of the instance, with DICOM JSON of its attributes.
    pub series: Option<(SeriesUid, String)>,
    /// How many instances the series has, where it was not named.
    pub series_instances: Option<i64>,
    /// The instance, with DICOM JSON of its header.
    pub instance: Option<(InstanceUid, String)>,
    /// How many of the instances of this result have no image any more.
    pub removed: i64,
}

/// What a study has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StudyCounts {
    /// The modalities of its series, in alphabetic order.
    pub modalities: Vec<String>,
    /// How many series it has.
    pub series: i64,
    /// How many instances it has, those made here among them.
    pub instances: i64,
}

impl Search<'_> {
    /// Whether results say what their study has.
    pub(super) fn counts_study(&self) -> bool {
        self.study.is_none()
    }

    /// Whether results say what their series has.
    pub(super) fn counts_series(&self) -> bool {
        self.level != Level::Study && self.series.is_none()
    }
}

impl Store {
    /// At most `limit` results, behind as many as the query's offset says.
    pub async fn search(&self, search: &Search<'_>, limit: u32) -> Result<Vec<Found>, StoreError> {
        let select = Select::of(search, self.database.engine(), limit);
        let rows = select.statement().fetch_all(self.database.read()).await?;
        rows.iter().map(|row| Found::read(row, search)).collect()
    }
}

impl Found {
    fn read(row: &AnyRow, search: &Search<'_>) -> Result<Self, StoreError> {
        let unreadable = |error: InvalidUid| StoreError::Database(error.into());
        let counts = || {
            let modalities: Option<String> = row.try_get("modalities")?;
            let modalities = modalities.unwrap_or_default();
            let mut modalities: Vec<String> = modalities
                .split(',')
                .filter(|modality| !modality.is_empty())
                .map(str::to_owned)
                .collect();
            modalities.sort_unstable();
            Ok::<_, StoreError>(StudyCounts {
                modalities,
                series: row.try_get("study_series")?,
                instances: row.try_get("study_instances")?,
            })
        };
        let series = || {
            let uid = SeriesUid::parse(row.try_get("series_uid")?).map_err(unreadable)?;
            Ok::<_, StoreError>((uid, row.try_get("series_attributes")?))
        };
        let instance = || {
            let uid = InstanceUid::parse(row.try_get("sop_uid")?).map_err(unreadable)?;
            Ok::<_, StoreError>((uid, row.try_get("header")?))
        };
        let counted = search.counts_series();
        Ok(Self {
            study: study_uid(row)?,
            of_study: row.try_get("study_attributes")?,
            study_counts: search.counts_study().then(counts).transpose()?,
            series: (search.level != Level::Study).then(series).transpose()?,
            series_instances: counted.then(|| row.try_get("series_instances")).transpose()?,
            instance: (search.level == Level::Instance).then(instance).transpose()?,
            removed: row.try_get("removed")?,
        })
    }
}

#[cfg(test)]
mod tests;
