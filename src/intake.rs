//! Room for what the doors are sent: so many bytes at a time, whoever sends them.
//!
//! A body is read when there is room for it, and gives its room back when the last that looks at it is done. So a hundred
//! senders at once cost no more memory than a few, and the bytes that are worked on next are still in the caches. Urgent
//! requests have room of their own. One client's bodies begin in at most three quarters of it, so that others find some.
//!
//! Invariants: one body never takes more than a quarter of the room that all bodies begin in; what it needs beyond that comes from room
//! for large bodies, all at once, when that much of it is there. Whoever waits for the latter holds none of it, so those who hold some
//! never wait for each other; and a large body that comes slowly delays large ones and nobody else.

mod pace;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::fault::{Fault, FaultKind};
use crate::inference::Priority;
pub(crate) use pace::Pace;

/// What room is counted in.
const UNIT: usize = 64 << 10;
/// The most that a body begins with: most radiographs need no more.
const FIRST: usize = 16 << 20;
/// From so many clients on, those that have no body here are forgotten.
const MANY_CLIENTS: usize = 256;

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
    /// The most of `begun` that one client has, in units.
    share: usize,
    /// What each client may still have of it.
    shares: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
    /// The same of the client that is asking, where that is known.
    own: Option<Arc<Semaphore>>,
}

/// Room that one body has.
pub(crate) struct Room {
    pool: Pool,
    begun: OwnedSemaphorePermit,
    /// As much of its client's share.
    own: Option<OwnedSemaphorePermit>,
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
            share: (begun as usize * 3).div_ceil(4),
            shares: Arc::default(),
            own: None,
        }
    }

    fn of(&self, client: &str) -> Self {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() > MANY_CLIENTS {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let known = shares.get(client).and_then(Weak::upgrade);
        let own = known.unwrap_or_else(|| {
            let own = Arc::new(Semaphore::new(self.share));
            shares.insert(client.to_owned(), Arc::downgrade(&own));
            own
        });
        Self {
            own: Some(own),
            ..self.clone()
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

    /// The same room, for one client's body; of a client without a name nobody knows what it has.
    pub(crate) fn of(&self, client: &str) -> Self {
        if client.is_empty() {
            return self.clone();
        }
        Self {
            routine: self.routine.of(client),
            urgent: self.urgent.of(client),
            patience: self.patience,
        }
    }

    /// The same room, for whoever waits no longer than that.
    pub(crate) fn within(&self, patience: Option<Duration>) -> Self {
        Self {
            patience: patience.map_or(self.patience, |patience| patience.min(self.patience)),
            ..self.clone()
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
        // whoever has had its share waits apart from the others, who would stand behind it otherwise
        let taking = async {
            let own = match &pool.own {
                Some(own) => Some(take(own, first).await?),
                None => None,
            };
            Ok((take(&pool.begun, first).await?, own))
        };
        let (begun, own) = in_time(self.patience, taking).await?;
        Ok(Room {
            begun,
            own,
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
        let large = take(&self.pool.large, beyond.min(self.pool.most));
        self.large = Some(in_time(self.patience, large).await?);
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
        if let Some(own) = &mut self.own {
            drop(own.split(begun.saturating_sub(needed)));
        }
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

async fn take(of: &Arc<Semaphore>, units: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
    Arc::clone(of).acquire_many_owned(units).await
}

async fn in_time<T>(
    patience: Duration,
    taking: impl Future<Output = Result<T, AcquireError>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(patience, taking).await {
        Ok(Ok(taken)) => Ok(taken),
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
    async fn one_client_leaves_room_for_others_and_nobody_waits_behind_it() {
        let intake = Intake::new(16 << 20, Duration::from_secs(30));
        let (one, other) = (intake.of("192.0.2.1"), intake.of("192.0.2.2"));
        let brief = Some(Duration::from_millis(20));
        let take = async |intake: &Intake| intake.within(brief).whole(2 << 20, Priority::Routine).await;
        let mut held = Vec::new();
        while let Ok(room) = take(&one).await {
            held.push(room);
        }
        assert_eq!(held.len(), 3, "three quarters of 9 MiB");
        // more of its bodies wait, and the other's goes before them
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let one = one.clone();
                tokio::spawn(async move { one.whole(2 << 20, Priority::Routine).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(take(&other).await.is_ok());
        let small = held.remove(0).hold(Bytes::from_static(b"shorter than declared"));
        for waiting in waiting {
            assert!(waiting.await.unwrap().is_ok(), "its turn comes");
        }
        drop(small);
        drop(held);
        drop((one, other));
        // without a body here a client is forgotten, when there are many
        for client in 0..2 * MANY_CLIENTS {
            intake.of(&client.to_string());
        }
        assert!(intake.routine.shares.lock().unwrap().len() <= MANY_CLIENTS + 2);
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
