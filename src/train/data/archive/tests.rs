//! The client against an archive that is a real server on the loopback interface, and that does not always behave.

#![cfg(feature = "serve")]

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::*;
use crate::image::phantom::{Recipe, to_dicom};
use crate::peer::fixture::archive::{Archive as Stage, Mode};

/// An archive that serves as long as it lives; the client is for threads that may wait.
struct Scene {
    archive: Stage,
    _runtime: Runtime,
}

impl Deref for Scene {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.archive
    }
}

/// So many patients with an image each.
fn stage(mode: Mode, patients: u32) -> Scene {
    let runtime = Runtime::new().unwrap();
    let archive = runtime.block_on(Stage::start(mode));
    for patient in 0..patients {
        let object = to_dicom(&Recipe::new(u64::from(patient), 64, 48).render(), 7, patient, 0).unwrap();
        let mut bytes = Vec::new();
        object.write_all(&mut bytes).unwrap();
        archive.hold(bytes.into());
    }
    Scene {
        archive,
        _runtime: runtime,
    }
}

fn open(stage: &Stage, credentials: Credentials) -> Archive {
    Archive::open(&stage.url(), credentials, &[]).unwrap()
}

/// All that it has, as far as it gives it.
fn all(archive: &Archive) -> Result<usize, ArchiveError> {
    let mut count = 0;
    for (study, total) in archive.studies()?.items {
        for listed in archive.instances(&study, total)?.items {
            let bytes = archive.fetch(&listed.study, &listed.series, &listed.uid)?;
            assert_eq!(Instance::parse(bytes).unwrap().uid, listed.uid);
            count += 1;
        }
    }
    Ok(count)
}

/// It, and the first instance that it lists.
fn first_of(stage: &Stage) -> (Archive, Listed) {
    let archive = open(stage, Credentials::None);
    let (study, total) = archive.studies().unwrap().items.remove(0);
    let listed = archive.instances(&study, total).unwrap().items.remove(0);
    (archive, listed)
}

#[test]
fn what_passes_is_asked_for_again() {
    for mode in [Mode::CutWhileSending, Mode::BreakingOff, Mode::Failing] {
        let stage = stage(Mode::Accepting, 2);
        let (archive, listed) = first_of(&stage);
        stage.set(Mode::First(2, Box::new(mode.clone())));
        archive.fetch(&listed.study, &listed.series, &listed.uid).unwrap();
        assert_eq!(stage.requests().retrievals, 3, "{mode:?}");
    }
}

#[test]
fn an_archive_is_waited_for_as_long_as_it_asks() {
    let stage = stage(Mode::First(1, Box::new(Mode::Unavailable)), 1);
    let archive = open(&stage, Credentials::None);
    let begun = Instant::now();
    assert_eq!(all(&archive).unwrap(), 1);
    assert!(begun.elapsed() >= Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[test]
fn one_failing_study_is_told_from_an_archive_that_is_gone() {
    let stage = stage(Mode::Accepting, 2);
    let archive = open(&stage, Credentials::None);
    let studies = archive.studies().unwrap().items;
    let [(first, _), (second, _)] = <[_; 2]>::try_from(studies).unwrap();
    stage.set(Mode::FailingStudy(first.to_string()));
    let error = archive.instances(&first, None).unwrap_err();
    assert_eq!(error.to_string(), "the archive answers 500 Internal Server Error");
    assert!(archive.ended().is_none());
    assert_eq!(archive.instances(&second, None).unwrap().items.len(), 1);
    let asked = stage.requests();
    // one that is there was asked once more, with its end
    assert_eq!((asked.lists, asked.studies), (4 + 2, 2 + 1));
    stage.set(Mode::Failing);
    archive.instances(&second, None).unwrap_err();
    assert!(archive.ended().is_some());
    archive.instances(&second, None).unwrap_err();
    let asked = stage.requests();
    assert_eq!(
        (asked.lists, asked.studies),
        (4 + 2 + 4, 3 + 1),
        "who comes later asks nothing"
    );
}

fn secret(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("secret");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn wrong_credentials_end_it_at_once_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret(folder.path(), "wrong-secret\n");
    for (credentials, part) in [
        (Credentials::None, "asks who you are: name --token-file"),
        (Credentials::Bearer(file.clone()), "does not take the token in "),
        (
            Credentials::Basic("reader".to_owned(), file.clone()),
            "does not take the user of --user with the password in ",
        ),
    ] {
        let stage = stage(Mode::Expecting("Bearer right".to_owned()), 3);
        let archive = open(&stage, credentials.clone());
        let said = archive.studies().unwrap_err().to_string();
        assert!(archive.ended().is_some());
        archive.studies().unwrap_err();
        assert!(said.contains(part) && said.contains("401"), "{said}");
        assert!(!said.contains("wrong-secret"), "{said}");
        let shown = format!("{:?}", credentials.header().unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(stage.requests().studies, 1);
    }
}

#[test]
fn a_token_that_was_renewed_in_its_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret(folder.path(), "first");
    let stage = stage(Mode::Expecting("Bearer first".to_owned()), 2);
    let archive = open(&stage, Credentials::Bearer(file));
    assert_eq!(all(&archive).unwrap(), 2);
    stage.set(Mode::Expecting("Bearer second".to_owned()));
    secret(folder.path(), "second");
    assert_eq!(all(&archive).unwrap(), 2);
    let before = stage.requests().studies;
    // for a moment the file is empty: a writer is at it
    stage.set(Mode::Expecting("Bearer third".to_owned()));
    secret(folder.path(), "");
    let error = archive.studies().unwrap_err();
    assert!(matches!(error, ArchiveError::Refused(_)), "{error}");
    assert_eq!(stage.requests().studies, before + 1);
}

#[test]
fn lists_are_whole_however_they_are_paged() {
    for (mode, expected, repeats) in [
        (Mode::Accepting, 12, false),
        (Mode::SilentSearch, 12, false),
        (Mode::ShortPages(5), 12, false),
        (Mode::OnePage(usize::MAX), 12, true),
        (Mode::OnePage(7), 7, true),
    ] {
        let stage = stage(mode.clone(), 12);
        let archive = open(&stage, Credentials::None);
        let listing = archive.studies().unwrap();
        assert_eq!(
            (listing.items.len(), listing.repeats),
            (expected, repeats),
            "{mode:?}"
        );
    }
}

#[test]
fn what_was_not_asked_for_is_refused() {
    for (mode, part) in [
        (Mode::Confused, "is not the instance that was asked for"),
        (Mode::Babbling, "is not a DICOM file"),
        (Mode::Forgetful, "404"),
        (
            Mode::Redirecting("http://127.0.0.1:1/".to_owned()),
            "it sends elsewhere, which is not followed",
        ),
    ] {
        let stage = stage(Mode::Accepting, 2);
        let (archive, listed) = first_of(&stage);
        stage.set(mode);
        let error = archive.fetch(&listed.study, &listed.series, &listed.uid);
        let said = error.unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
        assert_eq!(stage.requests().retrievals, 1, "no other attempt helps");
    }
}

#[test]
fn settings_that_cannot_be_right_are_named_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let query = |key: &str| vec![(key.to_owned(), "1".to_owned())];
    for (url, query, part) in [
        ("ftp://me:hidden@x", vec![], "must begin with http:// or https://"),
        ("http://me:hidden@", vec![], "is no URL"),
        ("https://me:hidden@x", vec![], "neither user nor password"),
        ("https://x", query("limit"), "limit is set by the program itself"),
    ] {
        let said = Archive::open(url, Credentials::None, &query).err().unwrap();
        let said = said.to_string();
        assert!(said.contains(part) && !said.contains("hidden"), "{said}");
    }
    for (text, part) in [(" \n", "is empty"), ("hidden\nlines", "must have one line")] {
        let file = secret(folder.path(), text);
        let said = Archive::open("https://x", Credentials::Bearer(file), &[])
            .err()
            .unwrap();
        let said = said.to_string();
        assert!(said.contains(part) && !said.contains("hidden"), "{said}");
    }
}
