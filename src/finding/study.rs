//! From instances to a study: which of them count, and how their findings become one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finding, InstanceResult, Label, Outcome, Reading, Reason, Task, codes, interpret};

/// How the images of a study make one result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudyRule {
    /// How the findings of several images become one.
    #[serde(default)]
    pub aggregation: Aggregation,
    /// Values of View Position (0018,5101), which stand for their codes too, or codes of View Code Sequence, the best first: only images of the first of them that was scored count. Empty: all
    /// scored images count.
    #[serde(default)]
    pub preferred_views: Vec<String>,
    /// Labels of multiclass questions that stand for nothing found: with them `highest` knows which image is the worse.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub normal: Vec<String>,
}

impl StudyRule {
    /// Whether it is what holds where a manifest says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How the findings of several images become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// The finding of the image with the highest probability or value. Where labels exclude each other, all of them of one image: of
    /// grades the one with the highest expected grade, of classes the least `normal` one; where none is `normal`, as `mean`.
    #[default]
    Highest,
    /// The mean of the probabilities or values. Where labels exclude each other, what counts is decided anew on the means.
    Mean,
}

/// What a model is asked about an image: labels that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Its kind.
    pub task: Task,
    /// Its labels, in order.
    pub labels: Vec<Label>,
}

impl Question {
    /// Whether its labels exclude each other, so that a study has one answer to all of them.
    fn is_exclusive(&self) -> bool {
        matches!(self.task, Task::Multiclass | Task::Ordinal)
    }

    /// What an image says of each of its labels.
    fn answer<'a>(&self, instance: &'a InstanceResult) -> Option<Vec<&'a Finding>> {
        let of = |label: &Label| {
            instance
                .findings
                .iter()
                .find(|finding| finding.label == label.name)
        };
        self.labels.iter().map(of).collect()
    }
}

/// What became of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyResult {
    /// Scored if any instance was; failed if none was and any failed; refused otherwise.
    pub outcome: Outcome,
    /// Why, where it was not scored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// One for each label, by the model's rule for studies.
    pub findings: Vec<Finding>,
    /// Every instance, with its own outcome.
    pub instances: Vec<InstanceResult>,
}

impl StudyResult {
    /// Puts the instances of a study together, by the rule and the questions of the model that was asked about them.
    #[must_use]
    pub fn of(instances: Vec<InstanceResult>, rule: &StudyRule, questions: &[Question]) -> Self {
        let first = |outcome| instances.iter().find(|instance| instance.outcome == outcome);
        let (outcome, reason) = if first(Outcome::Scored).is_some() {
            (Outcome::Scored, None)
        } else if let Some(failed) = first(Outcome::Failed) {
            (Outcome::Failed, failed.reason.clone())
        } else {
            let empty = Reason {
                code: "empty-study".to_owned(),
                message: "the study has no instance".to_owned(),
            };
            (
                Outcome::Refused,
                first(Outcome::Refused).map_or(Some(empty), |refused| refused.reason.clone()),
            )
        };
        let findings = findings(&instances, rule, questions);
        Self {
            outcome,
            reason,
            findings,
            instances,
        }
    }
}

fn findings(instances: &[InstanceResult], rule: &StudyRule, questions: &[Question]) -> Vec<Finding> {
    let scored = || {
        instances
            .iter()
            .filter(|instance| instance.outcome == Outcome::Scored)
    };
    let shows = |instance: &InstanceResult, view: &str| {
        let said = instance.view.as_deref();
        said.is_some_and(|said| said == view || codes::of_view(view).contains(&said))
    };
    let view = rule
        .preferred_views
        .iter()
        .find(|view| scored().any(|instance| shows(instance, view)));
    let counted: Vec<&InstanceResult> = scored()
        .filter(|instance| view.is_none_or(|view| shows(instance, view)))
        .collect();
    let mut labels: Vec<Vec<&Finding>> = Vec::new();
    for instance in &counted {
        for finding in &instance.findings {
            match labels
                .iter_mut()
                .find(|of_label| of_label.iter().all(|known| known.label == finding.label))
            {
                Some(of_label) => of_label.push(finding),
                None => labels.push(vec![finding]),
            }
        }
    }
    let exclusive: Vec<&Question> = questions
        .iter()
        .filter(|question| question.is_exclusive())
        .collect();
    let mut findings = Vec::new();
    for of_label in &labels {
        let is = |label: &Label| of_label.iter().any(|finding| finding.label == label.name);
        match exclusive.iter().find(|question| question.labels.iter().any(is)) {
            // all of its labels stand where the first of them does
            Some(question) if question.labels.first().is_some_and(is) => {
                findings.extend(one_answer(question, &counted, rule));
            }
            Some(_) => {}
            None => findings.extend(match rule.aggregation {
                Aggregation::Highest => highest(of_label),
                Aggregation::Mean => mean(of_label),
            }),
        }
    }
    findings
}

/// The answer of a study to a question whose labels exclude each other: never one label of one image and one of another.
fn one_answer(question: &Question, counted: &[&InstanceResult], rule: &StudyRule) -> Vec<Finding> {
    let answers: Vec<Vec<&Finding>> = counted
        .iter()
        .filter_map(|instance| question.answer(instance))
        .collect();
    let is_normal = |label: &str| rule.normal.iter().any(|normal| normal == label);
    let knows_the_worse =
        question.task == Task::Ordinal || question.labels.iter().any(|label| is_normal(&label.name));
    if rule.aggregation == Aggregation::Highest && knows_the_worse {
        let badness = |answer: &[&Finding]| -> f32 {
            let grades = answer.iter().enumerate();
            match question.task {
                Task::Ordinal => grades
                    .map(|(grade, finding)| grade as f32 * number(finding))
                    .sum(),
                _ => grades
                    .filter(|(_, finding)| !is_normal(&finding.label))
                    .map(|(_, finding)| number(finding))
                    .sum(),
            }
        };
        let worst = answers.into_iter().reduce(|worst, next| {
            if badness(&next) > badness(&worst) {
                next
            } else {
                worst
            }
        });
        return worst.into_iter().flatten().cloned().collect();
    }
    let count = answers.len() as f32;
    let means: Vec<f32> = (0..question.labels.len())
        .map(|label| answers.iter().map(|answer| number(answer[label])).sum::<f32>() / count)
        .collect();
    // means of probabilities are probabilities
    interpret(question.task, &question.labels, &means).unwrap_or_default()
}

fn number(finding: &Finding) -> f32 {
    match finding.reading {
        Reading::Probability { probability, .. } => probability,
        Reading::Quantity { value, .. } => value,
    }
}

fn highest(findings: &[&Finding]) -> Option<Finding> {
    findings
        .iter()
        .copied()
        .reduce(|best, next| if number(next) > number(best) { next } else { best })
        .cloned()
}

fn mean(findings: &[&Finding]) -> Option<Finding> {
    let mut finding = (*findings.first()?).clone();
    let mean = findings.iter().map(|finding| number(finding)).sum::<f32>() / findings.len() as f32;
    match &mut finding.reading {
        Reading::Probability {
            probability,
            threshold,
            positive,
        } => {
            *probability = mean;
            // only labels that exclude each other may lack one
            *positive = threshold.is_some_and(|threshold| mean >= threshold);
        }
        Reading::Quantity { value, .. } => *value = mean,
    }
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{label, scored};
    use super::*;
    use crate::fault::{Fault, FaultKind};

    fn probabilities(instances: Vec<InstanceResult>, rule: &StudyRule) -> Vec<f32> {
        StudyResult::of(instances, rule, &[])
            .findings
            .iter()
            .filter_map(Finding::probability)
            .collect()
    }

    #[test]
    fn a_study_takes_the_highest_probability_of_each_label() {
        let both = vec![scored("LL", &[0.1, 0.9]), scored("AP", &[0.7, 0.3])];
        assert_eq!(probabilities(both, &StudyRule::default()), [0.7, 0.9]);
    }

    #[test]
    fn or_their_mean_against_the_threshold() {
        let rule = StudyRule {
            aggregation: Aggregation::Mean,
            ..StudyRule::default()
        };
        let images = vec![scored("LL", &[0.25, 1.0]), scored("LL", &[0.5, 0.5])];
        let study = StudyResult::of(images, &rule, &[]);
        let said: Vec<_> = study
            .findings
            .iter()
            .map(|finding| match finding.reading {
                Reading::Probability {
                    probability,
                    positive,
                    ..
                } => (probability, positive),
                Reading::Quantity { .. } => unreachable!(),
            })
            .collect();
        assert_eq!(said, [(0.375, false), (0.75, true)]);
    }

    fn question(task: Task, names: &[&str]) -> [Question; 1] {
        let labels = names.iter().map(|&name| label(name, None)).collect();
        [Question { task, labels }]
    }

    /// What is said of a study of two images: each label's probability, and which labels are present.
    fn said(questions: &[Question; 1], rule: &StudyRule, images: [&[f32]; 2]) -> (Vec<f32>, Vec<String>) {
        let [Question { task, labels }] = questions;
        let instances = images.map(|values| InstanceResult {
            findings: interpret(*task, labels, values).unwrap(),
            ..scored("LL", &[0.0, 0.0])
        });
        let findings = StudyResult::of(instances.into(), rule, questions).findings;
        let present = findings
            .iter()
            .filter(|finding| matches!(finding.reading, Reading::Probability { positive: true, .. }))
            .map(|finding| finding.label.clone())
            .collect();
        (
            findings.iter().filter_map(Finding::probability).collect(),
            present,
        )
    }

    #[test]
    fn classes_that_exclude_each_other_have_one_answer() {
        let classes = question(Task::Multiclass, &["normal", "mild", "severe"]);
        let images: [&[f32]; 2] = [&[0.625, 0.25, 0.125], &[0.25, 0.25, 0.5]];
        let knows = StudyRule {
            normal: vec!["normal".into()],
            ..StudyRule::default()
        };
        let worse = (vec![0.25, 0.25, 0.5], vec!["severe".to_owned()]);
        assert_eq!(said(&classes, &knows, images), worse);
        let [one, other] = images;
        assert_eq!(said(&classes, &knows, [other, one]), worse);
        // nobody knows which class is the worse, or the mean is asked for
        let mean = (vec![0.4375, 0.25, 0.3125], vec!["normal".to_owned()]);
        assert_eq!(said(&classes, &StudyRule::default(), images), mean);
        let rule = StudyRule {
            aggregation: Aggregation::Mean,
            ..knows
        };
        assert_eq!(said(&classes, &rule, images), mean);
    }

    #[test]
    fn grades_have_one_answer() {
        let grades = question(Task::Ordinal, &["none", "mild", "severe"]);
        // the first image is severe or nothing, the second is surely mild
        let images: [&[f32]; 2] = [&[0.625, 0.0, 0.375], &[0.0, 1.0, 0.0]];
        let highest = said(&grades, &StudyRule::default(), images);
        assert_eq!(highest, (vec![0.0, 1.0, 0.0], vec!["mild".to_owned()]));
        let rule = StudyRule {
            aggregation: Aggregation::Mean,
            ..StudyRule::default()
        };
        let mean = said(&grades, &rule, images);
        assert_eq!(mean, (vec![0.3125, 0.5, 0.1875], vec!["mild".to_owned()]));
    }

    #[test]
    fn only_the_best_view_that_was_scored_counts() {
        let rule = StudyRule {
            preferred_views: vec!["RL".into(), "LL".into()],
            ..StudyRule::default()
        };
        let two = vec![scored("AP", &[0.9, 0.9]), scored("LL", &[0.1, 0.2])];
        assert_eq!(probabilities(two, &rule), [0.1, 0.2]);
        // by code only
        let coded = vec![scored("AP", &[0.9, 0.9]), scored("399173006", &[0.1, 0.2])];
        assert_eq!(probabilities(coded, &rule), [0.1, 0.2]);
        // none of them is there: better all than nothing
        let other = vec![scored("AP", &[0.9, 0.9])];
        assert_eq!(probabilities(other, &rule), [0.9, 0.9]);
    }

    #[test]
    fn every_study_has_an_outcome() {
        let of = |instances| StudyResult::of(instances, &StudyRule::default(), &[]);
        let refused = InstanceResult::unscored(&Fault::new(FaultKind::Refused, "modality", "a CT"), None);
        let failed = InstanceResult::unscored(&Fault::new(FaultKind::Internal, "engine", "broken"), None);
        assert_eq!(of(vec![]).outcome, Outcome::Refused);
        assert_eq!(of(vec![refused.clone()]).reason.unwrap().code, "modality");
        assert_eq!(of(vec![refused.clone(), failed.clone()]).outcome, Outcome::Failed);
        assert_eq!(
            of(vec![refused, failed, scored("LL", &[0.1, 0.1])]).outcome,
            Outcome::Scored
        );
    }
}
