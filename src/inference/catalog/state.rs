//! What becomes of a package.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::model::Stage;

/// What became of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is served.
    Ready,
    /// It was seen, and is tried when it stays the same from one look to the next: it may still be arriving.
    Waiting,
    /// It is being proven.
    Proving,
    /// It did not prove itself.
    Failed,
    /// It is not wanted: a newer version serves, or the pins name others.
    Idle,
    /// Its model was unloaded on purpose.
    Unloaded,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Ready,
        Self::Waiting,
        Self::Proving,
        Self::Failed,
        Self::Idle,
        Self::Unloaded,
    ];

    /// Its name in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Proving => "proving",
            Self::Failed => "failed",
            Self::Idle => "idle",
            Self::Unloaded => "unloaded",
        }
    }
}

/// A package of the models folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Indexed {
    /// The model's name.
    pub name: String,
    /// Its version; 0 where the folder's name is none.
    pub version: u32,
    /// What became of it.
    pub state: State,
    /// Where its proof ended, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Why it is not served, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is in this state.
    #[serde(serialize_with = "utc")]
    pub since: SystemTime,
    /// Where it failed for a reason that may pass: the first look at the folder from then on tries it again.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "utc_if")]
    pub again_after: Option<SystemTime>,
    /// Whether this version is served, if only as it was before it was changed and failed.
    pub serving: bool,
    /// The name of its folder.
    #[serde(skip)]
    pub(super) folder: String,
}

impl Indexed {
    /// `<name>/<version>` under the models folder.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.name, self.folder)
    }

    pub(super) fn rejected(&self) -> Option<Rejected> {
        (self.state == State::Failed).then(|| Rejected {
            package: self.place(),
            stage: self.stage,
            reason: self.reason.clone().unwrap_or_default(),
            since: Some(self.since),
        })
    }
}

/// A package that did not prove itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// `<name>/<version>` under the models folder.
    pub package: String,
    /// Where its proof ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// What was off.
    pub reason: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "utc_if")]
    pub since: Option<SystemTime>,
}

fn utc<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let text = chrono::DateTime::from_timestamp(seconds as i64, 0)
        .map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    text.serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde gives the field as it is")]
fn utc_if<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => utc(time, serializer),
        None => serializer.serialize_none(),
    }
}
