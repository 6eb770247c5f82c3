//! A study's result in FHIR R4, for systems that take neither DICOM nor a format of our own.
//!
//! [`bundle`] makes a collection: one `DiagnosticReport`, `preliminary` because nobody has looked at it, an Observation for each finding
//! and for each outcome, the Devices that made them, the `ImagingStudy` that they are about, and the private codes that they use.
//! The same arguments give the same Bundle, and no T-score is in it: a classifier has measured none.

mod observation;
mod terms;

use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde_json::{Map, Value, json};

use super::codes::{self, IMAGING_REPORT};
use super::document::{NAME, VERSION, device_uid};
use super::{Identity, ReportError, SourceInstance, report_uid};
use crate::dicom::record::date;
use crate::dicom::{CodedValue, StudyUid, text, uid};
use crate::finding::{ModelReference, Outcome, Reading, StudyResult};
use terms::{by_uid, concept, table};

/// What all resources of a Bundle refer to.
pub(super) struct Context<'a> {
    pub(super) result: &'a StudyResult,
    pub(super) key: &'a str,
    pub(super) sources: &'a [SourceInstance],
    study: StudyUid,
    /// The patient by identifier, where the header has one.
    subject: Option<Value>,
    /// When the images were taken, where the header says it.
    taken: Option<String>,
    /// When the result came to be.
    issued: String,
}

/// The Bundle of `result` about the images `sources`, for the patient and study of `header`, which is that of one of them or of what
/// was made of them.
///
/// # Errors
/// [`ReportError`].
pub fn bundle(
    result: &StudyResult,
    identity: &Identity<'_>,
    sources: &[SourceInstance],
    header: &InMemDicomObject,
) -> Result<Value, ReportError> {
    let context = Context {
        result,
        key: identity.key,
        sources,
        study: StudyUid::parse(&text(header, tags::STUDY_INSTANCE_UID).unwrap_or_default())?,
        subject: subject(header),
        taken: text(header, tags::STUDY_DATE)
            .and_then(|value| date(&value))
            .map(|day| format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..8])),
        issued: identity
            .shown_at(header)
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    };
    let observations = context.observations()?;
    let mut entries = vec![context.report(&observations), context.imaging_study(header)];
    entries.extend(context.devices());
    entries.extend(observations);
    let table = table(&entries);
    entries.push((uid::derived(&["osteon", "fhir", "codes", context.key]), table));
    let entries = entries.into_iter().map(|(own, resource)| {
        let place = format!("urn:oid:{own}");
        json!({ "fullUrl": place, "resource": resource })
    });
    Ok(json!({
        "resourceType": "Bundle",
        "type": "collection",
        "identifier": by_uid(&uid::derived(&["osteon", "fhir", "bundle", context.key])),
        "timestamp": context.issued,
        "entry": entries.collect::<Vec<_>>(),
    }))
}

/// A resource, with the UID by which others refer to it.
type Entry = (String, Value);

impl Context<'_> {
    /// A reference to a resource of this Bundle.
    fn to(&self, what: &str) -> Value {
        json!({ "reference": format!("urn:oid:{}", self.uid(what)) })
    }

    fn uid(&self, what: &str) -> String {
        uid::derived(&["osteon", "fhir", self.key, what])
    }

    /// What every clinical resource has.
    fn about(&self, kind: &str) -> Map<String, Value> {
        let mut resource = Map::new();
        resource.insert("resourceType".to_owned(), kind.into());
        resource.insert("status".to_owned(), "preliminary".into());
        if let Some(subject) = &self.subject {
            resource.insert("subject".to_owned(), subject.clone());
        }
        if let Some(taken) = &self.taken {
            resource.insert("effectiveDateTime".to_owned(), taken.clone().into());
        }
        resource.insert("issued".to_owned(), self.issued.clone().into());
        resource
    }

    fn report(&self, observations: &[Entry]) -> Entry {
        let mut report = self.about("DiagnosticReport");
        let results = observations
            .iter()
            .map(|(own, _)| json!({ "reference": format!("urn:oid:{own}") }));
        let present = self
            .result
            .findings
            .iter()
            .filter(|finding| matches!(finding.reading, Reading::Probability { positive: true, .. }));
        let codes: Vec<_> = present.map(|finding| concept(&finding.code)).collect();
        report.extend([
            ("identifier".to_owned(), json!([by_uid(&report_uid(self.key))])),
            ("category".to_owned(), json!([terms::radiology()])),
            ("code".to_owned(), concept(&IMAGING_REPORT.into())),
            ("result".to_owned(), results.collect()),
            ("imagingStudy".to_owned(), json!([self.to("study")])),
            ("conclusion".to_owned(), self.conclusion().into()),
        ]);
        if !codes.is_empty() {
            report.insert("conclusionCode".to_owned(), codes.into());
        }
        (self.uid("report"), report.into())
    }

    /// The outcome and what the models may be used for, in words.
    fn conclusion(&self) -> String {
        let mut sentences = vec![match (self.result.outcome, &self.result.reason) {
            (Outcome::Scored, _) => "Scored by a model; no person has looked at the result.".to_owned(),
            (outcome, Some(reason)) => {
                format!(
                    "Not scored ({}): {} ({}).",
                    outcome.name(),
                    reason.message,
                    reason.code
                )
            }
            (outcome, None) => format!("Not scored ({}).", outcome.name()),
        }];
        for model in self.models() {
            if !model.notice.is_empty() && !sentences.contains(&model.notice) {
                sentences.push(model.notice.clone());
            }
        }
        sentences.join(" ")
    }

    fn imaging_study(&self, header: &InMemDicomObject) -> Entry {
        let study = format!("urn:oid:{}", self.study);
        let mut identifiers = vec![json!({ "system": "urn:dicom:uid", "value": study })];
        if let Some(accession) = text(header, tags::ACCESSION_NUMBER) {
            identifiers.push(json!({ "type": terms::identifier_type("ACSN"), "value": accession }));
        }
        // required here (R4, ImagingStudy.subject)
        let unknown = || json!({ "display": "not stated in the images" });
        let mut study = json!({
            "resourceType": "ImagingStudy",
            "identifier": identifiers,
            "status": "available",
            "subject": self.subject.clone().unwrap_or_else(unknown),
            "numberOfInstances": self.result.instances.len(),
        });
        if let Some(taken) = &self.taken {
            study["started"] = taken.clone().into();
        }
        (self.uid("study"), study)
    }

    /// The models that were asked, each once.
    fn models(&self) -> Vec<&ModelReference> {
        let mut models: Vec<&ModelReference> = Vec::new();
        for instance in &self.result.instances {
            let Some(model) = &instance.model else { continue };
            if models.iter().all(|known| known.digest != model.digest) {
                models.push(model);
            }
        }
        models
    }

    /// This program, and each model as a part of it.
    fn devices(&self) -> Vec<Entry> {
        let version = |what: &str, value: &str| json!({ "type": { "text": what }, "value": value });
        let program = json!({
            "resourceType": "Device",
            "identifier": [by_uid(&device_uid())],
            "status": "active",
            "manufacturer": NAME,
            "deviceName": [{ "name": NAME, "type": "model-name" }],
            "version": [version("software", VERSION)],
        });
        let mut devices = vec![(self.uid("program"), program)];
        for model in self.models() {
            let mut device = json!({
                "resourceType": "Device",
                "status": "active",
                "manufacturer": NAME,
                "deviceName": [{ "name": model.name, "type": "model-name" }],
                "version": [
                    version("model", &model.version.to_string()),
                    version("digest", &model.digest),
                    version("provider", &model.provider),
                ],
                "parent": self.to("program"),
            });
            if !model.notice.is_empty() {
                device["note"] = json!([{ "text": model.notice }]);
            }
            devices.push((self.uid(&format!("model {}", model.digest)), device));
        }
        devices
    }

    /// The device that answered.
    fn device(&self, model: Option<&ModelReference>) -> Value {
        let name = model.map(|model| format!("model {}", model.digest));
        self.to(name.as_deref().unwrap_or("program"))
    }
}

/// The patient by Patient ID (0010,0020), with who issued it.
fn subject(header: &InMemDicomObject) -> Option<Value> {
    let mut identifier = json!({
        "type": terms::identifier_type("MR"),
        "value": text(header, tags::PATIENT_ID)?,
    });
    if let Some(issuer) = text(header, tags::ISSUER_OF_PATIENT_ID) {
        identifier["assigner"] = json!({ "display": issuer });
    }
    Some(json!({ "type": "Patient", "identifier": identifier }))
}

/// Codes of both, the reason as it is in REST.
fn outcome_code(outcome: Outcome) -> CodedValue {
    match outcome {
        Outcome::Scored => codes::SCORED,
        Outcome::Refused => codes::REFUSED,
        Outcome::Failed => codes::FAILED,
    }
    .into()
}
