//! A model package on disk: `models/<name>/<version>/` with a manifest and the files it vouches for.
//!
//! [`Package::open`] takes nothing on trust: every file's kind and digest, the signature where there are keys, the header of the
//! ONNX file and the contract inside it have to agree with the manifest. Each file is read once, and what was checked is what is
//! used. [`Package::publish`] makes a package appear whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::golden::Goldens;
use super::header;
use super::manifest::{MANIFEST, ModelManifest};
use super::policy::Policy;
use super::signature::{SIGNATURE, Signed};
use super::stage::Stage;
use crate::finding::EmbeddingStatistics;

mod files;
mod publish;
mod survey;

use files::{identity, read};
pub use publish::Staged;
pub use survey::{Survey, Unreadable};

/// Name of the network.
pub const MODEL: &str = "model.onnx";
/// Name of the golden cases.
pub const GOLDENS: &str = "goldens.json";
/// Largest manifest and signature, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;
/// Larger files than this are not read into memory (2 GiB is the ONNX format's own limit).
const MAX_FILE: u64 = 2 << 30;
/// The most that goldens may allow: what other processors make of the same sums is far less.
const MOST_TOLERANCE: f32 = 0.05;
/// The same for numbers of fewer bits, which `osteon-train export` gives twice what it measures, at most 0.25.
const MOST_REDUCED_TOLERANCE: f32 = 0.55;

/// An opened and verified package.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: ModelManifest,
    /// SHA-256 of the manifest's bytes: with the digests inside it, it names the whole package.
    pub digest: String,
    /// Who vouches for it.
    pub signed: Signed,
    /// The golden cases.
    pub goldens: Goldens,
    /// Where the features of the images that the model knows lie, if it carries that.
    pub distribution: Option<EmbeddingStatistics>,
    /// The bytes of the ONNX file.
    pub model: Vec<u8>,
}

/// Why a folder is not a package that may be used.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file cannot be read or written.
    #[error("{file} cannot be {verb}: {source}")]
    File {
        /// Its name in the package.
        file: String,
        /// `read` or `written`.
        verb: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A JSON file does not hold what it should.
    #[error("{file} is not valid: {cause}")]
    Json {
        /// Its name.
        file: &'static str,
        /// Line, column and what was expected.
        cause: String,
    },
    /// A file is not the one that the manifest vouches for.
    #[error("{file} was changed: its SHA-256 is {found}, the manifest says {expected}")]
    Digest {
        /// Its name in the package.
        file: String,
        /// Of the file as it is.
        found: String,
        /// Of the file as it was.
        expected: String,
    },
    /// Something contradicts something else.
    #[error("{0}")]
    Contradiction(String),
    /// Nobody who is trusted vouches for the package.
    #[error("{0}")]
    Signature(String),
    /// The network is none that may be run, or not the one that the manifest describes.
    #[error("{0}")]
    Header(String),
}

impl PackageError {
    /// The stage of the proof that the package did not pass.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Signature(_) => Stage::Signature,
            Self::File { file, .. } if file == SIGNATURE => Stage::Signature,
            Self::Header(_) => Stage::Header,
            _ => Stage::Digest,
        }
    }

    /// Whether the same package may be found in order the next time: what the file system could not say now it may say later. A file
    /// that is not there stays away until the folder changes.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() != io::ErrorKind::NotFound)
    }
}

/// SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

impl Package {
    /// Opens `models/<name>/<version>/` and verifies all of it but who vouches for it.
    ///
    /// # Errors
    /// [`PackageError`], which names the file and what is off.
    pub fn open(folder: &Path) -> Result<Self, PackageError> {
        Self::open_under(folder, &Policy::default())
    }

    /// Opens `models/<name>/<version>/` and verifies all of it.
    ///
    /// # Errors
    /// [`PackageError`], which names the file and what is off.
    pub fn open_under(folder: &Path, policy: &Policy) -> Result<Self, PackageError> {
        let before = identity(folder);
        let opened = Self::look(folder, policy);
        if opened.is_err() && before != identity(folder) {
            // replaced while it was read: what was seen may be half of each, and counts for nothing
            return Self::look(folder, policy);
        }
        opened
    }

    fn look(folder: &Path, policy: &Policy) -> Result<Self, PackageError> {
        let bytes = read(folder, MANIFEST, MAX_MANIFEST)?;
        let manifest: ModelManifest = json(MANIFEST, &bytes)?;
        manifest.check().map_err(PackageError::Contradiction)?;
        in_its_place(folder, &manifest)?;

        let (mut model, mut goldens) = (None, None);
        for name in manifest.files.keys() {
            let content = vouched(folder, &manifest, name)?;
            match name.as_str() {
                MODEL => model = Some(content),
                GOLDENS => goldens = Some(content),
                _ => {}
            }
        }
        let model = model.ok_or_else(|| not_listed(MODEL))?;
        let goldens: Goldens = json(GOLDENS, &goldens.ok_or_else(|| not_listed(GOLDENS))?)?;
        if goldens.cases.is_empty() {
            return Err(PackageError::Contradiction(format!(
                "{GOLDENS} has no case: a model without proof is not served"
            )));
        }
        let most = match manifest.reduced_precision {
            None => MOST_TOLERANCE,
            Some(_) => MOST_REDUCED_TOLERANCE,
        };
        if !(0.0..=most).contains(&goldens.tolerance) {
            return Err(PackageError::Contradiction(format!(
                "{GOLDENS} allows a difference of {}: that proves nothing, and 0 to {most} may be allowed",
                goldens.tolerance
            )));
        }
        let signed = signed(folder, &bytes, policy)?;
        header::check(&model, &manifest, policy)
            .map_err(|what| PackageError::Header(format!("{MODEL} {what}")))?;
        let distribution = manifest
            .distribution
            .as_ref()
            .map(|entry| statistics(&entry.file, &vouched(folder, &manifest, &entry.file)?))
            .transpose()?;
        Ok(Self {
            folder: folder.to_owned(),
            distribution,
            digest: sha256(&bytes),
            manifest,
            signed,
            goldens,
            model,
        })
    }

    /// Reads a file that the manifest vouches for.
    ///
    /// # Errors
    /// [`PackageError`] where it is not listed, was changed or cannot be read.
    pub fn file(&self, name: &str) -> Result<Vec<u8>, PackageError> {
        vouched(&self.folder, &self.manifest, name)
    }
}

/// What is said of a folder without a manifest.
pub const UNDESCRIBED: &str =
    "there is no manifest.json: make a package of the network with `osteon models import`";

fn json<T: serde::de::DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, PackageError> {
    serde_json::from_slice(bytes).map_err(|error| PackageError::Json {
        file,
        cause: error.to_string(),
    })
}

/// The embedding's statistics, checked.
fn statistics(file: &str, bytes: &[u8]) -> Result<EmbeddingStatistics, PackageError> {
    let statistics: EmbeddingStatistics = serde_json::from_slice(bytes)
        .map_err(|error| PackageError::Contradiction(format!("{file} is not valid: {error}")))?;
    statistics
        .check()
        .map_err(|what| PackageError::Contradiction(format!("{file}: {what}")))?;
    Ok(statistics)
}

fn not_listed(name: &str) -> PackageError {
    PackageError::Contradiction(format!("the manifest's files do not list {name}"))
}

/// A file as the manifest vouches for it.
fn vouched(folder: &Path, manifest: &ModelManifest, name: &str) -> Result<Vec<u8>, PackageError> {
    let expected = manifest.files.get(name).ok_or_else(|| not_listed(name))?;
    let content = read(folder, name, MAX_FILE)?;
    let found = sha256(&content);
    if found == *expected {
        return Ok(content);
    }
    Err(PackageError::Digest {
        file: name.to_owned(),
        found,
        expected: expected.clone(),
    })
}

/// Who vouches for the manifest, as far as the policy wants to know.
fn signed(folder: &Path, manifest: &[u8], policy: &Policy) -> Result<Signed, PackageError> {
    match read(folder, SIGNATURE, MAX_MANIFEST) {
        Ok(signature) => policy
            .trusted
            .check(manifest, &signature)
            .map_err(PackageError::Signature),
        Err(PackageError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            if policy.require_signature {
                return Err(PackageError::Signature(format!(
                    "{SIGNATURE} is missing, and this server serves signed models only: sign the manifest with `minisign -S -m {MANIFEST}`"
                )));
            }
            Ok(Signed::No)
        }
        Err(error @ PackageError::File { .. }) => Err(error),
        Err(error) => Err(PackageError::Signature(error.to_string())),
    }
}

/// The folder's names must be the manifest's: a copy under another name would answer in the original's, and an old version in the
/// folder of a new one would be a step back that looks like one forward.
fn in_its_place(folder: &Path, manifest: &ModelManifest) -> Result<(), PackageError> {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned())
    };
    // as it is written, not where links lead: a link may stand for a package, and must have its name
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if name(Some(&folder)) == Some(manifest.version.to_string())
        && name(folder.parent()) == Some(manifest.name.clone())
    {
        return Ok(());
    }
    Err(PackageError::Contradiction(format!(
        "the manifest is of {} version {}: it must lie in {}/{}/",
        manifest.name, manifest.version, manifest.name, manifest.version
    )))
}
