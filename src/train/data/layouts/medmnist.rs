//! MedMNIST and whatever is packed like it: one `.npz` with `train_images`, `train_labels`, and the same for `val` and `test`.
//!
//! It is unpacked once, into PNG files and a `labels.csv` that names part and labels, which are then an index's input like any other.
//! One array is read from front to back, one image in memory at a time.
//!
//! Yang et al. 2023, MedMNIST v2: A large-scale lightweight benchmark for 2D and 3D biomedical image classification,
//! Scientific Data 10:41, arXiv 2110.14795.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipArchiveEntryWayfinder};

/// Names of the parts in the file, and in the table.
const PARTS: [(&str, &str); 3] = [("train", "train"), ("val", "validation"), ("test", "test")];
/// Images of one folder, so that no folder has a hundred thousand.
const IN_FOLDER: usize = 1000;
/// Bytes of an array's header, at most.
const MOST_HEADER: usize = 1 << 16;
/// Bytes of a part's labels, at most: a million images of 64 labels.
const MOST_LABELS: usize = 64 << 20;

/// Why a file cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[error("{file} cannot be unpacked: {cause}")]
pub struct PackedError {
    file: PathBuf,
    cause: String,
}

/// Whether a file is called like a packed set.
#[must_use]
pub fn is_packed(file: &Path) -> bool {
    file.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("npz"))
}

/// Unpacks a set into a folder of its own below `out`, and gives that; what was unpacked before stays.
///
/// # Errors
/// [`PackedError`]: colour, another kind of number, a damaged file, a full disk.
pub fn unpack(file: &Path, out: &Path) -> Result<PathBuf, PackedError> {
    let folder = out.join(super::stem(file));
    let failed = |cause: &dyn std::fmt::Display| PackedError {
        file: file.to_owned(),
        cause: cause.to_string(),
    };
    let table = folder.join("labels.csv");
    if table.is_file() {
        return Ok(folder);
    }
    let mut lines = String::new();
    let packed = Packed::open(file).map_err(|cause| failed(&cause))?;
    for (part, split) in PARTS {
        packed
            .part(part, split, &folder, &mut lines)
            .map_err(|cause| failed(&cause))?;
    }
    if lines.is_empty() {
        return Err(failed(
            &"there is no array train_images, val_images or test_images in it",
        ));
    }
    // last, because it says that all is there
    let part = folder.join("labels.csv.part");
    let written = std::fs::write(&part, lines).and_then(|()| std::fs::rename(&part, &table));
    written.map_err(|cause| failed(&cause))?;
    Ok(folder)
}

/// The arrays of a file.
struct Packed {
    archive: ZipArchive<FileReader>,
    arrays: Vec<(String, CompressionMethod, ZipArchiveEntryWayfinder)>,
}

impl Packed {
    fn open(file: &Path) -> Result<Self, String> {
        let opened = File::open(file).map_err(|error| error.to_string())?;
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let archive = ZipArchive::from_file(opened, &mut buffer).map_err(|error| error.to_string())?;
        let mut arrays = Vec::new();
        let mut entries = archive.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(|error| error.to_string())? {
            let path = entry.file_path();
            let Ok(path) = path.try_normalize() else { continue };
            if let Some(name) = path.as_ref().strip_suffix(".npy") {
                arrays.push((name.to_owned(), entry.compression_method(), entry.wayfinder()));
            }
        }
        Ok(Self { archive, arrays })
    }

    /// Opens an array for `read`, if it is there.
    fn array<T>(
        &self,
        name: &str,
        read: impl FnOnce(Header, &mut dyn Read) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let Some((_, method, place)) = self.arrays.iter().find(|(own, _, _)| own == name) else {
            return Ok(None);
        };
        let entry = self
            .archive
            .get_entry(*place)
            .map_err(|error| error.to_string())?;
        let mut stored = entry.reader();
        let mut deflated;
        let bytes: &mut dyn Read = match *method {
            CompressionMethod::STORE => &mut stored,
            CompressionMethod::DEFLATE => {
                deflated = DeflateDecoder::new(stored);
                &mut deflated
            }
            _ => {
                return Err(format!(
                    "{name} is compressed neither with deflate nor not at all"
                ));
            }
        };
        let header = Header::read(bytes).map_err(|cause| format!("{name}: {cause}"))?;
        read(header, bytes).map(Some)
    }

    /// Writes the images of a part, and a line for each; after the first line of all, which names the columns.
    fn part(&self, part: &str, split: &str, folder: &Path, lines: &mut String) -> Result<(), String> {
        let labels = self.array(&format!("{part}_labels"), |header, bytes| labels(&header, bytes))?;
        let (width, labels) = labels.unwrap_or_default();
        self.array(&format!("{part}_images"), |header, bytes| {
            let [count, rows, columns] = header.grey()?;
            if width > 0 && labels.len() != width * count {
                return Err(format!(
                    "there are {count} images and {} labels",
                    labels.len() / width
                ));
            }
            if lines.is_empty() {
                let names = match width {
                    1 => vec!["label".to_owned()],
                    _ => (0..width).map(|place| format!("label_{place}")).collect(),
                };
                lines.push_str(
                    &["file".to_owned(), "split".to_owned()]
                        .into_iter()
                        .chain(names)
                        .collect::<Vec<_>>()
                        .join(","),
                );
                lines.push('\n');
            }
            let mut pixels = vec![0; rows * columns];
            for place in 0..count {
                bytes
                    .read_exact(&mut pixels)
                    .map_err(|_| format!("{part}_images breaks off at image {place} of {count}"))?;
                let name = format!("{split}/{:03}/{place:06}.png", place / IN_FOLDER);
                write_png(&folder.join(&name), &pixels, [rows, columns])?;
                let own = labels.iter().skip(place * width).take(width);
                let cells: Vec<String> = own.map(ToString::to_string).collect();
                lines.push_str(
                    &[name, split.to_owned()]
                        .into_iter()
                        .chain(cells)
                        .collect::<Vec<_>>()
                        .join(","),
                );
                lines.push('\n');
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn write_png(file: &Path, pixels: &[u8], [rows, columns]: [usize; 2]) -> Result<(), String> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let mut png = Vec::new();
    let encoder = ::image::codecs::png::PngEncoder::new(&mut png);
    ::image::ImageEncoder::write_image(
        encoder,
        pixels,
        columns as u32,
        rows as u32,
        ::image::ExtendedColorType::L8,
    )
    .map_err(|error| error.to_string())?;
    let mut opened = File::create(file).map_err(|error| error.to_string())?;
    opened.write_all(&png).map_err(|error| error.to_string())
}

/// How many labels an image has, and those of all images.
fn labels(header: &Header, bytes: &mut dyn Read) -> Result<(usize, Vec<i64>), String> {
    let count: usize = header.shape.iter().product();
    let width = header.shape.iter().skip(1).product();
    let number = header.number.trim_start_matches(['|', '<', '=']);
    let size = match number {
        "u1" | "i1" | "b1" => 1,
        "u2" | "i2" => 2,
        "u4" | "i4" => 4,
        "u8" | "i8" => 8,
        _ => return Err("labels must be whole numbers, little endian".to_owned()),
    };
    if count.saturating_mul(size) > MOST_LABELS {
        return Err("there are too many labels".to_owned());
    }
    let mut all = vec![0; count * size];
    bytes
        .read_exact(&mut all)
        .map_err(|_| "the labels break off".to_owned())?;
    let is_signed = number.starts_with('i');
    let whole = |bytes: &[u8]| {
        // what is above the highest byte of a negative number is ones
        let sign = bytes.last().is_some_and(|byte| is_signed && *byte > 0x7F);
        let start = if sign { -1 } else { 0 };
        bytes
            .iter()
            .rev()
            .fold(start, |number, byte| number << 8 | i64::from(*byte))
    };
    Ok((width, all.chunks(size).map(whole).collect()))
}

/// The header of an array (NEP 1).
struct Header {
    number: String,
    shape: Vec<usize>,
}

impl Header {
    fn read(bytes: &mut dyn Read) -> Result<Self, String> {
        let broken = |_| "it is no NumPy array, or breaks off in its header".to_owned();
        let mut start = [0; 8];
        bytes.read_exact(&mut start).map_err(broken)?;
        let length = if start[6] == 1 {
            let mut length = [0; 2];
            bytes.read_exact(&mut length).map_err(broken)?;
            usize::from(u16::from_le_bytes(length))
        } else {
            let mut length = [0; 4];
            bytes.read_exact(&mut length).map_err(broken)?;
            u32::from_le_bytes(length) as usize
        };
        if &start[..6] != b"\x93NUMPY" || length > MOST_HEADER {
            return Err("it is no NumPy array".to_owned());
        }
        let mut text = vec![0; length];
        bytes.read_exact(&mut text).map_err(broken)?;
        let text = String::from_utf8_lossy(&text);
        let after = |key: &str| {
            text.split_once(key)
                .map(|(_, rest)| rest.trim_start_matches([':', ' ']))
        };
        let number = after("'descr'").and_then(|rest| rest.split('\'').nth(1));
        let shape = after("'shape'").and_then(|rest| rest.strip_prefix('(')?.split(')').next());
        let sides = shape.map(|shape| {
            shape
                .split(',')
                .filter_map(|side| side.trim().parse().ok())
                .collect()
        });
        match (number, sides) {
            (Some(number), Some(shape)) if !text.contains("'fortran_order': True") => Ok(Self {
                number: number.to_owned(),
                shape,
            }),
            _ => Err("its header does not say type and shape in C order".to_owned()),
        }
    }

    /// Images, rows and columns of grey 8-bit pictures.
    fn grey(&self) -> Result<[usize; 3], String> {
        match (self.number.as_str(), self.shape.as_slice()) {
            ("|u1", [count, rows, columns] | [count, rows, columns, 1])
                if (1..=4096).contains(rows) && (1..=4096).contains(columns) =>
            {
                Ok([*count, *rows, *columns])
            }
            ("|u1", [_, _, _, 3]) => Err("its images are in colour: radiographs are grey".to_owned()),
            (number, shape) => Err(format!(
                "its images are {number} of {shape:?}: 8-bit ones as images, rows, columns are taken"
            )),
        }
    }
}
