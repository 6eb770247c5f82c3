//! The door as peers meet it: real associations on the loopback interface, with the other end of `dicom-ul` or with bytes by hand.

mod attacks;
mod fairness;
mod negotiation;
mod services;
mod stopping;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dicom_dictionary_std::{tags, uids};
use dicom_ul::association::{AsyncClientAssociation, ClientAssociationOptions, Error};
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Callers, Door, Settings, Times, run};
use crate::dicom::command::{C_ECHO, C_STORE, DATA_SET, MEDIUM, NO_DATA_SET};
use crate::dicom::{FlatDataSet, StudyUid};
use crate::intake::Intake;
use crate::store::{Store, StoreSettings};
use crate::telemetry::metrics::Metrics;
use crate::workflow::WorkflowSettings;
use crate::workflow::fixture::{Act, Rehearsed};

/// Digital X-ray, as the files of the workflow's fixture are.
const DX: &str = uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION;
const EXPLICIT: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;

/// A door over a real store.
struct TestDoor {
    folder: TempDir,
    store: Store,
    metrics: Metrics,
    intake: Intake,
    address: SocketAddr,
    closing: CancellationToken,
    running: JoinHandle<()>,
}

impl TestDoor {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            ae_title: "OSTEON".parse().unwrap(),
            callers: Callers::default(),
            associations: 4,
            body_bytes: 1 << 20,
            times: Times::default(),
        };
        change(&mut settings);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreSettings::in_folder(folder.path()))
            .await
            .unwrap();
        let metrics = Metrics::new().unwrap();
        let intake = Intake::new(16 << 20, Duration::from_millis(200));
        let door = Door {
            workflow: Rehearsed::new(&[Act::Score]).workflow(&store, WorkflowSettings::default()),
            intake: intake.clone(),
            metrics: metrics.clone(),
            settings: Arc::new(settings),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let closing = CancellationToken::new();
        let running = tokio::spawn(run(door, listener, closing.clone(), Duration::from_secs(2)));
        Self {
            folder,
            store,
            metrics,
            intake,
            address,
            closing,
            running,
        }
    }

    /// Waits until so many data sets have begun to come. Four at a time may, three of one caller: each takes a quarter of the 9 MiB in which they begin.
    async fn begun(&self, data_sets: usize) {
        let all = 9 << 20;
        while self.intake.left() > all - data_sets * all / 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The files of a study, as they are kept.
    async fn files(&self, study: &str) -> Vec<Bytes> {
        let mut files = Vec::new();
        for row in self
            .store
            .instances(&StudyUid::parse(study).unwrap())
            .await
            .unwrap()
        {
            files.push(self.store.object(&row.instance.object).await.unwrap());
        }
        files
    }

    /// A line of the metrics; 0 where it is not there yet.
    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Waits until a line of the metrics has this value: associations end a moment after their peers know.
    async fn counts(&self, name: &str, value: u64) {
        let wait = async {
            while self.metric(name) != value {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{name} is {} and not {value}", self.metric(name));
    }
}

/// An association from the other side.
struct Peer {
    association: AsyncClientAssociation<TcpStream>,
    message: u16,
}

/// Options of an association to the door, which is from this machine.
fn options<'a>() -> ClientAssociationOptions<'a> {
    ClientAssociationOptions::new()
        .called_ae_title("OSTEON")
        .calling_ae_title("ARCHIVE")
}

impl Peer {
    /// One for verification and for storing digital X-rays.
    async fn call(door: &TestDoor) -> Self {
        Self::call_as(door, "ARCHIVE").await.unwrap()
    }

    /// The same under another title.
    async fn call_as(door: &TestDoor, title: &str) -> Result<Self, Error> {
        let options = options()
            .calling_ae_title(title)
            .with_presentation_context(uids::VERIFICATION, vec![uids::IMPLICIT_VR_LITTLE_ENDIAN])
            .with_presentation_context(DX, vec![EXPLICIT]);
        Self::establish(door, options).await
    }

    async fn establish(door: &TestDoor, options: ClientAssociationOptions<'_>) -> Result<Self, Error> {
        let association = options.establish_async(door.address).await?;
        Ok(Self {
            association,
            message: 0,
        })
    }

    /// The ID of the context for this abstract and transfer syntax.
    fn context(&self, abstract_syntax: &str, transfer_syntax: &str) -> u8 {
        let contexts = self.association.presentation_contexts();
        let context = contexts.iter().find(|context| {
            context.abstract_syntax == abstract_syntax && context.transfer_syntax == transfer_syntax
        });
        context
            .unwrap_or_else(|| panic!("no context for {transfer_syntax}"))
            .id
    }

    async fn send(&mut self, context: u8, kind: PDataValueType, is_last: bool, data: &[u8]) {
        let value = PDataValue {
            presentation_context_id: context,
            value_type: kind,
            is_last,
            data: data.to_vec(),
        };
        let pdu = Pdu::PData { data: vec![value] };
        self.association.send(&pdu).await.unwrap();
    }

    async fn command(&mut self, context: u8, set: &FlatDataSet) {
        self.send(context, PDataValueType::Command, true, &set.command_bytes())
            .await;
    }

    /// The next message, which is a response.
    async fn response(&mut self) -> FlatDataSet {
        match self.association.receive().await.unwrap() {
            Pdu::PData { data } => {
                assert!(data[0].is_last && data.len() == 1);
                FlatDataSet::read(&data[0].data).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    fn store_request(&mut self, instance: &str) -> FlatDataSet {
        self.message += 1;
        FlatDataSet::default()
            .with_uid(tags::AFFECTED_SOP_CLASS_UID, DX)
            .with_number(tags::COMMAND_FIELD, C_STORE)
            .with_number(tags::MESSAGE_ID, self.message)
            .with_number(tags::PRIORITY, MEDIUM)
            .with_number(tags::COMMAND_DATA_SET_TYPE, DATA_SET)
            .with_uid(tags::AFFECTED_SOP_INSTANCE_UID, instance)
    }

    /// Stores a data set, and gives the whole response.
    async fn store_as(&mut self, context: u8, command: &FlatDataSet, data_set: &[u8]) -> FlatDataSet {
        self.command(context, command).await;
        let mut pieces = data_set.chunks(10_000).peekable();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            self.send(context, PDataValueType::Data, last, piece).await;
        }
        self.response().await
    }

    /// Stores a digital X-ray, and gives the status.
    async fn store(&mut self, instance: &str, data_set: &[u8]) -> u16 {
        let context = self.context(DX, EXPLICIT);
        let command = self.store_request(instance);
        let response = self.store_as(context, &command, data_set).await;
        assert_eq!(
            response.number(tags::MESSAGE_ID_BEING_RESPONDED_TO),
            Some(self.message)
        );
        assert_eq!(response.text(tags::AFFECTED_SOP_INSTANCE_UID), Some(instance));
        response.number(tags::STATUS).unwrap()
    }

    async fn echo(&mut self) -> u16 {
        self.message += 1;
        let context = self.context(uids::VERIFICATION, uids::IMPLICIT_VR_LITTLE_ENDIAN);
        let command = FlatDataSet::default()
            .with_uid(tags::AFFECTED_SOP_CLASS_UID, uids::VERIFICATION)
            .with_number(tags::COMMAND_FIELD, C_ECHO)
            .with_number(tags::MESSAGE_ID, self.message)
            .with_number(tags::COMMAND_DATA_SET_TYPE, NO_DATA_SET);
        self.command(context, &command).await;
        self.response().await.number(tags::STATUS).unwrap()
    }

    async fn release(self) {
        self.association.release().await.unwrap();
    }
}

/// The data set of a file, without what stands before it.
fn data_set(file: &Bytes) -> Bytes {
    let length = u32::from_le_bytes(file[140..144].try_into().unwrap());
    file.slice(144 + length as usize..)
}

/// The data set of a digital X-ray.
fn x_ray(study: &str, instance: &str) -> Bytes {
    data_set(&crate::workflow::fixture::dicom(study, instance, "an X-ray"))
}
