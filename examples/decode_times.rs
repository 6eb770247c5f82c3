//! Processor time from a file's bytes to stored values, for `scripts/bench`: one line a file with the least of several runs.
//!
//!     decode_times RUNS FILE...
//!     decode_times RUNS --input 224x224 FILE...
//!     decode_times RUNS --manifest manifest.json FILE...
//!
//! With `--input` the images are decoded for a network of that input size whose contract allows lower resolutions; with
//! `--manifest` the way goes on to the tensor that the manifest's contract makes of them.

#![expect(clippy::print_stdout, reason = "the times are what it is run for")]

use std::process::ExitCode;

use bytes::Bytes;
use osteon::dicom::Instance;
use osteon::image::preprocess::{Preprocessing, ReducedResolution};
use osteon::model::ModelManifest;
use rustix::time::{ClockId, clock_gettime};

const USAGE: &str = "usage: decode_times RUNS [--input ROWSxCOLUMNS | --manifest FILE] FILE...";

/// How far the images are taken.
#[derive(Clone, Copy)]
enum Until {
    StoredValues,
    Tensor,
}

/// Nanoseconds that this thread has spent on a processor.
fn on_processor() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn time(file: &Bytes, contract: &Preprocessing, until: Until) -> Result<u64, String> {
    let before = on_processor();
    let instance = Instance::parse(file.clone()).map_err(|error| error.to_string())?;
    let image = contract.decode(&instance).map_err(|error| error.to_string())?;
    match until {
        Until::StoredValues => {
            // uncompressed values stay where they lie until they are read, line by line: that is part of having them
            let mut line = vec![0; image.columns];
            for row in 0..image.rows {
                image.codes.read(row * image.columns, &mut line);
                std::hint::black_box(&line);
            }
        }
        Until::Tensor => {
            std::hint::black_box(contract.apply(&image).map_err(|error| error.to_string())?);
        }
    }
    Ok(on_processor() - before)
}

/// A contract for decoding alone: of an input of `ROWSxCOLUMNS`, or of none.
fn decoding(size: Option<&str>) -> Option<Preprocessing> {
    let mut contract = Preprocessing::grey(224, 224);
    contract.crop_border = false;
    if let Some(size) = size {
        let (rows, columns) = size.split_once('x')?;
        contract.rows = rows.parse().ok()?;
        contract.columns = columns.parse().ok()?;
        contract.reduced_resolution = Some(ReducedResolution { bound: 1.0 });
    }
    Some(contract)
}

fn manifest(file: &str) -> Result<Preprocessing, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let manifest: ModelManifest =
        serde_json::from_slice(&bytes).map_err(|error| format!("{file}: {error}"))?;
    Ok(manifest.preprocessing)
}

fn run() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1).peekable();
    let runs: usize = arguments.next().and_then(|runs| runs.parse().ok()).ok_or(USAGE)?;
    let (contract, until) = if arguments.next_if_eq("--input").is_some() {
        let size = arguments.next().ok_or(USAGE)?;
        (decoding(Some(&size)).ok_or(USAGE)?, Until::StoredValues)
    } else if arguments.next_if_eq("--manifest").is_some() {
        (manifest(&arguments.next().ok_or(USAGE)?)?, Until::Tensor)
    } else {
        (decoding(None).ok_or(USAGE)?, Until::StoredValues)
    };
    for file in arguments {
        let bytes = Bytes::from(std::fs::read(&file).map_err(|error| format!("{file}: {error}"))?);
        let mut best = u64::MAX;
        for _ in 0..runs {
            best = best.min(time(&bytes, &contract, until).map_err(|error| format!("{file}: {error}"))?);
        }
        println!("{:.3}", best as f64 / 1e6);
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
