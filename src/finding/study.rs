//! From instances to a study: which of them count, and how their findings become one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finding, InstanceResult, Outcome, Reading, Reason};

/// How the images of a study make one result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudyRule {
    /// How the findings of several images become one.
    #[serde(default)]
    pub aggregation: Aggregation,
    /// Values of View Position (0018,5101), the best first: only images of the first of them that was scored count. Empty: all
    /// scored images count.
    #[serde(default)]
    pub preferred_views: Vec<String>,
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
    /// The finding of the image with the highest probability or value.
    #[default]
    Highest,
    /// The mean of the probabilities or values.
    Mean,
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
    /// Puts the instances of a study together.
    #[must_use]
    pub fn of(instances: Vec<InstanceResult>, rule: &StudyRule) -> Self {
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
        let findings = findings(&instances, rule);
        Self {
            outcome,
            reason,
            findings,
            instances,
        }
    }
}

fn findings(instances: &[InstanceResult], rule: &StudyRule) -> Vec<Finding> {
    let scored = || {
        instances
            .iter()
            .filter(|instance| instance.outcome == Outcome::Scored)
    };
    let view = rule
        .preferred_views
        .iter()
        .find(|view| scored().any(|instance| instance.view.as_ref() == Some(view)));
    let mut labels: Vec<Vec<&Finding>> = Vec::new();
    for instance in scored().filter(|instance| view.is_none() || instance.view.as_ref() == view) {
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
    labels
        .iter()
        .filter_map(|of_label| match rule.aggregation {
            Aggregation::Highest => highest(of_label),
            Aggregation::Mean => mean(of_label),
        })
        .collect()
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

/// The mean; a finding without a threshold is present where most of the images say so.
fn mean(findings: &[&Finding]) -> Option<Finding> {
    let mut finding = (*findings.first()?).clone();
    let count = findings.len();
    let mean = findings.iter().map(|finding| number(finding)).sum::<f32>() / count as f32;
    let votes = findings
        .iter()
        .filter(|finding| matches!(finding.reading, Reading::Probability { positive: true, .. }))
        .count();
    match &mut finding.reading {
        Reading::Probability {
            probability,
            threshold,
            positive,
        } => {
            *probability = mean;
            *positive = threshold.map_or(votes * 2 > count, |threshold| mean >= threshold);
        }
        Reading::Quantity { value, .. } => *value = mean,
    }
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::scored;
    use super::*;
    use crate::fault::{Fault, FaultKind};

    fn probabilities(instances: Vec<InstanceResult>, rule: &StudyRule) -> Vec<f32> {
        StudyResult::of(instances, rule)
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
        let study = StudyResult::of(vec![scored("LL", &[0.25, 1.0]), scored("LL", &[0.5, 0.5])], &rule);
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

    #[test]
    fn only_the_best_view_that_was_scored_counts() {
        let rule = StudyRule {
            preferred_views: vec!["RL".into(), "LL".into()],
            ..StudyRule::default()
        };
        let two = vec![scored("AP", &[0.9, 0.9]), scored("LL", &[0.1, 0.2])];
        assert_eq!(probabilities(two, &rule), [0.1, 0.2]);
        // none of them is there: better all than nothing
        let other = vec![scored("AP", &[0.9, 0.9])];
        assert_eq!(probabilities(other, &rule), [0.9, 0.9]);
    }

    #[test]
    fn every_study_has_an_outcome() {
        let of = |instances| StudyResult::of(instances, &StudyRule::default());
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
