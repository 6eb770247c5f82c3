//! `osteon-train export`: a run becomes a package, and a package that passes its gates appears in the models folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use osteon::model::package::{MODEL, Staged};
use osteon::model::{NumberFormat, Package};
use osteon::runtime::{Device, Engine, Runtime};
use osteon::train::assess::gallery::Gallery;
use osteon::train::assess::{Assessment, assess, card::card, covariates};
use osteon::train::data::index::load;
use osteon::train::export::Answering;
use osteon::train::export::description::{Description, read_description};
use osteon::train::export::features;
use osteon::train::export::package::{Draft, draft};
use osteon::train::export::reduced;
use osteon::train::export::samples::samples;
use osteon::train::export::verify::{Gate, Unmet, verify};
use osteon::train::run::{RunFolder, RunImages};

use crate::gates::{on_held_out, print};
use crate::progress::bar;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train export --run runs/first --description recipes/spine-osteoporosis-phantom/package.json --models models \\\n      --golden sample.dcm=phantoms/000000.dcm \\\n      --test test-phantoms/labels.csv --test-description '1,000 unseen phantoms, seed 2'\n  osteon-train export --run runs/first --description package.json --precision int8 --golden a.dcm=a.dcm --golden b.dcm=b.png\n\nThe description (docs/training.md has all fields):\n  { \"name\": \"hip-fracture\", \"version\": 1, \"title\": \"Fracture of the hip\", \"notice\": \"For research only.\", \"licence\": \"Apache-2.0\",\n    \"intended_use\": { \"statement\": \"Frontal radiographs of the pelvis or hip of adults.\", \"clinical\": false,\n                      \"modalities\": [\"DX\", \"CR\"], \"body_parts\": [\"HIP\", \"PELVIS\"], \"views\": [\"AP\", \"PA\"], \"age_years\": [18, 120] },\n    \"labels\": [{ \"name\": \"fracture\", \"code\": { \"scheme\": \"SCT\", \"value\": \"5913000\", \"meaning\": \"Fracture of neck of femur\" },\n                 \"sensitivity\": 0.95 }] }"
)]
pub(crate) struct Arguments {
    /// Folder of the run; several answer together, with the mean of their answers
    #[arg(long = "run", value_name = "DIR", required = true)]
    runs: Vec<PathBuf>,
    /// Where the table of the run's images is now, if it was moved since the training; it has to be the same file
    #[arg(long, value_name = "CSV")]
    labels: Option<PathBuf>,
    /// Average what is said of an image and of its mirror image; the recipe must allow horizontal flips
    #[arg(long)]
    mirror: bool,
    /// Name, notice, intended use and label codes
    #[arg(long, value_name = "JSON")]
    description: PathBuf,
    /// Folder of models
    #[arg(long, default_value = "models", value_name = "DIR")]
    models: PathBuf,
    /// Images that go into the package as golden cases: DICOM, of which a copy that names nobody is made, PNG or JPEG. Pixels are not
    /// looked at: see that nothing is written in them
    #[arg(long = "golden", required = true, value_name = "NAME=FILE", value_parser = named_file)]
    goldens: Vec<(String, PathBuf)>,
    /// CSV of a test set that training never saw, for the model card: of a table with a column split its part test. What the run saw is
    /// refused
    #[arg(long, value_name = "CSV", requires = "test_description")]
    test: Option<PathBuf>,
    /// In words, where the test set comes from
    #[arg(long, value_name = "TEXT")]
    test_description: Option<String>,
    /// How numbers are kept: fp16 halves the file, int8 quarters it and is faster; both are refused where they move what is said of the
    /// held-out patients too far
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    precision: Precision,
    /// DICOM radiographs of the usual size, for a contract that allows lower resolutions of JPEG 2000: what those do to their scores
    /// is measured
    #[arg(long, value_name = "FILE", num_args = 1..)]
    images: Vec<PathBuf>,
    /// Leave out embedding.json, by which a server refuses images unlike those of the training; for a run whose images are gone
    #[arg(long)]
    without_statistics: bool,
    /// Replace a version that is already there
    #[arg(long)]
    replace: bool,
    /// The ONNX Runtime shared library [default: searched for]
    #[arg(long, env = "OSTEON_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

/// How numbers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Precision {
    /// 32-bit floats, as trained
    #[default]
    Fp32,
    /// 16-bit floats, from which 32-bit floats are made when the file is loaded
    Fp16,
    /// Convolutions in 8 bits, for processors
    Int8,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text
        .split_once('=')
        .ok_or("write it as NAME=FILE, for example sample.dcm=images/1.dcm")?;
    Ok((name.to_owned(), file.into()))
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = Runtime::open(arguments.onnxruntime.as_deref(), Device::Cpu)?;
    let description = read_description(&arguments.description).map_err(anyhow::Error::msg)?;
    let Description { name, version, .. } = &description;
    Staged::check_free(&arguments.models, name, *version, arguments.replace)?;
    let mut images = BTreeMap::new();
    for (name, file) in &arguments.goldens {
        let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        images.insert(name.clone(), bytes);
    }
    let goldens = samples(&images).map_err(anyhow::Error::msg)?;
    for warning in &goldens.warnings {
        eprintln!("{warning}: look at it before the package leaves the house");
    }
    let run = |path: &PathBuf| RunFolder { path: path.clone() };
    let runs: Vec<RunFolder> = arguments.runs.iter().map(run).collect();
    let answering = Answering::read(&runs, arguments.mirror).map_err(anyhow::Error::msg)?;
    let mut draft = draft(&answering, &description, &goldens.files).map_err(anyhow::Error::msg)?;

    let moved = arguments.labels.as_deref();
    let format = match arguments.precision {
        Precision::Fp32 => None,
        Precision::Fp16 => Some(NumberFormat::Fp16),
        Precision::Int8 => Some(NumberFormat::Int8),
    };
    if let Some(format) = format {
        reduce(&mut draft, format, &answering, moved, &runtime)?;
    }
    if draft.manifest.embedding.is_some() && !arguments.without_statistics {
        add_statistics(&mut draft, &answering, moved, &runtime)?;
    }
    let assessment = match &arguments.test {
        Some(csv) => assessed(csv, &draft, &answering, moved, &runtime)?,
        None => Assessment::default(),
    };
    for warning in &draft.held_out.warnings {
        eprintln!("{warning}");
    }
    let card = card(
        &draft.manifest,
        &draft.held_out,
        &assessment,
        arguments.test_description.as_deref().unwrap_or_default(),
    );
    draft.files.insert("model-card.md".to_owned(), card.into_bytes());
    let heads = draft.manifest.heads.clone();
    let staged = Staged::write(&arguments.models, draft.manifest, &draft.files, arguments.replace)?;
    let mut gallery = Gallery::new(&heads);
    let gates = proven(&staged, &answering, arguments, &runtime, &mut gallery);
    print(&gates);
    hang(&gallery, &answering.first().run);
    let failed: Vec<&Gate> = gates.iter().filter(|gate| gate.fails()).collect();
    if !failed.is_empty() {
        eprintln!("nothing is published, as the package does not pass its gates:");
        for gate in failed {
            if let Err(unmet) = &gate.result {
                eprintln!("  {}: {unmet}", gate.name);
            }
        }
        return Ok(ExitCode::FAILURE);
    }
    let package = staged.publish()?;
    eprintln!(
        "{} holds the package, digest {}",
        package.folder.display(),
        package.digest
    );
    Ok(ExitCode::SUCCESS)
}

/// The gates of `package verify`, and the comparison with the run where its held-out images can be had.
fn proven(
    staged: &Staged,
    answering: &Answering,
    arguments: &Arguments,
    runtime: &Runtime,
    gallery: &mut Gallery,
) -> Vec<Gate> {
    let mut gates = verify(&staged.folder(), &arguments.images, runtime);
    // what cannot be opened is a gate that failed
    let Ok(package) = Package::open(&staged.folder()) else {
        return gates;
    };
    let moved = arguments.labels.as_deref();
    // of a cross-validation no image was held out by all, and images may be gone
    let may_lack = arguments.without_statistics || answering.images(moved).is_err();
    match on_held_out(answering, &package, moved, runtime, Some(gallery)) {
        Ok(more) => gates.extend(more),
        Err(reason) => gates.push(Gate {
            name: "test set".to_owned(),
            result: Err(if may_lack {
                Unmet::Lacks(format!("{reason:#}"))
            } else {
                Unmet::Fails(format!("{reason:#}"))
            }),
        }),
    }
    gates
}

/// Puts what the network looks at into the run's folder, and not into the package, which others get. A folder that cannot be written keeps
/// nobody from exporting.
fn hang(gallery: &Gallery, run: &RunFolder) {
    for (number, (label, sheet)) in gallery.sheets().into_iter().enumerate() {
        let plain = |letter: char| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        };
        let name: String = label.chars().map(plain).collect();
        let file = run.path.join(format!("saliency-{}-{name}.png", number + 1));
        let png = sheet.png();
        let written = png.and_then(|png| std::fs::write(&file, png).map_err(|error| error.to_string()));
        let file = file.display();
        match written {
            Ok(()) => eprintln!("{file} shows where the network looks, on held-out images"),
            Err(error) => eprintln!("{file} cannot be written: {error}"),
        }
    }
    if gallery.hidden() > 0 {
        eprintln!(
            "{} images are not shown: something may be written in their pixels",
            gallery.hidden()
        );
    }
}

/// Puts the weights into fewer bits, if the held-out patients allow it.
fn reduce(
    draft: &mut Draft,
    format: NumberFormat,
    answering: &Answering,
    moved: Option<&Path>,
    runtime: &Runtime,
) -> anyhow::Result<()> {
    let images = answering
        .images(moved)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("{} has to be tried on held-out patients", format.name()))?;
    let progress = bar("comparing", reduced::steps(format, &images) as u64);
    let said = reduced::reduce(draft, format, answering, &images, runtime, || progress.inc(1))
        .map_err(anyhow::Error::msg)?;
    progress.finish_and_clear();
    for (label, figures) in said {
        eprintln!("{}, {label}: {figures}", format.name());
    }
    Ok(())
}

fn add_statistics(
    draft: &mut Draft,
    answering: &Answering,
    moved: Option<&Path>,
    runtime: &Runtime,
) -> anyhow::Result<()> {
    let first = answering.first();
    let gone = "the statistics of the embedding need the run's images (--labels says where their table was moved to, --without-statistics leaves the statistics out)";
    let images = RunImages::find(&first.run, &first.recipe, &first.record, moved)
        .map_err(anyhow::Error::msg)
        .context(gone)?;
    let progress = bar("features", features::steps(&images) as u64);
    features::add_statistics(draft, answering, &images, runtime, || progress.inc(1))
        .map_err(anyhow::Error::msg)
        .context(gone)?;
    progress.finish_and_clear();
    Ok(())
}

/// How good the network is on the test set that `csv` lists.
fn assessed(
    csv: &Path,
    draft: &Draft,
    answering: &Answering,
    moved: Option<&Path>,
    runtime: &Runtime,
) -> anyhow::Result<Assessment> {
    let covariates = covariates();
    let seen = answering.seen(moved).map_err(anyhow::Error::msg)?;
    let rows = seen.test_rows(csv, &covariates).map_err(anyhow::Error::msg)?;
    let contract = &draft.manifest.preprocessing;
    let reading = bar("reading", rows.len() as u64);
    let labelled = load(csv, rows, contract, || reading.inc(1))?;
    reading.finish_and_clear();
    let model = draft.files.get(MODEL).context("the draft has no model")?;
    let mut engine = Engine::load(runtime, model, &draft.manifest)?;
    let scoring = bar("scoring", labelled.samples.len() as u64);
    let heads = &draft.manifest.heads;
    let assessment = assess(&mut engine, contract, heads, &labelled, &covariates, || {
        scoring.inc(1);
    })
    .map_err(anyhow::Error::msg)?;
    scoring.finish_and_clear();
    for assessed in &assessment.labels {
        let area = &assessed.auroc;
        eprintln!(
            "{}: AUROC {:.3} [{:.3}, {:.3}] on {} images",
            assessed.label, area.value, area.lower, area.upper, assessed.images
        );
    }
    for (label, reason) in &assessment.left_out {
        eprintln!("{label}: nothing is known: {reason}");
    }
    Ok(assessment)
}
