//! The name of an object: the SHA-256 of its content, and where an object of that name lies.
//!
//! Invariant: every place keeps an object at `ab/cdef….dcm`, so that stores can be copied from one to another.

use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};

/// The SHA-256 of an object, as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha(String);

impl Sha {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(64);
        for byte in Sha256::digest(bytes) {
            // writing to a string cannot fail
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// Reads what [`Sha::as_str`] wrote; `None` for anything but 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The sub-folder of the object, and its file name there.
    pub(super) fn location(&self) -> (&str, String) {
        let (first, rest) = self.0.split_at(2);
        (first, format!("{rest}.dcm"))
    }

    /// The object at a location; `None` where no object has it, as for a file that somebody else put there.
    pub(super) fn at(folder: &str, file: &str) -> Option<Self> {
        let rest = file.strip_suffix(".dcm")?;
        (folder.len() == 2)
            .then(|| Self::parse(&format!("{folder}{rest}")))
            .flatten()
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
