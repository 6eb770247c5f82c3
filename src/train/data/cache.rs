//! Images as the contract makes them, kept on disk in 16 bits, so that no file is decoded twice.
//!
//! A folder for each contract: `contract.json`; `planes.u16`, records of `rows * columns` little-endian 16-bit values one after the
//! other; `records.sha256`, for each record the SHA-256 of the file that it was made of. Invariants: a record is on disk before its
//! digest is, so what a killed run or a full disk leaves behind is cut off by the next writer; records are never changed; one process
//! writes, any number read. Records are read at their place, from any thread, and the system's page cache is the only memory.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::image::Plane;
use crate::image::preprocess::{Layout, Preprocessing};

const CONTRACT: &str = "contract.json";
const PLANES: &str = "planes.u16";
const DIGESTS: &str = "records.sha256";
const DIGEST: usize = 32;

/// SHA-256 of a file.
pub type Digest = [u8; DIGEST];

/// The digest of a file's bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// A digest as text.
#[must_use]
pub fn hex(digest: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    digest
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)])
        .collect()
}

/// A digest from text.
#[must_use]
pub fn unhex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system refused.
    #[error(
        "the image cache {file} cannot be {verb}: {cause}; what it holds stays good: make room or permit it, and run the same command again"
    )]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Somebody else writes.
    #[error("{0} is being written by another run of osteon-train: wait for it, or use another folder")]
    Busy(PathBuf),
    /// A plane of another size than the contract makes.
    #[error("an image of {0:?} rows and columns does not belong into this cache")]
    Size([usize; 2]),
}

/// The images of one contract.
#[derive(Debug)]
pub struct PlaneCache {
    folder: PathBuf,
    size: [usize; 2],
    planes: File,
    digests: File,
    places: HashMap<Digest, u32>,
}

/// A cache to which images are added; this process's alone until it is dropped.
#[derive(Debug)]
pub struct CacheWriter(PlaneCache);

impl PlaneCache {
    /// The cache for `contract` in `folder`, to be read: nothing is made, and there may be none, which has no images.
    ///
    /// # Errors
    /// [`CacheError`], which names the file.
    pub fn open(folder: &Path, contract: &Preprocessing) -> Result<Option<Self>, CacheError> {
        let mut options = OpenOptions::new();
        match Self::open_by(options.read(true), folder, contract) {
            Err(CacheError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The same, to be written: made where there is none.
    fn make(folder: &Path, contract: &Preprocessing) -> Result<Self, CacheError> {
        let place = folder.join(name(contract));
        std::fs::create_dir_all(&place).map_err(|cause| CacheError::Io {
            file: place,
            verb: "made",
            cause,
        })?;
        let mut options = OpenOptions::new();
        Self::open_by(options.create(true).read(true).append(true), folder, contract)
    }

    fn open_by(options: &OpenOptions, folder: &Path, contract: &Preprocessing) -> Result<Self, CacheError> {
        let folder = folder.join(name(contract));
        let failed = |file: &str, verb| {
            let file = folder.join(file);
            move |cause| CacheError::Io { file, verb, cause }
        };
        let open = |file: &'static str| options.open(folder.join(file)).map_err(failed(file, "opened"));
        let (planes, mut digests) = (open(PLANES)?, open(DIGESTS)?);
        let size = [contract.rows, contract.columns];
        let bytes = (2 * size[0] * size[1]).max(1) as u64;
        let whole = planes.metadata().map_err(failed(PLANES, "read"))?.len() / bytes;
        let mut known = Vec::new();
        digests.read_to_end(&mut known).map_err(failed(DIGESTS, "read"))?;
        let count = (known.len() / DIGEST).min(whole as usize);
        let digest = |bytes: &[u8]| Digest::try_from(bytes).unwrap_or_default();
        let places = known.chunks_exact(DIGEST).take(count).zip(0..);
        let places = places.map(|(bytes, place)| (digest(bytes), place)).collect();
        Ok(Self {
            folder,
            size,
            planes,
            digests,
            places,
        })
    }

    /// How many images it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// `[rows, columns]` of its images.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The record of the file with this digest.
    #[must_use]
    pub fn record(&self, digest: &Digest) -> Option<u32> {
        self.places.get(digest).copied()
    }

    /// One image.
    ///
    /// # Errors
    /// [`CacheError::Io`] where the system cannot read it.
    pub fn read(&self, record: u32) -> Result<Plane, CacheError> {
        let [rows, columns] = self.size;
        let mut bytes = vec![0; 2 * rows * columns];
        let place = u64::from(record) * bytes.len() as u64;
        self.planes
            .read_exact_at(&mut bytes, place)
            .map_err(|cause| self.failed(PLANES, "read", cause))?;
        let pairs = bytes.as_chunks().0.iter();
        Ok(Plane {
            rows,
            columns,
            values: pairs.map(|pair| u16::from_le_bytes(*pair)).collect(),
        })
    }

    fn failed(&self, file: &str, verb: &'static str, cause: std::io::Error) -> CacheError {
        CacheError::Io {
            file: self.folder.join(file),
            verb,
            cause,
        }
    }
}

impl CacheWriter {
    /// The cache for `contract` in `folder`, made where there is none, without what was left half written.
    ///
    /// # Errors
    /// [`CacheError`]: another process writes, for example.
    pub fn open(folder: &Path, contract: &Preprocessing) -> Result<Self, CacheError> {
        let lock = PlaneCache::make(folder, contract)?;
        match lock.digests.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CacheError::Busy(lock.folder)),
            Err(TryLockError::Error(cause)) => return Err(lock.failed(DIGESTS, "locked", cause)),
        }
        // read again, now that nobody else writes
        let writer = Self(PlaneCache {
            digests: lock.digests,
            ..PlaneCache::make(folder, contract)?
        });
        writer
            .cut()
            .map_err(|cause| writer.0.failed(PLANES, "cut", cause))?;
        // for people; the folder's name is what counts
        let text = serde_json::to_string_pretty(contract).unwrap_or_default();
        std::fs::write(writer.0.folder.join(CONTRACT), text)
            .map_err(|cause| writer.0.failed(CONTRACT, "written", cause))?;
        Ok(writer)
    }

    /// What is in it.
    #[must_use]
    pub fn cache(&self) -> &PlaneCache {
        &self.0
    }

    /// Adds images, each with the digest of its file; those that are there already stay as they are. Returns when all is on disk.
    ///
    /// # Errors
    /// [`CacheError`]: a full disk, for example; then none of them is in it.
    pub fn add(&mut self, images: &[(Digest, Plane)]) -> Result<(), CacheError> {
        let cache = &self.0;
        let (mut planes, mut digests, mut new) = (Vec::new(), Vec::new(), Vec::new());
        for (digest, plane) in images {
            let found = [plane.rows, plane.columns];
            if found != cache.size || plane.values.len() != found[0] * found[1] {
                return Err(CacheError::Size(found));
            }
            if cache.places.contains_key(digest) || new.contains(digest) {
                continue;
            }
            planes.extend(plane.values.iter().flat_map(|value| value.to_le_bytes()));
            digests.extend_from_slice(digest);
            new.push(*digest);
        }
        if new.is_empty() {
            return Ok(());
        }
        let written = append(&cache.planes, &planes)
            .map_err(|cause| (PLANES, cause))
            .and_then(|()| append(&cache.digests, &digests).map_err(|cause| (DIGESTS, cause)));
        if let Err((file, cause)) = written {
            // half a record in front of the next one would shift all that follow; if even that fails, the first error is the one to tell
            let _ = self.cut();
            return Err(self.0.failed(file, "written", cause));
        }
        for digest in new {
            let place = self.0.places.len() as u32;
            self.0.places.insert(digest, place);
        }
        Ok(())
    }

    /// Takes off what is behind the last whole record.
    fn cut(&self) -> std::io::Result<()> {
        let (count, [rows, columns]) = (self.0.places.len() as u64, self.0.size);
        self.0.planes.set_len(count * (2 * rows * columns) as u64)?;
        self.0.digests.set_len(count * DIGEST as u64)
    }
}

/// Writes and waits until it is on disk.
fn append(mut file: &File, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all(bytes)?;
    file.sync_data()
}

/// The folder of a contract: what its first half depends on, which makes the planes, and this program's version.
fn name(contract: &Preprocessing) -> String {
    let first_half = Preprocessing {
        channels: 1,
        mean: vec![0.0],
        std: vec![1.0],
        tensor: String::new(),
        layout: Layout::Nchw,
        ..contract.clone()
    };
    let text = serde_json::to_string(&first_half).unwrap_or_default();
    let digest = Sha256::digest(format!("{}\0{text}", env!("CARGO_PKG_VERSION")));
    format!("{}x{}-{}", contract.rows, contract.columns, hex(&digest[..6]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(value: u16) -> Plane {
        Plane {
            rows: 3,
            columns: 2,
            values: (0..6).map(|place| value + place).collect(),
        }
    }

    fn open(folder: &Path) -> Result<CacheWriter, CacheError> {
        CacheWriter::open(folder, &Preprocessing::grey(3, 2))
    }

    #[test]
    fn images_are_kept_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path()).unwrap();
        let images = [
            ([1; 32], plane(1000)),
            ([2; 32], plane(2000)),
            ([1; 32], plane(3000)),
        ];
        cache.add(&images).unwrap();
        cache.add(&[([2; 32], plane(9))]).unwrap();
        assert!(matches!(open(folder.path()), Err(CacheError::Busy(_))));
        let cache = PlaneCache::open(folder.path(), &Preprocessing::grey(3, 2))
            .unwrap()
            .unwrap();
        assert_eq!(cache.len(), 2);
        let read = |digest| cache.read(cache.record(&digest).unwrap()).unwrap();
        assert_eq!([read([1; 32]), read([2; 32])], [plane(1000), plane(2000)]);
        assert_eq!(cache.record(&[3; 32]), None);
    }

    #[test]
    fn to_read_a_cache_neither_makes_nor_changes_anything() {
        let folder = tempfile::tempdir().unwrap();
        let contract = Preprocessing::grey(3, 2);
        let none = folder.path().join("none");
        assert!(PlaneCache::open(&none, &contract).unwrap().is_none() && !none.exists());
        let mut writer = open(folder.path()).unwrap();
        writer.add(&[([1; 32], plane(1000))]).unwrap();
        // root may write anything, so what was opened is asked and not the system
        let cache = PlaneCache::open(folder.path(), &contract).unwrap().unwrap();
        assert!((&cache.planes).write_all(&[0]).is_err() && (&cache.digests).write_all(&[0]).is_err());
        assert_eq!(cache.read(0).unwrap(), plane(1000));
    }

    #[test]
    fn what_a_killed_run_left_half_written_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open(folder.path()).unwrap();
        cache.add(&[([1; 32], plane(1)), ([2; 32], plane(2))]).unwrap();
        let place = cache.0.folder.clone();
        drop(cache);
        let append = |file: &str, bytes: &[u8]| {
            let mut file = OpenOptions::new().append(true).open(place.join(file)).unwrap();
            file.write_all(bytes).unwrap();
        };
        // a record and a half without digest, and a digest that came without its record
        append(PLANES, &[9; 18]);
        let mut cache = open(folder.path()).unwrap();
        assert_eq!(cache.cache().len(), 2);
        cache.add(&[([3; 32], plane(3))]).unwrap();
        drop(cache);
        append(DIGESTS, &[7; 40]);
        let cache = open(folder.path()).unwrap();
        assert_eq!((cache.cache().len(), cache.cache().record(&[7; 32])), (3, None));
        assert_eq!(cache.cache().read(2).unwrap(), plane(3));
    }

    #[test]
    fn only_what_makes_the_planes_makes_another_folder() {
        let contract = Preprocessing::grey(3, 2);
        let other_half = Preprocessing {
            mean: vec![0.1; 3],
            std: vec![0.2; 3],
            channels: 3,
            ..contract.clone()
        };
        assert_eq!(name(&contract), name(&other_half));
        let uncropped = Preprocessing {
            crop_border: false,
            ..contract.clone()
        };
        assert_ne!(name(&contract), name(&uncropped));
    }
}
