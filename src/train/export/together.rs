//! What networks that answer together say of the images that they held out, calibrated as their mean.
//!
//! Each network is calibrated by itself first. Where several answer, or one sees an image and its mirror image, their mean has a slope and an
//! offset of its own, which each of them applies to its logits: so they are in the weights like all others, and the mean of what is said
//! stays a mean. They are fitted to images that all of the networks held out; of those of a cross-validation there are none.
//!
//! Whether probabilities mean what they say is asked of patients that had no say in slopes and offsets: those of one fifth are by the other
//! four (cross-fitting).

use std::collections::{BTreeMap, BTreeSet};

use super::super::learn::heads::Heads;
use super::super::run::Validation;
use super::calibrate::{Answer, Calibration, Judged, Question, Row};
use crate::evaluation::calibration::calibration_error_interval;
use crate::evaluation::interval::Bootstrap;
use crate::evaluation::parts::parts;
use crate::evaluation::scaling::TEMPERATURE_RANGE;
use crate::train::assess::held_out::{CalibrationError, Recall, of_patients};

/// Parts of the patients, of each of which slopes and offsets are those of the others.
const PARTS: usize = 5;
/// Bins of the calibration error, as in the test set's.
const BINS: usize = 10;

/// What one network said of the patients that it held out, and what its loss counted.
#[derive(Clone, Copy)]
pub(super) struct HeldOut<'a> {
    pub(super) validation: &'a Validation,
    pub(super) positive_weights: Option<&'a [f32]>,
}

/// Networks, and the images that at least one of them held out.
pub(super) struct Together<'a> {
    heads: &'a Heads,
    members: Vec<HeldOut<'a>>,
    images: Vec<Image<'a>>,
    /// Whether what is served is a mean.
    several: bool,
}

struct Image<'a> {
    labels: &'a [Option<f32>],
    patient: &'a str,
    /// The logits, each with the place of the network that gave them.
    views: Vec<(usize, &'a [f64])>,
    /// How many networks held it out.
    networks: usize,
}

impl Image<'_> {
    fn row(&self, calibrations: &[Calibration]) -> Row<'_> {
        let views = self.views.iter();
        Row {
            labels: self.labels,
            views: views
                .map(|(member, logits)| calibrations[*member].apply(logits))
                .collect(),
        }
    }
}

/// What the networks together say of one finding, image by image.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) probabilities: Vec<f64>,
    pub(super) truth: Vec<bool>,
    pub(super) patients: Vec<String>,
    /// Whether all networks held these images out, so that the probabilities are those that are served; otherwise each is the mean over
    /// those networks that did.
    pub(super) by_all: bool,
}

/// What the images that all networks held out say of one question, without slopes and offsets and with them, each image by those of other
/// patients.
#[derive(Debug, Default)]
pub(super) struct CrossFitted {
    pub(super) calibration: Vec<CalibrationError>,
    /// Of labels that exclude each other; of those that no image has there is none.
    pub(super) recalls: Vec<Recall>,
}

impl<'a> Together<'a> {
    /// The networks of the same `heads`; `mirrored` adds what they said of the mirror images.
    ///
    /// # Errors
    /// A sentence that says what the runs do not hold.
    pub(super) fn new(heads: &'a Heads, members: Vec<HeldOut<'a>>, mirrored: bool) -> Result<Self, String> {
        let mut images: BTreeMap<usize, Image<'a>> = BTreeMap::new();
        for (member, HeldOut { validation, .. }) in members.iter().enumerate() {
            validation.check(heads)?;
            let known_places = validation.places.len() == validation.labels.len();
            if members.len() > 1 && !known_places {
                return Err("a run does not say which images it held out: train it again".to_owned());
            }
            let mut views = vec![&validation.logits];
            if mirrored {
                let mirror = validation.mirrored.as_ref();
                views
                    .push(mirror.ok_or("a run does not hold what it says of mirror images: train it again")?);
            }
            for (row, labels) in validation.labels.iter().enumerate() {
                let place = if known_places { validation.places[row] } else { row };
                let image = images.entry(place).or_insert(Image {
                    labels,
                    patient: &validation.patients[row],
                    views: Vec::new(),
                    networks: 0,
                });
                image
                    .views
                    .extend(views.iter().map(|view| (member, view[row].as_slice())));
                image.networks += 1;
            }
        }
        Ok(Self {
            several: mirrored || members.len() > 1,
            heads,
            members,
            images: images.into_values().collect(),
        })
    }

    /// How the logits of each network become probabilities, so that their mean means what it says.
    ///
    /// # Errors
    /// A sentence that names the head or label.
    pub(super) fn calibrations(&self) -> Result<Vec<Calibration>, String> {
        let mut calibrations = self.unfitted()?;
        for question in Question::all(self.heads) {
            self.fit(&question, &mut calibrations, &|_| true)?;
        }
        Ok(calibrations)
    }

    fn unfitted(&self) -> Result<Vec<Calibration>, String> {
        let members = self.members.iter();
        members
            .map(|member| Calibration::unfitted(self.heads, member.positive_weights))
            .collect()
    }

    /// Fits what makes the answers to `question` probabilities, to those patients that are `kept`.
    fn fit(
        &self,
        question: &Question<'_>,
        calibrations: &mut [Calibration],
        kept: &dyn Fn(&str) -> bool,
    ) -> Result<(), String> {
        for (calibration, member) in calibrations.iter_mut().zip(&self.members) {
            calibration.fit(question, member.validation, kept)?;
        }
        if !self.several {
            return Ok(());
        }
        let images = self.images.iter();
        let by_all = images.filter(|image| image.networks == self.members.len() && kept(image.patient));
        let rows: Vec<Row<'_>> = by_all.map(|image| image.row(calibrations)).collect();
        let (low, high) = TEMPERATURE_RANGE;
        let lacks = match question.fit(&rows, &vec![0.0; self.heads.width()]) {
            Err(_) => {
                "all networks held out too few images of it for a slope and an offset of their mean, which has none".to_owned()
            }
            Ok(scaling) => {
                for calibration in calibrations.iter_mut() {
                    calibration.then(question, &scaling);
                }
                if scaling.temperature.is_some() {
                    return Ok(());
                }
                format!("the held-out images tell no temperature of the networks' mean from {low} to {high}, so it is 1: hold more out")
            }
        };
        if let Some(first) = calibrations.first_mut() {
            first.warnings.push(format!("{}: {lacks}", question.name));
        }
        Ok(())
    }

    /// What the networks together say of a finding: of the images that all held out, if the finding is present on some of these and absent
    /// on others, else of all that one of them did.
    pub(super) fn said(&self, question: &Question<'_>, calibrations: &[Calibration]) -> Said {
        let judged: Vec<(&Image<'_>, Judged)> = self
            .images
            .iter()
            .filter_map(|image| Some((image, question.judged(&image.row(calibrations)).pop()?)))
            .collect();
        let of_all = |image: &Image<'_>| image.networks == self.members.len();
        let has = |present: bool| {
            let mut own = judged.iter().filter(|(image, _)| of_all(image));
            own.any(|(_, judged)| judged.truth == present)
        };
        let by_all = has(true) && has(false);
        let mut said = Said {
            probabilities: Vec::new(),
            truth: Vec::new(),
            patients: Vec::new(),
            by_all,
        };
        for (image, judged) in judged.iter().filter(|(image, _)| !by_all || of_all(image)) {
            said.probabilities.push(judged.probability);
            said.truth.push(judged.truth);
            said.patients.push(image.patient.to_owned());
        }
        said
    }

    /// What is served on the images that all networks held out. Nothing where these are too few to be without a fifth of them.
    pub(super) fn cross_fitted(&self, question: &Question<'_>) -> CrossFitted {
        let images: Vec<&Image<'_>> = self
            .images
            .iter()
            .filter(|image| image.networks == self.members.len())
            .collect();
        let patients: Vec<&str> = images.iter().map(|image| image.patient).collect();
        let of_images = parts(&patients, PARTS);
        let of_patients: BTreeMap<&str, usize> =
            patients.iter().copied().zip(of_images.iter().copied()).collect();
        let Ok(unfitted) = self.unfitted() else {
            return CrossFitted::default();
        };
        let mut fitted = Vec::new();
        for part in 0..PARTS {
            let mut own = unfitted.clone();
            let kept = |patient: &str| of_patients.get(patient) != Some(&part);
            if self.fit(question, &mut own, &kept).is_err() {
                return CrossFitted::default();
            }
            fitted.push(own);
        }
        let before: Vec<Row<'_>> = images.iter().map(|image| image.row(&unfitted)).collect();
        let with_parts = images.iter().zip(&of_images);
        let after: Vec<Row<'_>> = with_parts
            .map(|(image, part)| image.row(&fitted[*part]))
            .collect();
        CrossFitted {
            calibration: calibration(question, &patients, &before, &after),
            recalls: recalls(question, &patients, &before, &after),
        }
    }
}

/// The calibration error of `question` on images of these `patients`, by rows of before and after the calibration.
fn calibration(
    question: &Question<'_>,
    patients: &[&str],
    before: &[Row<'_>],
    after: &[Row<'_>],
) -> Vec<CalibrationError> {
    let [before, after] = [before, after]
        .map(|rows| -> Vec<Vec<Judged>> { rows.iter().map(|row| question.judged(row)).collect() });
    let error = |judged: &[Vec<Judged>], at: usize| {
        let known = judged.iter().zip(patients);
        let known = known.filter_map(|(judged, patient)| Some((judged.get(at)?, *patient)));
        let (mut probabilities, mut truth, mut patients) = (Vec::new(), Vec::new(), Vec::new());
        for (judged, patient) in known {
            probabilities.push(judged.probability);
            truth.push(judged.truth);
            patients.push(patient);
        }
        calibration_error_interval(&probabilities, &truth, &patients, BINS, Bootstrap::default()).ok()
    };
    let names = question.judgements().into_iter().enumerate();
    names
        .filter_map(|(at, name)| {
            Some(CalibrationError {
                name,
                images: after.iter().filter(|judged| at < judged.len()).count(),
                before: error(&before, at)?,
                after: error(&after, at)?,
            })
        })
        .collect()
}

/// For which share of the images of each label of `question`, if these exclude each other, it is answered; likewise.
fn recalls(question: &Question<'_>, patients: &[&str], before: &[Row<'_>], after: &[Row<'_>]) -> Vec<Recall> {
    let [before, after] = [before, after]
        .map(|rows| -> Vec<Option<Answer>> { rows.iter().map(|row| question.answer(row)).collect() });
    let share = |answers: &[Option<Answer>], own: &[usize], place: usize| {
        let right = own
            .iter()
            .filter(|image| answers[**image].is_some_and(|answer| answer.answered == place));
        right.count() as f64 / own.len() as f64
    };
    let labels = question.answers().iter().enumerate();
    labels
        .filter_map(|(place, label)| {
            let has = |image: &usize| before[*image].is_some_and(|answer| answer.truth == place);
            let own: Vec<usize> = (0..patients.len()).filter(has).collect();
            let of = own
                .iter()
                .map(|image| patients[*image])
                .collect::<BTreeSet<_>>()
                .len();
            (of > 0).then(|| Recall {
                head: question.head.to_owned(),
                label: label.clone(),
                images: own.len(),
                before: of_patients(share(&before, &own, place), of),
                after: of_patients(share(&after, &own, place), of),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
