//! The threads that own a model's sessions on a GPU: each takes what waits, up to the largest batch, and runs it together.
//!
//! It takes what is there and never waits for more: while a batch runs, the next one gathers by itself. A plain mutex suffices for
//! the line: it is held for a push or a pop, never across inference or an await.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::line::{Line, Place, Wanted};
use super::request::Call;
use super::statistics::Counters;
use super::workers::{broken, full, late};
use crate::fault::Fault;
use crate::image::Tensor;
use crate::runtime::{Engine, Prediction};

/// One image on its way through a model.
struct Work {
    tensor: Tensor,
    reply: oneshot::Sender<Result<Answer, Fault>>,
}

impl Wanted for Work {
    fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }
}

/// What a model said, and how long it took.
#[derive(Debug)]
pub(super) struct Answer {
    /// What it said.
    pub(super) prediction: Prediction,
    /// Time in the line.
    pub(super) waited: Duration,
    /// Time in the network.
    pub(super) inferred: Duration,
    /// How many images were in the network at once.
    pub(super) batch: usize,
}

struct Waiting {
    line: Line<Work>,
    open: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // a panic while the lock was held cannot leave the line half changed
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads of one model, and the line before them. Dropping it lets them finish what waits.
pub(super) struct Batcher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Batcher {
    /// Starts one thread for each engine; what they run is counted.
    ///
    /// # Errors
    /// What the system said, where no thread could be started.
    pub(super) fn start(
        engines: Vec<Engine>,
        capacity: usize,
        counters: &Arc<Counters>,
    ) -> std::io::Result<Self> {
        let waiting = Waiting {
            line: Line::new(capacity),
            open: true,
        };
        let shared = Arc::new(Shared {
            waiting: Mutex::new(waiting),
            arrived: Condvar::new(),
        });
        let threads = engines
            .into_iter()
            .enumerate()
            .map(|(index, engine)| {
                let (shared, counters) = (Arc::clone(&shared), Arc::clone(counters));
                std::thread::Builder::new()
                    .name(format!("device-{index}"))
                    .spawn(move || serve(&shared, engine, &counters))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// Runs the network on one image, beside others.
    ///
    /// # Errors
    /// `overloaded` at once where the line is full, `deadline` where the answer did not come in time, or the model's
    /// own fault.
    pub(super) async fn run(&self, tensor: Tensor, call: &Call, deadline: Instant) -> Result<Answer, Fault> {
        let answer = self.push(tensor, call, deadline)?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }

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
        let pushed = self
            .shared
            .waiting()
            .line
            .push(Work { tensor, reply }, place, since);
        pushed.map_err(full)?;
        self.shared.arrived.notify_one();
        Ok(answer)
    }

    /// How many images wait.
    pub(super) fn waiting(&self) -> usize {
        self.shared.waiting().line.len()
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shared.waiting().open = false;
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            // a thread that panicked has already answered; there is nobody left to tell
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Shared, mut engine: Engine, counters: &Counters) {
    let largest = engine.device().buckets().last().copied().unwrap_or(1);
    while let Some(batch) = next(shared, largest) {
        let started = Instant::now();
        let tensors: Vec<&Tensor> = batch.iter().map(|(_, work)| &work.tensor).collect();
        let ran = catch_unwind(AssertUnwindSafe(|| engine.run(&tensors)));
        let (inferred, images) = (started.elapsed(), batch.len());
        let results: Vec<Result<Prediction, Fault>> = match ran {
            Ok(Ok(predicted)) if predicted.len() == images => {
                counters.executed(images, inferred);
                predicted.into_iter().map(Ok).collect()
            }
            Ok(Err(error)) => {
                let fault = Fault::from(error);
                batch.iter().map(|_| Err(fault.clone())).collect()
            }
            Ok(Ok(_)) | Err(_) => batch.iter().map(|_| Err(broken())).collect(),
        };
        for ((place, work), result) in batch.into_iter().zip(results) {
            let waited = started.duration_since(place.since);
            // the caller may have hung up in the meantime: then nobody wants the answer
            let _ = work.reply.send(result.map(|prediction| Answer {
                prediction,
                waited,
                inferred,
                batch: images,
            }));
        }
    }
}

/// Waits for work and takes up to `largest` images that wait; `None` once the line is closed and empty.
fn next(shared: &Shared, largest: usize) -> Option<Vec<(Place, Work)>> {
    let mut waiting = shared.waiting();
    loop {
        let now = Instant::now();
        let batch: Vec<_> = std::iter::from_fn(|| waiting.line.next(now))
            .take(largest)
            .collect();
        if !batch.is_empty() {
            return Some(batch);
        }
        if !waiting.open {
            return None;
        }
        waiting = shared
            .arrived
            .wait(waiting)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_what_waits_up_to_the_largest_without_those_who_hung_up() {
        let shared = Shared {
            waiting: Mutex::new(Waiting {
                line: Line::new(8),
                open: true,
            }),
            arrived: Condvar::new(),
        };
        let batcher = Batcher {
            shared: Arc::new(shared),
            threads: Vec::new(),
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut callers = Vec::new();
        for place in 0..6 {
            let tensor = Tensor {
                shape: [1, 1, 1],
                values: vec![place as f32],
            };
            let answer = batcher.push(tensor, &Call::default(), deadline).unwrap();
            // the third caller hangs up
            if place != 2 {
                callers.push(answer);
            }
        }
        let take = || {
            let batch = next(&batcher.shared, 4)?;
            Some(
                batch
                    .iter()
                    .map(|(_, work)| work.tensor.values[0])
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(take(), Some(vec![0.0, 1.0, 3.0, 4.0]));
        assert_eq!(take(), Some(vec![5.0]));
        batcher.shared.waiting().open = false;
        assert_eq!(take(), None);
    }
}
