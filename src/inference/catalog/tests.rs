//! Of [`super`]: what readiness says of models whose devices are gone. The devices are sessions of the CPU.

use std::time::{Duration, Instant};

use crate::inference::fixture::{
    fail_trials, forget, images, lose_device, on_a_device, package, regain_device,
};
use crate::inference::{Call, TensorRequest};
use crate::telemetry::metrics::Metrics;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_not_ready_once_no_device_runs_a_model_and_no_study_is_begun_there() {
    let inference = on_a_device(&Metrics::new().unwrap());
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
    lose_device(&inference);
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
    fail_trials(&inference, 4);
    let lost = catalog.lost().unwrap();
    assert!(lost.contains("for a while (cuda:0)"), "{lost}");
    regain_device(&inference);
    assert_eq!(catalog.not_ready(), None);
    assert!(ask().await.is_ok() && inference.study_model().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_asks_finds_out_by_itself_that_its_device_is_lost() {
    let inference = on_a_device(&Metrics::new().unwrap());
    lose_device(&inference);
    assert_eq!(inference.catalog().not_ready(), None, "nobody knows yet");
    forget(&inference);
    let until = Instant::now() + Duration::from_secs(20);
    while inference.catalog().not_ready().is_none() {
        assert!(Instant::now() < until, "nobody tried it");
        tokio::task::yield_now().await;
    }
    assert_eq!(inference.study_model().err().unwrap().code, "not-ready");
}
