//! Faults as statuses of C-STORE (PS3.4 table B.2-1, PS3.7 section 9.1.1.1.9): the only place where a kind becomes a status.

use crate::dicom::command::{CANNOT_UNDERSTAND, OUT_OF_RESOURCES, PROCESSING_FAILURE};
use crate::fault::{Fault, FaultKind};

/// The most characters of Error Comment (0000,0902), VR LO.
const MOST_OF_A_COMMENT: usize = 64;

/// Why an instance was not stored, as its sender is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: u16,
    /// A word for logs.
    pub(super) code: &'static str,
    /// Error Comment (0000,0902).
    pub(super) comment: String,
}

impl Failure {
    pub(super) fn new(status: u16, code: &'static str, comment: &str) -> Self {
        let plain = comment.chars().filter(|c| (' '..='~').contains(c) && *c != '\\');
        Self {
            status,
            code,
            comment: plain.take(MOST_OF_A_COMMENT).collect(),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let status = match fault.kind {
            FaultKind::Internal => PROCESSING_FAILURE,
            FaultKind::TooLarge => OUT_OF_RESOURCES,
            _ if fault.retry() => OUT_OF_RESOURCES,
            _ => CANNOT_UNDERSTAND,
        };
        Self::new(status, fault.code, &fault.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        for (kind, status) in [
            (FaultKind::Invalid, 0xC000),
            (FaultKind::NotFound, 0xC000),
            (FaultKind::TooLarge, 0xA700),
            (FaultKind::Unsupported, 0xC000),
            (FaultKind::Refused, 0xC000),
            (FaultKind::TooMany, 0xA700),
            (FaultKind::Overloaded, 0xA700),
            (FaultKind::Unavailable, 0xA700),
            (FaultKind::NoSpace, 0xA700),
            (FaultKind::Internal, 0x0110),
        ] {
            assert_eq!(
                Failure::from(Fault::new(kind, "x", "y")).status,
                status,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_comment_is_as_the_standard_allows() {
        let failure = Failure::new(0xC000, "x", &format!("a\\b\nc {}", "d".repeat(80)));
        assert_eq!(failure.comment, format!("abc {}", "d".repeat(60)));
    }
}
