//! The index of a set of images: every image once, by words and codes that name nobody, with its labels; what is wrong with the set is
//! found before anything is trained on it.
//!
//! ```text
//!   source -> reading -> log (work.jsonl)      on all cores, resumable: facts of each file, nothing interpreted
//!                     -> cache                 the image as the recipe's contract makes it
//!   log + labels -> assemble -> images.csv     one table; groups that belong on one side of a split
//!                            -> report.html    what was mapped to what, copies, leaks, pictures of each body part
//! ```
//!
//! Invariants: reading is done once for each version of a file, interpreting anew in each run; the same files, labels and key give the
//! same table, however often a run was killed; memory grows by about a kilobyte with each image; `images.csv`, `report.html` and what
//! is not listed in [`SECRET`] name nobody.

mod assemble;
mod collect;
mod draft;
mod facts;
mod groups;
mod labelled;
mod loading;
mod log;
mod near;
mod reading;
mod report;
mod row;
mod sameness;
mod sheet;
mod showing;
mod source;
mod summary;
mod tables;
mod tally;
mod visit;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::archive::{Archive, ArchiveError};
use super::cache::{CacheError, CacheWriter};
use super::labels::{Given, Joined, LabelError};
use super::layouts::{self, medmnist};
use crate::deidentify::Key;
use crate::image::preprocess::Preprocessing;
use collect::NotNow;
pub use facts::{BurnedIn, Facts};
pub use labelled::{LabelledError, LabelledRow, labelled_rows, rows};
pub use loading::{Labelled, load, plane};
use log::WorkLog;
pub use near::Form;
pub(crate) use reading::is_picture;
pub use reading::{LeftOut, Outcome};
pub use row::{COLUMNS, Row};
pub use sameness::Sameness;
pub use showing::may_be_shown;
use source::Source;
pub use summary::{Leaks, Summary};
pub use tally::{LEAST_PATIENTS, LabelCounts, Mapping, Value};
pub use visit::visit;

/// The form of an index's files.
const FORM: u32 = 2;
/// The table.
pub const IMAGES: &str = "images.csv";
/// What was read.
pub const LOG: &str = "work.jsonl";
/// The folder of images as contracts make them.
pub const CACHE: &str = "cache";
/// Where packed sets are unpacked.
const UNPACKED: &str = "unpacked";
/// Files that have paths, or names of institutions, and are as secret as the key.
pub const SECRET: [&str; 4] = [LOG, "files.csv", "left-out.csv", "names.csv"];
/// Why there is no index. What was read is kept, whatever it is.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A folder or file to be read.
    #[error("{path} cannot be read: {cause}")]
    Input {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// A file of the index: a full disk, for example.
    #[error(
        "{file} cannot be written: {cause}; all that was read until then is kept: make room or permit it, and run the same command again"
    )]
    Write {
        /// Which.
        file: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// Two runs at once.
    #[error("{0} is being written by another run of osteon-train: wait for it, or use another folder")]
    Busy(PathBuf),
    /// Another key than before.
    #[error("{0} was made with another key: use that one, or another folder")]
    OtherKey(PathBuf),
    /// Not a work log.
    #[error("{0} is not the work log of an index of this version: use another folder")]
    NoLog(PathBuf),
    /// An archive.
    #[error("{0}; all that was read until then is kept: run the same command again to go on")]
    Archive(ArchiveError),
    /// A label source.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// The cache of images.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A packed set.
    #[error(transparent)]
    Packed(#[from] medmnist::PackedError),
    /// Nothing to be read.
    #[error("there is no file behind {0}")]
    Empty(String),
    /// No row at all.
    #[error("none of the {files} files is an image that can be used; {why}")]
    Nothing {
        /// How many there are.
        files: usize,
        /// The most frequent reason.
        why: String,
    },
    /// Somebody else wrote.
    #[error("the work log changed while it was read: run the same command again")]
    Changed,
}

// it is no source: its words are said already
impl From<ArchiveError> for IndexError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl IndexError {
    fn writing(file: &Path, cause: &dyn std::fmt::Display) -> Self {
        Self::Write {
            file: file.to_owned(),
            cause: cause.to_string(),
        }
    }
}

/// What is to be indexed, and how.
pub struct Job<'a> {
    /// Folder of the index.
    pub out: &'a Path,
    /// Files and folders.
    pub inputs: &'a [PathBuf],
    /// An archive instead of files.
    pub archive: Option<&'a Archive>,
    /// CSVs with labels; what earlier ones say counts more.
    pub labels: &'a [PathBuf],
    /// For pseudonyms and codes.
    pub key: &'a Key,
    /// Modalities of DICOM images that become rows.
    pub modalities: &'a BTreeSet<String>,
    /// What the cache is filled for.
    pub contract: Option<&'a Preprocessing>,
    /// Whether the same picture under two patients ties their images together.
    pub tie_pictures: bool,
}

/// Told how far it is.
pub trait Watch: Sync {
    /// A phase of so many steps begins.
    fn phase(&self, name: &'static str, steps: u64);
    /// One step is done.
    fn step(&self);
}

/// What the first half of a run gives to the second.
struct Run<'a> {
    job: &'a Job<'a>,
    out: &'a Path,
    source: &'a Source<'a>,
    log: &'a WorkLog,
    places: &'a [String],
    not_now: &'a NotNow,
    /// Whether the archive may have more studies than it lists.
    repeats: bool,
    watch: &'a dyn Watch,
}

impl Run<'_> {
    /// Whether images of a modality become rows; pictures have none.
    fn takes(&self, modality: &str) -> bool {
        modality.is_empty() || self.job.modalities.contains(modality)
    }
}

/// Makes the index, or goes on with it.
///
/// # Errors
/// [`IndexError`], a sentence that says what to do; what was read until then is kept.
pub fn build(job: &Job<'_>, watch: &dyn Watch) -> Result<Summary, IndexError> {
    std::fs::create_dir_all(job.out).map_err(|error| IndexError::writing(job.out, &error))?;
    let out = std::path::absolute(job.out).map_err(|error| IndexError::writing(job.out, &error))?;
    let mut log = WorkLog::open(&out.join(LOG), job.key)?;
    let mut said = Joined::default();
    let roots: Vec<PathBuf> = job
        .inputs
        .iter()
        .filter_map(|input| std::path::absolute(input).ok())
        .collect();
    for csv in job.labels {
        said.push(Box::new(Given::open(csv, &roots, job.key)?));
    }
    let mut not_now = NotNow::default();
    let (source, expected, repeats) = source(job, &out, &mut said, &mut not_now)?;
    let mut cache = match job.contract {
        Some(contract) => Some(CacheWriter::open(&out.join(CACHE), contract)?),
        None => None,
    };
    watch.phase("reading", expected);
    let places = collect::read(job, &source, &mut log, cache.as_mut(), &mut not_now, watch)?;
    drop(cache);
    let run = Run {
        job,
        out: &out,
        source: &source,
        log: &log,
        places: &places,
        not_now: &not_now,
        repeats,
        watch,
    };
    tables::write(&run, &mut said)
}

/// Where the images come from, how many files or instances there may be, and whether an archive may have more than it lists.
fn source<'a>(
    job: &Job<'a>,
    out: &Path,
    said: &mut Joined,
    not_now: &mut NotNow,
) -> Result<(Source<'a>, u64, bool), IndexError> {
    if let Some(archive) = job.archive {
        let listing = archive.studies()?;
        let mut studies = listing.items;
        studies.sort();
        for study in listing.invalid {
            not_now.note(study, "the archive lists studies without valid UIDs".to_owned());
        }
        if studies.is_empty() {
            return Err(IndexError::Empty("the query of the archive".to_owned()));
        }
        let expected = studies.iter().map(|(_, instances)| instances.unwrap_or(1)).sum();
        return Ok((Source::Archive(archive, studies), expected, listing.repeats));
    }
    for input in job.inputs.iter().filter(|input| input.is_dir()) {
        if let Some(set) = layouts::recognised(input)? {
            said.push(set);
        }
    }
    let mut files = source::files(job.inputs, out)?;
    let packed: Vec<PathBuf> = files
        .iter()
        .filter(|file| medmnist::is_packed(file))
        .cloned()
        .collect();
    for set in packed {
        let folder = medmnist::unpack(&set, &out.join(UNPACKED))?;
        said.push(Box::new(Given::open(&folder.join("labels.csv"), &[], job.key)?));
        files.retain(|file| *file != set);
        files.extend(source::files(&[folder], Path::new(""))?);
    }
    // what a set brings beside its images is no image that failed
    files.retain(|file| !is_table(file));
    if files.is_empty() {
        return Err(IndexError::Empty("--in".to_owned()));
    }
    let count = files.len() as u64;
    Ok((Source::Files(files), count, false))
}

fn is_table(file: &Path) -> bool {
    let extension = file
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    ["csv", "tsv", "txt", "json", "md", "xlsx", "html", "pdf"].contains(&extension.as_str())
}
