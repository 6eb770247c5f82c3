//! What waits for a model's engines, and how it becomes their next batches.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::seats::{Seats, Silent, Unable};
use super::{Answer, Batch, Work, Works, unable};
use crate::fault::Fault;
use crate::image::Tensor;
use crate::inference::line::{Line, Place, Wanted};
use crate::inference::request::Call;
use crate::inference::workers::full;
use crate::runtime::{Device, Staging};

pub(super) struct Waiting {
    pub(super) line: Line<Work>,
    /// What a device failed at, and another may try.
    pub(super) failed: Works,
    pub(super) seats: Seats,
    pub(super) open: bool,
}

impl Waiting {
    /// What a seat is to put into its batch now; what other devices failed at goes first, since it has waited longest.
    pub(super) fn take(&mut self, seat: usize, now: Instant) -> Works {
        let (device, room) = (self.seats.device(seat), self.seats.room(seat));
        if self.seats.silent_until(seat).is_some() {
            return Works::new();
        }
        let mut taken = Vec::new();
        while taken.len() < room {
            let untried = |(_, work): &(Place, Work)| !work.failed_on.contains(&device);
            let Some(index) = self.failed.iter().position(untried) else {
                break;
            };
            let (place, work) = self.failed.swap_remove(index);
            if now < place.deadline && work.wanted() {
                taken.push((place, work));
            }
        }
        let share = self
            .seats
            .share(seat, self.line.len(), now)
            .min(room - taken.len());
        taken.extend(std::iter::from_fn(|| self.line.next(now)).take(share));
        self.seats.gathered(seat, taken.len());
        taken
    }

    /// Whether each of these images has a device left to try.
    fn may_leave(&self, works: &Works, device: Device) -> bool {
        let another = |(_, work): &(Place, Work)| {
            let tried: Vec<Device> = work.failed_on.iter().copied().chain([device]).collect();
            self.seats.is_another_than(&tried)
        };
        self.open && works.iter().all(another)
    }

    /// Leaves images to other devices; those that no device is left for come back.
    fn leave_to_others(&mut self, mut works: Works, device: Device) -> Works {
        for (_, work) in &mut works {
            work.failed_on.push(device);
        }
        let (left, lost): (Works, Works) = works
            .into_iter()
            .partition(|(_, work)| self.open && self.seats.is_another_than(&work.failed_on));
        self.failed.extend(left);
        lost
    }

    /// What waits and no device is left for.
    fn lost(&mut self, now: Instant) -> Works {
        let seats = &self.seats;
        let hopeless = |(_, work): &mut (Place, Work)| !seats.is_another_than(&work.failed_on);
        let mut lost: Works = self.failed.extract_if(.., hopeless).collect();
        if self.seats.silent().is_some() {
            lost.extend(std::iter::from_fn(|| self.line.next(now)));
        }
        lost
    }
}

pub(super) struct Shared {
    waiting: Mutex<Waiting>,
    /// Something arrived, an engine is free or has failed, or all is over.
    pub(super) changed: Condvar,
}

impl Shared {
    pub(super) fn new(engines: &[(Device, usize)], capacity: usize) -> Self {
        let waiting = Waiting {
            line: Line::new(capacity),
            failed: Vec::new(),
            seats: Seats::new(engines, Instant::now()),
            open: true,
        };
        Self {
            waiting: Mutex::new(waiting),
            changed: Condvar::new(),
        }
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // a panic while the lock was held cannot leave the line half changed
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills a seat's next batch until its engine is free and there is something to run; a batch without images where its device is to be
    /// tried. `None` once all is over.
    pub(super) fn gather(&self, seat: usize, mut staging: Staging) -> Option<Batch> {
        let mut works = Works::new();
        loop {
            let taken = self.more(seat, &mut works)?;
            if works.is_empty() {
                // what was in it is not wanted any more
                staging.clear();
            }
            if taken.is_empty() {
                return Some(Batch { staging, works });
            }
            let put = staging.extend(taken.iter().map(|(_, work)| &work.tensor));
            for ((place, work), put) in taken.into_iter().zip(put) {
                match put {
                    Ok(()) => works.push((place, work)),
                    // only this image is at fault, and it has no place in the batch
                    Err(error) => {
                        self.waiting().seats.dropped(seat);
                        let _ = work.reply.send(Err(error.into()));
                    }
                }
            }
            if staging.len() == staging.capacity() {
                // nothing can join it: it goes to the device while that is busy
                staging.send();
            }
        }
    }

    /// Waits until there is more for a seat's batch, which holds `works`, or it is to be run, or the device is to be tried: then nothing is
    /// given. `None` once all is over.
    fn more(&self, seat: usize, works: &mut Works) -> Option<Works> {
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            let device = waiting.seats.device(seat);
            if !works.is_empty() && waiting.seats.rests(device, now) && waiting.may_leave(works, device) {
                // it failed while this was gathered
                waiting.seats.emptied(seat);
                waiting.leave_to_others(std::mem::take(works), device);
                self.changed.notify_all();
            }
            let taken = waiting.take(seat, now);
            let dropped = waiting.line.dropped();
            if !taken.is_empty() {
                // it may be another's turn now
                self.changed.notify_all();
                drop(waiting);
                return Some(taken);
            }
            if !dropped.is_empty() {
                drop(waiting);
                drop(dropped);
                waiting = self.waiting();
                continue;
            }
            if !works.is_empty() && works.iter().all(|(_, work)| !work.wanted()) {
                waiting.seats.emptied(seat);
                works.clear();
                continue;
            }
            if !works.is_empty() && waiting.seats.begin(seat, now) {
                self.changed.notify_all();
                return Some(Works::new());
            }
            if !waiting.open && works.is_empty() && waiting.line.len() == 0 {
                self.changed.notify_all();
                return None;
            }
            let is_idle = works.is_empty() && waiting.open;
            if is_idle && waiting.seats.begin_trial(seat, now) {
                return Some(Works::new());
            }
            let unheard = waiting.seats.unheard(seat).filter(|_| is_idle);
            let next = [waiting.seats.rested(now), unheard];
            waiting = match next.into_iter().flatten().min() {
                None => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    let waited = self
                        .changed
                        .wait_timeout(waiting, next.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// A batch has been run, or has failed: the engine is free.
    pub(super) fn ended(&self, seat: usize, failed: Option<Works>) -> Works {
        let mut waiting = self.waiting();
        let lost = match failed {
            None => {
                waiting.seats.ran(seat, Instant::now());
                Works::new()
            }
            Some(works) => {
                let device = waiting.seats.device(seat);
                waiting.seats.failed(seat, Instant::now());
                waiting.leave_to_others(works, device)
            }
        };
        self.changed.notify_all();
        lost
    }

    /// A seat's device fails on an image that the model was proven with; gives what waited and has no device left.
    pub(super) fn fell_silent(&self, seat: usize, unable: Unable) -> Works {
        let mut waiting = self.waiting();
        let now = Instant::now();
        waiting.seats.fell_silent(seat, unable, now);
        let lost = waiting.lost(now);
        self.changed.notify_all();
        lost
    }

    /// A trial of a seat's device is over, which nobody had asked for long: the engine is free.
    pub(super) fn tried(&self, seat: usize, answers: bool) {
        let mut waiting = self.waiting();
        if answers {
            waiting.seats.ran(seat, Instant::now());
        } else {
            waiting.seats.release(seat);
        }
        self.changed.notify_all();
    }

    /// A seat's device runs such an image.
    pub(super) fn answered(&self, seat: usize) {
        self.waiting().seats.answered(seat);
        self.changed.notify_all();
    }

    /// When a seat's device, which is silent, is tried again.
    pub(super) fn silent_until(&self, seat: usize) -> Option<Instant> {
        self.waiting().seats.silent_until(seat)
    }

    /// That no device answers, if so.
    pub(super) fn silent(&self) -> Option<Silent> {
        self.waiting().seats.silent()
    }

    /// Puts an image into the line.
    ///
    /// # Errors
    /// Where there is no place, or no device that answers.
    pub(super) fn push(
        &self,
        tensor: Tensor,
        call: &Call,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Result<Answer, Fault>>, Fault> {
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let place = Place {
            priority: call.priority,
            client: Arc::clone(&call.client),
            since,
            deadline,
        };
        let work = Work {
            tensor,
            reply,
            failed_on: Vec::new(),
        };
        let (pushed, dropped) = {
            let mut waiting = self.waiting();
            if let Some(silent) = waiting.seats.silent() {
                return Err(unable(silent.unable));
            }
            (waiting.line.push(work, place, since), waiting.line.dropped())
        };
        drop(dropped);
        pushed.map_err(full)?;
        // whose turn it is, they see themselves
        self.changed.notify_all();
        Ok(answer)
    }
}

/// Gathers one batch after the other, until all is over.
pub(super) fn gather(shared: &Shared, seat: usize, empty: &Receiver<Staging>, hand_over: &Sender<Batch>) {
    while let Ok(staging) = empty.recv() {
        let gathered = shared.gather(seat, staging);
        if gathered.is_none_or(|batch| hand_over.send(batch).is_err()) {
            return;
        }
    }
}
