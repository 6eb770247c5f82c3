//! What a level came to, and the table of all levels.

use std::fmt::Write;

use serde::Serialize;

use super::client::Usage;
use super::load::{Stages, Tally};
use super::suggest::Settings;

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
    /// Means over the images.
    pub(super) timings_ms: Option<Stages>,
    pub(super) refused: u64,
    pub(super) errors: u64,
    /// What the first error said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
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
            memory_mb: after.resident_bytes.map(|bytes| bytes / 1e6),
            timings_ms: (images > 0)
                .then(|| tally.stages.with(Stages::default(), |sum, _| sum / images as f64)),
            refused: tally.refused,
            errors: tally.errors,
            error: tally.error,
        }
    }
}

/// The smallest value that so many of a hundred do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

const HEADINGS: [&str; 13] = [
    "concurrency",
    "images/s",
    "p50 ms",
    "p99 ms",
    "CPU ms/image",
    "memory MB",
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
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in &lines {
        for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let gap = if index == 0 { "" } else { "  " };
            // writing to a string cannot fail
            let _ = if index == 0 && with_settings {
                write!(text, "{cell:<width$}")
            } else {
                write!(text, "{gap}{cell:>width$}")
            };
        }
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
            timings_ms: Some(Stages::default()),
            refused: 0,
            errors,
            error: None,
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
        assert_eq!(measured.memory_mb, Some(200.0));
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
    fn columns_stand_under_their_headings() {
        let mut rows = vec![row(1234.5, 10.0, 0), row(1.0, 10.0, 3)];
        let lines = |rows: &[Row]| text(rows).lines().map(str::len).collect::<Vec<_>>();
        let widths = lines(&rows);
        assert!(widths.iter().all(|width| *width == widths[0]));
        rows[0].settings = Some(Settings {
            cores: 2,
            instances: Some(3),
        });
        assert!(text(&rows).contains("\ncores=2 instances=3  "));
        let widths = lines(&rows);
        assert!(widths.iter().all(|width| *width == widths[0]));
    }
}
