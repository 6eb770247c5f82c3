//! Whether rows and objects agree: nothing is repaired here.

use std::fmt;

use futures_util::{StreamExt as _, pin_mut};
use sqlx::Row;

use super::database::{Sql, sql};
use super::{ObjectState, Sha, Store, StoreError};

/// How many rows are looked at in one query.
const PAGE: i64 = 1_000;

/// What was looked at, and what was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// Instances whose objects were looked for.
    pub instances: u64,
    /// Objects that are there.
    pub objects: u64,
    /// What they take.
    pub bytes: u64,
    /// Objects that no row names: left by a crash or by the retention policy; the sweeper removes them.
    pub orphans: u64,
    /// What must not be.
    pub disagreements: Vec<Disagreement>,
}

/// Something that must not be, by the UID or digest that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// What is wrong.
    pub what: &'static str,
    /// The study, instance or object.
    pub of: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.of)
    }
}

/// What rows must not say: the sentence, and the query for what it is true of.
const WRONG_ROWS: [(&str, Sql); 9] = [
    (
        "a settled study has no result",
        sql!(
            "SELECT studies.study_uid FROM studies LEFT JOIN results ON results.result_key = studies.result_key \
             WHERE state IN ('scored', 'refused', 'failed') AND results.result_key IS NULL"
        ),
    ),
    (
        "a study's outcome is not that of its result",
        sql!(
            "SELECT studies.study_uid FROM studies JOIN results ON results.result_key = studies.result_key \
             WHERE state IN ('scored', 'refused', 'failed') AND outcome <> state"
        ),
    ),
    (
        "a study is to be analysed and no job is there for it",
        sql!(
            "SELECT study_uid FROM studies WHERE state = 'analysing' AND NOT EXISTS (SELECT 1 FROM jobs \
             WHERE jobs.study_uid = studies.study_uid AND jobs.generation = studies.generation AND kind = 'analyse' \
             AND jobs.state IN ('ready', 'running'))"
        ),
    ),
    (
        "a job waits for a study that is settled",
        sql!(
            "SELECT jobs.study_uid FROM jobs JOIN studies ON studies.study_uid = jobs.study_uid WHERE kind = 'analyse' \
             AND jobs.state IN ('ready', 'running') AND studies.state <> 'analysing'"
        ),
    ),
    (
        "a study waits for another number of fetches than there are",
        sql!(
            "SELECT study_uid FROM studies WHERE fetches <> (SELECT count(*) FROM jobs WHERE jobs.study_uid = studies.study_uid \
             AND kind = 'fetch' AND jobs.state IN ('ready', 'running'))"
        ),
    ),
    (
        "a workitem is performed here and its study is settled",
        sql!(
            "SELECT workitem_uid FROM workitems JOIN studies ON studies.study_uid = workitems.study_uid \
             WHERE workitems.state = 'IN PROGRESS' AND performed_here = 1 AND workitems.result_key IS NULL \
             AND studies.state IN ('scored', 'refused', 'failed')"
        ),
    ),
    (
        "a workitem waits for objects that nobody makes",
        sql!(
            "SELECT workitem_uid FROM workitems WHERE state = 'IN PROGRESS' AND result_key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM jobs \
             WHERE jobs.study_uid = workitems.study_uid AND jobs.result_key = workitems.result_key AND kind = 'deliver' \
             AND destination = 'osteon' AND jobs.state IN ('ready', 'running'))"
        ),
    ),
    (
        "an instance belongs to no study",
        sql!(
            "SELECT sop_uid FROM instances WHERE NOT EXISTS (SELECT 1 FROM studies WHERE studies.study_uid = instances.study_uid)"
        ),
    ),
    (
        "a generation of a study has more than one outcome",
        sql!(
            "SELECT study_uid FROM events WHERE kind IN ('scored', 'refused', 'failed') GROUP BY study_uid, generation \
             HAVING count(*) > 1 + (SELECT count(*) FROM events AS retried WHERE retried.study_uid = events.study_uid \
             AND retried.kind = 'retried')"
        ),
    ),
];

impl Store {
    /// Looks whether every row has its object, and whether rows agree with each other; with `deep`, also whether every object is what it
    /// was when it was stored. `progress` hears of every object that was looked at.
    pub async fn check(&self, deep: bool, progress: impl Fn()) -> Result<StoreReport, StoreError> {
        let mut report = StoreReport::default();
        for (what, query) in WRONG_ROWS {
            let rows = self.database.query(query).fetch_all(self.database.read()).await?;
            for row in rows {
                let of = row.try_get(0)?;
                report.disagreements.push(Disagreement { what, of });
            }
        }
        let mut after = String::new();
        loop {
            let rows = self
                .database
                .query(sql!(
                    "SELECT sop_uid, object_sha256 FROM instances WHERE sop_uid > $1 AND removed_at IS NULL \
                     ORDER BY sop_uid LIMIT $2"
                ))
                .bind(after.clone())
                .bind(PAGE)
                .fetch_all(self.database.read())
                .await?;
            for row in &rows {
                after = row.try_get("sop_uid")?;
                let wrong = match Sha::parse(row.try_get("object_sha256")?) {
                    None => Some("the digest of an instance is none"),
                    Some(object) => match self.objects.check(&object, deep).await? {
                        ObjectState::Present => None,
                        ObjectState::Missing => Some("the object of an instance is missing"),
                        ObjectState::Damaged => Some("the object of an instance is damaged"),
                    },
                };
                report.instances += 1;
                if let Some(what) = wrong {
                    let of = after.clone();
                    report.disagreements.push(Disagreement { what, of });
                }
                progress();
            }
            if rows.len() < PAGE as usize {
                break;
            }
        }
        let objects = self.objects.list();
        pin_mut!(objects);
        while let Some(object) = objects.next().await {
            let object = object?;
            report.objects += 1;
            report.bytes += object.bytes;
            if !self.is_named(&object.sha).await? {
                report.orphans += 1;
            }
        }
        Ok(report)
    }

    /// How many instances have an object, for a progress bar.
    pub async fn kept_instances(&self) -> Result<u64, StoreError> {
        let row = self
            .database
            .query(sql!("SELECT count(*) FROM instances WHERE removed_at IS NULL"))
            .fetch_one(self.database.read())
            .await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
    }
}
