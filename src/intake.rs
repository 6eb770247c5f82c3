//! Room for what the doors are sent: so many bytes at a time, whoever sends them.
//!
//! A body is read when there is room for it, and gives its room back when the last that looks at it is done. So a hundred
//! senders at once cost no more memory than a few, and the bytes that are worked on next are still in the caches. Urgent
//! requests have room of their own.
//!
//! Invariants: one body never takes more than a quarter of the room that all bodies begin in; what it needs beyond that comes from room
//! for large bodies, all at once, when that much of it is there. Whoever waits for the latter holds none of it, so those who hold some
//! never wait for each other; and a large body that comes slowly delays large ones and nobody else.

mod pace;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Fault, FaultKind};
use crate::inference::Priority;
pub(crate) use pace::Pace;

/// What room is counted in.
const UNIT: usize = 64 << 10;
/// The most that a body begins with: most radiographs need no more.
const FIRST: usize = 16 << 20;

/// Room for bodies; clones share it.
#[derive(Clone)]
pub struct Intake {
    routine: Pool,
    urgent: Pool,
    patience: Duration,
}

/// Room for bodies of one priority.
#[derive(Clone)]
struct Pool {
    /// Where every body begins.
    begun: Arc<Semaphore>,
    /// The most that one has of it, in units.
    first: u32,
    /// For what large ones need beyond that: a quarter of all.
    large: Arc<Semaphore>,
    /// All of it, in units.
    most: u32,
}

/// Room that one body has.
pub(crate) struct Room {
    pool: Pool,
    begun: OwnedSemaphorePermit,
    large: Option<OwnedSemaphorePermit>,
    patience: Duration,
}

impl Pool {
    fn new(bytes: usize) -> Self {
        let units = |bytes: usize| {
            u32::try_from(bytes / UNIT)
                .unwrap_or(u32::MAX / 8)
                .clamp(1, u32::MAX / 8)
        };
        let (begun, most) = (units(bytes - bytes / 4), units(bytes / 4));
        Self {
            begun: Arc::new(Semaphore::new(begun as usize)),
            first: (begun / 4).clamp(1, units(FIRST)),
            large: Arc::new(Semaphore::new(most as usize)),
            most,
        }
    }
}

impl Intake {
    /// Room for `bytes`, of which a quarter is for urgent requests; who has to wait for it longer than `patience` is told to come
    /// back.
    #[must_use]
    pub fn new(bytes: usize, patience: Duration) -> Self {
        Self {
            routine: Pool::new(bytes - bytes / 4),
            urgent: Pool::new(bytes / 4),
            patience,
        }
    }

    /// Waits until a body of `declared` bytes, or of unknown length, may begin. Before more than a little of it is in memory, it has to
    /// [`grow`](Room::grow).
    ///
    /// # Errors
    /// `overloaded` where there was no room in time.
    pub(crate) async fn room(&self, declared: Option<usize>, priority: Priority) -> Result<Room, Fault> {
        let pool = match priority {
            Priority::Routine => &self.routine,
            Priority::Stat => &self.urgent,
        };
        let first = declared.map_or(pool.first, units).min(pool.first);
        Ok(Room {
            begun: take(&pool.begun, first, self.patience).await?,
            large: None,
            pool: pool.clone(),
            patience: self.patience,
        })
    }

    /// How many bytes of routine bodies may still begin.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.routine.begun.available_permits() * UNIT
    }

    /// Waits until there is room for all of `bytes`, which are here at once. What is larger than all of the room takes all of it.
    ///
    /// # Errors
    /// `overloaded` where there was none in time.
    pub(crate) async fn whole(&self, bytes: usize, priority: Priority) -> Result<Room, Fault> {
        let mut room = self.room(Some(bytes), priority).await?;
        room.grow(bytes, bytes).await?;
        Ok(room)
    }
}

impl Room {
    /// Waits for more room, until there is enough for `bytes`: that for all that there may be of the body in memory at once, which is at
    /// most `whole`.
    ///
    /// # Errors
    /// `overloaded` where there was none in time.
    pub(crate) async fn grow(&mut self, bytes: usize, whole: usize) -> Result<(), Fault> {
        let begun = self.begun.num_permits() as u32;
        if units(bytes) <= begun || self.large.is_some() {
            return Ok(());
        }
        let beyond = units(whole.max(bytes)) - begun;
        let large = take(&self.pool.large, beyond.min(self.pool.most), self.patience).await?;
        self.large = Some(large);
        Ok(())
    }

    /// Gives back what it has grown by: what is in memory is no larger than when it began.
    pub(crate) fn shrink(&mut self) {
        self.large = None;
    }

    /// The body, which holds its room for as long as anyone looks at it.
    pub(crate) fn hold(mut self, bytes: Bytes) -> Bytes {
        let needed = units(bytes.len()) as usize;
        let begun = self.begun.num_permits();
        drop(self.begun.split(begun.saturating_sub(needed)));
        self.large = self.large.take().and_then(|mut large| {
            let beyond = needed.saturating_sub(begun);
            drop(large.split(large.num_permits().saturating_sub(beyond)));
            (beyond > 0).then_some(large)
        });
        Bytes::from_owner(Held { bytes, _room: self })
    }
}

struct Held {
    bytes: Bytes,
    _room: Room,
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

    async fn is_there_room(intake: &Intake, mebibytes: usize) -> bool {
        intake.whole(mebibytes << 20, Priority::Routine).await.is_ok()
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_and_urgent_has_room_of_its_own() {
        let intake = intake();
        let room = intake.whole(5 << 20, Priority::Routine).await.unwrap();
        let refused = intake.whole(5 << 20, Priority::Routine).await;
        assert_eq!(refused.err().map(|fault| fault.code), Some("overloaded"));
        assert!(intake.whole(4 << 20, Priority::Stat).await.is_ok());

        // the room is held by whoever looks at the body, and no longer
        let mut bodies = vec![room.hold(Bytes::from(vec![7; 5 << 20]))];
        let part = bodies.remove(0).slice(2..6);
        assert_eq!(part, [7; 4][..]);
        assert!(!is_there_room(&intake, 5).await);
        drop(part);
        assert!(is_there_room(&intake, 5).await);

        // what was declared and did not come is given back
        let room = intake.whole(64 << 20, Priority::Routine).await.unwrap();
        let short = room.hold(Bytes::from_static(b"a body that was shorter than declared"));
        assert!(is_there_room(&intake, 5).await);
        drop(short);
    }

    #[tokio::test]
    async fn a_large_body_keeps_none_but_large_ones_waiting() {
        let intake = intake();
        // it says that it has more than all of the room, and takes little before it comes
        let mut large = intake.room(Some(64 << 20), Priority::Routine).await.unwrap();
        assert!(is_there_room(&intake, 5).await);
        large.grow(1 << 20, 64 << 20).await.unwrap();
        assert!(is_there_room(&intake, 5).await);
        large.grow(3 << 20, 64 << 20).await.unwrap();
        assert!(!is_there_room(&intake, 5).await, "another large one");
        let mut unknown = intake.room(None, Priority::Routine).await.unwrap();
        unknown.grow(2 << 20, 64 << 20).await.unwrap();
        assert!(is_there_room(&intake, 2).await, "small ones");
        assert!(unknown.grow(5 << 20, 5 << 20).await.is_err());
        large.shrink();
        unknown.grow(5 << 20, 5 << 20).await.unwrap();
    }
}
