//! How an archive knows us: by a token, or by a user and a password. Secrets stand in files, which are read again when they are refused.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use super::ArchiveError;

/// How the archive knows us.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// It does not ask.
    #[default]
    None,
    /// A token in a file (RFC 6750).
    Bearer(PathBuf),
    /// A user, and a password in a file (RFC 7617).
    Basic(String, PathBuf),
}

impl Credentials {
    /// What is sent, as the file has it now.
    ///
    /// # Errors
    /// [`ArchiveError::Setting`], which names the file.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, ArchiveError> {
        let (text, file) = match self {
            Self::None => return Ok(None),
            Self::Bearer(file) => (format!("Bearer {}", secret(file)?), file),
            Self::Basic(user, file) => {
                let pair = STANDARD.encode(format!("{user}:{}", secret(file)?));
                (format!("Basic {pair}"), file)
            }
        };
        let mut header = HeaderValue::from_str(&text).map_err(|_| {
            ArchiveError::Setting(format!(
                "{} must have one line without control characters",
                file.display()
            ))
        })?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    /// What to do when the archive refuses them.
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::None => {
                "the archive asks who you are: name --token-file, or --user and --password-file".to_owned()
            }
            Self::Bearer(file) => format!(
                "the archive does not take the token in {}, or not any more: put a valid one there",
                file.display()
            ),
            Self::Basic(_, file) => format!(
                "the archive does not take the user of --user with the password in {}: correct them",
                file.display()
            ),
        }
    }
}

fn secret(file: &Path) -> Result<String, ArchiveError> {
    let failed = |cause: &dyn std::fmt::Display| ArchiveError::Setting(format!("{} {cause}", file.display()));
    let text =
        std::fs::read_to_string(file).map_err(|error| failed(&format_args!("cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(failed(&"is empty: it must have the token or the password")),
        secret => Ok(secret.to_owned()),
    }
}
