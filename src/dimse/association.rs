//! Messages on an association: a command set, and a data set in fragments where one follows (PS3.7 section 6.3, PS3.8 annex E).
//!
//! Invariants: one message at a time; every fragment belongs to the message that is read, on its presentation context, or the
//! association is over; a command set is never longer than [`MOST_OF_A_COMMAND`], nor longer in coming than the time between two PDUs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use tokio_util::sync::CancellationToken;

use super::connection::{Broken, Connection, Offence};
use super::negotiate::{Agreed, Context};
use crate::dicom::{AeTitle, FlatDataSet};

/// The most bytes of a command set: those that are understood have less than 500.
const MOST_OF_A_COMMAND: usize = 16 << 10;
/// The header of a presentation data value and its message control header.
const PDV_HEADER: u32 = 6;
/// The longest fragment that is sent: responses are short.
const LONGEST_FRAGMENT: u32 = 16 << 10;

/// An association that was accepted.
pub(super) struct Association {
    connection: Connection,
    caller: AeTitle,
    contexts: BTreeMap<u8, Context>,
    /// The longest fragment that the peer takes.
    longest: usize,
    /// Fragments that came in the same PDU as one that was taken.
    waiting: VecDeque<PDataValue>,
}

/// The beginning of a message.
pub(super) struct Command {
    /// Its presentation context.
    pub(super) context: u8,
    pub(super) set: FlatDataSet,
}

impl Association {
    pub(super) fn new(connection: Connection, agreed: Agreed) -> Self {
        let longest = match agreed.longest {
            0 => LONGEST_FRAGMENT,
            // no implementation goes as low as this, and a fragment has to hold something
            longest => longest.saturating_sub(PDV_HEADER).clamp(16, LONGEST_FRAGMENT),
        };
        Self {
            connection,
            caller: agreed.caller,
            contexts: agreed.contexts,
            longest: longest as usize,
            waiting: VecDeque::new(),
        }
    }

    /// Who called.
    pub(super) fn caller(&self) -> &AeTitle {
        &self.caller
    }

    /// What a presentation context was accepted for; every command that was read has one.
    pub(super) fn context(&self, id: u8) -> Option<&Context> {
        self.contexts.get(&id)
    }

    /// The next command, or `None` where the peer has released the association. While none has begun, `closing` ends it.
    pub(super) async fn command(&mut self, closing: &CancellationToken) -> Result<Option<Command>, Broken> {
        if self.waiting.is_empty() {
            let idle = self.connection.times.idle;
            let next = closing.run_until_cancelled(self.connection.receive(idle));
            match next.await.ok_or(Broken::Stopping)?? {
                Pdu::ReleaseRQ => {
                    self.connection.send(&Pdu::ReleaseRP).await?;
                    return Ok(None);
                }
                pdu => self.take(pdu)?,
            }
        }
        let mut bytes = Vec::new();
        let mut context = None;
        let begun = Instant::now();
        loop {
            let fragment = self.fragment(context, PDataValueType::Command).await?;
            context = Some(fragment.presentation_context_id);
            bytes.extend_from_slice(&fragment.data);
            if bytes.len() > MOST_OF_A_COMMAND {
                return Err(Broken::Protocol(Offence::InvalidParameter));
            }
            if begun.elapsed() > self.connection.times.next {
                return Err(Broken::Late);
            }
            if fragment.is_last {
                let set = FlatDataSet::read(&bytes);
                return Ok(Some(Command {
                    context: fragment.presentation_context_id,
                    set: set.map_err(|_| Broken::Protocol(Offence::InvalidParameter))?,
                }));
            }
        }
    }

    /// The next fragment of the data set that follows a command on `context`.
    pub(super) async fn data(&mut self, context: u8) -> Result<PDataValue, Broken> {
        self.fragment(Some(context), PDataValueType::Data).await
    }

    async fn fragment(&mut self, context: Option<u8>, kind: PDataValueType) -> Result<PDataValue, Broken> {
        let fragment = loop {
            if let Some(fragment) = self.waiting.pop_front() {
                break fragment;
            }
            let pdu = self.connection.receive(self.connection.times.next).await?;
            self.take(pdu)?;
        };
        let id = fragment.presentation_context_id;
        let here = context.map_or_else(|| self.contexts.contains_key(&id), |context| context == id);
        if here && fragment.value_type == kind {
            Ok(fragment)
        } else {
            Err(Broken::Protocol(Offence::UnexpectedParameter))
        }
    }

    /// Takes the fragments of a P-DATA-TF, which has at least one.
    fn take(&mut self, pdu: Pdu) -> Result<(), Broken> {
        let Pdu::PData { data } = pdu else {
            return Err(Broken::Protocol(Offence::UnexpectedPdu));
        };
        if data.is_empty() {
            return Err(Broken::Protocol(Offence::InvalidParameter));
        }
        self.waiting.extend(data);
        Ok(())
    }

    /// Answers a command on its presentation context.
    pub(super) async fn respond(&mut self, context: u8, response: &FlatDataSet) -> Result<(), Broken> {
        let bytes = response.command_bytes();
        let mut fragments = bytes.chunks(self.longest).peekable();
        while let Some(fragment) = fragments.next() {
            let value = PDataValue {
                presentation_context_id: context,
                value_type: PDataValueType::Command,
                is_last: fragments.peek().is_none(),
                data: fragment.to_vec(),
            };
            self.connection.send(&Pdu::PData { data: vec![value] }).await?;
        }
        Ok(())
    }

    /// Ends it: `why` is `None` where it was released.
    pub(super) async fn end(self, why: Option<Broken>) {
        match why {
            None => self.connection.close().await,
            Some(why) => self.connection.abort(why).await,
        }
    }
}
