//! Orders of studies from an archive that is a real server on the loopback interface, and that does not always behave.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::dicom::StudyUid;
use crate::peer::fixture::archive::{Archive, Mode};
use crate::peer::fixture::destination;
use crate::peer::{Destination, Destinations, Kind, Use};
use crate::store::{Basis, Store, StoreSettings, StudyRow, StudyState};
use crate::telemetry::metrics::Metrics;
use crate::workflow::fixture::{Act, Rehearsed, dicom, video};
use crate::workflow::{Submission, Workflow, WorkflowSettings};

struct Running {
    _folder: TempDir,
    store: Store,
    workflow: Workflow,
    archive: Archive,
    stop: CancellationToken,
    _task: JoinHandle<()>,
}

impl Running {
    /// A workflow beside an archive that has these instances of the study 1.2.
    async fn start(mode: Mode, sops: &[&str], fetch_attempts: u32) -> Self {
        let archive = Archive::start(mode).await;
        for sop in sops {
            archive.hold(dicom("1.2", sop, "from the archive"));
        }
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreSettings::in_folder(folder.path()))
            .await
            .unwrap();
        let peer = Destination {
            uses: vec![Use::Studies],
            ae_title: Some("PACS".parse().unwrap()),
            ..destination("pacs", Kind::Stow, archive.url())
        };
        let settings = WorkflowSettings {
            fetch_attempts,
            ..WorkflowSettings::default()
        };
        let workflow = Workflow::new(
            store.clone(),
            Arc::new(Rehearsed::new(&[Act::Score])),
            Destinations::try_from(vec![peer]).unwrap(),
            Metrics::new().unwrap(),
            settings,
        );
        let stop = CancellationToken::new();
        let task = tokio::spawn(workflow.clone().run(stop.clone()));
        Self {
            _folder: folder,
            store,
            workflow,
            archive,
            stop,
            _task: task,
        }
    }

    async fn order(&self) {
        self.workflow.order_from(&uid(), "pacs").await.unwrap();
    }

    async fn settled(&self) -> StudyRow {
        for _ in 0..600 {
            let row = self.store.study(&uid()).await.unwrap().unwrap();
            if row.result.is_some() {
                self.stop.cancel();
                return row;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it stays {:?}", self.store.events(&uid()).await.unwrap());
    }

    async fn detail(&self, kind: &str) -> serde_json::Value {
        let events = self.store.events(&uid()).await.unwrap();
        let event = events.into_iter().find(|event| event.kind == kind);
        event.unwrap_or_else(|| panic!("no {kind}")).detail
    }
}

fn uid() -> StudyUid {
    StudyUid::parse("1.2").unwrap()
}

fn cause(row: &StudyRow) -> &str {
    &row.result.as_ref().unwrap().reason.as_ref().unwrap().message
}

#[tokio::test]
async fn an_ordered_study_is_fetched_as_it_is_and_scored_when_all_of_it_is_here() {
    let run = Running::start(Mode::ShortPages(2), &["1.2.1", "1.2.2", "1.2.3"], 3).await;
    run.order().await;
    let row = run.settled().await;
    let completeness = row.completeness.unwrap();
    assert_eq!((row.state, row.instances), (StudyState::Scored, 3));
    assert_eq!(
        (completeness.basis, completeness.expected),
        (Basis::Expected, Some(3))
    );
    for kept in run.store.instances(&uid()).await.unwrap() {
        let bytes = run.store.object(&kept.instance.object).await.unwrap();
        assert_eq!(bytes, run.archive.file(kept.instance.uid.as_str()).unwrap());
    }
}

#[tokio::test]
async fn what_is_here_already_is_not_fetched_again() {
    let run = Running::start(Mode::Accepting, &["1.2.1", "1.2.2"], 3).await;
    let submission = Submission::read(dicom("1.2", "1.2.1", "from elsewhere"))
        .await
        .unwrap();
    run.workflow.accept(&submission).await.unwrap();
    run.order().await;
    assert_eq!(run.settled().await.instances, 2);
    assert_eq!(run.archive.requests().retrievals, 1);
    let detail = run.detail("fetched").await;
    assert_eq!(
        (&detail["already_here"], &detail["fetched"]),
        (&1.into(), &1.into())
    );
}

#[tokio::test]
async fn an_archive_that_is_down_is_asked_again_and_given_up_with_the_cause() {
    let run = Running::start(Mode::Unavailable, &["1.2.1"], 1).await;
    run.order().await;
    let row = run.settled().await;
    assert_eq!(row.state, StudyState::Failed);
    assert!(
        cause(&row).contains("could not be fetched from pacs") && cause(&row).contains("503"),
        "{}",
        cause(&row)
    );

    let run = Running::start(Mode::CutWhileSending, &["1.2.1"], 5).await;
    run.order().await;
    while run.archive.requests().retrievals == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.archive.set(Mode::Accepting);
    assert_eq!(run.settled().await.state, StudyState::Scored);
    assert!(
        run.detail("fetch-failed").await["cause"]
            .as_str()
            .unwrap()
            .contains("the connection to the peer broke")
    );
}

#[tokio::test]
async fn a_study_that_the_archive_does_not_have_fails_at_once() {
    let run = Running::start(Mode::Accepting, &[], 10).await;
    run.order().await;
    let row = run.settled().await;
    assert_eq!(row.state, StudyState::Failed);
    assert!(
        cause(&row).contains("no instance of this study"),
        "{}",
        cause(&row)
    );
    assert_eq!(run.archive.requests().lists, 1);
}

#[tokio::test]
async fn an_instance_that_cannot_be_taken_keeps_none_of_the_others_back() {
    let run = Running::start(Mode::Accepting, &["1.2.1"], 3).await;
    run.archive.hold(video("1.2", "1.2.2"));
    run.order().await;
    let row = run.settled().await;
    let completeness = row.completeness.unwrap();
    assert_eq!((row.state, row.instances), (StudyState::Scored, 1));
    assert_eq!(
        (completeness.basis, completeness.expected),
        (Basis::Overdue, Some(2))
    );
    assert!(
        run.detail("fetched").await["refused"]
            .as_str()
            .unwrap()
            .contains("transfer")
    );

    let run = Running::start(Mode::Forgetful, &["1.2.1"], 3).await;
    run.order().await;
    let row = run.settled().await;
    assert_eq!(row.state, StudyState::Failed);
    assert!(cause(&row).contains("none of its 1 instances"), "{}", cause(&row));
}

#[tokio::test]
async fn an_archive_that_mixes_instances_up_is_not_believed() {
    let run = Running::start(Mode::Confused, &["1.2.1", "1.2.2"], 1).await;
    run.order().await;
    let row = run.settled().await;
    assert_eq!((row.state, row.instances), (StudyState::Failed, 0));
    assert!(cause(&row).contains("another instance"), "{}", cause(&row));
}

#[tokio::test]
async fn only_peers_of_the_configuration_are_asked() {
    let run = Running::start(Mode::Accepting, &["1.2.1"], 1).await;
    for name in ["", "other", "http://127.0.0.1:1/dicom-web"] {
        let fault = run.workflow.order_from(&uid(), name).await.unwrap_err();
        assert_eq!(fault.code, "unknown-peer");
        assert!(
            fault.message.contains("from pacs and from nowhere else"),
            "{fault}"
        );
    }
    assert!(run.store.study(&uid()).await.unwrap().is_none());
}
