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
use crate::runtime::{Engine, Scores};

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
    pub scores: Scores,
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
    while let Some(work) = next(shared) {
        if work.reply.is_closed() {
            continue;
        }
        let waited = work.since.elapsed();
        let started = Instant::now();
        let ran = catch_unwind(AssertUnwindSafe(|| engine.run(&[&work.tensor])));
        let result = match ran {
            Ok(Ok(mut scores)) => scores.pop().ok_or_else(broken),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(broken()),
        };
        // the caller may have hung up in the meantime: then nobody wants the answer
        let _ = work.reply.send(result.map(|scores| Answer {
            scores,
            waited,
            inferred: started.elapsed(),
        }));
    }
}

fn broken() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "engine",
        "the model failed on this image; the server's log has the cause",
    )
}

/// Waits for work; `None` once the line is closed and empty.
fn next(shared: &Shared) -> Option<Work> {
    let mut line = shared.line();
    loop {
        if let Some(work) = line.queue.next(Instant::now()) {
            return Some(work);
        }
        if !line.open {
            return None;
        }
        line = shared.arrived.wait(line).unwrap_or_else(PoisonError::into_inner);
    }
}
