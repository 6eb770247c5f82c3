//! What a proof says of a package that does not pass it, and whether it may pass the next time.

use std::fmt::Display;

use crate::model::{PackageError, Stage};
use crate::runtime::RuntimeError;

/// Why a package did not prove itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unproven {
    /// Where.
    pub stage: Stage,
    /// One sentence that says what is off.
    pub reason: String,
    /// Whether the same package may prove itself the next time.
    pub may_pass: bool,
}

/// What is off with a golden case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Off {
    /// One sentence.
    pub reason: String,
    /// Whether it may be in order the next time.
    pub may_pass: bool,
}

impl Off {
    pub(super) fn at(self, stage: Stage) -> Unproven {
        let Self { reason, may_pass } = self;
        Unproven {
            stage,
            reason,
            may_pass,
        }
    }

    /// The same, with words before it.
    pub(super) fn after(self, words: impl Display) -> Self {
        Self {
            reason: format!("{words}: {}", self.reason),
            ..self
        }
    }
}

impl From<String> for Off {
    /// It will be off however often it is looked at.
    fn from(reason: String) -> Self {
        Self {
            reason,
            may_pass: false,
        }
    }
}

impl From<RuntimeError> for Off {
    fn from(error: RuntimeError) -> Self {
        Self {
            reason: error.to_string(),
            may_pass: error.may_pass(),
        }
    }
}

impl From<PackageError> for Off {
    fn from(error: PackageError) -> Self {
        Self {
            reason: error.to_string(),
            may_pass: error.may_pass(),
        }
    }
}

impl From<PackageError> for Unproven {
    fn from(error: PackageError) -> Self {
        let stage = error.stage();
        Off::from(error).at(stage)
    }
}
