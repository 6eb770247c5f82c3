//! Room for what the doors are sent: so many bytes at a time, whoever sends them.
//!
//! A body is read when there is room for it, and gives its room back when the last that looks at it is done. So a hundred
//! senders at once cost no more memory than a few, and the bytes that are worked on next are still in the caches. Urgent
//! requests have room of their own. One client's bodies begin in at most three quarters of it, so that others find some, and so it is with
//! what large bodies need beyond that.
//!
//! Invariants: one body never takes more than a quarter of the room that all bodies begin in; what it needs beyond that comes from room
//! for large bodies, all at once, when that much of it is there. Whoever waits for the latter holds none of it, so those who hold some
//! never wait for each other; and who has had its client's share of it waits apart from others. and a large body that comes slowly delays large ones and nobody else.

mod pace;
mod shares;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::fault::{Fault, FaultKind};
use crate::inference::Priority;
pub(crate) use pace::Pace;
pub(crate) use shares::{Shares, share};

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
    /// All of it, in units.
    all: u32,
    /// For what large ones need beyond that: a quarter of all.
    large: Arc<Semaphore>,
    /// All of that, in units.
    most: u32,
    /// What each client may still have.
    shares: Shares<Own>,
    /// The same of the client that is asking, where that is known.
    own: Option<Arc<Own>>,
}

/// What one client may still have of a pool.
struct Own {
    begun: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Own {
    fn new(begun: u32, large: u32) -> Self {
        let semaphore = |units: u32| Arc::new(Semaphore::new(share(units as usize)));
        Self {
            begun: semaphore(begun),
            large: semaphore(large),
        }
    }
}

/// Room that one body has.
pub(crate) struct Room {
    pool: Pool,
    begun: Taken,
    large: Option<Taken>,
    patience: Duration,
}

/// Some of a pool.
struct Taken {
    of_all: OwnedSemaphorePermit,
    /// As much of its client's share; all of that, where it is less.
    own: Option<OwnedSemaphorePermit>,
}

impl Taken {
    /// Waits for `units`, of which the client has at most `share`. Whoever has had its share waits apart from the others, who would stand
    /// behind it otherwise.
    async fn wait(
        all: &Arc<Semaphore>,
        own: Option<(&Arc<Semaphore>, usize)>,
        units: u32,
    ) -> Result<Self, AcquireError> {
        let own = match own {
            Some((own, share)) => Some(take(own, units.min(share as u32)).await?),
            None => None,
        };
        Ok(Self {
            of_all: take(all, units).await?,
            own,
        })
    }

    fn units(&self) -> usize {
        self.of_all.num_permits()
    }

    /// Gives back all but `units`.
    fn keep(&mut self, units: usize) {
        for permit in [Some(&mut self.of_all), self.own.as_mut()].into_iter().flatten() {
            drop(permit.split(permit.num_permits().saturating_sub(units)));
        }
    }
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
            all: begun,
            shares: Shares::default(),
            own: None,
        }
    }

    fn of(&self, client: &str) -> Self {
        Self {
            own: Some(self.shares.of(client, || Own::new(self.all, self.most))),
            ..self.clone()
        }
    }

    /// Room for a body to begin in.
    async fn begin(&self, units: u32) -> Result<Taken, AcquireError> {
        let own = self
            .own
            .as_ref()
            .map(|own| (&own.begun, share(self.all as usize)));
        Taken::wait(&self.begun, own, units).await
    }

    /// What a large body needs beyond that.
    async fn grow(&self, units: u32) -> Result<Taken, AcquireError> {
        let own = self
            .own
            .as_ref()
            .map(|own| (&own.large, share(self.most as usize)));
        Taken::wait(&self.large, own, units.min(self.most)).await
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
        Ok(Room {
            begun: in_time(self.patience, pool.begin(first)).await?,
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
        let begun = self.begun.units() as u32;
        if units(bytes) <= begun || self.large.is_some() {
            return Ok(());
        }
        let beyond = units(whole.max(bytes)) - begun;
        self.large = Some(in_time(self.patience, self.pool.grow(beyond)).await?);
        Ok(())
    }

    /// Gives back what it has grown by: what is in memory is no larger than when it began.
    pub(crate) fn shrink(&mut self) {
        self.large = None;
    }

    /// The body, which holds its room for as long as anyone looks at it.
    pub(crate) fn hold(mut self, bytes: Bytes) -> Bytes {
        let needed = units(bytes.len()) as usize;
        let beyond = needed.saturating_sub(self.begun.units());
        self.begun.keep(needed);
        self.large = self.large.take().filter(|_| beyond > 0);
        if let Some(large) = &mut self.large {
            large.keep(beyond);
        }
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
        for client in 0..2 * shares::MANY_CLIENTS {
            intake.of(&client.to_string());
        }
        assert!(intake.routine.shares.len() <= shares::MANY_CLIENTS + 2);
    }

    /// Of 3 MiB for large bodies one client has at most three quarters, and one body all of it.
    #[tokio::test]
    async fn one_clients_large_bodies_leave_room_for_those_of_others() {
        let intake = Intake::new(16 << 20, Duration::from_secs(30));
        let (one, other) = (intake.of("192.0.2.1"), intake.of("192.0.2.2"));
        let brief = Some(Duration::from_millis(20));
        // 2.25 MiB begin, 0.75 MiB are beyond that
        let take = async |intake: &Intake| intake.within(brief).whole(3 << 20, Priority::Routine).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut room = take(&one).await.unwrap();
            // only what is beyond stays
            room.begun.keep(0);
            held.push(room);
        }
        assert!(take(&one).await.is_err());
        let waiting = tokio::spawn(async move { one.whole(3 << 20, Priority::Routine).await.map(drop) });
        tokio::task::yield_now().await;
        assert!(take(&other).await.is_ok(), "it does not stand behind what waits");
        held.pop();
        assert!(waiting.await.unwrap().is_ok(), "its turn comes");
        held.clear();
        let most = intake
            .of("192.0.2.1")
            .within(brief)
            .whole(64 << 20, Priority::Routine)
            .await;
        assert!(most.is_ok(), "the only one may be as large as all of it");
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
