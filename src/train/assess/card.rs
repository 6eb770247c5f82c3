//! The model card: what a model is, what it was made from, how good it is and what it must not be used for
//! (Mitchell 2019, arXiv 1810.03993), in Markdown.

use std::fmt::Write;

use super::LabelAssessment;
use crate::model::ModelManifest;

/// Writes the card; `data` says in words where the test images came from.
#[must_use]
pub fn card(manifest: &ModelManifest, assessments: &[LabelAssessment], data: &str) -> String {
    let mut text = String::new();
    // writing to a string cannot fail
    let _ = write(&mut text, manifest, assessments, data);
    text
}

fn write(
    text: &mut String,
    manifest: &ModelManifest,
    assessments: &[LabelAssessment],
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
    if !assessments.is_empty() {
        writeln!(text, "## Test set\n\n{data}\n")?;
        writeln!(
            text,
            "Intervals are patient-level bootstrap 95 % intervals (1,000 draws).\n"
        )?;
        writeln!(
            text,
            "| finding | images | positive | AUROC | AUPRC | calibration error | threshold | sensitivity | specificity |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|---|")?;
        for (assessed, label) in assessments.iter().zip(manifest.labels()) {
            let LabelAssessment { auroc, auprc, .. } = assessed;
            writeln!(
                text,
                "| {} | {} | {} | {:.3} [{:.3}, {:.3}] | {:.3} [{:.3}, {:.3}] | {:.3} | {:.3} | {:.3} | {:.3} |",
                assessed.label,
                assessed.images,
                assessed.positive,
                auroc.value,
                auroc.lower,
                auroc.upper,
                auprc.value,
                auprc.lower,
                auprc.upper,
                assessed.calibration_error,
                label.threshold.unwrap_or(0.5),
                assessed.sensitivity,
                assessed.specificity
            )?;
        }
        writeln!(
            text,
            "\n## Shortcut audit\n\nDoes the score come from the image's content? With the corners blanked, where lead markers and labels stand, the\narea must hardly fall; from the corners alone it must be near 0.5. The header's columns are what a guess from it\nwould reach; the network never sees them.\n"
        )?;
        let header: Vec<&str> = assessments[0]
            .auroc_of_header
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        write!(text, "| finding | AUROC | corners blanked | corners only |")?;
        for name in &header {
            write!(text, " {name} from the header |")?;
        }
        writeln!(text, "\n|---|---|---|---|{}", "---|".repeat(header.len()))?;
        for assessed in assessments {
            write!(
                text,
                "| {} | {:.3} | {:.3} | {:.3} |",
                assessed.label,
                assessed.auroc.value,
                assessed.auroc_without_corners,
                assessed.auroc_corners_only
            )?;
            for (_, area) in &assessed.auroc_of_header {
                write!(text, " {area:.3} |")?;
            }
            writeln!(text)?;
        }
        writeln!(text)?;
    }
    writeln!(text, "## Lineage\n")?;
    for (what, value) in &manifest.lineage {
        writeln!(text, "- {what}: {value}")?;
    }
    Ok(())
}
