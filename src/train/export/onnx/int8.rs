//! An ONNX file that computes in 8 bits: convolutions between quantised values, in the form that ONNX Runtime fuses (QDQ).
//!
//! Every value that a convolution reads or makes goes through `QuantizeLinear` and `DequantizeLinear` with a scale and zero of its own,
//! asymmetric in 8 bits; kernels are symmetric with a scale for each output channel; offsets are 32-bit whole numbers on the scale of
//! the products (Jacob et al. 2018, arXiv 1712.05877; Krishnamoorthi 2018, arXiv 1806.08342). Kernels take 7 of their 8 bits, because
//! processors without VNNI add two products in 16 bits, which overflow otherwise: all processors then compute the same. What stands
//! behind the features stays in 32 bits.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::attributes::{integer, node_proto};
use crate::model::onnx_format::{DataType, GraphProto, ModelProto, NodeProto, TensorProto};

/// The least and the most that a value of the file was seen to be, by its name.
pub type Ranges = BTreeMap<String, [f32; 2]>;

/// The largest number of a kernel.
const KERNEL: f32 = 63.0;
/// Offsets stay below half of what 32 bits hold.
const OFFSET: f32 = (1 << 30) as f32;

/// The file with the convolutions `nodes` in 8 bits; `ranges` are those of its values.
///
/// # Errors
/// A sentence, where the file is none of ours.
pub fn eight_bits(model: &[u8], nodes: &BTreeSet<String>, ranges: &Ranges) -> Result<Vec<u8>, String> {
    let mut model = ModelProto::decode(model).map_err(|error| error.to_string())?;
    let graph = model.graph.take().ok_or("the file has no graph")?;
    let mut quantiser = Quantiser::new(&graph, nodes, ranges);
    quantiser.run()?;
    model.graph = Some(quantiser.finish());
    Ok(model.encode_to_vec())
}

/// A scale and the number that stands for 0.
#[derive(Clone, Copy)]
struct Scale {
    step: f32,
    zero: u8,
}

impl Scale {
    /// 0 has a number of its own, as padding needs it.
    fn of([least, most]: [f32; 2]) -> Self {
        let (least, most) = (least.min(0.0), most.max(0.0));
        let step = ((most - least) / 255.0).max(f32::MIN_POSITIVE * 256.0);
        Self {
            step,
            zero: (-least / step).round().clamp(0.0, 255.0) as u8,
        }
    }
}

struct Quantiser<'a> {
    graph: &'a GraphProto,
    nodes: &'a BTreeSet<String>,
    ranges: &'a Ranges,
    /// Of each value that is quantised.
    scales: BTreeMap<String, Scale>,
    printed: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// Kernels and offsets that are no longer read.
    replaced: BTreeSet<String>,
}

impl<'a> Quantiser<'a> {
    fn new(graph: &'a GraphProto, nodes: &'a BTreeSet<String>, ranges: &'a Ranges) -> Self {
        Self {
            graph,
            nodes,
            ranges,
            scales: BTreeMap::new(),
            printed: Vec::new(),
            constants: Vec::new(),
            replaced: BTreeSet::new(),
        }
    }

    fn run(&mut self) -> Result<(), String> {
        self.choose();
        let inputs: Vec<&str> = self.graph.input.iter().map(|input| input.name.as_str()).collect();
        for input in inputs {
            self.pass_through(input);
        }
        for node in &self.graph.node {
            let mut node = node.clone();
            let scale = node
                .input
                .first()
                .and_then(|input| self.scales.get(input))
                .copied();
            if let (Some(scale), true) = (scale, self.is_chosen(&node)) {
                self.parameters(&mut node, scale)?;
            }
            for input in &mut node.input {
                if self.scales.contains_key(input) {
                    input.push_str(DEQUANTISED);
                }
            }
            let made = node.output.clone();
            self.printed.push(node);
            for value in made {
                self.pass_through(&value);
            }
        }
        Ok(())
    }

    fn is_chosen(&self, node: &NodeProto) -> bool {
        node.op_type == "Conv" && self.nodes.contains(&node.name)
    }

    /// Which values are quantised, and how.
    fn choose(&mut self) {
        for node in &self.graph.node {
            if self.is_chosen(node) {
                self.choose_value(&node.input[0]);
                self.choose_value(self.settled(&node.output[0]));
            }
            let quantised = |value: &String| self.scales.contains_key(value);
            match node.op_type.as_str() {
                // sums and rows of quantised values
                "Add" | "Concat" if node.input.iter().all(quantised) => {
                    self.choose_value(self.settled(&node.output[0]));
                }
                // picks out values, and keeps their scale
                "MaxPool" if quantised(&node.input[0]) && !self.is_shown(&node.output[0]) => {
                    let scale = self.scales[&node.input[0]];
                    self.scales.insert(node.output[0].clone(), scale);
                }
                _ => {}
            }
        }
    }

    fn choose_value(&mut self, name: &str) {
        if let Some(range) = self.ranges.get(name).filter(|_| !self.is_shown(name)) {
            self.scales
                .entry(name.to_owned())
                .or_insert_with(|| Scale::of(*range));
        }
    }

    /// The value itself, or what a rectifier that alone reads it makes of it: 8 bits cut off what it cuts off.
    fn settled(&self, value: &'a str) -> &'a str {
        let mut readers = self
            .graph
            .node
            .iter()
            .filter(|node| node.input.iter().any(|input| input == value));
        match (readers.next(), readers.next()) {
            (Some(only), None) if only.op_type == "Relu" && !self.is_shown(value) => &only.output[0],
            _ => value,
        }
    }

    fn is_shown(&self, value: &str) -> bool {
        self.graph.output.iter().any(|output| output.name == value)
    }

    /// A value through 8 bits and back, if it is quantised.
    fn pass_through(&mut self, value: &str) {
        let Some(Scale { step, zero }) = self.scales.get(value).copied() else {
            return;
        };
        let (scale, point) = (format!("{value}.scale"), format!("{value}.zero"));
        self.constants
            .push(tensor(&scale, &[], DataType::Float, &step.to_le_bytes()));
        self.constants.push(tensor(&point, &[], DataType::Uint8, &[zero]));
        let (quantised, back) = (format!("{value}.quantised"), format!("{value}{DEQUANTISED}"));
        for (operator, from, to) in [
            ("QuantizeLinear", value.to_owned(), quantised.clone()),
            ("DequantizeLinear", quantised, back),
        ] {
            let inputs = vec![from, scale.clone(), point.clone()];
            self.printed
                .push(node_proto(&to, operator, inputs, to.clone(), Vec::new()));
        }
    }

    /// Kernel and offsets of a convolution whose input has the scale `input`.
    fn parameters(&mut self, node: &mut NodeProto, input: Scale) -> Result<(), String> {
        let floats = |name: &String| -> Result<(Vec<i64>, Vec<f32>), String> {
            let own = self.graph.initializer.iter().find(|tensor| tensor.name == *name);
            let own = own.ok_or_else(|| format!("{} has no {name}", node.name))?;
            let values = own.raw_data.as_chunks().0.iter();
            Ok((
                own.dims.clone(),
                values.map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            ))
        };
        let (dims, kernel) = floats(&node.input[1])?;
        let channels = usize::try_from(dims[0]).unwrap_or(1).max(1);
        let offsets = match node.input.get(2) {
            Some(name) => floats(name)?.1,
            None => vec![0.0; channels],
        };
        let (mut steps, mut numbers) = (Vec::new(), Vec::with_capacity(kernel.len()));
        for (own, offset) in kernel.chunks(kernel.len() / channels).zip(&offsets) {
            let most = own.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            // of a channel that is as good as dead the offset is all that there is
            let step = (most / KERNEL).max(offset.abs() / (input.step * OFFSET));
            let step = if step > 0.0 { step } else { 1.0 };
            steps.push(step);
            numbers.extend(own.iter().map(|value| (value / step).round() as i8 as u8));
        }
        let name = node.input[1].clone();
        node.input[1] = self.constant(&name, &dims, DataType::Int8, &numbers, &steps);
        if let Some(name) = node.input.get(2).cloned() {
            let steps: Vec<f32> = steps.iter().map(|step| step * input.step).collect();
            let whole = offsets.iter().zip(&steps);
            let whole: Vec<u8> = whole
                .flat_map(|(offset, step)| ((offset / step).round() as i32).to_le_bytes())
                .collect();
            node.input[2] = self.constant(&name, &[channels as i64], DataType::Int32, &whole, &steps);
        }
        Ok(())
    }

    /// A constant in whole numbers, with a scale for each of its first dimension; answers the name of what it is read as.
    fn constant(
        &mut self,
        name: &str,
        dims: &[i64],
        kind: DataType,
        numbers: &[u8],
        steps: &[f32],
    ) -> String {
        let (quantised, scale) = (format!("{name}.quantised"), format!("{name}.scale"));
        let back = format!("{name}{DEQUANTISED}");
        if self.replaced.insert(name.to_owned()) {
            let bytes: Vec<u8> = steps.iter().flat_map(|step| step.to_le_bytes()).collect();
            self.constants.push(tensor(&quantised, dims, kind, numbers));
            self.constants
                .push(tensor(&scale, &[steps.len() as i64], DataType::Float, &bytes));
            let inputs = vec![quantised, scale];
            let axis = vec![integer("axis", 0)];
            self.printed
                .push(node_proto(&back, "DequantizeLinear", inputs, back.clone(), axis));
        }
        back
    }

    fn finish(self) -> GraphProto {
        let kept = self.graph.initializer.iter();
        let kept = kept
            .filter(|tensor| !self.replaced.contains(&tensor.name))
            .cloned();
        GraphProto {
            initializer: kept.chain(self.constants).collect(),
            node: self.printed,
            ..self.graph.clone()
        }
    }
}

const DEQUANTISED: &str = ".dequantised";

fn tensor(name: &str, dims: &[i64], kind: DataType, bytes: &[u8]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: kind as i32,
        raw_data: bytes.to_vec(),
        name: name.to_owned(),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{export_onnx, observable};
    use super::*;
    use crate::train::network::{Layer, Part, Residual, initial_weights};

    #[test]
    fn zero_has_a_number_of_its_own() {
        let scale = Scale::of([-1.0, 3.0]);
        assert!(
            (scale.step - 4.0 / 255.0).abs() < 1e-9 && scale.zero == 64,
            "{}",
            scale.zero
        );
        assert_eq!(Scale::of([0.5, 2.0]).zero, 0);
        assert_eq!(Scale::of([-2.0, -0.5]).zero, 255);
        assert!(Scale::of([0.0, 0.0]).step > 0.0);
    }

    #[test]
    fn convolutions_before_the_features_read_whole_numbers() {
        let graph = Residual::default().graph("image", 2).unwrap();
        let weights = initial_weights(&graph, 1).unwrap();
        let whole = export_onnx(&graph, &weights, &BTreeMap::new()).unwrap();
        let (shown, _) = observable(&graph, &weights).unwrap();
        let ranges: Ranges = shown
            .outputs
            .iter()
            .map(|output| output.name.clone())
            .chain(["image".to_owned()])
            .map(|name| (name, [-1.0, 3.0]))
            .collect();
        let nodes: BTreeSet<String> = graph
            .nodes
            .iter()
            .filter(|node| matches!(node.layer, Layer::Convolution(_)) && node.part != Part::Head)
            .map(|node| node.name.clone())
            .collect();
        let small = eight_bits(&whole, &nodes, &ranges).unwrap();
        assert!(
            small.len() * 100 < whole.len() * 35,
            "{} of {}",
            small.len(),
            whole.len()
        );
        let graph = ModelProto::decode(small.as_slice()).unwrap().graph.unwrap();
        let made: BTreeSet<&String> = graph.node.iter().flat_map(|node| &node.output).collect();
        let stored: BTreeSet<&String> = graph.initializer.iter().map(|tensor| &tensor.name).collect();
        let mut convolutions = 0;
        for node in &graph.node {
            for input in &node.input {
                assert!(
                    made.contains(input) || stored.contains(input) || input == "image",
                    "{} reads {input}, which is nowhere",
                    node.name
                );
            }
            if nodes.contains(&node.name) {
                convolutions += 1;
                assert!(
                    node.input.iter().all(|input| input.ends_with(DEQUANTISED)),
                    "{:?}",
                    node.input
                );
            }
        }
        assert_eq!(convolutions, nodes.len());
        let kernels = |kind: DataType| -> Vec<&TensorProto> {
            let of = |tensor: &&TensorProto| tensor.data_type == kind as i32 && tensor.dims.len() == 4;
            graph.initializer.iter().filter(of).collect()
        };
        assert_eq!(kernels(DataType::Int8).len(), nodes.len());
        let left: Vec<&str> = kernels(DataType::Float)
            .iter()
            .map(|tensor| tensor.name.as_str())
            .collect();
        assert_eq!(left, ["label_map.weight"], "what answers stays as it is");
        let largest = kernels(DataType::Int8)
            .iter()
            .flat_map(|tensor| &tensor.raw_data)
            .map(|byte| (*byte as i8).unsigned_abs())
            .max();
        assert_eq!(
            largest,
            Some(63),
            "two products of a byte and such a number fit 16 bits"
        );
    }
}
