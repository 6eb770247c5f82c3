//! Where objects are kept, as an operator writes it: `file:DIR` or `s3://BUCKET/PREFIX`.
//!
//! Invariants: a place that was parsed names a bucket and a prefix that need no escaping in a URL; what `Display` shows is
//! parsed to the same place.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A local folder, or a prefix in a bucket of an S3-compatible object storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectPlace {
    /// The folder that holds `ab/cdef….dcm`.
    Folder(PathBuf),
    /// An S3 bucket. Where it is and who may enter it stands in the usual variables of the environment, `AWS_*`.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// What stands before `ab/cdef….dcm`, without a slash at its ends; empty for none.
        prefix: String,
    },
}

/// Why a text is no [`ObjectPlace`]. Does not repeat the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// It begins with neither.
    #[error("objects are kept in `file:DIR` or `s3://BUCKET/PREFIX`, and this is neither")]
    Kind,
    /// `file:` and nothing after it.
    #[error("`file:` needs a folder after it, such as `file:/data/objects`")]
    NoFolder,
    /// No name that a bucket can have.
    #[error(
        "`s3://` needs the name of a bucket after it: 3 to 63 lower-case letters, digits, `-` and `.`, with a letter or \
         a digit at both ends"
    )]
    Bucket,
    /// A prefix with other characters, or with an empty part.
    #[error(
        "the prefix after the bucket may have letters, digits, `-`, `_`, `.` and single `/` between its parts"
    )]
    Prefix,
}

impl FromStr for ObjectPlace {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Some(folder) = text.strip_prefix("file:") {
            return match folder {
                "" => Err(PlaceError::NoFolder),
                folder => Ok(Self::Folder(folder.into())),
            };
        }
        let rest = text.strip_prefix("s3://").ok_or(PlaceError::Kind)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !is_bucket(bucket) {
            return Err(PlaceError::Bucket);
        }
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(PlaceError::Prefix);
        }
        Ok(Self::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

fn is_bucket(name: &str) -> bool {
    let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        && end(name.bytes().next())
        && end(name.bytes().last())
}

fn is_part(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

impl fmt::Display for ObjectPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "file:{}", folder.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}
