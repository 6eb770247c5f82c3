//! The threads that run a model on GPUs. Each engine has two: one gathers what waits into the engine's next batch, one runs what was
//! gathered, so that no GPU waits for images to be copied.
//!
//! Nothing waits for more to come: an engine that is free takes what is there, and while all are busy their next batches gather by
//! themselves (`docs/decisions/0032-batches-are-gathered-while-others-run.md`). A plain mutex suffices for the line: it is held for a
//! push or a pop, never across a copy, inference or an await.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::line::{Place, Wanted};
use super::request::Call;
use super::statistics::Counters;
use super::workers::late;
use crate::fault::Fault;
use crate::image::Tensor;
use crate::runtime::{Device, Engine, Prediction, RuntimeError, Staging};
use crate::telemetry::metrics::Metrics;

mod gathering;
mod seats;
#[cfg(test)]
mod tests;

use gathering::{Shared, gather};

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
                self.metrics.devices.ran(&device.to_string(), images);
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
        self.metrics.devices.failed(&device.to_string());
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
