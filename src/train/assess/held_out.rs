//! What the images that a training held out say of a package: those by which its temperatures and thresholds were chosen.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::evaluation::interval::Estimate;

/// Of one finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutFinding {
    /// Its name.
    pub label: String,
    /// Images for which it is known.
    pub images: usize,
    /// Of them, those that have the finding.
    pub positive: usize,
    /// The share of the diseased that the threshold is to find.
    pub wanted: f64,
    /// From where on it counts as present.
    pub threshold: f32,
    /// What is served does there; nothing where the images are not held out by all networks.
    pub figures: Option<Figures>,
}

/// What is served does on the held-out images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Expected calibration error over ten bins.
    pub calibration_error: f64,
    /// Share of the diseased at or above the threshold, with the interval of Wilson (1927), which counts patients.
    pub sensitivity: Estimate,
    /// Share of the healthy below it, likewise.
    pub specificity: Estimate,
}

/// Of all findings, and what people have to know of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// In the order of the labels.
    pub findings: Vec<HeldOutFinding>,
    /// What could not be fitted or promised.
    pub warnings: Vec<String>,
    /// Where the limit comes from, beyond which images are unlike all of these.
    pub distance: Option<String>,
}

impl HeldOut {
    /// Its section of the model card, in Markdown; nothing where there is nothing to say.
    ///
    /// # Errors
    /// Those of `text`.
    pub fn write(&self, text: &mut impl Write) -> std::fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        writeln!(text, "## Held-out patients\n")?;
        if !self.findings.is_empty() {
            writeln!(
                text,
                "Temperatures and thresholds were chosen on these images, so that their figures flatter; those of a test set do not.\nSensitivity and specificity have 95 % intervals of Wilson (1927), which count patients.\n\n| finding | images | positive | calibration error | wanted sensitivity | threshold | sensitivity | specificity |\n|---|---|---|---|---|---|---|---|"
            )?;
        }
        for HeldOutFinding {
            label,
            images,
            positive,
            wanted,
            threshold,
            figures,
        } in &self.findings
        {
            write!(text, "| {label} | {images} | {positive} ")?;
            match figures {
                None => writeln!(text, "| - | {wanted} | {threshold} | - | - |")?,
                Some(Figures {
                    calibration_error,
                    sensitivity,
                    specificity,
                }) => {
                    let [sensitivity, specificity] =
                        [sensitivity, specificity].map(|Estimate { value, lower, upper }| {
                            format!("{value:.3} [{lower:.3}, {upper:.3}]")
                        });
                    writeln!(
                        text,
                        "| {calibration_error:.3} | {wanted} | {threshold} | {sensitivity} | {specificity} |"
                    )?;
                }
            }
        }
        if !self.findings.is_empty() {
            writeln!(text)?;
        }
        for line in self.warnings.iter().chain(&self.distance) {
            writeln!(text, "- {line}.")?;
        }
        if !self.warnings.is_empty() || self.distance.is_some() {
            writeln!(text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_has_its_figures_and_what_is_not_has_none() {
        let estimate = Estimate {
            value: 0.95,
            lower: 0.764,
            upper: 0.991,
        };
        let finding = |figures| HeldOutFinding {
            label: "fracture".to_owned(),
            images: 120,
            positive: 20,
            wanted: 0.9,
            threshold: 0.000_031_23,
            figures,
        };
        let figures = Figures {
            calibration_error: 0.021,
            sensitivity: estimate,
            specificity: estimate,
        };
        let held_out = HeldOut {
            findings: vec![finding(Some(figures)), finding(None)],
            warnings: vec!["too few".to_owned()],
            distance: None,
        };
        let mut text = String::new();
        held_out.write(&mut text).unwrap();
        let lines = [
            "| fracture | 120 | 20 | 0.021 | 0.9 | 0.00003123 | 0.950 [0.764, 0.991] | 0.950 [0.764, 0.991] |",
            "| fracture | 120 | 20 | - | 0.9 | 0.00003123 | - | - |",
            "- too few.",
        ];
        for line in lines {
            assert!(text.contains(line), "{text}");
        }
        text.clear();
        HeldOut::default().write(&mut text).unwrap();
        assert_eq!(text, "");
    }
}
