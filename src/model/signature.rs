//! Who vouches for a package: a minisign signature over `manifest.json`, which holds the digest of every other file.
//!
//! The keys are the server's, never the package's. Without keys a signature says nothing, and is not looked at.

use std::fs;
use std::path::Path;

use minisign_verify::{PublicKey, Signature};
use serde::Serialize;

/// Name of the signature in a package.
pub const SIGNATURE: &str = "manifest.json.minisig";

/// Public keys, each with the name of its file.
#[derive(Clone, Default)]
pub struct TrustedKeys {
    keys: Vec<(String, PublicKey)>,
}

/// What is known of who vouches for a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signed {
    /// Nobody.
    No,
    /// There is a signature, and no key to check it with.
    NotChecked,
    /// Whoever holds the key of this file.
    By(String),
}

impl TrustedKeys {
    /// Reads minisign public keys: one file, or every `.pub` file of a folder.
    ///
    /// # Errors
    /// A sentence that names the file that is no public key.
    pub fn read(place: &Path) -> Result<Self, String> {
        let shown = place.display();
        let cannot = |error: std::io::Error| format!("the trusted keys {shown} cannot be read: {error}");
        let mut files = vec![place.to_owned()];
        if fs::metadata(place).map_err(cannot)?.is_dir() {
            files.clear();
            for entry in fs::read_dir(place).map_err(cannot)? {
                let path = entry.map_err(cannot)?.path();
                if path.extension().is_some_and(|extension| extension == "pub") {
                    files.push(path);
                }
            }
            files.sort();
        }
        let keys = files
            .iter()
            .map(|file| {
                let name = file
                    .file_stem()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                let text = fs::read_to_string(file)
                    .map_err(|error| format!("the trusted key {} cannot be read: {error}", file.display()))?;
                let key = key(&text).ok_or_else(|| {
                    format!(
                        "{} is no minisign public key: it must be the file that `minisign -G` writes, two lines",
                        file.display()
                    )
                })?;
                Ok((name, key))
            })
            .collect::<Result<Vec<_>, String>>()?;
        if keys.is_empty() {
            return Err(format!("the folder of trusted keys {shown} has no .pub file"));
        }
        Ok(Self { keys })
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Who signed `manifest`.
    ///
    /// # Errors
    /// A sentence where the text is no signature, or none of the keys made it.
    pub(super) fn check(&self, manifest: &[u8], signature: &[u8]) -> Result<Signed, String> {
        if self.is_empty() {
            return Ok(Signed::NotChecked);
        }
        let text = std::str::from_utf8(signature).unwrap_or_default();
        let signature = Signature::decode(text).map_err(|_| {
            format!("{SIGNATURE} is no minisign signature: make it with `minisign -S -m manifest.json`")
        })?;
        self.keys
            .iter()
            .find(|(_, key)| key.verify(manifest, &signature, true).is_ok())
            .map(|(name, _)| Signed::By(name.clone()))
            .ok_or_else(|| {
                let names: Vec<&str> = self.keys.iter().map(|(name, _)| name.as_str()).collect();
                format!(
                    "{SIGNATURE} is not of this manifest by a trusted key ({}): the manifest was changed after it was signed, or somebody else signed it",
                    names.join(", ")
                )
            })
    }
}

/// A key as a file of two lines, or the key alone.
fn key(text: &str) -> Option<PublicKey> {
    PublicKey::decode(text.trim_end())
        .ok()
        .or_else(|| PublicKey::from_base64(text.trim()).ok())
}

impl std::fmt::Debug for TrustedKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.keys.iter().map(|(name, _)| name))
            .finish()
    }
}
