//! From phantoms to a package that the server loads, in small: the trainer's own commands, one after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use osteon::config::Given;
use osteon::model::Package;
use osteon::model::onnx_format::ModelProto;
use osteon::model::package::Staged;
use osteon::runtime::Runtime;
use osteon::train::export::verify::{Unmet, verify};
use prost::Message;
use reqwest::StatusCode;
use serde_json::Value;

use crate::gates::picture;
use crate::server::{TestServer, bundled_models, bytes, sample};
use crate::tiny::Tiny;

pub(crate) fn trainer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_osteon-train"))
        .args(arguments)
        .output()
        .unwrap()
}

pub(crate) fn done(arguments: &[&str]) {
    succeeded(&trainer(arguments));
}

pub(crate) fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "{} {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

const RECIPE: &str = r#"{
  "labels": ["osteoporosis", "fracture"], "epochs": 2, "batch": 8, "threads": 1,
  "architecture": {"family": "residual", "channels": 1, "rows": 64, "columns": 48, "stem": 4, "widths": [8, 8],
                   "blocks": [1, 1], "pooling": "average", "dropout": 0.0}
}"#;

/// Writes what people say of the package into `folder`.
fn describe(folder: &Path) {
    let description =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/spine-osteoporosis-phantom/package.json");
    let text = std::fs::read_to_string(description)
        .unwrap()
        .replace("spine-osteoporosis-phantom", "tiny");
    std::fs::write(folder.join("package.json"), text).unwrap();
}

/// Phantoms, a run and a package in `folder`; gives the package's folder name under `models`.
pub(crate) fn make(folder: &Path) {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    describe(folder);
    done(&[
        "phantom",
        "--out",
        &path("images"),
        "--count",
        "40",
        "--seed",
        "3",
        "--rows",
        "128",
        "--columns",
        "96",
    ]);
    done(&[
        "fit",
        "--labels",
        &path("images/labels.csv"),
        "--recipe",
        &path("recipe.json"),
        "--out",
        &path("run"),
        "--validation",
        "0.5",
    ]);
    let test = path("images/labels.csv");
    let described = "the training images: this is no test set";
    succeeded(&export(
        folder,
        "models",
        &["--test", &test, "--test-description", described],
    ));
}

/// Exports the run in `folder` into a folder of models there.
pub(crate) fn export(folder: &Path, models: &str, more: &[&str]) -> Output {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let goldens = [("sample", "000000"), ("second", "000001")]
        .map(|(name, file)| format!("{name}.dcm={}", path(&format!("images/{file}.dcm"))));
    let (run, description, models) = (path("run"), path("package.json"), path(models));
    let told = [
        "export",
        "--run",
        &run,
        "--description",
        &description,
        "--models",
        &models,
        "--golden",
        &goldens[0],
        "--golden",
        &goldens[1],
    ];
    trainer(&[&told[..], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trained_passes_its_gates_and_is_served() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let package = folder.path().join("models/tiny/1");
    let card = std::fs::read_to_string(package.join("model-card.md")).unwrap();
    assert!(
        card.contains("Shortcut audit") && card.contains("Not for clinical use"),
        "{card}"
    );
    let (folder_of_package, run) = (package.to_string_lossy(), folder.path().join("run"));
    let run = run.to_string_lossy();
    let verified = trainer(&["package", "verify", &folder_of_package, "--run", &run]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    eprintln!("{said}");
    assert!(
        verified.status.success(),
        "{said} {}",
        String::from_utf8_lossy(&verified.stderr)
    );
    for gate in [
        "pass  statistics of the embedding",
        "pass  test set, osteoporosis",
        "pass  a blind network is caught by the test set",
        "pass  swapped answers are caught by the test set",
        "0 of 20 decisions differ",
    ] {
        assert!(said.contains(gate), "{gate} in {said}");
    }

    let server = TestServer::with(folder.path().join("models"), Given::default()).await;
    assert_eq!(server.get("/health/ready").await.0, StatusCode::OK);
    let (status, answer) = server
        .post("/v1/models/tiny/score", "application/dicom", sample())
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["distribution"]["status"], "met", "{answer}");
    unlike_the_training(&server).await;
    server.stop().await;

    // the same recipe and images give the same network, byte for byte
    let again = tempfile::tempdir().unwrap();
    make(again.path());
    let model = |folder: &Path| std::fs::read(folder.join("models/tiny/1/model.onnx")).unwrap();
    assert!(
        model(folder.path()) == model(again.path()),
        "the second training differs"
    );
}

/// What says of itself that it is a lateral spine and is none has no score.
async fn unlike_the_training(server: &TestServer) {
    let noise = |row: usize, column: usize| (row * 7919 + column * 104_729 + row * column * 31) as u16 % 4096;
    let bars = |row: usize, _: usize| if (row / 10).is_multiple_of(2) { 400 } else { 3600 };
    let mut refused = 0;
    for (name, body) in [("noise", bytes(&picture(noise))), ("bars", bytes(&picture(bars)))] {
        let (_, answer) = server
            .post("/v1/models/tiny/score", "application/dicom", body)
            .await;
        eprintln!("  {name}: {}", answer["distribution"]);
        refused += usize::from(answer["reason"]["code"] == "out-of-distribution");
    }
    assert_eq!(refused, 2);
}

/// What a server may pick up has passed its gates; what has not is not there, and what was there before still is.
#[test]
fn nothing_is_published_that_does_not_pass_its_gates() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    make(folder);
    let files = || {
        let mut names: Vec<_> = std::fs::read_dir(folder.join("models"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        (
            names,
            std::fs::read(folder.join("models/tiny/1/manifest.json")).unwrap(),
        )
    };
    let before = files();
    // no radiograph at all
    let noise = |row: usize, column: usize| (row * 7919 + column * 104_729 + row * column * 31) as u16 % 4096;
    std::fs::write(folder.join("noise.dcm"), bytes(&picture(noise))).unwrap();
    let golden = format!("noise.dcm={}", folder.join("noise.dcm").display());
    let refused = export(folder, "models", &["--golden", &golden, "--replace"]);
    let (table, said) = (
        String::from_utf8_lossy(&refused.stdout),
        String::from_utf8_lossy(&refused.stderr),
    );
    assert!(!refused.status.success(), "{table} {said}");
    assert!(table.contains("FAIL  statistics of the embedding"), "{table}");
    assert!(
        said.contains("nothing is published") && said.contains("golden case noise.dcm"),
        "{said}"
    );
    assert!(files() == before, "{:?}", files().0);
    let taken = export(folder, "models", &[]);
    let said = String::from_utf8_lossy(&taken.stderr);
    assert!(
        !taken.status.success() && said.contains("version 1 of tiny is already there"),
        "{said}"
    );
    assert!(taken.stdout.is_empty(), "known before anything was proven");
    // the gates that need the run are among those of an export
    let exported = export(folder, "models", &["--replace"]);
    succeeded(&exported);
    let table = String::from_utf8_lossy(&exported.stdout);
    for gate in [
        "pass  golden cases reproduced",
        "pass  test set, fracture",
        "0 failed, 0 skipped",
    ] {
        assert!(table.contains(gate), "{table}");
    }
    // the first export had a test set for its card
    assert!(files().0 == before.0 && files().1 != before.1);
}

/// Nobody takes for a model what is proven first, and it goes with whoever proved it.
#[test]
fn a_staged_package_can_be_opened_and_is_not_listed() {
    let stage = tempfile::tempdir().unwrap();
    let (models, tiny) = (stage.path(), Tiny::new("tiny", 1));
    let files = BTreeMap::from([
        ("model.onnx".to_owned(), tiny.network().encode_to_vec()),
        (
            "goldens.json".to_owned(),
            serde_json::to_vec(&tiny.goldens()).unwrap(),
        ),
    ]);
    let staged = || Staged::write(models, tiny.manifest(), &files, false).unwrap();
    let one = staged();
    assert_eq!(Package::open(&one.folder()).unwrap().manifest.name, "tiny");
    assert!(Package::folders(models).unwrap().is_empty());
    drop(one);
    assert_eq!(std::fs::read_dir(models).unwrap().count(), 0);
    let package = staged().publish().unwrap();
    assert_eq!(Package::folders(models).unwrap(), [package.folder]);
    assert_eq!(std::fs::read_dir(models).unwrap().count(), 1);
}

/// The table of an index has other columns than that of the phantoms, and no test set has all that could be asked of it.
#[test]
fn the_table_of_an_index_is_a_test_set_and_what_it_cannot_answer_is_said() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    make(folder);
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    // of two sites
    let labels = std::fs::read_to_string(folder.join("images/labels.csv")).unwrap();
    let mut lines = labels.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let [file, site] = ["file", "site"].map(|name| header.iter().position(|own| *own == name).unwrap());
    std::fs::create_dir(folder.join("two-sites")).unwrap();
    let mut images = 0;
    for cells in lines.map(|line| line.split(',').collect::<Vec<_>>()) {
        if matches!(cells[site], "0" | "1") {
            let from = folder.join("images").join(cells[file]);
            std::fs::copy(from, folder.join("two-sites").join(cells[file])).unwrap();
            images += 1;
        }
    }
    let [from, labels, key, out] = ["two-sites", "images/labels.csv", "secret.key", "index"].map(path);
    let told = ["--in", &from, "--labels", &labels, "--out", &out];
    done(&[&["index"][..], &told, &["--key-file", &key, "--new-key"]].concat());
    let table = std::fs::read_to_string(folder.join("index/images.csv")).unwrap();
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let [age, sex, site, fracture] =
        ["age", "sex", "site", "fracture"].map(|name| header.iter().position(|own| *own == name).unwrap());
    let mut sites = std::collections::BTreeSet::new();
    let mut lines = vec![header.join(",")];
    for (row, line) in table.lines().skip(1).enumerate() {
        let mut cells: Vec<&str> = line.split(',').collect();
        sites.insert(cells[site]);
        assert!(matches!(cells[sex], "M" | "F"), "{line}");
        // nobody has one finding, and of one patient the age is not known
        cells[fracture] = "0";
        if row == 0 {
            cells[age] = "";
        }
        lines.push(cells.join(","));
    }
    assert!(
        sites.len() == 2 && sites.iter().all(|site| site.starts_with('S')),
        "{sites:?}"
    );
    std::fs::write(folder.join("index/test.csv"), lines.join("\n")).unwrap();
    let test = path("index/test.csv");
    let exported = export(
        folder,
        "tested",
        &["--test", &test, "--test-description", "phantoms of two sites"],
    );
    succeeded(&exported);
    let card = std::fs::read_to_string(folder.join("tested/tiny/1/model-card.md")).unwrap();
    let line = |begins: &str| card.lines().find(|line| line.starts_with(begins)).unwrap();
    for column in ["age", "sex", "site"] {
        let named = format!(" {column} from the header |");
        assert!(
            line("| finding | AUROC | corners blanked").contains(&named),
            "{card}"
        );
    }
    assert!(card.contains(" (1 images do not say) |"), "{card}");
    let missing = format!("- Nothing is known of fracture: 0 positive and {images} negative cases");
    assert!(card.contains(&missing), "{card}");
    let said = String::from_utf8_lossy(&exported.stderr);
    assert!(said.contains("fracture: nothing is known: 0 positive"), "{said}");
}

/// The statistics of the embedding are of the run's own images; without them a package says so.
#[test]
fn an_export_whose_images_are_gone_says_so_and_can_do_without_statistics() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    make(folder);
    let image = std::fs::read_dir(folder.join("images")).unwrap().count() - 2;
    let image = folder.join(format!("images/{image:06}.dcm"));
    let table = folder.join("images/labels.csv");
    let (text, bytes) = (
        std::fs::read_to_string(&table).unwrap(),
        std::fs::read(&image).unwrap(),
    );
    for (change, named) in [
        (
            Box::new(|| std::fs::remove_file(&image)) as Box<dyn Fn() -> _>,
            "1 images of the run's table cannot be read",
        ),
        (
            Box::new(|| std::fs::write(&table, format!("{text}\n"))),
            "has changed since the training",
        ),
        (
            Box::new(|| std::fs::remove_file(&table)),
            "the table of the run's images, cannot be read",
        ),
    ] {
        change().unwrap();
        let refused = export(folder, "refused", &[]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && !folder.join("refused").exists(),
            "{said}"
        );
        assert!(
            said.contains(named) && said.contains("--without-statistics"),
            "{said}"
        );
        std::fs::write(&image, &bytes).unwrap();
    }
    let without = export(folder, "without", &["--without-statistics"]);
    succeeded(&without);
    let gates = String::from_utf8_lossy(&without.stdout);
    // nor can the run be asked about its held-out patients
    assert!(
        gates.contains("skip  test set ") && gates.contains("the table of the run's images, cannot be read"),
        "{gates}"
    );
    let package = Package::open(&folder.join("without/tiny/1")).unwrap();
    assert!(package.manifest.distribution.is_none() && package.manifest.embedding.is_some());
    let verified = trainer(&["package", "verify", &package.folder.to_string_lossy()]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(
        verified.status.success() && said.contains("skip  statistics of the embedding"),
        "{said}"
    );
}

#[test]
fn a_table_that_was_moved_is_named_and_has_to_be_the_same() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    make(folder);
    let (images, moved) = (folder.join("images"), folder.join("moved"));
    std::fs::create_dir(&moved).unwrap();
    for file in std::fs::read_dir(&images).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), moved.join(file.file_name())).unwrap();
    }
    std::fs::remove_file(images.join("labels.csv")).unwrap();
    let table = moved.join("labels.csv");
    let new = table.to_string_lossy();
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let gone = export(folder, "gone", &[]);
    assert!(
        !gone.status.success() && said(&gone).contains("--labels says where"),
        "{}",
        said(&gone)
    );
    succeeded(&export(folder, "found", &["--labels", &new]));
    let (package, run) = (folder.join("found/tiny/1"), folder.join("run"));
    let (package, run) = (package.to_string_lossy(), run.to_string_lossy());
    let verify = ["package", "verify", &package, "--run", &run];
    let gone = trainer(&verify);
    assert!(
        !gone.status.success() && said(&gone).contains("say where it is now"),
        "{}",
        said(&gone)
    );
    succeeded(&trainer(&[&verify[..], &["--run-labels", &new]].concat()));

    let text = std::fs::read_to_string(&table).unwrap();
    std::fs::write(&table, format!("{text}\n")).unwrap();
    let another = export(folder, "another", &["--labels", &new]);
    assert!(
        !another.status.success()
            && said(&another).contains("is not the table that the run was trained with"),
        "{}",
        said(&another)
    );
}

#[test]
fn the_bundled_model_passes_every_gate() {
    let runtime = Runtime::open(None, osteon::runtime::Device::Cpu).unwrap();
    let gates = verify(
        &bundled_models().join(crate::server::MODEL).join("1"),
        &[],
        &runtime,
    );
    assert_eq!(gates.len(), 11);
    for gate in gates {
        // it was made before networks gave their embedding
        let lacks = matches!(&gate.result, Err(Unmet::Lacks(what)) if what.contains("no embedding"));
        assert!(gate.result.is_ok() || lacks, "{}: {:?}", gate.name, gate.result);
    }
}

/// A network from elsewhere holds no contract and brings no radiograph: what it has is proven, and what it lacks is said.
#[test]
fn a_package_from_elsewhere_is_verified_as_far_as_it_goes() {
    let models = tempfile::tempdir().unwrap();
    let mut tiny = Tiny::new("tiny", 1);
    tiny.labels.push(("dark", -1.0, 0.5));
    let package = tiny.publish(models.path());
    let runtime = Runtime::open(None, osteon::runtime::Device::Cpu).unwrap();
    let lacking: Vec<(String, String)> = verify(&package.folder, &[], &runtime)
        .into_iter()
        .filter_map(|gate| match gate.result {
            Ok(_) => None,
            Err(Unmet::Lacks(what)) => Some((gate.name, what)),
            Err(Unmet::Fails(reason)) => panic!("{}: {reason}", gate.name),
        })
        .collect();
    let named = |name: &str| lacking.iter().find(|(gate, _)| gate == name).unwrap().1.as_str();
    assert_eq!(lacking.len(), 5, "{lacking:?}");
    assert!(named("statistics of the embedding").contains("no distribution"));
    assert!(named("contract inside the file").contains("osteon.preprocessing"));
    assert!(named("swapped labels are caught").contains("osteon.labels"));
    assert!(named("DICOM to score, both polarities").contains("--image"));
    assert!(named("a left-out inversion is caught").contains("MONOCHROME1"));
    let folder = package.folder.to_string_lossy().into_owned();
    let output = trainer(&["package", "verify", &folder]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("0 failed, 5 skipped"),
        "{said}"
    );

    // the same, said to be our own: then nothing may be missing
    tiny.publish_with(models.path(), |manifest, _| {
        manifest
            .lineage
            .insert("program".into(), "osteon-train 0.1.0".into());
    });
    let output = trainer(&["package", "verify", &folder]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success() && said.contains("4 failed, 1 skipped"),
        "{said}"
    );
}

/// A copy of the bundled package that may be changed, in a folder of its own.
fn copy_of_the_bundled_model() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let from = bundled_models().join(crate::server::MODEL).join("1");
    let to = folder.path().join(crate::server::MODEL).join("1");
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    (folder, to)
}

#[test]
fn what_a_lower_resolution_does_to_the_scores_is_bounded() {
    let runtime = Runtime::open(None, osteon::runtime::Device::Cpu).unwrap();
    let (_folder, package) = copy_of_the_bundled_model();
    let file = package.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    // the contract that is inside the model as well would contradict the changed one: it goes by another name
    let mut model = std::fs::read(package.join("model.onnx")).unwrap();
    let key = osteon::image::preprocess::METADATA_KEY.as_bytes();
    let at = model.windows(key.len()).position(|window| window == key).unwrap();
    model[at..at + key.len()].reverse();
    std::fs::write(package.join("model.onnx"), &model).unwrap();
    manifest["files"]["model.onnx"] = osteon::model::package::sha256(&model).into();
    let mut measured = |bound: f64| {
        manifest["preprocessing"]["reduced_resolution"] = serde_json::json!({ "bound": bound });
        std::fs::write(&file, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let gates = verify(&package, &[], &runtime);
        let gate = gates.into_iter().find(|gate| gate.name.starts_with("lower"));
        gate.unwrap().result
    };
    let figure = measured(0.5).unwrap();
    assert!(figure.starts_with("2 radiographs, halved up to "), "{figure}");
    let reason = measured(1e-9).unwrap_err().to_string();
    assert!(reason.starts_with("2 radiographs, halved up to "), "{reason}");
}

/// What is said alike inside the file and beside it may be wrong all the same.
#[test]
fn a_contract_that_agrees_with_itself_has_to_be_the_networks() {
    let runtime = Runtime::open(None, osteon::runtime::Device::Cpu).unwrap();
    let failed = |change: &dyn Fn(&mut Value)| -> Vec<String> {
        let (_folder, package) = copy_of_the_bundled_model();
        let file = package.join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        change(&mut manifest);
        let mut model =
            ModelProto::decode(std::fs::read(package.join("model.onnx")).unwrap().as_slice()).unwrap();
        let labels = &manifest["heads"][0]["labels"];
        for (key, value) in [
            ("osteon.labels", labels),
            ("osteon.lineage", &manifest["lineage"]),
        ] {
            let entry = model.metadata_props.iter_mut().find(|entry| entry.key == key);
            entry.unwrap().value = value.to_string();
        }
        let model = model.encode_to_vec();
        manifest["files"]["model.onnx"] = osteon::model::package::sha256(&model).into();
        std::fs::write(package.join("model.onnx"), model).unwrap();
        std::fs::write(&file, manifest.to_string()).unwrap();
        verify(&package, &[], &runtime)
            .into_iter()
            .filter(osteon::train::export::verify::Gate::fails)
            .map(|gate| gate.name)
            .collect()
    };
    assert_eq!(failed(&|_| {}), Vec::<String>::new());
    let hot = failed(&|manifest| manifest["heads"][0]["labels"][1]["temperature"] = 1.6.into());
    assert_eq!(hot[0], "golden cases reproduced");
    for digest in ["labels sha256", "recipe sha256", "weights sha256"] {
        let without = |manifest: &mut Value| {
            manifest["lineage"].as_object_mut().unwrap().remove(digest);
        };
        // labels can be swapped no more where the contract is off already
        assert_eq!(failed(&without)[0], "contract inside the file", "{digest}");
    }
}

#[test]
fn a_mutated_export_is_refused() {
    let (_folder, to) = copy_of_the_bundled_model();
    let mut model = std::fs::read(to.join("model.onnx")).unwrap();
    let middle = model.len() / 2;
    model[middle..middle + 64].fill(0);
    std::fs::write(to.join("model.onnx"), model).unwrap();
    let output = trainer(&["package", "verify", &to.to_string_lossy()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAIL"));
}

#[test]
fn a_training_starts_from_an_earlier_one_and_says_what_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let csv = path("images/labels.csv");
    let size = ["--rows", "128", "--columns", "96", "--seed", "3", "--count", "40"];
    done(&[&["phantom", "--out", &path("images")][..], &size].concat());
    std::fs::write(
        path("recipe.json"),
        RECIPE.replace("\"epochs\": 2", "\"epochs\": 1"),
    )
    .unwrap();
    let recipe = path("recipe.json");
    let fit = |out: &str, options: &[&str]| {
        let own = [
            "fit",
            "--labels",
            &csv,
            "--recipe",
            &recipe,
            "--validation",
            "0.5",
            "--out",
            &path(out),
        ];
        trainer(&[&own[..], options].concat())
    };
    assert!(fit("first", &[]).status.success());
    let second = fit("second", &["--init", &path("first"), "--init-stages", "1"]);
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.success(), "{words}");
    assert!(
        words.contains("initial weights from first: 20 of 37 parameters taken"),
        "{words}"
    );

    let json = |file: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(folder.path().join(file)).unwrap()).unwrap()
    };
    let initial = &json("second/recipe.json")["initial"];
    assert_eq!(
        initial["file"], "first",
        "the folder stays out of what is written down"
    );
    let weights = std::fs::read(path("first/weights.safetensors")).unwrap();
    assert_eq!(initial["sha256"], osteon::model::package::sha256(&weights));
    let origin = json("second/initial-weights.json");
    assert_eq!(
        origin["report"]["taken"][0]["parameter"],
        "stem.convolution.weight"
    );
    assert_eq!(
        origin["report"]["random"][0]["why"],
        "stage 2 is not among the chosen stages"
    );

    // the third of a line knows the first by its digest, and says so in its package
    let run = fit("run", &["--init", &path("second")]);
    succeeded(&run);
    let digest = |run: &str| {
        let weights = std::fs::read(path(&format!("{run}/weights.safetensors"))).unwrap();
        osteon::model::package::sha256(&weights)
    };
    let before = &json("run/initial-weights.json")["before"];
    assert_eq!(before[0]["sha256"], digest("first"), "{before}");
    describe(folder.path());
    succeeded(&export(folder.path(), "models", &[]));
    let lineage = &json("models/tiny/1/manifest.json")["lineage"]["initial weights"];
    let lineage = lineage.as_str().unwrap();
    let line = format!("37 of 37 parameters from second (sha256 {})", digest("second"));
    let line_before = format!(
        "before that 20 of 37 parameters from first (sha256 {})",
        digest("first")
    );
    assert!(
        lineage.starts_with(&line) && lineage.ends_with(&line_before),
        "{lineage}"
    );

    std::fs::write(path("broken.pth"), b"PK\x03\x04").unwrap();
    let broken = fit("third", &["--init", &path("broken.pth")]);
    let words = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(
        words.contains("initial weights, broken.pth: not a file of weights: its ZIP archive"),
        "{words}"
    );
    assert!(!folder.path().join("third").exists(), "{words}");
}

#[test]
fn mistakes_are_named() {
    let output = trainer(&[
        "fit",
        "--labels",
        "/nowhere.csv",
        "--recipe",
        "/nowhere.json",
        "--out",
        "/tmp/x",
    ]);
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("/nowhere.json cannot be read"), "{words}");
    assert!(trainer(&["--help"]).status.success());
}
