//! How many engines of a model are made and proven at the same time.

use std::thread::ScopedJoinHandle;

/// How many engines are proven at the same time: one for each core, or for a quarter of them while something serves, which keeps the
/// cores for whoever waits for a score.
#[must_use]
pub fn at_once(serving: bool) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    share(cores, serving)
}

fn share(cores: usize, serving: bool) -> usize {
    if serving { cores.div_ceil(4) } else { cores }
}

/// Makes `count`, on as many threads as may run at once, until one fails.
pub(super) fn in_groups<T: Send, E: Send>(
    count: usize,
    at_once: usize,
    make: impl Fn() -> Result<T, E> + Sync,
    panicked: impl Fn() -> E,
) -> Result<Vec<T>, E> {
    let mut made = Vec::with_capacity(count);
    while made.len() < count {
        let more = (count - made.len()).min(at_once.max(1));
        let group: Vec<Result<T, E>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..more).map(|_| scope.spawn(&make)).collect();
            let ends = threads.into_iter().map(ScopedJoinHandle::join);
            ends.map(|end| end.unwrap_or_else(|_| Err(panicked()))).collect()
        });
        for one in group {
            made.push(one?);
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_run_at_once_than_may_and_what_fails_or_panics_ends_it() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let make = || {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        for (at_once, allowed) in [(0, 1), (1, 1), (3, 3)] {
            most.store(0, Ordering::SeqCst);
            assert_eq!(in_groups(7, at_once, make, || "panic").unwrap().len(), 7);
            let most = most.load(Ordering::SeqCst);
            assert!((1..=allowed).contains(&most), "{most} of {allowed}");
        }
        let asked = AtomicUsize::new(0);
        let fails = || match asked.fetch_add(1, Ordering::SeqCst) {
            1 => Err("second"),
            _ => Ok(()),
        };
        assert_eq!(in_groups(7, 1, fails, || "panic"), Err("second"));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        let panics = || -> Result<(), &str> { panic!("as rehearsed") };
        assert_eq!(in_groups(1, 1, panics, || "panic"), Err("panic"));
    }

    #[test]
    fn what_serves_keeps_three_quarters_of_the_cores() {
        let of = |serving| [1, 2, 8, 13].map(|cores| share(cores, serving));
        assert_eq!(of(false), [1, 2, 8, 13]);
        assert_eq!(of(true), [1, 1, 2, 4]);
    }
}
