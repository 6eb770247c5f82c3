//! Objects for an archive without DICOMweb: asked for by C-FIND, stored by C-STORE, and looked for again, on one association for each
//! attempt.
//!
//! Not every archive can be asked. Where it does not offer the query, or does not know it, nothing is asked, and the status of the
//! C-STORE is all that there is to go by.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use dicom_ul::association::{Association, AsyncClientAssociation, ClientAssociationOptions, Error};
use dicom_ul::pdu::{
    AssociationRJ, AssociationRJResult, AssociationRJServiceUserReason, AssociationRJSource, PDataValue,
    PDataValueType, Pdu, PresentationContextNegotiated, ReadError,
};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::answer::rejected;
use super::destination::Node;
use super::stow::LOOKS;
use super::{Delivered, Parcel, ParcelObject, PeerError};
use crate::dicom::FlatDataSet;
use crate::dicom::command::{
    C_FIND, C_STORE, DATA_SET, MEDIUM, NO_DATA_SET, OUT_OF_RESOURCES, RESPONSE, SUCCESS,
};

const FIND: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND;
const IMPLICIT: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;

/// More of a command set or an identifier is not read.
const MOST_OF_AN_ANSWER: usize = 64 << 10;
/// More instances are not looked through for the one that was asked for.
const MOST_MATCHES: usize = 100;
/// The longest fragment that is sent, whatever the archive takes.
const LONGEST_FRAGMENT: usize = 128 << 10;

/// Stores what the archive does not hold yet, and finds it there if it can be asked.
pub(super) async fn deliver(
    node: &Node<'_>,
    patience: Duration,
    parcel: &Parcel,
) -> Result<Delivered, PeerError> {
    let mut archive = Archive::call(node, patience, parcel).await?;
    let delivered = archive.deliver().await;
    archive.end(delivered.is_ok()).await;
    delivered
}

struct Archive<'a> {
    association: AsyncClientAssociation<TcpStream>,
    parcel: &'a Parcel,
    /// How long the archive may take for the end of the association.
    patience: Duration,
    /// Whether it can be asked for what it holds.
    answers: bool,
    message: u16,
    /// Fragments that came in the same PDU as one that was taken.
    waiting: VecDeque<PDataValue>,
}

/// What a query says of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Yes,
    No,
    /// There is no such query here, or it does not know its keys.
    Unknown,
}

/// A response, and the identifier that came with it.
struct Response {
    status: u16,
    identifier: Option<FlatDataSet>,
}

impl<'a> Archive<'a> {
    /// Opens an association for the classes of the parcel, as they are written and in the syntax that everybody takes, and for the
    /// query.
    async fn call(node: &Node<'_>, patience: Duration, parcel: &'a Parcel) -> Result<Self, PeerError> {
        let mut options = ClientAssociationOptions::new()
            .calling_ae_title(node.calling.as_str().to_owned())
            .called_ae_title(node.called.as_str().to_owned())
            .connection_timeout(patience)
            .read_timeout(patience)
            .write_timeout(patience);
        let written = parcel.objects.iter().filter_map(|object| {
            let (syntax, _) = crate::dicom::data_set(&object.file)?;
            Some((object.class.clone(), syntax))
        });
        for (class, syntax) in written.collect::<BTreeSet<_>>() {
            for syntax in BTreeSet::from([syntax, IMPLICIT.to_owned()]) {
                options = options.with_presentation_context(class.clone(), vec![syntax]);
            }
        }
        options = options.with_presentation_context(FIND, vec![IMPLICIT]);
        let association = options
            .establish_async((node.host, node.port))
            .await
            .map_err(|error| failed(&error))?;
        let answers = context(&association, FIND, IMPLICIT).is_some();
        Ok(Self {
            association,
            parcel,
            patience,
            answers,
            message: 0,
            waiting: VecDeque::new(),
        })
    }

    async fn deliver(&mut self) -> Result<Delivered, PeerError> {
        let mut sent = 0;
        for object in &self.parcel.objects {
            if self.find(object).await? == Found::Yes {
                continue;
            }
            self.store(object).await?;
            self.verify(object).await?;
            sent += 1;
        }
        Ok(Delivered {
            sent,
            already_there: self.parcel.objects.len() - sent,
        })
    }

    /// Whether the archive lists the object: C-FIND at the level of images (PS3.4 section C.6.2.1).
    async fn find(&mut self, object: &ParcelObject) -> Result<Found, PeerError> {
        let context = context(&self.association, FIND, IMPLICIT).filter(|_| self.answers);
        let Some(context) = context else {
            return Ok(Found::Unknown);
        };
        let command = FlatDataSet::default()
            .with_uid(tags::AFFECTED_SOP_CLASS_UID, FIND)
            .with_number(tags::COMMAND_FIELD, C_FIND)
            .with_number(tags::PRIORITY, MEDIUM);
        let identifier = FlatDataSet::default()
            .with_text(tags::QUERY_RETRIEVE_LEVEL, "IMAGE")
            .with_uid(tags::STUDY_INSTANCE_UID, self.parcel.study.as_str())
            .with_uid(tags::SERIES_INSTANCE_UID, object.series.as_str())
            .with_uid(tags::SOP_INSTANCE_UID, object.uid.as_str());
        self.request(context, command, &identifier.bytes()).await?;
        let mut found = Found::No;
        for _ in 0..MOST_MATCHES {
            let Response { status, identifier } = self.response(context, C_FIND).await?;
            match status {
                0xFF00 | 0xFF01 => {
                    let named = identifier
                        .as_ref()
                        .and_then(|found| found.text(tags::SOP_INSTANCE_UID));
                    if named == Some(object.uid.as_str()) {
                        found = Found::Yes;
                    } else if found == Found::No {
                        found = Found::Unknown;
                    }
                }
                SUCCESS => return Ok(found),
                OUT_OF_RESOURCES => {
                    let message = "the archive cannot answer a query now (status A700)";
                    return Err(PeerError::passing("unavailable", message));
                }
                _ => {
                    self.answers = false;
                    return Ok(Found::Unknown);
                }
            }
        }
        let message = "the archive answers a query for one instance with more than can be looked through";
        Err(PeerError::passing("bad-answer", message))
    }

    /// Sends one object: C-STORE (PS3.4 section B.2).
    async fn store(&mut self, object: &ParcelObject) -> Result<(), PeerError> {
        let unreadable = || PeerError::lasting("rejected", "the object cannot be read");
        let (written, data_set) = crate::dicom::data_set(&object.file).ok_or_else(unreadable)?;
        let class = object.class.as_str();
        let (context, data_set) = if let Some(context) = context(&self.association, class, &written) {
            (context, data_set)
        } else if let Some(context) = context(&self.association, class, IMPLICIT) {
            (context, implicit(&object.file).ok_or_else(unreadable)?)
        } else {
            return Err(untaken());
        };
        let command = FlatDataSet::default()
            .with_uid(tags::AFFECTED_SOP_CLASS_UID, class)
            .with_number(tags::COMMAND_FIELD, C_STORE)
            .with_number(tags::PRIORITY, MEDIUM)
            .with_uid(tags::AFFECTED_SOP_INSTANCE_UID, object.uid.as_str());
        self.request(context, command, &data_set).await?;
        match self.response(context, C_STORE).await?.status {
            // stored; with an attribute coerced or left out; it was there already
            SUCCESS | 0xB000 | 0xB006 | 0xB007 | 0x0111 => Ok(()),
            status => Err(rejected(Some(status))),
        }
    }

    /// Only what is found there was delivered, if it can be asked.
    async fn verify(&mut self, object: &ParcelObject) -> Result<(), PeerError> {
        for pause in LOOKS {
            sleep(pause).await;
            if self.find(object).await? != Found::No {
                return Ok(());
            }
        }
        Err(PeerError::not_verified())
    }

    async fn request(&mut self, context: u8, command: FlatDataSet, data_set: &[u8]) -> Result<(), PeerError> {
        self.message = self.message.wrapping_add(1);
        let command = command
            .with_number(tags::MESSAGE_ID, self.message)
            .with_number(tags::COMMAND_DATA_SET_TYPE, DATA_SET)
            .command_bytes();
        // six bytes are the header of each fragment
        let most = self.association.peer_max_pdu_length().saturating_sub(6) as usize;
        let most = most.clamp(64, LONGEST_FRAGMENT);
        for (kind, bytes) in [
            (PDataValueType::Command, command.as_slice()),
            (PDataValueType::Data, data_set),
        ] {
            let mut fragments = bytes.chunks(most).peekable();
            while let Some(fragment) = fragments.next() {
                let value = PDataValue {
                    presentation_context_id: context,
                    value_type: kind.clone(),
                    is_last: fragments.peek().is_none(),
                    data: fragment.to_vec(),
                };
                let pdu = Pdu::PData { data: vec![value] };
                self.association
                    .send(&pdu)
                    .await
                    .map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }

    /// The next response to the last request, which was `field`.
    async fn response(&mut self, context: u8, field: u16) -> Result<Response, PeerError> {
        let command = self.message(context, PDataValueType::Command).await?;
        let command = FlatDataSet::read(&command).map_err(|_| bad_answer())?;
        let (own, answered) = (
            (Some(field | RESPONSE), Some(self.message)),
            (
                command.number(tags::COMMAND_FIELD),
                command.number(tags::MESSAGE_ID_BEING_RESPONDED_TO),
            ),
        );
        let status = command.number(tags::STATUS).filter(|_| own == answered);
        let identifier = if command.number(tags::COMMAND_DATA_SET_TYPE) == Some(NO_DATA_SET) {
            None
        } else {
            let identifier = self.message(context, PDataValueType::Data).await?;
            // one with a sequence is of no use, and is none
            FlatDataSet::read(&identifier).ok()
        };
        Ok(Response {
            status: status.ok_or_else(bad_answer)?,
            identifier,
        })
    }

    /// A command set or a data set.
    async fn message(&mut self, context: u8, kind: PDataValueType) -> Result<Vec<u8>, PeerError> {
        let mut bytes = Vec::new();
        loop {
            let Some(fragment) = self.waiting.pop_front() else {
                match self.association.receive().await.map_err(|error| failed(&error))? {
                    Pdu::PData { data } if !data.is_empty() => self.waiting.extend(data),
                    Pdu::AbortRQ { .. } => return Err(aborted()),
                    _ => return Err(bad_answer()),
                }
                continue;
            };
            bytes.extend_from_slice(&fragment.data);
            if fragment.presentation_context_id != context
                || fragment.value_type != kind
                || bytes.len() > MOST_OF_AN_ANSWER
            {
                return Err(bad_answer());
            }
            if fragment.is_last {
                return Ok(bytes);
            }
        }
    }

    /// What was done is done, however the archive takes this.
    async fn end(self, well: bool) {
        let end = async {
            if well {
                self.association.release().await
            } else {
                self.association.abort().await
            }
        };
        let _ = timeout(self.patience, end).await;
    }
}

/// The accepted context for a class in a syntax.
fn context(association: &AsyncClientAssociation<TcpStream>, class: &str, syntax: &str) -> Option<u8> {
    let fits = |context: &&PresentationContextNegotiated| {
        context.abstract_syntax == class && context.transfer_syntax.trim_end_matches('\0') == syntax
    };
    let contexts = association.presentation_contexts();
    contexts.iter().find(fits).map(|context| context.id)
}

/// The data set of a file of our own in Implicit VR Little Endian.
fn implicit(file: &Bytes) -> Option<Bytes> {
    let object = dicom_object::from_reader(file.as_ref()).ok()?;
    let mut bytes = Vec::new();
    let syntax = TransferSyntaxRegistry.get(IMPLICIT)?;
    object.write_dataset_with_ts(&mut bytes, syntax).ok()?;
    Some(bytes.into())
}

fn bad_answer() -> PeerError {
    PeerError::passing(
        "bad-answer",
        "the archive's answer is not what the protocol asks for",
    )
}

fn aborted() -> PeerError {
    PeerError::passing("unavailable", "the archive aborted the association")
}

fn untaken() -> PeerError {
    PeerError::lasting("rejected", "the archive does not take objects of this SOP class")
}

fn failed(error: &Error) -> PeerError {
    match error {
        Error::Rejected { association_rj, .. } => rejection(association_rj),
        Error::NoAcceptedPresentationContexts { .. } => untaken(),
        Error::Timeout { .. } => PeerError::timeout(),
        Error::Aborted { .. } => aborted(),
        Error::UnexpectedPdu { pdu, .. } if matches!(**pdu, Pdu::AbortRQ { .. }) => aborted(),
        Error::Connect { .. } | Error::ToAddress { .. } => {
            PeerError::passing("unreachable", "no connection to the peer")
        }
        Error::WireSend { .. }
        | Error::WireRead { .. }
        | Error::ConnectionClosed { .. }
        | Error::ReceivePdu {
            source: ReadError::ReadPdu { .. },
            ..
        } => lost(),
        _ => bad_answer(),
    }
}

fn lost() -> PeerError {
    PeerError::passing(
        "unreachable",
        "the connection to the peer broke before it answered",
    )
}

/// PS3.8 table 9-21. Titles do not mend themselves; everything else may.
fn rejection(rejection: &AssociationRJ) -> PeerError {
    use AssociationRJServiceUserReason as Reason;
    let permanent = rejection.result == AssociationRJResult::Permanent;
    match &rejection.source {
        AssociationRJSource::ServiceUser(Reason::CallingAETitleNotRecognized) if permanent => {
            PeerError::lasting(
                "unauthorised",
                "the archive does not know the calling AE title: check it, and the archive's list of peers",
            )
        }
        AssociationRJSource::ServiceUser(Reason::CalledAETitleNotRecognized) if permanent => {
            PeerError::lasting(
                "unauthorised",
                "the archive does not have the called AE title: check it",
            )
        }
        _ => PeerError::passing("unavailable", "the archive does not take the association now"),
    }
}
