//! `osteon-train compare`: whether one run is better than another, before anyone says that something helps.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use osteon::train::assess::compare::{compare, table};
use osteon::train::run::RunFolder;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon-train compare runs/scratch runs/pretrained\n\nBoth must have the same table and questions, and hold out images in common: the same seed and --validation, or a column split. An\ninterval of the difference that holds 0 says that these images do not tell; p is of DeLong's test, by patients. With several\ncomparisons some differ by chance."
)]
pub(crate) struct Arguments {
    /// Folder of a finished run
    first: PathBuf,
    /// Folder of another one
    second: PathBuf,
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let read = |path: &PathBuf| -> anyhow::Result<_> {
        let run = RunFolder { path: path.clone() };
        ensure!(run.is_finished(), "{} holds no finished run", path.display());
        let (recipe, _) = run.told().with_context(|| path.display().to_string())?;
        let (record, _) = run.outcome().with_context(|| path.display().to_string())?;
        Ok((recipe.heads(), record))
    };
    let ((heads, first), (others, second)) = (read(&arguments.first)?, read(&arguments.second)?);
    ensure!(heads == others, "the two runs were trained for other questions");
    let compared = compare(&heads, &first, &second).map_err(anyhow::Error::msg)?;
    ensure!(
        !compared.is_empty(),
        "no question has an answer of either kind among the images that both held out"
    );
    print!("{}", table(&compared));
    Ok(())
}
