//! When a study is complete. Pure.
//!
//! DICOM does not say how many instances a study will have, so a study counts as complete when nothing of it has
//! arrived for a while, unless someone knows more: its header or an order says how many there are, a workitem lists them, or its
//! result is asked for now. A later image is never lost: it makes a new generation, which is decided anew.

use std::time::Duration;

use crate::store::{Basis, Completeness, Snapshot};

/// How long studies are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Without a new image, where nobody has said how many there are.
    pub quiet: Duration,
    /// Without a new image, where fewer have arrived than someone said.
    pub overdue: Duration,
}

/// How long a study is waited for from its last change on.
#[must_use]
pub(super) fn wait(snapshot: &Snapshot, patience: &Patience) -> Duration {
    match basis(snapshot) {
        Basis::Ordered | Basis::Expected | Basis::Workitem => Duration::ZERO,
        Basis::Quiet => patience.quiet,
        Basis::Overdue => patience.overdue,
    }
}

/// How complete a study is whose time has come.
#[must_use]
pub(super) fn describe(snapshot: &Snapshot) -> Completeness {
    Completeness {
        basis: basis(snapshot),
        instances: snapshot.instances,
        expected: snapshot.expected,
    }
}

fn basis(snapshot: &Snapshot) -> Basis {
    match snapshot.expected {
        _ if snapshot.ordered => Basis::Ordered,
        _ if snapshot.awaited == Some(0) => Basis::Workitem,
        Some(expected) if snapshot.instances >= expected => Basis::Expected,
        Some(_) => Basis::Overdue,
        None if snapshot.awaited.is_some() => Basis::Overdue,
        None => Basis::Quiet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        quiet: Duration::from_secs(2),
        overdue: Duration::from_mins(5),
    };

    fn of(instances: i64, expected: Option<i64>, ordered: bool) -> (Duration, Basis) {
        let snapshot = Snapshot {
            instances,
            expected,
            ordered,
            awaited: None,
        };
        let described = describe(&snapshot);
        assert_eq!((described.instances, described.expected), (instances, expected));
        (wait(&snapshot, &PATIENCE), described.basis)
    }

    #[test]
    fn the_sender_is_waited_for_unless_someone_knows_more() {
        assert_eq!(of(1, None, false), (PATIENCE.quiet, Basis::Quiet));
        assert_eq!(of(1, Some(2), false), (PATIENCE.overdue, Basis::Overdue));
        assert_eq!(of(2, Some(2), false), (Duration::ZERO, Basis::Expected));
        assert_eq!(of(3, Some(2), false), (Duration::ZERO, Basis::Expected));
        assert_eq!(of(1, Some(2), true), (Duration::ZERO, Basis::Ordered));
        assert_eq!(of(1, None, true), (Duration::ZERO, Basis::Ordered));
        let awaited = |awaited| {
            let snapshot = Snapshot {
                instances: 2,
                expected: None,
                ordered: false,
                awaited: Some(awaited),
            };
            (wait(&snapshot, &PATIENCE), describe(&snapshot).basis)
        };
        assert_eq!(awaited(0), (Duration::ZERO, Basis::Workitem));
        assert_eq!(awaited(1), (PATIENCE.overdue, Basis::Overdue));
    }
}
