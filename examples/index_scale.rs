//! An index of half a million images without half a million images: how long joining it takes, and opening it for a training.
//!
//!     index_scale make --out scale --images 500000 && index_scale join --out scale && index_scale open --out scale
//!
//! `make` reads some phantoms as `osteon-train index` does, and writes the work log and the cache of as many images as are wanted:
//! each has a header and pixels of one of them, a name, a patient and a digest of its own, and a fingerprint that is put together from
//! pieces of other phantoms'. The files are links to the phantoms'. One image in 50 is a copy of an earlier one, in one of the forms
//! that are looked for, so that it is seen how many are found. `join` is a run of the index that has nothing to read, `open` is what a training does before its first step. Both
//! tell how long it took, and the most memory that the process had.

#![expect(clippy::print_stdout, reason = "the times are what it is run for")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context;
use clap::{Parser, Subcommand};
use osteon::deidentify::Key;
use osteon::image::Plane;
use osteon::image::fingerprint::Fingerprint;
use osteon::image::phantom::{Recipe, to_dicom};
use osteon::image::preprocess::Preprocessing;
use osteon::train::data::cache::{CacheWriter, Digest, digest, hex};
use osteon::train::data::columns::Kind;
use osteon::train::data::index::{CACHE, IMAGES, Job, LOG, Watch, build, load, rows};
use osteon::train::data::{Column, Split, lone_classes};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::Value;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where all of it is
    #[arg(long, global = true, default_value = "scale")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Make the log, the cache, the labels and the links
    Make {
        /// How many images
        #[arg(long, default_value_t = 500_000)]
        images: usize,
    },
    /// Join them to a table
    Join,
    /// Open the table
    Open,
}

/// Different phantoms.
const PHANTOMS: usize = 1000;
/// Images of one folder.
const FOLDER: usize = 1000;
/// Images of a patient, on average.
const OF_A_PATIENT: usize = 2;
/// One image in so many is a copy.
const COPY: usize = 50;
/// Of 1,024 cells, so many differ in a copy.
const TURNED: usize = 60;
/// How fingerprints are cut into pieces, in bits of a word of eight rows: squares of two by two.
const PIECES: [u64; 16] = {
    let mut pieces = [0; 16];
    let mut piece = 0;
    while piece < 16 {
        pieces[piece] = 0x0303 << (16 * (piece / 4) + 2 * (piece % 4));
        piece += 1;
    }
    pieces
};

fn main() -> anyhow::Result<()> {
    let Arguments { command, out } = Arguments::parse();
    let begun = Instant::now();
    match command {
        Command::Make { images } => make(&out, images)?,
        Command::Join => join(&out)?,
        Command::Open => open(&out)?,
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!(
        "{:>12}  {:.1} s, {}",
        "all",
        begun.elapsed().as_secs_f64(),
        peak.unwrap_or_default().trim()
    );
    Ok(())
}

fn contract() -> Preprocessing {
    Preprocessing::grey(16, 12)
}

/// Indexes `inputs` into `out`.
fn index(out: &Path, inputs: &[PathBuf], labels: &[PathBuf]) -> anyhow::Result<()> {
    let modalities = BTreeSet::from(["DX".to_owned()]);
    let job = Job {
        out,
        inputs,
        archive: None,
        labels,
        key: &Key::new([7; 32]),
        modalities: &modalities,
        contract: Some(&contract()),
        tie_pictures: true,
    };
    let phases = Phases::default();
    let summary = build(&job, &phases)?;
    phases.phase("", 0);
    println!(
        "{} images of {} patients, copies: {:?}",
        summary.images, summary.patients, summary.duplicates
    );
    Ok(())
}

fn join(out: &Path) -> anyhow::Result<()> {
    index(
        &out.join("index"),
        &[out.join("in")],
        &[out.join("in/labels.csv")],
    )
}

/// Tells how long each phase took.
#[derive(Default)]
struct Phases(Mutex<Option<(&'static str, Instant)>>);

impl Watch for Phases {
    fn phase(&self, name: &'static str, _: u64) {
        let mut phase = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((name, since)) = phase.replace((name, Instant::now())) {
            println!("{name:>12}  {:.1} s", since.elapsed().as_secs_f64());
        }
    }

    fn step(&self) {}
}

/// What a training by the table does before its first step.
fn open(out: &Path) -> anyhow::Result<()> {
    let csv = out.join("index").join(IMAGES);
    let columns = [Column {
        name: "finding".to_owned(),
        kind: Kind::Finding,
    }];
    let phases = Phases::default();
    phases.phase("reading", 0);
    let rows = rows(&csv, &columns, &[])?;
    phases.phase("cache", 0);
    let labelled = load(&csv, rows, &contract(), || {})?;
    phases.phase("splitting", 0);
    let samples = &labelled.samples;
    let lone = lone_classes(&labelled.groups, &samples.labels);
    let split = Split::given(&labelled.splits, &labelled.groups, &samples.labels, 0.15, 1)?;
    let (train, validation) = (samples.select(&split.train), samples.select(&split.validation));
    phases.phase("", 0);
    println!(
        "{} images for training, {} held out, {} lone classes",
        train.len(),
        validation.len(),
        lone.len()
    );
    Ok(())
}

fn make(out: &Path, images: usize) -> anyhow::Result<()> {
    let (kinds, few) = (out.join("phantoms"), out.join("few"));
    std::fs::create_dir_all(&kinds)?;
    (0..PHANTOMS).into_par_iter().try_for_each(|seed| {
        let phantom = Recipe::new(seed as u64, 160, 120).render();
        to_dicom(&phantom, 7, seed as u32, 0)?.write_to_file(kind(&kinds, seed))?;
        anyhow::Ok(())
    })?;
    index(&few, std::slice::from_ref(&kinds), &[])?;
    let log = std::fs::read_to_string(few.join(LOG))?;
    let mut lines = log.lines();
    let head = lines.next().context("the log is empty")?;
    let known = lines
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;

    let input = std::path::absolute(out.join("in"))?;
    std::fs::create_dir_all(out.join("index"))?;
    std::fs::create_dir_all(&input)?;
    let mut log = BufWriter::new(std::fs::File::create(out.join("index").join(LOG))?);
    let mut labels = BufWriter::new(std::fs::File::create(input.join("labels.csv"))?);
    let mut cache = CacheWriter::open(&out.join("index").join(CACHE), &contract())?;
    writeln!(log, "{head}")?;
    writeln!(labels, "file,finding")?;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut before: Vec<Fingerprint> = Vec::new();
    let mut planes: Vec<(Digest, Plane)> = Vec::new();
    for image in 0..images {
        if image % FOLDER == 0 {
            std::fs::create_dir_all(input.join(format!("{:04}", image / FOLDER)))?;
            cache.add(&planes)?;
            planes.clear();
        }
        let name = format!("{:04}/{image:07}.dcm", image / FOLDER);
        let mut entry = known[image % PHANTOMS].clone();
        let from = entry["place"].as_str().context("a place")?.to_owned();
        std::fs::hard_link(&from, input.join(&name))?;
        let fingerprint = if image % COPY == COPY - 1 {
            copy(&before[image + 1 - COPY], image, &mut random)?
        } else {
            pieces(&known, &mut random)?
        };
        before.push(fingerprint);
        let digest = digest(&image.to_le_bytes());
        entry["place"] = input.join(&name).to_string_lossy().into();
        entry["digest"] = hex(&digest).into();
        let facts = &mut entry["outcome"]["image"];
        facts["image"] = format!("2.25.{}", u128::from_le_bytes(digest[..16].try_into()?)).into();
        facts["patient"] = format!("P{:010}", image / OF_A_PATIENT).into();
        facts["study"] = format!("2.25.{image}").into();
        facts["fingerprints"] = vec![String::from(fingerprint)].into();
        writeln!(log, "{entry}")?;
        writeln!(labels, "{name},{}", image % 5 / 4)?;
        planes.push((
            digest,
            Plane {
                rows: contract().rows,
                columns: contract().columns,
                values: vec![image as u16; contract().rows * contract().columns],
            },
        ));
    }
    cache.add(&planes)?;
    log.flush()?;
    labels.flush()?;
    Ok(())
}

fn kind(folder: &Path, seed: usize) -> PathBuf {
    folder.join(format!("{seed:04}.dcm"))
}

/// The words of a fingerprint.
fn words(fingerprint: &str) -> anyhow::Result<Vec<u64>> {
    let word = |place: usize| {
        Ok(u64::from_str_radix(
            &fingerprint[16 * place..16 * place + 16],
            16,
        )?)
    };
    (0..fingerprint.len() / 16).map(word).collect()
}

fn fingerprint(words: &[u64]) -> anyhow::Result<Fingerprint> {
    let mut text = String::new();
    for word in words {
        write!(text, "{word:016x}")?;
    }
    Ok(Fingerprint::try_from(text)?)
}

/// One that is put together from pieces of phantoms'.
fn pieces(known: &[Value], random: &mut ChaCha8Rng) -> anyhow::Result<Fingerprint> {
    let mut mixed = Vec::new();
    for piece in PIECES {
        let of = &known[random.random_range(0..known.len())]["outcome"]["image"]["fingerprints"][0];
        let words = words(of.as_str().context("a phantom has a fingerprint")?)?;
        mixed.resize(words.len(), 0);
        for (mixed, word) in mixed.iter_mut().zip(words) {
            *mixed |= word & piece;
        }
    }
    fingerprint(&mixed)
}

/// A copy in one of its forms.
fn copy(of: &Fingerprint, image: usize, random: &mut ChaCha8Rng) -> anyhow::Result<Fingerprint> {
    let of = match image / COPY % 4 {
        0 => *of,
        1 => of.inverted(),
        2 => of.mirrored(),
        _ => of.mirrored().inverted(),
    };
    let mut words = words(&String::from(of))?;
    let count = words.len();
    for _ in 0..TURNED {
        // a cell is bright or dark, not both
        let (place, bit) = (random.random_range(0..count), 1 << random.random_range(0..64));
        words[place] |= bit;
        words[(place + count / 2) % count] &= !bit;
    }
    fingerprint(&words)
}
