//! What each layer computes, in libtorch's operations.

use rand::RngExt;
use tch::{Kind, TchError, Tensor};

use super::super::super::network::{Convolution, Layer, Node, Variance, Window};
use super::super::precision::Precision;
use super::{Engine, Mode};

impl Engine {
    fn needed(&self, node: &Node, suffix: &str) -> Result<&Tensor, TchError> {
        let missing = || TchError::Shape(format!("`{}` has no parameter {suffix}", node.name));
        self.parameters.get(&node.name, suffix).ok_or_else(missing)
    }

    /// The kind of numbers that convolutions and matrices multiply.
    fn multiplied(&self, mode: &Mode<'_>) -> Kind {
        match (self.precision, mode) {
            (Precision::Bfloat16, Mode::Learn(_)) => Kind::BFloat16,
            _ => Kind::Float,
        }
    }

    /// What `node` makes of its inputs; it may put it into the place of the first of them with `overwrite`.
    pub(super) fn layer(
        &self,
        node: &Node,
        mut inputs: Vec<Tensor>,
        overwrite: bool,
        mode: &mut Mode<'_>,
    ) -> Result<Tensor, TchError> {
        if inputs.is_empty() {
            return Err(TchError::Shape("no input".to_owned()));
        }
        if overwrite {
            let (first, others) = inputs.split_at_mut(1);
            return match &node.layer {
                Layer::Relu => first[0].f_relu_(),
                _ => others
                    .iter()
                    .try_fold(first[0].shallow_clone(), |mut sum, other| sum.f_add_(other)),
            };
        }
        let input = &inputs[0];
        let weight = || self.needed(node, "weight");
        let bias = || self.parameters.get(&node.name, "bias");
        match &node.layer {
            Layer::Input => Ok(input.shallow_clone()),
            Layer::Convolution(Convolution { window, groups, .. }) => {
                let [_, stride, padding] = pairs(*window);
                let kind = self.multiplied(mode);
                let bias = bias().map(|bias| bias.f_to_kind(kind)).transpose()?;
                let (input, weight) = (input.f_to_kind(kind)?, weight()?.f_to_kind(kind)?);
                input.f_conv2d(&weight, bias, stride, padding, [1, 1], *groups as i64)
            }
            Layer::BatchNorm {
                epsilon, momentum, ..
            } => input.f_batch_norm(
                Some(weight()?),
                Some(self.needed(node, "bias")?),
                Some(self.needed(node, "running_mean")?),
                Some(self.needed(node, "running_var")?),
                matches!(mode, Mode::Learn(_)) && !self.parameters.is_frozen(&node.name),
                *momentum,
                *epsilon,
                false,
            ),
            Layer::LayerNorm { epsilon, variance } => {
                let (weight, bias) = (weight()?, self.needed(node, "bias")?);
                layer_norm(&input.f_to_kind(Kind::Float)?, weight, bias, *epsilon, *variance)
            }
            Layer::LayerScale { .. } => input.f_mul(self.needed(node, "layer_scale")?),
            Layer::Relu => input.f_relu(),
            Layer::Gelu => input.f_gelu("none"),
            Layer::Silu => input.f_silu(),
            Layer::MaxPool(window) => {
                let [kernel, stride, padding] = pairs(*window);
                input.f_max_pool2d(kernel, stride, padding, [1, 1], false)
            }
            Layer::AveragePool {
                window,
                padding_counts,
            } => {
                let [kernel, stride, padding] = pairs(*window);
                input.f_avg_pool2d(kernel, stride, padding, false, *padding_counts, None::<i64>)
            }
            Layer::Squeeze => input.f_mean_dim([2_i64, 3].as_slice(), true, Kind::Float),
            Layer::GlobalAveragePool => input.f_mean_dim([2_i64, 3].as_slice(), false, Kind::Float),
            Layer::GlobalLogMeanExp { sharpness } => {
                let pixels: i64 = input.size().iter().skip(2).product();
                let scaled = input.f_to_kind(Kind::Float)?.f_mul_scalar(*sharpness)?;
                let sum = scaled.f_logsumexp([2, 3], false)?;
                sum.f_sub_scalar((pixels as f64).ln())?.f_div_scalar(*sharpness)
            }
            Layer::Add => {
                let sum = |sum: Tensor, other: &Tensor| sum.f_add(other);
                inputs[1..].iter().try_fold(input.shallow_clone(), sum)
            }
            Layer::Multiply => inputs[1..]
                .iter()
                .try_fold(input.shallow_clone(), |product, other| product.f_mul(other)),
            Layer::Mean => {
                let sum = |sum: Tensor, other: &Tensor| sum.f_add(other);
                let sum = inputs[1..].iter().try_fold(input.shallow_clone(), sum)?;
                sum.f_div_scalar(inputs.len() as f64)
            }
            Layer::Concatenate => Tensor::f_cat(&inputs, 1),
            Layer::Slice { first, count } => input.f_narrow(1, *first as i64, *count as i64),
            Layer::Softmax => input.f_softmax(1, Kind::Float),
            Layer::Mirror => Tensor::f_cat(&[input.shallow_clone(), input.f_flip([3])?], 0),
            Layer::Unmirror => unmirrored(input),
            Layer::Linear { .. } => {
                let kind = self.multiplied(mode);
                let bias = bias().map(|bias| bias.f_to_kind(kind)).transpose()?;
                let (input, weight) = (input.f_to_kind(kind)?, weight()?.f_to_kind(kind)?);
                input.f_linear(&weight, bias)
            }
            Layer::Flatten => input.f_flatten(1, -1),
            Layer::Sigmoid => input.f_sigmoid(),
            Layer::Probabilities => Tensor::f_cat(&[input.shallow_clone(), input.f_neg()?], 1)?.f_sigmoid(),
            Layer::LogOdds => {
                let count = input.size().get(1).copied().unwrap_or(0) / 2;
                let [present, absent] = [input.f_narrow(1, 0, count)?, input.f_narrow(1, count, count)?];
                present.f_div(&absent)?.f_log()
            }
            Layer::Scale => input.f_mul(self.needed(node, "scale")?),
            Layer::Dropout { probability } => left_out(input, *probability, 2, mode),
            Layer::StochasticDepth { probability } => left_out(input, *probability, 1, mode),
        }
    }
}

/// The mean of the batch's first half and its second half, whose maps are mirrored back.
fn unmirrored(input: &Tensor) -> Result<Tensor, TchError> {
    let half = input.size().first().copied().unwrap_or(0) / 2;
    let [seen, mirrored] = [input.f_narrow(0, 0, half)?, input.f_narrow(0, half, half)?];
    let mirrored = if input.dim() == 4 {
        mirrored.f_flip([3])?
    } else {
        mirrored
    };
    seen.f_add(&mirrored)?.f_div_scalar(2.0)
}

/// Over the channels of each pixel, which lie last while it works.
fn layer_norm(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    epsilon: f64,
    variance: Variance,
) -> Result<Tensor, TchError> {
    let pixels = input.f_permute([0, 2, 3, 1])?;
    let normal = match variance {
        Variance::Pixel => {
            let channels = weight.size();
            pixels.f_layer_norm(channels.as_slice(), Some(weight), Some(bias), epsilon, true)?
        }
        Variance::Image => {
            let centred = pixels.f_sub(&pixels.f_mean_dim([-1_i64].as_slice(), true, Kind::Float)?)?;
            let pooled = centred.f_mean_dim([1_i64, 2].as_slice(), true, Kind::Float)?;
            let variance = pooled
                .f_square()?
                .f_mean_dim([-1_i64].as_slice(), true, Kind::Float)?;
            let deviation = variance.f_add_scalar(epsilon)?.f_sqrt()?;
            centred.f_div(&deviation)?.f_mul(weight)?.f_add(bias)?
        }
    };
    normal.f_permute([0, 3, 1, 2])
}

/// In training, zeros for what is left out and a factor above 1 for the rest, so that the mean stays. The first `axes` axes are
/// drawn for, all others share their draw.
fn left_out(input: &Tensor, probability: f64, axes: usize, mode: &mut Mode<'_>) -> Result<Tensor, TchError> {
    let Mode::Learn(random) = mode else {
        return Ok(input.shallow_clone());
    };
    let mut shape = input.size();
    let count: i64 = shape.iter().take(axes).product();
    for size in shape.iter_mut().skip(axes) {
        *size = 1;
    }
    let kept = (1.0 / (1.0 - probability)) as f32;
    let mask: Vec<f32> = (0..count)
        .map(|_| {
            if random.random_bool(probability) {
                0.0
            } else {
                kept
            }
        })
        .collect();
    let mask = Tensor::f_from_slice(&mask)?.f_view(shape.as_slice())?;
    input.f_mul(&mask.f_to_device(input.device())?.f_to_kind(input.kind())?)
}

fn pairs(window: Window) -> [[i64; 2]; 3] {
    [window.kernel, window.stride, window.padding].map(|pair| pair.map(|size| size as i64))
}
