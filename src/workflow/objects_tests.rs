//! What is made of results, with a real store, a real archive on the loopback interface, and an engine that does as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dicom_dictionary_std::uids;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::dicom::{CodedValue, StudyUid};
use crate::finding::{InstanceResult, Outcome, Reading};
use crate::inference::Priority;
use crate::peer::fixture::archive::{Archive, Mode};
use crate::peer::fixture::destination;
use crate::peer::{self, Destination, Destinations};
use crate::report::{capture_uid, report_uid};
use crate::store::{Event, StoreSettings, StudyRow};
use crate::telemetry::metrics::Metrics;
use crate::workflow::fixture::{Act, Rehearsed, dicom, explained};
use crate::workflow::{Chosen, Explaining, Patience, Score, Scoring, Submission, WorkflowSettings};

/// Scores every image, and explains it at the attempt at which it is told to, or says why not.
struct Explainer {
    scores: Rehearsed,
    fault: Option<Fault>,
    /// How often it fails before it explains.
    failures: u32,
    asked: AtomicU32,
}

impl Score for Explainer {
    fn model(&self) -> Option<Chosen> {
        self.scores.model()
    }

    fn explain<'a>(&'a self, _: Bytes, _: &'a ModelReference, _: &'a str) -> Explaining<'a> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match &self.fault {
                Some(fault) if asked < self.failures => Err(fault.clone()),
                _ => Ok(explained()),
            }
        })
    }

    fn score<'a>(&'a self, image: Bytes, model: &'a ModelReference, priority: Priority) -> Scoring<'a> {
        Box::pin(async move {
            let scored = self.scores.score(image, model, priority).await;
            let finding = Finding {
                label: "osteoporosis".into(),
                code: CodedValue {
                    scheme: "SCT".into(),
                    value: "64859006".into(),
                    meaning: "Osteoporosis".into(),
                },
                reading: Reading::Probability {
                    probability: 0.75,
                    threshold: Some(0.5),
                    positive: true,
                },
            };
            let is_scored = scored.outcome == Outcome::Scored;
            InstanceResult {
                findings: if is_scored { vec![finding] } else { vec![] },
                model: self.model().map(|chosen| chosen.model),
                ..scored
            }
        })
    }
}

fn explainer(act: Act, fault: Option<Fault>, failures: u32) -> Explainer {
    Explainer {
        scores: Rehearsed::new(&[act]),
        fault,
        failures,
        asked: AtomicU32::new(0),
    }
}

/// A study with two images after everything was done about it.
struct Done {
    store: Store,
    study: StudyRow,
    made: Vec<InstanceRow>,
    events: Vec<Event>,
    _folder: tempfile::TempDir,
}

impl Done {
    /// Sends the study to `engine`, and what comes of it to `destination`.
    async fn with(engine: Explainer, destination: Option<Destination>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = StoreSettings::in_folder(folder.path());
        settings.destinations = destination.iter().map(|one| one.name.clone()).collect();
        let store = Store::open(&settings).await.unwrap();
        let workflow = Workflow::new(
            store.clone(),
            Arc::new(engine),
            Destinations::try_from(Vec::from_iter(destination)).unwrap(),
            Metrics::new().unwrap(),
            WorkflowSettings {
                patience: Patience {
                    quiet: Duration::from_millis(100),
                    overdue: Duration::ZERO,
                },
                drain: Duration::ZERO,
                ..WorkflowSettings::default()
            },
        );
        for sop in ["1.2.1", "1.2.2"] {
            let submission = Submission::read(dicom("1.2", sop, sop)).await.unwrap();
            workflow.accept(&submission).await.unwrap();
        }
        let stop = CancellationToken::new();
        let task = tokio::spawn(workflow.run(stop.clone()));
        let uid = StudyUid::parse("1.2").unwrap();
        let (mut study, mut made) = (None, Vec::new());
        for _ in 0..1500 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            study = store.study(&uid).await.unwrap();
            let key = study.as_ref().and_then(|study| study.result_key.clone());
            let Some(key) = key else { continue };
            made = store.made_for(&uid, &key).await.unwrap();
            let deliveries = store.deliveries(&uid).await.unwrap();
            let is_over = |state: &str| matches!(state, "delivered" | "dead");
            if !made.is_empty() && deliveries.iter().all(|delivery| is_over(delivery.state)) {
                break;
            }
        }
        stop.cancel();
        task.await.unwrap();
        Self {
            study: study.unwrap(),
            made,
            events: store.events(&uid).await.unwrap(),
            store,
            _folder: folder,
        }
    }

    fn classes(&self) -> Vec<&str> {
        let mut classes: Vec<_> = self.made.iter().map(|row| row.instance.class.as_str()).collect();
        classes.sort_unstable();
        classes
    }

    fn said_of_objects(&self) -> &Value {
        let mut events = self.events.iter().filter(|event| event.kind == "objects-made");
        let said = &events.next().expect("it is told").detail;
        assert!(events.next().is_none(), "it is told once");
        said
    }
}

const SR: &str = uids::COMPREHENSIVE3_DSR_STORAGE;
const SC: &str = uids::SECONDARY_CAPTURE_IMAGE_STORAGE;

fn archive_at(archive: &Archive, objects: Option<Vec<peer::Object>>) -> Destination {
    Destination {
        objects,
        ..destination("pacs", peer::Kind::Stow, archive.url())
    }
}

#[tokio::test]
async fn a_report_and_a_map_of_each_image_are_kept_and_sent_once() {
    let archive = Archive::start(Mode::Accepting).await;
    let done = Done::with(explainer(Act::Score, None, 0), Some(archive_at(&archive, None))).await;
    assert_eq!(done.classes(), [SC, SC, SR]);
    assert_eq!(done.study.instances, 2, "what is made is no arrival");
    let key = done.study.result_key.unwrap().to_string();
    let mut expected = vec![
        report_uid(&key),
        capture_uid(&key, "1.2.1"),
        capture_uid(&key, "1.2.2"),
    ];
    expected.sort();
    let copies: Vec<_> = archive.copies().into_iter().collect();
    assert_eq!(
        copies,
        expected.into_iter().map(|uid| (uid, 1)).collect::<Vec<_>>()
    );
    for row in &done.made {
        let kept = done.store.object(&row.instance.object).await.unwrap();
        assert_eq!(
            archive.file(row.instance.uid.as_str()).unwrap(),
            kept,
            "what is kept is what is sent"
        );
    }
}

#[tokio::test]
async fn an_archive_gets_only_what_it_takes() {
    let archive = Archive::start(Mode::Accepting).await;
    let destination = archive_at(&archive, Some(vec![peer::Object::Report]));
    let done = Done::with(explainer(Act::Score, None, 0), Some(destination)).await;
    assert_eq!(done.classes(), [SC, SC, SR]);
    let key = done.study.result_key.unwrap().to_string();
    assert_eq!(
        archive.copies().into_keys().collect::<Vec<_>>(),
        [report_uid(&key)]
    );
}

#[tokio::test]
async fn what_was_refused_or_failed_has_its_report() {
    for act in [Act::Refuse, Act::Fail] {
        let done = Done::with(explainer(act, None, 0), None).await;
        assert_eq!(done.classes(), [SR], "{act:?}");
    }
}

#[tokio::test]
async fn a_map_that_cannot_be_made_is_named_and_takes_nothing_along() {
    let fault = Fault::new(FaultKind::NotFound, "another-model", "it is gone");
    let archive = Archive::start(Mode::Accepting).await;
    let destination = Some(archive_at(&archive, None));
    // of one image; the other has one
    let done = Done::with(explainer(Act::Score, Some(fault), 1), destination).await;
    assert_eq!(done.classes(), [SC, SR]);
    let without = &done.said_of_objects()["without_heatmap"];
    assert_eq!(
        *without,
        json!([{ "instance": "1.2.1", "code": "another-model" }])
    );
    assert_eq!(done.study.result.unwrap().outcome, Outcome::Scored);
    assert_eq!(archive.copies().len(), 2);
}

#[tokio::test]
async fn an_engine_without_room_is_asked_again() {
    let fault = Fault::new(FaultKind::Overloaded, "overloaded", "too much is waiting");
    let done = Done::with(explainer(Act::Score, Some(fault), 1), None).await;
    assert_eq!(done.classes(), [SC, SC, SR]);
    assert_eq!(done.said_of_objects()["without_heatmap"], json!([]));
    assert!(done.events.iter().any(|event| event.kind == "delivery-failed"));
}

/// To wait longer would not help, and each attempt costs as much as the first.
#[tokio::test]
async fn a_map_that_took_too_long_is_not_tried_again() {
    let fault = Fault::new(FaultKind::Overloaded, "deadline", "it took too long");
    let done = Done::with(explainer(Act::Score, Some(fault), 2), None).await;
    assert_eq!(done.classes(), [SR]);
    assert_eq!(
        done.said_of_objects()["without_heatmap"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(done.events.iter().all(|event| event.kind != "delivery-failed"));
}
