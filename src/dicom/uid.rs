//! Unique identifiers that are valid by construction.
//!
//! A UID is 1 to 64 characters of digits and dots, with no empty component (PS3.5 section 9). A value of these types
//! can therefore stand in a path, a URL or a query without being looked at again.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a text is not a UID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not a valid UID: a UID is 1 to 64 digits and dots without an empty component")]
pub struct InvalidUid {
    /// Which UID it should have been, for example `StudyInstanceUID`.
    pub what: &'static str,
}

fn check(text: &str, what: &'static str) -> Result<String, InvalidUid> {
    let text = text.trim_end_matches(['\0', ' ']);
    let valid = (1..=64).contains(&text.len())
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if valid {
        Ok(text.to_owned())
    } else {
        Err(InvalidUid { what })
    }
}

macro_rules! uid_type {
    ($name:ident, $what:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Reads the text of a UID; trailing padding (NUL or space) is not part of it.
            pub fn parse(text: &str) -> Result<Self, InvalidUid> {
                check(text, $what).map(Self)
            }

            /// The UID's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidUid;
            fn try_from(text: String) -> Result<Self, InvalidUid> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(uid: $name) -> String {
                uid.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

uid_type!(StudyUid, "StudyInstanceUID (0020,000D)", "A Study Instance UID.");
uid_type!(
    SeriesUid,
    "SeriesInstanceUID (0020,000E)",
    "A Series Instance UID."
);
uid_type!(InstanceUid, "SOPInstanceUID (0008,0018)", "A SOP Instance UID.");

/// A UID derived from `parts`: `2.25.` and the decimal form of a 128-bit number (PS3.5 section B.2) taken from their
/// SHA-256. The same parts always give the same UID, so that a retry makes the same object.
#[must_use]
pub fn derived(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    random(bytes)
}

/// The UID of 128 random bits: `2.25.` and their decimal form (PS3.5 section B.2).
#[must_use]
pub fn random(bits: [u8; 16]) -> String {
    format!("2.25.{}", u128::from_be_bytes(bits))
}

/// The Implementation Class UID (0002,0012) of osteon: by it others tell what wrote a file or opened an association.
#[must_use]
pub fn implementation_class() -> String {
    derived(&["osteon", "implementation class"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_uids_and_drops_their_padding() {
        assert_eq!(
            StudyUid::parse("1.2.840.10008\0").unwrap().as_str(),
            "1.2.840.10008"
        );
    }

    #[test]
    fn refuses_what_could_leave_a_folder_or_a_query() {
        for text in [
            "",
            ".",
            "1..2",
            "../1",
            "1/2",
            "1.2.a",
            "1.2.\u{0661}",
            &"1".repeat(65),
            "1.2 3",
            "1.2\n",
        ] {
            assert!(StudyUid::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn derived_uids_are_valid_stable_and_separate() {
        let uid = derived(&["phantom", "1"]);
        assert_eq!(uid, derived(&["phantom", "1"]));
        assert_ne!(uid, derived(&["phanto", "m1"]));
        assert!(InstanceUid::parse(&uid).is_ok());
    }
}
