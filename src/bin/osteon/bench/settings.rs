//! Settings of a server that are tried.

use std::fmt;

use serde::Serialize;

/// Settings of a server that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Settings {
    pub(super) cores: usize,
    /// On a GPU only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instances: Option<usize>,
    /// Places in a model's line, where they are not the usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue: Option<usize>,
}

impl Settings {
    /// With all else as usual.
    pub(super) fn cores(cores: usize) -> Self {
        Self {
            cores,
            instances: None,
            queue: None,
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cores={}", self.cores)?;
        for (name, value) in [("instances", self.instances), ("queue", self.queue)] {
            if let Some(value) = value {
                write!(formatter, " {name}={value}")?;
            }
        }
        Ok(())
    }
}
