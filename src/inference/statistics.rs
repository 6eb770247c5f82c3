//! What a served version did since it was loaded, in the terms of Triton's statistics extension.
//!
//! Requests and executions are counted apart: a request is one image that was asked for, an execution one run of the network on a batch.
//! They agree where each image is run once; an explanation by hiding runs the network many times for one request, and what a gate refuses
//! after the network was executed all the same. A plain mutex suffices: it is held for a few additions.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::finding::Timings;

/// How often something happened, and how long all of it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How often.
    pub count: u64,
    /// How long all of it took.
    pub time: Duration,
}

impl Spent {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.time += time;
    }
}

/// The executions of one batch size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batches {
    /// The network's runs.
    pub infer: Spent,
    /// What preparing their images took, of those that were answered.
    pub input: Duration,
    /// What interpreting took, of the same.
    pub output: Duration,
}

/// What a version did since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// When an image was asked for the last time.
    pub last: Option<SystemTime>,
    /// Images that were answered, from the question to the answer.
    pub success: Spent,
    /// Images that were refused, late or could not be run. Whoever hung up before the answer is in neither.
    pub fail: Spent,
    /// Of the answered: waiting in line.
    pub queue: Spent,
    /// Of the answered: from bytes to the network's input.
    pub input: Spent,
    /// Of the answered: in the network, for as long as the whole batch took.
    pub infer: Spent,
    /// Of the answered: from the network's output to findings.
    pub output: Spent,
    /// Executions by the number of images in them.
    pub batches: BTreeMap<usize, Batches>,
}

impl Statistics {
    /// Runs of the network.
    #[must_use]
    pub fn executions(&self) -> u64 {
        self.batches.values().map(|batches| batches.infer.count).sum()
    }

    /// Images that the network was run on.
    #[must_use]
    pub fn inferences(&self) -> u64 {
        let of_size = |(size, batches): (&usize, &Batches)| *size as u64 * batches.infer.count;
        self.batches.iter().map(of_size).sum()
    }
}

/// Where the time of one answered image went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stages {
    pub(super) total: Duration,
    pub(super) queue: Duration,
    pub(super) input: Duration,
    pub(super) infer: Duration,
    pub(super) output: Duration,
    /// How many images were in its execution.
    pub(super) batch: usize,
}

impl From<&Timings> for Stages {
    /// The stages up to the network, of an image that was alone in it.
    fn from(timings: &Timings) -> Self {
        let time = |milliseconds: f64| Duration::from_secs_f64(milliseconds.max(0.0) / 1e3);
        Self {
            queue: time(timings.queue),
            input: time(timings.parse + timings.decode + timings.preprocess),
            infer: time(timings.infer),
            batch: 1,
            ..Self::default()
        }
    }
}

/// Where a version's work is counted.
#[derive(Default)]
pub(super) struct Counters(Mutex<Statistics>);

impl Counters {
    /// What there is so far.
    pub(super) fn read(&self) -> Statistics {
        self.counts().clone()
    }

    /// An image was asked for.
    pub(super) fn asked(&self) {
        self.counts().last = Some(SystemTime::now());
    }

    /// It was answered.
    pub(super) fn answered(&self, stages: Stages) {
        let mut counts = self.counts();
        counts.success.add(stages.total);
        counts.queue.add(stages.queue);
        counts.input.add(stages.input);
        counts.infer.add(stages.infer);
        counts.output.add(stages.output);
        let batches = counts.batches.entry(stages.batch).or_default();
        batches.input += stages.input;
        batches.output += stages.output;
    }

    /// It was not.
    pub(super) fn failed(&self, total: Duration) {
        self.counts().fail.add(total);
    }

    /// The network was run on so many images.
    pub(super) fn executed(&self, images: usize, time: Duration) {
        self.counts().batches.entry(images).or_default().infer.add(time);
    }

    fn counts(&self) -> MutexGuard<'_, Statistics> {
        // a panic while the lock was held leaves figures, and nothing that depends on them
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn executions_and_requests_are_counted_apart() {
        let counters = Counters::default();
        assert_eq!(counters.read(), Statistics::default());
        counters.asked();
        // two batches: of the three in the first one was refused after it
        counters.executed(3, MS * 9);
        counters.executed(1, MS * 5);
        let timings = Timings {
            parse: 1.0,
            decode: 2.0,
            preprocess: 4.0,
            queue: 8.0,
            infer: 9.0,
            total: 0.0,
        };
        for batch in [3, 3, 1] {
            counters.answered(Stages {
                total: MS * 30,
                output: MS * 2,
                batch,
                ..Stages::from(&timings)
            });
        }
        counters.failed(MS * 20);
        let counted = counters.read();
        assert!(counted.last.is_some());
        assert_eq!((counted.executions(), counted.inferences()), (2, 4));
        let spent = |count, milliseconds: u32| Spent {
            count,
            time: MS * milliseconds,
        };
        assert_eq!((counted.success, counted.fail), (spent(3, 90), spent(1, 20)));
        assert_eq!((counted.queue, counted.input), (spent(3, 24), spent(3, 21)));
        assert_eq!((counted.infer, counted.output), (spent(3, 27), spent(3, 6)));
        let three = counted.batches[&3];
        assert_eq!(
            (three.infer, three.input, three.output),
            (spent(1, 9), MS * 14, MS * 4)
        );
        assert_eq!(counted.batches[&1].infer, spent(1, 5));
    }
}
