//! Archives without DICOMweb: a study that is sent by C-STORE is kept and scored, and its result goes back by C-STORE.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dicom_dictionary_std::tags;
use dicom_ul::association::ClientAssociationOptions;
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use osteon::config::Given;
use osteon::dicom::{FlatDataSet, Instance, command, data_set};
use serde_json::Value;

use crate::server::{TestServer, bundled_models, sample};
use crate::studies::outcome;

/// Sends a file by C-STORE, and gives the status.
async fn c_store(address: SocketAddr, file: Vec<u8>) -> u16 {
    let (syntax, data) = data_set(&file.clone().into()).unwrap();
    let instance = Instance::parse(file.into()).unwrap();
    let mut association = ClientAssociationOptions::new()
        .calling_ae_title("ARCHIVE")
        .called_ae_title("OSTEON")
        .with_presentation_context(instance.class.clone(), vec![syntax])
        .establish_async(address)
        .await
        .unwrap();
    let request = FlatDataSet::default()
        .with_uid(tags::AFFECTED_SOP_CLASS_UID, &instance.class)
        .with_number(tags::COMMAND_FIELD, command::C_STORE)
        .with_number(tags::MESSAGE_ID, 1)
        .with_number(tags::PRIORITY, command::MEDIUM)
        .with_number(tags::COMMAND_DATA_SET_TYPE, command::DATA_SET)
        .with_uid(tags::AFFECTED_SOP_INSTANCE_UID, instance.uid.as_str());
    for (value_type, bytes) in [
        (PDataValueType::Command, request.command_bytes()),
        (PDataValueType::Data, data.to_vec()),
    ] {
        let mut pieces = bytes.chunks(16_000).peekable();
        while let Some(piece) = pieces.next() {
            let value = PDataValue {
                presentation_context_id: 1,
                value_type: value_type.clone(),
                is_last: pieces.peek().is_none(),
                data: piece.to_vec(),
            };
            association.send(&Pdu::PData { data: vec![value] }).await.unwrap();
        }
    }
    let Pdu::PData { data } = association.receive().await.unwrap() else {
        panic!("no response");
    };
    association.release().await.unwrap();
    FlatDataSet::read(&data[0].data)
        .unwrap()
        .number(tags::STATUS)
        .unwrap()
}

fn study_of(file: Vec<u8>) -> String {
    Instance::parse(file.into()).unwrap().study.to_string()
}

/// The program; it is killed when this is dropped before it has ended.
struct Osteon(Child);

impl Drop for Osteon {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_is_sent_a_study_by_c_store_and_scores_it() {
    let data = tempfile::tempdir().unwrap();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (http, dicom) = (free(), free());
    let child = Command::new(env!("CARGO_BIN_EXE_osteon"))
        .args(["serve", "--quiet-seconds", "0.5", "--linger-seconds", "0"])
        .args([
            "--listen",
            &http.to_string(),
            "--dicom-listen",
            &dicom.to_string(),
        ])
        .arg("--data")
        .arg(data.path())
        .arg("--models")
        .arg(bundled_models())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut osteon = Osteon(child);
    let stdout = osteon.0.stdout.take().unwrap();
    let said = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(stdout).lines().map(Result::unwrap);
        let mut said = Vec::new();
        for line in lines {
            let last = line.contains("/health/ready");
            said.push(line);
            if last {
                break;
            }
        }
        said.join("\n")
    });
    let said = said.await.unwrap();
    assert!(
        said.contains(&format!("DICOM    {dicom} takes C-ECHO and C-STORE")),
        "{said}"
    );

    assert_eq!(c_store(dicom, sample()).await, 0x0000);
    let url = format!("http://{http}/v1/studies/{}", study_of(sample()));
    let mut study = Value::Null;
    for _ in 0..150 {
        study = reqwest::get(&url).await.unwrap().json().await.unwrap();
        if study["state"] == "scored" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(study["state"], "scored", "{study}");
    let metrics = reqwest::get(format!("http://{http}/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        "osteon_dicom_instances_total{status=\"0000\"} 1",
        "osteon_dicom_associations_total{ended=\"released\"} 1",
        "osteon_dicom_associations_open 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    let pid = rustix::process::Pid::from_child(&osteon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        let status = osteon.0.wait().unwrap();
        let mut log = String::new();
        osteon.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status, log)
    });
    let (status, log) = ended.await.unwrap();
    assert!(status.success(), "{log}");
    assert!(
        log.contains("dimse.association") && !log.contains("ARCHIVE"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_goes_to_an_archive_that_speaks_dimse_only() {
    // another osteon plays the archive: it keeps what it is sent, and cannot be asked
    let listening = Given {
        dicom_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..Given::default()
    };
    let archive = TestServer::with(bundled_models(), listening.clone()).await;
    let toml = format!(
        "[[destinations]]\nname = \"old-pacs\"\nkind = \"dimse\"\nhost = \"127.0.0.1\"\nport = {}\nae-title = \"OSTEON\"\n",
        archive.dicom().unwrap().port()
    );
    let server = TestServer::with_file(&toml, listening).await;
    assert_eq!(c_store(server.dicom().unwrap(), sample()).await, 0x0000);
    let study = study_of(sample());
    let scored = outcome(&server, &study).await;
    let mut delivery = Value::Null;
    for _ in 0..150 {
        let (_, body) = server.get(&format!("/v1/studies/{study}")).await;
        delivery = body["deliveries"][0].clone();
        if delivery["state"] == "delivered" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(delivery["state"], "delivered", "{delivery}");
    // report and heat map are there, in the study of the image; the report under the UID that its result has
    let kept = outcome(&archive, &study).await;
    assert_eq!(kept["instances"], 2, "{kept}");
    let report = osteon::report::report_uid(scored["result_key"].as_str().unwrap());
    let instances = kept["result"]["instances"].as_array().unwrap();
    assert!(
        instances
            .iter()
            .any(|instance| instance["sop_instance_uid"] == report),
        "{kept}"
    );
    server.stop().await;
    archive.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_no_door() {
    let worker = Given {
        dicom_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        role: Some(osteon::workflow::Role::Worker),
        ..Given::default()
    };
    let server = TestServer::with(bundled_models(), worker).await;
    assert_eq!(server.dicom(), None);
    server.stop().await;
}
