//! A CSV of the user's: one column says which image a line is about, some say what headers say, all others are labels.

use std::path::{Path, PathBuf};

use super::table::{Line, Table, path_key, path_keys};
use super::{Known, LabelError, Part, Stated, Statements, Unused, sex};
use crate::deidentify::Key;

/// What a line names its image by, the most specific first, with the names that its column may have.
const KEYS: [(By, &[&str]); 5] = [
    (
        By::File,
        &["file", "path", "filename", "image_path", "image_file", "image"],
    ),
    (By::Instance, &["sop_instance_uid"]),
    (By::Study, &["study_instance_uid"]),
    (By::Accession, &["accession_number", "accession"]),
    (By::Patient, &["patient_id", "patient"]),
];
/// The columns of the index that are made of the image alone.
const RESERVED: [&str; 12] = [
    "study",
    "group",
    "modality",
    "scanner",
    "row_spacing",
    "column_spacing",
    "rows",
    "columns",
    "polarity",
    "burned_in",
    "duplicate_of",
    "digest",
];
const AGE: &str = "a number of years, from 0 to 130, or empty";
const SEX: &str = "M, F, O or empty";
const SPLIT: &str = "train, validation, test or empty";

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    File,
    Instance,
    Study,
    Accession,
    Patient,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Instance => "instance",
            Self::Study => "study",
            Self::Accession => "accession number",
            Self::Patient => "patient",
        }
    }
}

/// Columns that say what headers say.
struct Columns {
    patient: Option<usize>,
    split: Option<usize>,
    age: Option<usize>,
    sex: Option<usize>,
    body_part: Option<usize>,
    view: Option<usize>,
    laterality: Option<usize>,
    site: Option<usize>,
}

/// A CSV of the user's.
pub struct Given {
    table: Table,
    by: By,
    columns: Columns,
    labels: Vec<usize>,
    names: Vec<String>,
    /// Where files that are not named whole lie.
    roots: Vec<PathBuf>,
}

impl Given {
    /// Opens a CSV; what it names by identifiers is found under `key`. Files are looked for beside it and in `roots` first, then by as
    /// much of their path as it writes.
    ///
    /// # Errors
    /// [`LabelError`], which names the file and the line.
    pub fn open(file: &Path, roots: &[PathBuf], key: &Key) -> Result<Self, LabelError> {
        let mut table = Table::open(file)?;
        let keys = KEYS
            .iter()
            .find_map(|(by, names)| Some((*by, table.column(names)?)));
        let (by, place) = keys.ok_or_else(|| LabelError::NoKey {
            file: file.to_owned(),
            present: table.header().join(", "),
        })?;
        let columns = Columns {
            patient: table.column(KEYS[4].1),
            split: table.column(&["split", "partition", "subset"]),
            age: table.column(&["age", "patient_age"]),
            sex: table.column(&["sex", "gender", "patient_sex"]),
            body_part: table.column(&["body_part", "body_part_examined"]),
            view: table.column(&["view", "view_position"]),
            laterality: table.column(&["laterality", "side"]),
            site: table.column(&["site", "institution"]),
        };
        let Columns {
            patient,
            split,
            age,
            sex,
            body_part,
            view,
            laterality,
            site,
        } = &columns;
        let known = [patient, split, age, sex, body_part, view, laterality, site];
        let is_key = |column: usize| KEYS.iter().any(|(_, names)| table.column(names) == Some(column));
        let labels: Vec<usize> = (0..table.header().len())
            .filter(|column| !is_key(*column) && !known.contains(&&Some(*column)))
            .filter(|column| !table.header()[*column].is_empty())
            .collect();
        let names: Vec<String> = labels
            .iter()
            .map(|column| table.header()[*column].clone())
            .collect();
        if let Some(column) = names.iter().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(LabelError::Reserved {
                file: file.to_owned(),
                column: column.clone(),
            });
        }
        table.find_by(|line| {
            let cell = line.cell(Some(place));
            Ok((!cell.is_empty()).then(|| match by {
                By::File => path_key(cell),
                By::Instance | By::Study => key.uid(cell),
                By::Accession => key.code("accession", cell),
                By::Patient => key.pseudonym(cell),
            }))
        })?;
        if let Some((first, second)) = table.twice() {
            return Err(LabelError::Twice {
                file: file.to_owned(),
                first,
                second,
                what: by.name(),
            });
        }
        let beside = file.parent().map(Path::to_owned).unwrap_or_default();
        let beside = std::path::absolute(&beside).unwrap_or(beside);
        let roots = std::iter::once(beside).chain(roots.iter().cloned()).collect();
        Ok(Self {
            table,
            by,
            columns,
            labels,
            names,
            roots,
        })
    }

    fn line(&mut self, image: &Known<'_>) -> Result<Option<Line>, LabelError> {
        let key = match self.by {
            By::Instance => Some(image.image),
            By::Study => image.study,
            By::Accession => image.accession,
            By::Patient => image.patient,
            By::File => return self.line_of_file(image),
        };
        let Some(key) = key else { return Ok(None) };
        Ok(self.table.lines(key, image.image)?.pop())
    }

    fn line_of_file(&mut self, image: &Known<'_>) -> Result<Option<Line>, LabelError> {
        let Some(file) = image.file else { return Ok(None) };
        let name = file.to_string_lossy();
        let below = self.roots.iter().filter_map(|root| file.strip_prefix(root).ok());
        let below: Vec<String> = below.map(|path| path_key(&path.to_string_lossy())).collect();
        for key in below.into_iter().chain(path_keys(file)) {
            if let Some(line) = self.table.line_of_one(&key, &name)? {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    fn stated(&self, line: &Line) -> Result<Stated, LabelError> {
        let Columns {
            patient,
            split,
            age,
            sex: sexes,
            body_part,
            view,
            laterality,
            site,
        } = &self.columns;
        let text =
            |column: &Option<usize>| Some(line.cell(*column).to_owned()).filter(|cell| !cell.is_empty());
        let wrong = |column: &Option<usize>, needed| LabelError::Value {
            file: self.table.file().to_owned(),
            line: line.number,
            column: column
                .and_then(|place| self.table.header().get(place).cloned())
                .unwrap_or_default(),
            needed,
        };
        Ok(Stated {
            patient: text(patient),
            split: text(split)
                .map(|cell| Part::parse(&cell).ok_or_else(|| wrong(split, SPLIT)))
                .transpose()?,
            age: text(age)
                .map(|cell| years(&cell).ok_or_else(|| wrong(age, AGE)))
                .transpose()?,
            sex: text(sexes)
                .map(|cell| sex(&cell).ok_or_else(|| wrong(sexes, SEX)))
                .transpose()?,
            body_part: text(body_part),
            view: text(view),
            laterality: text(laterality),
            site: text(site),
            spacing: None,
            labels: self
                .labels
                .iter()
                .map(|column| line.cell(Some(*column)).to_owned())
                .collect(),
        })
    }
}

/// Whole years of a number of years, or of `nnnY`.
pub(crate) fn years(cell: &str) -> Option<u16> {
    let number: f64 = cell.trim_end_matches(['Y', 'y']).trim().parse().ok()?;
    (0.0..=130.0).contains(&number).then_some(number as u16)
}

impl Statements for Given {
    fn title(&self) -> String {
        // folders above it may be called after somebody
        let name = self.table.file().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn columns(&self) -> &[String] {
        &self.names
    }

    fn of(&mut self, image: &Known<'_>) -> Result<Option<Stated>, LabelError> {
        self.line(image)?.map(|line| self.stated(&line)).transpose()
    }

    fn unused(&self) -> Unused {
        self.table.unused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Result<(tempfile::TempDir, Given), LabelError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.csv");
        std::fs::write(&file, text).unwrap();
        let given = Given::open(&file, &[], &Key::new([1; 32]))?;
        Ok((folder, given))
    }

    fn refused(text: &str) -> String {
        match given(text) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it is taken"),
        }
    }

    fn file(path: &Path) -> Known<'_> {
        Known {
            file: Some(path),
            image: "2.25.1",
            ..Known::default()
        }
    }

    #[test]
    fn images_are_found_by_path_name_or_stem_and_by_identifiers() {
        let (folder, mut of_files) =
            given("File;Patient;fracture;Age;Sex\na/1.png;p1;1;70.5;w\n2.png;p2;0;;\n3;p3;;045Y;M\n")
                .unwrap();
        let say = |given: &mut Given, path: &Path| given.of(&file(path)).unwrap();
        let first = say(&mut of_files, &folder.path().join("a/1.png")).unwrap();
        assert_eq!(first.labels, ["1"]);
        assert_eq!(
            (first.patient.as_deref(), first.age, first.sex),
            (Some("p1"), Some(70), Some("F"))
        );
        assert_eq!(
            say(&mut of_files, Path::new("/else/where/2.png")).unwrap().labels,
            ["0"]
        );
        assert_eq!(
            say(&mut of_files, Path::new("/else/3.dcm")).unwrap().age,
            Some(45)
        );
        assert_eq!(say(&mut of_files, Path::new("/else/4.dcm")), None);
        assert_eq!(of_files.columns(), ["fracture"]);
        assert_eq!(of_files.unused(), Unused::default());

        let key = Key::new([1; 32]);
        for (column, id) in [
            (
                "SOPInstanceUID",
                Known {
                    image: &key.uid("1.2"),
                    ..Known::default()
                },
            ),
            (
                "StudyInstanceUID",
                Known {
                    study: Some(&key.uid("1.2")),
                    ..Known::default()
                },
            ),
            (
                "AccessionNumber",
                Known {
                    accession: Some(&key.code("accession", "1.2")),
                    ..Known::default()
                },
            ),
            (
                "PatientID",
                Known {
                    patient: Some(&key.pseudonym("1.2")),
                    ..Known::default()
                },
            ),
        ] {
            let (_folder, mut given) = given(&format!("{column},x\n1.2,yes\n9,no\n")).unwrap();
            assert_eq!(given.of(&id).unwrap().unwrap().labels, ["yes"], "{column}");
            assert_eq!(given.of(&Known::default()).unwrap(), None);
            assert_eq!(
                given.unused(),
                Unused {
                    count: 1,
                    lines: vec![3]
                }
            );
        }
    }

    #[test]
    fn mistakes_are_named_with_their_lines() {
        assert!(refused("name,x\na,1\n").contains("no column that says which image"));
        let words = refused("file,x\na.png,1\nb.png,1\na.png,0\n");
        assert!(words.contains("lines 2 and 4 are about the same file"), "{words}");
        assert!(refused("file,digest\na.png,1\n").contains("cannot be called digest"));
        for (line, column) in [("a.png,200,", "age"), ("a.png,,maybe", "split")] {
            let (_folder, mut given) = given(&format!("file,age,split\n{line}\n")).unwrap();
            let error = given.of(&file(Path::new("/x/a.png"))).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(column), "{error}");
        }
        let (_folder, mut given) = given("file,x\na.png,1\n").unwrap();
        given.of(&file(Path::new("/x/a.png"))).unwrap();
        given.of(&file(Path::new("/x/a.png"))).unwrap();
        let error = given.of(&file(Path::new("/y/a.png"))).unwrap_err().to_string();
        assert!(
            error.contains("line 2: more than one image is called so"),
            "{error}"
        );
    }
}
