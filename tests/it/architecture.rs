//! The sources hold to the picture in `src/lib.rs` and `ARCHITECTURE.md`.
//!
//! Read as text: which crates a file names, which modules it imports, how it begins.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file under `src`, by its path from there, with its text without comments.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 60, "only {} files were found", files.len());
    files
        .iter()
        .map(|file| {
            let place = file
                .strip_prefix(&root)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/");
            (place, fs::read_to_string(file).unwrap())
        })
        .collect()
}

fn code(text: &str) -> String {
    // what a file uses only in its own unit tests is no arrow of the system
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_test_file(place: &str) -> bool {
    place.ends_with("/tests.rs") || place.contains("/tests/") || place.ends_with("/fixture.rs")
}

/// The top-level room that a file is in, such as `image`.
fn room(place: &str) -> &str {
    place.split(['/', '.']).next().unwrap_or_default()
}

/// Which rooms a room may enter.
fn may_enter(room: &str) -> Option<&'static [&'static str]> {
    const PURE: &[&str] = &["dicom", "evaluation", "fault", "finding", "image", "pages"];
    const EXECUTION: &[&str] = &[
        "dicom",
        "evaluation",
        "fault",
        "finding",
        "image",
        "model",
        "runtime",
        "pages",
        "telemetry",
    ];
    Some(match room {
        // it uses the pure rooms, and none of them uses it
        "deidentify" | "report" => PURE,
        // what it says of a result is where its report is
        "workitem" => &["dicom", "fault", "finding", "report"],
        // named places for fault tests: whoever does durable work may have some
        "failpoint" => &[],
        "peer" => &["dicom", "failpoint", "fault", "telemetry"],
        "dicom" | "evaluation" | "fault" | "finding" | "image" | "pages" => PURE,
        "model" | "runtime" | "telemetry" | "inference" => EXECUTION,
        // what it learns from names nobody
        "train" => &[
            "deidentify",
            "dicom",
            "evaluation",
            "fault",
            "finding",
            "image",
            "model",
            "runtime",
            "telemetry",
        ],
        "store" => &[
            "dicom",
            "failpoint",
            "fault",
            "finding",
            "pages",
            "telemetry",
            "workitem",
        ],
        "workflow" => &[
            "dicom",
            "failpoint",
            "fault",
            "finding",
            "image",
            "inference",
            "model",
            "peer",
            "report",
            "runtime",
            "store",
            "telemetry",
            "workitem",
        ],
        "http" => &[
            "dicom",
            "fault",
            "finding",
            "image",
            "inference",
            "intake",
            "pages",
            "store",
            "subnet",
            "telemetry",
            "workflow",
            "workitem",
        ],
        // the other door; the two never meet
        "dimse" => &[
            "dicom",
            "fault",
            "image",
            "inference",
            "intake",
            "subnet",
            "telemetry",
            "workflow",
        ],
        // what the doors share
        "intake" => &["fault", "inference"],
        "subnet" => &[],
        "app" => &[
            "config",
            "dimse",
            "failpoint",
            "http",
            "inference",
            "intake",
            "model",
            "peer",
            "runtime",
            "store",
            "telemetry",
            "workflow",
        ],
        "config" => &[
            "http",
            "dicom",
            "dimse",
            "inference",
            "peer",
            "runtime",
            "store",
            "telemetry",
            "workflow",
        ],
        _ => return None,
    })
}

/// The rooms that a file names as `crate::ROOM`.
fn entered(code: &str) -> Vec<String> {
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| {
            // `crate::{a, b::c}` names several
            let list = rest.strip_prefix('{').and_then(|list| list.split('}').next());
            list.unwrap_or(rest)
                .split(if list.is_some() { ',' } else { '\0' })
                .map(|item| {
                    item.trim()
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect::<String>()
                })
                .collect::<Vec<_>>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_file_begins_by_saying_what_lives_in_it() {
    for (place, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "src/{place} does not begin with a `//!` line"
        );
    }
}

#[test]
fn the_arrows_point_down_only() {
    for (place, text) in sources() {
        if place.starts_with("bin/") || place == "lib.rs" || is_test_file(&place) {
            continue;
        }
        let own = room(&place);
        let allowed =
            may_enter(own).unwrap_or_else(|| panic!("src/{place}: the room `{own}` is not in the picture"));
        for other in entered(&code(&text)) {
            assert!(
                other == own || allowed.contains(&other.as_str()),
                "src/{place} enters `{other}`, which `{own}` may not"
            );
        }
    }
}

#[test]
fn each_crate_has_its_home() {
    const HOMES: [(&str, &[&str]); 15] = [
        ("ort::", &["runtime/onnx"]),
        ("osteon_convolution::", &["runtime/onnx/"]),
        ("tch::", &["train/learn/engine"]),
        ("sqlx::", &["store/"]),
        ("object_store::", &["store/objects"]),
        ("dicom_web::", &["peer/"]),
        ("dicom_ul::", &["dimse/", "peer/"]),
        ("fail::", &["failpoint.rs"]),
        ("hyper::server", &["http/connections.rs"]),
        ("prometheus::", &["telemetry/"]),
        ("quick_xml::", &["dicom/xml/"]),
        ("minisign_verify::", &["model/signature.rs"]),
        ("clap::", &["bin/", "config/"]),
        ("plotters::", &["train/plot"]),
        ("indicatif::", &["bin/", "train/learn/progress.rs"]),
    ];
    for (place, text) in sources() {
        let code = code(&text);
        for (name, homes) in HOMES {
            let named = code.match_indices(name).any(|(at, _)| {
                // `import::` is not `ort::`
                !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
            });
            let at_home = homes.iter().any(|home| place.starts_with(home));
            assert!(
                !named || at_home,
                "src/{place} names `{name}`, whose home is {homes:?}"
            );
        }
    }
}

#[test]
fn the_pure_layer_has_no_input_output_clock_or_chance() {
    for (place, text) in sources() {
        if ![
            "deidentify",
            "dicom",
            "evaluation",
            "fault",
            "finding",
            "image",
            "pages",
            "report",
            "workitem",
        ]
        .contains(&room(&place))
            || is_test_file(&place)
        {
            continue;
        }
        let code = code(&text);
        for name in [
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "tokio::",
            "SystemTime",
            "Instant::now",
            "rand::rng(",
        ] {
            assert!(!code.contains(name), "src/{place} is pure and names `{name}`");
        }
    }
}

#[test]
fn there_are_no_junk_drawers() {
    for (place, _) in sources() {
        for name in ["utils", "util", "helpers", "common", "misc", "types"] {
            assert!(
                !place.split(['/', '.']).any(|part| part == name),
                "src/{place} is a junk drawer"
            );
        }
    }
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(
        entered("use crate::http::App; use crate::{store::Store, fault};"),
        ["http", "store", "fault"]
    );
    assert!(!may_enter("image").unwrap().contains(&"http"));
    assert!(may_enter("utils").is_none());
    assert_eq!(
        code("//! x\nuse a;\n#[cfg(test)]\nmod tests { use b; }"),
        "use a;"
    );
}
