//! The numbers of a network, by parameter name, and their file: safetensors.
//!
//! Names are `<node>.<parameter>`. Equal weights make equal bytes: names are sorted, and the header holds nothing but
//! names, shapes and places.

use std::collections::BTreeMap;

use super::checkpoint::{Entry, entries};
use super::graph::Graph;
use super::shape::GraphError;

/// One parameter, in 32-bit floats.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorF32 {
    /// Its shape, as PyTorch lays it out; empty for one number.
    pub shape: Vec<usize>,
    /// Row-major, as many as the shape says.
    pub values: Vec<f32>,
}

/// All parameters of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// By full name.
    pub tensors: BTreeMap<String, TensorF32>,
}

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A parameter of the network that the weights do not hold.
    #[error("the weights have no `{name}`, which the network needs")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// A parameter of another size.
    #[error("`{name}` has the shape {found:?}; the network needs {needed:?}")]
    Shape {
        /// The parameter.
        name: String,
        /// The shape in the weights.
        found: Vec<usize>,
        /// The shape in the network.
        needed: Vec<usize>,
    },
    /// A tensor that the network does not have.
    #[error("the weights hold `{name}`, which the network does not have")]
    Unknown {
        /// The tensor.
        name: String,
    },
    /// Bytes that are no safetensors file of 32-bit floats.
    #[error("not a safetensors file of 32-bit floats: {0}")]
    Format(String),
    /// The graph itself is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Weights {
    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Result<&TensorF32, WeightsError> {
        self.tensors.get(name).ok_or_else(|| WeightsError::Missing {
            name: name.to_owned(),
        })
    }

    /// Checks that these are exactly the parameters of `graph`, each of its shape.
    pub fn check(&self, graph: &Graph) -> Result<(), WeightsError> {
        let shapes = graph.shapes()?;
        let parameters = shapes.parameters(graph);
        for (name, parameter) in &parameters {
            let tensor = self.get(name)?;
            if tensor.shape != parameter.shape || tensor.values.len() != parameter.count() {
                let (found, needed) = (tensor.shape.clone(), parameter.shape.clone());
                return Err(WeightsError::Shape {
                    name: name.clone(),
                    found,
                    needed,
                });
            }
        }
        let known = |name: &String| parameters.iter().any(|(own, _)| own == name);
        match self.tensors.keys().find(|name| !known(name)) {
            Some(name) => Err(WeightsError::Unknown { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Sets the temperature of each label: the constant of the [`Scale`](super::Layer::Scale) node becomes its inverse.
    pub fn set_temperature(&mut self, node: &str, temperatures: &[f64]) -> Result<(), WeightsError> {
        let tensor = self.of_channels(format!("{node}.scale"), temperatures.len())?;
        tensor.values = temperatures
            .iter()
            .map(|temperature| (1.0 / temperature) as f32)
            .collect();
        Ok(())
    }

    /// Adds `offsets`, one for each channel, to the bias of `node`.
    pub fn add_to_bias(&mut self, node: &str, offsets: &[f64]) -> Result<(), WeightsError> {
        let tensor = self.of_channels(format!("{node}.bias"), offsets.len())?;
        for (value, offset) in tensor.values.iter_mut().zip(offsets) {
            *value = (f64::from(*value) + offset) as f32;
        }
        Ok(())
    }

    /// The tensor `name`, which has one value for each of so many channels.
    fn of_channels(&mut self, name: String, channels: usize) -> Result<&mut TensorF32, WeightsError> {
        let found = vec![channels];
        match self.tensors.get_mut(&name) {
            None => Err(WeightsError::Missing { name }),
            Some(tensor) if tensor.shape != found => Err(WeightsError::Shape {
                name,
                found,
                needed: tensor.shape.clone(),
            }),
            Some(tensor) => Ok(tensor),
        }
    }

    /// The bytes of a safetensors file: header length, JSON header, values in little-endian order.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        let mut end = 0;
        let mut header = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            let start = end;
            end += 4 * tensor.values.len();
            let entry = Entry {
                dtype: "F32".to_owned(),
                shape: tensor.shape.clone(),
                data_offsets: [start, end],
            };
            header.insert(name, entry);
        }
        let mut header =
            serde_json::to_vec(&header).map_err(|error| WeightsError::Format(error.to_string()))?;
        // values start on a multiple of 8 bytes, as the format asks
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        for tensor in self.tensors.values() {
            bytes.extend(little_endian(&tensor.values));
        }
        Ok(bytes)
    }

    /// Reads what [`Weights::to_bytes`] or any other safetensors writer made, in 32-bit floats.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsError> {
        let mut tensors = BTreeMap::new();
        for (name, (entry, own)) in entries(bytes).map_err(WeightsError::Format)? {
            let problem = |problem: &str| WeightsError::Format(format!("`{name}` {problem}"));
            if entry.dtype != "F32" {
                return Err(problem(&format!("is {}, not F32", entry.dtype)));
            }
            let count = entry
                .shape
                .iter()
                .try_fold(4_usize, |product, size| product.checked_mul(*size));
            if count != Some(own.len()) {
                return Err(problem("has fewer or more numbers than its shape"));
            }
            let (chunks, _) = own.as_chunks::<4>();
            let values = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
            let shape = entry.shape;
            tensors.insert(name, TensorF32 { shape, values });
        }
        Ok(Self { tensors })
    }
}

/// The bytes of `values`, as safetensors and ONNX want them.
pub(in crate::train) fn little_endian(values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; 4 * values.len()];
    let (places, _) = bytes.as_chunks_mut::<4>();
    for (place, value) in places.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Weights {
        let mut weights = Weights::default();
        let scale = TensorF32 {
            shape: vec![2],
            values: vec![1.0, 1.0],
        };
        weights.tensors.insert("temperature.scale".to_owned(), scale);
        let kernel = TensorF32 {
            shape: vec![1, 1, 1, 3],
            values: vec![1.5, -2.0, f32::MIN_POSITIVE],
        };
        weights.tensors.insert("a.weight".to_owned(), kernel);
        weights
    }

    #[test]
    fn weights_survive_their_file_and_a_cut_file_is_refused() {
        let bytes = example().to_bytes().unwrap();
        assert_eq!(Weights::from_bytes(&bytes).unwrap(), example());
        for length in [0, 7, 20, bytes.len() - 1] {
            assert!(Weights::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_temperature_is_stored_as_its_inverse() {
        let mut weights = example();
        weights.set_temperature("temperature", &[2.0, 0.5]).unwrap();
        assert_eq!(weights.get("temperature.scale").unwrap().values, [0.5, 2.0]);
        assert!(weights.set_temperature("temperature", &[2.0]).is_err());
        assert!(weights.set_temperature("elsewhere", &[2.0]).is_err());
    }
}
