//! An index of an archive that does not always behave: what cannot be had is named, the rest goes on, and nothing is lost.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use axum::body::Bytes;

use crate::archive::{Archive, Mode};
use crate::index::{arguments, index, said, stage, table};

/// An archive that has the files in `in` of a stage.
async fn archive(folder: &Path, mode: Mode) -> Archive {
    let archive = Archive::start(mode).await;
    for file in std::fs::read_dir(folder.join("in")).unwrap() {
        archive.hold(Bytes::from(std::fs::read(file.unwrap().path()).unwrap()));
    }
    archive
}

/// Indexes the archive at `url` into `out`, off the threads that serve.
async fn indexed(folder: &Path, url: &str, out: &'static str, more: &[&'static str]) -> Output {
    let (folder, url, more) = (folder.to_owned(), url.to_owned(), more.to_vec());
    let run = move || index(&folder, out, &[&["--archive", &url], &more[..]].concat());
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn lines(folder: &Path, out: &str) -> usize {
    let log = std::fs::read(folder.join(out).join("work.jsonl")).unwrap_or_default();
    log.iter().filter(|byte| **byte == b'\n').count()
}

/// The table without the order of its rows.
fn rows(folder: &Path, out: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(out).join("images.csv")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_stops_the_run_and_a_new_one_goes_on_with_it() {
    let stage = stage(96);
    let folder = stage.path();
    std::fs::write(folder.join("token"), "first-secret\n").unwrap();
    let archive = archive(folder, Mode::Expecting("Bearer first-secret".to_owned())).await;
    let with = ["--token-file", "{}/token"];
    let url = archive.url();
    let mut running = Command::new(env!("CARGO_BIN_EXE_osteon-train"))
        .args(arguments(
            folder,
            "out",
            &["--archive", &url, "--token-file", "{}/token"],
        ))
        .env("RAYON_NUM_THREADS", "1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while lines(folder, "out") < 2 && running.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    archive.set(Mode::Expecting("Bearer second-secret".to_owned()));
    let before = archive.requests();
    let stopped = tokio::task::spawn_blocking(move || running.wait_with_output().unwrap())
        .await
        .unwrap();
    let words = said(&stopped);
    assert!(!stopped.status.success(), "{words}");
    assert!(
        words.contains("does not take the token in ")
            && words.contains("all that was read until then is kept: run the same command again"),
        "{words}"
    );
    assert!(!words.contains("secret"), "{words}");
    let after = archive.requests();
    let asked = after.lists + after.retrievals - before.lists - before.retrievals;
    assert!(asked <= 4, "it asked {asked} times more");
    let read = lines(folder, "out");
    assert!((2..97).contains(&read), "{read} lines");

    std::fs::write(folder.join("token"), "second-secret\n").unwrap();
    let again = indexed(folder, &url, "out", &with).await;
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(lines(folder, "out"), 97);
    let retrieved = archive.requests().retrievals;
    assert!(
        retrieved <= 97 + 24,
        "{retrieved} images were fetched: only some of the pictures are shown"
    );
    assert!(index(folder, "files", &[]).status.success());
    assert_eq!(rows(folder, "out"), rows(folder, "files"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_that_fails_is_named_and_costs_itself_alone() {
    let stage = stage(6);
    let folder = stage.path();
    let bad = osteon::dicom::Instance::parse(std::fs::read(folder.join("in/003.dcm")).unwrap().into())
        .unwrap()
        .study;
    let archive = archive(folder, Mode::FailingStudy(bad.to_string())).await;
    let url = archive.url();
    let output = indexed(folder, &url, "out", &[]).await;
    let words = said(&output);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("5 images of 5 patients"), "{words}");
    assert!(
        words.contains("1 files or studies could not be read (the archive answers 500"),
        "{words}"
    );
    assert!(!words.contains(bad.as_str()), "{words}");
    let left_out = table(&folder.join("out/left-out.csv"));
    assert_eq!(left_out.len(), 1);
    assert_eq!(left_out[0]["place"], format!("wado:{bad}"));
    assert_eq!(left_out[0]["code"], "not-now");
    assert!(left_out[0]["reason"].contains("500 Internal Server Error"));

    archive.set(Mode::ShortPages(2));
    let output = indexed(folder, &url, "out", &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(table(&folder.join("out/left-out.csv")).is_empty());
    assert!(index(folder, "files", &[]).status.success());
    assert_eq!(rows(folder, "out"), rows(folder, "files"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_lies_or_leaves_is_told() {
    let stage = stage(4);
    let folder = stage.path();
    let archive = archive(folder, Mode::OnePage(2)).await;
    let url = archive.url();
    let output = indexed(folder, &url, "few", &[]).await;
    let words = said(&output);
    assert!(
        output.status.success() && words.contains("lists the same studies on every page"),
        "{words}"
    );
    assert_eq!(table(&folder.join("few/images.csv")).len(), 2);

    // another instance than was asked for becomes no row
    archive.set(Mode::Confused);
    let output = indexed(folder, &url, "confused", &[]).await;
    let words = said(&output);
    assert!(
        !output.status.success() && words.contains("is not the instance that was asked for"),
        "{words}"
    );
    archive.set(Mode::Failing);
    let output = indexed(folder, &url, "confused", &[]).await;
    let words = said(&output);
    assert!(
        !output.status.success() && words.contains("the archive answers 500 Internal Server Error; all that"),
        "{words}"
    );
    archive.set(Mode::Accepting);
    let output = indexed(folder, &url, "confused", &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(table(&folder.join("confused/images.csv")).len(), 4);
}
