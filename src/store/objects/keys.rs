//! The keys that objects are encrypted with.
//!
//! Invariants: a key is in no message and in no debug output; the first key encrypts, every key decrypts, so that a new
//! key is put first and the old ones stay as long as an object needs them.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use aes_gcm::{Aes256Gcm, KeyInit};
use sha2::{Digest, Sha256};

/// One key of a [`ObjectKeys`], ready for use.
pub(super) struct Key {
    /// Names the key in what it sealed, and tells nothing of it.
    pub(super) id: [u8; 8],
    pub(super) cipher: Aes256Gcm,
}

/// Keys for encryption at rest: at least one; a clone is the same keys.
#[derive(Clone)]
pub struct ObjectKeys(Arc<[Key]>);

/// Why a file holds no keys. Names a line, never what stands there.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("the file of keys cannot be read")]
    Unreadable(#[source] io::Error),
    /// There is none in it.
    #[error(
        "the file of keys holds no key: write one of 64 hexadecimal digits into it, such as 32 random bytes"
    )]
    Empty,
    /// A line is no key.
    #[error("line {0} of the file of keys is not a key of 64 hexadecimal digits")]
    Digits(usize),
    /// A line says again what an earlier one says.
    #[error("line {0} of the file of keys repeats a key of an earlier line")]
    Repeated(usize),
}

impl ObjectKeys {
    /// Reads keys from a file: one a line, 64 hexadecimal digits each; what follows a `#` and empty lines say nothing.
    ///
    /// # Errors
    /// [`KeysError`] where the file cannot be read, or a line is no key or is there twice.
    pub fn read(file: &Path) -> Result<Self, KeysError> {
        std::fs::read_to_string(file)
            .map_err(KeysError::Unreadable)?
            .parse()
    }

    /// The key that encrypts.
    pub(super) fn first(&self) -> &Key {
        // at least one, by construction
        &self.0[0]
    }

    /// The key of this name.
    pub(super) fn named(&self, id: &[u8]) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl FromStr for ObjectKeys {
    type Err = KeysError;

    fn from_str(text: &str) -> Result<Self, KeysError> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let digits = line.split('#').next().unwrap_or_default().trim();
            if digits.is_empty() {
                continue;
            }
            let key = Key::new(&bytes_of(digits).ok_or(KeysError::Digits(number))?);
            if keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(KeysError::Repeated(number));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeysError::Empty);
        }
        Ok(Self(keys.into()))
    }
}

impl Key {
    fn new(bytes: &[u8; 32]) -> Self {
        let digest = Sha256::new()
            .chain_update("osteon object key")
            .chain_update(bytes)
            .finalize();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self {
            id,
            cipher: Aes256Gcm::new(bytes.into()),
        }
    }
}

fn bytes_of(digits: &str) -> Option<[u8; 32]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

impl fmt::Debug for ObjectKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} object keys", self.0.len())
    }
}
