//! What `osteon-train export` publishes, and what it refuses.

use std::collections::BTreeMap;
use std::process::Output;

use osteon::model::Package;
use osteon::model::package::Staged;
use prost::Message;

use crate::gates::picture;
use crate::server::bytes;
use crate::tiny::Tiny;
use crate::trainer::{done, export, make, succeeded, trainer};

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
    // twenty held-out patients show nothing of what fewer bits cost
    let reduced = export(folder, "models", &["--replace", "--precision", "int8"]);
    let said = String::from_utf8_lossy(&reduced.stderr);
    assert!(
        !reduced.status.success()
            && said.contains("are too few to show that it is no worse: 25 of each are needed"),
        "{said}"
    );
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
    assert!(Package::survey(models).unwrap().packages.is_empty());
    drop(one);
    assert_eq!(std::fs::read_dir(models).unwrap().count(), 0);
    let package = staged().publish().unwrap();
    assert_eq!(Package::survey(models).unwrap().packages, [package.folder]);
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
    let labels = std::fs::read_to_string(folder.join("test/labels.csv")).unwrap();
    let mut lines = labels.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let [file, site] = ["file", "site"].map(|name| header.iter().position(|own| *own == name).unwrap());
    std::fs::create_dir(folder.join("two-sites")).unwrap();
    let mut images = 0;
    for cells in lines.map(|line| line.split(',').collect::<Vec<_>>()) {
        if matches!(cells[site], "0" | "1") {
            let from = folder.join("test").join(cells[file]);
            std::fs::copy(from, folder.join("two-sites").join(cells[file])).unwrap();
            images += 1;
        }
    }
    let [from, labels, key, out] = ["two-sites", "test/labels.csv", "secret.key", "index"].map(path);
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

/// Neither the card nor a comparison has figures of images that trained or chose anything.
#[test]
fn what_a_run_saw_is_no_test_set() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    make(folder);
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let own = path("images/labels.csv");
    let text = std::fs::read_to_string(&own).unwrap();
    let copy = path("images/copy.csv");
    std::fs::write(&copy, text.lines().take(11).collect::<Vec<_>>().join("\n")).unwrap();
    let (package, run) = (path("models/tiny/1"), path("run"));
    for (table, words) in [
        (&own, "is the table that the run was trained on"),
        (
            &copy,
            "of its 10 images 10 are of patients, 0 of groups and 10 of files",
        ),
    ] {
        let exported = export(
            folder,
            "refused",
            &["--test", table, "--test-description", "mine"],
        );
        let verified = trainer(&["package", "verify", &package, "--run", &run, "--labels", table]);
        for refused in [exported, verified] {
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && said.contains(words), "{said}");
        }
    }
    assert!(!folder.join("refused").exists());
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
