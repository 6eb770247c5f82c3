//! The one budget of processor time: a thread for each core, and the lines of work before them.
//!
//! A thread does all of an image, from bytes to answer, before it takes the next: nothing is handed from thread to thread, the
//! tensor is still in the core's cache when the network reads it, and decoding and inference never compete for more cores
//! than there are. A plain mutex suffices for the lines: it is held for a push or a pop, never across work or an await.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::line::{Full, Line, Place, Wanted};
use super::request::Call;
use crate::fault::{Fault, FaultKind};
use crate::runtime::Stop;

/// Work on its way: it is given the number of the thread that does it, and how long it waited.
struct Work {
    stop: Arc<Stop>,
    run: Box<dyn FnOnce(&Turn) + Send>,
}

impl Wanted for Work {
    fn wanted(&self) -> bool {
        !self.stop.asked()
    }
}

/// What a piece of work knows while it is done.
pub(super) struct Turn {
    /// The number of the thread, from 0.
    pub(super) worker: usize,
    /// Time in the line.
    pub(super) waited: Duration,
    /// Asked to stop when nobody waits for the answer any more.
    pub(super) stop: Arc<Stop>,
}

struct Lines {
    of_model: BTreeMap<Arc<str>, Line<Work>>,
    /// The model that was served last: the next in order goes first.
    last: Option<Arc<str>>,
    open: bool,
}

struct Shared {
    lines: Mutex<Lines>,
    arrived: Condvar,
    capacity: usize,
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        // a panic while the lock was held cannot leave the lines half changed
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads. Dropping them finishes what is being done; what waits is dropped.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Asks the work to stop when its caller is gone or has waited too long.
struct Waiter(Arc<Stop>);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Workers {
    /// Starts `count` threads; in the line of each model, `capacity` pieces of work may wait.
    ///
    /// # Errors
    /// What the system said, where no thread could be started.
    pub(super) fn start(count: usize, capacity: usize) -> std::io::Result<Self> {
        let lines = Lines {
            of_model: BTreeMap::new(),
            last: None,
            open: true,
        };
        let shared = Arc::new(Shared {
            lines: Mutex::new(lines),
            arrived: Condvar::new(),
            capacity,
        });
        let threads = (0..count.max(1))
            .map(|worker| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("worker-{worker}"))
                    .spawn(move || serve(&shared, worker))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// Does `work` when it is its turn in the line of `model`. The caller is answered by the deadline, whatever the work does; it is
    /// asked to stop then, and when this future is dropped.
    ///
    /// # Errors
    /// `overloaded` or `too-many-requests` at once where there is no place, `deadline`, or `panic`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        model: &Arc<str>,
        call: &Call,
        deadline: Instant,
        work: impl FnOnce(&Turn) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        let stop = Arc::new(Stop::default());
        let _waiter = Waiter(Arc::clone(&stop));
        let now = Instant::now();
        let work = Work {
            stop,
            run: Box::new(move |turn| {
                let done = catch_unwind(AssertUnwindSafe(|| work(turn))).map_err(|_| broken());
                // the caller may have hung up in the meantime: then nobody wants the answer
                let _ = reply.send(done);
            }),
        };
        let place = Place {
            priority: call.priority,
            client: Arc::clone(&call.client),
            since: now,
            deadline,
        };
        self.push(model, work, place, now)?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(done)) => done,
            // dropped because it was late, or not ended in time
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }

    fn push(&self, model: &Arc<str>, work: Work, place: Place, now: Instant) -> Result<(), Fault> {
        let capacity = self.shared.capacity;
        let (pushed, dropped) = {
            let mut lines = self.shared.lines();
            let line = lines.of_model.entry(Arc::clone(model));
            let line = line.or_insert_with(|| Line::new(capacity));
            (line.push(work, place, now), line.dropped())
        };
        // files of a hundred megabytes, perhaps: everybody would wait while they are freed
        drop(dropped);
        pushed.map_err(full)?;
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// How much work waits for a model.
    pub(super) fn waiting(&self, model: &str) -> usize {
        self.shared.lines().of_model.get(model).map_or(0, Line::len)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lines().open = false;
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            // a thread that panicked has already answered; there is nobody left to tell
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Shared, worker: usize) {
    while let Some((place, work)) = next(shared) {
        let turn = Turn {
            worker,
            waited: place.since.elapsed(),
            stop: work.stop,
        };
        (work.run)(&turn);
    }
}

/// Waits for work; `None` once the lines are closed.
fn next(shared: &Shared) -> Option<(Place, Work)> {
    let mut lines = shared.lines();
    loop {
        if !lines.open {
            return None;
        }
        let found = lines.next(Instant::now());
        let dropped = lines.dropped();
        if found.is_some() || !dropped.is_empty() {
            drop(lines);
            drop(dropped);
            if found.is_some() {
                return found;
            }
            lines = shared.lines();
            continue;
        }
        lines = shared.arrived.wait(lines).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Lines {
    /// Models take turns; one in whose line something presses goes before those where nothing does.
    fn next(&mut self, now: Instant) -> Option<(Place, Work)> {
        // lines come back with the next request; those of models that are gone must not stay
        self.of_model.retain(|_, line| line.len() > 0);
        let mut order: Vec<(bool, bool, Arc<str>)> = self
            .of_model
            .iter()
            .map(|(model, line)| {
                let had_its_turn = self.last.as_ref().is_some_and(|last| model <= last);
                (!line.presses(now), had_its_turn, Arc::clone(model))
            })
            .collect();
        order.sort();
        order.into_iter().find_map(|(.., model)| {
            let found = self.of_model.get_mut(&model)?.next(now)?;
            self.last = Some(model);
            Some(found)
        })
    }

    /// What was dropped on the way, to be freed where nobody waits for the lock.
    fn dropped(&mut self) -> Vec<Work> {
        self.of_model.values_mut().flat_map(Line::dropped).collect()
    }
}

/// There is no place.
pub(super) fn full(full: Full) -> Fault {
    match full {
        Full::Line => Fault::new(
            FaultKind::Overloaded,
            "overloaded",
            "too many images are waiting: try again in a moment",
        ),
        Full::Share => Fault::new(
            FaultKind::TooMany,
            "too-many-requests",
            "too many images of this client are waiting, others have a right to be served, too: send fewer at the same time",
        ),
    }
}

/// The answer did not come in time.
pub(super) fn late() -> Fault {
    Fault::new(
        FaultKind::Overloaded,
        "deadline",
        "no answer before the deadline: try again later, or allow more time",
    )
}

/// Something panicked.
pub(super) fn broken() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "panic",
        "the image could not be processed; the server's log has the cause",
    )
}

#[cfg(test)]
mod tests {
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
}
