//! Memory for what images become when they are inflated and decoded: so many bytes at a time, whoever decodes them.
//!
//! A file of some kilobytes may be an image of a hundred million pixels, and each core decodes one. So whoever decodes says first how much
//! memory that may take, and waits until it is there. Images as they usually are leave room for each other on every core; large ones wait
//! for each other, and half of the threads at most wait: what comes then is told to come back, and the others go on with what is small
//! (`docs/decisions/0048-decoding-has-memory-of-its-own.md`).
//!
//! Invariants: whoever waits holds none of it, so those who hold some never wait for each other; nobody who has waited for [`AGE`] is
//! overtaken.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::{Fault, FaultKind};
use crate::finding::Reason;

/// How often whoever waits looks whether its answer is still wanted.
const LOOK: Duration = Duration::from_millis(50);
/// How long others that need less may go before whoever waits.
const AGE: Duration = Duration::from_secs(3);

/// Memory for decoding; clones share it.
#[derive(Clone)]
pub struct DecodeMemory {
    shared: Arc<Shared>,
    /// Whoever waits holds one of the threads that scores are made on.
    by_workers: bool,
}

struct Shared {
    state: Mutex<State>,
    given_back: Condvar,
    /// All of it, in bytes.
    all: usize,
    /// The most that may wait.
    most_waiting: usize,
}

struct State {
    free: usize,
    /// Who waits, the longest first.
    waiting: VecDeque<Waiting>,
    /// The number of the next that waits.
    next: u64,
}

struct Waiting {
    number: u64,
    since: Instant,
    by_worker: bool,
}

impl State {
    /// Whether so many bytes are there, for the one of this number or for who does not wait yet.
    fn has(&self, bytes: usize, number: Option<u64>) -> bool {
        let first = self.waiting.front();
        let overtaken = first.filter(|first| Some(first.number) != number && first.since.elapsed() >= AGE);
        self.free >= bytes && overtaken.is_none()
    }

    /// How many workers wait.
    fn workers(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.by_worker).count()
    }
}

impl DecodeMemory {
    /// `bytes` for all that decode, which are so many threads.
    #[must_use]
    pub fn new(bytes: usize, threads: usize) -> Self {
        let shared = Shared {
            state: Mutex::new(State {
                free: bytes,
                waiting: VecDeque::new(),
                next: 0,
            }),
            given_back: Condvar::new(),
            all: bytes,
            most_waiting: threads.div_ceil(2),
        };
        Self {
            shared: Arc::new(shared),
            by_workers: true,
        }
    }

    /// The same memory for other threads than those, as many of which may wait as there are.
    #[must_use]
    pub fn for_others(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            by_workers: false,
        }
    }

    /// Takes `bytes` when they are there. Blocks until then, or until `until`, or until `is_over`: then nobody wants them any more.
    ///
    /// # Errors
    /// `decode-memory` where there is less than that in all, `overloaded` where enough wait already or the time was too short, or
    /// `deadline` where it is over.
    pub(crate) fn take(
        &self,
        bytes: usize,
        until: Instant,
        is_over: impl Fn() -> bool,
    ) -> Result<Taken, Fault> {
        let shared = &self.shared;
        if bytes > shared.all {
            return Err(too_much(bytes, shared.all, self.by_workers));
        }
        let mut state = shared.state();
        if bytes > 0 && !state.has(bytes, None) {
            if self.by_workers && state.workers() >= shared.most_waiting {
                return Err(overloaded());
            }
            let number = state.next;
            state.next += 1;
            state.waiting.push_back(Waiting {
                number,
                since: Instant::now(),
                by_worker: self.by_workers,
            });
            while !state.has(bytes, Some(number)) && Instant::now() < until && !is_over() {
                let waited = shared.given_back.wait_timeout(state, LOOK);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let is_there = state.has(bytes, Some(number));
            state.waiting.retain(|waiting| waiting.number != number);
            if !is_there {
                return Err(if is_over() {
                    super::workers::late()
                } else {
                    overloaded()
                });
            }
        }
        state.free -= bytes;
        drop(state);
        Ok(Taken {
            shared: Arc::clone(shared),
            bytes,
        })
    }

    /// How many wait for it.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state().waiting.len()
    }

    /// How much of it is free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.shared.state().free
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // a panic while the lock was held cannot leave it half changed
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some of it, until it is dropped.
pub(crate) struct Taken {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shared.state().free += self.bytes;
        if self.bytes > 0 {
            self.shared.given_back.notify_all();
        }
    }
}

fn too_much(bytes: usize, all: usize, of_sender: bool) -> Fault {
    let instead = if of_sender {
        "send it uncompressed or as JPEG Lossless, a picture as a greyscale PNG"
    } else {
        "retrieve it as it is stored"
    };
    let message = format!(
        "decoding this image may take {} MiB, and this server has {} MiB for decoding (--decode-memory-mib): {instead}, or have that raised",
        bytes.div_ceil(1 << 20),
        all >> 20
    );
    Fault::new(FaultKind::Refused, "decode-memory", message)
}

/// What is said where there was no memory in time.
const FULL: &str = "too many large images are being decoded: try again in a moment";

/// Whether that is why an image has no score; another `overloaded` image had no place in the line.
pub(crate) fn was_full(reason: &Reason) -> bool {
    reason.message == FULL
}

fn overloaded() -> Fault {
    Fault::new(FaultKind::Overloaded, "overloaded", FULL)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// No test waits for ever.
    fn late() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn never() -> bool {
        false
    }

    /// Waits until so many wait.
    fn wait_for(memory: &DecodeMemory, waiting: usize) {
        let late = late();
        while memory.waiting() < waiting {
            assert!(Instant::now() < late, "{} wait", memory.waiting());
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_does_not_fit_waits_and_what_is_small_goes_on() {
        let memory = DecodeMemory::new(100, 4);
        let large = memory.take(70, late(), never).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.take(60, late(), never).map(drop));
            wait_for(&memory, 1);
            drop(memory.take(30, late(), never).unwrap());
            assert!(!waiting.is_finished());
            drop(large);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!((memory.free(), memory.waiting()), (100, 0));
        drop(memory.take(0, late(), never).unwrap());
    }

    #[test]
    fn whoever_has_waited_for_some_seconds_is_the_next() {
        let memory = DecodeMemory::new(100, 8);
        let mut small = memory.take(50, late(), never).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.take(100, late(), never).map(drop));
            wait_for(&memory, 1);
            // others keep half of it, one after the other, and never all of it is free
            let began = Instant::now();
            while began.elapsed() < 2 * AGE {
                let soon = Instant::now() + Duration::from_millis(20);
                match memory.take(50, soon, never) {
                    Ok(next) => small = next,
                    Err(fault) => {
                        assert_eq!(fault.code, "overloaded");
                        break;
                    }
                }
            }
            assert!(
                (AGE / 2..2 * AGE).contains(&began.elapsed()),
                "{:?}",
                began.elapsed()
            );
            // what needs none is not held up
            drop(memory.take(0, late(), never).unwrap());
            drop(small);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!((memory.free(), memory.waiting()), (100, 0));
    }

    #[test]
    fn what_never_fits_is_refused_with_both_numbers_and_half_of_the_threads_wait_at_most() {
        let memory = DecodeMemory::new(100 << 20, 3);
        let fault = memory.take((100 << 20) + 1, late(), never).err().unwrap();
        assert_eq!((fault.kind, fault.code), (FaultKind::Refused, "decode-memory"));
        for said in ["may take 101 MiB", "has 100 MiB", "--decode-memory-mib"] {
            assert!(fault.message.contains(said), "{fault}");
        }
        let retrieved = memory.for_others().take(usize::MAX, late(), never);
        let message = retrieved.err().unwrap().message;
        assert!(message.contains("retrieve it as it is stored"), "{message}");
        let large = memory.take(100 << 20, late(), never).unwrap();
        let is_over = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let wait = || {
                let is_over = || is_over.load(Ordering::SeqCst);
                memory.take(1, late(), is_over).err()
            };
            let waiting = [scope.spawn(wait), scope.spawn(wait)];
            wait_for(&memory, 2);
            assert_eq!(memory.take(1, late(), never).err().unwrap().code, "overloaded");
            let others = memory.for_others();
            let other = scope.spawn(move || others.take(1, late(), || is_over.load(Ordering::SeqCst)).err());
            wait_for(&memory, 3);
            is_over.store(true, Ordering::SeqCst);
            let asked = Instant::now();
            for waiting in waiting.into_iter().chain([other]) {
                assert_eq!(waiting.join().unwrap().unwrap().code, "deadline");
            }
            assert!(asked.elapsed() < Duration::from_secs(5));
        });
        drop(large);
        assert!(memory.take(100 << 20, late(), never).is_ok());
    }

    /// It was not tried, so it is no failure of a study.
    #[test]
    fn who_has_waited_in_vain_is_told_to_come_back() {
        let memory = DecodeMemory::new(100, 2);
        let large = memory.take(100, late(), never).unwrap();
        let asked = Instant::now();
        let fault = memory.take(1, asked + Duration::from_millis(100), never);
        let fault = fault.err().unwrap();
        assert_eq!((fault.kind, fault.code), (FaultKind::Overloaded, "overloaded"));
        assert!(asked.elapsed() >= Duration::from_millis(100));
        drop(large);
        assert_eq!((memory.free(), memory.waiting()), (100, 0));
    }
}
