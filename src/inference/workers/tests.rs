//! Of [`super`].

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::request::Priority;
use super::*;

fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn stat() -> Call {
    Call {
        priority: Priority::Stat,
        ..Call::default()
    }
}

/// Occupies the one worker until it is told to go on.
fn block(workers: &Arc<Workers>) -> (std::sync::mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let (go, wait) = std::sync::mpsc::channel();
    let (begun, beginning) = std::sync::mpsc::channel();
    let pool = Arc::clone(workers);
    let blocked = tokio::spawn(async move {
        let work = move |_: &Turn| {
            begun.send(()).unwrap();
            wait.recv().unwrap();
        };
        pool.run(&"m".into(), &Call::default(), soon(30), work)
            .await
            .unwrap();
    });
    beginning.recv().unwrap();
    (go, blocked)
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_work_goes_first_and_what_is_full_says_so() {
    let workers = Arc::new(Workers::start(1, 2).unwrap());
    let (go, blocked) = block(&workers);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (name, call) in [("routine", Call::default()), ("stat", stat())] {
        let (pool, order) = (Arc::clone(&workers), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let work = move |_: &Turn| order.lock().unwrap().push(name);
            pool.run(&"m".into(), &call, soon(30), work).await.unwrap();
        }));
        while workers.waiting("m") < tasks.len() {
            tokio::task::yield_now().await;
        }
    }
    let refused = workers.run(&"m".into(), &stat(), soon(30), |_| ()).await;
    assert_eq!(refused.unwrap_err().code, "overloaded");
    go.send(()).unwrap();
    blocked.await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["stat", "routine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_is_answered_at_the_deadline_and_late_work_is_never_done() {
    let workers = Arc::new(Workers::start(1, 8).unwrap());
    let (go, blocked) = block(&workers);
    let done = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&done);
    let asked = Instant::now();
    let late = workers
        .run(
            &"m".into(),
            &Call::default(),
            asked + Duration::from_millis(50),
            move |_| {
                counting.fetch_add(1, Ordering::SeqCst);
            },
        )
        .await;
    assert_eq!(late.unwrap_err().code, "deadline");
    assert!(asked.elapsed() < Duration::from_secs(5));
    go.send(()).unwrap();
    blocked.await.unwrap();
    workers.run(&"m".into(), &stat(), soon(30), |_| ()).await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_runs_is_told_when_its_caller_hangs_up() {
    let workers = Arc::new(Workers::start(1, 8).unwrap());
    let (begun, beginning) = std::sync::mpsc::channel();
    let (told, ending) = std::sync::mpsc::channel();
    let pool = Arc::clone(&workers);
    let call = tokio::spawn(async move {
        pool.run(&"m".into(), &Call::default(), soon(30), move |turn| {
            begun.send(()).unwrap();
            while !turn.stop.asked() {
                std::thread::yield_now();
            }
            told.send(()).unwrap();
        })
        .await
    });
    beginning.recv().unwrap();
    call.abort();
    ending.recv_timeout(Duration::from_secs(10)).unwrap();
}

/// Says, when it is freed, whether somebody else could have had the lines meanwhile.
struct Large(Arc<Shared>, Arc<Mutex<Vec<bool>>>);

impl Drop for Large {
    fn drop(&mut self) {
        let free = self.0.lines.try_lock().is_ok();
        self.1.lock().unwrap().push(free);
    }
}

#[tokio::test]
async fn what_is_dropped_is_freed_while_nobody_waits_for_the_lines() {
    // without threads: nobody else has the lines
    let workers = Workers {
        shared: Arc::new(Shared {
            lines: Mutex::new(Lines {
                of_model: BTreeMap::new(),
                last: None,
                open: true,
            }),
            arrived: Condvar::new(),
            capacity: 2,
        }),
        threads: Vec::new(),
    };
    let freed = Arc::new(Mutex::new(Vec::new()));
    let seen = || freed.lock().unwrap().clone();
    let work = || {
        let large = Large(Arc::clone(&workers.shared), Arc::clone(&freed));
        Work {
            stop: Arc::default(),
            run: Box::new(move |_| drop(large)),
        }
    };
    let now = Instant::now();
    let place = |deadline| Place {
        priority: Priority::Routine,
        client: "a".into(),
        since: now,
        deadline,
    };
    let (model, second) = ("m".into(), Duration::from_secs(1));
    for _ in 0..2 {
        workers.push(&model, work(), place(now + second), now).unwrap();
    }
    // no place is left for it
    assert!(workers.push(&model, work(), place(soon(9)), now).is_err());
    assert_eq!(seen(), [true]);
    // those two are late by then, and make room
    workers
        .push(&model, work(), place(now), now + 2 * second)
        .unwrap();
    assert_eq!(seen(), [true; 3]);
    // so is this one, when its turn comes
    workers.push(&model, work(), place(soon(9)), now).unwrap();
    let found = next(&workers.shared).unwrap();
    assert_eq!(seen(), [true; 4]);
    drop(found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_request() {
    let workers = Workers::start(1, 8).unwrap();
    let (model, call) = ("m".into(), Call::default());
    let run = |work: fn(&Turn) -> usize| workers.run(&model, &call, soon(30), work);
    assert_eq!(run(|_| panic!("as rehearsed")).await.unwrap_err().code, "panic");
    assert_eq!(run(|turn| turn.worker).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn models_take_turns() {
    let workers = Arc::new(Workers::start(1, 8).unwrap());
    let (go, blocked) = block(&workers);
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for model in ["a", "a", "a", "b"] {
        let (pool, order) = (Arc::clone(&workers), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let work = move |_: &Turn| order.lock().unwrap().push(model);
            pool.run(&model.into(), &Call::default(), soon(30), work)
                .await
                .unwrap();
        }));
        while workers.waiting("a") + workers.waiting("b") < tasks.len() {
            tokio::task::yield_now().await;
        }
    }
    go.send(()).unwrap();
    blocked.await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["a", "b", "a", "a"]);
}
