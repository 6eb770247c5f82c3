//! Rows of a table become samples: every image goes through the contract that serving will use. Those of an index come from its cache; what
//! the cache has not got is decoded once, on all cores, and put there. What cannot be read is reported with its row, and the rest is kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::labelled::{LabelledError, LabelledRow};
use super::reading::is_picture;
use super::source::file_of;
use super::{CACHE, IMAGES};
use crate::dicom::Instance;
use crate::image::Plane;
use crate::image::decode::decode_picture;
use crate::image::preprocess::Preprocessing;
use crate::train::data::cache::{CacheWriter, Digest, PlaneCache};
use crate::train::data::labels::Part;
use crate::train::data::samples::{Image, Samples};

/// Images that are decoded before they are put into the cache together.
const TOGETHER: usize = 64;

/// A labelled folder in memory.
#[derive(Clone, Debug, Default)]
pub struct Labelled {
    /// Images with labels.
    pub samples: Samples,
    /// For each image its covariates.
    pub covariates: Vec<Vec<String>>,
    /// For each image the group that belongs on one side of a split.
    pub groups: Vec<String>,
    /// For each image the part of a split that was given.
    pub splits: Vec<Option<Part>>,
    /// For each image its line in the table, from 1.
    pub lines: Vec<u64>,
    /// What could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

impl Labelled {
    /// Those at `places`, in that order.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        fn of<T: Clone>(all: &[T], places: &[usize]) -> Vec<T> {
            places.iter().map(|place| all[*place].clone()).collect()
        }
        Self {
            samples: self.samples.select(places),
            covariates: of(&self.covariates, places),
            groups: of(&self.groups, places),
            splits: of(&self.splits, places),
            lines: of(&self.lines, places),
            unreadable: self.unreadable.clone(),
        }
    }
}

/// Reads the images of `rows`, which stand in `csv`; `step` is called once for each. Images of an index stay in its cache.
///
/// # Errors
/// [`LabelledError::Nothing`] where no image could be read, [`LabelledError::Cache`].
pub fn load(
    csv: &Path,
    rows: Vec<LabelledRow>,
    contract: &Preprocessing,
    step: impl Fn() + Sync,
) -> Result<Labelled, LabelledError> {
    let count = rows.len();
    let labelled = read(csv, rows, contract, step)?;
    if labelled.samples.is_empty() {
        let first = labelled
            .unreadable
            .first()
            .map_or_else(|| "the CSV has no rows".to_owned(), |(_, cause)| cause.clone());
        return Err(LabelledError::Nothing(count, first));
    }
    Ok(labelled)
}

/// As [`load`], where it may be that none can be read.
pub(super) fn read(
    csv: &Path,
    rows: Vec<LabelledRow>,
    contract: &Preprocessing,
    step: impl Fn() + Sync,
) -> Result<Labelled, LabelledError> {
    let cached =
        csv.file_name().is_some_and(|name| name == IMAGES) && rows.iter().all(|row| row.digest.is_some());
    let images = if cached {
        from_cache(&csv.with_file_name(CACHE), &rows, contract, step)?
    } else {
        let read = |row: &LabelledRow| {
            let plane = plane(&row.file, contract);
            step();
            plane.map(Image::Held)
        };
        rows.par_iter().map(read).collect()
    };
    let mut labelled = Labelled::default();
    for (row, image) in rows.into_iter().zip(images) {
        match image {
            Ok(image) => {
                labelled
                    .samples
                    .push_of(row.body_part, image, row.labels, row.patient);
                labelled.covariates.push(row.covariates);
                labelled.groups.push(row.group);
                labelled.splits.push(row.split);
                labelled.lines.push(row.line);
            }
            Err(cause) => labelled.unreadable.push((row.file, cause)),
        }
    }
    Ok(labelled)
}

/// The images of an index, from its cache, which is filled first where it has not got all.
fn from_cache(
    folder: &Path,
    rows: &[LabelledRow],
    contract: &Preprocessing,
    step: impl Fn() + Sync,
) -> Result<Vec<Result<Image, String>>, LabelledError> {
    let known = PlaneCache::open(folder, contract)?;
    let digest = |row: &LabelledRow| row.digest.unwrap_or_default();
    let missing: Vec<&LabelledRow> = rows
        .iter()
        .filter(|row| {
            let record = known.as_ref().and_then(|cache| cache.record(&digest(row)));
            record.is_none()
        })
        .collect();
    let mut failed: HashMap<Digest, String> = HashMap::new();
    (missing.len()..rows.len()).for_each(|_| step());
    if !missing.is_empty() {
        let mut writer = CacheWriter::open(folder, contract)?;
        for rows in missing.chunks(TOGETHER) {
            let read: Vec<_> = rows
                .par_iter()
                .map(|row| {
                    let plane = plane(&row.file, contract);
                    step();
                    (digest(row), plane)
                })
                .collect();
            let (mut planes, mut causes) = (Vec::new(), Vec::new());
            for (digest, plane) in read {
                match plane {
                    Ok(plane) => planes.push((digest, plane)),
                    Err(cause) => causes.push((digest, cause)),
                }
            }
            writer.add(&planes)?;
            failed.extend(causes);
        }
    }
    let cache = PlaneCache::open(folder, contract)?.map(Arc::new);
    let image = |row: &LabelledRow| match cached(cache.as_ref(), &digest(row)) {
        Some(image) => Ok(image),
        None => Err(failed.get(&digest(row)).cloned().unwrap_or_default()),
    };
    Ok(rows.iter().map(image).collect())
}

fn cached(cache: Option<&Arc<PlaneCache>>, digest: &Digest) -> Option<Image> {
    let cache = cache?;
    Some(Image::Cached(cache.clone(), cache.record(digest)?))
}

/// One image through decoding and the first half of the contract.
///
/// # Errors
/// A sentence that says what is wrong with the file.
pub fn plane(file: &Path, contract: &Preprocessing) -> Result<Plane, String> {
    if file_of(&file.to_string_lossy()).is_none() || file.as_os_str().is_empty() {
        return Err(
            "it is in an archive, or files.csv is not beside the table: fill the cache by `osteon-train index --recipe` first"
                .to_owned(),
        );
    }
    let bytes = std::fs::read(file).map_err(|error| format!("it cannot be read: {error}"))?;
    let image = if is_picture(&bytes) {
        decode_picture(&bytes)
    } else {
        let instance = Instance::parse(bytes.into()).map_err(|error| error.to_string())?;
        contract.decode(&instance)
    };
    let image = image.map_err(|error| error.to_string())?;
    Ok(contract.plane(&image).map_err(|error| error.to_string())?.0)
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;
    use crate::train::data::Column;
    use crate::train::data::columns::Kind;

    #[test]
    fn unreadable_images_are_named_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        let table = "file,patient,fracture\ngood.png,P1,1\nbad.dcm,P2,0\nmissing.dcm,P3,0\n";
        std::fs::write(&path, table).unwrap();
        let fracture = Column {
            name: "fracture".to_owned(),
            kind: Kind::Finding,
        };
        let ramp: Vec<u8> = (0..64 * 48).map(|index| (index % 253) as u8).collect();
        image::save_buffer(
            folder.path().join("good.png"),
            &ramp,
            48,
            64,
            image::ExtendedColorType::L8,
        )
        .unwrap();
        std::fs::write(folder.path().join("bad.dcm"), "no image").unwrap();
        let rows = rows(&path, &[fracture], &[]).unwrap();
        let loaded = load(&path, rows, &Preprocessing::grey(32, 24), || {}).unwrap();
        assert_eq!(loaded.samples.len(), 1);
        assert_eq!(loaded.unreadable.len(), 2);
        assert!(loaded.unreadable[0].1.contains("DICM"));
    }
}
