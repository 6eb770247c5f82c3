//! From an archive of patients' images to one that names nobody, by the trainer's own command.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use bytes::Bytes;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use osteon::dicom::{Instance, text};
use osteon::image::decode::decode;
use osteon::image::phantom::{Recipe, to_dicom};

use crate::trainer::trainer;

const NAME: &str = "SMITH^ANNA";

/// An image of the patient in `folder`, under a name that names her, too.
fn image(folder: &Path, patient: u32, image: u32, burned_in: &str) -> Instance {
    let phantom = Recipe::new(u64::from(patient), 64, 64).render();
    let mut object = to_dicom(&phantom, 1, patient, image).unwrap();
    for (tag, vr, value) in [
        (tags::PATIENT_NAME, VR::PN, NAME),
        (tags::STUDY_DESCRIPTION, VR::LO, "Lumbar spine SMITH^ANNA"),
        (tags::BURNED_IN_ANNOTATION, VR::CS, burned_in),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
    let path = folder.join(format!("{NAME}-{patient}-{image}.dcm"));
    object.write_to_file(&path).unwrap();
    Instance::parse(Bytes::from(std::fs::read(path).unwrap())).unwrap()
}

fn run(folder: &Path, out: &str, more: &[&str]) -> Output {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (input, out, key) = (path("in"), path(out), path("key"));
    let mut arguments = vec!["deidentify", "--in", &input, "--out", &out, "--key-file", &key];
    arguments.extend(more);
    trainer(&arguments)
}

fn written(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().to_string_lossy().into_owned(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

fn names_nobody(bytes: &[u8]) -> bool {
    !bytes.to_ascii_uppercase().windows(5).any(|part| part == b"SMITH")
}

fn said(output: &Output) -> String {
    let streams = [output.stdout.clone(), output.stderr.clone()].concat();
    assert!(names_nobody(&streams));
    String::from_utf8(streams).unwrap()
}

#[test]
fn an_archive_is_copied_and_names_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("in/deeper")).unwrap();
    let source = image(&folder.join("in"), 1, 0, "NO");
    image(&folder.join("in/deeper"), 1, 1, "NO");

    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (report, map) = (path("report.json"), path("map.json"));
    let options = [
        "--retain",
        "modified-dates,patient-characteristics",
        "--clean",
        "descriptors",
        "--report",
        &report,
        "--uid-map",
        &map,
        "--new-key",
    ];
    let output = run(folder, "out", &options);
    let words = said(&output);
    assert!(
        output.status.success() && words.contains("2 of 2 files written"),
        "{words}"
    );

    let files = written(&folder.join("out"));
    assert_eq!(files.len(), 2);
    let mut studies = Vec::new();
    for (name, bytes) in files.clone() {
        assert!(names_nobody(&bytes));
        let new = Instance::parse(Bytes::from(bytes)).unwrap();
        assert_eq!(name, format!("{}.dcm", new.uid));
        let (old, seen) = (decode(&source).unwrap(), decode(&new).unwrap());
        assert_eq!(old.codes.words(64 * 64), seen.codes.words(64 * 64));
        assert_eq!(
            text(&new.header, tags::STUDY_DESCRIPTION).as_deref(),
            Some("Lumbar spine")
        );
        studies.push(new.study);
    }
    assert_eq!(studies[0], studies[1]);

    let report = std::fs::read(report).unwrap();
    assert!(names_nobody(&report));
    assert!(
        String::from_utf8(report)
            .unwrap()
            .contains("\"StudyInstanceUID\"")
    );
    let secret = std::fs::read(&map).unwrap();
    assert!(String::from_utf8(secret).unwrap().contains(source.uid.as_str()));
    for name in [map, path("key")] {
        assert_eq!(
            std::fs::metadata(&name).unwrap().permissions().mode() & 0o777,
            0o600,
            "{name}"
        );
    }

    // the same key gives the same files in another run, and never in the place of what is there
    let output = run(
        folder,
        "again",
        &[
            "--retain",
            "modified-dates,patient-characteristics",
            "--clean",
            "descriptors",
        ],
    );
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(written(&folder.join("again")), files);
    let output = run(folder, "out", &[]);
    let words = said(&output);
    assert!(
        !output.status.success() && words.contains("nothing is overwritten"),
        "{words}"
    );
    assert_eq!(written(&folder.join("out")), files);
}

#[test]
fn what_cannot_be_cleaned_is_refused_by_number_and_masked_by_rule() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("in")).unwrap();
    image(&folder.join("in"), 1, 0, "NO");
    let burned = image(&folder.join("in"), 2, 0, "YES");
    std::fs::write(folder.join("in/SMITH.txt"), "no image of Anna Smith").unwrap();

    let output = run(folder, "out", &["--new-key"]);
    let words = said(&output);
    assert!(!output.status.success());
    for part in [
        "1 of 3 files written",
        "was refused: Burned In Annotation (0028,0301) is YES",
        "failed: this is not a DICOM file",
    ] {
        assert!(words.contains(part), "{words}");
    }

    std::fs::remove_file(folder.join("in/SMITH.txt")).unwrap();
    let model = text(&burned.header, tags::MANUFACTURER_MODEL_NAME).unwrap();
    let rules = folder.join("masks.json");
    std::fs::write(
        &rules,
        format!(
            r#"[{{"model": "{model}", "rows": 64, "columns": 64, "rectangles": [{{"left": 0, "top": 0, "width": 64, "height": 9}}]}}]"#
        ),
    )
    .unwrap();
    let output = run(folder, "masked", &["--mask-rules", &rules.to_string_lossy()]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(written(&folder.join("masked")).len(), 2);
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("in")).unwrap();
    image(&folder.join("in"), 1, 0, "NO");
    for (more, part) in [
        (&[][..], "key cannot be read"),
        (
            &["--new-key", "--retain", "full-dates,modified-dates"],
            "choose one of the two",
        ),
        (
            &["--new-key", "--clean", "recognizable-visual-features"],
            "is not supported",
        ),
        (&["--new-key", "--keep-private", "0010,ACME,01"], "an odd group"),
    ] {
        let output = run(folder, "out", more);
        let words = said(&output);
        assert!(!output.status.success() && words.contains(part), "{words}");
        assert!(!folder.join("key").exists(), "{more:?} left a key behind");
    }
    assert!(trainer(&["deidentify", "--help"]).status.success());
}
