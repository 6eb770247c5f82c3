//! How fast a body or a data set has to come: a sender that is slow for long keeps a place and memory from others.

use std::time::Duration;

/// What every one may take.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes a second that come beyond that: half a megabit, less than the slowest line that carries radiographs.
const SLOWEST: usize = 64 << 10;

/// What came so far, and how long the sender needed for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    bytes: usize,
    time: Duration,
}

impl Pace {
    /// `bytes` came, after `time` in which the sender was waited for. `false` where it is too slow by now.
    pub(crate) fn came(&mut self, bytes: usize, time: Duration) -> bool {
        self.bytes += bytes;
        self.time += time;
        self.time <= self.allowed()
    }

    /// How long the sender may still say nothing.
    pub(crate) fn left(&self) -> Duration {
        self.allowed().saturating_sub(self.time)
    }

    fn allowed(&self) -> Duration {
        GRACE + Duration::from_secs((self.bytes / SLOWEST) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_line_is_waited_for_and_a_trickle_is_not() {
        let second = Duration::from_secs(1);
        let mut slow = Pace::default();
        assert!((0..3600).all(|_| slow.came(SLOWEST, second)));
        let mut trickle = Pace::default();
        assert_eq!((0..3600).take_while(|_| trickle.came(16, second)).count(), 10);
        // a pause after a good beginning, as long as what came allows
        let mut pausing = Pace::default();
        assert!(pausing.came(100 * SLOWEST, second));
        assert_eq!(pausing.left(), 109 * second);
        assert!(pausing.came(1, 109 * second));
        assert!(!pausing.came(1, second));
    }
}
