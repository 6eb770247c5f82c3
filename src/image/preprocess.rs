//! The preprocessing contract: how a stored image becomes the input of a network.
//!
//! [`Preprocessing`] is data. It is written into every exported ONNX file and its manifest, and this module is the only
//! implementation of it: training calls [`Preprocessing::plane`] to fill its cache and [`Preprocessing::tensor`] on each
//! augmented plane, serving calls [`Preprocessing::apply`], which is the two in a row. The order of the steps is
//! fixed: border crop is found on the stored values; then modality LUT, VOI LUT or window or percentiles, polarity
//! last; then crop, fit, range, mean and standard deviation, channels.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U16;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::border::{Rectangle, exposed_field};
use super::grey::{StoredImage, Voi, VoiFunction};
use super::{Plane, Tensor};
use crate::fault::{Fault, FaultKind};

/// The version of the contract that this code implements.
pub const CONTRACT_VERSION: u32 = 1;
/// The key of the contract in an ONNX file's `metadata_props`.
pub const METADATA_KEY: &str = "osteon.preprocessing";
/// No network of this field takes larger inputs; a larger one in a manifest is a mistake.
const MAX_SIDE: usize = 4096;

/// How a stored image becomes the input of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// [`CONTRACT_VERSION`].
    pub version: u32,
    /// Where the part of the grey scale that is of interest comes from.
    pub voi: VoiRule,
    /// Lower and upper percentile (0 to 100) of the pixels inside the exposed field, for the rules that use them.
    pub percentiles: [f64; 2],
    /// Take the flat, unexposed border off first.
    pub crop_border: bool,
    /// Height of the network's input in pixels.
    pub rows: usize,
    /// Width of the network's input in pixels.
    pub columns: usize,
    /// What happens to the aspect ratio.
    pub fit: Fit,
    /// The resampling filter; it is widened when shrinking, so that every source pixel counts.
    pub filter: Filter,
    /// 1, or 3 for networks that expect colour: the grey value is then repeated.
    pub channels: usize,
    /// What black and white become before mean and standard deviation, for example `[0, 1]` or `[-1024, 1024]`.
    pub range: [f32; 2],
    /// Subtracted, one for each channel.
    pub mean: Vec<f32>,
    /// Divided by, one for each channel.
    pub std: Vec<f32>,
    /// Name of the input tensor.
    pub tensor: String,
    /// Order of its dimensions.
    pub layout: Layout,
}

/// Where the part of the grey scale that is of interest comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VoiRule {
    /// The file's VOI LUT or window, or, where it has none, the percentiles.
    FileOrPercentiles,
    /// Always the percentiles.
    Percentiles,
    /// The whole range that the stored bits can hold.
    FullRange,
}

/// What happens to the aspect ratio when an image is brought to the input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Kept; what is left over is black, half on either side.
    Pad,
    /// Not kept.
    Stretch,
}

/// The resampling filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Mean over the source pixels of a target pixel.
    Box,
    /// Triangle, as Pillow's `BILINEAR` and torchvision's antialiased resize.
    Bilinear,
    /// Catmull-Rom, as Pillow's `BICUBIC`.
    Bicubic,
}

/// Order of a tensor's dimensions, after the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels, rows, columns.
    Nchw,
    /// Rows, columns, channels.
    Nhwc,
}

/// Where the image lies in the network's input, so that a map over the input can be laid over the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The part of the stored image that was used.
    pub source: Rectangle,
    /// Where that part lies in the plane.
    pub target: Rectangle,
}

/// Why an image cannot be made a network's input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreprocessError {
    /// All pixels show the same grey.
    #[error("the image is constant: every pixel shows the same grey, so there is nothing to score")]
    Constant,
    /// The contract itself is wrong.
    #[error("the model's preprocessing is not usable: {0}")]
    Contract(String),
}

impl From<PreprocessError> for Fault {
    fn from(error: PreprocessError) -> Self {
        match &error {
            PreprocessError::Constant => Fault::new(FaultKind::Refused, "constant-image", error.to_string()),
            PreprocessError::Contract(_) => Fault::new(FaultKind::Internal, "contract", error.to_string()),
        }
    }
}

impl Preprocessing {
    /// The defaults for a grey network of `rows` x `columns`: the file's window or the 0.5 to 99.5 percentiles, border
    /// crop and padding on, values 0 to 1 brought to mean 0.5 and standard deviation 0.25.
    #[must_use]
    pub fn grey(rows: usize, columns: usize) -> Self {
        Self {
            version: CONTRACT_VERSION,
            voi: VoiRule::FileOrPercentiles,
            percentiles: [0.5, 99.5],
            crop_border: true,
            rows,
            columns,
            fit: Fit::Pad,
            filter: Filter::Bilinear,
            channels: 1,
            range: [0.0, 1.0],
            mean: vec![0.5],
            std: vec![0.25],
            tensor: "image".to_owned(),
            layout: Layout::Nchw,
        }
    }

    /// Checks what the types cannot: version, sizes, counts and finite numbers.
    ///
    /// # Errors
    /// [`PreprocessError::Contract`], which names the field.
    pub fn check(&self) -> Result<(), PreprocessError> {
        let wrong = |what: &str| Err(PreprocessError::Contract(what.to_owned()));
        if self.version != CONTRACT_VERSION {
            return Err(PreprocessError::Contract(format!(
                "version is {}, this program implements version {CONTRACT_VERSION}",
                self.version
            )));
        }
        if !(1..=MAX_SIDE).contains(&self.rows) || !(1..=MAX_SIDE).contains(&self.columns) {
            return Err(PreprocessError::Contract(format!(
                "rows and columns must be 1 to {MAX_SIDE}"
            )));
        }
        let [low, high] = self.percentiles;
        if !(0.0..100.0).contains(&low) || high <= low || high > 100.0 {
            return wrong("percentiles must rise and lie in 0 to 100");
        }
        if !matches!(self.channels, 1 | 3) {
            return wrong("channels must be 1 or 3");
        }
        if self.mean.len() != self.channels || self.std.len() != self.channels {
            return wrong("mean and std must have one number for each channel");
        }
        if self
            .range
            .iter()
            .chain(&self.mean)
            .any(|number| !number.is_finite())
            || self.range[1] <= self.range[0]
        {
            return wrong("range and mean must be finite, and the range must rise");
        }
        if self
            .std
            .iter()
            .any(|number| !number.is_finite() || *number <= 0.0)
        {
            return wrong("std must be finite and above 0");
        }
        if self.tensor.is_empty() {
            return wrong("tensor must name the network's input");
        }
        Ok(())
    }

    /// The network's input for an image, and where the image lies in it.
    ///
    /// # Errors
    /// [`PreprocessError::Constant`] for an image without content.
    pub fn apply(&self, image: &StoredImage) -> Result<(Tensor, Placement), PreprocessError> {
        let (plane, placement) = self.plane(image)?;
        Ok((self.tensor(&plane), placement))
    }

    /// The first half of [`Self::apply`]: grey scale, crop and fit. This is what training caches and augments.
    ///
    /// # Errors
    /// [`PreprocessError::Constant`] for an image without content.
    pub fn plane(&self, image: &StoredImage) -> Result<(Plane, Placement), PreprocessError> {
        let whole = Rectangle {
            top: 0,
            left: 0,
            rows: image.rows,
            columns: image.columns,
        };
        let source = if self.crop_border {
            exposed_field(image)
        } else {
            whole
        };
        let shown = self.display(image, source)?;
        let target = self.target(source);
        let fitted = resize(&shown, source, target, self.filter)?;

        let mut values = vec![0_u16; self.rows * self.columns];
        for (row, line) in fitted.chunks_exact(target.columns).enumerate() {
            let start = (target.top + row) * self.columns + target.left;
            for (value, pixel) in values[start..start + target.columns].iter_mut().zip(line) {
                *value = pixel.0;
            }
        }
        Ok((
            Plane {
                rows: self.rows,
                columns: self.columns,
                values,
            },
            Placement { source, target },
        ))
    }

    /// The second half of [`Self::apply`]: range, mean, standard deviation, channels, layout.
    #[must_use]
    pub fn tensor(&self, plane: &Plane) -> Tensor {
        let [low, high] = self.range;
        let scale = (high - low) / f32::from(u16::MAX);
        let normalised = |value: u16, channel: usize| {
            (low + scale * f32::from(value) - self.mean[channel]) / self.std[channel]
        };
        match self.layout {
            Layout::Nchw => Tensor {
                shape: [self.channels, plane.rows, plane.columns],
                values: (0..self.channels)
                    .flat_map(|channel| plane.values.iter().map(move |value| normalised(*value, channel)))
                    .collect(),
            },
            Layout::Nhwc => Tensor {
                shape: [plane.rows, plane.columns, self.channels],
                values: plane
                    .values
                    .iter()
                    .flat_map(|value| (0..self.channels).map(move |channel| normalised(*value, channel)))
                    .collect(),
            },
        }
    }

    /// The shape of the input without the batch dimension.
    #[must_use]
    pub fn input_shape(&self) -> [usize; 3] {
        match self.layout {
            Layout::Nchw => [self.channels, self.rows, self.columns],
            Layout::Nhwc => [self.rows, self.columns, self.channels],
        }
    }

    /// The displayed pixels of `field`.
    fn display(&self, image: &StoredImage, field: Rectangle) -> Result<Vec<U16>, PreprocessError> {
        let lines = || {
            (field.top..field.top + field.rows)
                .map(|row| &image.codes[row * image.columns + field.left..][..field.columns])
        };
        let voi = match (self.voi, &image.transform.voi) {
            (VoiRule::FileOrPercentiles, Some(voi)) => voi.clone(),
            (VoiRule::FullRange, _) => full_range(image),
            (VoiRule::FileOrPercentiles, None) | (VoiRule::Percentiles, _) => {
                percentile_window(image, lines(), self.percentiles)?
            }
        };
        let table = image.display_table(&voi);
        let shown: Vec<U16> = lines()
            .flat_map(|line| line.iter().map(|code| U16::new(table[usize::from(*code)])))
            .collect();
        if shown.iter().all(|pixel| *pixel == shown[0]) {
            return Err(PreprocessError::Constant);
        }
        Ok(shown)
    }

    /// Where a field of this shape comes to lie in the plane.
    fn target(&self, source: Rectangle) -> Rectangle {
        match self.fit {
            Fit::Stretch => Rectangle {
                top: 0,
                left: 0,
                rows: self.rows,
                columns: self.columns,
            },
            Fit::Pad => {
                let scale =
                    (self.rows as f64 / source.rows as f64).min(self.columns as f64 / source.columns as f64);
                let rows = ((source.rows as f64 * scale).round() as usize).clamp(1, self.rows);
                let columns = ((source.columns as f64 * scale).round() as usize).clamp(1, self.columns);
                Rectangle {
                    top: (self.rows - rows) / 2,
                    left: (self.columns - columns) / 2,
                    rows,
                    columns,
                }
            }
        }
    }
}

fn resize(
    shown: &[U16],
    source: Rectangle,
    target: Rectangle,
    filter: Filter,
) -> Result<Vec<U16>, PreprocessError> {
    let unfit = |error: &dyn std::fmt::Display| {
        PreprocessError::Contract(format!("the image cannot be resized: {error}"))
    };
    let view = TypedImageRef::new(source.columns as u32, source.rows as u32, shown)
        .map_err(|error| unfit(&error))?;
    let mut fitted = TypedImage::<U16>::new(target.columns as u32, target.rows as u32);
    let filter = match filter {
        Filter::Box => FilterType::Box,
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new()
        .resize_typed(&view, &mut fitted, &options)
        .map_err(|error| unfit(&error))?;
    Ok(fitted.pixels().to_vec())
}

/// From the lowest to the highest modality value that the stored bits can hold.
fn full_range(image: &StoredImage) -> Voi {
    let values = image.modality_values();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    between(low, high)
}

fn between(low: f64, high: f64) -> Voi {
    Voi::Window {
        center: f64::midpoint(low, high),
        width: high - low,
        function: VoiFunction::LinearExact,
    }
}

/// The window between two percentiles of the modality values, padding left out.
///
/// The lower end is the lowest value with more than its share of pixels at or below it, the upper end its mirror
/// image, so that an inverted copy of an image gets the inverted window.
fn percentile_window<'a>(
    image: &StoredImage,
    lines: impl Iterator<Item = &'a [u16]>,
    percentiles: [f64; 2],
) -> Result<Voi, PreprocessError> {
    let mut histogram = vec![0_u64; image.code_count()];
    for code in lines.flatten() {
        histogram[usize::from(*code)] += 1;
    }
    let modality = image.modality_values();
    let mut counts: Vec<(f64, u64)> = histogram
        .iter()
        .enumerate()
        .filter(|(code, count)| **count > 0 && !image.is_padding(*code as u16))
        .map(|(code, count)| (modality[code], *count))
        .collect();
    counts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = counts.iter().map(|(_, count)| count).sum::<u64>() as f64;
    let low = beyond(counts.iter(), total * percentiles[0] / 100.0);
    let high = beyond(counts.iter().rev(), total * (100.0 - percentiles[1]) / 100.0);
    match (low, high) {
        (Some(low), Some(high)) if high > low => Ok(between(low, high)),
        _ => Err(PreprocessError::Constant),
    }
}

/// The first value at which more than `share` pixels have been passed.
fn beyond<'a>(counts: impl Iterator<Item = &'a (f64, u64)>, share: f64) -> Option<f64> {
    let mut passed = 0;
    counts
        .into_iter()
        .find(|(_, count)| {
            passed += count;
            passed as f64 > share
        })
        .map(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::super::grey::{GreyTransform, Modality};
    use super::*;

    fn ramp(rows: usize, columns: usize) -> StoredImage {
        let codes = (0..rows * columns)
            .map(|index| ((index * 2654435761) >> 7 & 0xFFF) as u16)
            .collect();
        StoredImage {
            rows,
            columns,
            bits_stored: 12,
            signed: false,
            codes,
            transform: GreyTransform::default(),
        }
    }

    /// The same picture as the other photometric interpretation: stored values, window and polarity all turned round.
    fn inverted(image: &StoredImage) -> StoredImage {
        let mut other = image.clone();
        other.codes.iter_mut().for_each(|code| *code = 4095 - *code);
        other.transform.inverted = !image.transform.inverted;
        if let Some(Voi::Window {
            center,
            width,
            function,
        }) = other.transform.voi
        {
            // LINEAR is centred on c - 0.5
            let center = 4095.0 - (center - 0.5) + 0.5;
            other.transform.voi = Some(Voi::Window {
                center,
                width,
                function,
            });
        }
        other
    }

    #[test]
    fn a_polarity_pair_gives_one_tensor() {
        let contract = Preprocessing::grey(64, 48);
        let mut image = ramp(200, 120);
        assert_eq!(
            contract.apply(&image).unwrap(),
            contract.apply(&inverted(&image)).unwrap(),
            "percentiles"
        );
        image.transform.voi = Some(Voi::Window {
            center: 1500.0,
            width: 1801.0,
            function: VoiFunction::Linear,
        });
        let (a, b) = (
            contract.plane(&image).unwrap().0,
            contract.plane(&inverted(&image)).unwrap().0,
        );
        // rounding to 16 bits may differ by one step where a value lies exactly between two
        assert!(
            a.values.iter().zip(&b.values).all(|(a, b)| a.abs_diff(*b) <= 1),
            "window"
        );
    }

    #[test]
    fn the_aspect_ratio_is_kept_and_the_rest_is_black() {
        let (plane, placement) = Preprocessing::grey(64, 64).plane(&ramp(100, 50)).unwrap();
        assert_eq!(
            placement.target,
            Rectangle {
                top: 0,
                left: 16,
                rows: 64,
                columns: 32
            }
        );
        assert!(
            plane
                .values
                .chunks(64)
                .all(|row| row[..16].iter().chain(&row[48..]).all(|value| *value == 0))
        );
    }

    #[test]
    fn full_range_and_stretch_give_back_an_image_of_the_same_size() {
        let contract = Preprocessing {
            voi: VoiRule::FullRange,
            fit: Fit::Stretch,
            crop_border: false,
            ..Preprocessing::grey(8, 8)
        };
        let image = ramp(8, 8);
        let (plane, _) = contract.plane(&image).unwrap();
        let expected: Vec<u16> = image
            .codes
            .iter()
            .map(|code| (f64::from(*code) / 4095.0 * 65535.0).round() as u16)
            .collect();
        assert_eq!(plane.values, expected);
    }

    #[test]
    fn channels_and_layouts_repeat_the_grey() {
        let plane = Plane {
            rows: 1,
            columns: 2,
            values: vec![0, 65535],
        };
        let three = Preprocessing {
            channels: 3,
            mean: vec![0.0, 0.5, 1.0],
            std: vec![1.0, 0.5, 2.0],
            ..Preprocessing::grey(1, 2)
        };
        assert_eq!(three.tensor(&plane).values, [0.0, 1.0, -1.0, 1.0, -0.5, 0.0]);
        let last = Preprocessing {
            layout: Layout::Nhwc,
            ..three
        };
        assert_eq!(last.tensor(&plane).values, [0.0, -1.0, -0.5, 1.0, 1.0, 0.0]);
        assert_eq!(last.tensor(&plane).shape, [1, 2, 3]);
    }

    #[test]
    fn a_constant_image_is_refused_in_every_rule() {
        let mut image = ramp(20, 20);
        image.codes.fill(700);
        for voi in [
            VoiRule::FileOrPercentiles,
            VoiRule::Percentiles,
            VoiRule::FullRange,
        ] {
            let contract = Preprocessing {
                voi,
                ..Preprocessing::grey(8, 8)
            };
            assert_eq!(contract.apply(&image).unwrap_err(), PreprocessError::Constant);
        }
    }

    #[test]
    fn percentiles_follow_the_modality_lut() {
        let mut image = ramp(100, 100);
        let contract = Preprocessing {
            percentiles: [1.0, 99.0],
            ..Preprocessing::grey(16, 16)
        };
        let plain = contract.plane(&image).unwrap().0;
        image.transform.modality = Modality::Linear {
            slope: 0.25,
            intercept: -300.0,
        };
        let rescaled = contract.plane(&image).unwrap().0;
        assert!(
            plain
                .values
                .iter()
                .zip(&rescaled.values)
                .all(|(a, b)| a.abs_diff(*b) <= 1)
        );
    }

    #[test]
    fn a_contract_that_cannot_be_met_is_named() {
        let bad = Preprocessing {
            std: vec![0.0],
            ..Preprocessing::grey(8, 8)
        };
        assert!(bad.check().unwrap_err().to_string().contains("std"));
        let other = Preprocessing {
            version: 2,
            ..Preprocessing::grey(8, 8)
        };
        assert!(other.check().unwrap_err().to_string().contains("version"));
        assert!(Preprocessing::grey(8, 8).check().is_ok());
    }
}
