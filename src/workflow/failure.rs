//! Why an errand has not succeeded, and what is to be done about it.

use std::time::Duration;

use super::fhir::NoBundle;
use crate::fault::Fault;
use crate::peer::PeerError;
use crate::store::StoreError;

/// Why an attempt failed, or is none.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: String,
    pub(super) next: Next,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt; not before this, where the peer wants to be left alone.
    Retry(Option<Duration>),
    /// Nothing was tried: it is put back, and costs no attempt.
    Wait(Duration),
    /// No attempt will succeed.
    Bury,
}

impl Failure {
    pub(super) fn passing(cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            next: Next::Retry(None),
        }
    }

    pub(super) fn lasting(cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            next: Next::Bury,
        }
    }

    pub(super) fn untried(cause: impl Into<String>, pause: Duration) -> Self {
        Self {
            cause: cause.into(),
            next: Next::Wait(pause),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::passing(Fault::from(error).message)
    }
}

impl From<NoBundle> for Failure {
    fn from(error: NoBundle) -> Self {
        match error {
            NoBundle::Store(error) => error.into(),
            lasting => Self::lasting(Fault::from(lasting).message),
        }
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        Self {
            cause: error.to_string(),
            next: if error.retry {
                Next::Retry(error.retry_after)
            } else {
                Next::Bury
            },
        }
    }
}
