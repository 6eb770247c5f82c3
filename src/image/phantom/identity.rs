//! Identifiers derived by hashing: the same archive always has the same ones, and two archives share none.
//!
//! Invariants: UIDs are `2.25.` and the decimal form of a version 8 UUID (RFC 9562), as DICOM PS3.5 B.2 allows; at most 44 characters.

use sha2::{Digest, Sha256};

fn digest(kind: &str, seed: u64, patient: u32, index: u32) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update(b"phantom\0");
    hasher.update(kind.as_bytes());
    // The separator keeps a kind from running into the numbers, which have fixed widths.
    hasher.update([0]);
    hasher.update(seed.to_be_bytes());
    hasher.update(patient.to_be_bytes());
    hasher.update(index.to_be_bytes());
    hasher
        .finalize()
        .iter()
        .take(16)
        .fold(0, |number, byte| (number << 8) | u128::from(*byte))
}

/// The UID of the thing of this kind.
pub(super) fn uid(kind: &str, seed: u64, patient: u32, index: u32) -> String {
    let version = 0xf_u128 << 76;
    let variant = 0x3_u128 << 62;
    let uuid = (digest(kind, seed, patient, index) & !version & !variant) | (0x8 << 76) | (0x2 << 62);
    format!("2.25.{uuid}")
}

/// A number for a patient, for dates and accession numbers.
pub(super) fn number(kind: &str, seed: u64, patient: u32) -> u64 {
    digest(kind, seed, patient, 0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_valid_and_distinct() {
        let uids = [
            uid("study", 1, 2, 0),
            uid("series", 1, 2, 0),
            uid("study", 1, 3, 0),
            uid("study", 2, 2, 0),
            uid("study", 1, 2, 1),
        ];
        for (place, uid) in uids.iter().enumerate() {
            assert!(uid.len() <= 64 && uid.starts_with("2.25."));
            assert!(!uids[..place].contains(uid));
        }
        assert_eq!(uids[0], uid("study", 1, 2, 0));
    }
}
