//! The table at the end: what was done, what went wrong, and whether that is a failure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::stage::ledger::Audit;

/// Whether a fault was survived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// It could not be tried here, for this reason.
    LeftOut,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) fault: &'static str,
    pub(crate) what: String,
    pub(crate) engine: String,
    pub(crate) done: String,
    /// Lost, doubled and stuck studies; `None` where none were counted.
    pub(crate) counts: Option<[usize; 3]>,
    pub(crate) other: String,
    pub(crate) verdict: Verdict,
    /// Why it failed.
    pub(crate) complaints: Vec<String>,
    /// Something was lost or doubled that a protection should have kept. No slow machine excuses that.
    pub(crate) damage: bool,
    pub(crate) took: Duration,
}

impl Row {
    pub(crate) fn new(fault: &'static str, what: impl Into<String>, engine: impl Into<String>) -> Self {
        Self {
            fault,
            what: what.into(),
            engine: engine.into(),
            done: String::new(),
            counts: None,
            other: String::new(),
            verdict: Verdict::Pass,
            complaints: Vec::new(),
            damage: false,
            took: Duration::ZERO,
        }
    }

    pub(crate) fn left_out(mut self, why: impl Into<String>) -> Self {
        self.verdict = Verdict::LeftOut;
        self.other = why.into();
        self
    }

    /// It must be so; else it is a failure, for this reason.
    pub(crate) fn must(&mut self, so: bool, otherwise: impl Into<String>) {
        if !so {
            self.verdict = Verdict::Fail;
            self.complaints.push(otherwise.into());
        }
    }

    /// Nothing lost, doubled, stuck or otherwise wrong.
    pub(crate) fn audited(&mut self, audit: &Audit) {
        self.counts = Some([audit.lost.len(), audit.doubled.len(), audit.stuck.len()]);
        self.damage |= !audit.lost.is_empty() || !audit.doubled.is_empty();
        for complaint in audit.complaints() {
            self.must(false, complaint);
        }
        self.must(
            audit.studies > 0,
            "nothing was acknowledged: the test has shown nothing",
        );
    }

    /// A control, where a protection is off: the damage must show.
    pub(crate) fn control(&mut self, audit: &Audit, damage: usize, kind: &str) {
        self.counts = Some([audit.lost.len(), audit.doubled.len(), audit.stuck.len()]);
        self.must(
            damage > 0,
            format!("without the protection nothing was {kind}: the test cannot fail"),
        );
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, text: impl AsRef<str>) {
        if !self.other.is_empty() {
            self.other.push_str(", ");
        }
        self.other.push_str(text.as_ref());
    }

    fn verdict(&self) -> &'static str {
        match self.verdict {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::LeftOut => "left out",
        }
    }

    /// The line while the tests run.
    pub(crate) fn print(&self) {
        println!(
            "   {} {} {}: {} [{}] in {:.0} s",
            self.verdict(),
            self.fault,
            self.what,
            self.done,
            self.other,
            self.took.as_secs_f64()
        );
        for complaint in &self.complaints {
            println!("        {complaint}");
        }
    }
}

/// The whole table, in Markdown, which reads well in a terminal, too.
pub(crate) fn table(rows: &[Row]) -> String {
    const HEAD: [&str; 9] = [
        "fault", "what", "engine", "done", "lost", "doubled", "stuck", "other", "verdict",
    ];
    let mut cells: Vec<Vec<String>> = vec![HEAD.map(String::from).to_vec()];
    for row in rows {
        let counts = row
            .counts
            .map_or(["-".to_owned(), "-".to_owned(), "-".to_owned()], |counts| {
                counts.map(|count| count.to_string())
            });
        let [lost, doubled, stuck] = counts;
        cells.push(vec![
            row.fault.to_owned(),
            row.what.clone(),
            row.engine.clone(),
            row.done.clone(),
            lost,
            doubled,
            stuck,
            row.other.clone(),
            row.verdict().to_owned(),
        ]);
    }
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            cells
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            // writing to a string cannot fail
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}
