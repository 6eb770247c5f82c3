//! The stages of a model's proof, in their order: each is named in the log, in metrics and in answers.

use std::fmt;

use serde::Serialize;

/// What is looked at before a package is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Manifest, place, kinds and digests of every file.
    Digest,
    /// Who vouches for the manifest.
    Signature,
    /// What can be known of the network without running it.
    Header,
    /// The golden cases, one at a time, on the device that is to serve.
    Goldens,
    /// The golden cases in every batch size, which are warm afterwards.
    WarmUp,
    /// The place in the catalog.
    Swap,
}

impl Stage {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Header => "header",
            Self::Goldens => "goldens",
            Self::WarmUp => "warm-up",
            Self::Swap => "swap",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
