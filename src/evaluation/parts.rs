//! Patients dealt out into parts, so that what is said of one part can be learnt from the others.

use std::collections::{BTreeMap, BTreeSet};

/// For each case the number of its patient's part, from 0 to below `count`: by the patients' names alone, in which the truth has no say.
#[must_use]
pub fn parts(patients: &[impl AsRef<str>], count: usize) -> Vec<usize> {
    let all: BTreeSet<&str> = patients.iter().map(AsRef::as_ref).collect();
    let places: BTreeMap<&str, usize> = all.into_iter().zip(0..).collect();
    let place = |patient| places[patient] % count.max(1);
    patients.iter().map(|patient| place(patient.as_ref())).collect()
}
