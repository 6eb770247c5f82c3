//! `osteon-train phantom`: an archive of synthetic radiographs as DICOM files, with their labels in a CSV.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use osteon::image::phantom::{COLUMNS, Genant, Phantom, ROWS, Recipe, to_dicom};
use rayon::prelude::*;

use crate::progress::bar;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon-train phantom --out phantoms --count 200 --seed 1 --preview phantoms.png\n\nThe CSV has the columns file, patient, osteoporosis, fracture, t_score, grade_1 to grade_3, age, female, site."
)]
pub(crate) struct Arguments {
    /// Folder to write: NNNNNN.dcm and labels.csv
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many radiographs, one for each patient
    #[arg(long, default_value_t = 200, value_name = "N")]
    count: u32,
    /// Seed of the archive: the same seed gives the same files; archives of different seeds share no patient
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    seed: u32,
    /// Height in pixels
    #[arg(long, default_value_t = ROWS, value_parser = clap::value_parser!(u16).range(64..=4096))]
    rows: u16,
    /// Width in pixels
    #[arg(long, default_value_t = COLUMNS, value_parser = clap::value_parser!(u16).range(64..=4096))]
    columns: u16,
    /// Also draw the first twelve on one sheet
    #[arg(long, value_name = "PNG")]
    preview: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("{} cannot be made", arguments.out.display()))?;
    let progress = bar("phantoms", u64::from(arguments.count));
    let lines: Vec<String> = (0..arguments.count)
        .into_par_iter()
        .map(|patient| {
            let line = write(arguments, patient);
            progress.inc(1);
            line
        })
        .collect::<Result<_, _>>()?;
    progress.finish();
    let csv = arguments.out.join("labels.csv");
    let mut file =
        std::fs::File::create(&csv).with_context(|| format!("{} cannot be written", csv.display()))?;
    writeln!(
        file,
        "file,patient,osteoporosis,fracture,t_score,grade_1,grade_2,grade_3,age,female,site"
    )?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    if let Some(path) = &arguments.preview {
        let sheet: Vec<Phantom> = (0..arguments.count.min(12))
            .map(|patient| recipe(arguments, patient).render())
            .collect();
        preview(path, &sheet)?;
    }
    Ok(())
}

/// Archive and patient are the two halves of a phantom's seed, so that no two archives share a patient.
fn recipe(arguments: &Arguments, patient: u32) -> Recipe {
    Recipe::new(
        u64::from(arguments.seed) << 32 | u64::from(patient),
        arguments.rows,
        arguments.columns,
    )
}

fn write(arguments: &Arguments, patient: u32) -> anyhow::Result<String> {
    let phantom = recipe(arguments, patient).render();
    let name = format!("{patient:06}.dcm");
    let object = to_dicom(&phantom, u64::from(arguments.seed), patient, 0)?;
    let path = arguments.out.join(&name);
    object
        .write_to_file(&path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    let truth = &phantom.truth;
    let [first, second, third] = truth.grades.map(Genant::number);
    Ok(format!(
        "{name},P{:03}-{patient:06},{},{},{:.2},{first},{second},{third},{},{},{}",
        arguments.seed,
        u8::from(truth.osteoporosis),
        u8::from(truth.fracture),
        truth.t_score,
        truth.age_years,
        u8::from(truth.sex == osteon::image::phantom::Sex::Female),
        truth.site
    ))
}

/// Four in a row, at half their size.
fn preview(path: &Path, phantoms: &[Phantom]) -> anyhow::Result<()> {
    const ACROSS: usize = 4;
    let Some(first) = phantoms.first() else {
        return Ok(());
    };
    let (rows, columns) = (usize::from(first.rows) / 2, usize::from(first.columns) / 2);
    let down = phantoms.len().div_ceil(ACROSS);
    let width = ACROSS * columns;
    let mut sheet = vec![0_u8; down * rows * width];
    for (index, phantom) in phantoms.iter().enumerate() {
        let (top, left) = (index / ACROSS * rows, index % ACROSS * columns);
        for row in 0..rows {
            for column in 0..columns {
                let at = |down, across| {
                    u32::from(
                        phantom.pixels[(2 * row + down) * usize::from(phantom.columns) + 2 * column + across],
                    )
                };
                let mean = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4;
                sheet[(top + row) * width + left + column] = (mean >> 4) as u8;
            }
        }
    }
    image::save_buffer(
        path,
        &sheet,
        width as u32,
        (down * rows) as u32,
        image::ExtendedColorType::L8,
    )
    .with_context(|| format!("{} cannot be written", path.display()))
}
