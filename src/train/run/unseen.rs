//! Whether a table of images is a test set: none of it trained a network, and none of it chose an epoch, a temperature or a threshold.
//!
//! Patients and groups are compared by their names in both tables, images by their digests, which the tables of indexes have, and by their
//! places. Two indexes with keys of their own name one patient differently: of those only images that are the same file are found.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::source::digest;
use super::{Record, RunFolder};
use crate::train::data::Column;
use crate::train::data::index::{LabelledRow, rows};
use crate::train::data::labels::Part;
use crate::train::learn::Recipe;

/// What a training saw: the images that it trained on, and those that it held out.
pub struct Seen {
    table: PathBuf,
    sha256: String,
    columns: Vec<Column>,
    /// Whether images without a label of the recipe were seen as well.
    unlabelled: bool,
}

/// How much of a table was seen, in images.
#[derive(Debug, Default, PartialEq, Eq)]
struct Overlap {
    patients: usize,
    groups: usize,
    files: usize,
}

impl Seen {
    /// What `run` saw, which was told `recipe` and left `record`; its table is where it was, or where it was `moved` to.
    ///
    /// # Errors
    /// A sentence that says which file of the run is gone.
    pub fn of(
        run: &RunFolder,
        recipe: &Recipe,
        record: &Record,
        moved: Option<&Path>,
    ) -> Result<Self, String> {
        let source = run.source().map_err(|error| error.to_string())?;
        Ok(Self {
            table: moved.map_or(source.labels, Path::to_owned),
            sha256: source.labels_sha256,
            columns: recipe.heads().columns(),
            unlabelled: record.data.unlabelled_images.is_none(),
        })
    }

    /// The rows of the test set `csv`: of a table with a column `split` those of its part `test`. Cells of `covariates` come with them.
    ///
    /// # Errors
    /// A sentence: a table that cannot be read, or that is no test set, with how much of it the training saw.
    pub fn test_rows(&self, csv: &Path, covariates: &[&str]) -> Result<Vec<LabelledRow>, String> {
        let mut test = rows(csv, &self.columns, covariates).map_err(|error| error.to_string())?;
        let is_own = digest(csv).map_err(|error| error.to_string())? == self.sha256;
        let (file, part) = (csv.display(), Some(Part::Test));
        if test.iter().any(|row| row.split == part) {
            test.retain(|row| row.split == part);
        } else if is_own {
            return Err(format!(
                "{file} is the table that the run was trained on, and its column split has no test: name a table of other patients, or put some into a part test before the training"
            ));
        } else if test.iter().any(|row| row.split.is_some()) {
            return Err(format!(
                "the column split of {file} has no test: put test there, or leave the column out where none of the images trained"
            ));
        }
        // the training itself refused patients on two sides of its split
        if is_own {
            return Ok(test);
        }
        let overlap = Overlap::of(&test, &self.rows(csv)?);
        if overlap == Overlap::default() {
            return Ok(test);
        }
        let Overlap {
            patients,
            groups,
            files,
        } = overlap;
        Err(format!(
            "{file} is no test set: of its {} images {patients} are of patients, {groups} of groups and {files} of files that the run trained on or held out; leave them out, and give other patients other names",
            test.len()
        ))
    }

    /// The rows of the run's table that it saw.
    fn rows(&self, csv: &Path) -> Result<Vec<LabelledRow>, String> {
        let failed = |cause: &dyn std::fmt::Display| {
            format!(
                "whether the run has seen images of {} cannot be known: {cause}",
                csv.display()
            )
        };
        let found = digest(&self.table).map_err(|error| failed(&error))?;
        if found != self.sha256 {
            return Err(failed(&format!(
                "{} is not the table that the run was trained on any more",
                self.table.display()
            )));
        }
        let mut all = rows(&self.table, &self.columns, &[]).map_err(|error| failed(&error))?;
        all.retain(|row| row.split != Some(Part::Test) && (self.unlabelled || row.is_labelled()));
        Ok(all)
    }
}

impl Overlap {
    fn of(test: &[LabelledRow], seen: &[LabelledRow]) -> Self {
        Self {
            patients: count(test, seen, |row| {
                // who has no name has one of the file's, which tables share by chance
                (!row.without_patient).then(|| row.patient.clone())
            }),
            groups: count(test, seen, |row| {
                (row.group != row.patient).then(|| row.group.clone())
            }),
            files: test
                .iter()
                .zip(in_common(test, seen, |row| row.digest))
                .zip(in_common(test, seen, place))
                .filter(|((_, digest), place)| *digest || *place)
                .count(),
        }
    }
}

/// Where an image is; an index may not know.
fn place(row: &LabelledRow) -> Option<PathBuf> {
    let named = !row.file.as_os_str().is_empty();
    named.then(|| std::path::absolute(&row.file).ok()).flatten()
}

/// For each row of a test set whether what `key` makes of it is among what it makes of the `seen` ones.
fn in_common<K: std::hash::Hash + Eq>(
    test: &[LabelledRow],
    seen: &[LabelledRow],
    key: impl Fn(&LabelledRow) -> Option<K>,
) -> Vec<bool> {
    let known: HashSet<K> = seen.iter().filter_map(&key).collect();
    test.iter()
        .map(|row| key(row).is_some_and(|own| known.contains(&own)))
        .collect()
}

fn count(test: &[LabelledRow], seen: &[LabelledRow], key: impl Fn(&LabelledRow) -> Option<String>) -> usize {
    in_common(test, seen, key).into_iter().filter(|own| *own).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::columns::Kind;

    /// How many images of `test`, a table in another folder than `own`, that of the training, are a test set.
    fn said(own: &str, test: &str) -> Result<usize, String> {
        said_in("elsewhere", own, test)
    }

    fn said_in(place: &str, own: &str, test: &str) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("images.csv");
        std::fs::write(&table, own).unwrap();
        let elsewhere = folder.path().join(place);
        std::fs::create_dir_all(&elsewhere).unwrap();
        let csv = elsewhere.join("test.csv");
        std::fs::write(&csv, test).unwrap();
        let seen = Seen {
            sha256: digest(&table).unwrap(),
            table,
            columns: vec![Column {
                name: "ill".to_owned(),
                kind: Kind::Finding,
            }],
            unlabelled: false,
        };
        seen.test_rows(&csv, &[]).map(|rows| rows.len())
    }

    const OWN: &str = "file,patient,group,ill\na,P1,P1,1\nb,P2,g,0\nc,P3,g,0\nd,P4,P4,\n";

    #[test]
    fn what_the_training_saw_is_no_test_set() {
        let refused = |test: &str| said(OWN, test).unwrap_err();
        assert!(refused(OWN).contains("is the table that the run was trained on"));
        let split = "file,patient,ill,split\nx,Q1,1,train\ny,Q2,0,validation\n";
        assert!(
            refused(split).contains("the column split of"),
            "{}",
            refused(split)
        );
        let overlap = "file,patient,group,ill\nx,P1,P1,1\ny,Q2,g,0\nz,P2,g,0\nu,Q4,Q4,1\nv,P4,P4,1\n";
        let words = refused(overlap);
        assert!(
            words.contains("of its 5 images 2 are of patients, 2 of groups and 0 of files"),
            "{words}"
        );
    }

    #[test]
    fn other_patients_and_the_part_test_are_one() {
        // nobody taught anything by P4, and nobody knows whose image a file is that is called as one of the training's
        assert_eq!(said(OWN, "file,patient,ill\nx,Q1,1\ny,P4,0\nb,,0\n"), Ok(3));
        assert_eq!(
            said(OWN, "file,patient,ill,split\nx,P1,1,train\ny,Q2,0,test\n"),
            Ok(1)
        );
        let own = "file,patient,ill,split\na,P1,1,train\nb,P2,0,\nc,P3,0,test\n";
        assert_eq!(said(own, own), Ok(1));
        assert_eq!(said(own, "file,patient,ill\nx,P3,1\n"), Ok(1));
        assert!(said(own, "file,patient,ill\nx,P2,1\n").is_err());
    }

    /// A digest is 64 hexadecimal digits.
    #[test]
    fn the_same_file_is_found_under_another_name() {
        let digest = |letter: &str| letter.repeat(64);
        let own = format!("file,patient,digest,ill\na,P1,{},1\n", digest("1"));
        let test = |letter| format!("file,patient,digest,ill\nx,Q1,{},1\n", digest(letter));
        assert_eq!(said(&own, &test("2")), Ok(1));
        assert!(said(&own, &test("1")).unwrap_err().contains("and 1 of files"));
        // nor does another pseudonym hide it
        let renamed = said_in("", OWN, "file,patient,ill\na,Q1,1\nx,Q2,1\n").unwrap_err();
        assert!(
            renamed.contains("0 are of patients, 0 of groups and 1 of files"),
            "{renamed}"
        );
    }
}
