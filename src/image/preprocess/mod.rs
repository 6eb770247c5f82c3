//! The preprocessing contract: how a stored image becomes the input of a network.
//!
//! [`Preprocessing`] is data. It is written into every exported ONNX file and its manifest, and this module is the only
//! implementation of it: training calls [`Preprocessing::plane`] to fill its cache and [`Preprocessing::tensor`] on each
//! augmented plane, serving calls [`Preprocessing::apply`], which is the two in a row. The order of the steps is
//! fixed: border crop is found on the stored values; then modality LUT, VOI LUT or window or percentiles, polarity
//! last; then crop, fit, range, mean and standard deviation, channels.

mod fit;
mod resample;
#[cfg(test)]
mod tests;
mod window;

pub use fit::Fit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::border::{Rectangle, exposed_field};
use super::decode::{self, DecodeError};
use super::grey::StoredImage;
use super::{Cancel, Plane, Tensor};
use crate::dicom::Instance;
use crate::fault::{Fault, FaultKind};

/// The version of the contract that this code implements.
pub const CONTRACT_VERSION: u32 = 1;
/// The key of the contract in an ONNX file's `metadata_props`.
pub const METADATA_KEY: &str = "osteon.preprocessing";
/// No network of this field takes larger inputs; a larger one in a manifest is a mistake.
const MAX_SIDE: usize = 4096;

/// How a stored image becomes the input of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Version of the contract.
    #[schemars(extend("const" = CONTRACT_VERSION))]
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
    /// With the fit `crop`, and only with it: what the shorter side becomes before the middle is cut out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shorter_side: Option<usize>,
    /// The resampling filter; all but `linear` are widened when shrinking, so that every source pixel counts.
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
    /// Whether JPEG 2000 may be decoded at a lower resolution that still covers the input; without it, never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reduced_resolution: Option<ReducedResolution>,
}

/// Leave to decode JPEG 2000 at a lower resolution. It is another image than the whole one resized (about 1 % of the grey scale
/// at a quarter), so it is the model's to allow, and counts in training as in serving.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReducedResolution {
    /// The most by which a probability may differ from that of the whole image, above 0 and at most 1; `osteon-train package verify`
    /// measures it.
    pub bound: f32,
}

/// Where the part of the grey scale that is of interest comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VoiRule {
    /// The file's VOI LUT or window, or, where it has none, the percentiles.
    FileOrPercentiles,
    /// Always the percentiles.
    Percentiles,
    /// The whole range that the stored bits can hold.
    FullRange,
}

/// The resampling filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Mean over the source pixels of a target pixel.
    Box,
    /// Triangle, as Pillow's `BILINEAR` and torchvision's antialiased resize.
    Bilinear,
    /// Catmull-Rom, as Pillow's `BICUBIC`.
    Bicubic,
    /// The nearest two pixels in each direction whatever the ratio, as TensorFlow's and Keras's `bilinear` without antialiasing.
    Linear,
    /// Mean over every source pixel that a target pixel touches, each counted whole, as PyTorch's and MONAI's `area`.
    Area,
    /// A Gaussian of standard deviation (ratio - 1) / 2, then the nearest two pixels, as scikit-image's antialiased `resize`;
    /// beyond the edge lies what the range calls 0.
    Gaussian,
}

/// Order of a tensor's dimensions, after the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels, rows, columns.
    Nchw,
    /// Rows, columns, channels.
    Nhwc,
    /// Channels, columns, rows: the image lies on its side, as MONAI's readers lay it.
    Ncwh,
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
            PreprocessError::Constant => Fault::new(FaultKind::Refused, "image-constant", error.to_string()),
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
            shorter_side: None,
            filter: Filter::Bilinear,
            channels: 1,
            range: [0.0, 1.0],
            mean: vec![0.5],
            std: vec![0.25],
            tensor: "image".to_owned(),
            layout: Layout::Nchw,
            reduced_resolution: None,
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
        self.check_fit()
            .map_err(|what| PreprocessError::Contract(what.to_owned()))?;
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
        if self
            .reduced_resolution
            .is_some_and(|reduced| reduced.bound.is_nan() || reduced.bound <= 0.0 || reduced.bound > 1.0)
        {
            return wrong("reduced_resolution.bound must be above 0 and at most 1");
        }
        if self.tensor.is_empty() {
            return wrong("tensor must name the network's input");
        }
        Ok(())
    }

    /// The stored image that the network's input is made of: whole, or, where the contract allows it and the codec has it, at
    /// the lowest resolution that still covers the input.
    ///
    /// # Errors
    /// [`DecodeError`], as [`decode::decode`].
    pub fn decode(&self, instance: &Instance) -> Result<StoredImage, DecodeError> {
        self.decode_until(instance, Cancel::NEVER)
    }

    /// The same, ending early where nobody waits for it any more: between two rows of pixels, or of blocks of them; JPEG XL before it is
    /// rendered.
    ///
    /// # Errors
    /// As [`Self::decode`], and [`DecodeError::Cancelled`].
    pub fn decode_until(&self, instance: &Instance, cancel: Cancel<'_>) -> Result<StoredImage, DecodeError> {
        self.decode_with(instance, |halve| decode::decode_halved(instance, halve, cancel))
    }

    /// The same by `halved`, which decodes the instance with its sides halved up to so many times and says how many times they are. It may be
    /// called again, for a higher resolution; nothing is left then of what it gave.
    ///
    /// # Errors
    /// As [`Self::decode`], and what `halved` says.
    pub(crate) fn decode_with<E: From<DecodeError>>(
        &self,
        instance: &Instance,
        mut halved: impl FnMut(u32) -> Result<(StoredImage, u32), E>,
    ) -> Result<StoredImage, E> {
        if self.reduced_resolution.is_none() {
            return Ok(halved(0)?.0);
        }
        let size = decode::size(instance)?;
        self.at_lowest_resolution(size, halved)
    }

    /// The image of `[rows, columns]` with its sides halved as often as the part of it that is used still covers the input.
    /// `halved` gives it halved up to so many times, and how many times it is.
    ///
    /// # Errors
    /// What `halved` says.
    pub fn at_lowest_resolution<E>(
        &self,
        [rows, columns]: [usize; 2],
        mut halved: impl FnMut(u32) -> Result<(StoredImage, u32), E>,
    ) -> Result<StoredImage, E> {
        let whole = Rectangle {
            top: 0,
            left: 0,
            rows,
            columns,
        };
        let place = self.place(whole);
        let mut halve = (place.field.rows / place.resized[0])
            .min(place.field.columns / place.resized[1])
            .max(1)
            .ilog2();
        loop {
            let (image, times) = halved(halve)?;
            // the border that is taken off is known only now
            let place = self.place(self.field(&image));
            if times == 0 || (place.field.rows >= place.resized[0] && place.field.columns >= place.resized[1])
            {
                return Ok(image);
            }
            halve = times - 1;
        }
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
        let source = self.field(image);
        let table = self.shown(image, source)?;
        let place = self.place(source);
        let fitted = resample::resample(image, &place, &table, self.filter, self.zero())
            .ok_or(PreprocessError::Constant)?;
        let target = place.target;

        let mut values = vec![0_u16; self.rows * self.columns];
        for (row, line) in fitted.chunks_exact(target.columns).enumerate() {
            let start = (target.top + row) * self.columns + target.left;
            values[start..start + target.columns].copy_from_slice(line);
        }
        Ok((
            Plane {
                rows: self.rows,
                columns: self.columns,
                values,
            },
            Placement {
                source: place.seen(),
                target,
            },
        ))
    }

    /// The whole image as a reader would see it under this contract's grey-scale rule, neither cropped nor resized.
    ///
    /// # Errors
    /// [`PreprocessError::Constant`] for an image without content.
    pub fn displayed(&self, image: &StoredImage) -> Result<Plane, PreprocessError> {
        let table = self.shown(image, whole(image))?;
        let codes = image.codes.words(image.rows * image.columns);
        Ok(Plane {
            rows: image.rows,
            columns: image.columns,
            values: codes
                .iter()
                .map(|code| table[usize::from(*code)] as u16)
                .collect(),
        })
    }

    /// The second half of [`Self::apply`]: range, mean, standard deviation, channels, layout.
    #[must_use]
    pub fn tensor(&self, plane: &Plane) -> Tensor {
        let [low, high] = self.range;
        let scale = (high - low) / f32::from(u16::MAX);
        let normalised = |value: u16, channel: usize| {
            (low + scale * f32::from(value) - self.mean[channel]) / self.std[channel]
        };
        // a whole channel at a time: nested iterators would be taken value by value
        let mut values = Vec::with_capacity(self.channels * plane.values.len());
        match self.layout {
            Layout::Nchw => {
                for channel in 0..self.channels {
                    values.extend(plane.values.iter().map(|value| normalised(*value, channel)));
                }
            }
            Layout::Nhwc => {
                for value in &plane.values {
                    values.extend((0..self.channels).map(|channel| normalised(*value, channel)));
                }
            }
            Layout::Ncwh => {
                for channel in 0..self.channels {
                    for column in 0..plane.columns {
                        let down = plane.values.iter().skip(column).step_by(plane.columns);
                        values.extend(down.map(|value| normalised(*value, channel)));
                    }
                }
            }
        }
        Tensor {
            shape: self.shape_of(plane.rows, plane.columns),
            values,
        }
    }

    /// The shape of the input without the batch dimension.
    #[must_use]
    pub fn input_shape(&self) -> [usize; 3] {
        self.shape_of(self.rows, self.columns)
    }

    /// The shape of the tensor of a plane of `rows` x `columns`.
    fn shape_of(&self, rows: usize, columns: usize) -> [usize; 3] {
        match self.layout {
            Layout::Nchw => [self.channels, rows, columns],
            Layout::Nhwc => [rows, columns, self.channels],
            Layout::Ncwh => [self.channels, columns, rows],
        }
    }

    /// What of the displayed grey scale the range calls 0.
    fn zero(&self) -> f32 {
        let [low, high] = self.range;
        (-low / (high - low)).clamp(0.0, 1.0) * f32::from(u16::MAX)
    }

    /// The part of an image that is used.
    fn field(&self, image: &StoredImage) -> Rectangle {
        if self.crop_border {
            exposed_field(image)
        } else {
            whole(image)
        }
    }

    /// How each code of `field` is displayed.
    fn shown(&self, image: &StoredImage, field: Rectangle) -> Result<Box<resample::Shown>, PreprocessError> {
        let voi = match (self.voi, &image.transform.voi) {
            (VoiRule::FileOrPercentiles, Some(voi)) => voi.clone(),
            (VoiRule::FullRange, _) => window::full_range(image),
            (VoiRule::FileOrPercentiles, None) | (VoiRule::Percentiles, _) => {
                window::between_percentiles(image, field, self.percentiles)?
            }
        };
        let mut shown = vec![0.0; 1 << 16];
        for (shown, value) in shown.iter_mut().zip(image.display_table(&voi)) {
            *shown = f32::from(value);
        }
        shown
            .into_boxed_slice()
            .try_into()
            .map_err(|_| PreprocessError::Contract("the table has the wrong size".to_owned()))
    }
}

fn whole(image: &StoredImage) -> Rectangle {
    Rectangle {
        top: 0,
        left: 0,
        rows: image.rows,
        columns: image.columns,
    }
}
