//! The waiting line of one model: bounded, first in first out, with deadlines.
//!
//! A plain struct without clock, lock or thread: `now` is an argument, and [`super::instance`] drives it.

use std::collections::VecDeque;
use std::time::Instant;

/// Waiting work, oldest first.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<(Instant, T)>,
    capacity: usize,
}

impl<T> Queue<T> {
    /// An empty line in which at most `capacity` items wait.
    #[must_use]
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            waiting: VecDeque::with_capacity(capacity),
            capacity,
        }
    }

    /// Puts an item at the end.
    ///
    /// # Errors
    /// Gives the item back where the line is full.
    pub(super) fn push(&mut self, item: T, deadline: Instant) -> Result<(), T> {
        if self.waiting.len() >= self.capacity {
            return Err(item);
        }
        self.waiting.push_back((deadline, item));
        Ok(())
    }

    /// Takes the oldest item whose deadline has not passed; those that are late are dropped on the way, before they
    /// cost anything.
    pub(super) fn next(&mut self, now: Instant) -> Option<T> {
        while let Some((deadline, item)) = self.waiting.pop_front() {
            if now < deadline {
                return Some(item);
            }
        }
        None
    }

    /// How many wait.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn gives_out_in_order_and_drops_what_is_late() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut queue = Queue::new(3);
        queue.push("late", at(1)).unwrap();
        queue.push("first", at(10)).unwrap();
        queue.push("second", at(10)).unwrap();
        assert_eq!(queue.push("too many", at(10)), Err("too many"));
        assert_eq!(queue.next(at(2)), Some("first"));
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.next(at(2)), Some("second"));
        assert_eq!(queue.next(at(2)), None);
    }
}
