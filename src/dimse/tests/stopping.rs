//! A door that stops ends what is under way and begins nothing more.

use super::*;

#[tokio::test]
async fn a_data_set_under_way_is_stored_and_idle_associations_are_aborted() {
    let door = TestDoor::start().await;
    let mut idle = Peer::call(&door).await;
    let mut storing = Peer::call(&door).await;
    assert_eq!(storing.echo().await, 0x0000);
    let context = storing.context(DX, EXPLICIT);
    let sent = x_ray("1.2.3.4", "1.2.3.4.1");
    let command = storing.store_request("1.2.3.4.1");
    storing.command(context, &command).await;
    storing
        .send(context, PDataValueType::Data, false, &sent[..100])
        .await;
    door.begun(1).await;
    door.closing.cancel();
    assert!(matches!(
        idle.association.receive().await.unwrap(),
        Pdu::AbortRQ { .. }
    ));
    assert!(TcpStream::connect(door.address).await.is_err());
    storing
        .send(context, PDataValueType::Data, true, &sent[100..])
        .await;
    assert_eq!(storing.response().await.number(tags::STATUS), Some(0x0000));
    assert!(matches!(
        storing.association.receive().await.unwrap(),
        Pdu::AbortRQ { .. }
    ));
    drop((idle, storing));
    let (running, store) = (door.running, door.store);
    running.await.unwrap();
    let rows = store.instances(&StudyUid::parse("1.2.3.4").unwrap()).await;
    assert_eq!(rows.unwrap().len(), 1);
    let line = "osteon_dicom_associations_total{ended=\"stopping\"} 2";
    assert!(door.metrics.text().contains(line), "{}", door.metrics.text());
}

#[tokio::test]
async fn one_that_never_ends_is_cut_off() {
    let door = TestDoor::start().await;
    let mut peer = Peer::call(&door).await;
    let context = peer.context(DX, EXPLICIT);
    let command = peer.store_request("1.2.3.4.1");
    peer.command(context, &command).await;
    door.begun(1).await;
    door.closing.cancel();
    assert!(matches!(
        peer.association.receive().await.unwrap(),
        Pdu::AbortRQ { .. }
    ));
    drop(peer);
    door.running.await.unwrap();
}
