//! The threads that run a model on GPUs. Each engine has two: one gathers what waits into the engine's next batch, one runs what was
//! gathered, so that no GPU waits for images to be copied.
//!
//! Nothing waits for more to come: an engine that is free takes what is there, and while all are busy their next batches gather by
//! themselves (`docs/decisions/0032-batches-are-gathered-while-others-run.md`). A plain mutex suffices for the line: it is held for a
//! push or a pop, never across a copy, inference or an await.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::line::{Line, Place, Wanted};
use super::request::Call;
use super::statistics::Counters;
use super::workers::{full, late};
use crate::fault::Fault;
use crate::image::Tensor;
use crate::runtime::{Device, Engine, Prediction, RuntimeError, Staging};
use crate::telemetry::metrics::Metrics;

mod seats;
#[cfg(test)]
mod tests;

use seats::Seats;

/// One image on its way through a model.
struct Work {
    tensor: Tensor,
    reply: oneshot::Sender<Result<Answer, Fault>>,
    /// Where it was tried in vain.
    failed_on: Vec<Device>,
}

impl Wanted for Work {
    fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }
}

/// Images with their places in the line.
type Works = Vec<(Place, Work)>;

/// What a model said, and how long it took.
#[derive(Debug)]
pub(super) struct Answer {
    /// What it said.
    pub(super) prediction: Prediction,
    /// Time in the line, and in a batch that was gathered.
    pub(super) waited: Duration,
    /// Time in the network.
    pub(super) inferred: Duration,
    /// How many images were in the network at once.
    pub(super) batch: usize,
    /// What ran it.
    pub(super) device: Device,
}

/// Images that were gathered to be run together.
struct Batch {
    staging: Staging,
    works: Works,
}

struct Waiting {
    line: Line<Work>,
    /// What a device failed at, and another may try.
    failed: Works,
    seats: Seats,
    open: bool,
}

impl Waiting {
    /// What a seat is to put into its batch now; what other devices failed at goes first, since it has waited longest.
    fn take(&mut self, seat: usize, now: Instant) -> Works {
        let (device, room) = (self.seats.device(seat), self.seats.room(seat));
        let mut taken = Vec::new();
        while taken.len() < room {
            let untried = |(_, work): &(Place, Work)| !work.failed_on.contains(&device);
            let Some(index) = self.failed.iter().position(untried) else {
                break;
            };
            let (place, work) = self.failed.swap_remove(index);
            if now < place.deadline && work.wanted() {
                taken.push((place, work));
            }
        }
        let share = self
            .seats
            .share(seat, self.line.len(), now)
            .min(room - taken.len());
        taken.extend(std::iter::from_fn(|| self.line.next(now)).take(share));
        self.seats.gathered(seat, taken.len());
        taken
    }

    /// Whether each of these images has a device left to try.
    fn may_leave(&self, works: &Works, device: Device) -> bool {
        let another = |(_, work): &(Place, Work)| {
            let tried: Vec<Device> = work.failed_on.iter().copied().chain([device]).collect();
            self.seats.is_another_than(&tried)
        };
        self.open && works.iter().all(another)
    }

    /// Leaves images to other devices; those that no device is left for come back.
    fn leave_to_others(&mut self, mut works: Works, device: Device) -> Works {
        for (_, work) in &mut works {
            work.failed_on.push(device);
        }
        let (left, lost): (Works, Works) = works
            .into_iter()
            .partition(|(_, work)| self.open && self.seats.is_another_than(&work.failed_on));
        self.failed.extend(left);
        lost
    }
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Something arrived, an engine is free or has failed, or all is over.
    changed: Condvar,
}

impl Shared {
    fn new(engines: &[(Device, usize)], capacity: usize) -> Self {
        let waiting = Waiting {
            line: Line::new(capacity),
            failed: Vec::new(),
            seats: Seats::new(engines),
            open: true,
        };
        Self {
            waiting: Mutex::new(waiting),
            changed: Condvar::new(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // a panic while the lock was held cannot leave the line half changed
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills a seat's next batch until its engine is free and there is something to run; `None` once all is over.
    fn gather(&self, seat: usize, mut staging: Staging) -> Option<Batch> {
        let mut works = Works::new();
        loop {
            let taken = self.more(seat, &mut works)?;
            if taken.is_empty() {
                return Some(Batch { staging, works });
            }
            if works.is_empty() {
                // what was in it is not wanted any more
                staging.clear();
            }
            let put = staging.extend(taken.iter().map(|(_, work)| &work.tensor));
            for ((place, work), put) in taken.into_iter().zip(put) {
                match put {
                    Ok(()) => works.push((place, work)),
                    // only this image is at fault, and it has no place in the batch
                    Err(error) => {
                        self.waiting().seats.dropped(seat);
                        let _ = work.reply.send(Err(error.into()));
                    }
                }
            }
            if staging.len() == staging.capacity() {
                // nothing can join it: it goes to the device while that is busy
                staging.send();
            }
        }
    }

    /// Waits until there is more for a seat's batch, which holds `works`, or it is to be run: then nothing is given. `None` once all is
    /// over.
    fn more(&self, seat: usize, works: &mut Works) -> Option<Works> {
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            let device = waiting.seats.device(seat);
            if !works.is_empty() && waiting.seats.rests(device, now) && waiting.may_leave(works, device) {
                // it failed while this was gathered
                waiting.seats.emptied(seat);
                waiting.leave_to_others(std::mem::take(works), device);
                self.changed.notify_all();
            }
            let taken = waiting.take(seat, now);
            if !taken.is_empty() {
                // it may be another's turn now
                self.changed.notify_all();
                return Some(taken);
            }
            if !works.is_empty() && works.iter().all(|(_, work)| !work.wanted()) {
                waiting.seats.emptied(seat);
                works.clear();
                continue;
            }
            if !works.is_empty() && waiting.seats.begin(seat, now) {
                self.changed.notify_all();
                return Some(Works::new());
            }
            if !waiting.open && works.is_empty() && waiting.line.len() == 0 {
                self.changed.notify_all();
                return None;
            }
            waiting = match waiting.seats.rested(now) {
                None => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(rested) => {
                    let waited = self.changed.wait_timeout(waiting, rested - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// A batch has been run, or has failed: the engine is free.
    fn ended(&self, seat: usize, failed: Option<Works>) -> Works {
        let mut waiting = self.waiting();
        let lost = match failed {
            None => {
                waiting.seats.ran(seat);
                Works::new()
            }
            Some(works) => {
                let device = waiting.seats.device(seat);
                waiting.seats.failed(seat, Instant::now());
                waiting.leave_to_others(works, device)
            }
        };
        self.changed.notify_all();
        lost
    }
}

/// The threads of one model, and the line before them. Dropping it lets them finish what waits.
pub(super) struct Batcher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Batcher {
    /// Starts two threads for each engine; what they run is counted.
    ///
    /// # Errors
    /// What the system said, where no thread could be started.
    pub(super) fn start(
        engines: Vec<Engine>,
        capacity: usize,
        counters: &Arc<Counters>,
        metrics: &Metrics,
    ) -> std::io::Result<Self> {
        let size = |engine: &Engine| engine.batch_sizes().last().copied().unwrap_or(1);
        let seats: Vec<_> = engines
            .iter()
            .map(|engine| (engine.device(), size(engine)))
            .collect();
        let shared = Arc::new(Shared::new(&seats, capacity));
        let mut batcher = Self {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for (seat, mut engine) in engines.into_iter().enumerate() {
            let (give_back, empty) = channel();
            let (hand_over, batches) = channel();
            for staging in engine.lend_stagings() {
                // the other end is here
                let _ = give_back.send(staging);
            }
            let runner = Runner {
                shared: Arc::clone(&shared),
                seat,
                engine,
                empty: give_back,
                counters: Arc::clone(counters),
                metrics: metrics.clone(),
            };
            let name = |what: &str| std::thread::Builder::new().name(format!("{what}-{seat}"));
            batcher
                .threads
                .push(name("device").spawn(move || runner.run(&batches))?);
            let shared = Arc::clone(&shared);
            batcher
                .threads
                .push(name("gather").spawn(move || gather(&shared, seat, &empty, &hand_over))?);
        }
        Ok(batcher)
    }

    /// Runs the network on one image, beside others.
    ///
    /// # Errors
    /// `overloaded` at once where the line is full, `deadline` where the answer did not come in time, or the model's
    /// own fault.
    pub(super) async fn run(&self, tensor: Tensor, call: &Call, deadline: Instant) -> Result<Answer, Fault> {
        let answer = self.shared.push(tensor, call, deadline)?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }

    /// How many images wait.
    pub(super) fn waiting(&self) -> usize {
        let waiting = self.shared.waiting();
        waiting.line.len() + waiting.failed.len()
    }
}

impl Shared {
    fn push(
        &self,
        tensor: Tensor,
        call: &Call,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<Answer, Fault>>, Fault> {
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let place = Place {
            priority: call.priority,
            client: Arc::clone(&call.client),
            since,
            deadline,
        };
        let work = Work {
            tensor,
            reply,
            failed_on: Vec::new(),
        };
        let pushed = self.waiting().line.push(work, place, since);
        pushed.map_err(full)?;
        // whose turn it is, they see themselves
        self.changed.notify_all();
        Ok(answer)
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shared.waiting().open = false;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // a thread that panicked has already answered; there is nobody left to tell
            let _ = thread.join();
        }
    }
}

/// Gathers one batch after the other, until all is over.
fn gather(shared: &Shared, seat: usize, empty: &Receiver<Staging>, hand_over: &Sender<Batch>) {
    while let Ok(staging) = empty.recv() {
        let gathered = shared.gather(seat, staging);
        if gathered.is_none_or(|batch| hand_over.send(batch).is_err()) {
            return;
        }
    }
}

/// The thread that owns an engine.
struct Runner {
    shared: Arc<Shared>,
    seat: usize,
    engine: Engine,
    empty: Sender<Staging>,
    counters: Arc<Counters>,
    metrics: Metrics,
}

impl Runner {
    fn run(mut self, batches: &Receiver<Batch>) {
        while let Ok(batch) = batches.recv() {
            self.batch(batch);
        }
    }

    fn batch(&mut self, Batch { mut staging, works }: Batch) {
        let (started, images, device) = (Instant::now(), works.len(), self.engine.device());
        let ran = catch_unwind(AssertUnwindSafe(|| self.engine.run_staged(&mut staging)));
        let inferred = started.elapsed();
        staging.clear();
        // the gathering thread goes on with it; without one, all is over
        let _ = self.empty.send(staging);
        let error = match ran {
            Ok(Ok(predicted)) if predicted.len() == images => {
                self.shared.ended(self.seat, None);
                self.counters.executed(images, inferred);
                self.metrics.device_ran(&device.to_string(), images);
                for ((place, work), prediction) in works.into_iter().zip(predicted) {
                    // the caller may have hung up in the meantime: then nobody wants the answer
                    let _ = work.reply.send(Ok(Answer {
                        prediction,
                        waited: started.duration_since(place.since),
                        inferred,
                        batch: images,
                        device,
                    }));
                }
                return;
            }
            Ok(Ok(_)) => RuntimeError::Run("it gave another number of answers than it has images".to_owned()),
            Ok(Err(error)) => error,
            Err(_) => RuntimeError::Run("it panicked".to_owned()),
        };
        tracing::error!(%device, images, %error, "device.failed");
        self.metrics.device_failed(&device.to_string());
        let lost = self.shared.ended(self.seat, Some(works));
        if lost.is_empty() {
            return;
        }
        let fault = Fault::from(error);
        for (_, work) in lost {
            let _ = work.reply.send(Err(fault.clone()));
        }
    }
}
