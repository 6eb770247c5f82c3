//! `report.html`: what is in a set and what is wrong with it, for the radiologist who knows what should be in it.
//!
//! One file without scripts that needs no other. What is wrong comes first; then labels, body parts with pictures, what was mapped to
//! what, and copies side by side.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Run;
use super::assemble::Assembly;
use super::sameness::Duplicate;
use super::sheet::{Choice, Shown, sheet};
use super::summary::Summary;
use super::tally::{AGE, BODY_PART, LEAST_PATIENTS, Mapping};

/// Pairs of copies that are shown.
const PAIRS: usize = 12;
/// Lines of a table; the CSV has all.
const LINES: usize = 400;
const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#1b1f24}\
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid #ccd}table{border-collapse:collapse;margin:.7em 0}\
td,th{padding:.15em .8em .15em 0;text-align:left;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}\
li.bad{color:#a40000;font-weight:600}td.bad{color:#a40000}img{max-width:100%;background:#000;display:block;margin:.5em 0}\
.grid{display:flex;flex-wrap:wrap;align-items:start;gap:0 3em}small{color:#667}";

/// What is reported.
pub(super) struct Report<'a> {
    pub(super) summary: &'a Summary,
    pub(super) mappings: &'a [Mapping],
    pub(super) disagreements: &'a BTreeMap<(&'static str, &'static str), u64>,
    pub(super) more_words: u64,
    pub(super) choice: &'a Choice,
    /// Copies under two patients.
    pub(super) across: &'a [Duplicate],
}

impl Report<'_> {
    /// The file. Writing to a string cannot fail, so what `write!` gives is dropped.
    pub(super) fn html(&self, run: &Run<'_>, images: &Assembly<'_>) -> String {
        let mut html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Index</title><style>{STYLE}</style>\n\
             <h1>{} images of {} patients</h1>\n",
            self.summary.images, self.summary.patients
        );
        self.problems(&mut html);
        self.labels(&mut html);
        self.parts(&mut html, run);
        self.columns(&mut html);
        self.words(&mut html);
        self.copies(&mut html, run, images);
        html.push_str("</html>\n");
        html
    }

    fn problems(&self, html: &mut String) {
        let errors = self.summary.errors();
        let problems = self.summary.problems();
        html.push_str("<h2>What is wrong</h2>\n");
        if problems.is_empty() {
            html.push_str("<p>Nothing was found.</p>\n");
            return;
        }
        html.push_str("<ul>\n");
        for problem in &problems {
            let class = if errors.contains(problem) {
                " class=\"bad\""
            } else {
                ""
            };
            let _ = writeln!(html, "<li{class}>{}</li>", escaped(problem));
        }
        html.push_str("</ul>\n");
    }

    fn labels(&self, html: &mut String) {
        let Summary {
            labels,
            label_sources,
            labelled,
            ..
        } = self.summary;
        let sources = match label_sources.as_slice() {
            [] => "No labels were given.".to_owned(),
            titles => format!("{labelled} images are spoken of by {}.", titles.join(", ")),
        };
        let _ = writeln!(html, "<h2>Labels</h2>\n<p>{}</p>", escaped(&sources));
        if labels.is_empty() {
            return;
        }
        html.push_str("<table><tr><th>label<th>value<th>images<th>patients</tr>\n");
        for label in labels.iter().take(LINES) {
            if label.values.is_empty() {
                let _ = writeln!(
                    html,
                    "<tr><td>{}<td><small>many values</small><td class=n>{}<td></tr>",
                    escaped(&label.name),
                    label.images
                );
            }
            for (value, count) in &label.values {
                let patients = match count.patients {
                    LEAST_PATIENTS => format!("{LEAST_PATIENTS} or more"),
                    few => few.to_string(),
                };
                let class = if count.patients == 1 { " class=bad" } else { "" };
                let _ = writeln!(
                    html,
                    "<tr><td>{}<td>{}<td class=n>{}<td{class}>{patients}</tr>",
                    escaped(&label.name),
                    escaped(value),
                    count.images
                );
            }
        }
        html.push_str("</table>\n");
    }

    fn parts(&self, html: &mut String, run: &Run<'_>) {
        html.push_str(
            "<h2>Body parts</h2>\n<p>Images in which something is written, as the header says or as it was seen, are not shown.</p>\n",
        );
        let counts = self.summary.columns.get(BODY_PART);
        for (part, shown) in self.choice.parts() {
            let count = counts
                .and_then(|counts| counts.get(part))
                .copied()
                .unwrap_or_default();
            let _ = writeln!(
                html,
                "<h3>{} <small>{count} images</small></h3>",
                or(part, "not known")
            );
            picture(html, sheet(&shown, run.source));
        }
    }

    fn columns(&self, html: &mut String) {
        html.push_str("<h2>What else is known</h2>\n<div class=grid>\n");
        for (column, values) in self
            .summary
            .columns
            .iter()
            .filter(|(column, _)| **column != BODY_PART)
        {
            let _ = writeln!(html, "<table><tr><th>{column}<th>images</tr>");
            for (value, count) in ordered(column, values).into_iter().take(LINES) {
                let _ = writeln!(
                    html,
                    "<tr><td>{}<td class=n>{count}</tr>",
                    escaped(&or(value, "not known"))
                );
            }
            html.push_str("</table>\n");
        }
        html.push_str("</div>\n");
    }

    fn words(&self, html: &mut String) {
        let _ = writeln!(
            html,
            "<h2>What was mapped to what</h2>\n<p>Words that fewer than {LEAST_PATIENTS} patients have are counted and not shown.{}</p>",
            if self.more_words > 0 {
                format!(" {} more were not told apart.", self.more_words)
            } else {
                String::new()
            }
        );
        for (known, title) in [(false, "Not in the table"), (true, "In the table")] {
            let _ = writeln!(
                html,
                "<h3>{title}</h3>\n<table><tr><th>what<th>said in<th>words<th>stands for<th>images</tr>"
            );
            let own = self
                .mappings
                .iter()
                .filter(|mapping| mapping.name.is_some() == known);
            for mapping in own.take(LINES) {
                let said = mapping
                    .said
                    .as_deref()
                    .map_or("<small>rare words</small>".to_owned(), escaped);
                let _ = writeln!(
                    html,
                    "<tr><td>{}<td>{}<td>{said}<td>{}<td class=n>{}</tr>",
                    mapping.kind,
                    mapping.origin.name(),
                    mapping.name.unwrap_or_default(),
                    mapping.images
                );
            }
            html.push_str("</table>\n");
        }
        if !self.disagreements.is_empty() {
            html.push_str("<h3>Attribute and description differ</h3>\n<p>The attribute counts.</p>\n<table><tr><th>attribute or code<th>description<th>images</tr>\n");
            for ((stated, described), count) in self.disagreements {
                let _ = writeln!(html, "<tr><td>{stated}<td>{described}<td class=n>{count}</tr>");
            }
            html.push_str("</table>\n");
        }
    }

    fn copies(&self, html: &mut String, run: &Run<'_>, images: &Assembly<'_>) {
        html.push_str("<h2>Copies</h2>\n<table><tr><th>the same<th>pairs</tr>\n");
        for (same, count) in &self.summary.duplicates {
            let _ = writeln!(html, "<tr><td>{same}<td class=n>{count}</tr>");
        }
        html.push_str("</table>\n");
        if self.across.is_empty() {
            return;
        }
        let _ = writeln!(
            html,
            "<h3>The same under two patients</h3>\n<p>{} pairs, of which some are shown side by side.</p>",
            self.across.len()
        );
        let mut shown = Vec::new();
        for (number, pair) in self.across.iter().take(PAIRS).enumerate() {
            let same = format!("{} {:.2}", pair.sameness.name(), pair.likeness);
            for (letter, image) in ["a", "b"].into_iter().zip([pair.first, pair.second]) {
                let caption = [format!("{} {letter}", number + 1), same.clone()];
                let place = images.shown_place(image).map(str::to_owned);
                shown.push(Shown { place, caption });
            }
        }
        picture(html, sheet(&shown, run.source));
    }
}

fn picture(html: &mut String, png: Option<Vec<u8>>) {
    if let Some(png) = png {
        let _ = writeln!(
            html,
            "<img alt=\"\" src=\"data:image/png;base64,{}\">",
            STANDARD.encode(png)
        );
    }
}

/// The most frequent first; ages by age, those that nobody knows last.
fn ordered<'a>(column: &str, values: &'a BTreeMap<String, u64>) -> Vec<(&'a str, u64)> {
    let mut values: Vec<_> = values
        .iter()
        .map(|(value, count)| (value.as_str(), *count))
        .collect();
    if column == AGE {
        values.sort_by_key(|(value, _)| value.is_empty());
    } else {
        values.sort_by_key(|(_, count)| Reverse(*count));
    }
    values
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise } else { text }.to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_values_come_first_and_ages_in_their_order() {
        let counts = [("", 9), ("50 to 59", 1), ("60 to 69", 4), ("90 or more", 3)];
        let counts: BTreeMap<String, u64> = counts.map(|(value, count)| (value.to_owned(), count)).into();
        let shown = |column| {
            ordered(column, &counts)
                .iter()
                .map(|(_, count)| *count)
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(AGE), [1, 4, 3, 9]);
        assert_eq!(shown("view"), [9, 4, 3, 1]);
    }

    #[test]
    fn what_headers_say_is_no_markup() {
        assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }
}
