//! Peers that break the rules, stall, or send without end: each loses its association and what it held, and nobody else notices.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AbortRQSource, AssociationRQ, PresentationContextProposed, read_pdu,
    write_pdu,
};

const STUDY: &str = "1.2.3.4";

/// A connection that is written to by hand.
async fn connect(door: &TestDoor) -> TcpStream {
    TcpStream::connect(door.address).await.unwrap()
}

fn bytes(pdu: &Pdu) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, pdu).unwrap();
    bytes
}

/// A request for contexts 1, verification, and 3, digital X-ray.
fn request() -> AssociationRQ {
    let context = |id, class: &str| PresentationContextProposed {
        id,
        abstract_syntax: class.to_owned(),
        transfer_syntaxes: vec![EXPLICIT.to_owned()],
    };
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "ARCHIVE".to_owned(),
        called_ae_title: "OSTEON".to_owned(),
        application_context_name: "1.2.840.10008.3.1.1.1".to_owned(),
        presentation_contexts: vec![context(1, uids::VERIFICATION), context(3, DX)],
        user_variables: Vec::new(),
    }
}

fn data(values: &[(u8, PDataValueType, bool, &[u8])]) -> Pdu {
    let values = values.iter().map(|(id, kind, is_last, data)| PDataValue {
        presentation_context_id: *id,
        value_type: kind.clone(),
        is_last: *is_last,
        data: data.to_vec(),
    });
    Pdu::PData {
        data: values.collect(),
    }
}

fn store_request() -> Vec<u8> {
    FlatDataSet::default()
        .with_uid(tags::AFFECTED_SOP_CLASS_UID, DX)
        .with_number(tags::COMMAND_FIELD, C_STORE)
        .with_number(tags::MESSAGE_ID, 1)
        .with_number(tags::COMMAND_DATA_SET_TYPE, DATA_SET)
        .with_uid(tags::AFFECTED_SOP_INSTANCE_UID, "1.2.3.4.1")
        .command_bytes()
}

/// Everything that the door answers to `sent` until it closes the connection, which it has to do by itself.
async fn answers(door: &TestDoor, sent: &[u8]) -> Vec<Pdu> {
    let mut stream = connect(door).await;
    // it may have closed before it has all of it
    let _ = stream.write_all(sent).await;
    let mut received = Vec::new();
    let all = stream.read_to_end(&mut received);
    let _ = tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .expect("the connection stays open");
    let mut answers = Vec::new();
    let mut rest = received.as_slice();
    while let Some(pdu) = read_pdu(&mut rest, 1 << 20, true).unwrap() {
        answers.push(pdu);
    }
    answers
}

fn abort(reason: AbortRQServiceProviderReason) -> Pdu {
    Pdu::AbortRQ {
        source: AbortRQSource::ServiceProvider(reason),
    }
}

#[tokio::test]
async fn what_is_no_request_is_aborted() {
    use AbortRQServiceProviderReason as Reason;
    let door = TestDoor::start().await;
    let even = AssociationRQ {
        presentation_contexts: vec![PresentationContextProposed {
            id: 2,
            ..request().presentation_contexts[0].clone()
        }],
        ..request()
    };
    let twice = AssociationRQ {
        presentation_contexts: vec![request().presentation_contexts[0].clone(); 2],
        ..request()
    };
    for (sent, reason) in [
        (
            b"GET / HTTP/1.1\r\nHost: osteon\r\n\r\n".to_vec(),
            Reason::UnrecognizedPdu,
        ),
        (
            vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3],
            Reason::UnrecognizedPdu,
        ),
        (vec![0x01, 0, 0xFF, 0xFF, 0xFF, 0xFF], Reason::InvalidPduParameter),
        (vec![0x04, 0, 0x80, 0, 0, 0], Reason::InvalidPduParameter),
        (vec![0x01, 0, 0, 0, 0, 0], Reason::InvalidPduParameter),
        (vec![0x05, 0, 0, 0, 0, 0], Reason::InvalidPduParameter),
        (vec![0x02, 0, 0, 0, 0, 200], Reason::UnexpectedPdu),
        (bytes(&Pdu::ReleaseRQ), Reason::UnexpectedPdu),
        (
            bytes(&data(&[(1, PDataValueType::Command, true, &[])])),
            Reason::UnexpectedPdu,
        ),
        (bytes(&Pdu::AssociationRQ(even)), Reason::InvalidPduParameter),
        (bytes(&Pdu::AssociationRQ(twice)), Reason::InvalidPduParameter),
    ] {
        let start = &sent[..sent.len().min(12)];
        assert_eq!(answers(&door, &sent).await, [abort(reason)], "{start:02X?}");
    }
    assert_eq!(
        door.metric("osteon_dicom_associations_total{ended=\"protocol\"}"),
        11
    );
}

#[tokio::test]
async fn what_breaks_the_rules_of_an_association_is_aborted() {
    use AbortRQServiceProviderReason as Reason;
    use PDataValueType::{Command, Data};
    let door = TestDoor::start().await;
    let store = store_request();
    let response = FlatDataSet::default()
        .with_number(tags::COMMAND_FIELD, 0x8001)
        .with_number(tags::MESSAGE_ID_BEING_RESPONDED_TO, 1)
        .with_number(tags::COMMAND_DATA_SET_TYPE, NO_DATA_SET)
        .command_bytes();
    let endless = vec![0; 10_000];
    for (sent, reason) in [
        (Pdu::AssociationRQ(request()), Reason::UnexpectedPdu),
        (data(&[]), Reason::InvalidPduParameter),
        // contexts that there are not, or that are not this message's
        (
            data(&[(5, Command, true, &store)]),
            Reason::UnexpectedPduParameter,
        ),
        (
            data(&[(0, Command, true, &store)]),
            Reason::UnexpectedPduParameter,
        ),
        (
            data(&[(3, Command, false, &store), (1, Command, true, &[])]),
            Reason::UnexpectedPduParameter,
        ),
        (
            data(&[(3, Command, true, &store), (1, Data, true, &[])]),
            Reason::UnexpectedPduParameter,
        ),
        // fragments in the wrong place
        (data(&[(3, Data, true, &[])]), Reason::UnexpectedPduParameter),
        (
            data(&[(3, Command, true, &store), (3, Command, true, &store)]),
            Reason::UnexpectedPduParameter,
        ),
        // commands that are none
        (data(&[(3, Command, true, &[])]), Reason::InvalidPduParameter),
        (
            data(&[(3, Command, true, b"nonsense!")]),
            Reason::InvalidPduParameter,
        ),
        (
            data(&[(3, Command, true, &response)]),
            Reason::InvalidPduParameter,
        ),
        (
            data(&[(3, Command, false, &endless), (3, Command, false, &endless)]),
            Reason::InvalidPduParameter,
        ),
    ] {
        let all = [bytes(&Pdu::AssociationRQ(request())), bytes(&sent)].concat();
        let answers = answers(&door, &all).await;
        assert!(matches!(answers[0], Pdu::AssociationAC(_)));
        assert_eq!(answers[1..], [abort(reason)], "{sent:?}");
    }
    door.counts("osteon_dicom_associations_open", 0).await;
    assert!(door.files(STUDY).await.is_empty());
}

#[tokio::test]
async fn a_peer_that_is_silent_loses_its_place() {
    let times = Times {
        requested: Duration::from_millis(20),
        idle: Duration::from_millis(20),
        next: Duration::from_millis(20),
        pdu: Duration::from_millis(20),
    };
    let door = TestDoor::with(|settings| settings.times = times).await;
    let request = bytes(&Pdu::AssociationRQ(request()));
    let command = bytes(&data(&[(3, PDataValueType::Command, true, &store_request())]));
    let late = abort(AbortRQServiceProviderReason::ReasonNotSpecified);
    // nothing, half a request, an association and no more, half a PDU, half a data set
    for (sent, accepted) in [
        (Vec::new(), false),
        (request[..50].to_vec(), false),
        (request.clone(), true),
        ([&request[..], &command[..40]].concat(), true),
        ([&request[..], &command[..]].concat(), true),
    ] {
        let answers = answers(&door, &sent).await;
        assert_eq!(answers.last(), Some(&late), "{} bytes", sent.len());
        assert_eq!(answers.len(), 1 + usize::from(accepted));
    }
    assert_eq!(door.metric("osteon_dicom_associations_total{ended=\"late\"}"), 5);
    assert_eq!(door.metric("osteon_dicom_associations_open"), 0);
}

#[tokio::test]
async fn strangers_that_wait_keep_nobody_out() {
    // the whole of 127.0.0.0/8 is this machine, and only 127.0.0.2 is a caller
    #[derive(serde::Deserialize)]
    struct File {
        callers: Callers,
    }
    let toml = "callers = [{ ae-title = \"ARCHIVE\", hosts = [\"127.0.0.2\"] }]";
    let known = toml::from_str::<File>(toml).unwrap().callers;
    let door = TestDoor::with(|settings| settings.callers = known).await;
    let mut waiting = Vec::new();
    for _ in 0..super::super::STRANGERS {
        waiting.push(connect(&door).await);
    }
    // one more is not listened to
    assert_eq!(answers(&door, &[]).await, []);
    assert_eq!(
        door.metric("osteon_dicom_associations_total{ended=\"congestion\"}"),
        1
    );
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut archive = socket.connect(door.address).await.unwrap();
    archive
        .write_all(&bytes(&Pdu::AssociationRQ(request())))
        .await
        .unwrap();
    // A-ASSOCIATE-AC
    assert_eq!(archive.read_u8().await.unwrap(), 0x02);
}

#[tokio::test]
async fn a_data_set_over_the_limit_is_a700_and_one_without_end_is_aborted() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    let context = peer.context(DX, EXPLICIT);
    let command = peer.store_request("1.2.3.4.1");
    let response = peer.store_as(context, &command, &vec![0; 2 << 20]).await;
    assert_eq!(response.number(tags::STATUS), Some(0xA700));
    let comment = response.text(tags::ERROR_COMMENT).unwrap();
    assert!(
        comment.starts_with("the data set is larger than the 1 MiB"),
        "{comment}"
    );
    assert_eq!(peer.store("1.2.3.4.1", &x_ray(STUDY, "1.2.3.4.1")).await, 0x0000);
    peer.release().await;

    let mut stream = connect(&door).await;
    stream
        .write_all(&bytes(&Pdu::AssociationRQ(request())))
        .await
        .unwrap();
    let command = data(&[(3, PDataValueType::Command, true, &store_request())]);
    stream.write_all(&bytes(&command)).await.unwrap();
    let fragment = bytes(&data(&[(3, PDataValueType::Data, false, &vec![0; 100_000])]));
    let mut sent = 0;
    while stream.write_all(&fragment).await.is_ok() {
        sent += 1;
        assert!(sent < 2000, "200 MB were taken and thrown away");
    }
    door.counts("osteon_dicom_associations_total{ended=\"protocol\"}", 1)
        .await;
}

/// A command has to be whole some time: fragments with nothing in them keep no place.
#[tokio::test]
async fn a_command_that_never_ends_is_given_up() {
    let door = TestDoor::with(|settings| settings.times.next = Duration::from_millis(100)).await;
    let mut stream = connect(&door).await;
    stream
        .write_all(&bytes(&Pdu::AssociationRQ(request())))
        .await
        .unwrap();
    let empty = bytes(&data(&[(1, PDataValueType::Command, false, &[])]));
    for _ in 0..40 {
        let _ = stream.write_all(&empty).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(door.metric("osteon_dicom_associations_total{ended=\"late\"}"), 1);
}

#[tokio::test]
async fn an_abort_in_the_middle_leaves_nothing_and_gives_its_room_back() {
    let door = TestDoor::start().await;
    // three at a time have room
    for _ in 0..8 {
        let mut peer = Peer::call(&door).await;
        let context = peer.context(DX, EXPLICIT);
        let command = peer.store_request("1.2.3.4.1");
        peer.command(context, &command).await;
        peer.send(context, PDataValueType::Data, false, &[0; 1000]).await;
        peer.association.abort().await.unwrap();
    }
    // and one that is gone without a word
    let mut stream = connect(&door).await;
    stream
        .write_all(&bytes(&Pdu::AssociationRQ(request())))
        .await
        .unwrap();
    drop(stream);
    door.counts("osteon_dicom_associations_total{ended=\"aborted\"}", 8)
        .await;
    door.counts("osteon_dicom_associations_total{ended=\"lost\"}", 1)
        .await;
    assert!(door.files(STUDY).await.is_empty());
    let mut peer = Peer::call(&door).await;
    assert_eq!(peer.store("1.2.3.4.1", &x_ray(STUDY, "1.2.3.4.1")).await, 0x0000);
    peer.release().await;
}

#[tokio::test]
async fn without_room_a_data_set_is_a700_when_it_has_come() {
    let door = TestDoor::with(|settings| settings.associations = 5).await;
    let mut holding = Vec::new();
    for index in 0..3 {
        let mut peer = Peer::call(&door).await;
        let context = peer.context(DX, EXPLICIT);
        let command = peer.store_request(&format!("1.2.3.4.{index}"));
        peer.command(context, &command).await;
        peer.send(context, PDataValueType::Data, false, &[0; 1000]).await;
        holding.push(peer);
    }
    door.begun(3).await;
    let mut peer = Peer::call(&door).await;
    assert_eq!(peer.store("1.2.3.4.9", &x_ray(STUDY, "1.2.3.4.9")).await, 0xA700);
    drop(holding);
    door.counts("osteon_dicom_associations_total{ended=\"lost\"}", 3)
        .await;
    assert_eq!(peer.store("1.2.3.4.9", &x_ray(STUDY, "1.2.3.4.9")).await, 0x0000);
    peer.release().await;
}

#[tokio::test]
async fn no_mutant_of_a_good_conversation_stops_the_door() {
    let door = TestDoor::with(|settings| {
        settings.times.idle = Duration::from_millis(20);
        settings.times.next = Duration::from_millis(20);
        settings.times.pdu = Duration::from_millis(20);
        settings.times.requested = Duration::from_millis(20);
    })
    .await;
    let x_ray = x_ray(STUDY, "1.2.3.4.1");
    let good = [
        bytes(&Pdu::AssociationRQ(request())),
        bytes(&data(&[
            (3, PDataValueType::Command, true, &store_request()),
            (3, PDataValueType::Data, true, &x_ray),
        ])),
        bytes(&Pdu::ReleaseRQ),
    ]
    .concat();
    assert_eq!(answers(&door, &good).await.len(), 3);
    let mut chance = ChaCha8Rng::seed_from_u64(18);
    for _ in 0..400 {
        let mut mutant = good.clone();
        for _ in 0..chance.random_range(1..6) {
            let at = chance.random_range(0..mutant.len());
            match chance.random_range(0..4) {
                0 => mutant.truncate(at.max(1)),
                1 => mutant[at] = chance.random(),
                2 => mutant[at] ^= 1 << chance.random_range(0..8),
                _ => {
                    mutant.splice(at..at, [0xFF; 4]);
                }
            }
        }
        answers(&door, &mutant).await;
    }
    door.counts("osteon_dicom_associations_open", 0).await;
    assert_eq!(door.metric("osteon_dicom_associations_total{ended=\"panic\"}"), 0);
    let mut peer = Peer::call(&door).await;
    assert_eq!(peer.echo().await, 0x0000);
}
