//! Numbers of a file as 32-bit floats.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

/// A kind of number, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// 16-bit float.
    F16,
    /// 16-bit brain float.
    BF16,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// A whole number or truth value of so many bytes; no parameter is made of them.
    Whole(usize),
}

impl Number {
    /// Bytes of one.
    pub(super) fn size(self) -> usize {
        match self {
            Number::F16 | Number::BF16 => 2,
            Number::F32 => 4,
            Number::F64 => 8,
            Number::Whole(size) => size,
        }
    }

    /// The numbers of `bytes`, rounded to 32 bits where they have more; what is left at the end is no number.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Number::F16 => {
                let mut values = vec![0.0; bytes.len() / 2];
                words(bytes)
                    .reinterpret_cast::<f16>()
                    .convert_to_f32_slice(&mut values);
                values
            }
            Number::BF16 => {
                let mut values = vec![0.0; bytes.len() / 2];
                words(bytes)
                    .reinterpret_cast::<bf16>()
                    .convert_to_f32_slice(&mut values);
                values
            }
            Number::F32 => {
                let (chunks, _) = bytes.as_chunks::<4>();
                chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
            }
            Number::F64 => {
                let (chunks, _) = bytes.as_chunks::<8>();
                chunks
                    .iter()
                    .map(|chunk| f64::from_le_bytes(*chunk) as f32)
                    .collect()
            }
            Number::Whole(_) => Vec::new(),
        }
    }
}

fn words(bytes: &[u8]) -> Vec<u16> {
    let (chunks, _) = bytes.as_chunks::<2>();
    chunks.iter().map(|chunk| u16::from_le_bytes(*chunk)).collect()
}
