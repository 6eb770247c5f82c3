//! The threads of GPUs, with sessions of the CPU in their places: real networks, real bindings, and other names.

use super::seats::Unable;
use super::*;
use crate::inference::fixture::{
    FIRST, SECOND, broken_engine, engine, images, models, package, picky_engine, proven, runtime,
};
use crate::inference::{Inference, ServedModel, Settings, TensorRequest};
use crate::model::{GoldenInput, Package};
use crate::runtime::{Engine, Runtime};

fn batcher(engines: Vec<Engine>) -> (Batcher, Metrics) {
    let metrics = Metrics::new().unwrap();
    let batcher = Batcher::start(&"m".into(), proven(engines), 256, &Arc::default(), &metrics).unwrap();
    (batcher, metrics)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn all(batcher: &Batcher, images: &[Tensor]) -> Vec<Result<Answer, Fault>> {
    let call = Call::default();
    let run = |image: &Tensor| batcher.run(image.clone(), &call, soon());
    futures_util::future::join_all(images.iter().map(run)).await
}

/// A line with seats and nobody who runs what is gathered.
fn rehearsal(devices: &[Device], package: &Package) -> (Shared, Vec<Staging>) {
    let seats: Vec<_> = devices.iter().map(|device| (*device, 32)).collect();
    (Shared::new(&seats, 256), engine(FIRST, package).lend_stagings())
}

/// Ends whoever gathers when a test is over, also when it fails.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.open = false;
        while waiting.line.next(Instant::now()).is_some() {}
        // an engine that is busy for ever would be waited for
        for seat in 0..2 {
            waiting.seats.release(seat);
        }
        self.0.changed.notify_all();
    }
}

fn push(shared: &Shared, image: &Tensor) -> oneshot::Receiver<Result<Answer, Fault>> {
    shared.push(image.clone(), &Call::default(), soon()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_share_the_line_and_every_answer_is_that_of_the_image_alone() {
    let package = package();
    let images = images(&package, 150);
    let mut alone = Engine::load(
        &Runtime::open(None, Device::Cpu).unwrap(),
        &package.model,
        &package.manifest,
    )
    .unwrap();
    let (batcher, metrics) = batcher(vec![engine(FIRST, &package), engine(SECOND, &package)]);
    let answers = all(&batcher, &images).await;
    let mut ran = [0, 0];
    for (image, answer) in images.iter().zip(answers) {
        let answer = answer.unwrap();
        ran[usize::from(answer.device == SECOND)] += 1;
        let expected = alone.run(&[image]).unwrap().remove(0).values();
        for (found, expected) in answer.prediction.values().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        }
    }
    assert!(ran[0] > 0 && ran[1] > 0, "{ran:?}");
    let text = metrics.text();
    for (device, images) in [("cuda:0", ran[0]), ("cuda:1", ran[1])] {
        let line = format!("osteon_device_images_total{{device=\"{device}\"}} {images}");
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(!text.contains("osteon_device_failures_total{"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_device_fails_at_another_does_and_the_failures_are_counted() {
    let package = package();
    let images = images(&package, 60);
    let (batcher, metrics) = batcher(vec![broken_engine(FIRST, &package), engine(SECOND, &package)]);
    for answer in all(&batcher, &images).await {
        assert_eq!(answer.unwrap().device, SECOND);
    }
    let text = metrics.text();
    let failures = text
        .lines()
        .find_map(|line| line.strip_prefix("osteon_device_failures_total{device=\"cuda:0\"} "))
        .map(|count| count.parse::<u32>().unwrap());
    // the first batch; then it rests
    assert_eq!(failures, Some(1), "{text}");
    assert!(
        text.contains("osteon_device_images_total{device=\"cuda:1\"} 60"),
        "{text}"
    );
    assert_eq!(batcher.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_every_device_fails_at_costs_itself_and_the_devices_go_on() {
    let package = package();
    let bright = GoldenInput::Constant { value: 2.0 };
    let bright = bright
        .tensor(package.manifest.preprocessing.input_shape())
        .unwrap();
    for devices in [&[FIRST][..], &[FIRST, SECOND]] {
        let engines = devices.iter().map(|device| picky_engine(*device, &package));
        let (batcher, metrics) = batcher(engines.collect());
        for _ in 0..2 {
            let fault = all(&batcher, std::slice::from_ref(&bright))
                .await
                .remove(0)
                .unwrap_err();
            assert_eq!(fault.code, "engine");
            assert_eq!(batcher.silent(), None);
            for answer in all(&batcher, &images(&package, 3)).await {
                answer.unwrap();
            }
        }
        assert!(!metrics.text().contains("osteon_device_silent{"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_no_longer_run_what_was_proven_are_silent_and_requests_are_refused_at_once() {
    let package = package();
    let images = images(&package, 40);
    for devices in [&[FIRST][..], &[FIRST, SECOND]] {
        let engines = devices.iter().map(|device| broken_engine(*device, &package));
        let (batcher, metrics) = batcher(engines.collect());
        for fault in all(&batcher, &images).await {
            let fault = fault.unwrap_err();
            assert_eq!(
                (fault.kind, fault.code),
                (FaultKind::Unavailable, "device-failed")
            );
        }
        let silent = batcher.silent().unwrap();
        assert_eq!((&silent.devices[..], silent.unable), (devices, Unable::Failed));
        assert!(!silent.is_lost, "it was tried once");
        assert_eq!(batcher.waiting(), 0);
        let call = Call::default();
        let refused = batcher.shared.push(images[0].clone(), &call, soon());
        assert_eq!(refused.unwrap_err().code, "device-failed");
        let text = metrics.text();
        for device in devices {
            let line = format!("osteon_device_silent{{device=\"{device}\",model=\"m\"}} 1");
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }
}

/// Of a device that serves, nobody sees it: it is no image, no batch and no failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_nobody_asks_is_tried_now_and_then_and_one_that_is_lost_is_noticed() {
    let package = package();
    for device in [FIRST, SECOND] {
        let (batcher, metrics) = batcher(vec![broken_engine(device, &package)]);
        assert_eq!(batcher.silent(), None);
        batcher.forget();
        let until = soon();
        while batcher.silent().is_none() {
            assert!(Instant::now() < until, "nobody tried it");
            tokio::task::yield_now().await;
        }
        assert_eq!(batcher.silent().unwrap().devices, [device]);
        let text = metrics.text();
        let line = format!("osteon_device_silent{{device=\"{device}\",model=\"m\"}} 1");
        assert!(text.contains(&line), "{line}\n{text}");
    }

    let (batcher, metrics) = batcher(vec![engine(FIRST, &package), engine(FIRST, &package)]);
    let trials = || batcher.shared.waiting().seats.unheard(0).unwrap();
    for _ in 0..3 {
        let before = trials();
        batcher.forget();
        let until = soon();
        // busy, or heard of since
        while batcher
            .shared
            .waiting()
            .seats
            .unheard(0)
            .is_none_or(|due| due <= before)
        {
            assert!(Instant::now() < until, "nobody tried it");
            tokio::task::yield_now().await;
        }
        assert_eq!(batcher.silent(), None);
    }
    for answer in all(&batcher, &images(&package, 40)).await {
        answer.unwrap();
    }
    let text = metrics.text();
    assert!(
        text.contains("osteon_device_images_total{device=\"cuda:0\"} 40"),
        "{text}"
    );
    assert!(!text.contains("osteon_device_failures_total{") && !text.contains("osteon_device_silent{"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_another_size_costs_itself_and_nothing_beside_it() {
    let package = package();
    let mut images = images(&package, 8);
    images[3].values.pop();
    let (batcher, metrics) = batcher(vec![engine(FIRST, &package)]);
    for (index, answer) in all(&batcher, &images).await.into_iter().enumerate() {
        assert_eq!(answer.is_ok(), index != 3, "{index}");
    }
    assert!(!metrics.text().contains("osteon_device_failures_total{"));
}

#[test]
fn the_next_batch_is_gathered_while_the_present_one_runs() {
    let package = package();
    let images = images(&package, 40);
    let (shared, mut stagings) = rehearsal(&[FIRST], &package);
    let staging = stagings.remove(0);
    // the engine is busy
    assert!(shared.waiting().seats.begin(0, Instant::now()));
    let callers: Vec<_> = images.iter().map(|image| push(&shared, image)).collect();
    std::thread::scope(|scope| {
        let _over = Over(&shared);
        let gathering = scope.spawn(|| shared.gather(0, staging).unwrap());
        let until = soon();
        while shared.waiting().seats.room(0) > 0 {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        assert_eq!(shared.waiting().line.len(), 8, "no more than the largest batch");
        assert!(!gathering.is_finished(), "it waits for the engine");
        shared.ended(0, None);
        let batch = gathering.join().unwrap();
        assert_eq!((batch.works.len(), batch.staging.len()), (32, 32));
        for (image, (_, work)) in images.iter().zip(&batch.works) {
            assert!(image.values == work.tensor.values);
        }
    });
    assert_eq!(callers.len(), 40);
}

#[test]
fn an_engine_that_is_free_waits_for_nobody() {
    let package = package();
    let (shared, mut stagings) = rehearsal(&[FIRST], &package);
    let _caller = push(&shared, &images(&package, 1)[0]);
    let asked = Instant::now();
    let batch = shared.gather(0, stagings.remove(0)).unwrap();
    assert_eq!(batch.works.len(), 1);
    assert!(asked.elapsed() < Duration::from_secs(10), "it waited for more");
}

#[test]
fn a_batch_that_nobody_waits_for_any_more_is_not_run() {
    let package = package();
    let images = images(&package, 3);
    let (shared, mut stagings) = rehearsal(&[FIRST], &package);
    assert!(shared.waiting().seats.begin(0, Instant::now()));
    let staging = stagings.remove(0);
    let gone: Vec<_> = images[..2].iter().map(|image| push(&shared, image)).collect();
    std::thread::scope(|scope| {
        let _over = Over(&shared);
        let gathering = scope.spawn(|| shared.gather(0, staging).unwrap());
        let until = soon();
        while shared.waiting().seats.room(0) > 30 {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        drop(gone);
        shared.ended(0, None);
        while shared.waiting().seats.room(0) < 32 {
            assert!(Instant::now() < until && !gathering.is_finished());
            std::thread::yield_now();
        }
        let _caller = push(&shared, &images[2]);
        let batch = gathering.join().unwrap();
        assert_eq!((batch.works.len(), batch.staging.len()), (1, 1));
        assert!(batch.works[0].1.tensor.values == images[2].values);
    });
}

#[test]
fn what_was_gathered_for_a_device_that_has_failed_goes_to_another() {
    let package = package();
    let images = images(&package, 4);
    let (shared, mut stagings) = rehearsal(&[FIRST, SECOND], &package);
    let now = Instant::now();
    // both are busy, the first one for longer
    assert!(shared.waiting().seats.begin(0, now));
    assert!(shared.waiting().seats.begin(1, now + Duration::from_millis(1)));
    let _callers: Vec<_> = images.iter().map(|image| push(&shared, image)).collect();
    let (of_first, of_second) = (stagings.remove(0), stagings.remove(0));
    std::thread::scope(|scope| {
        let _over = Over(&shared);
        let first = scope.spawn(|| shared.gather(0, of_first));
        let second = scope.spawn(|| shared.gather(1, of_second));
        let until = soon();
        while shared.waiting().seats.room(0) > 28 {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        shared.ended(0, Some(Works::new()));
        shared.ended(1, None);
        let batch = second.join().unwrap().unwrap();
        assert_eq!(batch.works.len(), 4);
        assert!(batch.works.iter().all(|(_, work)| work.failed_on == [FIRST]));
        shared.waiting().open = false;
        shared.changed.notify_all();
        assert!(first.join().unwrap().is_none());
    });
}

#[test]
fn a_batch_is_what_waits_up_to_the_largest_without_those_who_hung_up() {
    let package = package();
    let images = images(&package, 6);
    let (shared, _) = rehearsal(&[FIRST], &package);
    let mut callers = Vec::new();
    for (place, image) in images.iter().enumerate() {
        let answer = push(&shared, image);
        // the third caller hangs up
        if place != 2 {
            callers.push(answer);
        }
    }
    let mut waiting = shared.waiting();
    waiting.seats.gathered(0, 28);
    let taken = waiting.take(0, Instant::now());
    let found: Vec<_> = taken.iter().map(|(_, work)| &work.tensor.values).collect();
    let expected: Vec<_> = [0, 1, 3, 4]
        .iter()
        .map(|&index: &usize| &images[index].values)
        .collect();
    assert!(found == expected);
    assert_eq!(waiting.line.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_the_last_answer_does_not_wait_for_the_threads_to_end() {
    let engines = proven(vec![engine(FIRST, &package())]);
    let metrics = Metrics::new().unwrap();
    let served = ServedModel::new(package(), engines, 16, Duration::ZERO, &metrics).unwrap();
    let shared = Arc::clone(&served.batcher().unwrap().shared);
    let executor = tokio::runtime::Handle::current();
    let (told, telling) = channel();
    {
        // what the end of the threads has to wait for
        let _held = shared.waiting();
        std::thread::spawn(move || {
            let _inside = executor.enter();
            drop(served);
            told.send(()).unwrap();
        });
        telling.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    let until = soon();
    while Arc::strong_count(&shared) > 1 {
        assert!(Instant::now() < until, "the threads never ended");
        tokio::task::yield_now().await;
    }
}

/// From the models folder to the answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_proven_on_each_device_and_answers_say_which_one_served() {
    let settings = Settings {
        cores: 1,
        instances: 1,
        queue: 256,
        deadline: Duration::from_mins(1),
        decode_memory: 1 << 30,
    };
    let loaded = |runtimes: Vec<Runtime>| {
        let inference = Inference::new(settings, Metrics::new().unwrap()).unwrap();
        inference.load(&models(), runtimes);
        inference
    };
    let inference = loaded(vec![runtime(FIRST), runtime(SECOND)]);
    let model = inference.catalog().all().remove(0);
    assert_eq!(
        (model.device().as_str(), model.provider()),
        ("cuda:0,cuda:1", "CUDA")
    );
    let asked = images(&package(), 64).into_iter().map(|tensor| {
        inference.infer(TensorRequest {
            model: std::sync::Arc::clone(&model),
            tensor,
            call: Call::default(),
        })
    });
    let answers = futures_util::future::join_all(asked).await;
    let devices: Vec<Device> = answers.into_iter().map(|answer| answer.unwrap().device).collect();
    assert!(
        devices.contains(&FIRST) && devices.contains(&SECOND),
        "{devices:?}"
    );

    // one of two that cannot hold the model: nothing is served, and the device is named
    let small = runtime(SECOND).with_gpu_memory(Some(4));
    let inference = loaded(vec![runtime(FIRST), small]);
    let reason = inference.catalog().not_ready().unwrap();
    for said in [
        "4 MiB",
        "on cuda:1",
        "once for each of 6 batch sizes",
        "--gpu-memory-mib",
    ] {
        assert!(reason.contains(said), "{reason}");
    }
}
