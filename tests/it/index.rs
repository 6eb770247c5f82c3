//! From folders and archives of images to one table that names nobody, by the trainer's own command; what is wrong is found and said, and a
//! run that was killed goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use osteon::config::Given;
use osteon::image::phantom::{Recipe, to_dicom};

use crate::server::{TestServer, bytes};
use crate::trainer::trainer;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const RECIPE: &str = r#"{
  "labels": ["fracture"], "epochs": 1, "batch": 8, "threads": 1,
  "architecture": {"family": "residual", "channels": 1, "rows": 32, "columns": 24, "stem": 4, "widths": [8],
                   "blocks": [1], "pooling": "average", "dropout": 0.0}
}"#;

/// A folder with a key, and phantoms of so many patients in `in`, one image each.
pub(crate) fn stage(patients: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("key"), KEY).unwrap();
    for patient in 0..patients {
        let object = to_dicom(&Recipe::new(u64::from(patient), 160, 120).render(), 7, patient, 0).unwrap();
        let file = folder.path().join(format!("in/{patient:03}.dcm"));
        std::fs::write(file, bytes(&object)).unwrap();
    }
    folder
}

pub(crate) fn arguments(folder: &Path, out: &str, more: &[&str]) -> Vec<String> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let mut arguments = vec!["index".to_owned()];
    if !more.contains(&"--archive") {
        arguments.extend(["--in".to_owned(), path("in")]);
    }
    arguments.extend([
        "--key-file".to_owned(),
        path("key"),
        "--out".to_owned(),
        path(out),
    ]);
    arguments.extend(
        more.iter()
            .map(|word| word.replace("{}", &folder.to_string_lossy())),
    );
    arguments
}

pub(crate) fn index(folder: &Path, out: &str, more: &[&str]) -> Output {
    let arguments = arguments(folder, out, more);
    trainer(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The rows of a table, by column.
pub(crate) fn table(file: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text
        .lines()
        .map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    lines
        .map(|line| header.iter().cloned().zip(line).collect())
        .collect()
}

/// The phantom's picture in eight bits.
fn jpeg(folder: &Path, patient: u64, name: &str) {
    let phantom = Recipe::new(patient, 160, 120).render();
    let grey: Vec<u8> = phantom.pixels.iter().map(|value| (value >> 4) as u8).collect();
    image::save_buffer(folder.join(name), &grey, 120, 160, image::ExtendedColorType::L8).unwrap();
}

#[test]
fn a_folder_becomes_a_table_that_names_nobody() {
    let stage = stage(12);
    let folder = stage.path();
    let input = folder.join("in");
    jpeg(&input, 3, "three.jpg");
    std::fs::copy(input.join("004.dcm"), input.join("zz-copy.dcm")).unwrap();
    std::fs::write(
        input.join("broken.dcm"),
        &std::fs::read(input.join("005.dcm")).unwrap()[..9000],
    )
    .unwrap();
    std::fs::write(input.join("letter"), "Dear colleague").unwrap();
    let mut lines = String::from("file,patient,split,fracture,stage\n");
    for patient in 0..12 {
        let split = if patient < 9 { "train" } else { "test" };
        lines += &format!("{patient:03}.dcm,,{split},{},{patient}\n", patient % 2);
    }
    // the picture of patient 3 under another name, on the other side of the split
    lines += "three.jpg,somebody else,test,1,\ngone.png,,train,1,\n";
    std::fs::write(folder.join("labels.csv"), lines).unwrap();

    let output = index(folder, "out", &["--labels", "{}/labels.csv"]);
    let words = said(&output);
    assert!(!output.status.success(), "a picture is on both sides: {words}");
    for part in [
        "14 images of 13 patients",
        "lumbar-spine 13, not known 1",
        "error: 1 pairs of the same picture stand in two parts of the split",
        "1 files are left out: it is neither DICOM nor PNG nor JPEG",
        "1 lines of",
        "(line 15)",
        "1 pairs with the same bytes",
        "1 pairs with the same picture",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let rows = table(&folder.join("out/images.csv"));
    assert_eq!(rows.len(), 14);
    let first = &rows[0];
    for (column, value) in [
        ("body_part", "lumbar-spine"),
        ("view", "lateral"),
        ("modality", "DX"),
        ("split", "train"),
        ("fracture", "0"),
        ("rows", "160"),
        ("burned_in", "no"),
    ] {
        assert_eq!(first[column], value, "{column}");
    }
    assert!(first["patient"].starts_with('P') && first["patient"].len() == 11);
    assert!(["M", "F"].contains(&first["sex"].as_str()) && first["age"].parse::<u16>().unwrap() > 20);
    assert!(first["row_spacing"].parse::<f64>().unwrap() > 0.0);
    let polarities: BTreeSet<&str> = rows.iter().map(|row| row["polarity"].as_str()).collect();
    assert_eq!(
        polarities.into_iter().collect::<Vec<_>>(),
        ["", "MONOCHROME1", "MONOCHROME2"],
        "a picture has none"
    );
    // the two that show one picture are one group, and a copy names its original
    let of = |name: &str| rows.iter().find(|row| row["stage"] == name).unwrap();
    let picture = rows.iter().find(|row| row["modality"].is_empty()).unwrap();
    assert_eq!(picture["group"], of("3")["group"]);
    assert_ne!(picture["patient"], of("3")["patient"]);
    assert_eq!(picture["duplicate_of"], of("3")["image"]);
    let copies: Vec<_> = rows
        .iter()
        .filter(|row| row["duplicate_of"] == of("4")["image"])
        .collect();
    assert_eq!(copies.len(), 1);
    assert_eq!(
        (&copies[0]["patient"], &copies[0]["fracture"]),
        (&of("4")["patient"], &String::new())
    );

    for name in [
        "images.csv",
        "report.html",
        "index.json",
        "duplicates.csv",
        "leaks.csv",
        "mapping.csv",
    ] {
        let text = std::fs::read_to_string(folder.join("out").join(name)).unwrap();
        for secret in [
            "PHANTOM^", "PH0000", "HOSPITAL", "SYN-", "somebody", ".dcm", ".jpg",
        ] {
            assert!(!text.contains(secret), "{name} says {secret}");
        }
    }
    for name in ["work.jsonl", "files.csv", "left-out.csv", "names.csv"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.join("out").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(
        std::fs::read_to_string(folder.join("out/names.csv"))
            .unwrap()
            .contains("PHANTOM HOSPITAL")
    );

    // said not to be the same picture, nothing is wrong any more
    let output = index(
        folder,
        "out",
        &["--labels", "{}/labels.csv", "--keep-pictures-apart"],
    );
    assert!(output.status.success(), "{}", said(&output));
    // the pseudonyms are those of de-identification under the same key
    let clean = folder.join("clean").to_string_lossy().into_owned();
    let (one, key) = (input.join("000.dcm"), folder.join("key"));
    let words = [
        "deidentify",
        "--in",
        &one.to_string_lossy(),
        "--out",
        &clean,
        "--key-file",
        &key.to_string_lossy(),
    ];
    assert!(trainer(&words).status.success());
    assert!(
        Path::new(&clean)
            .join(format!("{}.dcm", first["image"]))
            .is_file()
    );
}

#[test]
fn a_killed_run_and_a_full_disk_go_on_to_the_same_table() {
    let stage = stage(12);
    let folder = stage.path();
    let input = folder.join("in");
    // many files of few pictures: each has bytes of its own
    for copy in 0..240 {
        let mut file = std::fs::read(input.join(format!("{:03}.dcm", copy % 12))).unwrap();
        let end = file.len() - 2;
        file[end] = file[end].wrapping_add(1 + (copy / 12) as u8);
        std::fs::write(input.join(format!("copy-{copy:03}.dcm")), file).unwrap();
    }
    let whole = index(folder, "whole", &[]);
    assert!(whole.status.success(), "{}", said(&whole));
    let expected = std::fs::read(folder.join("whole/images.csv")).unwrap();
    let lines = |out: &str| {
        let log = std::fs::read(folder.join(out).join("work.jsonl")).unwrap_or_default();
        log.iter().filter(|byte| **byte == b'\n').count()
    };
    assert_eq!(lines("whole"), 1 + 252);

    let mut running = Command::new(env!("CARGO_BIN_EXE_osteon-train"))
        .args(arguments(folder, "killed", &[]))
        .env("RAYON_NUM_THREADS", "1")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while lines("killed") < 2 && running.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let before = lines("killed");
    assert!((2..252).contains(&before), "it was killed after {before} lines");
    assert!(!folder.join("killed/images.csv").exists());
    let again = index(folder, "killed", &[]);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(lines("killed"), 1 + 252, "what was read is not read again");
    assert!(std::fs::read(folder.join("killed/images.csv")).unwrap() == expected);

    // a file may not grow beyond 200 KiB: what a full disk does, without one
    let limited = Command::new("bash")
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"")
        .arg(env!("CARGO_BIN_EXE_osteon-train"))
        .args(arguments(folder, "full", &[]))
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .unwrap();
    let words = said(&limited);
    assert!(!limited.status.success(), "{words}");
    assert!(
        words.contains("work.jsonl cannot be written") && words.contains("run the same command again"),
        "{words}"
    );
    assert!(lines("full") > 1 && lines("full") < 252, "{}", lines("full"));
    let again = index(folder, "full", &[]);
    assert!(again.status.success(), "{}", said(&again));
    assert!(std::fs::read(folder.join("full/images.csv")).unwrap() == expected);
}

#[test]
fn training_from_the_cache_needs_no_file_any_more() {
    let stage = stage(16);
    let folder = stage.path();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    let lines: String = (0..16)
        .map(|patient| format!("{patient:03}.dcm,{}\n", u8::from(patient % 2 == 0)))
        .collect();
    std::fs::write(folder.join("labels.csv"), format!("file,fracture\n{lines}")).unwrap();
    let with = ["--labels", "{}/labels.csv", "--recipe", "{}/recipe.json"];
    let output = index(folder, "out", &with);
    assert!(output.status.success(), "{}", said(&output));
    let fit = |out: &str, labels: &str| {
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        trainer(&[
            "fit",
            "--labels",
            &path(labels),
            "--recipe",
            &path("recipe.json"),
            "--out",
            &path(out),
            "--validation",
            "0.5",
        ])
    };
    let before = fit("before", "out/images.csv");
    assert!(before.status.success(), "{}", said(&before));
    std::fs::rename(folder.join("in"), folder.join("away")).unwrap();
    let after = fit("after", "out/images.csv");
    assert!(after.status.success(), "{}", said(&after));
    let weights = |out: &str| std::fs::read(folder.join(out).join("weights.safetensors")).unwrap();
    assert!(weights("before") == weights("after"));

    // without a cache it is said what is missing; with the files back, fit fills it by itself
    std::fs::remove_dir_all(folder.join("out/cache")).unwrap();
    let without = fit("without", "out/images.csv");
    assert!(
        !without.status.success() && said(&without).contains("none of the 16 images could be read"),
        "{}",
        said(&without)
    );
    std::fs::rename(folder.join("away"), folder.join("in")).unwrap();
    assert!(fit("filled", "out/images.csv").status.success());
    assert!(weights("before") == weights("filled"));
}

#[test]
fn a_patient_on_both_sides_and_a_class_of_one_are_said_before_training() {
    let stage = stage(8);
    let folder = stage.path();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    let lines: String = (0..8)
        .map(|patient| {
            format!(
                "{patient:03}.dcm,p{},{},{}\n",
                patient / 2,
                if patient % 3 == 0 { "test" } else { "train" },
                u8::from(patient == 5)
            )
        })
        .collect();
    std::fs::write(
        folder.join("labels.csv"),
        format!("file,patient,split,fracture\n{lines}"),
    )
    .unwrap();
    let output = index(folder, "out", &["--labels", "{}/labels.csv"]);
    let words = said(&output);
    assert!(!output.status.success());
    assert!(
        words.contains("error: 3 patients have images in more than one part of the split"),
        "{words}"
    );
    assert!(
        words.contains("label fracture: one patient alone has the value 1"),
        "{words}"
    );
    assert_eq!(table(&folder.join("out/leaks.csv")).len(), 3);
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let fit = trainer(&[
        "fit",
        "--labels",
        &path("out/images.csv"),
        "--recipe",
        &path("recipe.json"),
        "--out",
        &path("run"),
    ]);
    let words = said(&fit);
    assert!(
        !fit.status.success() && words.contains("has images in two parts of the split"),
        "{words}"
    );
    assert!(words.contains("one patient alone has the value 1"), "{words}");
}

#[test]
fn a_site_that_a_csv_names_has_its_name_beside_its_code() {
    let stage = stage(4);
    let folder = stage.path();
    let lines = "000.dcm,Praxis am See\n001.dcm,PRAXIS  am See\n002.dcm,\n";
    std::fs::write(folder.join("labels.csv"), format!("file,site\n{lines}")).unwrap();
    let output = index(folder, "out", &["--labels", "{}/labels.csv"]);
    assert!(output.status.success(), "{}", said(&output));
    let names = table(&folder.join("out/names.csv"));
    let of = |code: &str| -> Vec<&str> {
        let own = names.iter().filter(|row| row["code"] == code);
        own.map(|row| row["name"].as_str()).collect()
    };
    let rows = table(&folder.join("out/images.csv"));
    let sites: Vec<&str> = rows.iter().map(|row| row["site"].as_str()).collect();
    assert_eq!(sites[0], sites[1], "how it is written does not count");
    assert_eq!(of(sites[0]), ["PRAXIS  am See", "Praxis am See"]);
    // of whom the CSV says nothing, the header counts
    assert!(of(sites[3])[0].contains("HOSPITAL"), "{names:?}");
    // an institution that stands in no row needs no name
    let codes = names.iter().map(|row| row["code"].as_str());
    let named: BTreeSet<&str> = codes.filter(|code| code.starts_with('S')).collect();
    assert_eq!(named, sites.into_iter().collect());
}

#[test]
fn two_parts_that_a_third_patient_ties_together_are_said_as_fit_sees_them() {
    let stage = stage(6);
    let folder = stage.path();
    let input = folder.join("in");
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    // one patient, of whom the split says nothing, has the picture of a training image and that of a test image
    jpeg(&input, 0, "first.jpg");
    jpeg(&input, 1, "second.jpg");
    let lines: String = (0..6)
        .map(|patient| {
            let split = if patient % 2 == 0 { "train" } else { "test" };
            format!("{patient:03}.dcm,p{patient},{split},{}\n", patient / 2 % 2)
        })
        .collect();
    std::fs::write(
        folder.join("labels.csv"),
        format!("file,patient,split,fracture\n{lines}first.jpg,x,,0\nsecond.jpg,x,,1\n"),
    )
    .unwrap();
    let output = index(folder, "out", &["--labels", "{}/labels.csv"]);
    let words = said(&output);
    assert!(
        !output.status.success()
            && words.contains("error: 1 pairs of the same picture stand in two parts of the split"),
        "{words}"
    );
    let leaks = table(&folder.join("out/leaks.csv"));
    assert_eq!(leaks.len(), 1);
    assert_eq!(
        (leaks[0]["first_part"].as_str(), leaks[0]["second_part"].as_str()),
        ("train", "test")
    );
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (labels, recipe) = (path("out/images.csv"), path("recipe.json"));
    let fit = trainer(&[
        "fit",
        "--labels",
        &labels,
        "--recipe",
        &recipe,
        "--out",
        &path("run"),
    ]);
    assert!(
        said(&fit).contains("has images in two parts of the split"),
        "{}",
        said(&fit)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_becomes_the_same_table_as_its_files() {
    let server = TestServer::with(crate::server::bundled_models(), Given::default()).await;
    let stage = stage(6);
    let folder = stage.path().to_owned();
    for patient in 0..6 {
        let file = std::fs::read(folder.join(format!("in/{patient:03}.dcm"))).unwrap();
        let (status, answer) = server.post("/dicom-web/studies", "application/dicom", file).await;
        assert!(status.is_success(), "{answer}");
    }
    let url = format!("{}/dicom-web", server.url);
    let (of_archive, of_files) = tokio::task::spawn_blocking({
        let folder = folder.clone();
        move || {
            let wrong = index(&folder, "none", &["--archive", &format!("{url}/nothing")]);
            assert!(
                said(&wrong).contains("the archive answers 404"),
                "{}",
                said(&wrong)
            );
            let query = index(
                &folder,
                "none",
                &["--archive", &url, "--query", "ModalitiesInStudy=CT"],
            );
            assert!(
                said(&query).contains("there is no file behind the query of the archive"),
                "{}",
                said(&query)
            );
            (
                index(&folder, "archive", &["--archive", &url]),
                index(&folder, "files", &[]),
            )
        }
    })
    .await
    .unwrap();
    assert!(of_archive.status.success(), "{}", said(&of_archive));
    assert!(of_files.status.success(), "{}", said(&of_files));
    let rows = |out: &str| {
        let text = std::fs::read_to_string(folder.join(out).join("images.csv")).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(rows("archive").len(), 7);
    assert_eq!(rows("archive"), rows("files"));
    server.stop().await;
}

#[test]
fn mistakes_are_named() {
    let stage = stage(1);
    let folder = stage.path();
    for (more, part) in [
        (&["--labels", "{}/nowhere.csv"][..], "nowhere.csv cannot be read"),
        (&["--archive", "ftp://x"], "must begin with http:// or https://"),
        (&["--archive", "http://me:secret@x"], "neither user nor password"),
        (&["--recipe", "{}/key"], "is not usable"),
        (&["--modality", "MG"], "is none of --modality"),
    ] {
        let output = index(folder, "out", more);
        let words = said(&output);
        assert!(!output.status.success() && words.contains(part), "{words}");
        assert!(!words.contains("secret"), "{words}");
    }
    std::fs::write(folder.join("key"), KEY.replace("00", "11")).unwrap();
    let output = index(folder, "out", &[]);
    assert!(
        said(&output).contains("was made with another key"),
        "{}",
        said(&output)
    );
    assert!(trainer(&["index", "--help"]).status.success());
}
