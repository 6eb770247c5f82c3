//! A models folder in which something breaks while it is served: what served before serves on, and why is said.

use std::fs;
use std::path::Path;

use osteon::inference::{RepositorySettings, State};
use osteon::model::Stage;
use osteon::model::package::{GOLDENS, MODEL};

use crate::broken_models::{loaded, put, put_files, under};
use crate::tiny::Tiny;

#[test]
fn a_broken_new_version_leaves_the_old_one_serving_and_says_why() {
    type Break = fn(&Path);
    let breaks: [(Break, Stage, &str); 4] = [
        (
            |models| {
                put_files(models, 2, |_, _| {});
                fs::write(models.join("m/2").join(MODEL), "half").unwrap();
            },
            Stage::Digest,
            "model.onnx was changed",
        ),
        (|models| put(models, 2, b"half"), Stage::Header, "was cut off"),
        (
            |models| {
                put_files(models, 2, |_, files| {
                    let mut goldens = Tiny::new("m", 2).goldens();
                    goldens.cases[0].scores[0] += 1.0;
                    files.insert(GOLDENS.into(), serde_json::to_vec(&goldens).unwrap());
                });
            },
            Stage::Goldens,
            "is off by",
        ),
        (
            |models| {
                fs::create_dir_all(models.join("m/2")).unwrap();
                for entry in fs::read_dir(models.join("m/1")).unwrap() {
                    let entry = entry.unwrap();
                    fs::copy(entry.path(), models.join("m/2").join(entry.file_name())).unwrap();
                }
            },
            Stage::Digest,
            "it must lie in m/1/",
        ),
    ];
    for (broken, stage, expected) in breaks {
        let models = tempfile::tempdir().unwrap();
        Tiny::new("m", 1).publish(models.path());
        let inference = loaded(under(models.path()));
        let catalog = inference.catalog();
        let digest = catalog.find("m", None).unwrap().digest.clone();

        broken(models.path());
        inference.look();
        assert_eq!(
            catalog.index()[1].state,
            State::Waiting,
            "it may still be arriving"
        );
        inference.look();
        let failed = catalog.index().remove(1);
        assert_eq!(
            (failed.state, failed.stage),
            (State::Failed, Some(stage)),
            "{failed:?}"
        );
        assert!(failed.reason.unwrap().contains(expected));
        let serving = catalog.find("m", None).unwrap();
        assert_eq!((serving.manifest.version, &serving.digest), (1, &digest));
        assert_eq!(catalog.not_ready(), None, "the old one serves");

        // mended, it takes over
        fs::remove_dir_all(models.path().join("m/2")).unwrap();
        Tiny::new("m", 2).publish(models.path());
        inference.look();
        inference.look();
        assert_eq!(catalog.find("m", None).unwrap().manifest.version, 2);
        assert_eq!(catalog.rejected(), []);
    }
}

#[test]
fn a_share_that_is_gone_takes_nothing_away() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("m", 1).publish(models.path());
    let inference = loaded(under(models.path()));
    let catalog = inference.catalog();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(models.path().join("m"), elsewhere.path().join("m")).unwrap();
    for _ in 0..3 {
        inference.look();
    }
    assert!(catalog.find("m", None).is_ok());
    assert!(catalog.rejected()[0].reason.contains("is its share gone?"));
    fs::rename(elsewhere.path().join("m"), models.path().join("m")).unwrap();
    inference.look();
    assert_eq!(catalog.rejected(), []);
}

#[test]
fn a_pin_that_names_no_version_is_said() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("m", 1).publish(models.path());
    Tiny::new("other", 1).publish(models.path());
    let settings = RepositorySettings {
        pins: [("m".to_owned(), [7].into())].into(),
        ..under(models.path())
    };
    let inference = loaded(settings);
    let reason = inference.catalog().not_ready().unwrap();
    assert!(
        reason.contains("m is not served: its pin names no version that is there"),
        "{reason}"
    );
    assert!(inference.catalog().find("other", Some(1)).is_ok());
}
