//! Room for what the doors are sent: so many bytes at a time, whoever sends them.
//!
//! A body is read when there is room for it, and gives its room back when the last that looks at it is done. So a hundred
//! senders at once cost no more memory than a few, and the bytes that are worked on next are still in the caches. Urgent
//! requests have room of their own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Fault, FaultKind};
use crate::inference::Priority;

/// What room is counted in.
const UNIT: usize = 64 << 10;
/// What a body of unknown length is given at first, and each time that it needs more.
const STEP: usize = 4 << 20;

/// Room for bodies; clones share it.
#[derive(Clone)]
pub struct Intake {
    routine: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    /// The room of each, in units.
    units: [u32; 2],
    patience: Duration,
}

/// Room that one body has.
pub(crate) struct Room {
    of: Arc<Semaphore>,
    permit: OwnedSemaphorePermit,
    most: u32,
    patience: Duration,
}

impl Intake {
    /// Room for `bytes`, of which a quarter is for urgent requests; who has to wait for it longer than `patience` is told to come
    /// back.
    #[must_use]
    pub fn new(bytes: usize, patience: Duration) -> Self {
        let units = |bytes: usize| {
            u32::try_from(bytes / UNIT)
                .unwrap_or(u32::MAX / 8)
                .clamp(1, u32::MAX / 8)
        };
        let units = [units(bytes - bytes / 4), units(bytes / 4)];
        let [routine, urgent] = units.map(|units| Arc::new(Semaphore::new(units as usize)));
        Self {
            routine,
            urgent,
            units,
            patience,
        }
    }

    /// Waits until there is room for a body of `declared` bytes. One that is larger than all of the room takes all of it.
    ///
    /// # Errors
    /// `overloaded` where there was none in time.
    pub(crate) async fn room(&self, declared: Option<usize>, priority: Priority) -> Result<Room, Fault> {
        let (of, most) = match priority {
            Priority::Routine => (&self.routine, self.units[0]),
            Priority::Stat => (&self.urgent, self.units[1]),
        };
        let units = units(declared.unwrap_or(STEP)).min(most);
        Ok(Room {
            permit: take(of, units, self.patience).await?,
            of: Arc::clone(of),
            most,
            patience: self.patience,
        })
    }
}

impl Room {
    /// Waits for more room, until there is enough for `bytes`.
    ///
    /// # Errors
    /// `overloaded` where there was none in time.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<(), Fault> {
        let has = self.permit.num_permits() as u32;
        if units(bytes) <= has || has >= self.most {
            return Ok(());
        }
        let more = units(bytes + STEP).min(self.most) - has;
        self.permit.merge(take(&self.of, more, self.patience).await?);
        Ok(())
    }

    /// The body, which holds its room for as long as anyone looks at it.
    pub(crate) fn hold(mut self, bytes: Bytes) -> Bytes {
        let surplus = self
            .permit
            .num_permits()
            .saturating_sub(units(bytes.len()) as usize);
        drop(self.permit.split(surplus));
        Bytes::from_owner(Held {
            bytes,
            _permit: self.permit,
        })
    }
}

struct Held {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX / 8)
}

async fn take(of: &Arc<Semaphore>, units: u32, patience: Duration) -> Result<OwnedSemaphorePermit, Fault> {
    let taking = Arc::clone(of).acquire_many_owned(units);
    match tokio::time::timeout(patience, taking).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(Fault::new(
            FaultKind::Overloaded,
            "overloaded",
            "there was no room for the body in time: try again in a moment",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake() -> Intake {
        Intake::new(16 << 20, Duration::from_millis(50))
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_and_urgent_has_room_of_its_own() {
        let intake = intake();
        let room = intake.room(Some(10 << 20), Priority::Routine).await.unwrap();
        let refused = intake.room(Some(4 << 20), Priority::Routine).await;
        assert_eq!(refused.err().map(|fault| fault.code), Some("overloaded"));
        assert!(intake.room(Some(4 << 20), Priority::Stat).await.is_ok());

        // the room is held by whoever looks at the body, and no longer
        let bytes = room.hold(Bytes::from_static(b"a body that was shorter than declared"));
        let part = bytes.slice(2..6);
        drop(bytes);
        assert_eq!(part, "body");
        assert!(intake.room(Some(12 << 20), Priority::Routine).await.is_err());
        drop(part);
        assert!(intake.room(Some(12 << 20), Priority::Routine).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_grows_and_one_larger_than_the_room_takes_all() {
        let intake = intake();
        let mut room = intake.room(None, Priority::Routine).await.unwrap();
        room.grow(9 << 20).await.unwrap();
        assert!(intake.room(Some(1 << 20), Priority::Routine).await.is_err());
        drop(room);
        let mut all = intake.room(Some(64 << 20), Priority::Routine).await.unwrap();
        all.grow(64 << 20).await.unwrap();
    }
}
