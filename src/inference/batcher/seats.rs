//! Which of a model's engines takes what waits: a plain struct without lock, clock or thread.
//!
//! What holds:
//! - nothing waits for more: an engine that is free takes its share of what is there at once;
//! - while all are busy, the batch of the one that will be free first is filled, so that its images are gathered when it is;
//! - a device that failed rests, for longer each time, while another device serves; where all have failed, none rests.

use std::time::{Duration, Instant};

use crate::runtime::Device;

/// How long a device rests after its first failure; twice as long after each further one.
const REST: Duration = Duration::from_secs(1);
/// The longest that one rests.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// One engine, with the place in which its next batch is gathered.
struct Seat {
    device: Device,
    /// The images of its largest batch.
    capacity: usize,
    /// Since when it runs a batch.
    running: Option<Instant>,
    /// Images that were gathered for its next.
    gathered: usize,
}

/// How a device has been lately.
struct Health {
    device: Device,
    /// Failures in a row.
    failures: u32,
    rests_until: Option<Instant>,
}

/// The engines of one model.
pub(super) struct Seats {
    seats: Vec<Seat>,
    devices: Vec<Health>,
}

impl Seats {
    /// One for each engine: its device, and the size of its largest batch.
    pub(super) fn new(engines: &[(Device, usize)]) -> Self {
        let mut devices: Vec<Health> = Vec::new();
        for &(device, _) in engines {
            if !devices.iter().any(|known| known.device == device) {
                devices.push(Health {
                    device,
                    failures: 0,
                    rests_until: None,
                });
            }
        }
        let seat = |&(device, capacity)| Seat {
            device,
            capacity,
            running: None,
            gathered: 0,
        };
        Self {
            seats: engines.iter().map(seat).collect(),
            devices,
        }
    }

    pub(super) fn device(&self, seat: usize) -> Device {
        self.seats[seat].device
    }

    /// How many images a seat's batch has room for.
    pub(super) fn room(&self, seat: usize) -> usize {
        let seat = &self.seats[seat];
        seat.capacity - seat.gathered.min(seat.capacity)
    }

    /// How many of the images that wait a seat is to take now.
    pub(super) fn share(&self, seat: usize, waiting: usize, now: Instant) -> usize {
        if self.next(now) != Some(seat) {
            return 0;
        }
        let free = |seat: &&Seat| seat.running.is_none() && !self.rests(seat.device, now);
        let free = self.seats.iter().filter(free).count();
        waiting.div_ceil(free.max(1)).min(self.room(seat))
    }

    /// The seat that is filled next: one that is free, otherwise the one whose batch has run longest.
    fn next(&self, now: Instant) -> Option<usize> {
        let fit = |&(index, seat): &(usize, &Seat)| self.room(index) > 0 && !self.rests(seat.device, now);
        let seats = self.seats.iter().enumerate().filter(fit);
        // of those that are free, one that gathers nothing yet
        let first = seats.min_by_key(|(_, seat)| (seat.running, seat.gathered));
        first.map(|(index, _)| index)
    }

    /// Images were put into a seat's batch.
    pub(super) fn gathered(&mut self, seat: usize, images: usize) {
        self.seats[seat].gathered += images;
    }

    /// One of the images could not be put into it.
    pub(super) fn dropped(&mut self, seat: usize) {
        let gathered = &mut self.seats[seat].gathered;
        *gathered = gathered.saturating_sub(1);
    }

    /// What was gathered is gone.
    pub(super) fn emptied(&mut self, seat: usize) {
        self.seats[seat].gathered = 0;
    }

    /// Begins to run what was gathered, if the engine is free.
    pub(super) fn begin(&mut self, seat: usize, now: Instant) -> bool {
        let seat = &mut self.seats[seat];
        if seat.running.is_some() {
            return false;
        }
        seat.running = Some(now);
        seat.gathered = 0;
        true
    }

    /// A batch has been run.
    pub(super) fn ran(&mut self, seat: usize) {
        self.seats[seat].running = None;
        if let Some(health) = self.health(seat) {
            (health.failures, health.rests_until) = (0, None);
        }
    }

    /// A batch has failed.
    pub(super) fn failed(&mut self, seat: usize, now: Instant) {
        self.seats[seat].running = None;
        if let Some(health) = self.health(seat) {
            let rest = REST.saturating_mul(1 << health.failures.min(16));
            health.failures += 1;
            health.rests_until = Some(now + rest.min(LONGEST_REST));
        }
    }

    /// Makes an engine free, if there is one.
    #[cfg(test)]
    pub(super) fn release(&mut self, seat: usize) {
        if let Some(seat) = self.seats.get_mut(seat) {
            seat.running = None;
        }
    }

    fn health(&mut self, seat: usize) -> Option<&mut Health> {
        let device = self.seats[seat].device;
        self.devices.iter_mut().find(|known| known.device == device)
    }

    /// Whether a device is left alone, because it failed lately and another can do its work.
    pub(super) fn rests(&self, device: Device, now: Instant) -> bool {
        let rests = |health: &Health| health.rests_until.is_some_and(|until| now < until);
        self.devices
            .iter()
            .any(|health| health.device == device && rests(health))
            && !self.devices.iter().all(rests)
    }

    /// When the next device has rested, if one rests.
    pub(super) fn rested(&self, now: Instant) -> Option<Instant> {
        let untils = self.devices.iter().filter_map(|health| health.rests_until);
        untils.filter(|until| now < *until).min()
    }

    /// Whether there is a device that is none of these.
    pub(super) fn is_another_than(&self, devices: &[Device]) -> bool {
        self.devices.iter().any(|known| !devices.contains(&known.device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Device = Device::Cuda(0);
    const SECOND: Device = Device::Cuda(1);

    struct Rehearsal {
        start: Instant,
        seats: Seats,
    }

    impl Rehearsal {
        fn new(devices: &[Device]) -> Self {
            let engines: Vec<_> = devices.iter().map(|device| (*device, 8)).collect();
            Self {
                start: Instant::now(),
                seats: Seats::new(&engines),
            }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + Duration::from_millis(milliseconds)
        }

        /// What each seat may take of so many that wait.
        fn shares(&self, waiting: usize, at: u64) -> Vec<usize> {
            let now = self.at(at);
            (0..self.seats.seats.len())
                .map(|seat| self.seats.share(seat, waiting, now))
                .collect()
        }

        fn begin(&mut self, seat: usize, images: usize, at: u64) {
            self.seats.gathered(seat, images);
            assert!(self.seats.begin(seat, self.at(at)));
        }
    }

    #[test]
    fn free_engines_share_what_waits_and_never_wait_for_more() {
        let mut rehearsal = Rehearsal::new(&[FIRST, SECOND]);
        assert_eq!(rehearsal.shares(1, 0), [1, 0]);
        assert_eq!(rehearsal.shares(5, 0), [3, 0]);
        rehearsal.begin(0, 3, 0);
        assert_eq!(rehearsal.shares(2, 0), [0, 2]);
        // no more than its largest batch
        assert_eq!(rehearsal.shares(50, 0), [0, 8]);
        assert!(!rehearsal.seats.begin(0, rehearsal.at(1)), "it is busy");
    }

    #[test]
    fn while_all_are_busy_the_batch_of_the_first_to_be_free_is_filled() {
        let mut rehearsal = Rehearsal::new(&[FIRST, SECOND, SECOND]);
        rehearsal.begin(1, 8, 0);
        rehearsal.begin(0, 8, 1);
        rehearsal.begin(2, 8, 2);
        assert_eq!(rehearsal.shares(6, 3), [0, 6, 0]);
        rehearsal.seats.gathered(1, 6);
        assert_eq!(rehearsal.shares(6, 3), [0, 2, 0]);
        rehearsal.seats.gathered(1, 2);
        assert_eq!(rehearsal.shares(6, 3), [6, 0, 0]);
        // one that is free comes before
        rehearsal.seats.ran(2);
        assert_eq!(rehearsal.shares(6, 3), [0, 0, 6]);
        rehearsal.seats.ran(1);
        assert!(rehearsal.seats.begin(1, rehearsal.at(4)));
        assert_eq!(rehearsal.seats.room(1), 8);
    }

    #[test]
    fn a_device_that_failed_rests_for_longer_each_time_while_another_serves() {
        let mut rehearsal = Rehearsal::new(&[FIRST, FIRST, SECOND]);
        rehearsal.begin(0, 1, 0);
        rehearsal.seats.failed(0, rehearsal.at(0));
        assert_eq!(rehearsal.shares(4, 999), [0, 0, 4]);
        assert_eq!(
            rehearsal.seats.rested(rehearsal.at(999)),
            Some(rehearsal.at(1000))
        );
        assert_eq!(rehearsal.shares(4, 1000), [2, 0, 0]);
        // the second in a row
        rehearsal.begin(1, 1, 1000);
        rehearsal.seats.failed(1, rehearsal.at(1000));
        assert!(rehearsal.seats.rests(FIRST, rehearsal.at(2999)));
        assert!(!rehearsal.seats.rests(FIRST, rehearsal.at(3000)));
        // one that serves again begins anew
        rehearsal.begin(0, 1, 3000);
        rehearsal.seats.ran(0);
        rehearsal.begin(0, 1, 3000);
        rehearsal.seats.failed(0, rehearsal.at(3000));
        assert!(!rehearsal.seats.rests(FIRST, rehearsal.at(4000)));
        for _ in 0..40 {
            rehearsal.seats.failed(0, rehearsal.at(4000));
        }
        assert!(
            !rehearsal.seats.rests(FIRST, rehearsal.at(64_000)),
            "a minute at most"
        );
    }

    #[test]
    fn where_all_devices_failed_none_rests() {
        let mut rehearsal = Rehearsal::new(&[FIRST, SECOND]);
        rehearsal.seats.failed(0, rehearsal.at(0));
        rehearsal.seats.failed(1, rehearsal.at(10));
        assert_eq!(rehearsal.shares(4, 20), [2, 0]);
        assert!(rehearsal.seats.is_another_than(&[FIRST]));
        assert!(!rehearsal.seats.is_another_than(&[FIRST, SECOND]));

        let mut alone = Rehearsal::new(&[FIRST]);
        alone.seats.failed(0, alone.at(0));
        assert_eq!(alone.shares(4, 0), [4]);
    }
}
