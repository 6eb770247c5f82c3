//! Makes the first inputs of the fuzz targets: mutated phantoms, and the streams of the reference files.
//!
//!     cargo run --example fuzz_corpus --no-default-features -- fuzz/corpus

use std::path::Path;

use dicom_object::{FileDicomObject, InMemDicomObject};
use osteon::dicom::{Instance, PixelData};
use osteon::image::phantom::{Phantom, Recipe, to_dicom};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Mutants of each phantom.
const MUTANTS: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let corpus = std::env::args().nth(1).ok_or("name the folder of the corpus")?;
    let corpus = Path::new(&corpus);
    for target in ["parse", "codec", "multipart", "preprocess"] {
        std::fs::create_dir_all(corpus.join(target))?;
    }
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for seed in 0..4 {
        let phantom: Phantom = Recipe::new(seed, 24, 18).render();
        let object: FileDicomObject<InMemDicomObject> = to_dicom(&phantom, 9, seed as u32, 0)?;
        let mut file = Vec::new();
        object.write_all(&mut file)?;
        for mutant in 0..MUTANTS {
            let bytes = mutated(&file, mutant, &mut random);
            let name = format!("phantom-{seed}-{mutant}");
            std::fs::write(corpus.join("parse").join(&name), &bytes)?;
            std::fs::write(
                corpus.join("preprocess").join(&name),
                mutated(&file, mutant, &mut random),
            )?;
            let head = b"\x07--boundary\r\nContent-Type: application/dicom\r\n\r\n".as_slice();
            let body = [head, &file[128..400], b"\r\n--boundary--\r\n"].concat();
            std::fs::write(
                corpus.join("multipart").join(&name),
                mutated(&body, mutant, &mut random),
            )?;
        }
    }
    streams(corpus)
}

/// The first mutant of each is the file itself.
fn mutated(file: &[u8], mutant: usize, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..mutant {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[at] = (random.next_u32() & 0xFF) as u8,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, (random.next_u32() & 0xFF) as u8),
        }
    }
    bytes
}

/// The compressed frames of `tests/data/decode`, in the form that the target `codec` takes.
fn streams(corpus: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // in the order of the target's own list
    let syntaxes = ["50", "51", "57", "70", "80", "90", "201", "110", "rle", "81"];
    for entry in std::fs::read_dir("tests/data/decode")? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "dcm") {
            continue;
        }
        let instance = Instance::parse(std::fs::read(&path)?.into())?;
        let Some(PixelData::Encapsulated { fragments, .. }) = &instance.pixels else {
            continue;
        };
        let syntax = instance.transfer_syntax.as_str();
        let last = if syntax == "1.2.840.10008.1.2.5" {
            "rle"
        } else {
            syntax.rsplit('.').next().unwrap_or_default()
        };
        let Some(index) = syntaxes.iter().position(|name| *name == last) else {
            continue;
        };
        let bits = instance.header.element_by_name("BitsStored")?.to_int::<u8>()?;
        let mut input = vec![index as u8, 37, 53, bits - 1];
        input.extend(fragments.concat());
        let name = path.file_stem().unwrap_or_default();
        // whole files for what is decoded at a lower resolution, too
        if matches!(last, "90" | "201") {
            std::fs::copy(&path, corpus.join("preprocess").join(name))?;
        }
        std::fs::write(corpus.join("codec").join(name), input)?;
    }
    Ok(())
}
