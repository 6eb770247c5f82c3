//! What is done for one peer must not depend on another.

use tokio::net::TcpListener;

use super::*;
use crate::peer::fixture::destination;
use crate::peer::fixture::webhook::Webhook;
use crate::peer::{self, Destination, Destinations};
use crate::store::StoreSettings;
use crate::telemetry::metrics::Metrics;
use crate::workflow::fixture::{Act, Rehearsed, dicom};
use crate::workflow::{Patience, Submission, WorkflowSettings};

fn hook(name: &str, url: String) -> Destination {
    Destination {
        timeout_seconds: 60,
        ..destination(name, peer::Kind::Webhook, url)
    }
}

/// More studies than a destination has places, and one destination takes connections and never answers.
#[tokio::test]
async fn one_that_never_answers_holds_up_no_other() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let good = Webhook::start(200, &[]).await;
    let destinations = vec![
        hook("silent", format!("http://{}/hook", silent.local_addr().unwrap())),
        hook("good", format!("http://{}/hook", good.address)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut settings = StoreSettings::in_folder(folder.path());
    settings.destinations = vec!["silent".to_owned(), "good".to_owned()];
    let store = Store::open(&settings).await.unwrap();
    let patience = Patience {
        quiet: Duration::ZERO,
        overdue: Duration::ZERO,
    };
    let workflow = Workflow::new(
        store.clone(),
        std::sync::Arc::new(Rehearsed::new(&[Act::Score])),
        Destinations::try_from(destinations).unwrap(),
        Metrics::new().unwrap(),
        WorkflowSettings {
            patience,
            drain: Duration::ZERO,
            ..WorkflowSettings::default()
        },
    );
    let stop = CancellationToken::new();
    let task = tokio::spawn(workflow.clone().run(stop.clone()));
    let at_once = 4;
    let studies = at_once + 2;
    for number in 0..studies {
        let file = dicom(&format!("1.2.{number}"), &format!("1.2.{number}.1"), "");
        let submission = Submission::read(file).await.unwrap();
        workflow.accept(&submission).await.unwrap();
    }
    let all = async {
        while good.came().len() < studies {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), all).await.expect("all arrive");
    let sending = store.jobs(false, 100).await.unwrap();
    let sending = sending
        .iter()
        .filter(|job| job.state == "running" && job.destination.as_deref() == Some("silent"));
    assert_eq!(sending.count(), at_once, "each destination has its places");
    stop.cancel();
    task.await.unwrap();
}
