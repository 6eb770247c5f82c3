//! The threads that run one model: each owns an engine and takes the next piece of work when it is free.
//!
//! A plain mutex suffices for the line: it is held for a push or a pop, never across inference or an await.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::Queue;
use crate::fault::{Fault, FaultKind};
use crate::image::Tensor;
use crate::runtime::{Engine, Prediction};

/// One image on its way through a model.
struct Work {
    tensor: Tensor,
    since: Instant,
    reply: oneshot::Sender<Result<Answer, Fault>>,
}

/// What a model said, and how long it took.
#[derive(Debug)]
pub struct Answer {
    /// The scores.
    pub prediction: Prediction,
    /// Time in the line.
    pub waited: Duration,
    /// Time in the network.
    pub inferred: Duration,
}

struct Line {
    queue: Queue<Work>,
    open: bool,
}

struct Shared {
    line: Mutex<Line>,
    arrived: Condvar,
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        // a panic while the lock was held cannot leave the line half changed
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads of one model, and the line before them. Dropping it lets them finish what waits.
pub struct Instances {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    deadline: Duration,
}

impl Instances {
    /// Starts one thread for each engine.
    ///
    /// # Errors
    /// What the system said, where no thread could be started.
    pub fn start(engines: Vec<Engine>, capacity: usize, deadline: Duration) -> std::io::Result<Self> {
        let line = Line {
            queue: Queue::new(capacity),
            open: true,
        };
        let shared = Arc::new(Shared {
            line: Mutex::new(line),
            arrived: Condvar::new(),
        });
        let threads = engines
            .into_iter()
            .enumerate()
            .map(|(index, engine)| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("instance-{index}"))
                    .spawn(move || serve(&shared, engine))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            shared,
            threads,
            deadline,
        })
    }

    /// Runs the network on one image.
    ///
    /// # Errors
    /// `overloaded` at once where the line is full, `deadline` where the answer did not come in time, or the model's
    /// own fault.
    pub async fn run(&self, tensor: Tensor) -> Result<Answer, Fault> {
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let work = Work { tensor, since, reply };
        if self
            .shared
            .line()
            .queue
            .push(work, since + self.deadline)
            .is_err()
        {
            return Err(overloaded());
        }
        self.shared.arrived.notify_one();
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Fault::new(
                FaultKind::Overloaded,
                "deadline",
                format!(
                    "no answer within {} s: try again later",
                    self.deadline.as_secs_f32()
                ),
            )),
        }
    }

    /// How many images wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.line().queue.len()
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        self.shared.line().open = false;
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            // a thread that panicked has already answered; there is nobody left to tell
            let _ = thread.join();
        }
    }
}

/// Too much work is waiting.
pub(super) fn overloaded() -> Fault {
    Fault::new(
        FaultKind::Overloaded,
        "overloaded",
        "too many images are waiting: try again in a moment",
    )
}

fn serve(shared: &Shared, mut engine: Engine) {
    let largest = engine.device().buckets().last().copied().unwrap_or(1);
    while let Some(batch) = next(shared, largest) {
        let started = Instant::now();
        let tensors: Vec<&Tensor> = batch.iter().map(|work| &work.tensor).collect();
        let ran = catch_unwind(AssertUnwindSafe(|| engine.run(&tensors)));
        let results: Vec<Result<Prediction, Fault>> = match ran {
            Ok(Ok(predicted)) if predicted.len() == batch.len() => predicted.into_iter().map(Ok).collect(),
            Ok(Err(error)) => {
                let fault = Fault::from(error);
                batch.iter().map(|_| Err(fault.clone())).collect()
            }
            Ok(Ok(_)) | Err(_) => batch.iter().map(|_| Err(broken())).collect(),
        };
        let inferred = started.elapsed();
        for (work, result) in batch.into_iter().zip(results) {
            let waited = started.duration_since(work.since);
            // the caller may have hung up in the meantime: then nobody wants the answer
            let _ = work.reply.send(result.map(|prediction| Answer {
                prediction,
                waited,
                inferred,
            }));
        }
    }
}

fn broken() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "engine",
        "the model failed on this image; the server's log has the cause",
    )
}

/// Waits for work and takes up to `largest` images that wait; `None` once the line is closed and empty.
///
/// It takes what is there and never waits for more: while a batch runs, the next one gathers by itself.
fn next(shared: &Shared, largest: usize) -> Option<Vec<Work>> {
    let mut line = shared.line();
    loop {
        let now = Instant::now();
        let waiting = std::iter::from_fn(|| line.queue.next(now));
        let batch: Vec<Work> = waiting
            .filter(|work| !work.reply.is_closed())
            .take(largest)
            .collect();
        if !batch.is_empty() {
            return Some(batch);
        }
        if !line.open {
            return None;
        }
        line = shared.arrived.wait(line).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_what_waits_up_to_the_largest_without_those_who_hung_up() {
        let line = Line {
            queue: Queue::new(8),
            open: true,
        };
        let shared = Shared {
            line: Mutex::new(line),
            arrived: Condvar::new(),
        };
        let since = Instant::now();
        let mut callers = Vec::new();
        for place in 0..6 {
            let (reply, answer) = oneshot::channel();
            let tensor = Tensor {
                shape: [1, 1, 1],
                values: vec![place as f32],
            };
            let pushed = shared
                .line()
                .queue
                .push(Work { tensor, since, reply }, since + Duration::from_mins(1));
            assert!(pushed.is_ok());
            // the third caller hangs up
            if place != 2 {
                callers.push(answer);
            }
        }
        let take = || {
            let batch = next(&shared, 4)?;
            Some(batch.iter().map(|work| work.tensor.values[0]).collect::<Vec<_>>())
        };
        assert_eq!(take(), Some(vec![0.0, 1.0, 3.0, 4.0]));
        assert_eq!(take(), Some(vec![5.0]));
        shared.line().open = false;
        assert_eq!(take(), None);
    }
}
