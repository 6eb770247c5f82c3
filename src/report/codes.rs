//! The codes of a report (PS3.16), and those of our own scheme, which stand where the standard has none.
//!
//! Values and meanings are those of PS3.16 annex D (DCM), of SNOMED CT (SCT) and of UMLS as TID 1500 and its context groups name
//! them. The private scheme is declared in every report (Coding Scheme Identification Sequence, PS3.3 section C.12.1.1.7).

use crate::dicom::{CodedValue, uid};

/// Designator of the private scheme; those that begin with `99` are nobody's (PS3.16 section 8.2).
pub(super) const PRIVATE: &str = "99OSTEON";

/// Its name.
pub(super) const SCHEME_NAME: &str = "osteon result codes";

/// Its UID.
pub(super) fn scheme_uid() -> String {
    uid::derived(&["osteon", "coding scheme"])
}

/// A code that is known when this is compiled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code {
    scheme: &'static str,
    value: &'static str,
    meaning: &'static str,
}

impl From<Code> for CodedValue {
    fn from(code: Code) -> Self {
        Self {
            scheme: code.scheme.to_owned(),
            value: code.value.to_owned(),
            meaning: code.meaning.to_owned(),
        }
    }
}

const fn dcm(value: &'static str, meaning: &'static str) -> Code {
    let scheme = "DCM";
    Code {
        scheme,
        value,
        meaning,
    }
}

const fn sct(value: &'static str, meaning: &'static str) -> Code {
    let scheme = "SCT";
    Code {
        scheme,
        value,
        meaning,
    }
}

const fn private(value: &'static str, meaning: &'static str) -> Code {
    Code {
        scheme: PRIVATE,
        value,
        meaning,
    }
}

pub(super) const IMAGING_MEASUREMENT_REPORT: Code = dcm("126000", "Imaging Measurement Report");
pub(super) const LANGUAGE: Code = dcm("121049", "Language of Content Item and Descendants");
pub(super) const OBSERVER_TYPE: Code = dcm("121005", "Observer Type");
pub(super) const DEVICE: Code = dcm("121007", "Device");
pub(super) const DEVICE_UID: Code = dcm("121012", "Device Observer UID");
pub(super) const DEVICE_NAME: Code = dcm("121013", "Device Observer Name");
pub(super) const DEVICE_MANUFACTURER: Code = dcm("121014", "Device Observer Manufacturer");
pub(super) const DEVICE_MODEL: Code = dcm("121015", "Device Observer Model Name");
pub(super) const PROCEDURE_REPORTED: Code = dcm("121058", "Procedure reported");
pub(super) const IMAGING_MEASUREMENTS: Code = dcm("126010", "Imaging Measurements");
pub(super) const MEASUREMENT_GROUP: Code = dcm("125007", "Measurement Group");
pub(super) const TRACKING_IDENTIFIER: Code = dcm("112039", "Tracking Identifier");
pub(super) const TRACKING_UID: Code = dcm("112040", "Tracking Unique Identifier");
pub(super) const FINDING: Code = dcm("121071", "Finding");
pub(super) const ALGORITHM_NAME: Code = dcm("111001", "Algorithm Name");
pub(super) const ALGORITHM_VERSION: Code = dcm("111003", "Algorithm Version");
pub(super) const ALGORITHM_PARAMETERS: Code = dcm("111002", "Algorithm Parameters");
pub(super) const SOURCE_OF_MEASUREMENT: Code = dcm("121112", "Source of Measurement");
pub(super) const PRESENCE: Code = dcm("121052", "Presence of property");
pub(super) const COMMENT: Code = dcm("121106", "Comment");
pub(super) const CLASS_ACTIVATION: Code = dcm("130402", "Class activation");
pub(super) const SALIENCY: Code = dcm("130404", "Saliency");
pub(super) const SOURCE_IMAGE: Code = dcm("121322", "Source image for image processing operation");
pub(super) const PROCESSING_EQUIPMENT: Code = dcm("109102", "Processing Equipment");

pub(super) const FINDING_SITE: Code = sct("363698007", "Finding Site");
pub(super) const LATERALITY: Code = sct("272741003", "Laterality");
pub(super) const LEFT: Code = sct("7771000", "Left");
pub(super) const RIGHT: Code = sct("24028007", "Right");
pub(super) const BILATERAL: Code = sct("51440002", "Bilateral");
pub(super) const PRESENT: Code = sct("52101004", "Present");
pub(super) const ABSENT: Code = sct("272519000", "Absent");
/// Where the study does not say which procedure it was.
pub(super) const PLAIN_RADIOGRAPHY: Code = sct("168537006", "Plain radiography");

pub(super) const IMAGING_REPORT: Code = Code {
    scheme: "LN",
    value: "18748-4",
    meaning: "Diagnostic imaging study",
};
pub(super) const QUALITATIVE_EVALUATIONS: Code = Code {
    scheme: "UMLS",
    value: "C0034375",
    meaning: "Qualitative Evaluations",
};
/// A language tag of RFC 5646.
pub(super) const ENGLISH: Code = Code {
    scheme: "RFC5646",
    value: "en",
    meaning: "English",
};

pub(super) const OUTCOME: Code = private("outcome", "Outcome of analysis");
pub(super) const SCORED: Code = private("scored", "Scored");
pub(super) const REFUSED: Code = private("refused", "Refused: not scored");
pub(super) const FAILED: Code = private("failed", "Failed: not scored");
pub(super) const REASON: Code = private("reason", "Reason for the outcome");
pub(super) const THRESHOLD: Code = private("threshold", "Threshold of the probability");
pub(super) const OVERRIDE: Code = private("override", "Gate set aside for research");

/// Values of Body Part Examined (0018,0015) with the codes that PS3.16 annex L gives for them.
pub(super) const BODY_PARTS: [(&str, Code); 8] = [
    ("LSPINE", sct("122496007", "Lumbar spine")),
    ("TSPINE", sct("122495006", "Thoracic spine")),
    ("CSPINE", sct("122494005", "Cervical spine")),
    ("SPINE", sct("421060004", "Spine")),
    ("CHEST", sct("816094009", "Chest")),
    ("HIP", sct("24136001", "Hip joint")),
    ("FEMUR", sct("71341001", "Femur")),
    ("HAND", sct("85562004", "Hand")),
];

/// The concept "probability of ...", which no standard scheme has: `P-SCT-64859006` is that of osteoporosis.
pub(super) fn probability_of(concept: &CodedValue) -> CodedValue {
    CodedValue {
        scheme: PRIVATE.to_owned(),
        value: format!("P-{}-{}", concept.scheme, concept.value),
        meaning: format!("Probability of {}", concept.meaning),
    }
}

/// A stable code of osteon's, such as that of a reason, as a coded value.
pub(super) fn stable(code: &str) -> CodedValue {
    CodedValue {
        scheme: PRIVATE.to_owned(),
        value: code.to_owned(),
        meaning: code.replace('-', " "),
    }
}

/// A unit of UCUM; PS3.16 calls `1` "no units".
pub(super) fn unit(code: &str) -> CodedValue {
    CodedValue {
        scheme: "UCUM".to_owned(),
        value: code.to_owned(),
        meaning: if code == "1" { "no units" } else { code }.to_owned(),
    }
}
