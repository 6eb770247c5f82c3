//! Settings to try, the choice among them, and the configuration that says so.

use std::fmt::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use osteon::runtime::Device;
use serde::Serialize;

use super::table::{self, Row};

/// Settings of a server that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Settings {
    pub(super) cores: usize,
    /// On a GPU only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instances: Option<usize>,
}

impl fmt::Display for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cores={}", self.cores)?;
        match self.instances {
            Some(instances) => write!(formatter, " instances={instances}"),
            None => Ok(()),
        }
    }
}

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
            instances
                .iter()
                .map(move |&instances| Settings { cores, instances })
        })
        .collect()
}

/// The row with the most images a second among those whose p99 is within bounds, and which answered everything; of equals the
/// first.
pub(super) fn best(rows: &[Row], p99_ms: f64) -> Option<&Row> {
    let sound = |row: &&Row| {
        row.images > 0 && row.errors == 0 && row.refused == 0 && row.p99_ms.is_some_and(|p99| p99 <= p99_ms)
    };
    rows.iter().filter(sound).reduce(|best, row| {
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
    pub(super) device: Device,
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
    let file = File {
        models: at.models.as_ref(),
        onnxruntime: at.onnxruntime.as_ref(),
        device: at.device.to_string(),
        cores: settings.cores,
        instances: settings.instances,
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
    }

    #[test]
    fn the_file_is_a_configuration() {
        let settings = Settings {
            cores: 3,
            instances: Some(2),
        };
        let rows = [Row {
            settings: Some(settings),
            ..row(100.0, 50.0, 0)
        }];
        let at = Circumstances {
            model: "lungs version 2".to_owned(),
            models: Some("/srv/\"models\"".into()),
            onnxruntime: None,
            device: Device::Cuda(1),
            cores: 4,
            p99_ms: 2000.0,
            when: "2026-11-25 07:00 UTC".to_owned(),
            rows: &rows,
        };
        let text = configuration(settings, &at).unwrap();
        assert!(text.contains("2026-11-25 07:00 UTC"));
        assert!(text.contains("with 4 cores"));
        assert!(text.contains("#   cores=3 instances=2"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("osteon.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::resolve(Given::default(), Some(&path)).unwrap();
        assert_eq!((config.cores, config.instances), (3, 2));
        assert_eq!(config.device, Device::Cuda(1));
        assert_eq!(config.models, Path::new("/srv/\"models\""));
    }
}
