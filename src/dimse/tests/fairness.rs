//! One caller leaves places and room for the others.

use super::*;

async fn door() -> TestDoor {
    #[derive(serde::Deserialize)]
    struct File {
        callers: Callers,
    }
    let toml = "callers = [{ ae-title = \"ARCHIVE\" }, { ae-title = \"XRAY1\" }]";
    let known = toml::from_str::<File>(toml).unwrap().callers;
    TestDoor::with(|settings| {
        settings.callers = known;
        settings.associations = 8;
    })
    .await
}

#[tokio::test]
async fn one_caller_has_three_quarters_of_the_associations() {
    let door = door().await;
    let mut open = Vec::new();
    for _ in 0..6 {
        open.push(Peer::call(&door).await);
    }
    let seventh = Peer::call_as(&door, "ARCHIVE").await;
    assert!(matches!(seventh.err(), Some(Error::Rejected { .. })));
    door.counts("osteon_dicom_associations_total{ended=\"congestion\"}", 1)
        .await;
    for _ in 0..2 {
        let mut other = Peer::call_as(&door, "XRAY1").await.unwrap();
        assert_eq!(other.echo().await, 0x0000);
        open.push(other);
    }
    // all are taken
    assert!(Peer::call_as(&door, "XRAY1").await.is_err());
    open.remove(0).release().await;
    door.counts("osteon_dicom_associations_open", 7).await;
    open.push(Peer::call(&door).await);
}

#[tokio::test]
async fn data_sets_of_one_caller_leave_room_for_those_of_another() {
    let door = door().await;
    let mut holding = Vec::new();
    // three begin, and the others wait for their caller's own room
    for index in 0..5 {
        let mut peer = Peer::call(&door).await;
        let context = peer.context(DX, EXPLICIT);
        let command = peer.store_request(&format!("1.2.3.4.{index}"));
        peer.command(context, &command).await;
        peer.send(context, PDataValueType::Data, false, &[0; 1000]).await;
        holding.push(peer);
    }
    door.begun(3).await;
    let x_ray = x_ray("1.2.3", "1.2.3.4.9");
    let mut other = Peer::call_as(&door, "XRAY1").await.unwrap();
    assert_eq!(other.store("1.2.3.4.9", &x_ray).await, 0x0000);
    let mut same = Peer::call(&door).await;
    assert_eq!(same.store("1.2.3.4.9", &x_ray).await, 0xA700);
    drop(holding);
}
