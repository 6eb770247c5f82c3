//! What to prove next and what to let go: a plain struct without files, clock or threads.
//!
//! Whoever drives it tells what was seen ([`Shelf::see`]), asks what to try ([`Shelf::next`]), and tells how that went
//! ([`Shelf::tried`]), until nothing is left. What serves is let go only when another serves in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::fingerprint::{Fingerprint, Look};
use super::state::{Indexed, State};
use super::versions::Wanted;
use crate::model::Stage;
use crate::runtime::proof::Unproven;

/// How many looks in a row must miss a package before it counts as removed: one that is replaced is away for a moment.
const MISSED: u32 = 2;
/// How long a package rests whose proof failed for a reason that may pass; twice as long after each further failure.
const REST: Duration = Duration::from_secs(10);
/// The longest that one rests: a proof takes memory and time from what serves.
const LONGEST_REST: Duration = Duration::from_mins(10);

/// Packages, and what serves of them.
pub(super) struct Shelf<T> {
    wanted: Wanted,
    /// By model, then by version; the folder's name tells those apart that are no version.
    models: BTreeMap<String, BTreeMap<(u32, String), Kept<T>>>,
    /// Models that were taken away on purpose.
    unloaded: BTreeSet<String>,
}

/// A package.
struct Kept<T> {
    folder: PathBuf,
    fingerprint: Fingerprint,
    /// Whether it was the same in two looks.
    settled: bool,
    missed: u32,
    tried: Option<Fingerprint>,
    again: Option<Again>,
    serving: Option<T>,
    state: State,
    stage: Option<Stage>,
    reason: Option<String>,
    since: SystemTime,
}

/// A failure that may pass.
#[derive(Clone, Copy)]
struct Again {
    /// How often the package failed so, as it is.
    failures: u32,
    /// The first look from then on tries it again.
    after: SystemTime,
}

impl Again {
    /// A clock that was put back makes nothing wait longer than it should.
    fn is_due(self, now: SystemTime) -> bool {
        match self.after.duration_since(now) {
            Ok(wait) => wait.is_zero() || wait > LONGEST_REST,
            Err(_) => true,
        }
    }
}

/// A package to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) model: String,
    pub(super) version: u32,
    pub(super) folder: PathBuf,
    key: (u32, String),
}

impl<T: Clone> Shelf<T> {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            models: BTreeMap::new(),
            unloaded: BTreeSet::new(),
        }
    }

    /// Takes in everything that lies in the folder; what was not there before is tried at once only where `at_once`. What cannot be
    /// looked into stays as it was.
    pub(super) fn see(&mut self, look: &Look, at_once: bool, now: SystemTime) {
        for kept in self.models.values_mut().flat_map(BTreeMap::values_mut) {
            kept.missed += 1;
        }
        for aside in look.aside.iter().filter(|aside| aside.unreadable) {
            let packages = self.models.get_mut(&aside.model).into_iter().flatten();
            for ((_, folder), kept) in packages {
                if aside.version.as_ref().is_none_or(|version| version == folder) {
                    kept.missed = 0;
                }
            }
        }
        for found in look.packages.iter().cloned() {
            let version = version(&found.version);
            let key = (version.unwrap_or(0), found.version);
            let packages = self.models.entry(found.model).or_default();
            let known = packages.contains_key(&key);
            let kept = packages.entry(key).or_insert_with(|| Kept {
                folder: found.folder,
                fingerprint: found.fingerprint,
                settled: false,
                missed: 0,
                tried: None,
                again: None,
                serving: None,
                state: State::Waiting,
                stage: None,
                reason: None,
                since: now,
            });
            kept.settled = at_once || (known && kept.fingerprint == found.fingerprint);
            kept.fingerprint = found.fingerprint;
            kept.missed = 0;
            if version.is_none() {
                let reason = "the folder of a version is named by a whole number of 1 or more, such as 1";
                kept.tried = Some(kept.fingerprint);
                kept.becomes(State::Failed, Some((Stage::Digest, reason.to_owned())), now);
            }
        }
        for packages in self.models.values_mut() {
            packages.retain(|_, kept| kept.missed < MISSED);
        }
        self.models.retain(|_, packages| !packages.is_empty());
    }

    /// The next package of a model to try. With `None` nothing is left to try, and what nobody needs any more was let go.
    pub(super) fn next(&mut self, model: &str, now: SystemTime) -> Option<Candidate> {
        let packages = self.models.get_mut(model)?;
        if self.unloaded.contains(model) {
            for kept in packages.values_mut() {
                kept.let_go();
                kept.becomes(State::Unloaded, None, now);
            }
            return None;
        }
        let mut enough = false;
        for (key, kept) in packages.iter_mut().rev() {
            let version = key.0;
            if version == 0 {
                continue;
            }
            if enough || !self.wanted.allows(model, version) {
                kept.let_go();
                if kept.again.take().is_some() {
                    kept.tried = None;
                }
                // why it failed stays known
                if kept.state != State::Failed || kept.tried != Some(kept.fingerprint) {
                    kept.becomes(State::Idle, None, now);
                }
                continue;
            }
            let is_new = kept.tried != Some(kept.fingerprint);
            if is_new || kept.again.is_some_and(|again| again.is_due(now)) {
                if kept.settled {
                    kept.becomes(State::Proving, None, now);
                    return Some(Candidate {
                        model: model.to_owned(),
                        version,
                        folder: kept.folder.clone(),
                        key: key.clone(),
                    });
                }
                kept.becomes(State::Waiting, None, now);
            }
            // of one that is arriving or failed, what it was before may serve on
            enough = kept.serving.is_some() && self.wanted.one_of(model);
        }
        None
    }

    /// How the proof of a candidate went. Where it failed and may not the next time: how long it rests until then.
    pub(super) fn tried(
        &mut self,
        candidate: &Candidate,
        result: Result<T, Unproven>,
        now: SystemTime,
    ) -> Option<Duration> {
        let packages = self.models.get_mut(&candidate.model)?;
        let kept = packages.get_mut(&candidate.key)?;
        let before = kept.tried.replace(kept.fingerprint);
        let as_before = kept.again.take().filter(|_| before == kept.tried);
        match result {
            Ok(proven) => {
                kept.serving = Some(proven);
                kept.becomes(State::Ready, None, now);
                None
            }
            Err(unproven) => {
                let failures = as_before.map_or(0, |again| again.failures);
                let rest = REST.saturating_mul(1 << failures.min(16)).min(LONGEST_REST);
                kept.again = unproven.may_pass.then(|| Again {
                    failures: failures + 1,
                    after: now + rest,
                });
                kept.becomes(State::Failed, Some((unproven.stage, unproven.reason)), now);
                kept.again.map(|_| rest)
            }
        }
    }

    /// Models, by name.
    pub(super) fn models(&self) -> Vec<String> {
        self.models.keys().cloned().collect()
    }

    /// Asks for a model: it is no longer unloaded, and what failed is tried again.
    pub(super) fn ask(&mut self, model: &str) -> bool {
        self.unloaded.remove(model);
        let Some(packages) = self.models.get_mut(model) else {
            return false;
        };
        for kept in packages.values_mut() {
            kept.settled = true;
            if kept.serving.is_none() || kept.state == State::Failed {
                (kept.tried, kept.again) = (None, None);
            }
        }
        true
    }

    /// Takes a model away until it is asked for.
    pub(super) fn unload(&mut self, model: &str) -> bool {
        let known = self.models.contains_key(model);
        if known {
            self.unloaded.insert(model.to_owned());
        }
        known
    }

    /// Whether a model was taken away on purpose.
    pub(super) fn is_unloaded(&self, model: &str) -> bool {
        self.unloaded.contains(model)
    }

    /// What serves, by model and version.
    pub(super) fn serving(&self) -> BTreeMap<String, BTreeMap<u32, T>> {
        let of = |packages: &BTreeMap<(u32, String), Kept<T>>| {
            packages
                .iter()
                .filter_map(|((version, _), kept)| Some((*version, kept.serving.clone()?)))
                .collect::<BTreeMap<u32, T>>()
        };
        self.models
            .iter()
            .map(|(model, packages)| (model.clone(), of(packages)))
            .filter(|(_, versions)| !versions.is_empty())
            .collect()
    }

    /// What serves of a candidate's version.
    pub(super) fn serving_of(&self, candidate: &Candidate) -> Option<T> {
        self.models
            .get(&candidate.model)?
            .get(&candidate.key)?
            .serving
            .clone()
    }

    /// Every package, and what became of it.
    pub(super) fn index(&self) -> Vec<Indexed> {
        self.models
            .iter()
            .flat_map(|(model, packages)| packages.iter().map(move |package| (model, package)))
            .map(|(model, ((version, folder), kept))| Indexed {
                name: model.clone(),
                version: *version,
                state: kept.state,
                stage: kept.stage,
                reason: kept.reason.clone(),
                since: kept.since,
                again_after: kept.again.map(|again| again.after),
                serving: kept.serving.is_some(),
                folder: folder.clone(),
            })
            .collect()
    }
}

impl<T> Kept<T> {
    /// Serves no more; it is proven anew if it is ever wanted again.
    fn let_go(&mut self) {
        if self.serving.take().is_some() {
            self.tried = None;
        }
    }

    fn becomes(&mut self, state: State, why: Option<(Stage, String)>, now: SystemTime) {
        let (stage, reason) = why.unzip();
        if (self.state, &self.stage, &self.reason) != (state, &stage, &reason) {
            self.since = now;
        }
        self.state = state;
        self.stage = stage;
        self.reason = reason;
    }
}

/// The version that a folder's name stands for, written as a program writes it.
fn version(name: &str) -> Option<u32> {
    name.parse()
        .ok()
        .filter(|version: &u32| *version > 0 && version.to_string() == name)
}

#[cfg(test)]
mod tests;
