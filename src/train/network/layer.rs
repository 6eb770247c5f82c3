//! The kinds of layer, and the parameters that each one has.
//!
//! A layer names no input size: channels and features follow from its inputs by shape inference, so one description
//! cannot contradict itself. Parameters are named `<node>.<parameter>` as PyTorch names them.

use serde::{Deserialize, Serialize};

use super::shape::Shape;

/// A sliding window over rows and columns: `[rows, columns]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Size, at least 1.
    pub kernel: [usize; 2],
    /// Step, at least 1.
    pub stride: [usize; 2],
    /// Added on both sides; zeros for convolutions, left out of the count for pools.
    pub padding: [usize; 2],
}

impl Window {
    /// The same in both directions.
    #[must_use]
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
        }
    }
}

/// A two-dimensional cross-correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convolution {
    /// Maps that it makes; a multiple of `groups`.
    pub output_channels: usize,
    /// Kernel, stride and zero padding.
    pub window: Window,
    /// 1 for a full convolution, the number of input channels for a depthwise one.
    pub groups: usize,
    /// Whether each output channel has an offset; needless before a batch norm.
    pub bias: bool,
}

/// One operation. "Maps" are `[channels, rows, columns]`, "features" are `[features]`; the batch comes first in both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Layer {
    /// The image, only at node 0.
    Input,
    /// Maps to maps.
    Convolution(Convolution),
    /// Each channel to mean 0 and variance 1, then scaled and shifted; running statistics outside training.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
        /// Share of the newest batch in the running statistics.
        momentum: f64,
        /// What the scale starts from: 1, or 0 to start a residual branch as the identity.
        initial_scale: f64,
    },
    /// Each pixel's channels to mean 0 and variance 1, then each channel scaled and shifted (Ba 2016).
    LayerNorm {
        /// Added to the variance.
        epsilon: f64,
        /// Which variance.
        variance: Variance,
    },
    /// Each channel times a number of its own, which training changes (layer scale, Touvron 2021).
    LayerScale {
        /// What the numbers start from.
        initial: f64,
    },
    /// Negative values become 0.
    Relu,
    /// `x * cdf(x)` with the normal distribution's, by the error function itself (Hendrycks and Gimpel 2016).
    Gelu,
    /// `x * sigmoid(x)`, called swish as well (Ramachandran 2017).
    Silu,
    /// The largest value of each window.
    MaxPool(Window),
    /// The mean of each window.
    AveragePool {
        /// Size, step and padding.
        window: Window,
        /// Whether padding counts as zeros, or is left out of the mean.
        padding_counts: bool,
    },
    /// Maps to maps of one pixel: the mean of each map.
    Squeeze,
    /// Maps to features: the mean of each map.
    GlobalAveragePool,
    /// Maps to features: `log(mean(exp(s * map))) / s`, between the mean (`s` near 0) and the maximum (`s` large).
    /// Published as log-sum-exp pooling (Pinheiro and Collobert 2015) for objects that fill a small part of an image.
    GlobalLogMeanExp {
        /// `s` above, positive.
        sharpness: f64,
    },
    /// The sum of two or more values of one shape.
    Add,
    /// Maps times maps of one pixel, channel by channel: how squeeze-and-excitation (Hu 2018) weighs channels.
    Multiply,
    /// Channels, or features, of two or more values behind one another.
    Concatenate,
    /// Features to features, with an offset where `bias` is set.
    Linear {
        /// Features that it makes.
        output_features: usize,
        /// Whether each has an offset.
        bias: bool,
    },
    /// Maps to features, row-major.
    Flatten,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The probabilities of log-odds, and behind them those of the opposite, `1 / (1 + exp(x))`: twice the features. Beside each other,
    /// neither loses digits where the other is near 1, and means of both are the probabilities of a mean.
    Probabilities,
    /// The log-odds of what [`Layer::Probabilities`] made: half the features.
    LogOdds,
    /// Each feature times a constant that training leaves alone: the inverse of each label's temperature.
    Scale,
    /// In training, sets whole channels or features to 0 with this probability and scales the others up.
    Dropout {
        /// From 0 to below 1.
        probability: f64,
    },
    /// Some of the channels or features: those of one head.
    Slice {
        /// The first.
        first: usize,
        /// How many, at least 1.
        count: usize,
    },
    /// Features that exclude each other: `exp(x)` over the sum of all.
    Softmax,
    /// The mean of two or more values of one shape.
    Mean,
    /// Behind the images of the batch their mirror images, left and right exchanged: twice the batch from here on.
    Mirror,
    /// The mean of what the images and their mirror images gave, where [`Layer::Mirror`] stands before: half the batch from here on.
    /// Maps are mirrored back.
    Unmirror,
    /// In training, sets all of an image's values to 0 with this probability and scales the other images' up, so that a
    /// residual branch is left out now and then (Huang 2016).
    StochasticDepth {
        /// From 0 to below 1.
        probability: f64,
    },
}

/// The variance that a [`Layer::LayerNorm`] divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variance {
    /// Of each pixel's own channels.
    Pixel,
    /// Of the channels' means over the whole image, one for all pixels. The mean of the result is then exactly what the
    /// norm makes of the pooled features, so that what follows may be pooled last and seen as a map.
    Image,
}

/// What training does with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A kernel or matrix: trained, with weight decay. `fan_in` inputs make one output.
    Kernel {
        /// Inputs that make one output, for He initialisation.
        fan_in: usize,
    },
    /// An offset or a scale: trained, without weight decay.
    Vector,
    /// A running statistic: follows the batches, has no gradient.
    Statistic,
    /// Set by calibration, not by training.
    Constant,
}

/// One tensor that belongs to a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The last part of its name, such as `weight`.
    pub suffix: &'static str,
    /// Its shape, as PyTorch lays it out.
    pub shape: Vec<usize>,
    /// What training does with it.
    pub role: Role,
    /// What it starts from, unless it is a kernel.
    pub initial: f32,
}

impl Parameter {
    /// How many numbers it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Layer {
    /// The operation's name as tables show it.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Layer::Input => "input",
            Layer::Convolution(_) => "convolution",
            Layer::BatchNorm { .. } => "batch norm",
            Layer::LayerNorm { .. } => "layer norm",
            Layer::LayerScale { .. } => "layer scale",
            Layer::Relu => "relu",
            Layer::Gelu => "gelu",
            Layer::Silu => "silu",
            Layer::MaxPool(_) => "max pool",
            Layer::AveragePool { .. } => "average pool",
            Layer::Squeeze => "squeeze",
            Layer::GlobalAveragePool => "global average pool",
            Layer::GlobalLogMeanExp { .. } => "global log-mean-exp",
            Layer::Add => "add",
            Layer::Multiply => "multiply",
            Layer::Concatenate => "concatenate",
            Layer::Linear { .. } => "linear",
            Layer::Flatten => "flatten",
            Layer::Sigmoid => "sigmoid",
            Layer::Probabilities => "probabilities",
            Layer::LogOdds => "log-odds",
            Layer::Scale => "scale",
            Layer::Dropout { .. } => "dropout",
            Layer::Slice { .. } => "slice",
            Layer::Softmax => "softmax",
            Layer::Mean => "mean",
            Layer::Mirror => "mirror",
            Layer::Unmirror => "unmirror",
            Layer::StochasticDepth { .. } => "stochastic depth",
        }
    }

    /// The parameters of this layer on inputs of these shapes, which shape inference has accepted.
    #[must_use]
    pub fn parameters(&self, inputs: &[Shape]) -> Vec<Parameter> {
        let channels = inputs.first().map_or(0, Shape::channels);
        let vector = |suffix, count: usize, role, initial| Parameter {
            suffix,
            shape: vec![count],
            role,
            initial,
        };
        match self {
            Layer::Convolution(convolution) => {
                let [rows, columns] = convolution.window.kernel;
                let group = channels / convolution.groups.max(1);
                let shape = vec![convolution.output_channels, group, rows, columns];
                let role = Role::Kernel {
                    fan_in: group * rows * columns,
                };
                let mut parameters = vec![Parameter {
                    suffix: "weight",
                    shape,
                    role,
                    initial: 0.0,
                }];
                if convolution.bias {
                    parameters.push(vector("bias", convolution.output_channels, Role::Vector, 0.0));
                }
                parameters
            }
            Layer::Linear {
                output_features,
                bias,
            } => {
                let shape = vec![*output_features, channels];
                let role = Role::Kernel { fan_in: channels };
                let mut parameters = vec![Parameter {
                    suffix: "weight",
                    shape,
                    role,
                    initial: 0.0,
                }];
                if *bias {
                    parameters.push(vector("bias", *output_features, Role::Vector, 0.0));
                }
                parameters
            }
            Layer::BatchNorm { initial_scale, .. } => vec![
                vector("weight", channels, Role::Vector, *initial_scale as f32),
                vector("bias", channels, Role::Vector, 0.0),
                vector("running_mean", channels, Role::Statistic, 0.0),
                vector("running_var", channels, Role::Statistic, 1.0),
            ],
            Layer::LayerNorm { .. } => vec![
                vector("weight", channels, Role::Vector, 1.0),
                vector("bias", channels, Role::Vector, 0.0),
            ],
            Layer::LayerScale { initial } => vec![Parameter {
                suffix: "layer_scale",
                shape: vec![channels, 1, 1],
                role: Role::Vector,
                initial: *initial as f32,
            }],
            Layer::Scale => vec![vector("scale", channels, Role::Constant, 1.0)],
            _ => Vec::new(),
        }
    }
}
