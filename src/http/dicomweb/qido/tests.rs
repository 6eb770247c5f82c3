//! QIDO-RS as clients meet it, through the router, with a real store.

use axum::http::StatusCode;
use dicom_core::{PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use serde_json::{Value, json};

use crate::http::dicomweb::fixture::TestServer;
use crate::workflow::fixture::{dicom, image};

const STOW: &str = "application/dicom";

/// Two studies; the second has two instances, one of which has an attribute of bulk data.
async fn server() -> TestServer {
    let server = TestServer::new().await;
    let comments = (tags::IMAGE_COMMENTS, VR::LT, PrimitiveValue::from("seen"));
    let lut = (
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        VR::OW,
        PrimitiveValue::from(vec![0; 2048]),
    );
    let number = (tags::INSTANCE_NUMBER, VR::IS, PrimitiveValue::from("2"));
    let dated = |date: &str| (tags::STUDY_DATE, VR::DA, PrimitiveValue::from(date));
    let explicit = uids::EXPLICIT_VR_LITTLE_ENDIAN;
    for file in [
        image("1.2", "1.2.1", &[dated("20240101")], None, explicit),
        image(
            "1.3",
            "1.3.2",
            &[dated("20240102"), comments, lut, number.clone()],
            None,
            explicit,
        ),
        image("1.3", "1.3.1", &[dated("20240102")], None, explicit),
    ] {
        let (status, _) = server.post("/dicom-web/studies", STOW, file).await;
        assert_eq!(status, StatusCode::OK);
    }
    server
}

fn firsts<'a>(body: &'a Value, tag: &str) -> Vec<&'a str> {
    let results = body.as_array().unwrap().iter();
    results
        .map(|one| one[tag]["Value"][0].as_str().unwrap_or(""))
        .collect()
}

#[tokio::test]
async fn a_study_has_what_every_result_has() {
    let server = server().await;
    let answer = server
        .fetch(
            "/dicom-web/studies?PatientName=CANARY*&limit=1",
            "application/dicom+json",
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/dicom+json");
    assert_eq!(answer.header("warning"), "", "more were not asked for");
    assert_eq!(
        answer.json(),
        json!([{
            "00080005": { "vr": "CS", "Value": ["ISO_IR 192"] },
            "00080020": { "vr": "DA", "Value": ["20240102"] },
            "00080030": { "vr": "TM" },
            "00080050": { "vr": "SH" },
            "00080056": { "vr": "CS", "Value": ["ONLINE"] },
            "00080061": { "vr": "CS", "Value": ["DX"] },
            "00080090": { "vr": "PN" },
            "00081030": { "vr": "LO", "Value": ["image"] },
            "00081190": { "vr": "UR", "Value": ["http://pacs.example:8080/dicom-web/studies/1.3"] },
            "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Canary^Patient" }] },
            "00100020": { "vr": "LO" },
            "00100030": { "vr": "DA" },
            "00100040": { "vr": "CS" },
            "0020000D": { "vr": "UI", "Value": ["1.3"] },
            "00200010": { "vr": "SH" },
            "00201206": { "vr": "IS", "Value": [1] },
            "00201208": { "vr": "IS", "Value": [2] },
        }])
    );
}

#[tokio::test]
async fn series_and_instances_are_searched_at_every_place() {
    let server = server().await;
    for (path, tag, wanted) in [
        ("/dicom-web/studies", "0020000D", &["1.3", "1.2"][..]),
        ("/dicom-web/series", "0020000D", &["1.3", "1.2"]),
        ("/dicom-web/studies/1.2/series", "0020000E", &["1.2.3"]),
        (
            "/dicom-web/instances?StudyInstanceUID=1.2,1.3",
            "00080018",
            &["1.3.2", "1.3.1", "1.2.1"],
        ),
        (
            "/dicom-web/studies/1.3/instances",
            "00080018",
            &["1.3.2", "1.3.1"],
        ),
        (
            "/dicom-web/studies/1.3/series/1.2.3/instances?offset=1",
            "00080018",
            &["1.3.1"],
        ),
        ("/dicom-web/studies/1.3/series/1.2.4/instances", "00080018", &[]),
        ("/dicom-web/studies?PatientID=nobody", "00080018", &[]),
        ("/dicom-web/studies?limit=0", "00080018", &[]),
    ] {
        let answer = server.fetch(path, "*/*").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(firsts(&answer.json(), tag), wanted, "{path}");
    }
    let of_all = server
        .fetch("/dicom-web/instances?SOPInstanceUID=1.2.1", "")
        .await
        .json();
    for of_study_and_series in ["00100010", "00201208", "00080060", "00201209"] {
        assert!(
            of_all[0].get(of_study_and_series).is_some(),
            "{of_study_and_series}"
        );
    }
    let url = "http://pacs.example:8080/dicom-web/studies/1.2/series/1.2.3/instances/1.2.1";
    assert_eq!(of_all[0]["00081190"]["Value"][0], url);
    assert_eq!(
        (
            &of_all[0]["00280010"]["Value"][0],
            &of_all[0]["00080018"]["Value"][0]
        ),
        (&2.into(), &"1.2.1".into())
    );
    let in_study = server.fetch("/dicom-web/studies/1.2/series", "").await.json();
    assert!(in_study[0].get("00100010").is_none() && in_study[0]["00201209"]["Value"][0] == 1);
}

#[tokio::test]
async fn fields_are_included_by_keyword_tag_or_all() {
    let server = server().await;
    for (fields, wanted) in [
        ("", [false, false]),
        ("includefield=ImageComments", [true, false]),
        ("includefield=00204000,StudyDescription", [true, true]),
        ("includefield=00204000%2C00081030", [true, true]),
        ("includefield=00204000&includefield=00081030", [true, true]),
        ("includefield=all", [true, true]),
        ("ImageComments=", [true, false]),
    ] {
        let path = format!("/dicom-web/studies/1.3/instances?limit=1&{fields}");
        let body = server.fetch(&path, "").await.json();
        let has = ["00204000", "00081030"].map(|tag| body[0].get(tag).is_some());
        assert_eq!(has, wanted, "{fields}");
    }
    let all = server
        .fetch("/dicom-web/studies/1.3/instances?includefield=all&limit=1", "")
        .await
        .json();
    let place =
        "http://pacs.example:8080/dicom-web/studies/1.3/series/1.2.3/instances/1.3.2/bulkdata/00281201";
    assert_eq!(all[0]["00281201"]["BulkDataURI"], place);
}

#[tokio::test]
async fn wrong_parameters_and_forms_are_said_so() {
    let server = server().await;
    for (path, accept, wanted) in [
        ("/dicom-web/studies?StudyDate=Canary", "", (400, "query")),
        ("/dicom-web/studies?limit=-1", "", (400, "query")),
        ("/dicom-web/studies?nothing=1", "", (400, "query")),
        ("/dicom-web/studies?Modality=DX", "", (400, "query")),
        ("/dicom-web/studies/1..2/series", "", (400, "uid")),
        ("/dicom-web/studies", "image/png", (406, "not-acceptable")),
        ("/dicom-web/studies?accept=text/html", "", (406, "not-acceptable")),
    ] {
        let answer = server.fetch(path, accept).await;
        assert_eq!(answer.refusal(), (wanted.0, wanted.1.to_owned()), "{path}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("Canary"));
    }
}

#[tokio::test]
async fn xml_is_one_part_a_result_and_nothing_without_one() {
    let server = server().await;
    let xml = "multipart/related; type=application/dicom+xml";
    let answer = server.fetch("/dicom-web/studies", xml).await;
    let parts = answer.parts();
    assert_eq!(parts.len(), 2);
    for (kind, content) in parts {
        assert_eq!(kind, "application/dicom+xml");
        assert!(String::from_utf8_lossy(&content).contains("keyword=\"StudyInstanceUID\""));
    }
    let none = server.fetch("/dicom-web/studies?PatientID=nobody", xml).await;
    assert_eq!((none.status, none.body.len()), (StatusCode::NO_CONTENT, 0));
}

#[tokio::test]
async fn fuzzy_matching_and_too_many_results_are_warned_of() {
    let server = server().await;
    let fuzzy = server
        .fetch("/dicom-web/studies?PatientName=canary&fuzzymatching=true", "")
        .await;
    assert_eq!(fuzzy.json(), json!([]));
    assert!(
        fuzzy
            .header("warning")
            .starts_with("299 http://pacs.example:8080/dicom-web: \"The fuzzymatching")
    );
    let plain = server.fetch("/dicom-web/studies?fuzzymatching=false", "").await;
    assert_eq!(plain.header("warning"), "");
    for number in 0..super::MOST_RESULTS {
        let file = dicom("1.4", &format!("1.4.{number}"), "");
        server.post("/dicom-web/studies", STOW, file).await;
    }
    let many = server.fetch("/dicom-web/instances", "").await;
    assert_eq!(
        many.json().as_array().unwrap().len(),
        super::MOST_RESULTS as usize
    );
    assert!(
        many.header("warning")
            .contains("Additional results can be requested")
    );
    let rest = server
        .fetch(
            &format!("/dicom-web/instances?offset={}", super::MOST_RESULTS),
            "",
        )
        .await;
    assert_eq!(
        (rest.json().as_array().unwrap().len(), rest.header("warning")),
        (3, "")
    );
}

#[tokio::test]
async fn text_is_compressed_for_those_who_take_it() {
    let server = server().await;
    let request = axum::http::Request::get("/dicom-web/studies").header("accept-encoding", "gzip");
    let answer = server
        .answer(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(answer.body[..2], [0x1F, 0x8B]);
    let small = server.fetch("/dicom-web/studies?limit=0", "").await;
    assert_eq!(small.header("content-encoding"), "");
}
