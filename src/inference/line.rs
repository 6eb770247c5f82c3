//! The waiting line of one model: bounded, urgent work first, fair between clients, with deadlines.
//!
//! A plain struct without clock, lock or thread: `now` is an argument. What holds:
//! - urgent work goes first; routine work that has waited for [`PATIENCE`] takes turns with it, so neither starves;
//! - among equals, clients take turns, however much one of them sends (start-time fair queueing, Goyal 1996);
//! - one client's routine work can take [three quarters](share) of the places, and with its urgent work all but an eighth, so that others
//!   and urgent work find some;
//! - work that is late, or that nobody waits for any more, is dropped before it costs anything, and holds no place;
//! - what is dropped is freed by whoever holds the line, when it holds no lock: it may be large.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::request::Priority;

/// How long routine work waits before it takes turns with urgent work.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What a line has to know of the work in it.
pub(super) trait Wanted {
    /// Whether somebody still waits for it.
    fn wanted(&self) -> bool;
}

/// Why there was no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The line is full.
    Line,
    /// This client's share of it is.
    Share,
}

/// Who stands in the line, and until when.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) priority: Priority,
    pub(super) client: Arc<str>,
    pub(super) since: Instant,
    pub(super) deadline: Instant,
}

struct Waiting<T> {
    place: Place,
    /// Start tag: when it would begin if all clients were served at the same rate.
    tag: u64,
    item: T,
}

/// Waiting work.
pub(super) struct Line<T> {
    waiting: Vec<Waiting<T>>,
    /// What found no place, is late or unwanted, until [`Self::dropped`].
    dropped: Vec<T>,
    capacity: usize,
    /// The start tag of what was taken last.
    served: u64,
    /// The tag after each client's last work.
    next_tags: HashMap<Arc<str>, u64>,
    /// Whether the last turn went to routine work that was out of patience.
    aged_turn: bool,
}

impl<T: Wanted> Line<T> {
    /// An empty line with `capacity` places.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            waiting: Vec::new(),
            dropped: Vec::new(),
            capacity,
            served: 0,
            next_tags: HashMap::new(),
            aged_turn: false,
        }
    }

    /// Puts work in the line. The routine work of one client gets at most its [`share`] of the places, that of all of them all but an eighth,
    /// which is for what is urgent; and what one client calls urgent gets no more with all else of it than all but an eighth.
    ///
    /// # Errors
    /// Which bound was reached.
    pub(super) fn push(&mut self, item: T, place: Place, now: Instant) -> Result<(), Full> {
        let most = match place.priority {
            Priority::Routine => self.capacity - self.capacity / 8,
            Priority::Stat => self.capacity,
        };
        if self.waiting.len() >= most {
            self.clear(now);
        }
        if self.waiting.len() >= most {
            self.dropped.push(item);
            return Err(Full::Line);
        }
        let share = match place.priority {
            Priority::Routine => share(self.capacity),
            Priority::Stat => self.capacity - self.capacity / 8,
        };
        // counted only where it can matter
        let bounded = self.waiting.len() >= share;
        if bounded && self.of_client(&place.client) >= share {
            self.clear(now);
            if self.of_client(&place.client) >= share {
                self.dropped.push(item);
                return Err(Full::Share);
            }
        }
        let tag = self
            .next_tags
            .get(&place.client)
            .map_or(self.served, |next| self.served.max(*next));
        self.next_tags.insert(Arc::clone(&place.client), tag + 1);
        self.waiting.push(Waiting { place, tag, item });
        Ok(())
    }

    /// Takes the work whose turn it is, with its place; what is late or unwanted is dropped on the way.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Place, T)> {
        while let Some(index) = self.turn(now) {
            // the order of the rest is in its tags and times, not in its places
            let taken = self.waiting.swap_remove(index);
            if now >= taken.place.deadline || !taken.item.wanted() {
                self.dropped.push(taken.item);
                continue;
            }
            self.aged_turn = is_aged(&taken.place, now);
            self.served = self.served.max(taken.tag);
            self.forget();
            return Some((taken.place, taken.item));
        }
        None
    }

    /// Whose turn it is.
    fn turn(&self, now: Instant) -> Option<usize> {
        let best = |wanted: &dyn Fn(&Place) -> bool| {
            let those = self
                .waiting
                .iter()
                .enumerate()
                .filter(|(_, waiting)| wanted(&waiting.place));
            those
                .min_by_key(|(_, waiting)| (waiting.tag, waiting.place.since))
                .map(|(index, _)| index)
        };
        let urgent = || best(&|place| place.priority == Priority::Stat);
        let aged = || best(&|place| is_aged(place, now));
        let first = if self.aged_turn {
            urgent().or_else(aged)
        } else {
            aged().or_else(urgent)
        };
        first.or_else(|| best(&|_| true))
    }

    /// Whether something urgent, or routine out of patience, waits.
    pub(super) fn presses(&self, now: Instant) -> bool {
        self.waiting
            .iter()
            .any(|waiting| waiting.place.priority == Priority::Stat || is_aged(&waiting.place, now))
    }

    /// Gives up the places of what is late or unwanted.
    fn clear(&mut self, now: Instant) {
        let gone = |waiting: &mut Waiting<T>| now >= waiting.place.deadline || !waiting.item.wanted();
        let gone = self.waiting.extract_if(.., gone);
        self.dropped.extend(gone.map(|waiting| waiting.item));
    }

    /// What [`Self::push`] and [`Self::next`] have dropped since: to be taken after each of them, and freed once the lock is released.
    pub(super) fn dropped(&mut self) -> Vec<T> {
        std::mem::take(&mut self.dropped)
    }

    /// Clients whose turns no longer matter are forgotten. One that has just been served is remembered, or sending one request
    /// after the other would give it every turn; but no more clients than a few times the line's length.
    fn forget(&mut self) {
        let served = self.served;
        if self.waiting.is_empty() {
            self.next_tags.clear();
        } else if self.next_tags.len() > self.capacity * 4 {
            let waiting: HashSet<&str> = self
                .waiting
                .iter()
                .map(|waiting| &*waiting.place.client)
                .collect();
            self.next_tags.retain(|client, _| waiting.contains(&**client));
        } else {
            self.next_tags.retain(|_, next| *next > served);
        }
    }

    fn of_client(&self, client: &str) -> usize {
        self.waiting
            .iter()
            .filter(|waiting| &*waiting.place.client == client)
            .count()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// How many places of so many one client's routine work gets: three quarters, rounded up.
pub(super) fn share(capacity: usize) -> usize {
    (capacity * 3).div_ceil(4)
}

fn is_aged(place: &Place, now: Instant) -> bool {
    place.priority == Priority::Routine && now.saturating_duration_since(place.since) >= PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Wanted for &str {
        fn wanted(&self) -> bool {
            !self.ends_with("gone")
        }
    }

    struct Rehearsal {
        start: Instant,
        line: Line<&'static str>,
    }

    impl Rehearsal {
        fn new(capacity: usize) -> Self {
            Self {
                start: Instant::now(),
                line: Line::new(capacity),
            }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn push(
            &mut self,
            item: &'static str,
            client: &str,
            priority: Priority,
            at: u64,
        ) -> Result<(), Full> {
            let (since, deadline) = (self.at(at), self.at(at + 30));
            let place = Place {
                priority,
                client: client.into(),
                since,
                deadline,
            };
            self.line.push(item, place, since)
        }

        fn next(&mut self, at: u64) -> Option<&'static str> {
            let now = self.at(at);
            self.line.next(now).map(|(_, item)| item)
        }

        fn all(&mut self, at: u64) -> Vec<&'static str> {
            std::iter::from_fn(|| self.next(at)).collect()
        }
    }

    use Priority::{Routine, Stat};

    #[test]
    fn first_come_first_served_and_what_is_late_or_unwanted_is_dropped() {
        let mut rehearsal = Rehearsal::new(4);
        for (at, item) in ["late", "first", "caller gone", "second"].into_iter().enumerate() {
            rehearsal
                .push(item, "a", Routine, 20 * u64::from(at > 0))
                .unwrap();
        }
        assert_eq!(rehearsal.all(31), ["first", "second"]);
    }

    #[test]
    fn urgent_goes_first_and_routine_that_waited_long_takes_turns_with_it() {
        let mut rehearsal = Rehearsal::new(16);
        for item in ["r1", "r2", "r3"] {
            rehearsal.push(item, "a", Routine, 0).unwrap();
        }
        for item in ["s1", "s2", "s3"] {
            rehearsal.push(item, "a", Stat, 0).unwrap();
        }
        assert_eq!(rehearsal.next(1), Some("s1"));
        // out of patience
        assert_eq!(rehearsal.all(6), ["r1", "s2", "r2", "s3", "r3"]);
    }

    #[test]
    fn clients_take_turns_however_much_one_sends() {
        let mut rehearsal = Rehearsal::new(16);
        for item in ["a1", "a2", "a3", "a4"] {
            rehearsal.push(item, "a", Routine, 0).unwrap();
        }
        assert_eq!(rehearsal.next(0), Some("a1"));
        rehearsal.push("b1", "b", Routine, 1).unwrap();
        rehearsal.push("b2", "b", Routine, 1).unwrap();
        // what b did not send before gives it no right to more than its turn
        assert_eq!(rehearsal.all(2), ["b1", "a2", "b2", "a3", "a4"]);
        assert!(
            rehearsal.line.next_tags.is_empty(),
            "clients that left are forgotten"
        );
    }

    #[test]
    fn one_request_after_the_other_does_not_give_a_client_every_turn() {
        let mut rehearsal = Rehearsal::new(16);
        for item in ["a1", "a2", "a3"] {
            rehearsal.push(item, "a", Routine, 0).unwrap();
        }
        let mut order = Vec::new();
        for item in ["b1", "b2", "b3"] {
            rehearsal.push(item, "b", Routine, 0).unwrap();
            order.extend([rehearsal.next(0), rehearsal.next(0)].into_iter().flatten());
        }
        assert_eq!(order, ["a1", "b1", "a2", "b2", "a3", "b3"]);
    }

    #[test]
    fn one_client_cannot_take_all_places_and_those_who_left_hold_none() {
        let mut rehearsal = Rehearsal::new(4);
        for item in ["a1", "a2", "a gone"] {
            rehearsal.push(item, "a", Routine, 0).unwrap();
        }
        // the third caller hung up: its place is free again
        rehearsal.push("a3", "a", Routine, 0).unwrap();
        assert_eq!(rehearsal.push("a4", "a", Routine, 0), Err(Full::Share));
        rehearsal.push("a5", "a", Stat, 0).unwrap();
        assert_eq!(rehearsal.push("c1", "c", Routine, 0), Err(Full::Line));
        assert_eq!(rehearsal.push("c2", "c", Stat, 0), Err(Full::Line));
        // all are late now
        rehearsal.push("c3", "c", Routine, 31).unwrap();
        assert_eq!(rehearsal.all(31), ["c3"]);
    }

    #[test]
    fn what_one_client_calls_urgent_leaves_places_for_others() {
        let mut rehearsal = Rehearsal::new(16);
        for _ in 0..14 {
            rehearsal.push("a", "a", Stat, 0).unwrap();
        }
        assert_eq!(rehearsal.push("a", "a", Stat, 0), Err(Full::Share));
        assert_eq!(rehearsal.push("b1", "b", Routine, 0), Err(Full::Line));
        rehearsal.push("b2", "b", Stat, 0).unwrap();
        rehearsal.push("b3", "b", Stat, 0).unwrap();
        assert_eq!(rehearsal.push("b4", "b", Stat, 0), Err(Full::Line));
    }

    #[test]
    fn routine_work_leaves_places_for_what_is_urgent() {
        let mut rehearsal = Rehearsal::new(16);
        for client in ["a", "b"] {
            for _ in 0..7 {
                rehearsal.push("r", client, Routine, 0).unwrap();
            }
        }
        assert_eq!(rehearsal.push("r", "c", Routine, 0), Err(Full::Line));
        rehearsal.push("s1", "c", Stat, 0).unwrap();
        rehearsal.push("s2", "a", Stat, 0).unwrap();
        assert_eq!(rehearsal.push("s3", "c", Stat, 0), Err(Full::Line));
        assert_eq!(rehearsal.next(0), Some("s1"));
    }

    #[test]
    fn a_line_of_one_place_serves_one_client() {
        let mut rehearsal = Rehearsal::new(1);
        rehearsal.push("a1", "a", Routine, 0).unwrap();
        assert_eq!(rehearsal.push("a2", "a", Routine, 0), Err(Full::Line));
        assert_eq!(rehearsal.all(0), ["a1"]);
    }
}
