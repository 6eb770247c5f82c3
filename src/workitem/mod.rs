//! A workitem of the Unified Procedure Step (PS3.4 annex CC, PS3.18 chapter 11): what was ordered, where it stands, and what came of it.
//!
//! Pure: a [`Workitem`] is changed by requests and by the performer, with the time as an argument; who stores it sees to it that two
//! changes never meet. Invariants: the state goes from SCHEDULED over IN PROGRESS to COMPLETED or CANCELED and never back; from IN PROGRESS
//! on only who has the Transaction UID changes it; the Transaction UID is no attribute and is never shown.

mod attributes;
mod change;
mod matching;
mod order;
mod perform;
mod report;

#[cfg(test)]
mod matching_tests;
#[cfg(test)]
mod tests;

use crate::dicom::InstanceUid;
use crate::fault::{Fault, FaultKind};
pub use attributes::{Attributes, date_time, tag};
pub use change::{Changed, Refusal};
pub use matching::{Lookup, Page, Query};
pub use order::Order;
pub use perform::Ending;
pub use report::{Event, with_message_id};

/// SOP Class UID of every workitem: Unified Procedure Step - Push.
const PUSH: &str = "1.2.840.10008.5.1.4.34.6.1";
/// UPS Global Subscription SOP Instance: stands for every workitem.
pub const EVERY_WORKITEM: &str = "1.2.840.10008.5.1.4.34.5";
/// UPS Filtered Global Subscription SOP Instance: stands for every workitem that matches a filter.
pub const MATCHING_WORKITEMS: &str = "1.2.840.10008.5.1.4.34.5.1";

/// Procedure Step State (0074,1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for a performer.
    Scheduled,
    /// A performer has it.
    InProgress,
    /// It was done.
    Completed,
    /// It will not be done.
    Canceled,
}

impl State {
    const NAMES: [(&'static str, Self); 4] = [
        ("SCHEDULED", Self::Scheduled),
        ("IN PROGRESS", Self::InProgress),
        ("COMPLETED", Self::Completed),
        ("CANCELED", Self::Canceled),
    ];

    /// The state of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text);
        known.map(|(_, state)| *state)
    }

    /// The standard's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = Self::NAMES.iter().find(|(_, state)| *state == self);
        known.map_or("", |(name, _)| name)
    }

    /// Whether nothing follows it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled)
    }
}

/// A workitem.
#[derive(Clone, Debug, PartialEq)]
pub struct Workitem {
    /// Its SOP Instance UID.
    pub uid: InstanceUid,
    /// Where it stands; also an attribute.
    pub state: State,
    /// The Transaction UID (0008,1195) of its performer, once it has one.
    pub transaction: Option<String>,
    /// Whether this server is the performer.
    pub performed_here: bool,
    /// Its attributes, without the Transaction UID.
    pub attributes: Attributes,
}

/// What was made of a request for a new workitem.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// The workitem.
    pub workitem: Workitem,
    /// Whether something was put in that the request did not have (status B300).
    pub modified: bool,
}

impl Workitem {
    /// A new workitem from the attributes of a request (PS3.4 section CC.2.5). What the standard demands and has one sensible value for is
    /// put in where it is missing.
    ///
    /// # Errors
    /// `workitem`: what must not be in a request for a new one.
    pub fn schedule(uid: InstanceUid, mut attributes: Attributes, now: &str) -> Result<Scheduled, Fault> {
        if [EVERY_WORKITEM, MATCHING_WORKITEMS].contains(&uid.as_str()) {
            return Err(invalid(
                "this UID stands for subscriptions and cannot be that of a workitem",
            ));
        }
        if attributes
            .text(tag::STATE)
            .is_some_and(|state| state != State::Scheduled.name())
        {
            return Err(invalid(
                "the Procedure Step State (0074,1000) of a new workitem is SCHEDULED",
            ));
        }
        if attributes.text(tag::TRANSACTION_UID).is_some() {
            return Err(invalid(
                "a new workitem has no Transaction UID (0008,1195): its performer makes one",
            ));
        }
        if attributes
            .text(tag::SOP_INSTANCE_UID)
            .is_some_and(|own| own != uid.as_str())
        {
            return Err(invalid(
                "the workitem has another SOP Instance UID (0008,0018) than the request",
            ));
        }
        attributes.remove(tag::TRANSACTION_UID);
        attributes.remove_group(0x0000);
        attributes.put(tag::SOP_CLASS_UID, "UI", PUSH);
        attributes.put(tag::SOP_INSTANCE_UID, "UI", uid.as_str());
        let mut modified = false;
        for (tag, vr, value) in [
            (tag::STATE, "CS", State::Scheduled.name()),
            (tag::PRIORITY, "CS", "MEDIUM"),
            (tag::INPUT_READINESS, "CS", "READY"),
            (tag::LABEL, "LO", "osteon score"),
            (tag::SCHEDULED_START, "DT", now),
        ] {
            if attributes.text(tag).is_none() {
                attributes.put(tag, vr, value);
                modified = true;
            }
        }
        attributes.put(tag::MODIFIED_AT, "DT", now);
        Ok(Scheduled {
            workitem: Self {
                uid,
                state: State::Scheduled,
                transaction: None,
                performed_here: false,
                attributes,
            },
            modified,
        })
    }

    fn set_state(&mut self, state: State) {
        self.state = state;
        self.attributes.put(tag::STATE, "CS", state.name());
    }
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Invalid, "workitem", message)
}
