//! A model package on disk: `models/<name>/<version>/` with a manifest and the files it vouches for.
//!
//! [`Package::open`] takes nothing on trust: every file's digest, the header of the ONNX file and the contract inside
//! it have to agree with the manifest. [`Package::publish`] makes a package appear whole or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use prost::Message;
use sha2::{Digest, Sha256};

use super::golden::Goldens;
use super::manifest::ModelManifest;
use super::onnx_format::ModelProto;
use crate::finding::EmbeddingStatistics;
use crate::image::preprocess::{METADATA_KEY, Preprocessing};

/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// Name of the network.
pub const MODEL: &str = "model.onnx";
/// Name of the golden cases.
pub const GOLDENS: &str = "goldens.json";
/// The newest ONNX operator set that the pinned ONNX Runtime serves for certain.
pub const NEWEST_OPSET: i64 = 21;
/// Larger model files than this are not read into memory (2 GiB is the format's own limit).
const MAX_BYTES: u64 = 2 << 30;
/// Operators that hold graphs of their own: they can loop without end and hide other operators.
const CONTROL_FLOW: [&str; 3] = ["If", "Loop", "Scan"];

/// An opened and verified package.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: ModelManifest,
    /// SHA-256 of the manifest's bytes: with the digests inside it, it names the whole package.
    pub digest: String,
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
        /// Its name in the package.
        file: &'static str,
        /// What is wrong, with line and column.
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
    /// Opens `models/<name>/<version>/` and verifies all of it.
    ///
    /// # Errors
    /// [`PackageError`], which names the file and what is off.
    pub fn open(folder: &Path) -> Result<Self, PackageError> {
        let bytes = read(folder, MANIFEST)?;
        let manifest: ModelManifest = json(MANIFEST, &bytes)?;
        manifest.check().map_err(PackageError::Contradiction)?;
        in_its_place(folder, &manifest)?;

        let mut contents = BTreeMap::new();
        for (name, expected) in &manifest.files {
            let content = read(folder, name)?;
            let found = sha256(&content);
            if found != *expected {
                return Err(PackageError::Digest {
                    file: name.clone(),
                    found,
                    expected: expected.clone(),
                });
            }
            contents.insert(name.as_str(), content);
        }
        let mut vouched = |name: &str| {
            contents.remove(name).ok_or_else(|| {
                PackageError::Contradiction(format!("the manifest's files do not list {name}"))
            })
        };
        let model = vouched(MODEL)?;
        let goldens: Goldens = json(GOLDENS, &vouched(GOLDENS)?)?;
        if goldens.cases.is_empty() {
            return Err(PackageError::Contradiction(format!(
                "{GOLDENS} has no case: a model without proof is not served"
            )));
        }
        header(&model, &manifest)?;
        let distribution = manifest
            .distribution
            .as_ref()
            .map(|entry| statistics(&entry.file, &vouched(&entry.file)?))
            .transpose()?;
        Ok(Self {
            folder: folder.to_owned(),
            distribution,
            digest: sha256(&bytes),
            manifest,
            goldens,
            model,
        })
    }

    /// Reads a file that the manifest vouches for.
    ///
    /// # Errors
    /// [`PackageError`] where it is not listed, was changed or cannot be read.
    pub fn file(&self, name: &str) -> Result<Vec<u8>, PackageError> {
        let expected =
            self.manifest.files.get(name).ok_or_else(|| {
                PackageError::Contradiction(format!("the manifest's files do not list {name}"))
            })?;
        let content = read(&self.folder, name)?;
        let found = sha256(&content);
        if found != *expected {
            return Err(PackageError::Digest {
                file: name.to_owned(),
                found,
                expected: expected.clone(),
            });
        }
        Ok(content)
    }

    /// Writes `files` and a manifest that vouches for them to `models/<name>/<version>/`, whole or not at all.
    ///
    /// # Errors
    /// [`PackageError`]; a package of that name and version that is already there is not touched unless `replace`.
    pub fn publish(
        models: &Path,
        mut manifest: ModelManifest,
        files: &BTreeMap<String, Vec<u8>>,
        replace: bool,
    ) -> Result<Self, PackageError> {
        manifest.files = files
            .iter()
            .map(|(name, content)| (name.clone(), sha256(content)))
            .collect();
        let parent = models.join(&manifest.name);
        let folder = parent.join(manifest.version.to_string());
        if folder.exists() && !replace {
            return Err(PackageError::Contradiction(format!(
                "version {} of {} is already there: choose another version, or replace it on purpose",
                manifest.version, manifest.name
            )));
        }
        // the version's name cannot begin with a dot, so a half-written package is never taken for one
        let staging = parent.join(format!(".{}.partial", manifest.version));
        let write = |file: &str, result: io::Result<()>| {
            result.map_err(|source| PackageError::File {
                file: file.to_owned(),
                verb: "written",
                source,
            })
        };
        let _ = fs::remove_dir_all(&staging);
        write(&manifest.name, fs::create_dir_all(&staging))?;
        for (name, content) in files {
            write(name, fs::write(staging.join(name), content))?;
        }
        let mut text = serde_json::to_vec_pretty(&manifest).map_err(|error| PackageError::Json {
            file: MANIFEST,
            cause: error.to_string(),
        })?;
        text.push(b'\n');
        write(MANIFEST, fs::write(staging.join(MANIFEST), text))?;
        if replace && folder.exists() {
            write(&manifest.name, fs::remove_dir_all(&folder))?;
        }
        write(&manifest.name, fs::rename(&staging, &folder))?;
        Self::open(&folder)
    }

    /// The folders of every version of every model under `models`, in the order of their names; what begins with a
    /// dot or is no `<name>/<version>/manifest.json` is passed over.
    ///
    /// # Errors
    /// [`PackageError::File`] where `models` cannot be read.
    pub fn folders(models: &Path) -> Result<Vec<PathBuf>, PackageError> {
        let list = |folder: &Path| -> Result<Vec<PathBuf>, PackageError> {
            let failed = |source| PackageError::File {
                file: folder.display().to_string(),
                verb: "read",
                source,
            };
            let mut entries = Vec::new();
            for entry in fs::read_dir(folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let hidden = path
                    .file_name()
                    .is_none_or(|name| name.to_string_lossy().starts_with('.'));
                if path.is_dir() && !hidden {
                    entries.push(path);
                }
            }
            entries.sort();
            Ok(entries)
        };
        let mut folders = Vec::new();
        for model in list(models)? {
            folders.extend(
                list(&model)?
                    .into_iter()
                    .filter(|version| version.join(MANIFEST).is_file()),
            );
        }
        Ok(folders)
    }
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>, PackageError> {
    let path = folder.join(name);
    let failed = |source| PackageError::File {
        file: name.to_owned(),
        verb: "read",
        source,
    };
    let length = fs::metadata(&path).map_err(failed)?.len();
    if length > MAX_BYTES {
        return Err(PackageError::Contradiction(format!(
            "{name} has {length} bytes, more than a model may have"
        )));
    }
    fs::read(&path).map_err(failed)
}

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

/// The folder's names must be the manifest's: a copy under another name would answer in the original's.
fn in_its_place(folder: &Path, manifest: &ModelManifest) -> Result<(), PackageError> {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned())
    };
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
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

/// What can be known of an ONNX file without running it.
fn header(bytes: &[u8], manifest: &ModelManifest) -> Result<(), PackageError> {
    let wrong = |what: String| Err(PackageError::Contradiction(format!("{MODEL} {what}")));
    let Ok(model) = ModelProto::decode(bytes) else {
        return wrong("is not an ONNX file".to_owned());
    };
    let Some(graph) = &model.graph else {
        return wrong("has no graph".to_owned());
    };
    if let Some(opset) = model
        .opset_import
        .iter()
        .find(|opset| opset.domain.is_empty() && opset.version > NEWEST_OPSET)
    {
        return wrong(format!(
            "needs operator set {}, this program serves up to {NEWEST_OPSET}",
            opset.version
        ));
    }
    if graph
        .initializer
        .iter()
        .any(|tensor| tensor.data_location != 0 || !tensor.external_data.is_empty())
    {
        return wrong("keeps weights in other files: export it with its weights inside".to_owned());
    }
    if let Some(node) = graph
        .node
        .iter()
        .find(|node| CONTROL_FLOW.contains(&node.op_type.as_str()))
    {
        return wrong(format!(
            "uses the operator {}: networks with control flow are not served",
            node.op_type
        ));
    }
    // a model from elsewhere carries no contract; its manifest alone holds it
    if let Some(entry) = model
        .metadata_props
        .iter()
        .find(|entry| entry.key == METADATA_KEY)
    {
        let inside: Result<Preprocessing, _> = serde_json::from_str(&entry.value);
        if inside.ok().as_ref() != Some(&manifest.preprocessing) {
            return wrong("was exported with another preprocessing than the manifest says".to_owned());
        }
    }
    Ok(())
}
