//! Folders of models that cannot be read, and models that are gone: what is known of them holds, nothing else is taken away, and readiness
//! says what is missed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use osteon::config::Given;
use osteon::inference::{Catalog, Inference};

use crate::broken_models::{loaded, under};
use crate::server::{TestServer, sample};
use crate::tiny::Tiny;

/// A link to itself: whoever looks behind it gets an error, also as root, and not that nothing is there.
fn make_unreadable(path: &Path) {
    symlink(path, path).unwrap();
}

fn rejected(catalog: &Catalog) -> Vec<String> {
    let rejected = catalog.rejected().into_iter();
    rejected
        .map(|one| {
            assert!(one.reason.contains("cannot be read"), "{one:?}");
            one.package
        })
        .collect()
}

fn looks(inference: &Inference) {
    for _ in 0..3 {
        inference.look();
    }
}

#[test]
fn a_server_that_starts_serves_beside_a_folder_that_cannot_be_read() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("m", 1).publish(models.path());
    let third = models.path().join("third");
    make_unreadable(&third);
    make_unreadable(&models.path().join("m/2"));
    let inference = loaded(under(models.path()));
    let catalog = inference.catalog();
    assert!(catalog.find("m", None).is_ok());
    assert_eq!(rejected(catalog), ["m/2", "third"]);
    let reason = catalog.not_ready().unwrap();
    assert!(
        reason.starts_with("third is not served: it cannot be read"),
        "{reason}"
    );

    // nobody can say that no model lies there, until it is away
    fs::remove_file(third).unwrap();
    inference.look();
    assert_eq!(catalog.not_ready(), None, "m has a version that serves");
    assert_eq!(rejected(catalog), ["m/2"]);
}

/// Where the folder lies on this machine is for the log alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_models_folder_that_cannot_be_read_is_said_without_its_path() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().display().to_string();
    let (gone, looped) = (place.path().join("gone"), place.path().join("looped"));
    make_unreadable(&looped);
    for (models, cause) in [
        (gone, "No such file"),
        (looped, "Too many levels of symbolic links"),
    ] {
        let server = TestServer::with(models, Given::default()).await;
        for (place, of) in [("/health/ready", "reason"), ("/v2/health/ready", "error")] {
            let (status, answer) = server.get(place).await;
            assert_eq!(status, 503, "{answer}");
            let reason = answer[of].as_str().unwrap();
            let said = format!("the models folder cannot be read: {cause}");
            assert!(reason.starts_with(&said), "{reason}");
            assert!(!reason.contains(&path), "{reason}");
        }
        let (_, models) = server.get("/v1/models").await;
        assert_eq!(models["rejected"][0]["package"], "*");
        let (_, refused) = server
            .post("/v1/models/m/score", "application/dicom", sample())
            .await;
        assert_eq!(refused["reason"]["code"], "not-ready", "{refused}");
        for answer in [models, refused] {
            assert!(!answer.to_string().contains(&path), "{answer}");
        }
        server.stop().await;
    }
}

#[test]
fn what_cannot_be_read_any_more_serves_on() {
    let (models, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Tiny::new("m", 1).publish(models.path());
    Tiny::new("other", 1).publish(models.path());
    let inference = loaded(under(models.path()));
    let catalog = inference.catalog();
    let served = catalog.find("other", None).unwrap();
    for (place, package) in [
        ("other", "other"),
        ("other/1", "other/1"),
        ("other/1/manifest.json", "other/1"),
    ] {
        let (place, aside) = (models.path().join(place), elsewhere.path().join("aside"));
        fs::rename(&place, &aside).unwrap();
        make_unreadable(&place);
        looks(&inference);
        let still = catalog.find("other", None).unwrap();
        assert!(std::sync::Arc::ptr_eq(&still, &served));
        assert_eq!(rejected(catalog), [package]);
        assert_eq!(catalog.not_ready(), None, "it serves");
        fs::remove_file(&place).unwrap();
        fs::rename(&aside, &place).unwrap();
        looks(&inference);
        assert_eq!(rejected(catalog), [""; 0]);
        assert!(catalog.find("other", None).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_served_and_is_gone_is_missed_until_it_is_unloaded() {
    let models = tempfile::tempdir().unwrap();
    for name in ["m", "other", "third"] {
        Tiny::new(name, 1).publish(models.path());
    }
    let inference = loaded(under(models.path()));
    let catalog = inference.catalog();
    let remove = |name| {
        fs::remove_dir_all(models.path().join(name)).unwrap();
        looks(&inference);
        assert!(catalog.find(name, None).is_err());
    };
    inference.unload_model("third").await.unwrap();
    remove("third");
    assert_eq!(catalog.not_ready(), None, "it was taken away on purpose");
    remove("other");
    let reason = catalog.not_ready().unwrap();
    assert!(
        reason.starts_with("other is not served: it served, and is gone"),
        "{reason}"
    );
    inference.unload_model("other").await.unwrap();
    assert_eq!(catalog.not_ready(), None);
    let gone = inference.unload_model("other").await.unwrap_err();
    assert_eq!(gone.code, "unknown-model");
}
