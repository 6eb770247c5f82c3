//! How a study gets its outcome: from a result, or from a job that is given up.

use sqlx::Row;

use super::StoreError;
use super::database::{Write, now, sql};
use super::row::{settled_name, study_uid};
use crate::dicom::StudyUid;
use crate::finding::{Outcome, Reason, StudyResult};

/// Buries what may be claimed but has no attempt left: its workers died or stalled and could not say why.
pub(super) async fn give_up_spent(write: &mut Write, max_attempts: u32) -> Result<(), StoreError> {
    let spent = sqlx::query(sql!(
        "UPDATE jobs SET state = 'dead', token = token + 1, settled_at = ",
        now!(),
        " WHERE state IN ('ready', 'running') AND attempts >= ?1 AND available_at <= ",
        now!(),
        " RETURNING study_uid, generation, attempts, cause"
    ))
    .bind(max_attempts)
    .fetch_all(write.connection()?)
    .await?;
    for row in spent {
        let attempts: u32 = row.try_get("attempts")?;
        let cause: Option<String> = row.try_get("cause")?;
        let cause = cause.unwrap_or_else(|| "the server stopped or stalled during the analysis".to_owned());
        let message =
            format!("the analysis was given up after {attempts} attempts; the last known cause: {cause}");
        let result = StudyResult {
            outcome: Outcome::Failed,
            reason: Some(Reason {
                code: "analysis-failed".to_owned(),
                message,
            }),
            findings: Vec::new(),
            instances: Vec::new(),
        };
        set_outcome(write, &study_uid(&row)?, row.try_get("generation")?, &result).await?;
    }
    Ok(())
}

/// Makes `result` the study's, if it still is at `generation`.
pub(super) async fn set_outcome(
    write: &mut Write,
    study: &StudyUid,
    generation: i64,
    result: &StudyResult,
) -> Result<(), StoreError> {
    let json = serde_json::to_string(result).map_err(|error| StoreError::Database(error.into()))?;
    sqlx::query(sql!(
        "UPDATE studies SET state = ?3, result = ?4, analysed_at = ",
        now!(),
        " WHERE study_uid = ?1 AND generation = ?2"
    ))
    .bind(study.as_str())
    .bind(generation)
    .bind(settled_name(result.outcome))
    .bind(json)
    .execute(write.connection()?)
    .await?;
    Ok(())
}
