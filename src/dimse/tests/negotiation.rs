//! Who is let in, and for what.

use dicom_ul::pdu::{
    AssociationRJ, AssociationRJResult, AssociationRJServiceProviderPresentationReason,
    AssociationRJServiceUserReason, AssociationRJSource, PresentationContextResultReason,
};

use super::*;
use crate::dicom::AeTitle;

/// The rejection of an association.
async fn rejected(door: &TestDoor, options: ClientAssociationOptions<'_>) -> AssociationRJ {
    match Peer::establish(door, options).await.map(|_| ()) {
        Err(Error::Rejected { association_rj, .. }) => association_rj,
        other => panic!("{other:?}"),
    }
}

fn permanent(reason: AssociationRJServiceUserReason) -> AssociationRJ {
    AssociationRJ {
        result: AssociationRJResult::Permanent,
        source: AssociationRJSource::ServiceUser(reason),
    }
}

fn callers(toml: &str) -> Callers {
    #[derive(serde::Deserialize)]
    struct File {
        callers: Callers,
    }
    toml::from_str::<File>(toml).unwrap().callers
}

#[tokio::test]
async fn titles_that_are_wrong_are_refused_with_their_reason() {
    let known = callers(
        "callers = [{ ae-title = \"ARCHIVE\", hosts = [\"127.0.0.0/8\"] }, { ae-title = \"FAR\", hosts = [\"192.0.2.1\"] }]",
    );
    let door = TestDoor::with(|settings| settings.callers = known).await;
    let verifying = || options().with_abstract_syntax(uids::VERIFICATION);
    assert_eq!(
        rejected(&door, verifying().called_ae_title("OTHER")).await,
        permanent(AssociationRJServiceUserReason::CalledAETitleNotRecognized)
    );
    // one that is not known, and one that is known from elsewhere
    for title in ["STRANGER", "FAR"] {
        assert_eq!(
            rejected(&door, verifying().calling_ae_title(title)).await,
            permanent(AssociationRJServiceUserReason::CallingAETitleNotRecognized)
        );
    }
    let peer = Peer::establish(&door, verifying()).await.unwrap();
    peer.release().await;
    let text = door.metrics.text();
    assert_eq!(
        door.metric("osteon_dicom_associations_total{ended=\"called-ae-title\"}"),
        1
    );
    assert_eq!(
        door.metric("osteon_dicom_associations_total{ended=\"calling-ae-title\"}"),
        2
    );
    assert!(!text.contains("STRANGER") && !text.contains("FAR"), "{text}");
}

#[tokio::test]
async fn there_are_no_more_associations_than_there_may_be() {
    let door = TestDoor::with(|settings| settings.associations = 2).await;
    let mut first = Peer::call(&door).await;
    let second = Peer::call(&door).await;
    let third = rejected(&door, options().with_abstract_syntax(uids::VERIFICATION)).await;
    let reason = AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
    assert_eq!(
        third,
        AssociationRJ {
            result: AssociationRJResult::Transient,
            source: AssociationRJSource::ServiceProviderPresentation(reason),
        }
    );
    assert_eq!(first.echo().await, 0x0000);
    second.release().await;
    door.counts("osteon_dicom_associations_open", 1).await;
    let mut fourth = Peer::call(&door).await;
    assert_eq!(fourth.echo().await, 0x0000);
    fourth.release().await;
    first.release().await;
}

/// What became of proposed contexts: the accepted transfer syntax of each, or why there is none.
fn answers(proposed: &[(&str, &[&str])]) -> Vec<Result<String, PresentationContextResultReason>> {
    use dicom_ul::pdu::{AssociationRQ, PresentationContextProposed};
    let settings = Settings {
        ae_title: AeTitle::default(),
        callers: Callers::default(),
        associations: 1,
        body_bytes: 1,
        times: Times::default(),
    };
    let presentation_contexts =
        proposed
            .iter()
            .enumerate()
            .map(|(index, (class, syntaxes))| PresentationContextProposed {
                id: 2 * index as u8 + 1,
                abstract_syntax: (*class).to_owned(),
                transfer_syntaxes: syntaxes.iter().map(|syntax| (*syntax).to_owned()).collect(),
            });
    let request = AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "ARCHIVE".to_owned(),
        called_ae_title: "OSTEON".to_owned(),
        application_context_name: "1.2.840.10008.3.1.1.1".to_owned(),
        presentation_contexts: presentation_contexts.collect(),
        user_variables: Vec::new(),
    };
    let (answer, _) = super::super::negotiate(request, &settings, [127, 0, 0, 1].into()).unwrap();
    let results = answer.presentation_contexts.into_iter();
    results
        .map(|result| match result.reason {
            PresentationContextResultReason::Acceptance => Ok(result.transfer_syntax),
            reason => Err(reason),
        })
        .collect()
}

#[test]
fn each_context_gets_the_first_syntax_that_can_be_decoded() {
    const IMPLICIT: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;
    let no_class = || Err(PresentationContextResultReason::AbstractSyntaxNotSupported);
    let no_syntax = || Err(PresentationContextResultReason::TransferSyntaxesNotSupported);
    let took = |syntax: &str| Ok(syntax.to_owned());
    for (class, syntaxes, answer) in [
        (DX, &[IMPLICIT, EXPLICIT] as &[&str], took(IMPLICIT)),
        (DX, &[uids::JPEG2000, EXPLICIT], took(uids::JPEG2000)),
        // video cannot be decoded
        (DX, &[uids::MPEG2MPML, EXPLICIT], took(EXPLICIT)),
        (DX, &[uids::MPEG2MPML], no_syntax()),
        (DX, &["1.2.3"], no_syntax()),
        (DX, &[], no_syntax()),
        // padded, as some send UIDs
        (
            "1.2.840.10008.5.1.4.1.1.1.1\0",
            &["1.2.840.10008.1.2.1\0"],
            took(EXPLICIT),
        ),
        // reports, classes that the standard does not have yet, private ones, those that stand elsewhere
        (uids::COMPREHENSIVE3_DSR_STORAGE, &[EXPLICIT], took(EXPLICIT)),
        ("1.2.840.10008.5.1.4.1.1.9999", &[EXPLICIT], took(EXPLICIT)),
        ("1.3.12.2.1107.5.9.1", &[EXPLICIT], took(EXPLICIT)),
        (uids::HANGING_PROTOCOL_STORAGE, &[EXPLICIT], took(EXPLICIT)),
        // what is no storage
        (
            uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND,
            &[IMPLICIT],
            no_class(),
        ),
        (
            uids::MODALITY_WORKLIST_INFORMATION_MODEL_FIND,
            &[IMPLICIT],
            no_class(),
        ),
        (uids::STORAGE_COMMITMENT_PUSH_MODEL, &[IMPLICIT], no_class()),
        (uids::INVENTORY_FIND, &[IMPLICIT], no_class()),
        ("", &[IMPLICIT], no_class()),
        ("not a UID", &[IMPLICIT], no_class()),
        (uids::VERIFICATION, &[uids::JPEG2000, IMPLICIT], took(IMPLICIT)),
    ] {
        assert_eq!(answers(&[(class, syntaxes)]), [answer], "{class} {syntaxes:?}");
    }
}

#[tokio::test]
async fn the_most_contexts_that_there_can_be_are_answered_one_by_one() {
    let door = TestDoor::start().await;
    let mut options = options();
    for index in 0..128 {
        let class = format!("1.2.840.10008.5.1.4.1.1.{index}");
        let syntaxes = [uids::JPEGLS_LOSSLESS, EXPLICIT, uids::IMPLICIT_VR_LITTLE_ENDIAN];
        let syntaxes = syntaxes.map(str::to_owned).to_vec();
        options = options.with_presentation_context(class, syntaxes);
    }
    let peer = Peer::establish(&door, options).await.unwrap();
    assert_eq!(peer.association.presentation_contexts().len(), 128);
    peer.release().await;
}
