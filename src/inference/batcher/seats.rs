//! Which of a model's engines takes what waits: a plain struct without lock, clock or thread.
//!
//! What holds:
//! - nothing waits for more: an engine that is free takes its share of what is there at once;
//! - while all are busy, the batch of the one that will be free first is filled, so that its images are gathered when it is;
//! - a device that failed rests, for longer each time, while another device serves; where all have failed, none rests;
//! - a device that fails even on an image that the model was proven with is silent: it is given nothing but that image, now and then, until
//!   it answers;
//! - a device that nobody has asked for a while is given that image, too: one that is lost is known to be before somebody asks.

use std::time::{Duration, Instant};

use crate::runtime::Device;

/// How long a device rests after its first failure; twice as long after each further one.
const REST: Duration = Duration::from_secs(1);
/// The longest that one rests.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// How long nothing is known of a device before it is tried.
const UNHEARD: Duration = Duration::from_mins(1);

/// How often in a row a silent device is tried before nothing but a new process is likely to help: some 15 seconds.
const TRIES: u32 = 5;

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
    /// When it last ran the model, or began to be tried.
    heard: Instant,
    /// Failures in a row.
    failures: u32,
    rests_until: Option<Instant>,
    silence: Option<Silence>,
}

/// A device that does not answer.
#[derive(Clone, Copy)]
struct Silence {
    unable: Unable,
    /// Trials in a row.
    tries: u32,
    /// When it is tried again.
    until: Instant,
}

/// Why a device fails even on an image that the model was proven with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inference) enum Unable {
    /// It has no memory left, which others may give back.
    Memory,
    /// Anything else: CUDA has given it up, or it is gone.
    Failed,
}

/// That no device answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::inference) struct Silent {
    /// Which devices.
    pub(in crate::inference) devices: Vec<Device>,
    /// What stands in the way of all of them; lack of memory where it is that of one.
    pub(in crate::inference) unable: Unable,
    /// Whether that has lasted so long that only a new process is likely to help.
    pub(in crate::inference) is_lost: bool,
}

/// The engines of one model.
pub(super) struct Seats {
    seats: Vec<Seat>,
    devices: Vec<Health>,
}

impl Seats {
    /// One for each engine, which has just proven itself: its device, and the size of its largest batch.
    pub(super) fn new(engines: &[(Device, usize)], now: Instant) -> Self {
        let mut devices: Vec<Health> = Vec::new();
        for &(device, _) in engines {
            if !devices.iter().any(|known| known.device == device) {
                devices.push(Health {
                    device,
                    heard: now,
                    failures: 0,
                    rests_until: None,
                    silence: None,
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

    /// A batch has been run, or the image of a trial.
    pub(super) fn ran(&mut self, seat: usize, now: Instant) {
        self.seats[seat].running = None;
        if let Some(health) = self.health(seat) {
            health.heard = now;
            (health.failures, health.rests_until, health.silence) = (0, None, None);
        }
    }

    /// When a seat's device is to be tried because nothing is known of it; one that is silent or at work is not.
    pub(super) fn unheard(&self, seat: usize) -> Option<Instant> {
        let device = self.device(seat);
        let busy = |seat: &Seat| seat.device == device && seat.running.is_some();
        let health = self.of(device).filter(|health| health.silence.is_none())?;
        (!self.seats.iter().any(busy)).then_some(health.heard + UNHEARD)
    }

    /// Begins a trial of a seat's device, if nothing is known of it.
    pub(super) fn begin_trial(&mut self, seat: usize, now: Instant) -> bool {
        let is_due = self.unheard(seat).is_some_and(|due| due <= now);
        if is_due {
            self.seats[seat].running = Some(now);
            if let Some(health) = self.health(seat) {
                health.heard = now;
            }
        }
        is_due
    }

    /// An engine is free, whatever came of it.
    pub(super) fn release(&mut self, seat: usize) {
        if let Some(seat) = self.seats.get_mut(seat) {
            seat.running = None;
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

    /// A seat's device failed on an image that the model was proven with.
    pub(super) fn fell_silent(&mut self, seat: usize, unable: Unable, now: Instant) {
        if let Some(health) = self.health(seat) {
            let tries = health.silence.map_or(0, |silence| silence.tries);
            let rest = REST.saturating_mul(1 << tries.min(16)).min(LONGEST_REST);
            health.silence = Some(Silence {
                unable,
                tries: tries + 1,
                until: now + rest,
            });
        }
    }

    /// A seat's device ran such an image.
    pub(super) fn answered(&mut self, seat: usize) {
        if let Some(health) = self.health(seat) {
            health.silence = None;
        }
    }

    /// When a seat's device, which is silent, is tried again.
    pub(super) fn silent_until(&self, seat: usize) -> Option<Instant> {
        self.of(self.device(seat))?.silence.map(|silence| silence.until)
    }

    /// That none of the devices answers, if so.
    pub(super) fn silent(&self) -> Option<Silent> {
        let silences: Option<Vec<Silence>> = self.devices.iter().map(|health| health.silence).collect();
        let silences = silences?;
        let lacks_memory = silences.iter().any(|silence| silence.unable == Unable::Memory);
        Some(Silent {
            devices: self.devices.iter().map(|health| health.device).collect(),
            unable: if lacks_memory {
                Unable::Memory
            } else {
                Unable::Failed
            },
            is_lost: !lacks_memory && silences.iter().all(|silence| silence.tries >= TRIES),
        })
    }

    /// As if nobody had asked for long.
    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        for health in &mut self.devices {
            health.heard = health.heard.checked_sub(UNHEARD).unwrap();
        }
    }

    fn health(&mut self, seat: usize) -> Option<&mut Health> {
        let device = self.seats[seat].device;
        self.devices.iter_mut().find(|known| known.device == device)
    }

    fn of(&self, device: Device) -> Option<&Health> {
        self.devices.iter().find(|known| known.device == device)
    }

    /// Whether a device is left alone, because it is silent, or because it failed lately and another can do its work.
    pub(super) fn rests(&self, device: Device, now: Instant) -> bool {
        let is_silent = |health: &Health| health.silence.is_some();
        let rests =
            |health: &Health| is_silent(health) || health.rests_until.is_some_and(|until| now < until);
        let Some(health) = self.of(device) else {
            return false;
        };
        is_silent(health) || (rests(health) && !self.devices.iter().all(rests))
    }

    /// When the next device has rested, if one rests.
    pub(super) fn rested(&self, now: Instant) -> Option<Instant> {
        let untils = self.devices.iter().filter_map(|health| health.rests_until);
        untils.filter(|until| now < *until).min()
    }

    /// Whether there is a device that is none of these, and answers.
    pub(super) fn is_another_than(&self, devices: &[Device]) -> bool {
        self.devices
            .iter()
            .any(|known| !devices.contains(&known.device) && known.silence.is_none())
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
            let start = Instant::now();
            Self {
                start,
                seats: Seats::new(&engines, start),
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
        rehearsal.seats.ran(2, rehearsal.at(3));
        assert_eq!(rehearsal.shares(6, 3), [0, 0, 6]);
        rehearsal.seats.ran(1, rehearsal.at(3));
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
        rehearsal.seats.ran(0, rehearsal.at(3000));
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

    #[test]
    fn a_silent_device_is_given_nothing_and_tried_after_longer_each_time() {
        let mut rehearsal = Rehearsal::new(&[FIRST, SECOND]);
        let mut at = 0;
        for rest in [1, 2, 4, 8, 16, 32, 60, 60] {
            rehearsal.seats.fell_silent(0, Unable::Failed, rehearsal.at(at));
            at += rest * 1000;
            assert_eq!(rehearsal.seats.silent_until(0), Some(rehearsal.at(at)));
        }
        assert_eq!(rehearsal.shares(4, at + 1), [0, 4]);
        assert_eq!(rehearsal.seats.silent_until(1), None);
        assert!(!rehearsal.seats.is_another_than(&[SECOND]));
        assert_eq!(rehearsal.seats.silent(), None, "the second answers");
        rehearsal.seats.answered(0);
        assert_eq!(rehearsal.shares(4, at + 1), [2, 0]);
        rehearsal.seats.fell_silent(0, Unable::Failed, rehearsal.at(0));
        assert_eq!(
            rehearsal.seats.silent_until(0),
            Some(rehearsal.at(1000)),
            "it begins anew"
        );
    }

    #[test]
    fn a_device_that_nobody_asked_for_a_while_is_tried_once_and_no_other_is() {
        let mut rehearsal = Rehearsal::new(&[FIRST, FIRST, SECOND]);
        let minute = 60_000;
        for seat in 0..3 {
            assert_eq!(rehearsal.seats.unheard(seat), Some(rehearsal.at(minute)));
            assert!(!rehearsal.seats.begin_trial(seat, rehearsal.at(minute - 1)));
        }
        // the second device is asked now and then
        rehearsal.begin(2, 1, 30_000);
        assert_eq!(rehearsal.seats.unheard(2), None, "it is at work");
        rehearsal.seats.ran(2, rehearsal.at(30_000));
        assert!(!rehearsal.seats.begin_trial(2, rehearsal.at(minute)));
        // one engine tries the first
        assert!(rehearsal.seats.begin_trial(0, rehearsal.at(minute)));
        assert!(!rehearsal.seats.begin_trial(1, rehearsal.at(minute)));
        assert!(!rehearsal.seats.begin(0, rehearsal.at(minute)), "it is busy");
        rehearsal.seats.ran(0, rehearsal.at(minute));
        assert_eq!(rehearsal.seats.unheard(1), Some(rehearsal.at(2 * minute)));
        // one that is silent has trials of its own
        rehearsal
            .seats
            .fell_silent(0, Unable::Failed, rehearsal.at(minute));
        assert_eq!(rehearsal.seats.unheard(0), None);
    }

    #[test]
    fn where_no_device_answers_nothing_is_given_to_any_and_in_the_end_they_are_lost() {
        let mut rehearsal = Rehearsal::new(&[FIRST, SECOND]);
        for tries in 1..=TRIES {
            for seat in 0..2 {
                assert!(rehearsal.seats.silent().is_none_or(|silent| !silent.is_lost));
                rehearsal.seats.fell_silent(seat, Unable::Failed, rehearsal.at(0));
            }
            let silent = rehearsal.seats.silent().unwrap();
            assert_eq!((silent.is_lost, silent.unable), (tries == TRIES, Unable::Failed));
            assert_eq!(silent.devices, [FIRST, SECOND]);
        }
        assert_eq!(rehearsal.shares(4, 100_000), [0, 0]);
        // memory may come back
        rehearsal.seats.fell_silent(1, Unable::Memory, rehearsal.at(0));
        let silent = rehearsal.seats.silent().unwrap();
        assert_eq!((silent.is_lost, silent.unable), (false, Unable::Memory));
        rehearsal.seats.answered(0);
        assert_eq!(rehearsal.seats.silent(), None);
    }
}
