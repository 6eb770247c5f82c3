//! Of [`super`]: what readiness says of models whose devices are gone. The devices are sessions of the CPU.

use std::time::Duration;

use super::*;
use crate::inference::fixture::{FIRST, broken_engine, engine, images, models, package, proven, runtime};
use crate::inference::{Call, Inference, TensorRequest};
use crate::telemetry::metrics::Metrics;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_not_ready_once_no_device_runs_a_model_and_no_study_is_begun_there() {
    let settings = Settings {
        cores: 1,
        instances: 1,
        queue: 16,
        deadline: Duration::from_mins(1),
    };
    let metrics = Metrics::new().unwrap();
    let inference = Inference::new(settings, metrics.clone()).unwrap();
    inference.load(&models(), runtime(FIRST));
    let catalog = inference.catalog();
    let name = package().manifest.name;
    let ask = || {
        inference.infer(TensorRequest {
            model: catalog.find(&name, None).unwrap(),
            tensor: images(&package(), 1).remove(0),
            call: Call::default(),
        })
    };
    assert!(ask().await.is_ok());
    // from now on every run fails, as where CUDA has given the device up
    let exchange = |engine| {
        let served = ServedModel::new(package(), proven(vec![engine]), 16, Duration::ZERO, &metrics);
        let served = BTreeMap::from([(1, Arc::new(served.unwrap()))]);
        catalog.exchange(Contents {
            models: BTreeMap::from([(name.clone(), served)]),
            ..catalog.read(Contents::clone)
        });
    };
    exchange(broken_engine(FIRST, &package()));
    assert_eq!(catalog.not_ready(), None, "nobody knows yet");
    for _ in 0..2 {
        assert_eq!(ask().await.err().unwrap().code, "device-failed");
        let reason = catalog.not_ready().unwrap();
        assert!(
            reason.contains(&format!("{name}/1 does not answer: cuda:0 fails")),
            "{reason}"
        );
        assert_eq!(inference.study_model().err().unwrap().code, "not-ready");
    }
    assert_eq!(catalog.lost(), None, "it was tried once");
    catalog.all()[0].batcher().unwrap().fail_trials(4);
    let lost = catalog.lost().unwrap();
    assert!(lost.contains("for a while (cuda:0)"), "{lost}");
    exchange(engine(FIRST, &package()));
    assert_eq!(catalog.not_ready(), None);
    assert!(ask().await.is_ok() && inference.study_model().is_ok());
}
