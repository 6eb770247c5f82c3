//! Of [`super`]: decoding that nobody waits for ends.

use std::cell::Cell;
use std::path::Path;

use super::*;

/// Decodes with `decode`, which may ask so often before nobody waits any more; gives what came of it, and how often it asked.
fn asked(
    decode: impl Fn(Cancel<'_>) -> Result<StoredImage, DecodeError>,
    most: usize,
) -> (Result<StoredImage, DecodeError>, usize) {
    let count = Cell::new(0);
    let is_over = || {
        count.set(count.get() + 1);
        count.get() > most
    };
    let result = decode(Cancel::when(&is_over));
    (result, count.get())
}

/// Asks at least `least` times, and ends at whichever of them nobody waits any more.
#[track_caller]
fn stops(what: &str, least: usize, decode: impl Fn(Cancel<'_>) -> Result<StoredImage, DecodeError>) {
    let (whole, asks) = asked(&decode, usize::MAX);
    assert!(whole.is_ok() && asks >= least, "{what}: {asks} times");
    for most in [0, asks / 2, asks - 1] {
        let (stopped, count) = asked(&decode, most);
        assert_eq!(stopped.err(), Some(DecodeError::Cancelled), "{what}");
        assert!(
            (most + 1..=most + 2).contains(&count),
            "{what}: {count} and not {most}"
        );
    }
}

/// 53 columns and 37 rows in each: a line, a row of blocks or a code-block is what is finished.
#[test]
fn every_codec_stops_where_nobody_waits_any_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decode");
    for (file, least) in [
        ("jpeg-8u-quality90.dcm", 5),
        ("jpeg-12u-quality90.dcm", 5),
        ("jpeg-lossless-12u.dcm", 37),
        ("jpeg-ls-12u.dcm", 37),
        ("jpeg2000-12u.dcm", 7),
        ("jpeg2000-tiles.dcm", 7),
        ("htj2k-12u.dcm", 7),
        ("jpeg-xl-12u.dcm", 1),
        ("rle-12u.dcm", 1),
        ("rle-8u.dcm", 1),
    ] {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let instance = Instance::parse(bytes.into()).unwrap();
        stops(file, least, |cancel| Ok(decode_halved(&instance, 0, cancel)?.0));
    }
}

#[test]
fn a_picture_stops_too() {
    let grey = ::image::GrayImage::from_fn(300, 300, |x, y| ::image::Luma([(x * 7 + y * y) as u8]));
    for format in [::image::ImageFormat::Png, ::image::ImageFormat::Jpeg] {
        let mut file = std::io::Cursor::new(Vec::new());
        grey.write_to(&mut file, format).unwrap();
        let file = file.into_inner();
        stops(&format!("{format:?}"), 3, |cancel| {
            decode_picture_until(&file, cancel)
        });
    }
}
