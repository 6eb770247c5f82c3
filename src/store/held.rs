//! A study's row, held until the transaction ends: whoever changes what is known of a study holds it first.

use sqlx::Row;

use super::database::{Write, sql};
use super::row::key;
use super::{ResultKey, StoreError};

/// What a study is like that is held.
pub(super) struct Held {
    pub(super) generation: i64,
    pub(super) latest: Option<ResultKey>,
    pub(super) completeness: Option<String>,
}

/// Holds a study's row until the transaction ends; `None` where there is no such study.
pub(super) async fn hold(write: &mut Write, study: &str) -> Result<Option<Held>, StoreError> {
    let row = write
        .query(sql!(
            "SELECT generation, latest_key, completeness FROM studies WHERE study_uid = $1" for_update
        ))
        .bind(study.to_owned())
        .fetch_optional(write.connection()?)
        .await?;
    row.map(|row| {
        Ok(Held {
            generation: row.try_get("generation")?,
            latest: key(&row, "latest_key")?,
            completeness: row.try_get("completeness")?,
        })
    })
    .transpose()
}

/// Makes the study's row if it is missing, and holds it until the transaction ends.
pub(super) async fn hold_or_make(write: &mut Write, study: &str) -> Result<(), StoreError> {
    write
        .query(sql!(
            "INSERT INTO studies (study_uid, state, received_at, last_arrival_at, generation) \
             VALUES ($1, 'received', " now ", " now ", 0) \
             ON CONFLICT (study_uid) DO UPDATE SET last_arrival_at = studies.last_arrival_at"
        ))
        .bind(study.to_owned())
        .execute(write.connection()?)
        .await?;
    Ok(())
}
