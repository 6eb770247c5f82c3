//! Tensors on the wire: little-endian numbers, or strings that each bring their length.

use std::ops::Range;

use axum::body::Bytes;
use half::f16;
use serde_json::value::RawValue;

use super::MOST_IMAGES;
use super::error::invalid;
use super::values::numbers;
use crate::fault::Fault;
use crate::image::Tensor;

/// Types of numbers whose every value is a value of FP32, so that taking them changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    Fp32,
    Fp16,
    Uint8,
    Int8,
    Uint16,
    Int16,
}

impl Numbers {
    pub(super) fn of(datatype: &str) -> Result<Self, Fault> {
        Ok(match datatype {
            "FP32" => Self::Fp32,
            "FP16" => Self::Fp16,
            "UINT8" => Self::Uint8,
            "INT8" => Self::Int8,
            "UINT16" => Self::Uint16,
            "INT16" => Self::Int16,
            _ => {
                return Err(invalid(
                    "datatype",
                    "the network's input takes FP32, and what FP32 holds exactly: FP16, UINT8, INT8, UINT16, INT16",
                ));
            }
        })
    }

    /// Bytes of one number.
    fn size(self) -> usize {
        match self {
            Self::Fp32 => 4,
            Self::Fp16 | Self::Uint16 | Self::Int16 => 2,
            Self::Uint8 | Self::Int8 => 1,
        }
    }

    /// Numbers out of bytes that are a multiple of [`Self::size`]: a copy in one pass.
    fn read(self, bytes: &[u8]) -> Vec<f32> {
        let pairs = || bytes.as_chunks::<2>().0.iter().copied();
        match self {
            Self::Fp32 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .copied()
                .map(f32::from_le_bytes)
                .collect(),
            Self::Fp16 => pairs().map(|pair| f16::from_le_bytes(pair).to_f32()).collect(),
            Self::Uint8 => bytes.iter().copied().map(f32::from).collect(),
            Self::Int8 => bytes.iter().map(|&byte| f32::from(byte as i8)).collect(),
            Self::Uint16 => pairs().map(|pair| f32::from(u16::from_le_bytes(pair))).collect(),
            Self::Int16 => pairs().map(|pair| f32::from(i16::from_le_bytes(pair))).collect(),
        }
    }

    /// Whether every number that came as text is one of this type.
    fn holds(self, values: &[f32]) -> bool {
        let whole = |range: Range<f32>| {
            values
                .iter()
                .all(|value| range.contains(value) && value.fract() == 0.0)
        };
        match self {
            Self::Fp32 => true,
            Self::Fp16 => values
                .iter()
                .all(|&value| f16::from_f32(value).to_f32().to_bits() == value.to_bits()),
            Self::Uint8 => whole(0.0..256.0),
            Self::Int8 => whole(-128.0..128.0),
            Self::Uint16 => whole(0.0..65536.0),
            Self::Int16 => whole(-32768.0..32768.0),
        }
    }
}

/// The input of a network as its contract describes it, and of how many images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    images: usize,
    each: [usize; 3],
    numbers: Numbers,
}

impl Batch {
    /// A shape on the wire, `[batch, ...each]`.
    pub(super) fn of(shape: &[i64], each: [usize; 3], numbers: Numbers) -> Result<Self, Fault> {
        let given = match shape {
            [images, sizes @ ..] if sizes.len() == each.len() => usize::try_from(*images).ok().filter(|_| {
                sizes
                    .iter()
                    .zip(each)
                    .all(|(size, expected)| usize::try_from(*size) == Ok(expected))
            }),
            _ => None,
        };
        let images = given.ok_or_else(|| {
            let [a, b, c] = each;
            invalid(
                "shape",
                format!("the input has the shape {shape:?}: the model takes [batch, {a}, {b}, {c}]"),
            )
        })?;
        bounded(images)?;
        Ok(Self {
            images,
            each,
            numbers,
        })
    }

    fn count(&self) -> usize {
        // a manifest bounds the sides of an input, and `bounded` the images: this cannot overflow
        self.each.iter().product()
    }

    /// Images whose numbers came as bytes.
    pub(super) fn of_bytes(&self, bytes: &[u8]) -> Result<Vec<Tensor>, Fault> {
        let each = self.count() * self.numbers.size();
        if bytes.len() != each * self.images {
            return Err(invalid(
                "size",
                format!(
                    "the input has {} bytes: its shape and datatype make it {}",
                    bytes.len(),
                    each * self.images
                ),
            ));
        }
        let images = bytes.chunks_exact(each);
        self.tensors(images.map(|image| self.numbers.read(image)))
    }

    /// Images whose numbers came as JSON.
    pub(super) fn of_json(&self, data: &RawValue) -> Result<Vec<Tensor>, Fault> {
        let images = numbers(data, self.images, self.count())?;
        if !images.iter().all(|values| self.numbers.holds(values)) {
            return Err(invalid(
                "datatype",
                "the input has numbers that its datatype does not hold",
            ));
        }
        self.tensors(images.into_iter())
    }

    fn tensors(&self, images: impl Iterator<Item = Vec<f32>>) -> Result<Vec<Tensor>, Fault> {
        let tensors: Vec<Tensor> = images
            .map(|values| Tensor {
                shape: self.each,
                values,
            })
            .collect();
        // without a branch for each number, so that the compiler takes many at once
        let finite = |tensor: &Tensor| {
            tensor
                .values
                .iter()
                .fold(true, |finite, value| finite & value.is_finite())
        };
        match tensors.iter().position(|tensor| !finite(tensor)) {
            None => Ok(tensors),
            Some(index) => Err(invalid(
                "not-finite",
                format!(
                    "image {} has NaN or an infinity in it: numbers must be finite",
                    index + 1
                ),
            )),
        }
    }
}

/// How many files a shape `[n]` or `[n, 1]` says there are.
pub(super) fn files(shape: &[i64]) -> Result<usize, Fault> {
    let files = match *shape {
        [files] | [files, 1] => usize::try_from(files).ok(),
        _ => None,
    };
    let files = files.ok_or_else(|| {
        let message = format!("the input has the shape {shape:?}: files come as [n] or [n, 1]");
        invalid("shape", message)
    })?;
    bounded(files)?;
    Ok(files)
}

fn bounded(images: usize) -> Result<(), Fault> {
    if (1..=MOST_IMAGES).contains(&images) {
        return Ok(());
    }
    Err(invalid(
        "batch",
        format!("a request brings 1 to {MOST_IMAGES} images, not {images}"),
    ))
}

/// Files that follow each other, each behind its length in four bytes; nothing is copied.
pub(super) fn strings(mut bytes: Bytes, count: usize) -> Result<Vec<Bytes>, Fault> {
    let damaged = || {
        invalid(
            "size",
            format!(
                "the input's bytes are not {count} strings: each is a little-endian length of 4 bytes, and as many bytes"
            ),
        )
    };
    let mut strings = Vec::with_capacity(count);
    while let Some(&length) = bytes.first_chunk::<4>() {
        let length = u32::from_le_bytes(length) as usize;
        let mut rest = bytes.slice(4..);
        if strings.len() == count || rest.len() < length {
            return Err(damaged());
        }
        strings.push(rest.split_to(length));
        bytes = rest;
    }
    if strings.len() != count || !bytes.is_empty() {
        return Err(damaged());
    }
    Ok(strings)
}
