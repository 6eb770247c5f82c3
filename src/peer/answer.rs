//! What an archive says to a STOW-RS request (PS3.18 section 10.5.3), as far as it decides what happens next.

use serde_json::Value;

use super::PeerError;

const FAILED_SOP_SEQUENCE: &str = "00081198";
const FAILURE_REASON: &str = "00081197";
const REFERENCED_SOP_INSTANCE_UID: &str = "00081155";

/// Failure Reason (0008,1197) of an instance that is there already (PS3.7 annex C).
const DUPLICATE: u16 = 0x0111;

/// What an answer says of our objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// One was not stored: the first lasting reason, otherwise the first.
    Failed(PeerError),
    /// Failures, and none of them is one of ours: of others, or of what the archive has already.
    NotOurs,
    /// Nothing of failures.
    Nothing,
}

/// Reads an answer that is about `ours`.
pub(super) fn read(body: &[u8], ours: &[&str]) -> Said {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    // one data set; some archives answer with a list of one
    let answer = body.as_array().and_then(|list| list.first()).unwrap_or(&body);
    let Some(failed) = answer[FAILED_SOP_SEQUENCE]["Value"].as_array() else {
        return Said::Nothing;
    };
    let is_ours = |item: &&Value| {
        let uid = item[REFERENCED_SOP_INSTANCE_UID]["Value"][0].as_str();
        // some name no instance
        uid.is_none_or(|uid| ours.contains(&uid))
    };
    let reasons = failed.iter().filter(is_ours).map(|item| {
        let reason = &item[FAILURE_REASON]["Value"][0];
        reason.as_u64().and_then(|reason| u16::try_from(reason).ok())
    });
    let errors: Vec<_> = reasons
        .filter(|reason| *reason != Some(DUPLICATE))
        .map(rejected)
        .collect();
    let worst = errors.iter().find(|error| !error.retry).or(errors.first());
    worst.cloned().map_or(Said::NotOurs, Said::Failed)
}

/// PS3.18 table I.2-2 and PS3.4 table B.2-1. What is wrong with the object stays wrong; what is wrong with the archive may pass.
pub(super) fn rejected(reason: Option<u16>) -> PeerError {
    let Some(reason) = reason else {
        return PeerError::passing(
            "rejected",
            "the archive did not store the object and does not say why",
        );
    };
    let (says, passes) = match reason {
        0xA700..=0xA7FF => ("it is out of resources", true),
        0xA900..=0xA9FF => ("it finds that the data set does not match its SOP class", false),
        0xC122 => ("it does not take the transfer syntax", false),
        0xC000..=0xCFFF => ("it cannot understand it", false),
        0x0110 => ("it failed while processing it", true),
        0x0122 => ("it does not take objects of this SOP class", false),
        0x0117 => ("it finds the SOP Instance UID invalid", false),
        0x0124 => ("it does not allow it", false),
        _ => ("it gives a reason of its own", true),
    };
    let message = format!("the archive did not store the object: {says} (failure reason {reason:04X})");
    if passes {
        PeerError::passing("rejected", message)
    } else {
        PeerError::lasting("rejected", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(uid: &str, reason: u16) -> Value {
        serde_json::json!({
            "00081155": { "vr": "UI", "Value": [uid] },
            "00081197": { "vr": "US", "Value": [reason] },
        })
    }

    fn answer(items: &[Value]) -> Vec<u8> {
        let answer = serde_json::json!({ "00081198": { "vr": "SQ", "Value": items } });
        answer.to_string().into_bytes()
    }

    fn failure(body: &[u8], ours: &[&str]) -> PeerError {
        match read(body, ours) {
            Said::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_with_the_object_stays_wrong() {
        for (reason, retry) in [
            (0xA700, true),
            (0xA900, false),
            (0xC000, false),
            (0xC122, false),
            (0x0110, true),
            (0x0122, false),
            (0x0124, false),
            (0xB000, true),
        ] {
            let error = failure(&answer(&[failed("1.2", reason)]), &["1.2"]);
            assert_eq!((error.code, error.retry), ("rejected", retry), "{reason:04X}");
            assert!(error.message.contains(&format!("{reason:04X}")));
        }
        let both = answer(&[failed("1.2", 0xA700), failed("1.3", 0xC000)]);
        assert!(!failure(&both, &["1.2", "1.3"]).retry);
    }

    #[test]
    fn a_duplicate_another_object_and_nonsense_reject_nothing() {
        assert_eq!(read(&answer(&[failed("1.2", 0x0111)]), &["1.2"]), Said::NotOurs);
        assert_eq!(read(&answer(&[failed("1.9", 0xC000)]), &["1.2"]), Said::NotOurs);
        for body in ["", "<html>", "[]", "{}", "7", r#"{"00081198":{"vr":"SQ"}}"#] {
            assert_eq!(read(body.as_bytes(), &["1.2"]), Said::Nothing, "{body}");
        }
        let nameless = br#"[{"00081198":{"vr":"SQ","Value":[{}]}}]"#;
        assert!(failure(nameless, &["1.2"]).retry);
    }
}
