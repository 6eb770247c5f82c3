//! What an index came to: `index.json`, and the sentences for whoever started it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tally::LabelCounts;

/// What stands on both sides of the split that was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leaks {
    /// Patients.
    pub patients: usize,
    /// Pairs of copies of different patients.
    pub copies: usize,
}

/// What an index came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The form of this file.
    pub osteon_index: u32,
    /// Rows of the table.
    pub images: usize,
    /// Patients among them.
    pub patients: usize,
    /// Images of which nobody says whose they are: each counts as a patient of its own.
    pub without_patient: u64,
    /// Images that a label source speaks of.
    pub labelled: u64,
    /// Where labels come from.
    pub label_sources: Vec<String>,
    /// By column and value, the number of images.
    pub columns: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// The labels and their values.
    pub labels: Vec<LabelCounts>,
    /// Files that are no rows, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// Files, or studies of an archive, that could not be read in this run, and are tried again in the next.
    pub not_now: usize,
    /// Reasons of some of them.
    pub not_now_reasons: Vec<String>,
    /// Whether the archive lists the same studies on every page, so that it may have more.
    pub archive_repeats: bool,
    /// Pairs of copies, by what is the same.
    pub duplicates: BTreeMap<&'static str, usize>,
    /// Pairs of copies under two patients.
    pub copies_across_patients: usize,
    /// What stands on both sides of the given split.
    pub leaks: Leaks,
    /// Lines of label sources that no image belongs to: source, count, the first lines.
    pub unused_lines: Vec<(String, usize, Vec<u64>)>,
    /// How often one source contradicted an earlier one.
    pub contradictions: u64,
    /// Images of which the words said a body part that is not in the table, or none.
    pub without_body_part: u64,
}

impl Summary {
    /// What is wrong, as sentences that say what to do; what must be put right before training comes first.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut said = self.errors();
        if self.not_now > 0 {
            said.push(format!(
                "{} files or studies could not be read ({}): left-out.csv names them; run the same command again when they can be read",
                self.not_now,
                self.not_now_reasons.join("; ")
            ));
        }
        if self.archive_repeats {
            said.push(
                "the archive lists the same studies on every page: if it has more, they are missing; a narrower --query, such as StudyDate=20200101-20201231, makes the list shorter"
                    .to_owned(),
            );
        }
        for (reason, count) in &self.left_out {
            said.push(format!(
                "{count} files are left out: {reason}; left-out.csv has their paths"
            ));
        }
        for (source, count, lines) in &self.unused_lines {
            let lines: Vec<String> = lines.iter().map(u64::to_string).collect();
            said.push(format!(
                "{count} lines of {source} are about no image that is here (line {}{})",
                lines.join(", "),
                if *count > lines.len() { ", ..." } else { "" }
            ));
        }
        for label in &self.labels {
            for value in label.of_one_patient() {
                said.push(format!(
                    "label {}: one patient alone has the value {value}: it cannot be in training and in validation, so nothing can be learned and tested of it; find more, or leave the label out",
                    label.name
                ));
            }
        }
        if self.contradictions > 0 {
            said.push(format!(
                "{} labels are contradicted by a later source: the earlier one counts",
                self.contradictions
            ));
        }
        if self.without_patient > 0 {
            said.push(format!(
                "{} images have no patient: each counts as a patient of its own, and one patient's images may come to stand on both sides of a split; a column patient in a CSV mends it",
                self.without_patient
            ));
        }
        if self.copies_across_patients > 0 {
            said.push(format!(
                "{} pairs of the same picture are under two patients: duplicates.csv names them, report.html shows some",
                self.copies_across_patients
            ));
        }
        if self.without_body_part > 0 {
            said.push(format!(
                "{} images have no body part that is known: report.html lists the words that are not",
                self.without_body_part
            ));
        }
        said
    }

    /// What must be put right before training.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let mut said = Vec::new();
        if self.leaks.patients > 0 {
            said.push(format!(
                "{} patients have images in more than one part of the split: a result would be too good; leaks.csv names them: give all of a patient's images one part, or leave the column split out, so that fit splits by patient",
                self.leaks.patients
            ));
        }
        if self.leaks.copies > 0 {
            said.push(format!(
                "{} pairs of the same picture stand in two parts of the split: leaks.csv names them, duplicates.csv the copies that tie them: give both one part, or, where they are not the same picture, use --keep-pictures-apart",
                self.leaks.copies
            ));
        }
        said
    }
}
