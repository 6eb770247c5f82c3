//! `osteon-train index`: folders, public sets or an archive become one table, with what is wrong with it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use indicatif::ProgressBar;
use osteon::train::data::archive::{Archive, Credentials};
use osteon::train::data::index::{IMAGES, Job, Summary, Watch, build};
use osteon::train::learn::Recipe;

use crate::deidentify::key;
use crate::fit::{contract, text};
use crate::progress::bar;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train index --in archive --labels labels.csv --key-file secret.key --new-key --out index\n  osteon-train index --in MURA-v1.1 --key-file secret.key --out index --recipe fit.json\n  osteon-train index --archive https://pacs.example/dicom-web --query ModalitiesInStudy=DX --token-file token --key-file secret.key --out index\n  osteon-train start --labels index/images.csv --out my-recipe\n\nRunning the same command again goes on where it stopped: after a kill, a full disk, new files or new labels. Only what is new is read.\n\nA CSV of labels says which image a line is about in a column file, sop_instance_uid, study_instance_uid, accession_number or patient_id;\nthe columns patient, age, sex, body_part, view, laterality, site and split count more than the header, all others are labels.\nMURA, NIH ChestX-ray14, RSNA bone age, VinDr-SpineXR, PadChest and MedMNIST (.npz) are recognised by their own tables.\n\nimages.csv and report.html name nobody. work.jsonl, files.csv, left-out.csv and names.csv are as secret as the key.\nIt ends with a failure if the split that the labels give puts a patient, or one picture, on two sides."
)]
pub(crate) struct Arguments {
    /// Files, or folders with all that is in them: DICOM, PNG, JPEG, and .npz as MedMNIST has them
    #[arg(long = "in", required_unless_present = "archive", num_args = 1.., value_name = "PATH")]
    inputs: Vec<PathBuf>,
    /// The DICOMweb services of an archive, instead of files (QIDO-RS and WADO-RS)
    #[arg(long, value_name = "URL", conflicts_with = "inputs")]
    archive: Option<String>,
    /// What studies of the archive have to match, such as ModalitiesInStudy=DX or StudyDate=20200101-20231231
    #[arg(long, value_name = "KEY=VALUE", requires = "archive", value_parser = pair)]
    query: Vec<(String, String)>,
    /// File with a token that is sent with each request to the archive
    #[arg(long, value_name = "FILE", requires = "archive", conflicts_with = "user")]
    token_file: Option<PathBuf>,
    /// User for Basic authentication at the archive
    #[arg(long, value_name = "NAME", requires_all = ["archive", "password_file"])]
    user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// CSV with labels; may be given several times, and what the first says counts
    #[arg(long, value_name = "CSV")]
    labels: Vec<PathBuf>,
    /// The key of pseudonyms and codes, the same as for deidentify: 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Make the key file first; it must not be there
    #[arg(long)]
    new_key: bool,
    /// Folder of the index
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Modalities of DICOM images that are taken
    #[arg(long, value_delimiter = ',', default_value = "CR,DX,RG", value_name = "LIST")]
    modality: Vec<String>,
    /// Also fill the cache for a recipe of fit, so that training decodes nothing
    #[arg(long, value_name = "JSON")]
    recipe: Option<PathBuf>,
    /// How images become the network's input [default: as fit does it for the recipe]
    #[arg(long, value_name = "JSON", requires = "recipe")]
    preprocessing: Option<PathBuf>,
    /// Report the same picture under two patients without tying their images to one side of a split
    #[arg(long)]
    keep_pictures_apart: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("write it as KEY=VALUE, for example ModalitiesInStudy=DX")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let contract = match &arguments.recipe {
        Some(path) => {
            let recipe = Recipe::from_json(&text(path)?)
                .with_context(|| format!("{} is not usable", path.display()))?;
            Some(contract(&recipe, arguments.preprocessing.as_deref())?)
        }
        None => None,
    };
    let archive = match &arguments.archive {
        Some(url) => Some(Archive::open(url, credentials(arguments), &arguments.query)?),
        None => None,
    };
    // last, so that no mistake above leaves a key behind
    let key = key(&arguments.key_file, arguments.new_key)?;
    let modalities: BTreeSet<String> = arguments
        .modality
        .iter()
        .map(|one| one.trim().to_uppercase())
        .collect();
    let job = Job {
        out: &arguments.out,
        inputs: &arguments.inputs,
        archive: archive.as_ref(),
        labels: &arguments.labels,
        key: &key,
        modalities: &modalities,
        contract: contract.as_ref(),
        tie_pictures: !arguments.keep_pictures_apart,
    };
    let bars = Bars::default();
    let made = build(&job, &bars);
    bars.clear();
    let summary = made?;
    print(&summary);
    let table = arguments.out.join(IMAGES);
    if !summary.errors().is_empty() {
        eprintln!(
            "{} is written, and not to be trained on before that is put right",
            table.display()
        );
        return Ok(ExitCode::FAILURE);
    }
    let next = match &arguments.recipe {
        Some(recipe) => format!("fit --labels {} --recipe {}", table.display(), recipe.display()),
        None => format!("start --labels {}", table.display()),
    };
    let report = arguments.out.join("report.html");
    eprintln!("look at {}; next: osteon-train {next}", report.display());
    Ok(ExitCode::SUCCESS)
}

fn credentials(arguments: &Arguments) -> Credentials {
    match (&arguments.token_file, &arguments.user, &arguments.password_file) {
        (Some(token), _, _) => Credentials::Bearer(token.clone()),
        (_, Some(user), Some(password)) => Credentials::Basic(user.clone(), password.clone()),
        _ => Credentials::None,
    }
}

/// A bar for each phase.
#[derive(Default)]
struct Bars(Mutex<Option<ProgressBar>>);

impl Bars {
    fn with(&self, change: impl FnOnce(&mut Option<ProgressBar>)) {
        // a panic of another thread leaves a bar as good as it was
        change(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn clear(&self) {
        self.with(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }
}

impl Watch for Bars {
    fn phase(&self, name: &'static str, steps: u64) {
        self.clear();
        self.with(|bar_of_phase| *bar_of_phase = Some(bar(name, steps)));
    }

    fn step(&self) {
        self.with(|bar| {
            if let Some(bar) = bar {
                // an archive may have more than it said
                if bar.length().is_some_and(|length| bar.position() >= length) {
                    bar.inc_length(1);
                }
                bar.inc(1);
            }
        });
    }
}

/// What is in the table, and what is wrong.
fn print(summary: &Summary) {
    let Summary {
        images,
        patients,
        labelled,
        ..
    } = summary;
    eprintln!("{images} images of {patients} patients, {labelled} of them with labels");
    for column in [
        "modality",
        "body part",
        "view",
        "sex",
        "site",
        "text in the pixels",
        "split",
    ] {
        let Some(values) = summary.columns.get(column) else {
            continue;
        };
        let mut values: Vec<(&String, &u64)> = values.iter().collect();
        values.sort_by_key(|(value, count)| (std::cmp::Reverse(**count), (*value).clone()));
        let more = values.len().saturating_sub(8);
        let told = values.iter().take(8).map(|(value, count)| {
            let value = if value.is_empty() { "not known" } else { value };
            format!("{value} {count}")
        });
        let told = told.collect::<Vec<_>>().join(", ");
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        eprintln!("{column:>18}  {told}{more}");
    }
    for (same, count) in &summary.duplicates {
        eprintln!("{:>18}  {count} pairs with the same {same}", "copies");
    }
    let errors = summary.errors();
    for problem in summary.problems() {
        let weight = if errors.contains(&problem) {
            "error"
        } else {
            "note"
        };
        eprintln!("{weight}: {problem}");
    }
}
