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
    /// When that is at the latest.
    pub(super) deadline: Instant,
}

impl Turn {
    /// Until when it is worth while to wait for memory: a quarter of the time that is left is for what is done in it, and for saying in
    /// time that there was none.
    pub(super) fn patience(&self) -> Instant {
        let now = Instant::now();
        now + self.deadline.saturating_duration_since(now) * 3 / 4
    }
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
            deadline: place.deadline,
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
mod tests;
