//! The names of results: the same study, model and input have the same one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::objects::Sha;
use crate::dicom::StudyUid;

/// The name of a result: the SHA-256 of study, model digest and input digest, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResultKey(String);

impl ResultKey {
    /// The key of what `model` makes of `input` as a part of `study`; both are digests.
    #[must_use]
    pub fn of(study: &StudyUid, model: &str, input: &str) -> Self {
        Self(Sha::of(format!("{study}\n{model}\n{input}").as_bytes()).to_string())
    }

    /// A key that someone typed: 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Sha::parse(text).map(|sha| Self(sha.to_string()))
    }

    /// The key of a result that is the study's once more, after `former`, which is another: what is made of it and sent says whose place it
    /// takes, and is not taken for what was sent at the first time.
    pub(super) fn once_more(&self, former: &Self) -> Self {
        Self(Sha::of(format!("{self}\nonce more after\n{former}").as_bytes()).to_string())
    }

    pub(super) fn stored(text: String) -> Self {
        Self(text)
    }

    /// The key of a result in which something failed: that of this claim of a job (its generation and token) and no other. The whole
    /// result, or what another claim makes after the job was put back by hand, may be another one, which then takes its place.
    pub(super) fn of_failure(study: &StudyUid, claim: (i64, i64), model: &str, input: &str) -> Self {
        let (generation, token) = claim;
        Self(
            Sha::of(format!("{study}\n{model}\n{input}\nfailed {generation} {token}").as_bytes()).to_string(),
        )
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
