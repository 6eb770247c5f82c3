//! Measurement groups (PS3.16 TID 1501): one for each finding of each image, and one for each image without a score.
//!
//! Invariant: every image of the result has a group, so that one that could not be scored is as visible as one that was.

use super::ReportError;
use super::codes;
use super::element::line;
use super::item::{Item, Value};
use super::source::SourceInstance;
use crate::dicom::{CodedValue, uid};
use crate::finding::{
    Finding, Gate, InstanceResult, IntendedUseCheck, ModelReference, Outcome, Reading, Reason, StudyResult,
    Verdict, Violation,
};

/// A result with its key and the images that it is about.
pub(super) struct Groups<'a> {
    pub(super) result: &'a StudyResult,
    pub(super) key: &'a str,
    pub(super) sources: &'a [SourceInstance],
}

/// What a group is about, beside its finding.
struct About<'a> {
    /// Unique within the report, for people.
    name: String,
    images: &'a [&'a SourceInstance],
    model: Option<&'a ModelReference>,
    overrides: Vec<Item>,
}

impl Groups<'_> {
    /// All groups: image by image, then, where several images were scored, those of the study.
    pub(super) fn all(&self) -> Result<Vec<Item>, ReportError> {
        let mut groups = Vec::new();
        let mut scored = Vec::new();
        for (index, instance) in self.result.instances.iter().enumerate() {
            let image = self.source(instance)?;
            let name = |what: &str| format!("image {}: {what}", index + 1);
            let about = |what: &str| About {
                name: name(what),
                images: image.as_slice(),
                model: instance.model.as_ref(),
                overrides: overrides(instance),
            };
            if instance.outcome == Outcome::Scored {
                scored.extend(image);
                for finding in &instance.findings {
                    groups.push(self.finding(finding, about(&finding.label))?);
                }
            }
            if instance.outcome != Outcome::Scored || instance.findings.is_empty() {
                let outcome = outcome(instance.outcome, instance.reason.as_ref());
                groups.push(self.group(about("outcome"), None, vec![outcome]));
            }
        }
        if scored.len() > 1 {
            let of_study = |instance: &&InstanceResult| instance.outcome == Outcome::Scored;
            let first = self.result.instances.iter().find(of_study);
            for finding in &self.result.findings {
                let about = About {
                    name: format!("study: {}", finding.label),
                    images: &scored,
                    model: first.and_then(|instance| instance.model.as_ref()),
                    overrides: Vec::new(),
                };
                groups.push(self.finding(finding, about)?);
            }
        }
        Ok(groups)
    }

    fn source(&self, instance: &InstanceResult) -> Result<Option<&SourceInstance>, ReportError> {
        let Some(uid) = &instance.sop_instance_uid else {
            return Ok(None);
        };
        let source = self.sources.iter().find(|source| source.uid.as_str() == uid);
        source.map(Some).ok_or(ReportError::Unlisted)
    }

    fn finding(&self, finding: &Finding, about: About<'_>) -> Result<Item, ReportError> {
        match &finding.reading {
            Reading::Probability {
                probability,
                threshold,
                positive,
            } => {
                let presence = if *positive { codes::PRESENT } else { codes::ABSENT };
                let said = vec![
                    number(codes::probability_of(&finding.code), *probability, "1")?,
                    Item::contains(codes::PRESENCE, Value::Code(presence.into())),
                ];
                let concept = Item::contains(codes::FINDING, Value::Code(finding.code.clone()));
                Ok(self.group(about, Some((concept, *threshold)), said))
            }
            Reading::Quantity { value, unit } => {
                let said = vec![number(finding.code.clone(), *value, unit)?];
                Ok(self.group(about, None, said))
            }
        }
    }

    /// A group in the order of TID 1501: what it tracks, the finding, where, by which algorithm, from which images, and what is said.
    fn group(&self, about: About<'_>, finding: Option<(Item, Option<f32>)>, said: Vec<Item>) -> Item {
        let tracking = uid::derived(&["osteon", "tracking", self.key, &about.name]);
        let (finding, threshold) = finding.map_or((None, None), |(item, threshold)| (Some(item), threshold));
        let mut children = vec![
            Item::context(codes::TRACKING_IDENTIFIER, Value::Text(about.name)),
            Item::context(codes::TRACKING_UID, Value::Uid(tracking)),
        ];
        children.extend(finding);
        children.extend(site(about.images));
        children.extend(
            about
                .model
                .into_iter()
                .flat_map(|model| algorithm(model, threshold)),
        );
        children.extend(about.images.iter().map(|image| Item::source(image)));
        children.extend(said);
        children.extend(about.overrides);
        Item::container(codes::MEASUREMENT_GROUP, children)
    }
}

fn number(concept: CodedValue, value: f32, unit: &str) -> Result<Item, ReportError> {
    if !value.is_finite() {
        return Err(ReportError::NotFinite);
    }
    Ok(Item::contains(concept, Value::Number(value, codes::unit(unit))))
}

/// The finding site with its laterality, where all images agree on them.
fn site(images: &[&SourceInstance]) -> Option<Item> {
    let first = images.first()?;
    let agreed = |other: &&SourceInstance| other.site == first.site && other.side == first.side;
    let site = first.site.clone().filter(|_| images.iter().all(agreed))?;
    let side = first
        .side
        .map(|side| Item::modifier(codes::LATERALITY, Value::Code(side.code().into())));
    Some(Item::modifier(codes::FINDING_SITE, Value::Code(site)).with(side))
}

/// Algorithm identification (PS3.16 TID 4019).
fn algorithm(model: &ModelReference, threshold: Option<f32>) -> Vec<Item> {
    let text = |concept, value| Item::modifier(concept, Value::Text(value));
    let parameter = |name: &str, value: &str| text(codes::ALGORITHM_PARAMETERS, format!("{name}={value}"));
    let mut items = vec![
        text(codes::ALGORITHM_NAME, model.name.clone()),
        text(codes::ALGORITHM_VERSION, model.version.to_string()),
    ];
    items.extend(threshold.map(|threshold| parameter("threshold", &threshold.to_string())));
    items.push(parameter("model-digest", &model.digest));
    items.push(parameter("provider", &model.provider));
    items
}

/// What became of an image or a study, and why.
pub(super) fn outcome(outcome: Outcome, reason: Option<&Reason>) -> Item {
    let code = match outcome {
        Outcome::Scored => codes::SCORED,
        Outcome::Refused => codes::REFUSED,
        Outcome::Failed => codes::FAILED,
    };
    let reason = reason.map(|reason| {
        let comment = comment(&reason.message);
        Item::property(codes::REASON, Value::Code(codes::stable(&line(&reason.code)))).with([comment])
    });
    Item::contains(codes::OUTCOME, Value::Code(code.into())).with(reason)
}

fn comment(text: &str) -> Item {
    Item::property(codes::COMMENT, Value::Text(text.to_owned()))
}

/// The gates that were set aside for research, each with what was wrong.
pub(super) fn overridden(instance: &InstanceResult) -> Vec<(Gate, Vec<String>)> {
    let all = |violations: &[Violation]| {
        let sentences = violations.iter().map(|violation| violation.message.clone());
        sentences.collect::<Vec<_>>()
    };
    let mut gates = Vec::new();
    if let Some(IntendedUseCheck::Overridden { violations }) = &instance.intended_use {
        gates.push((Gate::IntendedUse, all(violations)));
    }
    let quality = instance.quality.as_ref();
    if let Some(check) = quality.filter(|check| check.status == Verdict::Overridden) {
        gates.push((Gate::Quality, all(&check.violations)));
    }
    let distribution = instance.distribution.as_ref();
    if let Some(check) = distribution.filter(|check| check.status == Verdict::Overridden) {
        let (distance, limit) = (check.distance, check.limit);
        let sentence = format!("distance {distance:.2}, beyond the limit of {limit:.2}");
        gates.push((Gate::Distribution, vec![sentence]));
    }
    gates
}

fn overrides(instance: &InstanceResult) -> Vec<Item> {
    let gates = overridden(instance).into_iter();
    let items = gates.map(|(gate, sentences)| {
        let gate = Value::Code(codes::stable(gate.name()));
        Item::contains(codes::OVERRIDE, gate).with(sentences.iter().map(|sentence| comment(sentence)))
    });
    items.collect()
}
