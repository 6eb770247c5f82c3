//! `osteon-train deidentify`: an archive of images becomes one that names nobody.
//!
//! Invariant: nothing that is printed or reported holds a value or a path of the input, nor a UID that was not to be retained. Files
//! go by their number in the sorted list of inputs; the UID map, which is as secret as the key, has their paths.

mod arguments;
mod files;
mod report;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use osteon::deidentify::{Deidentified, Deidentifier, Key, MaskRule, Options, Terms, mask_rules};
use rayon::prelude::*;

pub(crate) use arguments::Arguments;
use report::{Entry, Outcome, Run};

use crate::fit::text;
use crate::progress::bar;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // a report that cannot be written is known before hours of work, not after
    for path in [&arguments.report, &arguments.uid_map].into_iter().flatten() {
        anyhow::ensure!(
            !path.exists(),
            "{} is there already: nothing is overwritten",
            path.display()
        );
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        anyhow::ensure!(
            folder.is_none_or(Path::is_dir),
            "the folder of {} is not there: make it first",
            path.display()
        );
    }
    anyhow::ensure!(
        arguments.report.is_none() || arguments.report != arguments.uid_map,
        "--report and --uid-map name one file: the report may be shown to others, the map may not"
    );
    let deidentifier = deidentifier(arguments)?;
    let inputs = files::inputs(&arguments.inputs)?;
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("{} cannot be made", arguments.out.display()))?;

    let progress = bar("files", inputs.len() as u64);
    let done: Vec<_> = inputs
        .par_iter()
        .enumerate()
        .map(|(index, input)| {
            let result = one(&deidentifier, input, &arguments.out);
            progress.inc(1);
            Entry::new(index + 1, result)
        })
        .collect();
    progress.finish_and_clear();

    let run = Run::of(&inputs, done);
    if let Some(path) = &arguments.uid_map {
        files::write_secret(path, run.secrets_json()?.as_bytes())?;
    }
    if let Some(path) = &arguments.report {
        files::write_new(path, run.report_json()?.as_bytes())
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    run.print();
    Ok(if run.all_written() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn deidentifier(arguments: &Arguments) -> anyhow::Result<Deidentifier> {
    let options = Options::new(arguments.options()?)?;
    let terms = match &arguments.terms {
        Some(path) => Terms::with(&text(path)?),
        None => Terms::default(),
    };
    let masks: Vec<MaskRule> = match &arguments.mask_rules {
        Some(path) => {
            mask_rules::parse(&text(path)?).with_context(|| format!("{} is not usable", path.display()))?
        }
        None => Vec::new(),
    };
    // last, so that no mistake above leaves a key behind
    let key = key(&arguments.key_file, arguments.new_key)?;
    Ok(Deidentifier::new(key, options)
        .with_terms(terms)
        .with_private(arguments.keep_private.iter().cloned())
        .with_masks(masks))
}

/// Reads the key, or makes one.
pub(crate) fn key(path: &Path, new: bool) -> anyhow::Result<Key> {
    if !new {
        return Key::parse(&text(path)?)
            .with_context(|| format!("{} holds no key: --new-key makes one", path.display()));
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the system gives no random numbers for a key")?;
    let key = Key::new(bytes);
    files::write_secret(path, format!("{}\n", key.to_hex()).as_bytes())?;
    Ok(key)
}

/// De-identifies one file; what went wrong is said without naming it.
fn one(deidentifier: &Deidentifier, input: &Path, out: &Path) -> Outcome {
    let Ok(bytes) = std::fs::read(input) else {
        return Outcome::Failed("it cannot be read".to_owned());
    };
    let new: Deidentified = match deidentifier.file(Bytes::from(bytes)) {
        Ok(new) => new,
        Err(refusal) => return Outcome::refused(&refusal),
    };
    let name = format!("{}.dcm", new.uid);
    match files::write_new(&out.join(&name), &new.file) {
        Ok(()) => Outcome::Written {
            file: name,
            report: new.report,
            uids: new.uids,
        },
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Outcome::Failed(format!(
            "{name} is there already: nothing is overwritten, and two files with one SOP Instance UID are one image"
        )),
        Err(_) => Outcome::Failed(format!("{name} cannot be written")),
    }
}
