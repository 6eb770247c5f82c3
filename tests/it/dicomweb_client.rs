//! The `dicom-web` crate as a real client of the router, over a socket: it stores, searches and retrieves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use bytes::Bytes;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileDicomObject, FileMetaTableBuilder, InMemDicomObject};
use dicom_web::DicomWebClient;
use futures_util::{StreamExt as _, stream};
use osteon::dicom::StudyUid;
use osteon::fault::{Fault, FaultKind};
use osteon::finding::{InstanceResult, ModelReference, Outcome, StudyRule};
use osteon::http::dicomweb::stow::{StowSettings, routes};
use osteon::http::dicomweb::{self, Service};
use osteon::inference::{DecodeMemory, Priority};
use osteon::intake::Intake;
use osteon::peer::Destinations;
use osteon::store::{Store, StoreSettings, StudyState};
use osteon::telemetry::metrics::Metrics;
use osteon::workflow::{Chosen, Explaining, Patience, Score, Scoring, Workflow, WorkflowSettings};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// An engine that scores whatever it is given.
struct Always;

impl Score for Always {
    fn model(&self) -> Option<Chosen> {
        Some(Chosen {
            model: ModelReference {
                name: "always".to_owned(),
                version: 1,
                digest: "none".to_owned(),
                provider: "none".to_owned(),
                notice: String::new(),
            },
            rule: StudyRule::default(),
            questions: Vec::new(),
        })
    }

    fn explain<'a>(&'a self, _: Bytes, _: &'a ModelReference, _: &'a str) -> Explaining<'a> {
        Box::pin(async { Err(Fault::new(FaultKind::NotFound, "no-map", "it finds nothing")) })
    }

    fn score<'a>(&'a self, _: Bytes, _: &'a ModelReference, _: Priority) -> Scoring<'a> {
        Box::pin(async {
            InstanceResult {
                view: None,
                outcome: Outcome::Scored,
                reason: None,
                sop_instance_uid: None,
                findings: vec![],
                model: None,
                device: None,
                intended_use: None,
                quality: None,
                distribution: None,
                repairs: vec![],
                timings_ms: None,
            }
        })
    }
}

#[derive(Clone)]
struct Door(Workflow, Store);

impl FromRef<Door> for Workflow {
    fn from_ref(door: &Door) -> Self {
        door.0.clone()
    }
}

impl FromRef<Door> for Store {
    fn from_ref(door: &Door) -> Self {
        door.1.clone()
    }
}

fn instance(number: u32) -> FileDicomObject<InMemDicomObject> {
    let (class, sop) = (
        uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
        format!("1.2.9.{number}"),
    );
    let object = InMemDicomObject::from_element_iter([
        DataElement::new(tags::SOP_CLASS_UID, VR::UI, PrimitiveValue::from(class)),
        DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, PrimitiveValue::from(sop.as_str())),
        DataElement::new(tags::STUDY_INSTANCE_UID, VR::UI, PrimitiveValue::from("1.2")),
        DataElement::new(tags::SERIES_INSTANCE_UID, VR::UI, PrimitiveValue::from("1.2.3")),
        // larger than one read of a socket, and with line ends and hyphens in it
        DataElement::new(
            tags::PIXEL_DATA,
            VR::OW,
            PrimitiveValue::from(b"\r\n--".repeat(100_000)),
        ),
    ]);
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(sop)
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    object
        .with_meta(meta)
        .expect("the test's own data set is complete")
}

fn bytes(object: &FileDicomObject<InMemDicomObject>) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).expect("memory takes it");
    bytes
}

#[tokio::test]
async fn a_real_client_stores_a_study_and_it_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreSettings::in_folder(folder.path()))
        .await
        .unwrap();
    let settings = WorkflowSettings {
        patience: Patience {
            quiet: Duration::from_millis(50),
            ..WorkflowSettings::default().patience
        },
        ..WorkflowSettings::default()
    };
    let workflow = Workflow::new(
        store.clone(),
        Arc::new(Always),
        Destinations::default(),
        Metrics::new().unwrap(),
        settings,
    );
    let stop = CancellationToken::new();
    let worker = tokio::spawn(workflow.clone().run(stop.clone()));
    let stow = StowSettings {
        instance_limit: 1 << 20,
        request_limit: 8 << 20,
        public_url: None,
        intake: Intake::new(16 << 20, Duration::from_secs(5)),
        proxies: osteon::http::Proxies::default(),
    };
    let service = Service {
        public_url: None,
        outgoing: Intake::new(16 << 20, Duration::from_secs(5)),
        decoded: Intake::new(16 << 20, Duration::from_secs(5)),
        decoders: Arc::new(Semaphore::new(2)),
        memory: DecodeMemory::new(1 << 30, 2),
    };
    let router = routes::<Door>(stow).merge(dicomweb::routes(service));
    let router = router.with_state(Door(workflow, store.clone()));
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let client =
        DicomWebClient::with_single_url(&format!("http://{}/dicom-web", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let sent: Vec<_> = (1..=3).map(instance).collect();
    let answer = client
        .store_instances()
        .with_instances(stream::iter(sent.clone()))
        .run()
        .await
        .unwrap();
    assert_eq!(
        answer
            .element(tags::REFERENCED_SOP_SEQUENCE)
            .unwrap()
            .items()
            .unwrap()
            .len(),
        3
    );
    assert!(answer.element(tags::FAILED_SOP_SEQUENCE).is_err());
    let again = client
        .store_instances_in_study("1.2")
        .with_data(stream::iter(sent.iter().map(bytes).collect::<Vec<_>>()));
    again.run().await.unwrap();

    let study = StudyUid::parse("1.2").unwrap();
    let rows = store.instances(&study).await.unwrap();
    assert_eq!(rows.len(), 3);
    for (row, object) in rows.iter().zip(&sent) {
        assert_eq!(store.object(&row.instance.object).await.unwrap(), bytes(object));
    }
    let elsewhere = client
        .store_instances_in_study("1.3")
        .with_instances(stream::iter(sent.clone()));
    assert!(elsewhere.run().await.unwrap_err().to_string().contains("409"));

    let found = client.query_studies().with_limit(5).run().await.unwrap();
    let count = found[0].element(tags::NUMBER_OF_STUDY_RELATED_INSTANCES).unwrap();
    // and the report, as soon as it is made
    let with_report = 3..=4;
    assert_eq!(found.len(), 1);
    assert!(with_report.contains(&count.to_int::<usize>().unwrap()));
    let metadata = client.retrieve_study_metadata("1.2").run().await.unwrap();
    assert!(with_report.contains(&metadata.len()));
    let retrieved = client.retrieve_study("1.2").run().await.unwrap();
    let retrieved: Vec<_> = retrieved.map(Result::unwrap).collect().await;
    let image = uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION;
    let images = retrieved
        .iter()
        .filter(|object| object.meta().media_storage_sop_class_uid() == image);
    let received: Vec<_> = images.map(bytes).collect();
    assert_eq!(received, sent.iter().map(bytes).collect::<Vec<_>>());

    let mut state = StudyState::Received;
    for _ in 0..500 {
        state = store.study(&study).await.unwrap().unwrap().state;
        if state == StudyState::Scored {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(state, StudyState::Scored);
    stop.cancel();
    worker.await.unwrap();
}
