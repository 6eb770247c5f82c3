//! A training that is killed, whose disk is full or that diverges: a clear sentence, nothing lost, and `--resume` goes on to the
//! same numbers, bit for bit.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use osteon::train::network::Weights;
use osteon::train::run::RunFolder;

use crate::trainer::trainer;

/// Small, with everything that has a memory: dropout, a running mean, blended images, and a regime with two phases.
const RECIPE: &str = r#"{
  "labels": ["osteoporosis", "fracture"], "epochs": 3, "batch": 4, "threads": 1, "mixup": 0.3,
  "regime": {"kind": "discriminative", "head_epochs": 1, "ratio": 10},
  "architecture": {"family": "residual", "channels": 1, "rows": 64, "columns": 48, "stem": 4, "widths": [8, 8],
                   "blocks": [1, 1], "pooling": "average", "dropout": 0.2}
}"#;

struct Stage {
    folder: tempfile::TempDir,
    device: &'static str,
}

impl Stage {
    /// Phantoms and a recipe.
    fn new(recipe: &str) -> Self {
        let stage = Self {
            folder: tempfile::tempdir().unwrap(),
            device: "cpu",
        };
        std::fs::write(stage.path("recipe.json"), recipe).unwrap();
        let images = stage.text("images");
        let made = trainer(&[
            "phantom",
            "--out",
            &images,
            "--count",
            "28",
            "--seed",
            "3",
            "--rows",
            "128",
            "--columns",
            "96",
        ]);
        assert!(made.status.success(), "{}", said(&made));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// The arguments of a training in the folder `run`, with a checkpoint after every step.
    fn arguments(&self, run: &str, resume: bool) -> Vec<String> {
        let (labels, recipe) = (self.text("images/labels.csv"), self.text("recipe.json"));
        let told = if resume {
            vec!["--resume"]
        } else {
            vec!["--labels", &labels, "--recipe", &recipe, "--validation", "0.4"]
        };
        let all = [
            "fit",
            "--device",
            self.device,
            "--out",
            &self.text(run),
            "--checkpoint-seconds",
            "0",
        ]
        .map(str::to_owned);
        all.into_iter()
            .chain(told.into_iter().map(str::to_owned))
            .collect()
    }

    fn fit(&self, run: &str, resume: bool) -> Output {
        Command::new(env!("CARGO_BIN_EXE_osteon-train"))
            .args(self.arguments(run, resume))
            .output()
            .unwrap()
    }

    fn begin(&self, run: &str, resume: bool) -> Child {
        Command::new(env!("CARGO_BIN_EXE_osteon-train"))
            .args(self.arguments(run, resume))
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn weights(&self, run: &str) -> Vec<u8> {
        std::fs::read(self.path(run).join("weights.safetensors")).unwrap()
    }

    /// Epoch and step of the checkpoint that a run has now.
    fn standing(&self, run: &str) -> Option<(u64, u64)> {
        let text = std::fs::read(self.path(run).join("checkpoint.json")).ok()?;
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        Some((
            json["standing"]["epoch"].as_u64()?,
            json["standing"]["step"].as_u64()?,
        ))
    }

    /// The log without how fast it went.
    fn log(&self, run: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path(run).join("log.jsonl")).unwrap();
        let line = |line: &str| {
            let mut json: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = json.as_object_mut().unwrap();
            fields.retain(|name, _| name != "images_per_second" && name != "waiting");
            json
        };
        text.lines().map(line).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn run_folder(path: &Path) -> RunFolder {
    RunFolder {
        path: path.to_owned(),
    }
}

#[test]
fn a_training_that_is_killed_again_and_again_ends_with_the_same_weights() {
    let stage = Stage::new(RECIPE);
    let whole = stage.fit("whole", false);
    assert!(whole.status.success(), "{}", said(&whole));
    // in the first phase, at its end, in the second phase, in the last epoch
    let mut kills = 0;
    for moment in [(0, 1), (1, 0), (1, 2), (2, 1)] {
        let mut child = stage.begin("killed", kills > 0);
        let started = Instant::now();
        while stage.standing("killed").is_none_or(|standing| standing < moment) {
            // a machine under load may look too late
            if child.try_wait().unwrap().is_some() {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
        if kills == 1 {
            let again = stage.fit("killed", false);
            assert!(
                !again.status.success() && said(&again).contains("--resume"),
                "{}",
                said(&again)
            );
        }
    }
    assert!(kills >= 2, "killed {kills} times only");
    if stage.standing("killed").is_some() {
        let lock = run_folder(&stage.path("killed")).lock().unwrap();
        for resume in [true, false] {
            let refused = stage.fit("killed", resume);
            let words = "another osteon-train is training in ";
            assert!(
                !refused.status.success() && said(&refused).contains(words),
                "{}",
                said(&refused)
            );
        }
        drop(lock);
        let ended = stage.fit("killed", true);
        assert!(ended.status.success(), "{}", said(&ended));
    }
    assert!(
        stage.weights("whole") == stage.weights("killed"),
        "the weights differ"
    );
    assert_eq!(stage.log("whole"), stage.log("killed"));
    let expected = [
        "curves.svg",
        "log.jsonl",
        "preprocessing.json",
        "recipe.json",
        "record.json",
        "source.json",
        "weights.safetensors",
    ];
    assert_eq!(
        files(&stage.path("killed")),
        expected,
        "no checkpoint is left of a finished training"
    );
    let finished = stage.fit("whole", true);
    assert!(said(&finished).contains("is finished"), "{}", said(&finished));
}

#[test]
fn two_devices_share_each_batch_and_a_training_on_them_goes_on_to_the_same_weights() {
    let mut stage = Stage::new(RECIPE);
    stage.device = "cpu,cpu,cpu,cpu,cpu";
    let refused = stage.fit("crowded", false);
    assert!(
        said(&refused).contains("recipe: batch: 4 images cannot be shared by 5 devices"),
        "{}",
        said(&refused)
    );
    assert!(
        !stage.path("crowded").exists(),
        "refused before anything was written"
    );

    stage.device = "cpu,cpu";
    let whole = stage.fit("whole", false);
    assert!(
        whole.status.success() && said(&whole).contains("training on cpu,cpu"),
        "{}",
        said(&whole)
    );
    let record = std::fs::read_to_string(stage.path("whole/record.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["devices"], "cpu,cpu");
    for folder in ["killed", "moved"] {
        let mut child = stage.begin(folder, false);
        while stage.standing(folder).is_none_or(|standing| standing < (1, 1)) {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended before it was killed"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ended = stage.fit("killed", true);
    assert!(ended.status.success(), "{}", said(&ended));
    assert!(
        stage.weights("whole") == stage.weights("killed"),
        "the weights differ"
    );
    assert_eq!(stage.log("whole"), stage.log("killed"));
    // on one device alone, it goes on as well, to other draws and norms
    stage.device = "cpu";
    let ended = stage.fit("moved", true);
    assert!(ended.status.success(), "{}", said(&ended));
    assert!(stage.weights("whole") != stage.weights("moved"));
}

#[test]
fn a_head_on_weights_from_elsewhere_moves_alone_and_goes_on_without_their_file() {
    let stage = Stage::new(RECIPE);
    let first = stage.fit("first", false);
    assert!(first.status.success(), "{}", said(&first));
    let mut recipe: serde_json::Value = serde_json::from_str(RECIPE).unwrap();
    recipe["regime"] = serde_json::json!({ "kind": "head" });
    recipe["initial"] = serde_json::json!({ "file": stage.path("first") });
    std::fs::write(stage.path("recipe.json"), recipe.to_string()).unwrap();
    let whole = stage.fit("whole", false);
    assert!(
        said(&whole).contains("initial weights from first: "),
        "{}",
        said(&whole)
    );

    let weights = |run: &str| Weights::from_bytes(&stage.weights(run)).unwrap();
    let (before, after) = (weights("first"), weights("whole"));
    let moved: Vec<&String> = before
        .tensors
        .iter()
        .filter(|(name, tensor)| after.tensors[*name] != **tensor)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        moved,
        ["label_map.bias", "label_map.weight"],
        "all others are as they were in the file, running statistics too"
    );

    for run in ["killed", "early"] {
        let mut child = stage.begin(run, false);
        while stage.standing(run).is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // as if it had been killed before there was a checkpoint
    std::fs::remove_file(stage.path("early/checkpoint.json")).unwrap();
    std::fs::rename(stage.path("first"), stage.path("elsewhere")).unwrap();
    for run in ["killed", "early"] {
        let resumed = stage.fit(run, true);
        assert!(resumed.status.success(), "{run}: {}", said(&resumed));
        assert!(
            stage.weights("whole") == stage.weights(run),
            "{run}: the weights differ"
        );
        assert!(!stage.path(run).join("initial-weights.safetensors").exists());
        assert!(stage.path(run).join("initial-weights.json").exists());
    }
}

#[test]
fn a_full_disk_in_mid_checkpoint_loses_nothing() {
    let stage = Stage::new(RECIPE);
    let mut child = stage.begin("measured", false);
    while stage.standing("measured").is_none() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // the first epoch's best weights make the checkpoint after it larger than this: a limit on the size of files fails a write in its
    // middle, as a full disk does
    let size = std::fs::read_dir(stage.path("measured"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .max()
        .unwrap();
    let blocks = size / 512 + 8;
    let program = env!("CARGO_BIN_EXE_osteon-train");
    let limited = Command::new("sh")
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""))
        .arg(program)
        .args(stage.arguments("full", false))
        .output()
        .unwrap();
    assert!(!limited.status.success());
    let said = said(&limited);
    assert!(
        said.contains("the checkpoint cannot be written") && said.contains("go on with --resume"),
        "{said}"
    );
    let (epoch, step) = stage.standing("full").unwrap();
    assert!(
        epoch == 0 && step > 0,
        "the checkpoint before it is whole: {epoch}, {step}"
    );

    assert!(stage.fit("full", true).status.success());
    assert!(stage.fit("whole", false).status.success());
    assert!(
        stage.weights("whole") == stage.weights("full"),
        "the weights differ"
    );
}

#[test]
fn a_loss_that_is_not_a_number_stops_with_its_place() {
    let mut stage = Stage::new(&RECIPE.replace(
        "\"mixup\": 0.3",
        "\"schedule\": {\"peak\": 1e30, \"start_divisor\": 1}",
    ));
    for (run, device) in [("diverged", "cpu"), ("together", "cpu,cpu")] {
        stage.device = device;
        let output = stage.fit(run, false);
        let said = said(&output);
        assert!(!output.status.success());
        assert!(
            said.contains("in epoch 1, step") && said.contains("lower the peak rate"),
            "{said}"
        );
        assert!(
            stage.standing(run).is_some(),
            "what was trained before is still there"
        );
    }
}

#[test]
fn a_checkpoint_goes_with_its_own_labels_and_recipe_only() {
    let stage = Stage::new(RECIPE);
    let mut child = stage.begin("run", false);
    while stage.standing("run").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let recipe = stage.path("run/recipe.json");
    let text = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, text.replace("\"epochs\": 3", "\"epochs\": 4")).unwrap();
    let other = stage.fit("run", true);
    assert!(
        said(&other).contains("belongs to another training"),
        "{}",
        said(&other)
    );
    std::fs::write(&recipe, text).unwrap();
    let labels = stage.path("images/labels.csv");
    let text = std::fs::read_to_string(&labels).unwrap();
    std::fs::write(&labels, format!("{text}\n")).unwrap();
    let other = stage.fit("run", true);
    assert!(
        said(&other).contains("has changed since the training"),
        "{}",
        said(&other)
    );
    std::fs::write(&labels, text).unwrap();

    // moved with all its images, it is the same table, and the run remembers where it is
    std::fs::rename(stage.path("images"), stage.path("moved")).unwrap();
    let (out, moved) = (stage.text("run"), stage.text("moved/labels.csv"));
    let gone = stage.fit("run", true);
    assert!(said(&gone).contains("--labels says where"), "{}", said(&gone));
    let found = trainer(&["fit", "--resume", "--out", &out, "--labels", &moved]);
    assert!(found.status.success(), "{}", said(&found));
    assert!(
        std::fs::read_to_string(stage.path("run/source.json"))
            .unwrap()
            .contains("moved/labels.csv")
    );
}

#[test]
fn a_gpu_is_taken_by_name_or_refused_and_auto_says_why_it_took_the_cpu() {
    let stage = Stage::new(&RECIPE.replace(r#""epochs": 3"#, r#""epochs": 2"#));
    let on = |device: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_osteon-train"))
            .args([
                "fit",
                "--labels",
                &stage.text("images/labels.csv"),
                "--recipe",
                &stage.text("recipe.json"),
            ])
            .args(["--validation", "0.4", "--out", &stage.text("run")])
            .args(device)
            .env("CUDA_VISIBLE_DEVICES", "")
            .output()
            .unwrap()
    };
    let refused = on(&["--device", "cuda:99"]);
    assert!(
        said(&refused).contains("cuda:99 cannot be used: "),
        "{}",
        said(&refused)
    );
    assert!(said(&refused).contains("NVIDIA"), "{}", said(&refused));
    assert!(!stage.path("run").exists(), "refused before anything was written");
    let unknown = on(&["--device", "gpu"]);
    assert!(
        said(&unknown).contains("the devices are auto, cpu, cuda"),
        "{}",
        said(&unknown)
    );
    let auto = on(&[]);
    assert!(auto.status.success(), "{}", said(&auto));
    let words = said(&auto);
    let line = words
        .lines()
        .find(|line| line.starts_with("training on "))
        .unwrap();
    assert!(
        line.starts_with("training on cpu: ") && line.contains("NVIDIA"),
        "{line}"
    );
}
