//! How requests change a workitem: its state, its attributes, the wish that it be canceled (PS3.4 sections CC.2.1, CC.2.2 and CC.2.6).

use super::report::Event;
use super::{Attributes, Order, State, Workitem, invalid, tag};
use crate::dicom::InstanceUid;
use crate::fault::Fault;

/// Why a request changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It needs the Transaction UID, and has none.
    TransactionMissing,
    /// It has another Transaction UID than the performer.
    TransactionIncorrect,
    /// The workitem is in a state in which this cannot be.
    Inconsistent,
    /// What a state needs is not there: that which is said.
    Unready(&'static str),
    /// It is done already and cannot be canceled.
    AlreadyCompleted,
    /// Its performer would never hear of the wish to cancel it.
    OutOfReach,
    /// The request itself is wrong.
    Invalid(Fault),
}

/// What a request has changed.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Changed {
    /// What subscribers hear of it, in order.
    pub events: Vec<Event>,
    /// It was in that state already, and nothing has changed.
    pub already: Option<State>,
}

/// What a request must not change: the identity of workitem and patient, and what other transactions are for.
const FIXED: [&str; 8] = [
    tag::SOP_CLASS_UID,
    tag::SOP_INSTANCE_UID,
    tag::STATE,
    tag::INPUT_INFORMATION,
    tag::PATIENT_NAME,
    tag::PATIENT_ID,
    tag::PATIENT_BIRTH_DATE,
    tag::PATIENT_SEX,
];

impl Workitem {
    /// Changes the state as `request` asks (PS3.18 section 11.7).
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn change_state(&mut self, request: &Attributes, now: &str) -> Result<Changed, Refusal> {
        let asked = request.text(tag::STATE).and_then(State::parse).ok_or_else(|| {
            Refusal::Invalid(invalid(
                "the Procedure Step State (0074,1000) must be IN PROGRESS, COMPLETED or CANCELED",
            ))
        })?;
        let transaction = request
            .text(tag::TRANSACTION_UID)
            .ok_or(Refusal::TransactionMissing)?;
        let uid = InstanceUid::parse(transaction)
            .map_err(|_| Refusal::Invalid(invalid("the Transaction UID (0008,1195) is not a valid UID")))?;
        match (self.state, asked) {
            (_, State::Scheduled) | (State::InProgress, State::InProgress) => {
                return Err(Refusal::Inconsistent);
            }
            (State::Scheduled, State::InProgress) => {
                self.transaction = Some(uid.to_string());
                self.set_state(State::InProgress);
            }
            (State::InProgress, _) => {
                if self.transaction.as_deref() != Some(uid.as_str()) {
                    return Err(Refusal::TransactionIncorrect);
                }
                if asked == State::Completed
                    && self.attributes.items(tag::PERFORMED_PROCEDURE).next().is_none()
                {
                    return Err(Refusal::Unready(
                        "the Unified Procedure Step Performed Procedure Sequence (0074,1216) is missing",
                    ));
                }
                if asked == State::Canceled {
                    self.note_cancellation(now, None);
                }
                self.set_state(asked);
            }
            (current, asked) if current == asked => {
                return Ok(Changed {
                    already: Some(current),
                    ..Changed::default()
                });
            }
            _ => return Err(Refusal::Inconsistent),
        }
        self.attributes.put(tag::MODIFIED_AT, "DT", now);
        Ok(Changed {
            events: vec![Event::state(self)],
            already: None,
        })
    }

    /// Takes over the attributes of `changes` (PS3.18 section 11.6); `transaction` is the Transaction UID of the request.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn update(
        &mut self,
        mut changes: Attributes,
        transaction: Option<&str>,
        now: &str,
    ) -> Result<Changed, Refusal> {
        let own = changes.text(tag::TRANSACTION_UID).map(str::to_owned);
        let transaction = transaction.map(str::to_owned).or(own);
        match self.state {
            State::Scheduled => {}
            State::InProgress => {
                let transaction = transaction.ok_or(Refusal::TransactionMissing)?;
                if self.transaction.as_ref() != Some(&transaction) {
                    return Err(Refusal::TransactionIncorrect);
                }
            }
            State::Completed | State::Canceled => return Err(Refusal::Inconsistent),
        }
        changes.remove(tag::TRANSACTION_UID);
        changes.remove_group(0x0000);
        let changed = |tag: &&&str| changes.has(tag) && changes.element(tag) != self.attributes.element(tag);
        if let Some(fixed) = FIXED.iter().find(changed) {
            return Err(Refusal::Invalid(invalid(format!(
                "an update does not change ({},{}): its state has a transaction of its own, and for other input there is another workitem",
                &fixed[..4],
                &fixed[4..]
            ))));
        }
        let mut updated = self.attributes.clone();
        updated.merge(changes.clone());
        let order = |attributes| Order::of(attributes).map_err(Refusal::Invalid);
        if order(&self.attributes)?.is_some() != order(&updated)?.is_some() {
            return Err(Refusal::Invalid(invalid(
                "an update does not change whether osteon performs a workitem: its Scheduled Station Name Code Sequence (0040,4025) stays; \
                 cancel this one, and make another for the other station",
            )));
        }
        let mut events = Vec::new();
        if changes.has(tag::PROGRESS_INFORMATION) {
            events.push(Event::progress(&self.uid, &changes));
        }
        if changes.has(tag::SCHEDULED_STATION) || changes.has(tag::SCHEDULED_PERFORMERS) {
            events.push(Event::assigned(&self.uid, &changes));
        }
        let readiness = changes.has(tag::INPUT_READINESS);
        self.attributes = updated;
        self.attributes.put(tag::MODIFIED_AT, "DT", now);
        if readiness {
            events.push(Event::state(self));
        }
        Ok(Changed {
            events,
            already: None,
        })
    }

    /// Somebody wishes that it be canceled (PS3.18 section 11.8). What nobody has begun, or this server, is canceled at once; another
    /// performer is told, if it `can_be_told`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn request_cancel(
        &mut self,
        request: &Attributes,
        can_be_told: bool,
        now: &str,
    ) -> Result<Changed, Refusal> {
        let mut events = Vec::new();
        match self.state {
            State::Completed => return Err(Refusal::AlreadyCompleted),
            State::Canceled => {
                return Ok(Changed {
                    already: Some(State::Canceled),
                    ..Changed::default()
                });
            }
            State::InProgress if !self.performed_here => {
                if !can_be_told {
                    return Err(Refusal::OutOfReach);
                }
                events.push(Event::cancel_requested(&self.uid, request));
            }
            State::Scheduled | State::InProgress => {
                if self.state == State::Scheduled {
                    // there is no way to CANCELED but over IN PROGRESS (PS3.4 section CC.2.2.3)
                    self.set_state(State::InProgress);
                    events.push(Event::state(self));
                }
                self.note_cancellation(now, Some(request));
                self.set_state(State::Canceled);
                self.attributes.put(tag::MODIFIED_AT, "DT", now);
                events.push(Event::state(self));
            }
        }
        Ok(Changed {
            events,
            already: None,
        })
    }

    /// When it was canceled, and why: in the Procedure Step Progress Information Sequence (0074,1002).
    pub(super) fn note_cancellation(&mut self, now: &str, why: Option<&Attributes>) {
        if self.attributes.items(tag::PROGRESS_INFORMATION).next().is_none() {
            self.attributes
                .put_sequence(tag::PROGRESS_INFORMATION, &[serde_json::json!({})]);
        }
        if let Some(progress) = self.attributes.items_mut(tag::PROGRESS_INFORMATION).next() {
            progress.insert(
                tag::CANCELLED_AT.to_owned(),
                super::attributes::element("DT", now),
            );
            for tag in [
                tag::REASON_FOR_CANCELLATION,
                tag::DISCONTINUATION_REASON,
                tag::CONTACT_URI,
                tag::CONTACT_NAME,
            ] {
                if let Some(element) = why.and_then(|why| why.element(tag)) {
                    progress.insert(tag.to_owned(), element.clone());
                }
            }
        }
    }
}
