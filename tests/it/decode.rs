//! Every lossless way in which a radiograph comes gives back what was put in, and no damaged file takes the process down.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use osteon::dicom::Instance;
use osteon::image::StoredImage;
use osteon::image::decode::decode_frame;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::panics;

/// How many damaged copies are made of each file.
const MUTANTS: usize = 120;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode")
}

/// The names of the files and the numbers of their frames with the digests of what they hold; `references.json` says what made them.
fn references() -> Vec<(String, u32, String)> {
    let text = std::fs::read_to_string(folder().join("references.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    all["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                text(&entry["file"]),
                entry["frame"].as_u64().unwrap() as u32,
                text(&entry["sha256_of_stored_values_as_little_endian_i32"]),
            )
        })
        .collect()
}

fn stored(file: Vec<u8>, frame: u32) -> Result<StoredImage, String> {
    let instance = Instance::parse(Bytes::from(file)).map_err(|error| error.to_string())?;
    decode_frame(&instance, frame).map_err(|error| error.to_string())
}

#[test]
fn every_lossless_file_decodes_to_what_was_put_in() {
    let references = references();
    assert!(references.len() >= 158, "only {} references", references.len());
    let mut wrong = Vec::new();
    for (name, frame, expected) in &references {
        let found = stored(std::fs::read(folder().join(name)).unwrap(), *frame).map(|image| {
            let mut digest = Sha256::new();
            for code in image.codes.words(image.rows * image.columns) {
                digest.update(image.stored_value(code).to_le_bytes());
            }
            digest
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        });
        if found.as_ref() != Ok(expected) {
            wrong.push(format!(
                "{name}, frame {frame}: {}",
                found.err().unwrap_or("other pixels".to_owned())
            ));
        }
    }
    // past the capture of the test harness: the matrix is to be seen
    let mut matrix: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, ..) in &references {
        let name = name.trim_end_matches(".dcm");
        let (kind, variant) = name
            .rsplit_once('-')
            .filter(|(_, last)| last.len() <= 3 && last.ends_with(['u', 's']))
            .unwrap_or((name, ""));
        matrix.entry(kind).or_default().push(variant);
    }
    for (kind, variants) in &matrix {
        writeln!(
            std::io::stderr(),
            "  stored values as put in: {kind:<28} {}",
            variants.join(" ")
        )
        .unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ten_thousand_damaged_files_end_in_pixels_or_a_reason() {
    panics::count();
    let mut random = ChaCha8Rng::seed_from_u64(41);
    let (mut whole, mut refused) = (0, 0);
    for (name, frame, _) in references() {
        let good = std::fs::read(folder().join(&name)).unwrap();
        for _ in 0..MUTANTS {
            let mut bytes = good.clone();
            for _ in 0..random.random_range(1..=6) {
                // the preamble and `DICM` may go, too
                let at = random.random_range(120..bytes.len());
                bytes[at] = (random.next_u32() & 0xFF) as u8;
            }
            if random.random_range(0..4) == 0 {
                bytes.truncate(random.random_range(0..bytes.len()));
            }
            match stored(bytes, frame) {
                Ok(_) => whole += 1,
                Err(_) => refused += 1,
            }
        }
    }
    writeln!(
        std::io::stderr(),
        "  damaged files: {whole} with pixels, {refused} with a reason, {} panics",
        panics::seen()
    )
    .unwrap();
    assert!(whole + refused >= 10_000, "{whole} + {refused}");
    assert_eq!(panics::seen(), 0, "panics in src/image or src/dicom");
    assert!(refused > 1000, "only {refused} of the damaged files were refused");
}
