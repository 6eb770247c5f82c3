//! `osteon-train plot`: the log of a training as curves.

use std::path::Path;

use anyhow::Context;
use osteon::train::learn::{curves, log, progress::names};
use osteon::train::plot::{Chart, svg};
use osteon::train::run::RunFolder;

/// Draws `curves.svg` in the folder of a run, which may still be under way.
pub(crate) fn run(path: &Path) -> anyhow::Result<()> {
    let run = RunFolder {
        path: path.to_owned(),
    };
    let (recipe, _) = run.told()?;
    let lines = log::read(&run.log_path()).context("log.jsonl of the run cannot be read")?;
    draw(&curves::charts(&lines, &names(&recipe)), &path.join("curves.svg"))
}

/// Writes charts to a file.
pub(crate) fn draw(charts: &[Chart], path: &Path) -> anyhow::Result<()> {
    write(svg(charts), path)
}

/// Writes what was drawn to a file.
pub(crate) fn write(drawn: Result<String, String>, path: &Path) -> anyhow::Result<()> {
    let text = drawn.map_err(anyhow::Error::msg)?;
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    eprintln!("{} shows it", path.display());
    Ok(())
}
