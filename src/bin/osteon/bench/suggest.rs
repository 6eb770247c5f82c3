//! Settings to try, the choice among them, and the configuration that says so.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use osteon::runtime::{Device, Devices};
use serde::Serialize;

use super::settings::Settings;
use super::table::{self, Row};

/// What is tried on a machine with so many cores.
pub(super) fn candidates(cores: usize, device: Device) -> Vec<Settings> {
    let mut counts = vec![(cores / 2).max(1), cores.max(1)];
    counts.dedup();
    let instances: &[Option<usize>] = match device {
        Device::Cpu => &[None],
        Device::Cuda(_) => &[Some(1), Some(2), Some(3)],
    };
    counts
        .into_iter()
        .flat_map(|cores| {
            instances.iter().map(move |&instances| Settings {
                instances,
                ..Settings::cores(cores)
            })
        })
        .collect()
}

/// The same settings with a longer line, for those among `measured` that served best, where callers were turned away by them. One
/// client gets three quarters of the places: so many that all callers of the highest level fit in.
pub(super) fn roomier(measured: &[Vec<Row>], p99_ms: f64) -> Option<Settings> {
    let rows = || measured.iter().flatten();
    let row = best(rows(), p99_ms).or_else(|| fastest(rows()))?;
    let settings = row.settings?;
    let turned_away = |row: &Row| row.settings == Some(settings) && row.refused > 0;
    let callers = rows()
        .filter(|row| turned_away(row))
        .map(|row| row.concurrency)
        .max()?;
    Some(Settings {
        queue: Some((callers * 4).div_ceil(3).next_power_of_two()),
        ..settings
    })
}

/// The row whose settings are suggested. A longer line is worth its memory only where more levels are served well with it than
/// without.
pub(super) fn chosen(measured: &[Vec<Row>], p99_ms: f64) -> Option<&Row> {
    let queue = |levels: &[Row]| levels.first()?.settings?.queue;
    let (roomier, usual): (Vec<_>, Vec<_>) = measured.iter().partition(|levels| queue(levels).is_some());
    let sound = |levels: &[Row]| levels.iter().filter(|row| is_sound(row, p99_ms)).count();
    let without = |levels: &[Row]| {
        let settings = levels.first().and_then(|row| row.settings);
        let settings = settings.map(|settings| Settings {
            queue: None,
            ..settings
        });
        let same = usual
            .iter()
            .find(|usual| usual.first().is_some_and(|row| row.settings == settings));
        same.map_or(0, |levels| sound(levels))
    };
    let helped = roomier.into_iter().find(|levels| sound(levels) > without(levels));
    match helped {
        Some(levels) => best(levels, p99_ms),
        None => best(usual.into_iter().flatten(), p99_ms),
    }
}

/// The level that speaks for a setting: its best, or its fastest where none is good enough.
pub(super) fn typical(levels: &[Row], p99_ms: f64) -> Option<&Row> {
    best(levels, p99_ms).or_else(|| fastest(levels))
}

/// Whether it answered everything, and in time.
fn is_sound(row: &Row, p99_ms: f64) -> bool {
    row.images > 0 && row.errors == 0 && row.refused == 0 && row.p99_ms.is_some_and(|p99| p99 <= p99_ms)
}

/// The fastest of the sound rows.
fn best<'a>(rows: impl IntoIterator<Item = &'a Row>, p99_ms: f64) -> Option<&'a Row> {
    fastest(rows.into_iter().filter(|row| is_sound(row, p99_ms)))
}

/// The row with the most images a second; of equals the first.
fn fastest<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Option<&'a Row> {
    rows.into_iter().reduce(|best, row| {
        if row.images_per_second > best.images_per_second {
            row
        } else {
            best
        }
    })
}

/// Under what the suggestion was measured.
pub(super) struct Circumstances<'a> {
    pub(super) model: String,
    pub(super) models: Option<PathBuf>,
    pub(super) onnxruntime: Option<PathBuf>,
    pub(super) device: Devices,
    pub(super) cores: usize,
    pub(super) p99_ms: f64,
    pub(super) when: String,
    /// One for each of the settings.
    pub(super) rows: &'a [Row],
}

/// The file: what was measured as a comment, then the settings.
///
/// # Errors
/// Where a path has characters that no TOML file can hold.
pub(super) fn configuration(settings: Settings, at: &Circumstances) -> anyhow::Result<String> {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct File<'a> {
        models: Option<&'a PathBuf>,
        onnxruntime: Option<&'a PathBuf>,
        device: String,
        cores: usize,
        instances: Option<usize>,
        queue: Option<usize>,
    }
    let mut text = format!(
        "# Written by `osteon bench --suggest` on {} for `osteon serve --config`.\n\
         # Measured with {} on {}, on a machine with {} cores: of each setting its best level of concurrency, and of these the\n\
         # most images a second with a p99 of at most {} ms and without refusals or errors.\n#\n",
        at.when, at.model, at.device, at.cores, at.p99_ms
    );
    for line in table::text(at.rows).lines() {
        // writing to a string cannot fail
        let _ = writeln!(text, "#   {}", line.trim_end());
    }
    if settings.queue.is_some() {
        text.push_str("#\n# queue: with the usual number of places callers were turned away whom these settings serve.\n");
    }
    let file = File {
        models: at.models.as_ref(),
        onnxruntime: at.onnxruntime.as_ref(),
        device: at.device.to_string(),
        cores: settings.cores,
        instances: settings.instances,
        queue: settings.queue,
    };
    text.push('\n');
    text.push_str(&toml::to_string(&file).context("the configuration cannot be written as TOML")?);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use osteon::config::{Config, Given};

    use super::super::table::tests::row;
    use super::*;

    #[test]
    fn half_and_all_cores_are_tried_and_on_a_gpu_instances_too() {
        let cores = |count| {
            let tried = candidates(count, Device::Cpu);
            tried.iter().map(|settings| settings.cores).collect::<Vec<_>>()
        };
        assert_eq!(cores(16), [8, 16]);
        assert_eq!(cores(3), [1, 3]);
        assert_eq!(cores(1), [1]);
        let on_gpu = candidates(4, Device::Cuda(0));
        assert_eq!(on_gpu.len(), 6);
        assert_eq!(on_gpu[5].to_string(), "cores=4 instances=3");
    }

    #[test]
    fn the_fastest_sound_row_is_chosen() {
        let refused = Row {
            refused: 1,
            ..row(300.0, 10.0, 0)
        };
        let rows = [
            row(100.0, 50.0, 0),
            row(200.0, 2000.0, 0),
            row(250.0, 2000.1, 0),
            row(400.0, 10.0, 1),
            refused,
            row(200.0, 10.0, 0),
        ];
        assert_eq!(best(&rows, 2000.0), Some(&rows[1]));
        assert_eq!(best(&rows, 60.0), Some(&rows[5]));
        assert_eq!(best(&rows, 1.0), None);
        assert_eq!(best(&[], 1.0), None);
        // what is shown of settings that never served well is still the fastest
        assert_eq!(typical(&rows, 1.0), Some(&rows[3]));
    }

    /// Levels of 64 and of 300 callers.
    fn levels(settings: Settings, images_per_second: f64, refused: u64) -> Vec<Row> {
        let settings = Some(settings);
        let level = |concurrency, refused| Row {
            settings,
            concurrency,
            refused,
            ..row(images_per_second, 100.0, 0)
        };
        vec![level(64, 0), level(300, refused)]
    }

    #[test]
    fn a_longer_line_is_tried_where_callers_were_turned_away_and_kept_where_it_helps() {
        let (one, two) = (Settings::cores(1), Settings::cores(2));
        let usual = [levels(one, 50.0, 0), levels(two, 100.0, 7)];
        let more = roomier(&usual, 2000.0).unwrap();
        assert_eq!(more.to_string(), "cores=2 queue=512");
        // the settings that serve best turned nobody away
        assert_eq!(
            roomier(&[levels(one, 150.0, 0), levels(two, 100.0, 7)], 2000.0),
            None
        );
        // nothing was good enough: the fastest is made better
        assert_eq!(roomier(&usual, 1.0), Some(more));
        assert_eq!(roomier(&[], 1.0), None);

        let with = |levels| {
            let measured = [usual.to_vec(), vec![levels]].concat();
            chosen(&measured, 2000.0).and_then(|row| row.settings)
        };
        // though it is slower at the level that both serve
        assert_eq!(with(levels(more, 90.0, 0)), Some(more));
        assert_eq!(with(levels(more, 110.0, 3)), Some(two));
        assert_eq!(chosen(&usual, 1.0), None);
    }

    #[test]
    fn the_file_is_a_configuration() {
        let settings = Settings {
            cores: 3,
            instances: Some(2),
            queue: Some(512),
        };
        let rows = [Row {
            settings: Some(settings),
            ..row(100.0, 50.0, 0)
        }];
        let at = Circumstances {
            model: "lungs version 2".to_owned(),
            models: Some("/srv/\"models\"".into()),
            onnxruntime: None,
            device: Device::Cuda(1).into(),
            cores: 4,
            p99_ms: 2000.0,
            when: "2026-11-25 07:00 UTC".to_owned(),
            rows: &rows,
        };
        let text = configuration(settings, &at).unwrap();
        assert!(text.contains("2026-11-25 07:00 UTC"));
        assert!(text.contains("with 4 cores"));
        assert!(text.contains("#   cores=3 instances=2 queue=512"));
        assert!(text.contains("# queue: "));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("osteon.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::resolve(Given::default(), Some(&path)).unwrap();
        assert_eq!((config.cores, config.instances, config.queue), (3, 2, 512));
        assert_eq!(config.device, Device::Cuda(1).into());
        assert_eq!(config.models, Path::new("/srv/\"models\""));
    }
}
