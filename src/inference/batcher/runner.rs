//! The thread that owns an engine: it runs what was gathered, and finds out whether a device that failed still answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use super::gathering::Shared;
use super::seats::Unable;
use super::{Answer, Batch, Works, unable};
use crate::fault::Fault;
use crate::image::Tensor;
use crate::inference::statistics::Counters;
use crate::runtime::{Engine, Prediction, RuntimeError, Staging};
use crate::telemetry::metrics::Metrics;

/// The thread of one engine.
pub(super) struct Runner {
    pub(super) shared: Arc<Shared>,
    pub(super) seat: usize,
    pub(super) engine: Engine,
    /// To the thread that gathers.
    pub(super) empty: Sender<Staging>,
    pub(super) model: Arc<str>,
    /// An image that the model was proven with: a device that fails on it does not answer.
    pub(super) probe: Arc<Tensor>,
    /// While the device does not answer: a place to try it with, and why not. The other place stays with the thread that gathers.
    pub(super) silent: Option<(Staging, Unable)>,
    pub(super) counters: Arc<Counters>,
    pub(super) metrics: Metrics,
}

impl Runner {
    /// Runs batch after batch until there are no more; between them, tries a device that does not answer.
    pub(super) fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            let until = self.shared.silent_until(self.seat);
            if until.is_none() {
                // another engine of the device answers
                self.answers();
            }
            let received = match until.filter(|_| self.silent.is_some()) {
                None => batches.recv().map_err(RecvTimeoutError::from),
                Some(until) => batches.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match received {
                Ok(Batch { staging, works }) if works.is_empty() => self.trial(staging),
                Ok(batch) => self.batch(batch),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some((staging, _)) = self.silent.take()
                        && self.find_out(staging).is_none()
                    {
                        self.say_it_answers();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let device = self.engine.device().to_string();
        self.metrics.devices.silent(&self.model, &device, false);
    }

    fn batch(&mut self, Batch { mut staging, works }: Batch) {
        let (started, images, device) = (Instant::now(), works.len(), self.engine.device());
        let ran = self.run_staged(&mut staging, images);
        let inferred = started.elapsed();
        let error = match ran {
            Ok(predicted) => {
                // the gathering thread goes on with it; without one, all is over
                let _ = self.empty.send(staging);
                self.shared.ended(self.seat, None);
                self.answers();
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
            Err(error) => error,
        };
        tracing::error!(%device, images, %error, "device.failed");
        self.metrics.devices.failed(&device.to_string());
        let lost = self.shared.ended(self.seat, Some(works));
        let silence = match &self.silent {
            None => self.find_out(staging),
            Some((_, why)) => {
                let why = *why;
                let _ = self.empty.send(staging);
                Some(why)
            }
        };
        if !lost.is_empty() {
            refuse(lost, &silence.map_or_else(|| Fault::from(error), unable));
        }
    }

    /// Tries a device that nobody has asked for long.
    fn trial(&mut self, staging: Staging) {
        let answers = if self.silent.is_some() {
            // it has trials of its own
            let _ = self.empty.send(staging);
            false
        } else {
            self.find_out(staging).is_none()
        };
        self.shared.tried(self.seat, answers);
    }

    /// Runs what is in a place, which is empty afterwards.
    fn run_staged(&mut self, staging: &mut Staging, images: usize) -> Result<Vec<Prediction>, RuntimeError> {
        let ran = catch_unwind(AssertUnwindSafe(|| self.engine.run_staged(staging)));
        staging.clear();
        match ran {
            Ok(Ok(predicted)) if predicted.len() != images => Err(RuntimeError::Run(
                "it gave another number of answers than it has images".to_owned(),
            )),
            Ok(ran) => ran,
            Err(_) => Err(RuntimeError::Run("it panicked".to_owned())),
        }
    }

    /// Whether the device runs an image that the model was proven with: if so, what it may have failed at was at fault. If not, what waits
    /// for no other device is refused, and the place is kept for the next trial.
    fn find_out(&mut self, mut staging: Staging) -> Option<Unable> {
        let put = staging.extend([&*self.probe].into_iter()).pop();
        let ran = put.map_or(Ok(()), |put| put);
        let Err(error) = ran.and_then(|()| self.run_staged(&mut staging, 1)) else {
            let _ = self.empty.send(staging);
            return None;
        };
        let why = match error {
            RuntimeError::Memory { .. } => Unable::Memory,
            _ => Unable::Failed,
        };
        let device = self.engine.device();
        tracing::error!(%device, model = &*self.model, %error, "device.silent");
        self.metrics
            .devices
            .silent(&self.model, &device.to_string(), true);
        refuse(self.shared.fell_silent(self.seat, why), &unable(why));
        self.silent = Some((staging, why));
        Some(why)
    }

    /// The device answers: a place that was kept to try it is free again.
    fn answers(&mut self) {
        if let Some((staging, _)) = self.silent.take() {
            let _ = self.empty.send(staging);
            self.say_it_answers();
        }
    }

    fn say_it_answers(&self) {
        self.shared.answered(self.seat);
        let device = self.engine.device();
        tracing::info!(%device, model = &*self.model, "device.answers");
        self.metrics
            .devices
            .silent(&self.model, &device.to_string(), false);
    }
}

fn refuse(works: Works, fault: &Fault) {
    for (_, work) in works {
        let _ = work.reply.send(Err(fault.clone()));
    }
}
