//! Where images come from: folders, or an archive. A few at a time are listed, each is read when its turn comes.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use rayon::prelude::*;

use super::IndexError;
use super::log::Stamp;
use crate::dicom::{InstanceUid, SeriesUid, StudyUid};
use crate::train::data::archive::{Archive, ArchiveError, Listed};

/// Files that are begun before what was read is on disk, which a kill loses at most: these, or some for each core.
const FILES: usize = 64;
const FILES_OF_A_CORE: usize = 8;
/// Studies that are listed at once.
const STUDIES: usize = 16;
/// No radiograph is larger.
const MOST_BYTES: u64 = 1 << 30;
/// What is before the place of an instance of an archive.
const WADO: &str = "wado:";

/// One image that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Its path, or where it is in the archive.
    pub(super) place: String,
    pub(super) stamp: Stamp,
    /// What the archive says of its modality.
    pub(super) modality: Option<String>,
}

/// Images that are read one after the other, and put on disk together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) items: Vec<Item>,
    /// Places of which the archive does not list the images, or not all, and why.
    pub(super) unlisted: Vec<(String, String)>,
}

/// A study of an archive, and how many instances it has, if the archive says.
pub(super) type Study = (StudyUid, Option<u64>);

/// Why an image was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// Another run may.
    Now(String),
    /// No run will.
    Ever(&'static str, String),
}

/// Where images come from.
pub(super) enum Source<'a> {
    /// Files.
    Files(Vec<PathBuf>),
    /// An archive and its studies.
    Archive(&'a Archive, Vec<Study>),
}

impl Source<'_> {
    /// Groups of images in a fixed order.
    pub(super) fn groups(&self) -> Box<dyn Iterator<Item = Result<Group, IndexError>> + '_> {
        match self {
            Self::Files(files) => Box::new(files.chunks(together()).map(|files| {
                let items = files.iter().map(|file| Item {
                    place: file.to_string_lossy().into_owned(),
                    stamp: stamp(file),
                    modality: None,
                });
                Ok(Group {
                    items: items.collect(),
                    unlisted: Vec::new(),
                })
            })),
            Self::Archive(archive, studies) => {
                Box::new(studies.chunks(STUDIES).map(|studies| listed(archive, studies)))
            }
        }
    }

    /// The bytes of an image.
    pub(super) fn read(&self, place: &str) -> Result<Bytes, Unread> {
        match self {
            Self::Files(_) => read(Path::new(place)),
            Self::Archive(archive, _) => {
                let Some((study, series, uid)) = parse(place) else {
                    return Err(Unread::Now("it is of another source".to_owned()));
                };
                archive.fetch(&study, &series, &uid).map_err(|error| match error {
                    ArchiveError::Status(status) if matches!(status.as_u16(), 404 | 410) => {
                        Unread::Now("the archive lists it and does not have it".to_owned())
                    }
                    error => Unread::Now(error.to_string()),
                })
            }
        }
    }
}

/// The images of some studies.
fn listed(archive: &Archive, studies: &[Study]) -> Result<Group, IndexError> {
    let answers: Vec<_> = studies
        .par_iter()
        .map(|(study, total)| archive.instances(study, *total))
        .collect();
    if let Some(error) = archive.ended() {
        return Err(error.clone().into());
    }
    let mut group = Group::default();
    for ((study, total), answer) in studies.iter().zip(answers) {
        let mut without = |reason: String| group.unlisted.push((format!("{WADO}{study}"), reason));
        let listing = match answer {
            Ok(listing) => listing,
            Err(error) => {
                without(error.to_string());
                continue;
            }
        };
        let mut listed = listing.items;
        if !listing.invalid.is_empty() {
            without("the archive lists instances without valid UIDs".to_owned());
        }
        if listing.repeats && total.is_some_and(|total| (listed.len() as u64) < total) {
            without("the archive lists some of its instances, and the same on every page".to_owned());
        }
        listed.sort_by(|one, other| (&one.series, &one.uid).cmp(&(&other.series, &other.uid)));
        group.items.extend(listed.into_iter().map(|listed| Item {
            place: place(&listed),
            stamp: Stamp::default(),
            modality: listed.modality,
        }));
    }
    Ok(group)
}

/// So many images are read together.
pub(super) fn together() -> usize {
    FILES.max(FILES_OF_A_CORE * rayon::current_num_threads())
}

/// A file, if it can be an image.
fn read(file: &Path) -> Result<Bytes, Unread> {
    let failed = |error: std::io::Error| Unread::Now(error.to_string());
    let size = std::fs::metadata(file).map_err(failed)?.len();
    if size > MOST_BYTES {
        return Err(Unread::Ever("too-large", "it is larger than 1 GiB".to_owned()));
    }
    std::fs::read(file).map(Bytes::from).map_err(failed)
}

fn stamp(file: &Path) -> Stamp {
    let Ok(known) = std::fs::metadata(file) else {
        return Stamp::default();
    };
    let modified = known.modified().ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Stamp {
        size: known.len(),
        modified: since.map_or(0, |since| since.as_nanos() as u64),
    }
}

fn place(listed: &Listed) -> String {
    format!("{WADO}{}/{}/{}", listed.study, listed.series, listed.uid)
}

fn parse(place: &str) -> Option<(StudyUid, SeriesUid, InstanceUid)> {
    let mut parts = place.strip_prefix(WADO)?.split('/');
    let uids = (
        StudyUid::parse(parts.next()?).ok()?,
        SeriesUid::parse(parts.next()?).ok()?,
        InstanceUid::parse(parts.next()?).ok()?,
    );
    Some(uids)
}

/// The path of a place, if it is a file.
pub(super) fn file_of(place: &str) -> Option<&Path> {
    (!place.starts_with(WADO)).then(|| Path::new(place))
}

/// All files behind `inputs`, whole paths, each once, sorted; none of `but`, where the index itself is.
///
/// # Errors
/// [`IndexError::Input`], which names the folder that cannot be read.
pub(super) fn files(inputs: &[PathBuf], but: &Path) -> Result<Vec<PathBuf>, IndexError> {
    let mut files = Vec::new();
    for input in inputs {
        let whole = std::path::absolute(input).map_err(|error| input_error(input, &error))?;
        walk(&whole, but, &mut files)?;
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(path: &Path, but: &Path, files: &mut Vec<PathBuf>) -> Result<(), IndexError> {
    if path == but {
        return Ok(());
    }
    if !std::fs::metadata(path)
        .map_err(|error| input_error(path, &error))?
        .is_dir()
    {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(|error| input_error(path, &error))? {
        let entry = entry.map_err(|error| input_error(path, &error))?;
        let kind = entry.file_type().map_err(|error| input_error(path, &error))?;
        if kind.is_dir() {
            walk(&entry.path(), but, files)?;
        } else if kind.is_file() || (kind.is_symlink() && entry.path().is_file()) {
            // a link to a folder could lead in a circle
            files.push(entry.path());
        }
    }
    Ok(())
}

fn input_error(path: &Path, error: &std::io::Error) -> IndexError {
    IndexError::Input {
        path: path.to_owned(),
        cause: error.to_string(),
    }
}
