//! PyTorch's files: where the pickle is, and where the numbers are that it speaks of.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::super::weights::TensorF32;
use super::numbers::Number;
use super::pickle::{self, Pickle, Tensor, Value};
use super::{Checkpoint, CheckpointError, Format, state};

/// A pickle of the number 0x1950a86a20f9469cfc6c, with which files began before version 1.6.
pub(super) const LEGACY_START: [u8; 14] = [
    0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
];

/// Reads a ZIP archive: `<name>/data.pkl`, and `<name>/data/<key>` for each storage.
pub(super) fn read_zip(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let failed = |error: &dyn std::fmt::Display| CheckpointError::new(format!("its ZIP archive: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| failed(&error))?;
    let root = archive
        .file_names()
        .flatten()
        .find_map(|name| name.strip_suffix("data.pkl").map(str::to_owned))
        .filter(|root| root.is_empty() || root.ends_with('/'))
        .ok_or_else(|| {
            CheckpointError::new("a ZIP archive without data.pkl, which PyTorch would have written")
        })?;
    let mut entry = |name: String| -> Result<Vec<u8>, CheckpointError> {
        let mut entry = archive.by_name(&name).map_err(|error| failed(&error))?;
        if entry.compressed_size() != entry.size() {
            return Err(failed(&"compressed, which PyTorch does not do"));
        }
        let mut own = Vec::new();
        entry.read_to_end(&mut own).map_err(|error| failed(&error))?;
        Ok(own)
    };
    if entry(format!("{root}byteorder")).is_ok_and(|order| order != b"little") {
        return Err(CheckpointError::new("its numbers are big-endian"));
    }
    let pickle = pickle::read(&entry(format!("{root}data.pkl"))?).map_err(CheckpointError::new)?;
    tensors(&pickle, Format::TorchZip, bytes.len(), |key| {
        entry(format!("{root}data/{key}"))
    })
}

/// Reads pickles behind one another: the magic number, the version, the machine, the objects, the names of the storages;
/// then each storage with its length before it.
pub(super) fn read_legacy(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let mut rest = bytes;
    let mut next = || -> Result<Pickle, CheckpointError> {
        let pickle = pickle::read(rest).map_err(CheckpointError::new)?;
        rest = &rest[pickle.length..];
        Ok(pickle)
    };
    let (_magic, _version, _machine) = (next()?, next()?, next()?);
    let (objects, names) = (next()?, next()?);
    let cut = || CheckpointError::new("its numbers are cut off");
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for value in &objects.values {
        if let Value::Storage(storage) = value {
            let number = number(&storage.class)?;
            let size = storage.count.checked_mul(number.size()).ok_or_else(cut)?;
            sizes.insert(&storage.key, size);
        }
    }
    let mut storages: BTreeMap<String, &[u8]> = BTreeMap::new();
    let Value::Sequence(keys) = &names.values[names.root] else {
        return Err(CheckpointError::new("it does not name its storages"));
    };
    for key in keys {
        let Value::Text(key) = &names.values[*key] else {
            return Err(CheckpointError::new("it does not name its storages"));
        };
        let size = *sizes
            .get(key.as_str())
            .ok_or_else(|| CheckpointError::new("it has numbers that belong to nothing"))?;
        let (_count, after) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (own, after) = after.split_at_checked(size).ok_or_else(cut)?;
        storages.insert(key.clone(), own);
        rest = after;
    }
    tensors(&objects, Format::TorchLegacy, bytes.len(), |key| {
        let own = storages.get(key).ok_or_else(cut)?;
        Ok(own.to_vec())
    })
}

/// The network's tensors, with their numbers from `storage`.
fn tensors(
    pickle: &Pickle,
    format: Format,
    length: usize,
    mut storage: impl FnMut(&str) -> Result<Vec<u8>, CheckpointError>,
) -> Result<Checkpoint, CheckpointError> {
    let found = state::find(pickle)?;
    let mut checkpoint = Checkpoint {
        format,
        tensors: Vec::new(),
        whole: Vec::new(),
        within: found.within,
    };
    let mut views: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, tensor) in &found.tensors {
        *views.entry(&tensor.storage.key).or_default() += 1;
    }
    let mut shared: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    // many views of few numbers could ask for any amount of memory
    let mut left = length;
    for (name, tensor) in found.tensors {
        let failed = |problem: &str| CheckpointError::new(format!("`{name}`: {problem}"));
        let number = number(&tensor.storage.class)?;
        if let Number::Whole(_) = number {
            checkpoint.whole.push(name);
            continue;
        }
        let count = tensor
            .shape
            .iter()
            .try_fold(1_usize, |product, size| product.checked_mul(*size));
        let count = count
            .filter(|count| *count <= left)
            .ok_or_else(|| failed("larger than the file"))?;
        left -= count;
        let key = tensor.storage.key.as_str();
        let once = views.get(key) == Some(&1);
        if !once && !shared.contains_key(key) {
            shared.insert(key, number.decode(&storage(key)?));
        }
        let values = match shared.get(key) {
            Some(values) => Cow::Borrowed(values.as_slice()),
            None => Cow::Owned(number.decode(&storage(key)?)),
        };
        let values = view(tensor, values, count).ok_or_else(|| failed("lies outside its numbers"))?;
        let shape = tensor.shape.clone();
        checkpoint.tensors.push((name, TensorF32 { shape, values }));
    }
    Ok(checkpoint)
}

/// The `count` numbers that a tensor shows of its storage, row-major.
fn view(tensor: &Tensor, values: Cow<'_, [f32]>, count: usize) -> Option<Vec<f32>> {
    if tensor.shape.len() != tensor.strides.len() {
        return None;
    }
    let mut step = 1;
    let mut in_order = true;
    for (size, stride) in tensor.shape.iter().zip(&tensor.strides).rev() {
        in_order &= *size == 1 || *stride == step;
        // a size of 0 among huge ones leaves nothing to show
        step = step.saturating_mul(*size);
    }
    if in_order {
        if tensor.offset == 0 && values.len() == count {
            return Some(values.into_owned());
        }
        let end = tensor.offset.checked_add(count)?;
        return values.get(tensor.offset..end).map(<[f32]>::to_vec);
    }
    let mut shown = Vec::with_capacity(count);
    let mut index = vec![0; tensor.shape.len()];
    for _ in 0..count {
        let place = index
            .iter()
            .zip(&tensor.strides)
            .try_fold(tensor.offset, |place, (index, stride)| {
                place.checked_add(stride.checked_mul(*index)?)
            })?;
        shown.push(*values.get(place)?);
        for (index, size) in index.iter_mut().zip(&tensor.shape).rev() {
            *index += 1;
            if *index < *size {
                break;
            }
            *index = 0;
        }
    }
    Some(shown)
}

fn number(class: &str) -> Result<Number, CheckpointError> {
    Ok(match class {
        "FloatStorage" => Number::F32,
        "HalfStorage" => Number::F16,
        "BFloat16Storage" => Number::BF16,
        "DoubleStorage" => Number::F64,
        "LongStorage" => Number::Whole(8),
        "IntStorage" => Number::Whole(4),
        "ShortStorage" => Number::Whole(2),
        "ByteStorage" | "CharStorage" | "BoolStorage" => Number::Whole(1),
        other => {
            return Err(CheckpointError::new(format!(
                "it has numbers of the kind {other}; float, half, bfloat16 and double can be read"
            )));
        }
    })
}
