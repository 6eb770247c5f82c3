//! One job: the instances of a study become its result.
//!
//! Every instance of the study has a place in the result. What is not an image, or must not be scored, is a refused
//! instance with a reason; only what may pass by itself (the store, the engine) makes the attempt fail.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;

use super::lease::Lease;
use crate::failpoint;
use crate::fault::{Fault, FaultKind};
use crate::finding::{InstanceResult, ModelReference, Outcome, Overrides, Question, StudyResult, StudyRule};
use crate::inference::{Call, Explained, ImageBytes, Inference, Priority, ScoreRequest};
use crate::store::{Input, InstanceRow, Job, NewResult, ResultKey, Store, StoreError, input_digest};

/// The answer that a [`Score`] is working on.
pub type Scoring<'a> = Pin<Box<dyn Future<Output = InstanceResult> + Send + 'a>>;

/// The model that is asked about a study: one version of it for all images.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Which it is.
    pub model: ModelReference,
    /// How its findings on the images of a study become one.
    pub rule: StudyRule,
    /// What it is asked about an image.
    pub questions: Vec<Question>,
}

/// The picture that a [`Score`] is working on.
pub type Explaining<'a> = Pin<Box<dyn Future<Output = Result<Explained, Fault>> + Send + 'a>>;

/// What looks at an image: the inference service, or a rehearsed one in fault tests.
pub trait Score: Send + Sync {
    /// The model to ask, once one is ready.
    fn model(&self) -> Option<Chosen>;
    /// Scores one image by `model`, and by no other: where that is not the package of its name and version any more, the reason has one
    /// of the codes `another-model`, `unknown-version`, `unknown-model` and `not-ready`.
    fn score<'a>(&'a self, image: Bytes, model: &'a ModelReference, priority: Priority) -> Scoring<'a>;
    /// Where `model` finds the evidence for one of its findings on an image; a [`Fault`] where it is not the package of that name and
    /// version any more, too.
    fn explain<'a>(&'a self, image: Bytes, model: &'a ModelReference, finding: &'a str) -> Explaining<'a>;
}

impl Score for Inference {
    fn model(&self) -> Option<Chosen> {
        let served = self.study_model().ok()?;
        Some(Chosen {
            model: served.reference(),
            rule: served.manifest.study.clone(),
            questions: served.manifest.questions(),
        })
    }

    fn score<'a>(&'a self, image: Bytes, model: &'a ModelReference, priority: Priority) -> Scoring<'a> {
        Box::pin(async move {
            match request(self, image, model, priority) {
                Ok(request) => Inference::score(self, request).await.0,
                Err(fault) => InstanceResult::unscored(&fault, None),
            }
        })
    }

    fn explain<'a>(&'a self, image: Bytes, model: &'a ModelReference, finding: &'a str) -> Explaining<'a> {
        Box::pin(async move {
            let request = request(self, image, model, Priority::Routine)?;
            Inference::explain(self, request, Some(finding)).await
        })
    }
}

/// The request of the server itself for a stored image.
fn request(
    inference: &Inference,
    image: Bytes,
    model: &ModelReference,
    priority: Priority,
) -> Result<ScoreRequest, Fault> {
    Ok(ScoreRequest {
        model: inference.catalog().package(model)?,
        image: ImageBytes::Dicom(image),
        overrides: Overrides::default(),
        call: Call {
            priority,
            ..Call::default()
        },
    })
}

/// Why an attempt has no result.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The job belongs to another claim, or to a later generation of the study.
    Stale,
    /// Something failed that may work another time.
    Fault(Fault),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

/// Scores every instance of the job's study. The lease is renewed from instance to instance, so it bounds the time
/// without progress and not the size of a study. What the same model has made of the same images before stands.
pub(super) async fn analyse(
    store: &Store,
    scorer: &dyn Score,
    job: &Job,
    lease: &Lease,
) -> Result<NewResult, Stopped> {
    let chosen = scorer.model().ok_or_else(no_model)?;
    let instances = store.instances(&job.study).await?;
    let inputs: Vec<Input> = instances.iter().map(input_of).collect();
    let (model, input) = (&chosen.model.digest, input_digest(&inputs));
    let key = ResultKey::of(&job.study, model, &input);
    let known = store.result(&key).await?;
    let of = |key, body| NewResult {
        key,
        model: Some(chosen.model.clone()),
        inputs,
        body,
    };
    if let Some(known) = known {
        return Ok(of(key, known.body));
    }
    failpoint::reach("analyse.start")
        .await
        .map_err(StoreError::from)?;
    failpoint::poison(job.study.as_str()).await;
    let mut results = Vec::new();
    let priority = if job.urgent {
        Priority::Stat
    } else {
        Priority::Routine
    };
    for row in instances {
        let asked = Instant::now();
        loop {
            lease.progress(store, job).await?;
            let result = score(store, scorer, &chosen.model, &row, priority).await?;
            // the first image costs nothing to put back, and perhaps another server has room; later ones would take those before
            // them along
            if !is_turned_away(&result) || results.is_empty() || asked.elapsed() > LONGEST_WAIT {
                results.push(result);
                break;
            }
            sleep(ROOM.min(lease.short())).await;
        }
    }
    failpoint::reach("analyse.before-settle")
        .await
        .map_err(StoreError::from)?;
    let failed = results.iter().any(|result| result.outcome == Outcome::Failed);
    let key = if failed { job.failure(model, &input) } else { key };
    let body = StudyResult::of(results, &chosen.rule, &chosen.questions);
    Ok(of(key, body))
}

fn input_of(row: &InstanceRow) -> Input {
    Input {
        instance: row.instance.uid.clone(),
        object: row.instance.object.clone(),
    }
}

async fn score(
    store: &Store,
    scorer: &dyn Score,
    model: &ModelReference,
    row: &InstanceRow,
    priority: Priority,
) -> Result<InstanceResult, Stopped> {
    if row.removed_at.is_some() {
        let removed = Fault::new(
            FaultKind::NotFound,
            "image-removed",
            "the image was removed by the retention policy: send it again",
        );
        return Ok(InstanceResult::unscored(
            &removed,
            Some(row.instance.uid.to_string()),
        ));
    }
    score_object(store, scorer, model, &input_of(row), priority).await
}

/// Scores what is stored of one image.
pub(super) async fn score_object(
    store: &Store,
    scorer: &dyn Score,
    model: &ModelReference,
    input: &Input,
    priority: Priority,
) -> Result<InstanceResult, Stopped> {
    let uid = Some(input.instance.to_string());
    let bytes = match store.object(&input.object).await {
        Ok(bytes) => bytes,
        Err(damaged @ StoreError::Damaged) => return Ok(InstanceResult::unscored(&damaged.into(), uid)),
        Err(error) => return Err(unreadable(store, error).await),
    };
    let result = scorer.score(bytes, model, priority).await;
    if result
        .reason
        .as_ref()
        .is_some_and(|reason| REPLACED.contains(&reason.code.as_str()))
    {
        // another package has taken over since the study was begun: it is begun anew, so that one package makes all of its result
        return Err(no_model());
    }
    // this server's setting stands in the way and not the image: when it is raised, the same image has a score
    let outcome = match &result.reason {
        Some(reason) if reason.code == TOO_LARGE => Outcome::Failed,
        _ => result.outcome,
    };
    Ok(InstanceResult {
        outcome,
        sop_instance_uid: uid,
        ..result
    })
}

/// One image that cannot be read where all else can is the failure of its study; where nothing can be read, the study waits.
async fn unreadable(store: &Store, error: StoreError) -> Stopped {
    let is_away = matches!(error, StoreError::Unavailable(_) | StoreError::ReadOnly(_));
    let fault = Fault::from(error);
    if is_away && store.ping().await.is_ok() {
        return Stopped::Fault(Fault::new(
            fault.kind,
            "object-unreadable",
            "a stored image cannot be read although the store answers: look at the server's log, or send the image again",
        ));
    }
    Stopped::Fault(fault)
}

/// Whether the engine had too much to do.
fn is_turned_away(result: &InstanceResult) -> bool {
    let reason = result.reason.as_ref();
    reason.is_some_and(|reason| FULL.contains(&reason.code.as_str()))
}

/// The codes of an engine that has too much to do.
const FULL: [&str; 2] = ["overloaded", "too-many-requests"];
/// How long it is left alone then.
const ROOM: Duration = Duration::from_millis(500);
/// How long an image waits for room before its study is put back.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// The code of an image that takes more memory to decode than this server has for that.
pub(super) const TOO_LARGE: &str = "decode-memory";
/// The codes of a package that is no longer served.
const REPLACED: [&str; 4] = ["another-model", "unknown-version", "unknown-model", "not-ready"];

fn no_model() -> Stopped {
    Stopped::Fault(Fault::new(
        FaultKind::Unavailable,
        "not-ready",
        "no model is ready: wait until one is loaded",
    ))
}
