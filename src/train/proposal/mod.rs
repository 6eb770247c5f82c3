//! A first recipe and a first description, from what a table of images says of itself; a person goes on from there.
//!
//! Invariant: what nobody can read from a table, such as a coded concept or a licence, is a text that says so
//! ([`unfilled`](super::unfilled)), and nothing is trained or exported before a person has replaced it.

mod columns;
mod files;
mod table;
mod usage;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

pub use columns::{Answer, Question};
pub use usage::Usage;

use self::columns::Profile;
use self::files::{description, recipe};
use self::table::Table;
use super::data::Flip;
use super::learn::RecipeError;
use crate::finding::Task;

/// What a table proposes.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The columns that became questions.
    pub questions: Vec<Question>,
    /// Those that did not, and why.
    pub set_aside: Vec<(String, String)>,
    /// Which images have an answer to any of the questions.
    pub usage: Usage,
    /// Which of them are mirrored in training.
    pub flip: Flip,
    /// `fit.json`.
    pub recipe: String,
    /// `package.json`.
    pub description: String,
}

/// Why there is no proposal. No variant shows a cell, which could name a patient.
#[derive(Debug, thiserror::Error)]
pub enum ProposalError {
    /// The table cannot be read.
    #[error("{file} cannot be read: {cause}")]
    Table {
        /// Its path.
        file: PathBuf,
        /// What is wrong, with its place.
        cause: String,
    },
    /// A question that is no column.
    #[error("{file} has no column {question} that could be a question: it has {present}")]
    Unknown {
        /// The table.
        file: PathBuf,
        /// What was asked for.
        question: String,
        /// Which could be.
        present: String,
    },
    /// A question that cannot be learned from the table.
    #[error("--question {question}: {why}")]
    Unusable {
        /// What was asked for.
        question: String,
        /// Why not.
        why: String,
    },
    /// No question at all.
    #[error("{file} has no column from which something could be learned{why}")]
    Nothing {
        /// The table.
        file: PathBuf,
        /// Its columns, each with the reason.
        why: String,
    },
    /// A recipe that nothing could be trained by: a fault of this program.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file that cannot be made.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// Reads `csv`, a table as `fit` takes it, such as `images.csv` of an index. Questions are the columns `asked` for, or all that could be;
/// the package will be called `name`.
///
/// # Errors
/// [`ProposalError`], a sentence that says what would be right.
pub fn propose(csv: &Path, asked: &[String], name: &str) -> Result<Proposal, ProposalError> {
    let table = Table::open(csv)?;
    let (questions, set_aside) = questions(&table, asked)?;
    let mut usage = Usage::default();
    table.each(|record| {
        let answered = |question: &Question| !table.cell(record, &question.name).is_empty();
        if questions.iter().any(answered) {
            usage.note(|column| table.cell(record, column));
        }
    })?;
    let flip = usage.flip();
    Ok(Proposal {
        recipe: recipe(&questions, &usage, &flip)?,
        description: description(csv, &questions, &usage, name)?,
        questions,
        set_aside,
        usage,
        flip,
    })
}

type SetAside = Vec<(String, String)>;

/// The questions in the order of the table, or in that in which they were asked.
fn questions(table: &Table<'_>, asked: &[String]) -> Result<(Vec<Question>, SetAside), ProposalError> {
    let candidates = table.candidates();
    if let Some(question) = asked.iter().find(|question| !candidates.contains(question)) {
        let present: Vec<&str> = candidates.iter().map(|name| name.as_str()).collect();
        return Err(ProposalError::Unknown {
            file: table.file.to_owned(),
            question: question.clone(),
            present: or_nothing(&present.join(", ")),
        });
    }
    let chosen: Vec<&String> = if asked.is_empty() {
        candidates
    } else {
        asked.iter().collect()
    };
    let mut profiles: Vec<Profile> = chosen.iter().map(|name| Profile::of(name)).collect();
    let mut patients: HashMap<String, u32> = HashMap::new();
    table.each(|record| {
        let patient = match table.cell(record, "patient") {
            // an image of which nobody says whose it is counts as a patient of its own
            "" => format!("\0{}", record.position().map_or(0, csv::Position::line)),
            patient => patient.to_owned(),
        };
        let next = patients.len() as u32;
        let patient = *patients.entry(patient).or_insert(next);
        for (profile, name) in profiles.iter_mut().zip(&chosen) {
            profile.note(table.cell(record, name), patient);
        }
    })?;
    let (mut questions, mut set_aside) = (Vec::new(), Vec::new());
    let mut labels: BTreeSet<String> = BTreeSet::new();
    for (profile, name) in profiles.iter().zip(chosen) {
        let found = profile.question(!asked.is_empty()).and_then(|question| {
            match question.labels().iter().find(|label| labels.contains(*label)) {
                Some(_) => Err("one of its answers has the name of another question's: write them differently, as all answers of a network have names of their own".to_owned()),
                None => Ok(question),
            }
        });
        match found {
            Ok(question) => {
                labels.extend(question.labels());
                questions.push(question);
            }
            Err(why) if asked.is_empty() => set_aside.push((name.clone(), why)),
            Err(why) => {
                return Err(ProposalError::Unusable {
                    question: name.clone(),
                    why,
                });
            }
        }
    }
    if questions.is_empty() {
        let reasons = set_aside.iter().map(|(name, why)| format!("; {name}: {why}"));
        return Err(ProposalError::Nothing {
            file: table.file.to_owned(),
            why: reasons.collect(),
        });
    }
    // findings are one head, which comes first
    questions.sort_by_key(|question| question.task != Task::Multilabel);
    Ok((questions, set_aside))
}

fn or_nothing(list: &str) -> String {
    if list.is_empty() { "none" } else { list }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::files::SENSITIVITY;
    use super::*;
    use crate::train::export::description::Description;
    use crate::train::learn::Recipe;

    fn csv(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("images.csv");
        std::fs::write(&file, text).unwrap();
        (folder, file)
    }

    const TABLE: &str = "image,patient,body_part,view,modality,age,rows,columns,fracture,grade,other_grade,female,t_score,remark\n\
        a,p1,lumbar-spine,lateral,DX,60,300,200,1,0,1,1,-1.5,\n\
        b,p2,lumbar-spine,lateral,DX,70,300,200,0,1,2,0,-2.5,\n\
        c,p2,lumbar-spine,lateral,DX,70,300,200,,2,0,0,0.5,\n\
        d,p3,hand,PA,DX,20,300,200,,,,1,,\n";

    #[test]
    fn a_table_proposes_what_fit_and_export_take() {
        let (_folder, file) = csv(TABLE);
        let found = propose(&file, &[], "mine").unwrap();
        let names: Vec<&str> = found
            .questions
            .iter()
            .map(|question| question.name.as_str())
            .collect();
        assert_eq!(names, ["fracture", "grade"]);
        let aside: Vec<&str> = found.set_aside.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(aside, ["other_grade", "t_score", "remark"]);
        let recipe = Recipe::from_json(&found.recipe).unwrap();
        assert_eq!(recipe.labels, ["fracture", "0", "1", "2"]);
        let columns: Vec<String> = recipe.heads().columns().into_iter().map(|own| own.name).collect();
        assert_eq!(columns, ["fracture", "grade"]);
        // the hand has no answer
        assert!(recipe.augmentation.horizontal_flip.allows_all());
        let description: Description = serde_json::from_str(&found.description).unwrap();
        let labels: Vec<&String> = description.labels.iter().map(|label| &label.name).collect();
        assert_eq!(labels, recipe.labels.iter().collect::<Vec<_>>());
        assert_eq!(description.intended_use.age_years, [60, 70]);
        assert_eq!(description.labels[0].sensitivity, Some(SENSITIVITY));
        assert_eq!(description.labels[1].sensitivity, None);
        let unfilled = crate::train::unfilled::check(&found.description).unwrap_err();
        for field in ["licence", "intended_use.statement", "labels[0].code.value"] {
            assert!(unfilled.contains(field), "{unfilled}");
        }
    }

    #[test]
    fn what_is_asked_for_is_what_is_proposed_or_the_reason_why_not() {
        let (_folder, file) = csv(TABLE);
        let ask = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            propose(&file, &names, "mine")
        };
        let found = ask(&["t_score"]).unwrap();
        let error = Recipe::from_json(&found.recipe).unwrap_err().to_string();
        assert!(
            error.contains("heads[0].quantities[0].unit must be filled in"),
            "{error}"
        );
        for (asked, why) in [
            (
                &["fracture", "age"][..],
                "has no column age that could be a question: it has fracture, grade,",
            ),
            (&["remark"], "--question remark: it is empty in every line"),
            (
                &["grade", "other_grade"],
                "--question other_grade: one of its answers",
            ),
        ] {
            let error = ask(asked).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let (_folder, file) = csv("file,patient,remark\na,b,\n");
        let error = propose(&file, &[], "mine").unwrap_err().to_string();
        assert!(
            error.contains("no column from which something could be learned; remark: it is empty"),
            "{error}"
        );
        assert!(propose(Path::new("nowhere.csv"), &[], "mine").is_err());
    }
}
