//! What the images that a training held out say of a package: those by which its slopes, offsets and thresholds were chosen.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::evaluation::interval::{Estimate, wilson};

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
    /// Share of the diseased at or above the threshold, with the interval of Wilson (1927), which counts patients.
    pub sensitivity: Estimate,
    /// Share of the healthy below it, likewise.
    pub specificity: Estimate,
}

/// Whether probabilities mean what they say: the expected calibration error over ten bins, with patient-level intervals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationError {
    /// Of what: a finding, the likeliest class of a head, a grade or above.
    pub name: String,
    /// Images for which it is known.
    pub images: usize,
    /// Of the networks without temperatures and offsets, less what the loss counted some cases more than others.
    pub before: Estimate,
    /// With them, each image by those of other patients.
    pub after: Estimate,
}

/// How much a share may fall by the calibration without a warning.
const FALL: f64 = 0.1;

/// For which share of those that have a class or grade it is answered, where it has no threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// The name of the head.
    pub head: String,
    /// The class or grade.
    pub label: String,
    /// Images that have it.
    pub images: usize,
    /// By the networks without temperatures and offsets, less what the loss counted some cases more than others; with the interval of
    /// Wilson (1927), which counts patients.
    pub before: Estimate,
    /// With them, each image by those of other patients; likewise.
    pub after: Estimate,
}

impl Recall {
    /// What people have to know where it is answered much less than by the networks alone.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let Self {
            head,
            label,
            images,
            before: Estimate { value: before, .. },
            after: Estimate { value: after, .. },
        } = self;
        (before - after > FALL).then(|| {
            format!(
                "head {head}: {label} is answered for {after:.2} of the {images} held-out images that have it, and for {before:.2} without slope and offsets, which make probabilities mean what they say: what is rare is then seldom the likeliest. Where it must not be missed, write a threshold for it into the manifest (heads[].labels[].threshold), from which on its probability counts as positive whatever is likeliest, before the package is signed"
            )
        })
    }
}

/// The interval of Wilson (1927) of a `share` of so many `patients`.
#[must_use]
pub fn of_patients(share: f64, patients: usize) -> Estimate {
    let [lower, upper] = wilson(share, patients);
    Estimate {
        value: share,
        lower,
        upper,
    }
}

/// Of all findings, and what people have to know of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// In the order of the labels.
    pub findings: Vec<HeldOutFinding>,
    /// In the order of the labels.
    pub calibration: Vec<CalibrationError>,
    /// Of classes and grades that some image has, in the order of the labels.
    pub recalls: Vec<Recall>,
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
                "Thresholds were chosen on these images, so that their figures flatter; those of a test set do not.\nSensitivity and specificity have 95 % intervals of Wilson (1927), which count patients.\n\n| finding | images | positive | wanted sensitivity | threshold | sensitivity | specificity |\n|---|---|---|---|---|---|---|"
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
                None => writeln!(text, "| {wanted} | {threshold} | - | - |")?,
                Some(Figures {
                    sensitivity,
                    specificity,
                }) => {
                    let [sensitivity, specificity] = [sensitivity, specificity].map(with_interval);
                    writeln!(text, "| {wanted} | {threshold} | {sensitivity} | {specificity} |")?;
                }
            }
        }
        if !self.findings.is_empty() {
            writeln!(text)?;
        }
        if !self.calibration.is_empty() {
            writeln!(
                text,
                "Do probabilities mean what they say? A slope and offsets were fitted to these images; here the probabilities of each fifth of the\npatients are by those of the other four. The epoch was chosen on all of them, so that\nboth figures may still flatter; those of a test set do not. Calibration error over ten bins, with patient-level bootstrap 95 % intervals (1,000 draws).\n\n| question | images | calibration error of the network alone | with slope and offsets |\n|---|---|---|---|"
            )?;
            for CalibrationError {
                name,
                images,
                before,
                after,
            } in &self.calibration
            {
                let [before, after] = [before, after].map(with_interval);
                writeln!(text, "| {name} | {images} | {before} | {after} |")?;
            }
            writeln!(text)?;
        }
        if !self.recalls.is_empty() {
            writeln!(
                text,
                "Of labels that exclude each other the likeliest is answered, of grades the median, and with slope and offsets that may be another: the share of the\nimages with each label for which it is answered (sensitivity), with 95 % intervals of Wilson (1927), which count patients; by the probabilities above.\n\n| head | label | images with it | answered by the network alone | with slope and offsets |\n|---|---|---|---|---|"
            )?;
            for Recall {
                head,
                label,
                images,
                before,
                after,
            } in &self.recalls
            {
                let [before, after] = [before, after].map(with_interval);
                writeln!(text, "| {head} | {label} | {images} | {before} | {after} |")?;
            }
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

fn with_interval(Estimate { value, lower, upper }: &Estimate) -> String {
    format!("{value:.3} [{lower:.3}, {upper:.3}]")
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
            sensitivity: estimate,
            specificity: estimate,
        };
        let recall = Recall {
            head: "part".to_owned(),
            label: "hand".to_owned(),
            images: 20,
            before: estimate,
            after: of_patients(0.9, 20),
        };
        let held_out = HeldOut {
            findings: vec![finding(Some(figures)), finding(None)],
            calibration: vec![CalibrationError {
                name: "head part: the likeliest".to_owned(),
                images: 90,
                before: estimate,
                after: Estimate {
                    value: 0.021,
                    lower: 0.0,
                    upper: 0.04,
                },
            }],
            recalls: vec![recall],
            warnings: vec!["too few".to_owned()],
            distance: None,
        };
        let mut text = String::new();
        held_out.write(&mut text).unwrap();
        let lines = [
            "| fracture | 120 | 20 | 0.9 | 0.00003123 | 0.950 [0.764, 0.991] | 0.950 [0.764, 0.991] |",
            "| fracture | 120 | 20 | 0.9 | 0.00003123 | - | - |",
            "| head part: the likeliest | 90 | 0.950 [0.764, 0.991] | 0.021 [0.000, 0.040] |",
            "| part | hand | 20 | 0.950 [0.764, 0.991] | 0.900 [0.699, 0.972] |",
            "The epoch was chosen on all of them",
            "- too few.",
        ];
        for line in lines {
            assert!(text.contains(line), "{text}");
        }
        let Recall { head, label, .. } = &held_out.recalls[0];
        let fallen = |to: f64| Recall {
            head: head.clone(),
            label: label.clone(),
            images: 20,
            before: estimate,
            after: of_patients(to, 20),
        };
        assert_eq!(held_out.recalls[0].warning(), None);
        let warning = fallen(0.8).warning().unwrap();
        assert!(
            warning.contains("head part: hand is answered for 0.80 of the 20 held-out images")
                && warning.contains("for 0.95 without")
                && warning.contains("heads[].labels[].threshold"),
            "{warning}"
        );
        text.clear();
        HeldOut::default().write(&mut text).unwrap();
        assert_eq!(text, "");
    }
}
