//! What a place tells of an object without giving its content.

use super::super::Timestamp;
use super::sha::Sha;

/// How it stands with one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// It is there, and is what was stored where that was looked at.
    Present,
    /// It is not there, and its place is.
    Missing,
    /// What is there is something else.
    Damaged,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its name.
    pub sha: Sha,
    /// When it was written last, by the clock of its place.
    pub modified: Timestamp,
    /// What it takes there; encrypted, it is a little larger than its content.
    pub bytes: u64,
}
