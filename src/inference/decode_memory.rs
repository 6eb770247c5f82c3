//! Memory for what images become when they are inflated and decoded: so many bytes at a time, whoever decodes them.
//!
//! A file of some kilobytes may be an image of a hundred million pixels, and each core decodes one. So whoever decodes says first how much
//! memory that may take, and waits until it is there. Images as they usually are leave room for each other on every core; large ones wait
//! for each other, and half of the threads at most wait: what comes then is told to come back, and the others go on with what is small
//! (`docs/decisions/0048-decoding-has-memory-of-its-own.md`).
//!
//! Invariant: whoever waits holds none of it, so those who hold some never wait for each other.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fault::{Fault, FaultKind};

/// How often whoever waits looks whether its answer is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Memory for decoding; clones share it.
#[derive(Clone)]
pub struct DecodeMemory(Arc<Shared>);

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
    waiting: usize,
}

impl DecodeMemory {
    /// `bytes` for all that decode, which are so many threads.
    #[must_use]
    pub fn new(bytes: usize, threads: usize) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                free: bytes,
                waiting: 0,
            }),
            given_back: Condvar::new(),
            all: bytes,
            most_waiting: threads.div_ceil(2),
        }))
    }

    /// Takes `bytes` when they are there. Blocks until then, or until `is_over`.
    ///
    /// # Errors
    /// `decode-memory` where there is less than that in all, `overloaded` where enough wait already, or `deadline`.
    pub(crate) fn take(&self, bytes: usize, is_over: impl Fn() -> bool) -> Result<Taken, Fault> {
        let shared = &self.0;
        if bytes > shared.all {
            return Err(too_much(bytes, shared.all));
        }
        let mut state = shared.state();
        if state.free < bytes {
            if state.waiting >= shared.most_waiting {
                return Err(overloaded());
            }
            state.waiting += 1;
            while state.free < bytes && !is_over() {
                let waited = shared.given_back.wait_timeout(state, LOOK);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            state.waiting -= 1;
            if state.free < bytes {
                return Err(super::workers::late());
            }
        }
        state.free -= bytes;
        drop(state);
        Ok(Taken {
            shared: Arc::clone(shared),
            bytes,
        })
    }

    /// How much of it is free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.0.state().free
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

fn too_much(bytes: usize, all: usize) -> Fault {
    let message = format!(
        "decoding this image may take {} MiB, and this server has {} MiB for decoding (--decode-memory-mib): send it uncompressed or as JPEG Lossless, a picture as a greyscale PNG, or have that raised",
        bytes.div_ceil(1 << 20),
        all >> 20
    );
    Fault::new(FaultKind::Refused, "decode-memory", message)
}

fn overloaded() -> Fault {
    Fault::new(
        FaultKind::Overloaded,
        "overloaded",
        "too many large images are being decoded: try again in a moment",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    /// No test waits for ever.
    fn late() -> impl Fn() -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        move || Instant::now() >= until
    }

    #[test]
    fn what_does_not_fit_waits_and_what_is_small_goes_on() {
        let memory = DecodeMemory::new(100, 4);
        let large = memory.take(70, late()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| memory.take(60, late()).map(drop));
            while memory.0.state().waiting == 0 {
                std::thread::yield_now();
            }
            drop(memory.take(30, late()).unwrap());
            assert!(!waiting.is_finished());
            drop(large);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!((memory.free(), memory.0.state().waiting), (100, 0));
        drop(memory.take(0, late()).unwrap());
    }

    #[test]
    fn what_never_fits_is_refused_with_both_numbers_and_half_of_the_threads_wait_at_most() {
        let memory = DecodeMemory::new(100 << 20, 3);
        let fault = memory.take((100 << 20) + 1, late()).err().unwrap();
        assert_eq!((fault.kind, fault.code), (FaultKind::Refused, "decode-memory"));
        for said in ["may take 101 MiB", "has 100 MiB", "--decode-memory-mib"] {
            assert!(fault.message.contains(said), "{fault}");
        }
        let large = memory.take(100 << 20, late()).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let wait = || {
                let late = late();
                memory.take(1, || is_over.load(Ordering::SeqCst) || late()).err()
            };
            let waiting = [scope.spawn(wait), scope.spawn(wait)];
            while memory.0.state().waiting < 2 {
                std::thread::yield_now();
            }
            assert_eq!(memory.take(1, late()).err().unwrap().code, "overloaded");
            is_over.store(true, Ordering::SeqCst);
            let asked = Instant::now();
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap().unwrap().code, "deadline");
            }
            assert!(asked.elapsed() < Duration::from_secs(5));
        });
        drop(large);
        assert!(memory.take(100 << 20, late()).is_ok());
    }
}
