//! What went wrong, in the one form that every door understands.
//!
//! Each module has its own error type; what leaves the services is a [`Fault`]: a kind, a stable code for machines, a
//! sentence for people that says what was wrong and what would be right, and whether to try again. A fault never
//! holds patient data, a path of the server or a library's internals.

use std::fmt;

/// The kind of a fault, from which a door derives its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The input cannot be understood (HTTP 400).
    Invalid,
    /// Nothing has this name (HTTP 404).
    NotFound,
    /// What is stored cannot be had in a form that the caller takes (HTTP 406).
    NotAcceptable,
    /// It was here and was removed on purpose (HTTP 410).
    Gone,
    /// The input is larger than this server takes (HTTP 413).
    TooLarge,
    /// The media type or encoding is not supported (HTTP 415).
    Unsupported,
    /// The input was understood and must not be scored (HTTP 422).
    Refused,
    /// This caller has too much work waiting; nothing was done (HTTP 429, try again).
    TooMany,
    /// Too much work is waiting; nothing was done (HTTP 503, try again).
    Overloaded,
    /// The service is not ready or a part of it is missing (HTTP 503).
    Unavailable,
    /// There is no room to keep what was sent (HTTP 507).
    NoSpace,
    /// A fault of the server itself (HTTP 500).
    Internal,
}

/// An error with a code for machines and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault it is.
    pub kind: FaultKind,
    /// A stable, documented, lower-case identifier such as `not-dicom`.
    pub code: &'static str,
    /// Lower case, no final period: what was wrong and what would be right.
    pub message: String,
}

impl Fault {
    /// A fault of `kind` with its `code` and `message`.
    pub fn new(kind: FaultKind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            code,
            message: message.into(),
        }
    }

    /// Whether the same request may succeed later without a change.
    #[must_use]
    pub fn retry(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::TooMany | FaultKind::Overloaded | FaultKind::Unavailable | FaultKind::NoSpace
        )
    }

    /// Whether the caller, and not this server, has to change something.
    #[must_use]
    pub fn is_callers(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Invalid
                | FaultKind::NotFound
                | FaultKind::NotAcceptable
                | FaultKind::Gone
                | FaultKind::TooLarge
                | FaultKind::Unsupported
                | FaultKind::Refused
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Fault {}
