//! The secret that everything new is derived from: UIDs, pseudonyms, days.
//!
//! HMAC-SHA-256 (RFC 2104) of what it stands for: the same key gives the same answer in every run, so that studies
//! that arrive later still fit, and without the key nothing leads back.

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::dicom::text;

/// The bytes of a key.
const LENGTH: usize = 32;
/// The letters of base 32 (RFC 4648).
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// The letters of a code: 50 bits, so that two codes of half a million are alike in one archive of ten thousand.
const CODE: usize = 10;
/// The most days that dates move into the past: ten years.
const MOST_DAYS: u64 = 3_650;

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 64 hexadecimal digits")]
pub struct InvalidKey;

/// A secret of 256 bits. It is never shown: [`Key::to_hex`] is for the file that keeps it.
#[derive(Clone)]
pub struct Key([u8; LENGTH]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What stands for a patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patient {
    /// `P` and ten letters, for Patient's Name and Patient ID.
    pub(super) pseudonym: String,
    /// How many days all dates move into the past, 1 to 3650.
    pub(super) days: u64,
}

/// What a patient is known by: the Patient ID, or, where there is none, the study.
pub(super) fn identifier(header: &InMemDicomObject) -> String {
    text(header, tags::PATIENT_ID).map_or_else(
        || {
            let study = text(header, tags::STUDY_INSTANCE_UID).unwrap_or_default();
            format!("study\0{study}")
        },
        |id| of_patient_id(&id),
    )
}

fn of_patient_id(id: &str) -> String {
    format!("id\0{id}")
}

impl Key {
    /// A key of these bytes, which have to come from a source of true randomness.
    #[must_use]
    pub fn new(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// Reads what [`Key::to_hex`] wrote.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * LENGTH {
            return Err(InvalidKey);
        }
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(InvalidKey);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Ok(Self(bytes))
    }

    /// The key as text, for its file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
        let pair = |byte: &u8| [digit(byte >> 4), digit(byte & 0xF)];
        self.0.iter().flat_map(pair).collect()
    }

    /// The UID that stands for `uid`: `2.25.` and a version 8 UUID (RFC 9562) in decimal (PS3.5 section B.2).
    #[must_use]
    pub fn uid(&self, uid: &str) -> String {
        let version = 0xf_u128 << 76;
        let variant = 0x3_u128 << 62;
        let number = self.number("uid", uid) & !version & !variant;
        format!("2.25.{}", number | 0x8 << 76 | 0x2 << 62)
    }

    /// The pseudonym that de-identification gives the patient with this Patient ID.
    #[must_use]
    pub fn pseudonym(&self, patient_id: &str) -> String {
        self.patient(&of_patient_id(patient_id)).pseudonym
    }

    /// The pseudonym that de-identification gives the patient of this data set.
    #[must_use]
    pub fn pseudonym_of(&self, header: &InMemDicomObject) -> String {
        self.patient(&identifier(header)).pseudonym
    }

    /// Ten letters that stand for `text` wherever it means the same `purpose`.
    #[must_use]
    pub fn code(&self, purpose: &str, text: &str) -> String {
        let mut number = self.number(purpose, text);
        let mut code = String::with_capacity(CODE);
        for _ in 0..CODE {
            code.push(char::from(LETTERS[(number % 32) as usize]));
            number /= 32;
        }
        code
    }

    /// What stands for the patient with this identifier.
    pub(super) fn patient(&self, identifier: &str) -> Patient {
        // of 128 bits: no day is likelier than another by what could be measured
        let days = self.number("days", identifier) % u128::from(MOST_DAYS) + 1;
        Patient {
            pseudonym: format!("P{}", self.code("patient", identifier)),
            days: days as u64,
        }
    }

    fn number(&self, purpose: &str, text: &str) -> u128 {
        // a key of any length is a key of HMAC: this cannot fail
        let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return 0;
        };
        hmac.update(purpose.as_bytes());
        // keeps a purpose from running into the text
        hmac.update(&[0]);
        hmac.update(text.as_bytes());
        let digest = hmac.finalize().into_bytes();
        digest
            .iter()
            .take(16)
            .fold(0, |number, byte| number << 8 | u128::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::InstanceUid;

    #[test]
    fn the_same_key_gives_the_same_answers_and_another_key_others() {
        let (one, two) = (Key::new([1; 32]), Key::new([2; 32]));
        assert_eq!(one.uid("1.2.3"), one.uid("1.2.3"));
        assert_ne!(one.uid("1.2.3"), one.uid("1.2.4"));
        assert_ne!(one.uid("1.2.3"), two.uid("1.2.3"));
        assert_ne!(one.patient("A"), two.patient("A"));
        assert_ne!(one.patient("A"), one.patient("B"));
        for patient in 0..1000 {
            let patient = one.patient(&patient.to_string());
            assert!((1..=MOST_DAYS).contains(&patient.days));
            assert_eq!(patient.pseudonym.len(), 11);
            assert!(InstanceUid::parse(&one.uid(&patient.pseudonym)).is_ok());
        }
    }

    #[test]
    fn it_is_hmac_sha_256() {
        // from another implementation of HMAC
        let key = Key::new([0; 32]);
        assert_eq!(
            key.number("uid", "1.2.3"),
            0xb011_0fd6_a7f4_9072_c7fd_f98c_cc91_a161
        );
        assert_eq!(key.uid("1.2.3"), "2.25.234032717547690699644168155734605930849");
    }

    #[test]
    fn a_key_is_read_back_and_never_shown() {
        let key = Key::new(std::array::from_fn(|at| at as u8 * 7));
        assert_eq!(Key::parse(&format!("{}\n", key.to_hex())).unwrap().0, key.0);
        for text in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Key::parse(text).unwrap_err(), InvalidKey);
        }
        assert_eq!(format!("{key:?}"), "Key(..)");
    }
}
