//! Processor time from a file's bytes to stored values, for `scripts/bench`: one line a file with the least of several runs.
//!
//!     decode_times RUNS FILE...
//!     decode_times RUNS --input 224x224 FILE...
//!
//! With `--input` the images are decoded for a network of that input size whose contract allows lower resolutions.

#![expect(clippy::print_stdout, reason = "the times are what it is run for")]

use std::process::ExitCode;

use bytes::Bytes;
use osteon::dicom::Instance;
use osteon::image::decode::decode;
use osteon::image::preprocess::{Preprocessing, ReducedResolution};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds that this thread has spent on a processor.
fn on_processor() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn time(file: &Bytes, contract: &Preprocessing) -> Result<u64, String> {
    let before = on_processor();
    let instance = Instance::parse(file.clone()).map_err(|error| error.to_string())?;
    let image = if contract.reduced_resolution.is_some() {
        contract.decode(&instance)
    } else {
        decode(&instance)
    };
    let image = image.map_err(|error| error.to_string())?;
    // uncompressed values stay where they lie until they are read, line by line: that is part of having them
    let mut line = vec![0; image.columns];
    for row in 0..image.rows {
        image.codes.read(row * image.columns, &mut line);
        std::hint::black_box(&line);
    }
    Ok(on_processor() - before)
}

fn run() -> Result<(), String> {
    let usage = "usage: decode_times RUNS [--input ROWSxCOLUMNS] FILE...";
    let mut arguments = std::env::args().skip(1).peekable();
    let runs: usize = arguments.next().and_then(|runs| runs.parse().ok()).ok_or(usage)?;
    let mut contract = Preprocessing::grey(224, 224);
    contract.crop_border = false;
    if arguments.next_if_eq("--input").is_some() {
        let size = arguments.next().ok_or(usage)?;
        let (rows, columns) = size.split_once('x').ok_or(usage)?;
        contract.rows = rows.parse().map_err(|_| usage)?;
        contract.columns = columns.parse().map_err(|_| usage)?;
        contract.reduced_resolution = Some(ReducedResolution { bound: 1.0 });
    }
    for file in arguments {
        let bytes = Bytes::from(std::fs::read(&file).map_err(|error| format!("{file}: {error}"))?);
        let mut best = u64::MAX;
        for _ in 0..runs {
            best = best.min(time(&bytes, &contract).map_err(|error| format!("{file}: {error}"))?);
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
