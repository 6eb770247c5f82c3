//! A models folder in which something breaks while it is served: what served before serves on, and why is said.

use std::fs;
use std::path::Path;

use osteon::fault::Fault;
use osteon::inference::{Inference, RepositorySettings, State};
use osteon::model::Stage;
use osteon::model::onnx_format::{DataType, NodeProto, TensorProto};
use osteon::model::package::{GOLDENS, MODEL};

use crate::broken_models::{loaded, put, put_files, under};
use prost::Message;

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

/// A real lack of memory: the network asks for more than any machine has.
#[test]
fn lack_of_memory_may_pass_and_the_package_is_tried_again() {
    let models = tempfile::tempdir().unwrap();
    let mut network = Tiny::new("m", 1).network();
    let graph = network.graph.as_mut().unwrap();
    graph.node[4].output[0] = "before".into();
    graph.initializer.push(TensorProto {
        name: "endless".into(),
        dims: vec![2],
        data_type: DataType::Int64 as i32,
        raw_data: [1 << 45, 1_i64]
            .iter()
            .flat_map(|side| side.to_le_bytes())
            .collect(),
        ..TensorProto::default()
    });
    let operator = |operator: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: operator.into(),
        name: format!("makes {output}"),
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    };
    graph
        .node
        .push(operator("Expand", &["before", "endless"], "expanded"));
    graph.node.push(operator("ReduceMax", &["expanded"], "largest"));
    graph
        .node
        .push(operator("Add", &["before", "largest"], "probabilities"));
    put(models.path(), 1, &network.encode_to_vec());
    let inference = loaded(under(models.path()));
    let package = inference.catalog().index().remove(0);
    assert_eq!(
        (package.state, package.stage),
        (State::Failed, Some(Stage::Goldens))
    );
    let reason = package.reason.unwrap();
    assert!(
        reason.contains("there is no memory left for the model"),
        "{reason}"
    );
    let after = package.again_after.unwrap();
    let rest = after.duration_since(package.since).unwrap();
    assert_eq!(rest.as_secs(), 10);
    let not_ready = inference.catalog().not_ready().unwrap();
    assert!(not_ready.contains("it is tried again"), "{not_ready}");
    // not before
    inference.look();
    assert_eq!(inference.catalog().index()[0].again_after, Some(after));
}

/// As `m`'s package, with a golden that its network does not reproduce.
fn put_unproven(models: &Path) {
    put_files(models, 1, |_, files| {
        let mut goldens = Tiny::new("m", 1).goldens();
        goldens.cases[0].scores[0] += 1.0;
        files.insert(GOLDENS.into(), serde_json::to_vec(&goldens).unwrap());
    });
}

#[test]
fn a_new_model_that_fails_makes_only_a_server_that_starts_wait() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("other", 1).publish(models.path());
    let inference = loaded(under(models.path()));
    let catalog = inference.catalog();
    put_unproven(models.path());
    for _ in 0..2 {
        inference.look();
    }
    assert_eq!(catalog.index()[0].state, State::Failed);
    assert_eq!(catalog.rejected().len(), 1);
    assert_eq!(catalog.not_ready(), None, "it takes nothing away");
    let started = loaded(under(models.path()));
    let reason = started.catalog().not_ready().unwrap();
    assert!(reason.contains("m/1 is not served"), "{reason}");

    // one that served is waited for
    fs::remove_dir_all(models.path().join("m")).unwrap();
    Tiny::new("m", 1).publish(models.path());
    for _ in 0..2 {
        inference.look();
    }
    assert!(catalog.find("m", None).is_ok());
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(inference.unload_model("m"))
        .unwrap();
    fs::write(models.path().join("m/1").join(MODEL), "half").unwrap();
    let failed = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(inference.load_model("m"));
    assert_eq!(failed.unwrap_err().code, "model-failed");
    let reason = catalog.not_ready().unwrap();
    assert!(reason.contains("m/1 is not served"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_never_scores_studies_in_place_of_the_one_that_does() {
    let models = tempfile::tempdir().unwrap();
    Tiny::new("spine", 1).publish(models.path());
    let inference = loaded(under(models.path()));
    let name = |inference: &Inference| Ok(inference.study_model()?.manifest.name.clone());
    let warning = |inference: &Inference| inference.catalog().study_model().unwrap().doubt();
    assert_eq!(name(&inference), Ok::<_, Fault>("spine".to_owned()));
    assert_eq!(warning(&inference), None);

    Tiny::new("ankle", 1).publish(models.path());
    for _ in 0..2 {
        inference.look();
    }
    assert!(inference.catalog().find("ankle", None).is_ok());
    assert_eq!(name(&inference), Ok("spine".to_owned()));
    assert!(warning(&inference).unwrap().contains("--study-model"));
    inference.unload_model("spine").await.unwrap();
    let waits = name(&inference).unwrap_err();
    assert_eq!(waits.code, "not-ready");
    assert!(waits.message.contains("the model spine scores stored studies"));
    assert_eq!(osteon::workflow::Score::model(&inference), None);

    let set = |name: &str| RepositorySettings {
        study_model: Some(name.to_owned()),
        ..under(models.path())
    };
    let named = loaded(set("spine"));
    assert_eq!(name(&named), Ok("spine".to_owned()));
    assert_eq!(warning(&named), None);
    let missing = name(&loaded(set("hip"))).unwrap_err();
    assert!(missing.message.contains("no such model"), "{missing:?}");
}

/// As other servers have them: `config.pbtxt` and `1/model.onnx`.
#[test]
fn a_network_without_a_manifest_is_said_and_holds_nobody_up() {
    let models = tempfile::tempdir().unwrap();
    let folder = models.path().join("triton");
    fs::create_dir_all(folder.join("1")).unwrap();
    fs::write(folder.join("config.pbtxt"), "name: \"triton\"").unwrap();
    fs::write(
        folder.join("1").join(MODEL),
        Tiny::new("m", 1).network().encode_to_vec(),
    )
    .unwrap();
    let alone = loaded(under(models.path()));
    let reason = alone.catalog().not_ready().unwrap();
    assert!(reason.contains("triton/1: there is no manifest.json"), "{reason}");

    Tiny::new("m", 1).publish(models.path());
    let inference = loaded(under(models.path()));
    let catalog = inference.catalog();
    let rejected = catalog.rejected();
    let said: Vec<_> = rejected.iter().map(|one| one.package.as_str()).collect();
    assert_eq!(said, ["triton/1"]);
    assert!(
        rejected[0].reason.contains("osteon models import"),
        "{rejected:?}"
    );
    assert_eq!(catalog.not_ready(), None);
    assert_eq!(inference.study_model().unwrap().manifest.name, "m");

    fs::remove_dir_all(folder).unwrap();
    inference.look();
    assert_eq!(catalog.rejected(), []);
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
