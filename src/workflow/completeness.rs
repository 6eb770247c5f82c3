//! When a study is complete. Pure: the time is an argument.
//!
//! DICOM does not say how many instances a study will have, so a study counts as complete when nothing of it has
//! arrived for a while. A later image is never lost: it makes a new generation, which is decided anew.

use std::time::Duration;

use crate::store::Timestamp;

/// What is known of a study when the decision is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When its content last changed.
    pub last_arrival_at: Timestamp,
}

/// Whether to analyse a study now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Not before this time; an arrival before it moves it on.
    Wait(Timestamp),
    /// Now.
    Ready,
}

/// Decides for one study, whose sender must have been quiet for `quiet`.
#[must_use]
pub fn decide(snapshot: &Snapshot, quiet: Duration, now: Timestamp) -> Decision {
    let quiet = i64::try_from(quiet.as_millis()).unwrap_or(i64::MAX);
    let until = Timestamp(snapshot.last_arrival_at.0.saturating_add(quiet));
    // an arrival in the future means that the clock was set back: waiting for it could take hours
    if now >= until || snapshot.last_arrival_at > now {
        Decision::Ready
    } else {
        Decision::Wait(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(2);

    fn at(now: i64) -> Decision {
        decide(
            &Snapshot {
                last_arrival_at: Timestamp(10_000),
            },
            QUIET,
            Timestamp(now),
        )
    }

    #[test]
    fn waits_until_the_sender_has_been_quiet() {
        assert_eq!(at(10_000), Decision::Wait(Timestamp(12_000)));
        assert_eq!(at(11_999), Decision::Wait(Timestamp(12_000)));
        assert_eq!(at(12_000), Decision::Ready);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_hold_a_study_up() {
        assert_eq!(at(9_999), Decision::Ready);
    }

    #[test]
    fn without_a_quiet_time_a_study_is_ready_at_once() {
        assert_eq!(
            decide(
                &Snapshot {
                    last_arrival_at: Timestamp(1)
                },
                Duration::ZERO,
                Timestamp(1)
            ),
            Decision::Ready
        );
    }
}
