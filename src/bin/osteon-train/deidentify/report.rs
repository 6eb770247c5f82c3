//! What became of each file and each attribute: for everybody without a value of the input, for the owner with the map.

use std::collections::BTreeMap;
use std::path::PathBuf;

use osteon::deidentify::Refusal;
use osteon::deidentify::report::{Changes, Report};
use serde_json::json;

/// What became of a file.
pub(super) enum Outcome {
    /// It was de-identified.
    Written {
        /// The new file's name.
        file: String,
        /// What was changed.
        report: Report,
        /// New UIDs by old.
        uids: BTreeMap<String, String>,
    },
    /// It must not be.
    Refused(String),
    /// It could not be.
    Failed(String),
}

impl Outcome {
    pub(super) fn refused(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Unreadable(_) | Refusal::TransferSyntax | Refusal::Pixels(_) | Refusal::Writing => {
                Self::Failed(refusal.to_string())
            }
            _ => Self::Refused(refusal.to_string()),
        }
    }
}

/// A file by its number, from 1.
pub(super) struct Entry {
    number: usize,
    outcome: Outcome,
}

impl Entry {
    pub(super) fn new(number: usize, outcome: Outcome) -> Self {
        Self { number, outcome }
    }
}

/// All files.
pub(super) struct Run<'a> {
    inputs: &'a [PathBuf],
    entries: Vec<Entry>,
    changes: Changes,
}

impl<'a> Run<'a> {
    pub(super) fn of(inputs: &'a [PathBuf], entries: Vec<Entry>) -> Self {
        let mut changes = Changes::default();
        for entry in &entries {
            if let Outcome::Written { report, .. } = &entry.outcome {
                changes.extend(&report.changes);
            }
        }
        Self {
            inputs,
            entries,
            changes,
        }
    }

    pub(super) fn all_written(&self) -> bool {
        self.written() == self.entries.len()
    }

    fn written(&self) -> usize {
        let written = |entry: &&Entry| matches!(entry.outcome, Outcome::Written { .. });
        self.entries.iter().filter(written).count()
    }

    /// For everybody.
    pub(super) fn report_json(&self) -> serde_json::Result<String> {
        let files: Vec<_> = self
            .entries
            .iter()
            .map(|entry| match &entry.outcome {
                Outcome::Written { file, report, .. } => json!({
                    "number": entry.number,
                    "outcome": "written",
                    "file": file,
                    "masked_rectangles": report.masked,
                    "warnings": report.warnings,
                }),
                Outcome::Refused(reason) => {
                    json!({"number": entry.number, "outcome": "refused", "reason": reason})
                }
                Outcome::Failed(reason) => {
                    json!({"number": entry.number, "outcome": "failed", "reason": reason})
                }
            })
            .collect();
        serde_json::to_string_pretty(&json!({
            "files": files,
            "changes": self.changes.list(),
        }))
    }

    /// For the owner of the key.
    pub(super) fn secrets_json(&self) -> serde_json::Result<String> {
        let mut uids = BTreeMap::new();
        for entry in &self.entries {
            if let Outcome::Written { uids: of_file, .. } = &entry.outcome {
                uids.extend(of_file);
            }
        }
        let paths: BTreeMap<usize, String> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(index, path)| (index + 1, path.to_string_lossy().into_owned()))
            .collect();
        serde_json::to_string_pretty(&json!({"uids": uids, "files": paths}))
    }

    /// A summary on standard error.
    pub(super) fn print(&self) {
        let mut warnings: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in &self.entries {
            match &entry.outcome {
                Outcome::Written { report, .. } => {
                    for warning in &report.warnings {
                        *warnings.entry(warning).or_default() += 1;
                    }
                }
                Outcome::Refused(reason) => eprintln!("file {} was refused: {reason}", entry.number),
                Outcome::Failed(reason) => eprintln!("file {} failed: {reason}", entry.number),
            }
        }
        for (warning, count) in warnings {
            eprintln!("{count} files: {warning}");
        }
        let totals: Vec<String> = self
            .changes
            .totals()
            .into_iter()
            .map(|(action, count)| format!("{count} {action}"))
            .collect();
        eprintln!(
            "{} of {} files written; elements: {}",
            self.written(),
            self.entries.len(),
            totals.join(", ")
        );
    }
}
