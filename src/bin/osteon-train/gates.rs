//! The gates of a package on the terminal, and the one that needs the run.

use std::path::Path;

use anyhow::Context;
use osteon::model::Package;
use osteon::runtime::Runtime;
use osteon::train::assess::gallery::Gallery;
use osteon::train::export::Answering;
use osteon::train::export::comparison::Comparison;
use osteon::train::export::verify::{Gate, Unmet, test_set};
use osteon::train::run::Wanted;

use crate::progress::bar;

/// Both networks on the held-out patients of the run; its table may have been `moved`. The `gallery` gets to see what the exported one says.
pub(crate) fn on_held_out(
    answering: &Answering,
    package: &Package,
    moved: Option<&Path>,
    runtime: &Runtime,
    mut gallery: Option<&mut Gallery>,
) -> anyhow::Result<Vec<Gate>> {
    let images = answering.images(moved).map_err(anyhow::Error::msg)?;
    let count = images.len(Wanted::HELD_OUT);
    let mut comparison = Comparison::new(answering, runtime, &package.model, &package.manifest, count)
        .map_err(anyhow::Error::msg)?;
    let progress = bar("comparing", count as u64);
    images
        .visit(
            Wanted::HELD_OUT,
            &package.manifest.preprocessing,
            || progress.inc(1),
            |few| {
                let answers = comparison.add(few.samples)?;
                match &mut gallery {
                    Some(gallery) => gallery.offer(&few, &answers),
                    None => Ok(()),
                }
            },
        )
        .map_err(anyhow::Error::msg)
        .context("the networks cannot be compared on the held-out patients")?;
    progress.finish_and_clear();
    Ok(test_set(package, &comparison, runtime))
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
pub(crate) fn print(gates: &[Gate]) {
    let width = gates.iter().map(|gate| gate.name.len()).max().unwrap_or(0);
    let (mut passed, mut failed) = (0, 0);
    for gate in gates {
        let mark = match &gate.result {
            Ok(_) => {
                passed += 1;
                "pass"
            }
            Err(Unmet::Fails(_)) => {
                failed += 1;
                "FAIL"
            }
            Err(Unmet::Lacks(_)) => "skip",
        };
        let said = match &gate.result {
            Ok(figure) => figure.clone(),
            Err(unmet) => unmet.to_string(),
        };
        println!("{mark}  {:<width$}  {said}", gate.name);
    }
    let skipped = gates.len() - passed - failed;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
}
