//! C-ECHO and C-STORE, and the status of everything that can become of a request.

use std::io::Write;

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_object::{FileMetaTable, InMemDicomObject};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::*;
use crate::dicom::Instance;
use crate::dicom::command::HIGH;
use crate::image::decode::is_supported;

const STUDY: &str = "1.2.3.4";

#[tokio::test]
async fn what_is_stored_is_durable_and_comes_back_byte_for_byte() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    assert_eq!(peer.echo().await, 0x0000);
    for instance in ["1.2.3.4.1", "1.2.3.4.2"] {
        assert_eq!(peer.store(instance, &x_ray(STUDY, instance)).await, 0x0000);
    }
    assert_eq!(door.metric("osteon_dicom_associations_open"), 1);
    peer.release().await;
    door.counts("osteon_dicom_associations_total{ended=\"released\"}", 1)
        .await;
    assert_eq!(door.metric("osteon_dicom_associations_open"), 0);
    assert_eq!(door.metric("osteon_dicom_instances_total{status=\"0000\"}"), 2);
    let files = door.files(STUDY).await;
    assert_eq!(files.len(), 2);
    for (file, instance) in files.iter().zip(["1.2.3.4.1", "1.2.3.4.2"]) {
        assert_eq!(data_set(file), x_ray(STUDY, instance));
        let meta = FileMetaTable::from_reader(&file[128..]).unwrap();
        assert_eq!(meta.media_storage_sop_class_uid(), DX);
        assert_eq!(meta.media_storage_sop_instance_uid(), instance);
        assert_eq!(meta.transfer_syntax(), EXPLICIT);
        assert_eq!(meta.source_application_entity_title(), Some("ARCHIVE"));
        // a version would make it another file after an upgrade
        assert_eq!(meta.implementation_version_name(), None);
        assert!(Instance::parse(file.clone()).unwrap().repairs.is_empty());
    }
}

#[tokio::test]
async fn the_same_instance_again_changes_nothing() {
    let door = TestDoor::start().await;
    let instance = "1.2.3.4.1";
    for _ in 0..2 {
        let mut peer = Peer::call(&door).await;
        assert_eq!(peer.store(instance, &x_ray(STUDY, instance)).await, 0x0000);
        peer.release().await;
    }
    let study = StudyUid::parse(STUDY).unwrap();
    let events = door.store.events(&study).await.unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
}

/// The same object as it is written in a transfer syntax; what would be compressed in it, pixels, it does not have.
fn written(syntax: &str, study: &str, instance: &str) -> Vec<u8> {
    let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let object = InMemDicomObject::from_element_iter([
        text(tags::SOP_CLASS_UID, VR::UI, DX),
        text(tags::SOP_INSTANCE_UID, VR::UI, instance),
        text(tags::STUDY_INSTANCE_UID, VR::UI, study),
        text(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3"),
        text(tags::STUDY_DESCRIPTION, VR::LO, syntax),
    ]);
    #[expect(deprecated, reason = "old archives still send it")]
    let as_named = [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_BIG_ENDIAN];
    let encoding = if as_named.contains(&syntax) {
        syntax
    } else {
        EXPLICIT
    };
    let mut bytes = Vec::new();
    let encoding = TransferSyntaxRegistry.get(encoding).unwrap();
    object.write_dataset_with_ts(&mut bytes, encoding).unwrap();
    if syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        let mut deflated = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflated.write_all(&bytes).unwrap();
        return deflated.finish().unwrap();
    }
    bytes
}

#[tokio::test]
async fn every_transfer_syntax_that_can_be_decoded_is_kept_as_it_comes() {
    let syntaxes: Vec<&str> = TransferSyntaxRegistry
        .iter()
        .map(dicom_encoding::TransferSyntax::uid)
        .filter(|syntax| is_supported(syntax))
        .collect();
    // uncompressed, deflated, and every compressed one of docs/dimse.md
    assert!(syntaxes.len() >= 19, "{syntaxes:?}");
    let door = TestDoor::start().await;
    let mut options = options();
    for syntax in &syntaxes {
        options = options.with_presentation_context(DX, vec![*syntax]);
    }
    let mut peer = Peer::establish(&door, options).await.unwrap();
    for (index, syntax) in syntaxes.iter().enumerate() {
        let (study, instance) = (format!("1.2.3.{index}"), format!("1.2.3.{index}.1"));
        let sent = written(syntax, &study, &instance);
        let context = peer.context(DX, syntax);
        let command = peer.store_request(&instance);
        let response = peer.store_as(context, &command, &sent).await;
        assert_eq!(
            response.number(tags::STATUS),
            Some(0x0000),
            "{syntax}: {response:?}"
        );
        let file = door.files(&study).await.remove(0);
        assert_eq!(data_set(&file), sent, "{syntax}");
        assert_eq!(Instance::parse(file).unwrap().transfer_syntax, *syntax);
    }
    peer.release().await;
}

#[tokio::test]
async fn a_data_set_that_is_not_what_the_command_says_is_a900() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    assert_eq!(peer.store("1.2.3.4.9", &x_ray(STUDY, "1.2.3.4.1")).await, 0xA900);
    let other =
        String::from_utf8_lossy(&x_ray(STUDY, "1.2.3.4.1")).replace(DX, "1.2.840.10008.5.1.4.1.1.1.2");
    assert_eq!(other.len(), x_ray(STUDY, "1.2.3.4.1").len());
    assert_eq!(peer.store("1.2.3.4.1", other.as_bytes()).await, 0xA900);
    assert!(door.files(STUDY).await.is_empty());
    // and the association goes on
    assert_eq!(peer.store("1.2.3.4.1", &x_ray(STUDY, "1.2.3.4.1")).await, 0x0000);
    peer.release().await;
    assert_eq!(door.metric("osteon_dicom_instances_total{status=\"A900\"}"), 2);
}

#[tokio::test]
async fn what_cannot_be_understood_is_c000_and_says_why() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    let whole = x_ray(STUDY, "1.2.3.4.1");
    let context = peer.context(DX, EXPLICIT);
    let mut overlong = whole.to_vec();
    // the length of the first element
    overlong[6..8].copy_from_slice(&[0xFF, 0xFF]);
    for (data_set, comment) in [
        (overlong.as_slice(), "the DICOM file is damaged"),
        (&whole[..100], "the DICOM file is damaged"),
        (b"".as_slice(), "StudyInstanceUID (0020,000D) is not a valid UID"),
    ] {
        let command = peer.store_request("1.2.3.4.1");
        peer.command(context, &command).await;
        peer.send(context, PDataValueType::Data, true, data_set).await;
        let response = peer.response().await;
        assert_eq!(response.number(tags::STATUS), Some(0xC000), "{response:?}");
        let said = response.text(tags::ERROR_COMMENT).unwrap();
        assert!(
            said.starts_with(comment) && said.len() <= 64,
            "{said}, not {comment}"
        );
    }
    let without = peer
        .store_request("1.2.3.4.1")
        .with_number(tags::COMMAND_DATA_SET_TYPE, NO_DATA_SET);
    peer.command(context, &without).await;
    assert_eq!(peer.response().await.number(tags::STATUS), Some(0xC000));
    peer.release().await;
}

#[tokio::test]
async fn a_command_for_another_class_than_its_context_is_0122() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    let context = peer.context(DX, EXPLICIT);
    let command = peer
        .store_request("1.2.3.4.1")
        .with_uid(tags::AFFECTED_SOP_CLASS_UID, uids::CT_IMAGE_STORAGE);
    let response = peer.store_as(context, &command, &x_ray(STUDY, "1.2.3.4.1")).await;
    assert_eq!(response.number(tags::STATUS), Some(0x0122));
    let command = peer
        .store_request("1.2.3.4.1")
        .with_uid(tags::AFFECTED_SOP_INSTANCE_UID, "1.2..3");
    let response = peer.store_as(context, &command, &x_ray(STUDY, "1.2.3.4.1")).await;
    assert_eq!(response.number(tags::STATUS), Some(0x0117));
    assert!(door.files(STUDY).await.is_empty());
    peer.release().await;
}

#[tokio::test]
async fn another_operation_is_0211_and_a_cancel_is_passed_over() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    let context = peer.context(DX, EXPLICIT);
    // C-FIND and C-GET with an identifier, N-SET on the class that it asks for
    for (field, class) in [
        (0x0020, tags::AFFECTED_SOP_CLASS_UID),
        (0x0010, tags::AFFECTED_SOP_CLASS_UID),
        (0x0120, tags::REQUESTED_SOP_CLASS_UID),
    ] {
        let command = FlatDataSet::default()
            .with_uid(class, DX)
            .with_number(tags::COMMAND_FIELD, field)
            .with_number(tags::MESSAGE_ID, 7)
            .with_number(tags::COMMAND_DATA_SET_TYPE, DATA_SET);
        let response = peer.store_as(context, &command, b"an identifier").await;
        assert_eq!(response.number(tags::STATUS), Some(0x0211));
        assert_eq!(response.number(tags::COMMAND_FIELD), Some(field | 0x8000));
    }
    let cancel = FlatDataSet::default()
        .with_number(tags::COMMAND_FIELD, 0x0FFF)
        .with_number(tags::MESSAGE_ID_BEING_RESPONDED_TO, 7)
        .with_number(tags::COMMAND_DATA_SET_TYPE, NO_DATA_SET);
    peer.command(context, &cancel).await;
    assert_eq!(peer.echo().await, 0x0000);
    peer.release().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_a700_and_nothing_is_acknowledged() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    door.store.close().await;
    assert_eq!(peer.store("1.2.3.4.1", &x_ray(STUDY, "1.2.3.4.1")).await, 0xA700);
    // and an object that cannot be written
    std::fs::remove_dir_all(door.folder.path().join("objects")).unwrap();
    std::fs::write(door.folder.path().join("objects"), "in the way").unwrap();
    assert_eq!(peer.store("1.2.3.4.2", &x_ray(STUDY, "1.2.3.4.2")).await, 0xA700);
    assert_eq!(peer.echo().await, 0x0000);
    peer.release().await;
    assert_eq!(door.metric("osteon_dicom_instances_total{status=\"A700\"}"), 2);
}

#[tokio::test]
async fn a_high_priority_makes_a_study_urgent() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    let context = peer.context(DX, EXPLICIT);
    for (study, priority) in [("1.2.3.1", MEDIUM), ("1.2.3.2", HIGH), ("1.2.3.3", 2)] {
        let instance = format!("{study}.1");
        let command = peer
            .store_request(&instance)
            .with_number(tags::PRIORITY, priority);
        peer.store_as(context, &command, &x_ray(study, &instance)).await;
        let study = StudyUid::parse(study).unwrap();
        let row = door.store.instances(&study).await.unwrap().remove(0);
        assert_eq!(row.instance.urgent, priority == HIGH);
    }
    peer.release().await;
}

#[tokio::test]
async fn a_command_may_come_in_fragments_and_with_its_data_set_in_one_pdu() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    let context = peer.context(DX, EXPLICIT);
    let command = peer.store_request("1.2.3.4.1").command_bytes();
    let sent = x_ray(STUDY, "1.2.3.4.1");
    let value = |value_type, is_last, data: &[u8]| PDataValue {
        presentation_context_id: context,
        value_type,
        is_last,
        data: data.to_vec(),
    };
    let data = vec![
        value(PDataValueType::Command, false, &command[..5]),
        value(PDataValueType::Command, false, &[]),
        value(PDataValueType::Command, true, &command[5..]),
        value(PDataValueType::Data, false, &sent[..7]),
        value(PDataValueType::Data, false, &[]),
        value(PDataValueType::Data, true, &sent[7..]),
    ];
    peer.association.send(&Pdu::PData { data }).await.unwrap();
    assert_eq!(peer.response().await.number(tags::STATUS), Some(0x0000));
    assert_eq!(data_set(&door.files(STUDY).await[0]), sent);
    peer.release().await;
}
