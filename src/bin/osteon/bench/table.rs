//! What a level came to, and the table of all levels.

use std::fmt::Write;

use serde::Serialize;

use super::client::Usage;
use super::load::{Kind, Stages, Tally, Unscored};
use super::settings::Settings;

/// One line of the table. What could not be measured is missing, never zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    /// Of the server, where it was started for this row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) settings: Option<Settings>,
    pub(super) concurrency: usize,
    pub(super) images: usize,
    pub(super) images_per_second: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// All that the server's process did, for each image that was scored.
    pub(super) cpu_ms_per_image: Option<f64>,
    /// At the level's end, in 10^6 bytes.
    pub(super) memory_mb: Option<f64>,
    /// The most from the server's start to the level's end, in 10^6 bytes.
    pub(super) peak_memory_mb: Option<f64>,
    /// Means over the images.
    pub(super) timings_ms: Option<Stages>,
    /// Answers 429 and 503.
    pub(super) refused: u64,
    /// What else was no score.
    pub(super) errors: u64,
    /// Both by status and code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unscored: Vec<Cause>,
}

/// Why images have no score, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cause {
    #[serde(flatten)]
    pub(super) kind: Kind,
    #[serde(flatten)]
    pub(super) images: Unscored,
}

impl Row {
    pub(super) fn new(
        settings: Option<Settings>,
        concurrency: usize,
        mut tally: Tally,
        before: Usage,
        after: Usage,
    ) -> Self {
        tally.latencies.sort_by(f64::total_cmp);
        let images = tally.latencies.len();
        let for_each = |sum: f64| (images > 0).then(|| sum / images as f64);
        let megabytes = |bytes: Option<f64>| bytes.map(|bytes| bytes / 1e6);
        let cause = |(kind, images)| Cause { kind, images };
        let unscored: Vec<Cause> = tally.unscored.into_iter().map(cause).collect();
        let count = |refusals: bool| {
            let of_kind = unscored
                .iter()
                .filter(|cause| cause.kind.is_refusal() == refusals);
            of_kind.map(|cause| cause.images.count).sum()
        };
        Self {
            settings,
            concurrency,
            images,
            images_per_second: if tally.seconds > 0.0 {
                images as f64 / tally.seconds
            } else {
                0.0
            },
            p50_ms: percentile(&tally.latencies, 50),
            p99_ms: percentile(&tally.latencies, 99),
            cpu_ms_per_image: before
                .cpu_seconds
                .zip(after.cpu_seconds)
                // a server that was started anew in between counts from zero again
                .filter(|(before, after)| before <= after)
                .and_then(|(before, after)| for_each((after - before) * 1e3)),
            memory_mb: megabytes(after.resident_bytes),
            peak_memory_mb: megabytes(after.peak_bytes),
            timings_ms: (images > 0)
                .then(|| tally.stages.with(Stages::default(), |sum, _| sum / images as f64)),
            refused: count(true),
            errors: count(false),
            unscored,
        }
    }
}

/// The smallest value that so many of a hundred do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

const UNSCORED_HEADINGS: [&str; 6] = ["settings", "concurrency", "status", "code", "images", "such as"];
/// Columns of words.
const WORDS: [&str; 4] = ["settings", "status", "code", "such as"];
const HEADINGS: [&str; 14] = [
    "concurrency",
    "images/s",
    "p50 ms",
    "p99 ms",
    "CPU ms/image",
    "memory MB",
    "peak MB",
    "parse",
    "decode",
    "preprocess",
    "queue",
    "infer",
    "refused",
    "errors",
];

/// The rows under their headings, with a first column for settings where there are some.
pub(super) fn text(rows: &[Row]) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    let with_settings = rows.iter().any(|row| row.settings.is_some());
    let mut lines: Vec<Vec<String>> = vec![HEADINGS.map(str::to_owned).to_vec()];
    for row in rows {
        let mut line = vec![
            row.concurrency.to_string(),
            number(Some(row.images_per_second)),
            number(row.p50_ms),
            number(row.p99_ms),
            number(row.cpu_ms_per_image),
            number(row.memory_mb),
            number(row.peak_memory_mb),
        ];
        line.extend(
            row.timings_ms
                .map_or([None; 5], |stages| stages.each().map(Some))
                .map(number),
        );
        line.extend([row.refused.to_string(), row.errors.to_string()]);
        lines.push(line);
    }
    if with_settings {
        lines[0].insert(0, "settings".to_owned());
        for (line, row) in lines[1..].iter_mut().zip(rows) {
            line.insert(
                0,
                row.settings
                    .map_or_else(String::new, |settings| settings.to_string()),
            );
        }
    }
    aligned(&lines)
}

/// Why images have no score, by setting, level, status and code; empty where all have one.
pub(super) fn unscored(rows: &[Row]) -> String {
    let mut lines = vec![UNSCORED_HEADINGS.map(str::to_owned).to_vec()];
    for row in rows {
        lines.extend(row.unscored.iter().map(|Cause { kind, images }| {
            let status = kind.status.map(|status| status.to_string());
            vec![
                row.settings
                    .map_or_else(|| "-".to_owned(), |settings| settings.to_string()),
                row.concurrency.to_string(),
                status.unwrap_or_else(|| "no answer".to_owned()),
                kind.code.clone().unwrap_or_else(|| "-".to_owned()),
                images.count.to_string(),
                images.message.clone(),
            ]
        }));
    }
    if lines.len() == 1 {
        return String::new();
    }
    if rows.iter().all(|row| row.settings.is_none()) {
        for line in &mut lines {
            line.remove(0);
        }
    }
    aligned(&lines)
}

/// Lines of cells under each other, under their headings: words to the left, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let Some(headings) = lines.first() else {
        return String::new();
    };
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let mut written = String::new();
        for ((cell, width), heading) in line.iter().zip(&widths).zip(headings) {
            let gap = if written.is_empty() { "" } else { "  " };
            // writing to a string cannot fail
            let _ = if WORDS.contains(&heading.as_str()) {
                write!(written, "{gap}{cell:<width$}")
            } else {
                write!(written, "{gap}{cell:>width$}")
            };
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row with what a choice looks at.
    pub(in super::super) fn row(images_per_second: f64, p99_ms: f64, errors: u64) -> Row {
        Row {
            settings: None,
            concurrency: 4,
            images: 10,
            images_per_second,
            p50_ms: Some(p99_ms / 2.0),
            p99_ms: Some(p99_ms),
            cpu_ms_per_image: None,
            memory_mb: Some(100.0),
            peak_memory_mb: Some(120.0),
            timings_ms: Some(Stages::default()),
            refused: 0,
            errors,
            unscored: Vec::new(),
        }
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 50), Some(50.0));
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 50), Some(2.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 99), Some(3.0));
        assert_eq!(percentile(&[7.0], 50), Some(7.0));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn figures_are_for_each_image_and_missing_where_there_is_none() {
        let usage = |cpu| Usage {
            cpu_seconds: Some(cpu),
            resident_bytes: Some(2e8),
            peak_bytes: Some(3e8),
        };
        let tally = Tally {
            latencies: vec![30.0, 10.0, 20.0, 40.0],
            stages: Stages {
                infer: 8.0,
                ..Stages::default()
            },
            seconds: 2.0,
            ..Tally::default()
        };
        let measured = Row::new(None, 1, tally, usage(1.0), usage(1.5));
        assert!((measured.images_per_second - 2.0).abs() < 1e-9);
        assert_eq!((measured.p50_ms, measured.p99_ms), (Some(20.0), Some(40.0)));
        assert_eq!(measured.cpu_ms_per_image, Some(125.0));
        assert_eq!(
            (measured.memory_mb, measured.peak_memory_mb),
            (Some(200.0), Some(300.0))
        );
        assert_eq!(measured.timings_ms.map(|stages| stages.infer), Some(2.0));

        let nothing = Row::new(None, 1, Tally::default(), usage(1.0), Usage::default());
        assert!(nothing.images_per_second.abs() < 1e-9);
        assert_eq!(
            (nothing.p99_ms, nothing.cpu_ms_per_image, nothing.memory_mb),
            (None, None, None)
        );
        assert!(text(&[nothing]).contains('-'));
    }

    #[test]
    fn what_has_no_score_is_listed_by_status_and_code() {
        let mut tally = Tally::default();
        for (status, code, count) in [
            (Some(503), Some("overloaded"), 12),
            (Some(422), Some("modality"), 1),
            (None, None, 2),
        ] {
            let kind = Kind {
                status,
                code: code.map(str::to_owned),
            };
            let message = "come back".to_owned();
            tally.unscored.insert(kind, Unscored { count, message });
        }
        let row = Row::new(None, 64, tally, Usage::default(), Usage::default());
        assert_eq!((row.refused, row.errors), (12, 3));
        let listed = [
            "concurrency  status     code        images  such as",
            "         64  no answer  -                2  come back",
            "         64  422        modality         1  come back",
            "         64  503        overloaded      12  come back",
        ];
        assert!(unscored(std::slice::from_ref(&row)).lines().eq(listed));
        let json = serde_json::to_value(&row).unwrap();
        let expected =
            serde_json::json!({ "status": 503, "code": "overloaded", "count": 12, "message": "come back" });
        assert_eq!(json["unscored"][2], expected);
        let with_settings = Row {
            settings: Some(Settings::cores(2)),
            ..row
        };
        assert!(unscored(&[with_settings]).contains("\ncores=2            64  no answer"));
        assert_eq!(unscored(&[self::row(1.0, 1.0, 0)]), "");
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let mut rows = vec![row(1234.5, 10.0, 0), row(1.0, 10.0, 3)];
        let lines = |rows: &[Row]| text(rows).lines().map(str::len).collect::<Vec<_>>();
        let widths = lines(&rows);
        assert!(widths.iter().all(|width| *width == widths[0]));
        rows[0].settings = Some(Settings {
            instances: Some(3),
            ..Settings::cores(2)
        });
        assert!(text(&rows).contains("\ncores=2 instances=3  "));
        let widths = lines(&rows);
        assert!(widths.iter().all(|width| *width == widths[0]));
    }
}
