//! Delivery by C-STORE to archives that behave and to archives that do not: real associations on the loopback interface.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use dicom_dictionary_std::{tags, uids};
use dicom_ul::association::{Association, AsyncServerAssociation, ServerAssociationOptions};
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::fixture::destination;
use super::tests::{delivered, parcel, refused};
use super::{Destination, Kind, deliver};
use crate::dicom::command::{C_FIND, C_STORE, DATA_SET, NO_DATA_SET, RESPONSE};
use crate::dicom::{FlatDataSet, Instance};

const CLASS: &str = uids::COMPREHENSIVE3_DSR_STORAGE;
const FIND: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND;
const EXPLICIT: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;
const IMPLICIT: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;

/// How an archive behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Accepting,
    /// It takes nothing but Implicit VR Little Endian.
    Implicit,
    /// It offers no query.
    WithoutQuery,
    /// It answers every query with this status.
    QueryFails(u16),
    /// It answers a query with whatever it has.
    Keyless,
    /// It answers a query with more than anybody asked for.
    Endless,
    /// It says that it stored an object, and does not.
    Lying,
    /// It answers a C-STORE with this status, and stores where that is a warning.
    Status(u16),
    /// It stores, and is gone before it says so.
    CutAfterStoring,
    /// It is gone before it stores.
    CutBeforeStoring,
    /// It takes no objects of the class.
    WithoutClass,
    /// It has another title.
    Renamed,
    /// It takes the connection and says nothing.
    Silent,
    /// It answers with another message's response.
    Confused,
}

#[derive(Default)]
struct State {
    /// The data sets and how they are written, by their instance.
    objects: BTreeMap<String, Vec<(String, Vec<u8>)>>,
    callers: Vec<String>,
    queries: usize,
}

/// An archive; it is gone when this is dropped.
struct Pacs {
    address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    state: Arc<Mutex<State>>,
    listening: JoinHandle<()>,
}

impl Drop for Pacs {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Pacs {
    async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, state) = (Arc::new(Mutex::new(mode)), Arc::<Mutex<State>>::default());
        let (modes, states) = (Arc::clone(&mode), Arc::clone(&state));
        let listening = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mode = *modes.lock().unwrap();
                tokio::spawn(serve(stream, mode, Arc::clone(&states)));
            }
        });
        Self {
            address,
            mode,
            state,
            listening,
        }
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// How often an object was stored.
    fn copies(&self, instance: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.objects.get(instance).map_or(0, Vec::len)
    }

    fn destination(&self) -> Destination {
        Destination {
            host: Some("127.0.0.1".to_owned()),
            port: Some(self.address.port()),
            ae_title: Some("PACS".parse().unwrap()),
            calling_ae_title: Some("AI".parse().unwrap()),
            ..destination("peer", Kind::Dimse, String::new())
        }
    }
}

async fn serve(stream: TcpStream, mode: Mode, state: Arc<Mutex<State>>) {
    if mode == Mode::Silent {
        return std::future::pending().await;
    }
    let title = if mode == Mode::Renamed { "OTHER" } else { "PACS" };
    let mut options = ServerAssociationOptions::new()
        .ae_title(title)
        .accept_called_ae_title()
        .with_transfer_syntax(IMPLICIT)
        .max_pdu_length(4096);
    if mode != Mode::Implicit {
        options = options.with_transfer_syntax(EXPLICIT);
    }
    if mode != Mode::WithoutClass {
        options = options.with_abstract_syntax(CLASS);
    }
    if mode != Mode::WithoutQuery {
        options = options.with_abstract_syntax(FIND);
    }
    let Ok(mut association) = options.establish_async(stream).await else {
        return;
    };
    let caller = association.peer_ae_title().to_owned();
    state.lock().unwrap().callers.push(caller);
    while let Some((context, command, data_set)) = message(&mut association).await {
        match command.number(tags::COMMAND_FIELD) {
            Some(C_FIND) => query(&mut association, mode, &state, context, &command, &data_set).await,
            Some(C_STORE) => {
                let stores = match mode {
                    Mode::Lying | Mode::CutBeforeStoring => false,
                    Mode::Status(status) => status & 0xF000 == 0xB000,
                    _ => true,
                };
                if stores {
                    let contexts = association.presentation_contexts();
                    let syntax = contexts.iter().find(|one| one.id == context).unwrap();
                    let instance = command.text(tags::AFFECTED_SOP_INSTANCE_UID).unwrap();
                    let stored = (syntax.transfer_syntax.clone(), data_set);
                    let mut state = state.lock().unwrap();
                    state.objects.entry(instance.to_owned()).or_default().push(stored);
                }
                if matches!(mode, Mode::CutAfterStoring | Mode::CutBeforeStoring) {
                    return;
                }
                let status = if let Mode::Status(status) = mode {
                    status
                } else {
                    0
                };
                respond(&mut association, mode, context, &command, status, None).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn query(
    association: &mut AsyncServerAssociation<TcpStream>,
    mode: Mode,
    state: &Mutex<State>,
    context: u8,
    command: &FlatDataSet,
    identifier: &[u8],
) {
    let identifier = FlatDataSet::read(identifier).unwrap();
    // what a query at the level of images must have (PS3.4 section C.4.1.2.1)
    assert_eq!(identifier.text(tags::QUERY_RETRIEVE_LEVEL), Some("IMAGE"));
    assert_eq!(identifier.text(tags::STUDY_INSTANCE_UID), Some("1.2"));
    assert_eq!(identifier.text(tags::SERIES_INSTANCE_UID), Some("1.2.3"));
    let asked = identifier.text(tags::SOP_INSTANCE_UID).unwrap().to_owned();
    let found: Vec<String> = {
        let mut state = state.lock().unwrap();
        state.queries += 1;
        let all = state.objects.keys().cloned();
        all.filter(|one| mode == Mode::Keyless || *one == asked).collect()
    };
    let matches = if mode == Mode::Endless {
        vec!["1.2.9".to_owned(); 200]
    } else {
        found
    };
    let status = if let Mode::QueryFails(status) = mode {
        status
    } else {
        0
    };
    for instance in matches {
        let found = identifier.clone().with_uid(tags::SOP_INSTANCE_UID, &instance);
        respond(association, mode, context, command, 0xFF00, Some(found)).await;
    }
    respond(association, mode, context, command, status, None).await;
}

/// The next command with the data set that follows it.
async fn message(association: &mut AsyncServerAssociation<TcpStream>) -> Option<(u8, FlatDataSet, Vec<u8>)> {
    let (mut command, mut data_set) = (Vec::new(), Vec::new());
    loop {
        match association.receive().await.ok()? {
            Pdu::PData { data } => {
                for value in data {
                    assert!(value.data.len() <= 4096 - 6);
                    let is_data = value.value_type == PDataValueType::Data;
                    let bytes = if is_data { &mut data_set } else { &mut command };
                    bytes.extend_from_slice(&value.data);
                    if is_data && value.is_last {
                        let command = FlatDataSet::read(&command).unwrap();
                        return Some((value.presentation_context_id, command, data_set));
                    }
                }
            }
            Pdu::ReleaseRQ => {
                association.send(&Pdu::ReleaseRP).await.unwrap();
                return None;
            }
            _ => return None,
        }
    }
}

async fn respond(
    association: &mut AsyncServerAssociation<TcpStream>,
    mode: Mode,
    context: u8,
    command: &FlatDataSet,
    status: u16,
    identifier: Option<FlatDataSet>,
) {
    let message = command.number(tags::MESSAGE_ID).unwrap() + u16::from(mode == Mode::Confused);
    let follows = if identifier.is_some() {
        DATA_SET
    } else {
        NO_DATA_SET
    };
    let response = FlatDataSet::default()
        .with_number(
            tags::COMMAND_FIELD,
            command.number(tags::COMMAND_FIELD).unwrap() | RESPONSE,
        )
        .with_number(tags::MESSAGE_ID_BEING_RESPONDED_TO, message)
        .with_number(tags::COMMAND_DATA_SET_TYPE, follows)
        .with_number(tags::STATUS, status);
    let value = |value_type, data| PDataValue {
        presentation_context_id: context,
        value_type,
        is_last: true,
        data,
    };
    let mut data = vec![value(PDataValueType::Command, response.command_bytes())];
    data.extend(identifier.map(|identifier| value(PDataValueType::Data, identifier.bytes())));
    // the other end may have had enough
    let _ = association.send(&Pdu::PData { data }).await;
}

/// The data set that was sent, as a file again.
fn as_file(pacs: &Pacs, instance: &str) -> Instance {
    let state = pacs.state.lock().unwrap();
    let (syntax, data_set) = state.objects[instance][0].clone();
    let meta = dicom_object::FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(CLASS)
        .media_storage_sop_instance_uid(instance)
        .transfer_syntax(syntax)
        .build()
        .unwrap();
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    meta.write(&mut file).unwrap();
    file.extend_from_slice(&data_set);
    Instance::parse(file.into()).unwrap()
}

#[tokio::test]
async fn an_archive_gets_every_object_once_and_unchanged() {
    let pacs = Pacs::start(Mode::Accepting).await;
    let parcel = parcel(&["1.2.3.1", "1.2.3.2"]);
    assert_eq!(
        deliver(&pacs.destination(), &parcel).await.unwrap(),
        delivered(2, 0)
    );
    // again, as after an answer that was lost
    assert_eq!(
        deliver(&pacs.destination(), &parcel).await.unwrap(),
        delivered(0, 2)
    );
    for object in &parcel.objects {
        assert_eq!(pacs.copies(object.uid.as_str()), 1);
        let state = pacs.state.lock().unwrap();
        let (_, data_set) = crate::dicom::data_set(&object.file).unwrap();
        assert_eq!(
            state.objects[object.uid.as_str()],
            [(EXPLICIT.to_owned(), data_set.to_vec())]
        );
    }
    let state = pacs.state.lock().unwrap();
    assert_eq!(
        (state.callers.as_slice(), state.queries),
        (&["AI".to_owned(), "AI".to_owned()] as &[_], 6)
    );
}

#[tokio::test]
async fn an_archive_that_takes_the_default_syntax_only_gets_the_same_elements() {
    let pacs = Pacs::start(Mode::Implicit).await;
    let parcel = parcel(&["1.2.3.1"]);
    assert_eq!(
        deliver(&pacs.destination(), &parcel).await.unwrap(),
        delivered(1, 0)
    );
    let stored = as_file(&pacs, "1.2.3.1");
    let sent = Instance::parse(parcel.objects[0].file.clone()).unwrap();
    assert_eq!(stored.transfer_syntax, IMPLICIT);
    assert_eq!(stored.header, sent.header);
}

#[tokio::test]
async fn an_archive_that_cannot_be_asked_is_believed() {
    for mode in [
        Mode::WithoutQuery,
        Mode::QueryFails(0x0122),
        Mode::QueryFails(0xC001),
        Mode::Keyless,
    ] {
        let pacs = Pacs::start(Mode::Accepting).await;
        // something else that is found first
        deliver(&pacs.destination(), &parcel(&["1.2.3.0"])).await.unwrap();
        pacs.set(mode);
        let parcel = parcel(&["1.2.3.1"]);
        assert_eq!(
            deliver(&pacs.destination(), &parcel).await.unwrap(),
            delivered(1, 0),
            "{mode:?}"
        );
        assert_eq!(pacs.copies("1.2.3.1"), 1);
    }
}

#[tokio::test]
async fn an_archive_that_says_stored_and_stores_nothing_is_found_out() {
    let pacs = Pacs::start(Mode::Lying).await;
    let error = refused(&pacs.destination(), &parcel(&["1.2.3.1"])).await;
    assert_eq!((error.code, error.retry), ("not-verified", true));
    pacs.set(Mode::Accepting);
    assert_eq!(
        deliver(&pacs.destination(), &parcel(&["1.2.3.1"])).await.unwrap(),
        delivered(1, 0)
    );
}

#[tokio::test]
async fn a_status_says_whether_for_good() {
    let pacs = Pacs::start(Mode::Accepting).await;
    for (status, retry) in [
        (0xA700, true),
        (0xA900, false),
        (0xC000, false),
        (0x0110, true),
        (0x0122, false),
        (0x0124, false),
    ] {
        pacs.set(Mode::Status(status));
        let error = refused(&pacs.destination(), &parcel(&["1.2.3.1"])).await;
        assert_eq!((error.code, error.retry), ("rejected", retry), "{status:04X}");
    }
    // warnings: it is stored, with an attribute coerced or left out
    for (index, status) in [0xB000, 0xB006, 0xB007].into_iter().enumerate() {
        pacs.set(Mode::Status(status));
        let parcel = parcel(&[format!("1.2.3.{index}").as_str()]);
        assert_eq!(
            deliver(&pacs.destination(), &parcel).await.unwrap(),
            delivered(1, 0)
        );
    }
    pacs.set(Mode::QueryFails(0xA700));
    let error = refused(&pacs.destination(), &parcel(&["1.2.3.9"])).await;
    assert_eq!((error.code, error.retry), ("unavailable", true));
}

#[tokio::test]
async fn an_association_that_is_refused_says_whether_for_good() {
    let pacs = Pacs::start(Mode::Renamed).await;
    let error = refused(&pacs.destination(), &parcel(&["1.2.3.1"])).await;
    assert_eq!((error.code, error.retry), ("unauthorised", false));
    pacs.set(Mode::WithoutClass);
    let error = refused(&pacs.destination(), &parcel(&["1.2.3.1"])).await;
    assert_eq!((error.code, error.retry), ("rejected", false));
}

#[tokio::test]
async fn after_a_cut_connection_the_retry_finds_what_was_stored() {
    let pacs = Pacs::start(Mode::CutAfterStoring).await;
    let parcel = parcel(&["1.2.3.1"]);
    let error = refused(&pacs.destination(), &parcel).await;
    assert_eq!((error.code, error.retry), ("unreachable", true));
    pacs.set(Mode::Accepting);
    assert_eq!(
        deliver(&pacs.destination(), &parcel).await.unwrap(),
        delivered(0, 1)
    );
    assert_eq!(pacs.copies("1.2.3.1"), 1);

    let pacs = Pacs::start(Mode::CutBeforeStoring).await;
    assert!(refused(&pacs.destination(), &parcel).await.retry);
    pacs.set(Mode::Accepting);
    assert_eq!(
        deliver(&pacs.destination(), &parcel).await.unwrap(),
        delivered(1, 0)
    );
}

#[tokio::test]
async fn nonsense_is_no_delivery() {
    for mode in [Mode::Confused, Mode::Endless] {
        let pacs = Pacs::start(mode).await;
        let error = refused(&pacs.destination(), &parcel(&["1.2.3.1"])).await;
        assert_eq!((error.code, error.retry), ("bad-answer", true), "{mode:?}");
    }
}

#[tokio::test]
async fn an_archive_that_is_silent_or_gone_gets_another_attempt() {
    let pacs = Pacs::start(Mode::Silent).await;
    let mut peer = pacs.destination();
    peer.timeout_seconds = 1;
    let error = refused(&peer, &parcel(&["1.2.3.1"])).await;
    assert_eq!((error.code, error.retry), ("timeout", true));
    drop(pacs);
    let error = loop {
        // the port closes a moment later
        let error = refused(&peer, &parcel(&["1.2.3.1"])).await;
        if error.code != "timeout" {
            break error;
        }
    };
    assert_eq!((error.code, error.retry), ("unreachable", true));
}
