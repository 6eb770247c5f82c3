//! Results: how a study gets its outcome, from an analysis or from a job that is given up.
//!
//! Invariants:
//! - a result, the study's state, the end of the job, and the deliveries and the making of objects that follow are one transaction;
//! - the study's workitems end in that one only where no making of objects follows;
//! - only the claim that holds the job's current token writes it;
//! - the same study, model and input have the same key, so an analysis that is repeated writes nothing twice; only where another result
//!   came in between it is a result of its own, which takes the place of that one.

use std::borrow::Cow;

use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::database::{Write, sql};
use super::deliveries::queue_deliveries;
use super::events::{EventKind, happened};
use super::held::{Held, hold};
use super::made::{is_being_made, put_making};
use super::row::{from_json, key, study_uid, to_json, unreadable};
use super::workitems::{await_objects, end_workitems};
use super::{Basis, Completeness, Job, ResultKey, Settled, Sha, Store, StoreError, Timestamp};
use crate::dicom::{InstanceUid, StudyUid};
use crate::failpoint;
use crate::finding::{ModelReference, Outcome, Reason, StudyResult};

/// One of the images that a result was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its SOP Instance UID.
    pub instance: InstanceUid,
    /// The digest of its bytes.
    pub object: Sha,
}

/// The digest of what a result was made from.
#[must_use]
pub fn input_digest(inputs: &[Input]) -> String {
    let mut lines: Vec<_> = inputs
        .iter()
        .map(|input| format!("{} {}\n", input.instance, input.object))
        .collect();
    lines.sort();
    Sha::of(lines.concat().as_bytes()).to_string()
}

/// A result to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewResult {
    /// Its name.
    pub key: ResultKey,
    /// The model that was asked.
    pub model: Option<ModelReference>,
    /// What it was asked about.
    pub inputs: Vec<Input>,
    /// What it said.
    pub body: StudyResult,
}

/// A stored result, with all that is needed to make it again.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRow {
    /// Its name.
    pub key: ResultKey,
    /// The study that it is about.
    pub study: StudyUid,
    /// The digest of the manifest of the model that made it, where one did.
    pub model_digest: Option<String>,
    /// How complete the study was.
    pub completeness: Completeness,
    /// What it says.
    pub body: StudyResult,
    /// The result that it takes the place of.
    pub supersedes: Option<ResultKey>,
    /// When it was made.
    pub made_at: Timestamp,
    /// What it was made from.
    pub inputs: Vec<Input>,
}

impl Store {
    /// Stores the result of a job and makes it the study's outcome; it is queued for every destination.
    pub async fn complete(&self, job: &Job, result: &NewResult) -> Result<Settled, StoreError> {
        self.settle(job, "done", result).await
    }

    /// Gives a job up: it is dead, and `result` is the study's outcome.
    pub async fn bury(&self, job: &Job, result: &NewResult) -> Result<Settled, StoreError> {
        self.settle(job, "dead", result).await
    }

    /// A result by its name.
    pub async fn result(&self, key: &ResultKey) -> Result<Option<ResultRow>, StoreError> {
        let row = self
            .database
            .query(sql!("SELECT * FROM results WHERE result_key = $1"))
            .bind(key.to_string())
            .fetch_optional(self.database.read())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let inputs = self
            .database
            .query(sql!(
                "SELECT sop_uid, object_sha256 FROM result_inputs WHERE result_key = $1 ORDER BY sop_uid"
            ))
            .bind(key.to_string())
            .fetch_all(self.database.read())
            .await?;
        let inputs = inputs.iter().map(read_input).collect::<Result<_, _>>()?;
        ResultRow::read(&row, inputs).map(Some)
    }

    async fn settle(
        &self,
        job: &Job,
        state: &'static str,
        result: &NewResult,
    ) -> Result<Settled, StoreError> {
        failpoint::reach("settle.before-begin").await?;
        let mut write = self.database.write().await?;
        let study = hold(&mut write, job.study.as_str()).await?;
        let cause = result.body.reason.as_ref().map(|reason| reason.message.clone());
        let fenced = i64::from(!failpoint::is_off("settle.no-fence"));
        let held = write
            .query(sql!(
                "UPDATE jobs SET state = $3, cause = $4, settled_at = " now
                " WHERE job_id = $1 AND ((token = $2 AND state = 'running') OR $5 = 0)"
            ))
            .bind(job.id.clone())
            .bind(job.token)
            .bind(state)
            .bind(cause)
            .bind(fenced)
            .execute(write.connection()?)
            .await?
            .rows_affected();
        if held == 1 {
            set_outcome(&mut write, study, job, result, Some(&self.destinations)).await?;
        }
        failpoint::reach("settle.before-commit").await?;
        write.commit().await?;
        failpoint::reach("settle.after-commit").await?;
        Ok(Settled::of(held))
    }
}

impl NewResult {
    /// The result of a study that could not be analysed.
    #[must_use]
    pub fn failed(job: &Job, code: &str, message: String) -> Self {
        Self {
            key: job.failure("", ""),
            model: None,
            inputs: Vec::new(),
            body: StudyResult {
                outcome: Outcome::Failed,
                reason: Some(Reason {
                    code: code.to_owned(),
                    message,
                }),
                findings: Vec::new(),
                instances: Vec::new(),
            },
        }
    }
}

impl ResultRow {
    fn read(row: &AnyRow, inputs: Vec<Input>) -> Result<Self, StoreError> {
        Ok(Self {
            key: key(row, "result_key")?.ok_or_else(|| unreadable("a result has no key"))?,
            study: study_uid(row)?,
            model_digest: row.try_get("model_digest")?,
            completeness: from_json(row.try_get("completeness")?)?,
            body: from_json(row.try_get("body")?)?,
            supersedes: key(row, "supersedes")?,
            made_at: Timestamp(row.try_get("made_at")?),
            inputs,
        })
    }
}

/// Makes `result` the study's, if it still is at the job's generation. Its objects are made and it is sent to `destinations`; without
/// them there is nothing of the study that anything could be made of.
pub(super) async fn set_outcome(
    write: &mut Write,
    study: Option<Held>,
    job: &Job,
    result: &NewResult,
    destinations: Option<&[String]>,
) -> Result<(), StoreError> {
    let Some(study) = study.filter(|study| study.generation == job.generation) else {
        return Ok(());
    };
    let mut former = study.latest.filter(|former| *former != result.key);
    let mut key = result.key.clone();
    if let Some(between) = &former
        && is_stored(write, &key).await?
    {
        if says_the_same(write, between, result).await? {
            key = between.clone();
            former = None;
        } else {
            key = key.once_more(between);
        }
    }
    let result = if key == result.key {
        Cow::Borrowed(result)
    } else {
        Cow::Owned(NewResult {
            key,
            ..result.clone()
        })
    };
    let result = &*result;
    put_result(write, job, result, study.completeness, former.as_ref()).await?;
    let kind = match result.body.outcome {
        Outcome::Scored => EventKind::Scored,
        Outcome::Refused => EventKind::Refused,
        Outcome::Failed => EventKind::Failed,
    };
    write
        .query(sql!(
            "UPDATE studies SET state = $3, result_key = $4, latest_key = $4, ordered = 0 \
             WHERE study_uid = $1 AND generation = $2"
        ))
        .bind(job.study.to_string())
        .bind(job.generation)
        .bind(result.body.outcome.name())
        .bind(result.key.to_string())
        .execute(write.connection()?)
        .await?;
    let detail = json!({
        "result_key": result.key,
        "supersedes": former,
        "attempt": job.attempt,
        "reason": result.body.reason,
        "model": result.model.as_ref().map(|model| format!("{} {}", model.name, model.version)),
    });
    happened(write, job.study.as_str(), job.generation, kind, &detail).await?;
    if let Some(destinations) = destinations {
        put_making(write, &job.study, job.generation, &result.key).await?;
        queue_deliveries(write, job, &result.key, destinations).await?;
    }
    let study = job.study.as_str();
    if await_objects(write, study, &result.key).await? && !is_being_made(write, &result.key).await? {
        end_workitems(write, study, &result.key).await?;
    }
    Ok(())
}

async fn is_stored(write: &mut Write, key: &ResultKey) -> Result<bool, StoreError> {
    let row = write
        .query(sql!("SELECT 1 FROM results WHERE result_key = $1"))
        .bind(key.to_string())
        .fetch_optional(write.connection()?)
        .await?;
    Ok(row.is_some())
}

/// Whether a stored result is `result` under another key.
async fn says_the_same(
    write: &mut Write,
    stored: &ResultKey,
    result: &NewResult,
) -> Result<bool, StoreError> {
    let row = write
        .query(sql!(
            "SELECT 1 FROM results WHERE result_key = $1 AND input_digest = $2 AND coalesce(model_digest, '') = $3 AND body = $4"
        ))
        .bind(stored.to_string())
        .bind(input_digest(&result.inputs))
        .bind(result.model.as_ref().map_or_else(String::new, |model| model.digest.clone()))
        .bind(to_json(&result.body)?)
        .fetch_optional(write.connection()?)
        .await?;
    Ok(row.is_some())
}

/// Writes the result, if it is not there already.
async fn put_result(
    write: &mut Write,
    job: &Job,
    result: &NewResult,
    completeness: Option<String>,
    supersedes: Option<&ResultKey>,
) -> Result<(), StoreError> {
    let unknown = Completeness {
        basis: Basis::Quiet,
        instances: result.inputs.len() as i64,
        expected: None,
    };
    let model = result.model.as_ref();
    let outcome = result.body.outcome.name();
    write
        .query(sql!(
            "INSERT INTO results (result_key, study_uid, generation, outcome, model_name, model_version, model_digest, input_digest, \
             completeness, body, supersedes, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, " now ") \
             ON CONFLICT (result_key) DO NOTHING"
        ))
        .bind(result.key.to_string())
        .bind(job.study.to_string())
        .bind(job.generation)
        .bind(outcome)
        .bind(model.map(|model| model.name.clone()))
        .bind(model.map(|model| i64::from(model.version)))
        .bind(model.map(|model| model.digest.clone()))
        .bind(input_digest(&result.inputs))
        .bind(completeness.map_or_else(|| to_json(&unknown), Ok)?)
        .bind(to_json(&result.body)?)
        .bind(supersedes.map(ToString::to_string))
        .execute(write.connection()?)
        .await?;
    for input in &result.inputs {
        write
            .query(sql!(
                "INSERT INTO result_inputs (result_key, sop_uid, object_sha256) VALUES ($1, $2, $3) \
                 ON CONFLICT (result_key, sop_uid) DO NOTHING"
            ))
            .bind(result.key.to_string())
            .bind(input.instance.to_string())
            .bind(input.object.to_string())
            .execute(write.connection()?)
            .await?;
    }
    Ok(())
}

fn read_input(row: &AnyRow) -> Result<Input, StoreError> {
    Ok(Input {
        instance: InstanceUid::parse(row.try_get("sop_uid")?)
            .map_err(|error| StoreError::Database(error.into()))?,
        object: Sha::parse(row.try_get("object_sha256")?)
            .ok_or_else(|| unreadable("the digest of an object is not a SHA-256"))?,
    })
}
