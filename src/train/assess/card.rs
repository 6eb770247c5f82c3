//! The model card: what a model is, what it was made from, how good it is and what it must not be used for
//! (Mitchell 2019, arXiv 1810.03993), in Markdown.

use std::fmt::Write;

use super::held_out::HeldOut;
use super::{Assessment, LabelAssessment};
use crate::evaluation::interval::Estimate;
use crate::model::ModelManifest;

/// Writes the card; `held_out` is what the training's held-out patients say, and `data` says in words where the test images came from.
#[must_use]
pub fn card(manifest: &ModelManifest, held_out: &HeldOut, assessment: &Assessment, data: &str) -> String {
    let mut text = String::new();
    // writing to a string cannot fail
    let _ = write(&mut text, manifest, held_out, assessment, data);
    text
}

fn write(
    text: &mut String,
    manifest: &ModelManifest,
    held_out: &HeldOut,
    assessment: &Assessment,
    data: &str,
) -> std::fmt::Result {
    let use_of = &manifest.intended_use;
    writeln!(
        text,
        "# {}\n\n{}, version {}, licence {}.\n",
        manifest.title, manifest.name, manifest.version, manifest.licence
    )?;
    writeln!(
        text,
        "**{}**\n\n## Intended use\n\n{}\n",
        manifest.notice, use_of.statement
    )?;
    writeln!(
        text,
        "Clinical use: {}.",
        if use_of.clinical { "yes" } else { "no" }
    )?;
    writeln!(
        text,
        "Modality {}; body part {}; view {}; age {} to {} years. Anything else is refused.\n",
        use_of.modalities.join(", "),
        use_of.body_parts.join(", "),
        use_of.views.join(", "),
        use_of.age_years[0],
        use_of.age_years[1]
    )?;
    if let Some(reduced) = manifest.reduced_precision {
        writeln!(
            text,
            "The weights are {}: on {} images of held-out patients no AUROC moved by more than {}, no calibration error rose by more than {}, and {} % of the decisions changed.\n",
            reduced.format.name(),
            reduced.images,
            reduced.area,
            reduced.calibration_error,
            reduced.decisions_changed * 100.0
        )?;
    }
    held_out.write(text)?;
    if *assessment != Assessment::default() {
        test_set(text, assessment, data)?;
    }
    if !assessment.labels.is_empty() {
        subgroups(text, &assessment.labels)?;
        shortcuts(text, &assessment.labels)?;
    }
    writeln!(text, "## Lineage\n")?;
    for (what, value) in &manifest.lineage {
        writeln!(text, "- {what}: {value}")?;
    }
    Ok(())
}

fn test_set(text: &mut String, assessment: &Assessment, data: &str) -> std::fmt::Result {
    writeln!(text, "## Test set\n\n{data}\n")?;
    writeln!(
        text,
        "Intervals are patient-level bootstrap 95 % intervals (1,000 draws); where no draw differs from another, those of Clopper and Pearson for so many patients.\n"
    )?;
    if !assessment.labels.is_empty() {
        writeln!(
            text,
            "| finding | images | positive | AUROC | AUPRC | calibration error | threshold | sensitivity | specificity |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|---|")?;
        for assessed in &assessment.labels {
            let LabelAssessment {
                auroc,
                auprc,
                calibration_error,
                ..
            } = assessed;
            writeln!(
                text,
                "| {} | {} | {} | {:.3} [{:.3}, {:.3}] | {:.3} [{:.3}, {:.3}] | {:.3} [{:.3}, {:.3}] | {} | {:.3} | {:.3} |",
                assessed.label,
                assessed.images,
                assessed.positive,
                auroc.value,
                auroc.lower,
                auroc.upper,
                auprc.value,
                auprc.lower,
                auprc.upper,
                calibration_error.value,
                calibration_error.lower,
                calibration_error.upper,
                // as the manifest has it
                assessed.threshold as f32,
                assessed.sensitivity,
                assessed.specificity
            )?;
        }
        writeln!(text)?;
    }
    if !assessment.numbers.is_empty() {
        writeln!(
            text,
            "| number | unit | images | R squared | mean error |\n|---|---|---|---|---|"
        )?;
        for number in &assessment.numbers {
            let Estimate { value, lower, upper } = number.determination;
            writeln!(
                text,
                "| {} | {} | {} | {value:.3} [{lower:.3}, {upper:.3}] | {:.3} |",
                number.label, number.unit, number.images, number.mean_error
            )?;
        }
        writeln!(text)?;
    }
    for (label, reason) in &assessment.left_out {
        writeln!(text, "- Nothing is known of {label}: {reason}.")?;
    }
    if !assessment.left_out.is_empty() {
        writeln!(text)?;
    }
    Ok(())
}

fn subgroups(text: &mut String, assessments: &[LabelAssessment]) -> std::fmt::Result {
    if assessments.iter().all(|assessed| assessed.subgroups.is_empty()) {
        return Ok(());
    }
    writeln!(
        text,
        "## Subgroups\n\nIs it as good for some as for others? Sensitivity and specificity are at the same threshold for all. Groups of fewer than ten images\nare taken together. Of many groups some differ by chance: an interval of 95 % misses one time in twenty.\n"
    )?;
    writeln!(
        text,
        "| finding | column | group | images | patients | positive | AUROC | sensitivity | specificity |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    for assessed in assessments {
        for own in &assessed.subgroups {
            let figure = |estimate: &Option<Estimate>| {
                estimate.map_or("-".to_owned(), |Estimate { value, lower, upper }| {
                    format!("{value:.3} [{lower:.3}, {upper:.3}]")
                })
            };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                assessed.label,
                own.column,
                cell(&own.group),
                own.images,
                own.patients,
                own.positive,
                figure(&own.auroc),
                figure(&own.sensitivity),
                figure(&own.specificity)
            )?;
        }
    }
    writeln!(text)
}

/// A text that ends no cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn shortcuts(text: &mut String, assessments: &[LabelAssessment]) -> std::fmt::Result {
    writeln!(
        text,
        "## Shortcut audit\n\nDoes the score come from the image's content? With the corners blanked, where lead markers and labels stand, the\narea must hardly fall; from the corners alone it must be near 0.5. The header's columns are what a guess from it\nwould reach (sex and site by the share of images with the finding among other patients); the network never sees them. Intervals are as above.\n"
    )?;
    let header = &assessments[0].of_header;
    write!(text, "| finding | AUROC | corners blanked | corners only |")?;
    for own in header {
        write!(text, " {} from the header |", own.column)?;
    }
    writeln!(text, "\n|---|---|---|---|{}", "---|".repeat(header.len()))?;
    for assessed in assessments {
        write!(
            text,
            "| {} | {:.3} | {:.3} | {:.3} |",
            assessed.label, assessed.auroc.value, assessed.auroc_without_corners, assessed.auroc_corners_only
        )?;
        for own in &assessed.of_header {
            match own.area {
                Some(Estimate { value, lower, upper }) => {
                    write!(text, " {value:.3} [{lower:.3}, {upper:.3}]")?;
                }
                None => write!(text, " -")?,
            }
            if own.unknown > 0 {
                write!(text, " ({} images do not say)", own.unknown)?;
            }
            write!(text, " |")?;
        }
        writeln!(text)?;
    }
    writeln!(text)
}
