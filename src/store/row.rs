//! Rows as types: what was read from the database has valid UIDs, a known state and a readable result.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{ResultKey, Sha, Snapshot, StoreError};
use crate::dicom::{InstanceUid, SeriesUid, StudyUid};
use crate::finding::StudyResult;

/// Milliseconds since 1970 in UTC; shown as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.div_euclid(1000), self.0.rem_euclid(1000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // days to a Gregorian date: https://howardhinnant.github.io/date_algorithms.html#civil_from_days
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where a study stands, as a caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StudyState {
    /// It is stored, and more of it may come.
    Received,
    /// It is complete; its analysis waits or runs.
    Analysing,
    /// There are findings.
    Scored,
    /// It must not be scored; the result says why.
    Refused,
    /// It could not be scored; the result says why.
    Failed,
}

impl StudyState {
    const NAMES: [(&'static str, Self); 5] = [
        ("received", Self::Received),
        ("analysing", Self::Analysing),
        ("scored", Self::Scored),
        ("refused", Self::Refused),
        ("failed", Self::Failed),
    ];

    fn parse(text: &str) -> Result<Self, StoreError> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, state)| *state)
            .ok_or_else(|| unreadable("the state of a study is not known"))
    }
}

/// A study.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyRow {
    /// Its Study Instance UID.
    pub study: StudyUid,
    /// Where it stands.
    pub state: StudyState,
    /// When its first instance arrived.
    pub received_at: Timestamp,
    /// When its content last changed.
    pub last_arrival_at: Timestamp,
    /// When its result was made.
    pub analysed_at: Option<Timestamp>,
    /// How many times its content has changed, or its result was ordered anew.
    pub generation: i64,
    /// How many instances it has.
    pub instances: i64,
    /// When its analysis is to be queued, while it waits for that.
    pub due_at: Option<Timestamp>,
    /// What came of it, once it is settled.
    pub result: Option<StudyResult>,
    /// The name of that result.
    pub result_key: Option<ResultKey>,
    /// The result of this study that it takes the place of.
    pub supersedes: Option<ResultKey>,
    /// How complete the study was when it was analysed.
    pub completeness: Option<Completeness>,
}

/// How complete a study was when its analysis was queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// Why it counted as complete.
    pub basis: Basis,
    /// How many instances it had.
    pub instances: i64,
    /// How many someone had said that it has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected: Option<i64>,
}

/// Why a study counted as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Nothing of it had arrived for a while.
    Quiet,
    /// As many instances had arrived as were expected.
    Expected,
    /// Fewer had arrived than were expected, and no more came for long.
    Overdue,
    /// Someone asked for its result.
    Ordered,
    /// The instances that a workitem lists had arrived.
    Workitem,
}

impl StudyRow {
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let body: Option<String> = row.try_get("body")?;
        let completeness: Option<String> = row.try_get("completeness")?;
        Ok(Self {
            study: study_uid(row)?,
            state: StudyState::parse(row.try_get("state")?)?,
            received_at: Timestamp(row.try_get("received_at")?),
            last_arrival_at: Timestamp(row.try_get("last_arrival_at")?),
            analysed_at: row.try_get::<Option<i64>, _>("made_at")?.map(Timestamp),
            generation: row.try_get("generation")?,
            instances: row.try_get("instances")?,
            due_at: row.try_get::<Option<i64>, _>("due_at")?.map(Timestamp),
            result: body.as_deref().map(from_json).transpose()?,
            result_key: key(row, "result_key")?,
            supersedes: key(row, "supersedes")?,
            completeness: completeness.as_deref().map(from_json).transpose()?,
        })
    }
}

/// An instance to be stored, whose object already is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInstance {
    /// Its SOP Instance UID.
    pub uid: InstanceUid,
    /// The study it belongs to.
    pub study: StudyUid,
    /// The series it belongs to.
    pub series: SeriesUid,
    /// Its SOP Class UID.
    pub class: String,
    /// Its Transfer Syntax UID.
    pub transfer_syntax: String,
    /// The digest of its bytes.
    pub object: Sha,
    /// How many bytes it has.
    pub bytes: i64,
    /// Whether its study is to be analysed before others.
    pub urgent: bool,
    /// How many instances its study has, where it says so.
    pub expected: Option<i64>,
}

/// A stored instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRow {
    /// What was stored.
    pub instance: NewInstance,
    /// When.
    pub received_at: Timestamp,
    /// When its bytes were removed by the retention policy.
    pub removed_at: Option<Timestamp>,
    /// The result that it was made for; without one it was received.
    pub made_for: Option<ResultKey>,
}

impl InstanceRow {
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let instance = NewInstance {
            uid: InstanceUid::parse(row.try_get("sop_uid")?)
                .map_err(|error| StoreError::Database(error.into()))?,
            study: study_uid(row)?,
            series: SeriesUid::parse(row.try_get("series_uid")?)
                .map_err(|error| StoreError::Database(error.into()))?,
            class: row.try_get("sop_class")?,
            transfer_syntax: row.try_get("transfer_syntax")?,
            object: Sha::parse(row.try_get("object_sha256")?)
                .ok_or_else(|| unreadable("the digest of an object is not a SHA-256"))?,
            bytes: row.try_get("bytes")?,
            urgent: row.try_get::<i64, _>("urgent")? != 0,
            expected: None,
        };
        Ok(Self {
            instance,
            received_at: Timestamp(row.try_get("received_at")?),
            removed_at: row.try_get::<Option<i64>, _>("removed_at")?.map(Timestamp),
            made_for: key(row, "made_for")?,
        })
    }
}

/// The Study Instance UID of a row.
pub(super) fn study_uid(row: &AnyRow) -> Result<StudyUid, StoreError> {
    StudyUid::parse(row.try_get("study_uid")?).map_err(|error| StoreError::Database(error.into()))
}

/// What is known of the study of a row.
pub(super) fn snapshot(row: &AnyRow) -> Result<Snapshot, StoreError> {
    Ok(Snapshot {
        instances: row.try_get("instances")?,
        expected: row.try_get("expected")?,
        ordered: row.try_get::<i64, _>("ordered")? != 0,
        awaited: row.try_get("awaited")?,
    })
}

/// A result's name in a column.
pub(super) fn key(row: &AnyRow, column: &str) -> Result<Option<ResultKey>, StoreError> {
    Ok(row.try_get::<Option<String>, _>(column)?.map(ResultKey::stored))
}

/// A column of JSON.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Database(error.into()))
}

/// What goes into a column of JSON.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Database(error.into()))
}

pub(super) fn unreadable(message: &'static str) -> StoreError {
    StoreError::Database(message.into())
}
