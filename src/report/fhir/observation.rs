//! Observations: one for each finding of each image and of the study, and one for the outcome of each image without a score and of
//! the study. What was not scored has no value, and says why.

use serde_json::{Map, Value, json};

use super::terms::{by_uid, concept, hl7, quantity};
use super::{Context, Entry, outcome_code};
use crate::dicom::{CodedValue, uid};
use crate::finding::{Finding, InstanceResult, ModelReference, Outcome, Reading, Reason};
use crate::report::element::decimal;
use crate::report::groups::overridden;
use crate::report::{ReportError, SourceInstance, codes};

/// What an Observation is about.
struct About<'a> {
    /// Unique within the result; the same as the tracking identifier in the report.
    name: String,
    images: Vec<&'a SourceInstance>,
    model: Option<&'a ModelReference>,
    /// The image's own result, where it is about one.
    instance: Option<&'a InstanceResult>,
}

impl Context<'_> {
    pub(super) fn observations(&self) -> Result<Vec<Entry>, ReportError> {
        let mut observations = Vec::new();
        let (mut scored, mut asked) = (Vec::new(), None);
        for (index, instance) in self.result.instances.iter().enumerate() {
            let uid = instance.sop_instance_uid.as_deref();
            let image = self
                .sources
                .iter()
                .find(|source| Some(source.uid.as_str()) == uid);
            let about = |what: &str| About {
                name: format!("image {}: {what}", index + 1),
                images: image.into_iter().collect(),
                model: instance.model.as_ref(),
                instance: Some(instance),
            };
            if instance.outcome == Outcome::Scored {
                scored.extend(image);
                asked = asked.or(instance.model.as_ref());
                for finding in &instance.findings {
                    observations.push(self.finding(finding, &about(&finding.label))?);
                }
            } else {
                observations.push(self.outcome(
                    instance.outcome,
                    instance.reason.as_ref(),
                    &about("outcome"),
                ));
            }
        }
        let of_study = |what: &str, model| About {
            name: format!("study: {what}"),
            images: scored.clone(),
            model,
            instance: None,
        };
        if scored.len() > 1 {
            for finding in &self.result.findings {
                observations.push(self.finding(finding, &of_study(&finding.label, asked))?);
            }
        }
        let result = self.result;
        observations.push(self.outcome(result.outcome, result.reason.as_ref(), &of_study("outcome", None)));
        Ok(observations)
    }

    fn finding(&self, finding: &Finding, about: &About<'_>) -> Result<Entry, ReportError> {
        let mut observation = self.observation(&finding.code, about);
        let mut components = Vec::new();
        match &finding.reading {
            Reading::Probability {
                probability,
                threshold,
                positive,
            } => {
                let presence = if *positive { codes::PRESENT } else { codes::ABSENT };
                observation.insert("valueCodeableConcept".to_owned(), concept(&presence.into()));
                let probable = codes::probability_of(&finding.code);
                components.push(measured(&probable, *probability, "1")?);
                if let Some(threshold) = threshold {
                    components.push(measured(&codes::THRESHOLD.into(), *threshold, "1")?);
                }
            }
            Reading::Quantity { value, unit } => {
                observation.insert("valueQuantity".to_owned(), quantity(number(*value)?, unit));
            }
        }
        for (gate, _) in about.instance.map(overridden).unwrap_or_default() {
            let gate = codes::stable(gate.name());
            components.push(coded(&codes::OVERRIDE.into(), &concept(&gate)));
        }
        if !components.is_empty() {
            observation.insert("component".to_owned(), components.into());
        }
        Ok(self.entry(observation, about))
    }

    /// A value where there is a score. Otherwise none (R4, constraint obs-6), why it is absent, and the outcome with its reason.
    fn outcome(&self, outcome: Outcome, reason: Option<&Reason>, about: &About<'_>) -> Entry {
        let mut observation = self.observation(&codes::OUTCOME.into(), about);
        let became = concept(&outcome_code(outcome));
        let absent = match outcome {
            Outcome::Scored => {
                observation.insert("valueCodeableConcept".to_owned(), became);
                return self.entry(observation, about);
            }
            Outcome::Refused => hl7("data-absent-reason", "not-performed", "Not Performed"),
            Outcome::Failed => hl7("data-absent-reason", "error", "Error"),
        };
        let mut components = vec![coded(&codes::OUTCOME.into(), &became)];
        let mut absence = json!({ "coding": [absent] });
        if let Some(reason) = reason {
            let mut why = concept(&codes::stable(&reason.code));
            why["text"] = reason.message.clone().into();
            absence["text"] = reason.message.clone().into();
            components.push(coded(&codes::REASON.into(), &why));
        }
        observation.insert("dataAbsentReason".to_owned(), absence);
        observation.insert("component".to_owned(), components.into());
        self.entry(observation, about)
    }

    /// All of an Observation but what it says.
    fn observation(&self, code: &CodedValue, about: &About<'_>) -> Map<String, Value> {
        let mut observation = self.about("Observation");
        let tracking = uid::derived(&["osteon", "tracking", self.key, &about.name]);
        let mut derived = vec![self.to("study")];
        derived.extend(about.images.iter().map(|image| {
            let image = format!("urn:oid:{}", image.uid);
            let identifier = json!({ "system": "urn:dicom:uid", "value": image });
            json!({ "type": "ImagingStudy", "identifier": identifier, "display": "image" })
        }));
        observation.extend([
            ("identifier".to_owned(), json!([by_uid(&tracking)])),
            (
                "category".to_owned(),
                json!([{ "coding": [hl7("observation-category", "imaging", "Imaging")] }]),
            ),
            ("code".to_owned(), concept(code)),
            ("device".to_owned(), self.device(about.model)),
            ("derivedFrom".to_owned(), derived.into()),
            ("note".to_owned(), json!([{ "text": about.name }])),
        ]);
        if let Some(site) = site(&about.images) {
            observation.insert("bodySite".to_owned(), site);
        }
        observation
    }

    fn entry(&self, observation: Map<String, Value>, about: &About<'_>) -> Entry {
        (self.uid(&about.name), observation.into())
    }
}

/// The site with its side, where all images agree on both.
fn site(images: &[&SourceInstance]) -> Option<Value> {
    let first = images.first()?;
    let agreed = |other: &&SourceInstance| other.site == first.site && other.side == first.side;
    let site = first.site.as_ref().filter(|_| images.iter().all(agreed))?;
    let mut site = concept(site);
    if let Some(side) = first.side {
        let side = CodedValue::from(side.code()).meaning.to_lowercase();
        site["text"] = format!("{}, {side}", site["text"].as_str().unwrap_or_default()).into();
    }
    Some(site)
}

fn coded(code: &CodedValue, value: &Value) -> Value {
    json!({ "code": concept(code), "valueCodeableConcept": value })
}

fn measured(code: &CodedValue, value: f32, unit: &str) -> Result<Value, ReportError> {
    Ok(json!({ "code": concept(code), "valueQuantity": quantity(number(value)?, unit) }))
}

/// With the digits of the number as it is, and not those of its nearest double.
fn number(value: f32) -> Result<f64, ReportError> {
    let shown = decimal(value).parse().map_err(|_| ReportError::NotFinite)?;
    if value.is_finite() {
        Ok(shown)
    } else {
        Err(ReportError::NotFinite)
    }
}
