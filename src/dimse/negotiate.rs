//! Who may open an association, and what it may be used for: an A-ASSOCIATE-RQ becomes an acceptance or a rejection (PS3.8 section
//! 9.3). Pure.
//!
//! Every presentation context is answered by itself: verification, and storage of whatever class in whatever transfer syntax can be
//! kept and decoded here, in the first such syntax that its sender proposes. Nothing is re-encoded, so no other order is better
//! than the sender's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason,
    AssociationRJServiceProviderPresentationReason, AssociationRJServiceUserReason, AssociationRJSource,
    AssociationRQ, PresentationContextProposed, PresentationContextResult, PresentationContextResultReason,
    UserVariableItem,
};

use super::Settings;
use super::connection::MOST_IN_A_PDU;
use crate::dicom::{AeTitle, InstanceUid, uid};
use crate::image::decode::is_supported;

/// The DICOM application context (PS3.7 annex A).
const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// What every class, syntax and service of the standard begins with.
const STANDARD: &str = "1.2.840.10008.";
/// What the storage classes begin with, all but a few.
const STORAGE: &str = "1.2.840.10008.5.1.4.1.1.";
/// Storage classes elsewhere (PS3.4 tables B.5-1 and GG.3-1), and retired ones that some still propose.
#[expect(deprecated, reason = "the dictionary marks what is retired")]
const STORAGE_ELSEWHERE: [&str; 10] = [
    uids::STORED_PRINT_STORAGE,
    uids::HARDCOPY_GRAYSCALE_IMAGE_STORAGE,
    uids::HARDCOPY_COLOR_IMAGE_STORAGE,
    uids::RT_BRACHY_APPLICATION_SETUP_DELIVERY_INSTRUCTION_STORAGE,
    uids::RT_BEAMS_DELIVERY_INSTRUCTION_STORAGE,
    uids::HANGING_PROTOCOL_STORAGE,
    uids::COLOR_PALETTE_STORAGE,
    uids::GENERIC_IMPLANT_TEMPLATE_STORAGE,
    uids::IMPLANT_ASSEMBLY_TEMPLATE_STORAGE,
    uids::IMPLANT_TEMPLATE_GROUP_STORAGE,
];
/// Services whose classes stand among the storage classes.
const NO_STORAGE: [&str; 8] = [
    uids::PROTOCOL_APPROVAL_INFORMATION_MODEL_FIND,
    uids::PROTOCOL_APPROVAL_INFORMATION_MODEL_MOVE,
    uids::PROTOCOL_APPROVAL_INFORMATION_MODEL_GET,
    uids::INVENTORY_FIND,
    uids::INVENTORY_MOVE,
    uids::INVENTORY_GET,
    uids::INVENTORY_CREATION,
    uids::REPOSITORY_QUERY,
];

/// What an association was accepted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Who called.
    pub(super) caller: AeTitle,
    /// The accepted presentation contexts by their ID.
    pub(super) contexts: BTreeMap<u8, Context>,
    /// The longest P-DATA-TF that the caller takes, without its first six bytes; 0 is any.
    pub(super) longest: u32,
}

/// An accepted presentation context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) abstract_syntax: String,
    pub(super) transfer_syntax: String,
}

/// Why there is no association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The answer, and a word for the reason.
    Rejected(AssociationRJ, &'static str),
    /// The request breaks the rules of the protocol.
    Invalid,
}

/// The answer to `request`, which came from `address`.
pub(super) fn negotiate(
    request: AssociationRQ,
    settings: &Settings,
    address: IpAddr,
) -> Result<(AssociationAC, Agreed), Refusal> {
    use AssociationRJServiceUserReason as Reason;
    let permanent = |source, word| {
        let result = AssociationRJResult::Permanent;
        Refusal::Rejected(AssociationRJ { result, source }, word)
    };
    let user = |reason, word| permanent(AssociationRJSource::ServiceUser(reason), word);
    // bit 0 is version 1, and no other bit is looked at
    if request.protocol_version & 1 == 0 {
        let reason = AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported;
        return Err(permanent(
            AssociationRJSource::ServiceProviderASCE(reason),
            "protocol-version",
        ));
    }
    if without_padding(&request.application_context_name) != APPLICATION_CONTEXT {
        return Err(user(
            Reason::ApplicationContextNameNotSupported,
            "application-context",
        ));
    }
    if request.called_ae_title.parse() != Ok(settings.ae_title.clone()) {
        return Err(user(Reason::CalledAETitleNotRecognized, "called-ae-title"));
    }
    let known = |caller: &AeTitle| settings.callers.admit(caller, address);
    let caller = request.calling_ae_title.parse().ok().filter(known);
    let Some(caller) = caller else {
        return Err(user(Reason::CallingAETitleNotRecognized, "calling-ae-title"));
    };
    let mut contexts = BTreeMap::new();
    let mut results = Vec::new();
    for proposed in &request.presentation_contexts {
        let seen = results
            .iter()
            .any(|result: &PresentationContextResult| result.id == proposed.id);
        if proposed.id.is_multiple_of(2) || seen {
            return Err(Refusal::Invalid);
        }
        let (reason, context) = match chosen(proposed) {
            Ok(context) => (PresentationContextResultReason::Acceptance, Some(context)),
            Err(reason) => (reason, None),
        };
        results.push(PresentationContextResult {
            id: proposed.id,
            reason,
            // of a context that is not accepted it means nothing, and must still be there
            transfer_syntax: context.as_ref().map_or_else(
                || uids::IMPLICIT_VR_LITTLE_ENDIAN.to_owned(),
                |context| context.transfer_syntax.clone(),
            ),
        });
        contexts.extend(context.map(|context| (proposed.id, context)));
    }
    let longest = request.user_variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) => Some(*length),
        _ => None,
    });
    let answer = AssociationAC {
        protocol_version: 1,
        called_ae_title: request.called_ae_title,
        calling_ae_title: request.calling_ae_title,
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables: vec![
            UserVariableItem::MaxLength(MOST_IN_A_PDU),
            UserVariableItem::ImplementationClassUID(uid::implementation_class()),
            UserVariableItem::ImplementationVersionName(
                concat!("OSTEON_", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
        ],
    };
    let agreed = Agreed {
        caller,
        contexts,
        longest: longest.unwrap_or(0),
    };
    Ok((answer, agreed))
}

/// The rejection of a caller for which there is no place now.
pub(super) fn no_place() -> AssociationRJ {
    AssociationRJ {
        result: AssociationRJResult::Transient,
        source: AssociationRJSource::ServiceProviderPresentation(
            AssociationRJServiceProviderPresentationReason::LocalLimitExceeded,
        ),
    }
}

fn chosen(proposed: &PresentationContextProposed) -> Result<Context, PresentationContextResultReason> {
    let abstract_syntax = without_padding(&proposed.abstract_syntax);
    let mut syntaxes = proposed
        .transfer_syntaxes
        .iter()
        .map(|syntax| without_padding(syntax));
    let syntax = if abstract_syntax == uids::VERIFICATION {
        // there is never a data set
        syntaxes.find(|syntax| {
            [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN].contains(syntax)
        })
    } else if is_storage(abstract_syntax) {
        syntaxes.find(|syntax| is_supported(syntax))
    } else {
        return Err(PresentationContextResultReason::AbstractSyntaxNotSupported);
    };
    let syntax = syntax.ok_or(PresentationContextResultReason::TransferSyntaxesNotSupported)?;
    Ok(Context {
        abstract_syntax: abstract_syntax.to_owned(),
        transfer_syntax: syntax.to_owned(),
    })
}

/// Whether objects of this class can be kept: all storage classes of the standard, also those that it does not have yet, and
/// private ones.
fn is_storage(class: &str) -> bool {
    if class.starts_with(STANDARD) {
        let among = class.starts_with(STORAGE) && !NO_STORAGE.contains(&class);
        among || STORAGE_ELSEWHERE.contains(&class)
    } else {
        InstanceUid::parse(class).is_ok()
    }
}

/// UIDs are not padded on the wire (PS3.8 annex F); some pad them.
fn without_padding(uid: &str) -> &str {
    uid.trim_matches([' ', '\0'])
}
