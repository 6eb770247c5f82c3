//! The safetensors format: the header's length, a JSON header, and the numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::weights::TensorF32;
use super::numbers::Number;
use super::{Checkpoint, CheckpointError, Format};

/// What the header says of a tensor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Entry {
    /// The kind of its numbers, such as `F32`.
    pub(in super::super) dtype: String,
    /// Its sizes.
    pub(in super::super) shape: Vec<usize>,
    /// Where its bytes begin and end, counted from the end of the header.
    pub(in super::super) data_offsets: [usize; 2],
}

/// Every tensor of a file, by name: what the header says of it, and its bytes.
///
/// # Errors
/// What is wrong, in words.
pub(in super::super) fn entries(bytes: &[u8]) -> Result<BTreeMap<String, (Entry, &[u8])>, String> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or("shorter than 8 bytes")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| "header length out of range")?;
    let (header, data) = rest
        .split_at_checked(length)
        .ok_or("neither a PyTorch file, nor a safetensors file, whose header is longer than the file")?;
    let mut header: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| format!("the header is not JSON: {error}"))?;
    header.remove("__metadata__");
    let mut entries = BTreeMap::new();
    for (name, entry) in header {
        let entry: Entry = serde_json::from_value(entry).map_err(|error| format!("`{name}`: {error}"))?;
        let [start, end] = entry.data_offsets;
        let own = data
            .get(start..end)
            .ok_or_else(|| format!("`{name}` lies outside the file"))?;
        entries.insert(name, (entry, own));
    }
    Ok(entries)
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let mut checkpoint = Checkpoint {
        format: Format::Safetensors,
        tensors: Vec::new(),
        whole: Vec::new(),
        within: None,
    };
    for (name, (entry, own)) in entries(bytes).map_err(CheckpointError::new)? {
        let number = number(&entry.dtype).ok_or_else(|| {
            CheckpointError::new(format!(
                "`{name}` is {}; F32, F16, BF16 and F64 can be read",
                entry.dtype
            ))
        })?;
        let size = entry
            .shape
            .iter()
            .try_fold(number.size(), |product, size| product.checked_mul(*size));
        if size != Some(own.len()) {
            return Err(CheckpointError::new(format!(
                "`{name}` has {} bytes, which are not {:?} numbers of {}",
                own.len(),
                entry.shape,
                entry.dtype
            )));
        }
        if let Number::Whole(_) = number {
            checkpoint.whole.push(name);
            continue;
        }
        let (shape, values) = (entry.shape, number.decode(own));
        checkpoint.tensors.push((name, TensorF32 { shape, values }));
    }
    checkpoint.tensors.sort_by_cached_key(|(name, _)| natural(name));
    Ok(checkpoint)
}

fn number(dtype: &str) -> Option<Number> {
    Some(match dtype {
        "F16" => Number::F16,
        "BF16" => Number::BF16,
        "F32" => Number::F32,
        "F64" => Number::F64,
        "BOOL" | "U8" | "I8" => Number::Whole(1),
        "U16" | "I16" => Number::Whole(2),
        "U32" | "I32" => Number::Whole(4),
        "U64" | "I64" => Number::Whole(8),
        _ => return None,
    })
}

/// The parts of a name, numbers by their value, so that `layer.10` comes after `layer.9`.
fn natural(name: &str) -> Vec<(u64, String)> {
    let part = |part: &str| (part.parse().unwrap_or(u64::MAX), part.to_owned());
    name.split('.').map(part).collect()
}
