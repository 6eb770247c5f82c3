//! Exports in fewer bits: within their bounds they are packages like any other, and beyond them they are none.

use std::path::Path;

use osteon::model::{NumberFormat, Package};
use osteon::train::network::Weights;

use crate::trainer::{Export, done, export, make_of, succeeded, trainer};

#[test]
fn weights_in_16_bits_are_exported_within_bounds_and_refused_beyond() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    // half of them are held out, and 25 or more of those have each finding
    make_of(folder, "160");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let half = export(folder, "half", &["--precision", "fp16"]);
    succeeded(&half);
    let said = String::from_utf8_lossy(&half.stderr).into_owned();
    assert!(
        said.contains("fp16, fracture: 0 of 80 decisions differ"),
        "{said}"
    );
    let package = Package::open(&folder.join("half/tiny/1")).unwrap();
    let whole = Package::open(&folder.join("models/tiny/1")).unwrap();
    let reduced = package.manifest.reduced_precision.unwrap();
    assert_eq!(reduced.images, 80);
    // the image that the threshold is at may fall below it
    assert!(reduced.decisions_changed < 0.02, "{}", reduced.decisions_changed);
    assert!(package.model.len() < whole.model.len());
    let (tolerance, exact) = (package.goldens.tolerance, whole.goldens.tolerance);
    assert!(tolerance > exact && tolerance < 0.1, "{tolerance}");
    let scores = |package: &Package| -> Vec<Vec<f32>> {
        let cases = package.goldens.cases.iter();
        cases.map(|case| case.scores.clone()).collect()
    };
    assert_eq!(
        scores(&package),
        scores(&whole),
        "goldens stay those of libtorch in 32 bits"
    );
    let card = std::fs::read_to_string(package.folder.join("model-card.md")).unwrap();
    assert!(card.contains("The weights are fp16: on 80 images"), "{card}");
    let verified = trainer(&["package", "verify", &path("half/tiny/1"), "--run", &path("run")]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{said}");
    assert!(said.contains("matrices in fp16"), "{said}");

    // another run of the same heads is not the one that the package was made of
    let own = folder.join("run/weights.safetensors");
    let mut weights = Weights::from_bytes(&std::fs::read(&own).unwrap()).unwrap();
    // features ten thousand times as large, and a head of numbers that 16 bits cannot tell from 0
    for (name, factor) in [
        ("stage2.block1.norm2.weight", 1e4),
        ("stage2.block1.norm2.bias", 1e4),
        ("stage2.block1.shortcut_norm.weight", 1e4),
        ("stage2.block1.shortcut_norm.bias", 1e4),
        ("label_map.weight", 1e-9),
    ] {
        let tensor = weights.tensors.get_mut(name).unwrap();
        tensor.values.iter_mut().for_each(|value| *value *= factor);
    }
    std::fs::write(&own, weights.to_bytes().unwrap()).unwrap();
    let other = trainer(&["package", "verify", &path("half/tiny/1"), "--run", &path("run")]);
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(
        !other.status.success() && said.contains("other networks than --run names"),
        "{said}"
    );
    let refused = export(folder, "refused", &["--precision", "fp16"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("it costs too much"),
        "{said}"
    );
    assert!(
        said.contains("it moved too far") && !folder.join("refused").exists(),
        "{said}"
    );
}

/// Sixty-four rows of stripes: lying for the one class, standing for the other, in any place, with noise.
fn stripes(image: usize) -> Vec<u8> {
    let (rows, columns, phase) = (64, 48, image * 5 % 8);
    (0..rows * columns)
        .map(|pixel| {
            let (row, column) = (pixel / columns, pixel % columns);
            let along = if image.is_multiple_of(2) { row } else { column };
            let noise = (pixel * 7919 + image * 104_729 + row * column * 31) % 61;
            let bright = if ((along + phase) / 4).is_multiple_of(2) {
                60
            } else {
                160
            };
            (bright + noise) as u8
        })
        .collect()
}

/// A hundred pictures of stripes with their table, and what people say of a network of them.
fn striped(folder: &Path) {
    std::fs::create_dir_all(folder.join("images")).unwrap();
    // the table says who is held out
    let mut table = "file,patient,standing,split\n".to_owned();
    for image in 0..100 {
        let file = folder.join(format!("images/{image}.png"));
        image::save_buffer(&file, &stripes(image), 48, 64, image::ExtendedColorType::L8).unwrap();
        let split = ["train", "validation"][image / 2 % 2];
        table.push_str(&format!("{image}.png,P{image},{},{split}\n", image % 2));
    }
    std::fs::write(folder.join("images/labels.csv"), table).unwrap();
    let published =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/spine-osteoporosis-phantom/package.json");
    let mut description: serde_json::Value =
        serde_json::from_slice(&std::fs::read(published).unwrap()).unwrap();
    description["name"] = "tiny".into();
    let code = serde_json::json!({"scheme": "99TEST", "value": "standing", "meaning": "standing stripes"});
    description["labels"] = serde_json::json!([{"name": "standing", "code": code, "sensitivity": 0.9}]);
    std::fs::write(folder.join("package.json"), description.to_string()).unwrap();
}

#[test]
fn convolutions_in_8_bits_answer_as_those_that_were_trained() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    // two radiographs for the goldens, beside the images of the table
    let size = ["--count", "2", "--rows", "128", "--columns", "96", "--seed", "3"];
    done(&[&["phantom", "--out", &path("images")][..], &size].concat());
    striped(folder);
    let told_recipe = r#"{"labels": ["standing"], "epochs": 6, "batch": 8, "threads": 1,
        "augmentation": {"rotation": 0.0, "horizontal_flip": true},
        "architecture": {"family": "residual", "channels": 1, "rows": 64, "columns": 48, "stem": 8,
                         "widths": [8, 16], "blocks": [1, 1], "pooling": "average", "dropout": 0.0}}"#;
    std::fs::write(folder.join("recipe.json"), told_recipe).unwrap();
    let (images, recipe, run) = (path("images/labels.csv"), path("recipe.json"), path("run"));
    let told = ["--labels", &images, "--recipe", &recipe, "--out", &run];
    done(&[&["fit"][..], &told].concat());

    // a network of stripes knows no spines, and the golden cases are some: the only gate that is not passed
    let refused = export(folder, "int8", &["--precision", "int8"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(
        !refused.status.success() && said.contains("1 failed, 0 skipped"),
        "{said}"
    );
    assert!(
        said.contains("FAIL  statistics of the embedding") && said.contains("would refuse it"),
        "{said}"
    );
    let exported = export(folder, "int8", &["--precision", "int8", "--without-statistics"]);
    succeeded(&exported);
    let said = String::from_utf8_lossy(&exported.stderr).into_owned();
    let package = Package::open(&folder.join("int8/tiny/1")).unwrap();
    let reduced = package.manifest.reduced_precision.unwrap();
    assert_eq!((reduced.format, reduced.images), (NumberFormat::Int8, 50));
    assert!(
        said.contains("int8, standing: ") && said.contains("int8, golden cases: "),
        "{said}"
    );
    let verified = trainer(&["package", "verify", &path("int8/tiny/1"), "--run", &run]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{said}");
    assert!(
        said.contains("matrices in int8") && said.contains("AUROC 1.000"),
        "{said}"
    );
    // values are others, so what ran was not the network in 32 bits
    assert!(!said.contains("values by 0.0e0"), "{said}");

    // a second network that held out the same: both together, on those images
    std::fs::write(
        folder.join("recipe.json"),
        told_recipe.replace("\"threads\"", "\"seed\": 2, \"threads\""),
    )
    .unwrap();
    let other = path("other");
    done(&["fit", "--labels", &images, "--recipe", &recipe, "--out", &other]);
    let both = ["--run", &other, "--precision", "int8", "--without-statistics"];
    succeeded(&export(folder, "both", &both));
    let package = Package::open(&folder.join("both/tiny/1")).unwrap();
    assert_eq!(package.manifest.reduced_precision.unwrap().images, 50);
    let told = [
        "package",
        "verify",
        &path("both/tiny/1"),
        "--run",
        &run,
        "--run",
        &other,
    ];
    let verified = trainer(&told);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(
        verified.status.success() && said.contains("matrices in int8"),
        "{said}"
    );
}

/// A published network, cut short, of pictures alone: golden images are two of them.
#[test]
fn a_published_network_of_pictures_is_exported_in_16_and_8_bits() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    striped(folder);
    let told_recipe = r#"{"labels": ["standing"], "epochs": 4, "batch": 8, "threads": 1,
        "augmentation": {"rotation": 0.0},
        "architecture": {"family": "resnet18", "rows": 64, "columns": 48, "stages": 2}}"#;
    std::fs::write(folder.join("recipe.json"), told_recipe).unwrap();
    let (images, recipe, run) = (path("images/labels.csv"), path("recipe.json"), path("run"));
    done(&["fit", "--labels", &images, "--recipe", &recipe, "--out", &run]);
    for (precision, said) in [
        ("fp16", "matrices in fp16"),
        ("int8", "matrices in int8"),
        ("fp32", "pass  golden cases reproduced"),
    ] {
        let export = Export {
            folder,
            runs: &["run"],
            description: "package.json",
            goldens: &[("0.dcm", "images/0.png"), ("1.dcm", "images/1.png")],
            models: precision,
        };
        let exported = export.run(&["--precision", precision]);
        succeeded(&exported);
        let gates = String::from_utf8_lossy(&exported.stdout);
        assert!(
            gates.contains(said) && gates.contains("0 failed, 0 skipped"),
            "{gates}"
        );
        let package = Package::open(&folder.join(precision).join("tiny/1")).unwrap();
        let files: Vec<&String> = package.manifest.files.keys().collect();
        // both are MONOCHROME2, so one stands in both polarities
        assert_eq!(files[..3], ["0-inverted.dcm", "0.dcm", "1.dcm"]);
    }
}
