//! The threads that run a model on GPUs. Each engine has two: one gathers what waits into the engine's next batch, one runs what was
//! gathered, so that no GPU waits for images to be copied.
//!
//! Nothing waits for more to come: an engine that is free takes what is there, and while all are busy their next batches gather by
//! themselves (`docs/decisions/0032-batches-are-gathered-while-others-run.md`). A plain mutex suffices for the line: it is held for a
//! push or a pop, never across a copy, inference or an await.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::line::{Place, Wanted};
use super::request::Call;
use super::statistics::Counters;
use super::workers::late;
use crate::fault::{Fault, FaultKind};
use crate::image::Tensor;
use crate::runtime::proof::Proven;
use crate::runtime::{Device, Engine, Prediction, Staging};
use crate::telemetry::metrics::Metrics;

mod gathering;
mod runner;
mod seats;
#[cfg(test)]
mod tests;

use gathering::{Shared, gather};
use runner::Runner;
pub(super) use seats::{Silent, Unable};

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
    /// Starts two threads for each engine of a model; what they run is counted.
    ///
    /// # Errors
    /// What the system said, where no thread could be started.
    pub(super) fn start(
        model: &Arc<str>,
        proven: Proven,
        capacity: usize,
        counters: &Arc<Counters>,
        metrics: &Metrics,
    ) -> std::io::Result<Self> {
        let Proven { engines, probe, .. } = proven;
        let probe = Arc::new(probe);
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
                model: Arc::clone(model),
                probe: Arc::clone(&probe),
                silent: None,
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
    /// `overloaded` at once where the line is full, `device-failed` or `engine-memory` where no device answers, `deadline` where the
    /// answer did not come in time, or the model's own fault.
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

    /// That no device answers, if so.
    pub(super) fn silent(&self) -> Option<Silent> {
        self.shared.silent()
    }

    /// As if nobody had asked for long.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.shared.waiting().seats.forget();
        self.shared.changed.notify_all();
    }

    /// As if the first engine's device had failed on so many trials.
    #[cfg(test)]
    pub(super) fn fail_trials(&self, trials: u32) {
        for _ in 0..trials {
            self.shared.fell_silent(0, Unable::Failed);
        }
    }
}

/// What a caller is told where no device answers.
fn unable(unable: Unable) -> Fault {
    let (code, message) = match unable {
        Unable::Memory => (
            "engine-memory",
            "the device has no memory left to run the model; the server's log has the cause",
        ),
        Unable::Failed => (
            "device-failed",
            "no device of this server runs the model any more: ask another server, or this one when it was started again; its log has the cause",
        ),
    };
    Fault::new(FaultKind::Unavailable, code, message)
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
