//! One job: the instances of a study become its result.
//!
//! Every instance of the study has a place in the result. What is not an image, or must not be scored, is a refused
//! instance with a reason; only what may pass by itself (the store, the engine) makes the attempt fail.

use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::fault::{Fault, FaultKind};
use crate::finding::{InstanceResult, Overrides, StudyResult, StudyRule};
use crate::inference::{Call, ImageBytes, Inference, Priority, ScoreRequest};
use crate::store::{InstanceRow, Job, Settled, Store, StoreError};

/// The answer that a [`Score`] is working on.
pub type Scoring<'a> = Pin<Box<dyn Future<Output = InstanceResult> + Send + 'a>>;

/// What looks at an image: the inference service, or a rehearsed one in fault tests.
pub trait Score: Send + Sync {
    /// The name of the model to ask, once one is ready.
    fn model(&self) -> Option<String>;
    /// How that model's findings on the images of a study become one.
    fn study_rule(&self, _model: &str) -> StudyRule {
        StudyRule::default()
    }
    /// Scores one image.
    fn score(&self, request: ScoreRequest) -> Scoring<'_>;
}

impl Score for Inference {
    fn model(&self) -> Option<String> {
        self.default_model().map(|model| model.name)
    }

    fn study_rule(&self, model: &str) -> StudyRule {
        self.catalog()
            .find(model, None)
            .map(|model| model.manifest.study.clone())
            .unwrap_or_default()
    }

    fn score(&self, request: ScoreRequest) -> Scoring<'_> {
        Box::pin(async move { Inference::score(self, request).await.0 })
    }
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
/// without progress and not the size of a study.
pub(super) async fn analyse(
    store: &Store,
    scorer: &dyn Score,
    job: &Job,
    lease: Duration,
) -> Result<StudyResult, Stopped> {
    let model = scorer.model().ok_or_else(|| {
        Stopped::Fault(Fault::new(
            FaultKind::Unavailable,
            "no-model",
            "no model is ready: wait until one is loaded",
        ))
    })?;
    let mut results = Vec::new();
    let mut renewed = Instant::now();
    let instances = store.instances(&job.study).await?;
    let urgent = instances.iter().any(|row| row.instance.urgent);
    let priority = if urgent { Priority::Stat } else { Priority::Routine };
    for row in instances {
        if renewed.elapsed() > lease / 3 {
            if store.renew(job, lease).await? == Settled::Stale {
                return Err(Stopped::Stale);
            }
            renewed = Instant::now();
        }
        // together with a third of the lease this ends before the lease does
        let scored = tokio::time::timeout(lease / 2, score(store, scorer, &model, &row, priority)).await;
        results.push(scored.map_err(|_| Stopped::Fault(timed_out(lease / 2)))??);
    }
    Ok(StudyResult::of(results, &scorer.study_rule(&model)))
}

async fn score(
    store: &Store,
    scorer: &dyn Score,
    model: &str,
    row: &InstanceRow,
    priority: Priority,
) -> Result<InstanceResult, StoreError> {
    let uid = Some(row.instance.uid.to_string());
    let bytes = match store.object(&row.instance.object).await {
        Ok(bytes) => bytes,
        Err(damaged @ StoreError::Damaged) => return Ok(InstanceResult::unscored(&damaged.into(), uid)),
        Err(error) => return Err(error),
    };
    let request = ScoreRequest {
        model: model.to_owned(),
        version: None,
        call: Call {
            priority,
            ..Call::default()
        },
        image: ImageBytes::Dicom(bytes),
        overrides: Overrides::default(),
    };
    let result = scorer.score(request).await;
    Ok(InstanceResult {
        sop_instance_uid: uid,
        ..result
    })
}

fn timed_out(limit: Duration) -> Fault {
    let message = format!(
        "the analysis of one instance did not end within {} seconds",
        limit.as_secs_f32()
    );
    Fault::new(FaultKind::Internal, "timeout", message)
}
