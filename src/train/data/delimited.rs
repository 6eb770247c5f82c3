//! Tables as programs write them: columns between commas, semicolons or tabs, whichever the first line has most of.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use csv::ReaderBuilder;

/// How to read the table in `file`.
///
/// # Errors
/// What the system says where it cannot be read.
pub fn delimited(file: &Path) -> std::io::Result<ReaderBuilder> {
    let mut first = Vec::new();
    BufReader::new(File::open(file)?).read_until(b'\n', &mut first)?;
    let count = |byte: u8| memchr::memchr_iter(byte, &first).count();
    let delimiter = [b'\t', b';', b','].into_iter().max_by_key(|byte| count(*byte));
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter.unwrap_or(b','));
    Ok(builder)
}
