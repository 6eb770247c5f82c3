//! `osteon-train start`: a table of images becomes a first recipe and a first description, for a person to go on from.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use osteon::train::proposal::{Proposal, Question, propose};
use osteon::train::unfilled;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train start --labels index/images.csv --out my-recipe\n  osteon-train start --labels index/images.csv --question fracture --question t_score --out my-recipe\n\nColumns with 0 and 1 become findings, those with a few words classes, those with whole numbers or words for degrees grades, and other\nnumbers, where --question names them, regressions. Intended use, size of the input and mirroring are what the images suggest.\nWhat no table says, such as codes, begins with FILL IN, and fit and export refuse it until somebody has replaced it."
)]
pub(crate) struct Arguments {
    /// images.csv of an index, or another table that fit takes
    #[arg(long, value_name = "CSV")]
    labels: PathBuf,
    /// Column that the network is to answer; may be given several times [default: all that it could]
    #[arg(long = "question", value_name = "COLUMN")]
    questions: Vec<String>,
    /// Folder for fit.json and package.json; its name becomes the package's
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let [recipe, description] = ["fit.json", "package.json"].map(|name| arguments.out.join(name));
    for file in [&recipe, &description] {
        ensure!(
            !file.exists(),
            "{} is there already: remove it, or name another folder",
            file.display()
        );
    }
    let proposal = propose(&arguments.labels, &arguments.questions, &name(&arguments.out))?;
    let folder = &arguments.out;
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    write(&recipe, &proposal.recipe)?;
    write(&description, &proposal.description)?;
    print(&proposal);
    for (file, text) in [(&recipe, &proposal.recipe), (&description, &proposal.description)] {
        match unfilled::check(text) {
            Ok(()) => eprintln!("{} is ready", file.display()),
            Err(what) => eprintln!("{}: {what}", file.display()),
        }
    }
    eprintln!(
        "next: osteon-train fit --labels {} --recipe {}",
        arguments.labels.display(),
        recipe.display()
    );
    Ok(())
}

/// A folder's name as a package may be called.
fn name(folder: &Path) -> String {
    let last = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let words = last.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let name: String = words.join("-").chars().take(64).collect();
    if name.is_empty() { "model".to_owned() } else { name }
}

/// Never over what somebody has written.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let made = std::fs::File::create_new(file).and_then(|mut file| file.write_all(text.as_bytes()));
    made.with_context(|| format!("{} cannot be written", file.display()))
}

/// What was found and taken for what.
#[expect(
    clippy::print_stdout,
    reason = "what was found is what the command is run for"
)]
fn print(proposal: &Proposal) {
    println!("questions");
    for question in &proposal.questions {
        println!(
            "  {:<20}  {:<8}  {}",
            question.name,
            question.kind(),
            counts(question)
        );
    }
    for (column, why) in &proposal.set_aside {
        println!("  {column:<20}  left out  {why}");
    }
    println!("images with an answer");
    for (what, often, rarely) in proposal.usage.names() {
        let often = if often.is_empty() {
            "not known".to_owned()
        } else {
            often.join(", ")
        };
        let rarely = if rarely.is_empty() {
            String::new()
        } else {
            format!("; too rare to count: {}", rarely.join(", "))
        };
        println!("  {what:<20}  {often}{rarely}");
    }
    let ages = match proposal.usage.ages() {
        Some([youngest, oldest]) => format!("{youngest} to {oldest} years"),
        None => "not known: any age is taken".to_owned(),
    };
    println!("  {:<20}  {ages}", "age");
    let [rows, columns] = proposal.usage.size();
    println!("  {:<20}  {rows} rows, {columns} columns", "input");
    println!("  {:<20}  {}", "mirrored", proposal.flip.whose());
}

fn counts(question: &Question) -> String {
    if question.answers.is_empty() {
        return format!("{} images", question.images);
    }
    let counts = question.answers.iter().map(|answer| {
        format!(
            "{}: {} images of {} patients",
            answer.value, answer.images, answer.patients
        )
    });
    counts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_the_package_its_name() {
        for (folder, expected) in [
            ("recipes/Hip fracture_2", "hip-fracture-2"),
            ("mine/", "mine"),
            ("..", "model"),
            ("recipes/\u{e4}", "model"),
        ] {
            assert_eq!(name(Path::new(folder)), expected);
        }
    }
}
