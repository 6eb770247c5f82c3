//! Structured reports, read by those who did not write them: dicom3tools' validator, DCMTK, and highdicom with pydicom.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dicom_object::InMemDicomObject;
use osteon::dicom::{CodedValue, Instance};
use osteon::fault::{Fault, FaultKind};
use osteon::finding::{
    Finding, InstanceResult, IntendedUseCheck, ModelReference, Outcome, Reading, StudyResult, StudyRule,
    Violation,
};
use osteon::image::phantom::{Recipe, to_dicom};
use osteon::report::{Identity, SourceInstance, structured_report};
use serde_json::{Value, json};

fn header(patient: u32, image: u32) -> InMemDicomObject {
    let object = to_dicom(
        &Recipe::new(u64::from(patient), 64, 48).render(),
        9,
        patient,
        image,
    )
    .unwrap();
    let mut file = Vec::new();
    object.write_all(&mut file).unwrap();
    Instance::parse(file.into()).unwrap().header
}

fn probability(
    label: &str,
    code: [&str; 3],
    probability: f32,
    threshold: Option<f32>,
    positive: bool,
) -> Finding {
    Finding {
        reading: Reading::Probability {
            probability,
            threshold,
            positive,
        },
        ..quantity(label, code, 0.0, "1")
    }
}

fn quantity(label: &str, [scheme, value, meaning]: [&str; 3], number: f32, unit: &str) -> Finding {
    Finding {
        label: label.into(),
        code: CodedValue {
            scheme: scheme.into(),
            value: value.into(),
            meaning: meaning.into(),
        },
        reading: Reading::Quantity {
            value: number,
            unit: unit.into(),
        },
    }
}

fn unscored(source: &SourceInstance, kind: FaultKind, code: &'static str) -> InstanceResult {
    let fault = Fault::new(kind, code, "a sentence that says what was wrong");
    InstanceResult::unscored(&fault, Some(source.uid.to_string()))
}

fn scored(source: &SourceInstance, findings: Vec<Finding>) -> InstanceResult {
    InstanceResult {
        outcome: Outcome::Scored,
        reason: None,
        findings,
        model: Some(ModelReference {
            name: "spine".into(),
            version: 3,
            digest: "ab".repeat(32),
            provider: "CPU".into(),
            notice: "Research only".into(),
        }),
        ..unscored(source, FaultKind::Refused, "modality")
    }
}

const OSTEOPOROSIS: [&str; 3] = ["SCT", "64859006", "Osteoporosis"];
const OSTEOPENIA: [&str; 3] = ["SCT", "312894000", "Osteopenia"];
const NORMAL: [&str; 3] = ["SCT", "17621005", "Normal"];
const AGE: [&str; 3] = ["99EXAMPLE", "skeletal-age-of-spine", "Skeletal age of the spine"];

/// Reports of every kind, each in a file named for it.
fn reports(folder: &Path) -> Vec<PathBuf> {
    let headers = [header(7, 0), header(7, 1)];
    let sources: Vec<_> = headers
        .iter()
        .map(|header| SourceInstance::of(header).unwrap())
        .collect();
    let two = |low: f32, high: f32| {
        vec![
            scored(
                &sources[0],
                vec![probability(
                    "osteoporosis",
                    OSTEOPOROSIS,
                    low,
                    Some(0.4),
                    low >= 0.4,
                )],
            ),
            scored(
                &sources[1],
                vec![probability(
                    "osteoporosis",
                    OSTEOPOROSIS,
                    high,
                    Some(0.4),
                    high >= 0.4,
                )],
            ),
        ]
    };
    let mut research = scored(&sources[0], vec![quantity("age", AGE, 71.25, "a")]);
    research.intended_use = Some(IntendedUseCheck::Overridden {
        violations: vec![Violation {
            code: "age".into(),
            message: "age 30 is outside 50 to 90".into(),
        }],
    });
    let classes = vec![
        probability("normal", NORMAL, 1e-20, None, false),
        probability("osteopenia", OSTEOPENIA, 0.75, None, true),
        probability("osteoporosis", OSTEOPOROSIS, 0.25, None, false),
    ];
    let cases = [
        ("binary", two(0.123_456_79, 0.875)),
        ("classes", vec![scored(&sources[0], classes)]),
        ("regression", vec![research]),
        (
            "refused",
            vec![unscored(&sources[0], FaultKind::Refused, "body-part-unknown")],
        ),
        (
            "failed",
            vec![
                unscored(&sources[0], FaultKind::Internal, "engine"),
                unscored(&sources[1], FaultKind::Refused, "modality"),
            ],
        ),
        ("empty", vec![]),
    ];
    cases
        .into_iter()
        .map(|(name, instances)| {
            let result = StudyResult::of(instances, &StudyRule::default(), &[]);
            let (key, former) = (format!("{name:0>64}"), "f".repeat(64));
            let identity = Identity {
                key: &key,
                supersedes: (name == "classes").then_some(former.as_str()),
                made_at: "2026-11-25T08:30:05Z".parse().unwrap(),
            };
            let report = structured_report(&result, &identity, &sources, &headers[0]).unwrap();
            let file = folder.join(format!("{name}.dcm"));
            report.write_to_file(&file).unwrap();
            file
        })
        .collect()
}

/// What a program says, or `None` where it is not installed.
fn told(program: &str, arguments: &[&Path]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("SKIPPED: {program} is not installed, so it read no report");
            None
        }
    }
}

#[test]
fn a_validator_finds_no_error_in_any_report() {
    let folder = tempfile::tempdir().unwrap();
    for file in reports(folder.path()) {
        let Some(output) = told("dciodvfy", &[&file]) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("Comprehensive3DSR"), "{}: {said}", file.display());
        assert!(!said.contains("Error"), "{}: {said}", file.display());
    }
}

#[test]
fn dcmtk_reads_every_report_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    for file in reports(folder.path()) {
        let Some(output) = told("dsrdump", &[&file]) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complained}", file.display());
        // it cannot check values in UTF-8 (ISO_IR 192), and says so
        let complaints = complained
            .lines()
            .filter(|line| !line.is_empty() && !line.ends_with("Specific Character Set: ISO_IR 192"));
        assert_eq!(complaints.count(), 0, "{}: {complained}", file.display());
        for text in [
            "Comprehensive 3D SR",
            "Imaging Measurement Report",
            "Qualitative Evaluations",
        ] {
            assert!(said.contains(text), "{}: no {text} in {said}", file.display());
        }
    }
}

#[test]
fn highdicom_finds_the_measurement_groups() {
    let folder = tempfile::tempdir().unwrap();
    let files = reports(folder.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers/read_reports.py");
    let mut arguments = vec![script.as_path()];
    arguments.extend(files.iter().map(PathBuf::as_path));
    let Some(output) = told("python3", &arguments) else {
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    if let Some(missing) = read.get("missing") {
        eprintln!("SKIPPED: no report was read: {missing} (PYTHONPATH=\"$(scripts/fetch-python-tests)\")");
        return;
    }
    let probability = |identifier: &str, value: f64, presence: &str| {
        json!({
            "tracking": identifier, "finding": "Osteoporosis", "site": "Lumbar spine", "algorithm": "spine 3",
            "measurements": [["Probability of Osteoporosis", value, "no units"]],
            "evaluations": [["Presence of property", presence]],
        })
    };
    assert_eq!(
        read["binary"],
        json!([
            probability("image 1: osteoporosis", 0.123_456_79, "Absent"),
            probability("image 2: osteoporosis", 0.875, "Present"),
            probability("study: osteoporosis", 0.875, "Present"),
        ])
    );
    assert_eq!(read["classes"].as_array().unwrap().len(), 3);
    assert_eq!(read["classes"][0]["measurements"][0][1], json!(1e-20));
    let age = &read["regression"][0];
    assert_eq!(
        age["measurements"],
        json!([["Skeletal age of the spine", 71.25, "a"]])
    );
    assert_eq!(
        age["evaluations"],
        json!([["Gate set aside for research", "intended use"]])
    );
    let outcomes = |report: &str| -> Vec<Value> {
        let groups = read[report].as_array().unwrap();
        groups
            .iter()
            .map(|group| group["evaluations"][0][1].clone())
            .collect()
    };
    assert_eq!(outcomes("refused"), ["Refused: not scored"]);
    assert_eq!(outcomes("failed"), ["Failed: not scored", "Refused: not scored"]);
    assert_eq!(read["empty"], json!([]));
}
