//! Convolutions of 3 x 3 as an operator of ONNX Runtime.

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::{TensorElementType, ValueRef};
use osteon_convolution::winograd::{Convolution, Operands};

use super::{PADS, RELU, WINOGRAD, in_room, size};

/// Inputs: images `[N, channels, rows, columns]` in ONNX Runtime's blocks; filters `[36, filters, channels]`; a bias `[filters]`; what is
/// added to the result, of its shape. Output: `[N, filters, rows, columns]` in blocks.
pub(super) struct WinogradConv;

impl Operator for WinogradConv {
    type Kernel<'attr> = ConvKernel;

    fn name(&self) -> &str {
        WINOGRAD
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let (needed, may_be) = (OperatorInput::required, OperatorInput::optional);
        [needed, needed, may_be, may_be].map(|input| input(TensorElementType::Float32))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel(&self, context: &KernelContext<'_>) -> ort::Result<ConvKernel> {
        let pads: Vec<i64> = context.get(PADS).unwrap_or_default();
        let relu: i64 = context.get(RELU).unwrap_or_default();
        Ok(ConvKernel {
            pads: <[i64; 4]>::try_from(pads)
                .map_err(|_| ort::Error::new("pads: four numbers are needed"))?
                .map(size),
            relu: relu == 1,
        })
    }
}

pub(super) struct ConvKernel {
    pads: [usize; 4],
    relu: bool,
}

impl Kernel for ConvKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let several = context.num_inputs()?;
        let input = |index: usize| {
            if index < several {
                context.input(index)
            } else {
                Ok(None)
            }
        };
        let (images, filters) = (input(0)?, input(1)?);
        let (bias, sum) = (input(2)?, input(3)?);
        let needed = || ort::Error::new("images and filters are needed");
        let (shape, images) = images.as_ref().ok_or_else(needed)?.try_extract_tensor::<f32>()?;
        let (filter_shape, filters) = filters.as_ref().ok_or_else(needed)?.try_extract_tensor::<f32>()?;
        let (&[count, channels, rows, columns], &[_, results, _]) = (&shape[..], &filter_shape[..]) else {
            return Err(ort::Error::new("images have four axes and filters three"));
        };
        let convolution = Convolution {
            channels: size(channels),
            filters: size(results),
            rows: size(rows),
            columns: size(columns),
            pads: self.pads,
            relu: self.relu,
        };
        let operands = Operands {
            images,
            filters,
            bias: maybe(bias.as_ref())?,
            sum: maybe(sum.as_ref())?,
        };
        let [rows, columns] = convolution.extent().map(|size| size as i64);
        let mut output = context
            .output(0, [count, results, rows, columns])?
            .ok_or_else(|| ort::Error::new("nobody takes the result"))?;
        let (_, result) = output.try_extract_tensor_mut::<f32>()?;
        in_room(|scratch| convolution.run(operands, result, scratch))
    }
}

fn maybe<'a>(value: Option<&'a ValueRef<'_>>) -> ort::Result<Option<&'a [f32]>> {
    let value = value.map(|value| value.try_extract_tensor::<f32>()).transpose()?;
    Ok(value.map(|(_, numbers)| numbers))
}
