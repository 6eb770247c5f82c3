//! Convolutions of 1 x 1, with the normalisation before them, as an operator of ONNX Runtime.

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::{TensorElementType, ValueRef};
use osteon_convolution::pre_activated::{Convolution, Operands};

use super::{PRE_ACTIVATED, RELU, in_room, size};

/// Inputs: filters `[filters, channels]`; a bias `[filters]`; factors and summands `[channels]`; then images
/// `[N, some channels, rows, columns]` in ONNX Runtime's blocks, as many as have these channels together. Output:
/// `[N, filters, rows, columns]` in blocks.
pub(super) struct PreActivatedConv;

impl Operator for PreActivatedConv {
    type Kernel<'attr> = ConvKernel;

    fn name(&self) -> &str {
        PRE_ACTIVATED
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let needed = || OperatorInput::required(TensorElementType::Float32);
        let several = OperatorInput::variadic(1).homogenous(TensorElementType::Float32);
        [needed(), needed(), needed(), needed(), several]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel(&self, context: &KernelContext<'_>) -> ort::Result<ConvKernel> {
        let relu: i64 = context.get(RELU).unwrap_or_default();
        Ok(ConvKernel { relu: relu == 1 })
    }
}

pub(super) struct ConvKernel {
    relu: bool,
}

impl Kernel for ConvKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let inputs = (0..context.num_inputs()?).map(|index| context.input(index));
        let inputs: Vec<ValueRef<'_>> = inputs.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let inputs = inputs.iter().map(|input| input.try_extract_tensor::<f32>());
        let inputs: Vec<_> = inputs.collect::<Result<_, _>>()?;
        let [(_, filters), (_, bias), (_, factors), (_, summands), pieces @ ..] = &inputs[..] else {
            return Err(ort::Error::new("four inputs and images are needed"));
        };
        let Some(&[count, _, rows, columns]) = pieces.first().map(|(shape, _)| &shape[..]) else {
            return Err(ort::Error::new("images have four axes"));
        };
        let convolution = Convolution {
            images: size(count),
            pixels: size(rows) * size(columns),
            filters: bias.len(),
            relu: self.relu,
        };
        let pieces: Vec<&[f32]> = pieces.iter().map(|(_, numbers)| *numbers).collect();
        let operands = Operands {
            pieces: &pieces,
            factors,
            summands,
            filters,
            bias,
        };
        let mut output = context
            .output(0, [count, bias.len() as i64, rows, columns])?
            .ok_or_else(|| ort::Error::new("nobody takes the result"))?;
        let (_, result) = output.try_extract_tensor_mut::<f32>()?;
        in_room(|scratch| convolution.run(operands, result, scratch))
    }
}
