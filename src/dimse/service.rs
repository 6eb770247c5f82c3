//! The services of an association: verification (C-ECHO) and storage (C-STORE), as their provider (PS3.7 section 9.1, PS3.4 annexes
//! A and B).
//!
//! Invariants: success is answered when the instance is durable, and not before; what is kept is the data set as it came, byte for
//! byte, behind a file meta information of our own; every request that was understood as one has a response.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dicom_dictionary_std::tags;
use dicom_object::FileMetaTableBuilder;
use tokio_util::sync::CancellationToken;

use super::Door;
use super::association::{Association, Command};
use super::connection::{Broken, Offence};
use super::negotiate::Context;
use super::status::Failure;
use crate::dicom::command::{
    C_CANCEL, C_ECHO, C_STORE, CANNOT_UNDERSTAND, CLASS_NOT_SUPPORTED, DATA_SET_MISMATCH, HIGH,
    INVALID_INSTANCE, NO_DATA_SET, RESPONSE, SUCCESS, UNRECOGNISED_OPERATION,
};
use crate::dicom::{AeTitle, FlatDataSet, InstanceUid, uid};
use crate::fault::{Fault, FaultKind};
use crate::inference::Priority;
use crate::intake::Pace;
use crate::workflow::Submission;

/// How much of a data set that is refused is read and thrown away, beyond what may be stored: its sender hears why when all of it
/// was sent, and not before.
const MOST_DISCARDED: usize = 64 << 20;

/// Serves an association until it is released, and says how many instances were stored.
///
/// # Errors
/// Why it broke.
pub(super) async fn serve(
    door: &Door,
    association: &mut Association,
    closing: &CancellationToken,
    stored: &mut u64,
) -> Result<(), Broken> {
    while let Some(command) = association.command(closing).await? {
        let context = command.context;
        let Some(agreed) = association.context(context).cloned() else {
            return Err(Broken::Protocol(Offence::UnexpectedParameter));
        };
        let Some(request) = Request::of(&command) else {
            return Err(Broken::Protocol(Offence::InvalidParameter));
        };
        if request.field == C_CANCEL {
            // what it would cancel was answered before it came
            continue;
        }
        let began = Instant::now();
        let outcome = match request.field {
            // one of another class than its context says is none of either
            _ if request.class.as_deref() != Some(&agreed.abstract_syntax) => {
                skip(door, association, &request).await?;
                Err(Failure::new(
                    CLASS_NOT_SUPPORTED,
                    "sop-class",
                    "the SOP class is not that of the presentation context",
                ))
            }
            C_ECHO => {
                skip(door, association, &request).await?;
                Ok(())
            }
            C_STORE if request.has_data_set => store(door, association, &request, &agreed).await?,
            C_STORE => Err(Failure::new(
                CANNOT_UNDERSTAND,
                "no-data-set",
                "there is no data set",
            )),
            _ => {
                skip(door, association, &request).await?;
                Err(Failure::new(
                    UNRECOGNISED_OPERATION,
                    "operation",
                    "only C-ECHO and C-STORE are known here",
                ))
            }
        };
        if request.field == C_STORE {
            let status = outcome
                .as_ref()
                .map_or_else(|failure| failure.status, |()| SUCCESS);
            door.metrics.dicom.instance(status);
            let (failure, elapsed_ms) = (outcome.as_ref().err(), began.elapsed().as_millis() as u64);
            let code = failure.map(|failure| failure.code);
            tracing::debug!(
                status = format_args!("{status:04X}"),
                code,
                elapsed_ms,
                "dimse.store"
            );
            *stored += u64::from(failure.is_none());
        }
        association.respond(context, &request.response(outcome)).await?;
    }
    Ok(())
}

/// What a command asks for.
struct Request {
    context: u8,
    field: u16,
    message: u16,
    class: Option<String>,
    instance: Option<String>,
    high: bool,
    has_data_set: bool,
}

impl Request {
    /// `None` where it is no request.
    fn of(command: &Command) -> Option<Self> {
        let set = &command.set;
        let field = set
            .number(tags::COMMAND_FIELD)
            .filter(|field| field & RESPONSE == 0)?;
        let message = match field {
            C_CANCEL => set.number(tags::MESSAGE_ID_BEING_RESPONDED_TO)?,
            _ => set.number(tags::MESSAGE_ID)?,
        };
        // N-SET and others name the class that they ask for
        let class = set
            .text(tags::AFFECTED_SOP_CLASS_UID)
            .or_else(|| set.text(tags::REQUESTED_SOP_CLASS_UID));
        Some(Self {
            context: command.context,
            field,
            message,
            class: class.map(str::to_owned),
            instance: set.text(tags::AFFECTED_SOP_INSTANCE_UID).map(str::to_owned),
            high: set.number(tags::PRIORITY) == Some(HIGH),
            has_data_set: set.number(tags::COMMAND_DATA_SET_TYPE)? != NO_DATA_SET,
        })
    }

    fn response(&self, outcome: Result<(), Failure>) -> FlatDataSet {
        let mut response = FlatDataSet::default()
            .with_number(tags::COMMAND_FIELD, self.field | RESPONSE)
            .with_number(tags::MESSAGE_ID_BEING_RESPONDED_TO, self.message)
            .with_number(tags::COMMAND_DATA_SET_TYPE, NO_DATA_SET);
        if let Some(class) = &self.class {
            response = response.with_uid(tags::AFFECTED_SOP_CLASS_UID, class);
        }
        if let Some(instance) = &self.instance {
            response = response.with_uid(tags::AFFECTED_SOP_INSTANCE_UID, instance);
        }
        match outcome {
            Ok(()) => response.with_number(tags::STATUS, SUCCESS),
            Err(Failure { status, comment, .. }) => response
                .with_number(tags::STATUS, status)
                .with_text(tags::ERROR_COMMENT, &comment),
        }
    }
}

/// Takes the data set of a request that is refused, and keeps nothing of it.
async fn skip(door: &Door, association: &mut Association, request: &Request) -> Result<(), Broken> {
    if request.has_data_set {
        let mut data_set = DataSet::new(door, request.context);
        while data_set.next(association).await?.is_some() {}
    }
    Ok(())
}

/// Keeps one instance.
async fn store(
    door: &Door,
    association: &mut Association,
    request: &Request,
    agreed: &Context,
) -> Result<Result<(), Failure>, Broken> {
    let Some(meta) = file_meta(request, agreed, association.caller()) else {
        skip(door, association, request).await?;
        let comment = "the command's SOP Instance UID is not valid";
        return Ok(Err(Failure::new(INVALID_INSTANCE, "identity", comment)));
    };
    let file = match receive(door, association, request, meta).await? {
        Ok(file) => file,
        Err(fault) => return Ok(Err(fault.into())),
    };
    Ok(keep(door, request, file).await)
}

/// The whole file of an instance, which holds its room; the fault of one for which there is none comes after the last fragment.
async fn receive(
    door: &Door,
    association: &mut Association,
    request: &Request,
    meta: Vec<u8>,
) -> Result<Result<Bytes, Fault>, Broken> {
    let priority = if request.high {
        Priority::Stat
    } else {
        Priority::Routine
    };
    let most = door.settings.body_bytes;
    let mut data_set = DataSet::new(door, request.context);
    let mut file = BytesMut::from(meta.as_slice());
    let fault = match door.intake.room(None, priority).await {
        Ok(mut room) => loop {
            let Some(fragment) = data_set.next(association).await? else {
                return Ok(Ok(room.hold(file.freeze())));
            };
            if file.len() + fragment.len() > most {
                break too_large(most);
            }
            if let Err(fault) = room.grow(file.len() + fragment.len(), most).await {
                break fault;
            }
            file.extend_from_slice(&fragment);
        },
        Err(fault) => fault,
    };
    drop(file);
    while data_set.next(association).await?.is_some() {}
    Ok(Err(fault))
}

fn too_large(most: usize) -> Fault {
    let mebibytes = most >> 20;
    let message = format!("the data set is larger than the {mebibytes} MiB that this server takes");
    Fault::new(FaultKind::TooLarge, "too-large", message)
}

/// Makes a file that has come durable.
async fn keep(door: &Door, request: &Request, file: Bytes) -> Result<(), Failure> {
    let mut submission = Submission::read(file).await?;
    let named = (request.class.as_deref(), request.instance.as_deref());
    if named != (Some(submission.class()), Some(submission.instance().as_str())) {
        return Err(Failure::new(
            DATA_SET_MISMATCH,
            "mismatch",
            "the command names another SOP class or instance than the data set",
        ));
    }
    if request.high {
        submission = submission.urgent();
    }
    door.workflow.accept(&submission).await?;
    Ok(())
}

/// A data set on its way.
struct DataSet {
    context: u8,
    /// How much of it may still come.
    left: usize,
    pace: Pace,
    ended: bool,
}

impl DataSet {
    fn new(door: &Door, context: u8) -> Self {
        Self {
            context,
            left: door.settings.body_bytes.saturating_add(MOST_DISCARDED),
            pace: Pace::default(),
            ended: false,
        }
    }

    /// The next fragment; `None` after the last.
    async fn next(&mut self, association: &mut Association) -> Result<Option<Vec<u8>>, Broken> {
        if self.ended {
            return Ok(None);
        }
        let asked = Instant::now();
        let fragment = association.data(self.context).await?;
        if !self.pace.came(fragment.data.len(), asked.elapsed()) {
            return Err(Broken::Late);
        }
        let left = self.left.checked_sub(fragment.data.len());
        self.left = left.ok_or(Broken::Protocol(Offence::InvalidParameter))?;
        self.ended = fragment.is_last;
        Ok(Some(fragment.data))
    }
}

/// What stands before the data set in its file (PS3.10 section 7.1); `None` where the command's UIDs are none.
///
/// It is the same for the same instance from the same sender, whichever version of osteon received it: sent again, it is the same
/// file.
fn file_meta(request: &Request, agreed: &Context, caller: &AeTitle) -> Option<Vec<u8>> {
    let instance = InstanceUid::parse(request.instance.as_deref()?).ok()?;
    let mut meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(&agreed.abstract_syntax)
        .media_storage_sop_instance_uid(instance.as_str())
        .transfer_syntax(&agreed.transfer_syntax)
        .implementation_class_uid(uid::implementation_class())
        .source_application_entity_title(caller.as_str())
        .build()
        .ok()?;
    meta.implementation_version_name = None;
    meta.update_information_group_length();
    let mut bytes = vec![0; 128];
    bytes.extend_from_slice(b"DICM");
    meta.write(&mut bytes).ok()?;
    Some(bytes)
}
