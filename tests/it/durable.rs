//! What became of a study can be asked for, ordered, repeated and checked; and the work can be split between servers.

use osteon::config::Given;
use reqwest::StatusCode;
use serde_json::Value;

use crate::server::{MODEL, TestServer, bytes, phantom, sample};
use crate::studies::outcome;

fn study_of(file: &[u8]) -> String {
    osteon::dicom::Instance::parse(file.to_vec().into())
        .unwrap()
        .study
        .to_string()
}

async fn send(server: &TestServer, file: Vec<u8>) -> String {
    let study = study_of(&file);
    let (status, answer) = server.post("/dicom-web/studies", "application/dicom", file).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    study
}

fn kinds(timeline: &Value) -> Vec<&str> {
    let events = timeline["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_a_study_is_told_and_why_it_has_its_outcome() {
    let server = TestServer::start().await;
    let study = send(&server, sample()).await;
    let body = outcome(&server, &study).await;
    assert_eq!(body["completeness"]["basis"], "quiet");
    assert_eq!(body["result_key"].as_str().unwrap().len(), 64);
    let (_, timeline) = server.get(&format!("/v1/studies/{study}/timeline")).await;
    // what is made of it comes later
    assert_eq!(kinds(&timeline)[..4], ["received", "queued", "claimed", "scored"]);
    let account = timeline["account"].as_str().unwrap();
    assert!(
        account.starts_with(&format!("It was scored by {MODEL} 1.")),
        "{account}"
    );

    let (status, printed) = server.osteon(&["explain", &study]).await;
    assert_eq!(status, 0, "{printed}");
    assert!(printed.starts_with(account), "{printed}");
    for kind in kinds(&timeline) {
        assert!(printed.contains(kind), "{kind} is not in {printed}");
    }
    let (status, printed) = server.osteon(&["explain", "1.2.3"]).await;
    assert_eq!(
        (
            status,
            printed.contains("no instance of study 1.2.3 has been received")
        ),
        (1, true),
        "{printed}"
    );
    let (status, answer) = server.get("/v1/studies/1.2.3/timeline").await;
    assert_eq!(
        (status, answer["reason"]["code"].as_str()),
        (StatusCode::NOT_FOUND, Some("unknown-study"))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_can_be_ordered_and_waits_for_as_many_images_as_are_expected() {
    let patient = Given {
        quiet_seconds: Some(600.0),
        ..Given::default()
    };
    let server = TestServer::with(crate::server::bundled_models(), patient).await;
    let study = send(&server, sample()).await;
    let order = format!("/v1/studies/{study}/score");
    for wrong in ["{\"expected_instances\": 0}", "{\"expected\": 2}", "2"] {
        let (status, answer) = server.post(&order, "application/json", wrong.into()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    }
    let expected = b"{\"expected_instances\": 2}".to_vec();
    let (status, answer) = server.post(&order, "application/json", expected).await;
    assert_eq!(
        (status, &answer["state"]),
        (StatusCode::ACCEPTED, &"received".into()),
        "one of two is there"
    );
    let (status, _) = server.post(&order, "application/json", vec![]).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let body = outcome(&server, &study).await;
    assert_eq!(body["state"], "scored");
    assert_eq!(body["completeness"]["basis"], "ordered");
    assert_eq!(
        (
            &body["completeness"]["instances"],
            &body["completeness"]["expected"]
        ),
        (&1.into(), &2.into())
    );
    let key = body["result_key"].clone();

    // the same case again: the same result, which takes the place of none
    server.post(&order, "application/json", vec![]).await;
    let again = outcome(&server, &study).await;
    assert_eq!((&again["result_key"], &again["supersedes"]), (&key, &Value::Null));
    let (status, _) = server
        .post("/v1/studies/1.2.3/score", "application/json", vec![])
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_posted_is_kept_and_scored_as_one_that_comes_by_stow() {
    let server = TestServer::start().await;
    let url = format!("{}/v1/studies", server.url);
    let answer = server.client.post(&url).body(sample()).send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(
        (answer.status(), location),
        (
            StatusCode::ACCEPTED,
            format!("/v1/studies/{}", study_of(&sample()))
        )
    );
    assert_eq!(outcome(&server, &study_of(&sample())).await["state"], "scored");
    let answer = server.client.post(&url).body("no image").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_image_makes_a_result_that_takes_the_place_of_the_first() {
    use dicom_core::VR;
    use dicom_dictionary_std::tags;
    let server = TestServer::start().await;
    let study = send(&server, bytes(&phantom(31))).await;
    let first = outcome(&server, &study).await;
    let late = crate::server::with(&phantom(31), tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4.5");
    send(&server, late).await;
    let second = outcome(&server, &study).await;
    assert_eq!(second["instances"], 2);
    assert_eq!(second["supersedes"], first["result_key"]);
    assert_eq!(second["generation"], 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_can_be_made_again_and_a_changed_one_is_found_out() {
    let server = TestServer::start().await;
    let study = send(&server, sample()).await;
    let key = outcome(&server, &study).await["result_key"]
        .as_str()
        .unwrap()
        .to_owned();
    for name in [&study, &key] {
        let (status, printed) = server.osteon(&["replay", name]).await;
        assert_eq!(status, 0, "{printed}");
        assert!(
            printed.contains("\nthe same: numbers differ by at most"),
            "{printed}"
        );
    }
    let place = format!("sqlite://{}/osteon.sqlite", server.data().display());
    let database = sqlx::SqlitePool::connect(&place).await.unwrap();
    let body: String = sqlx::query_scalar("SELECT body FROM results")
        .fetch_one(&database)
        .await
        .unwrap();
    let mut changed: Value = serde_json::from_str(&body).unwrap();
    let probability = changed["instances"][0]["findings"][0]["probability"]
        .as_f64()
        .unwrap();
    changed["instances"][0]["findings"][0]["probability"] = (1.0 - probability).into();
    sqlx::query("UPDATE results SET body = ?1")
        .bind(changed.to_string())
        .execute(&database)
        .await
        .unwrap();
    let (status, printed) = server.osteon(&["replay", &study]).await;
    assert_eq!((status, printed.contains("NOT the same")), (2, true), "{printed}");
    sqlx::query("UPDATE results SET model_digest = 'cafe'")
        .execute(&database)
        .await
        .unwrap();
    let (status, printed) = server.osteon(&["replay", &study]).await;
    assert_eq!((status, printed.contains("digest cafe")), (1, true), "{printed}");
    database.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_proves_that_rows_and_images_agree_and_says_what_does_not() {
    let server = TestServer::start().await;
    let study = send(&server, sample()).await;
    outcome(&server, &study).await;
    let (status, printed) = server.osteon(&["store", "check", "--deep"]).await;
    assert_eq!(
        (status, printed.contains("rows and images agree")),
        (0, true),
        "{printed}"
    );
    for folder in std::fs::read_dir(server.data().join("objects")).unwrap() {
        for object in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            std::fs::remove_file(object.unwrap().path()).unwrap();
        }
    }
    let (status, printed) = server.osteon(&["store", "check"]).await;
    assert_eq!(
        (status, printed.contains("the object of an instance is missing")),
        (2, true),
        "{printed}"
    );
    let (status, printed) = server.osteon(&["jobs", "list"]).await;
    assert_eq!((status, printed.as_str()), (0, "No job waits or runs.\n"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_takes_studies_in_and_a_worker_scores_them() {
    let role = |role: &str| Given {
        role: Some(role.parse().unwrap()),
        ..Given::default()
    };
    let door = TestServer::with(crate::server::bundled_models(), role("door")).await;
    assert_eq!(
        door.get("/health/ready").await.0,
        StatusCode::OK,
        "it has no models to wait for"
    );
    let study = send(&door, sample()).await;
    let (status, answer) = door.score(sample()).await;
    assert_eq!(
        (status, answer["reason"]["code"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("role"))
    );
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let (_, waiting) = door.get(&format!("/v1/studies/{study}")).await;
    assert_eq!(waiting["state"], "received", "nobody works yet");

    let worker = door.and(role("worker")).await;
    let (status, answer) = worker
        .post("/dicom-web/studies", "application/dicom", sample())
        .await;
    assert_eq!(
        (status, answer["reason"]["code"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("role"))
    );
    assert_eq!(outcome(&door, &study).await["state"], "scored");
    assert_eq!(worker.score(sample()).await.0, StatusCode::OK);
    for path in [
        "/v2",
        "/v2/health/ready",
        "/v1/models",
        "/v1/studies/1.2/instances/1.3/heatmap",
    ] {
        let (status, answer) = door.get(path).await;
        let refused = (StatusCode::SERVICE_UNAVAILABLE, Some("role"));
        assert_eq!((status, answer["reason"]["code"].as_str()), refused, "{path}");
    }
    worker.stop().await;
    door.stop().await;
}
