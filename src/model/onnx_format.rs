//! The part of the ONNX file format that osteon reads and writes, as protobuf messages.
//!
//! Field numbers are those of `onnx.proto3` (ONNX 1.16, IR version 8 to 10); fields that are not named here are skipped
//! in reading. A file is one [`ModelProto`]. Weights written by osteon are `raw_data`, little-endian.

use prost::{Enumeration, Message, Oneof};

mod contents;
mod summary;

pub use contents::Contents;
pub use summary::Summary;

/// The whole file.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// Version of the file format itself.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// The program that wrote the file.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// Its version.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// Reverse-DNS name space of the model.
    #[prost(string, tag = "4")]
    pub domain: String,
    /// Version of the model.
    #[prost(int64, tag = "5")]
    pub model_version: i64,
    /// Free text.
    #[prost(string, tag = "6")]
    pub doc_string: String,
    /// The network.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// The operator sets that the nodes mean.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Named texts about the model; here travels the preprocessing contract.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
    /// How to train it further.
    #[prost(message, repeated, tag = "20")]
    pub training_info: Vec<TrainingInfoProto>,
    /// Operators that the file itself defines.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<FunctionProto>,
}

/// How to train a model further; only its graphs are read here.
#[derive(Clone, PartialEq, Message)]
pub struct TrainingInfoProto {
    /// What is run once.
    #[prost(message, optional, tag = "1")]
    pub initialization: Option<GraphProto>,
    /// What is run for each step.
    #[prost(message, optional, tag = "2")]
    pub algorithm: Option<GraphProto>,
}

/// An operator that the file itself defines, by other operators.
#[derive(Clone, PartialEq, Message)]
pub struct FunctionProto {
    /// The operator's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it is made of.
    #[prost(message, repeated, tag = "7")]
    pub node: Vec<NodeProto>,
    /// The operator sets that its nodes mean.
    #[prost(message, repeated, tag = "9")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// The domain that its own name belongs to.
    #[prost(string, tag = "10")]
    pub domain: String,
    /// Settings that a node may leave out, with what holds then.
    #[prost(message, repeated, tag = "11")]
    pub attribute_proto: Vec<AttributeProto>,
}

/// An operator set; the empty domain is ONNX's own.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct OperatorSetIdProto {
    /// Empty, or a vendor's name such as `com.microsoft`.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// The opset number.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A named text.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StringStringEntryProto {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Nodes in execution order, with constants, inputs and outputs.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    /// The operations.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// The graph's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The weights.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// Free text.
    #[prost(string, tag = "10")]
    pub doc_string: String,
    /// What the caller gives; old writers list weights here, too.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// What the caller gets.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    /// Shapes between, as far as the writer knew them.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
    /// Weights of which most are zero.
    #[prost(message, repeated, tag = "15")]
    pub sparse_initializer: Vec<SparseTensorProto>,
}

/// One operation.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    /// Names of the values that it takes; empty for one left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the values that it makes.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// The node's own name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The operator, such as `Conv`.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Its settings.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// The operator set's domain.
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// One setting of an operation.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    /// Its name, such as `strides`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value, where it is one real number.
    #[prost(float, tag = "2")]
    pub f: f32,
    /// Its value, where it is one whole number.
    #[prost(int64, tag = "3")]
    pub i: i64,
    /// Its value, where it is a text.
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    /// Its value, where it is a tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    /// Its value, where it is a graph, as in `If` and `Loop`.
    #[prost(message, optional, tag = "6")]
    pub g: Option<GraphProto>,
    /// Its value, where it is a list of real numbers.
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    /// Its value, where it is a list of whole numbers.
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// Its value, where it is a list of tensors.
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<TensorProto>,
    /// Its value, where it is a list of graphs.
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<GraphProto>,
    /// Which of these it is.
    #[prost(enumeration = "AttributeType", tag = "20")]
    pub r#type: i32,
    /// Its value, where it is a sparse tensor.
    #[prost(message, optional, tag = "22")]
    pub sparse_tensor: Option<SparseTensorProto>,
    /// Its value, where it is a list of sparse tensors.
    #[prost(message, repeated, tag = "23")]
    pub sparse_tensors: Vec<SparseTensorProto>,
}

/// Which kind of value an attribute has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum AttributeType {
    /// Not said.
    Undefined = 0,
    /// One real number.
    Float = 1,
    /// One whole number.
    Int = 2,
    /// A text.
    String = 3,
    /// A tensor.
    Tensor = 4,
    /// A graph.
    Graph = 5,
    /// Real numbers.
    Floats = 6,
    /// Whole numbers.
    Ints = 7,
}

/// A constant, such as a kernel.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// Its sizes; empty for a scalar.
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    /// A number of [`DataType`].
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Its values, where they are listed as 32-bit floats.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Its values, where they are listed as 64-bit integers.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Its name.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Its values, little-endian and row-major.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
    /// Where its values are, if outside: `location`, `offset`, `length`, `checksum`.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// Whether the values are in this file.
    #[prost(enumeration = "DataLocation", tag = "14")]
    pub data_location: i32,
}

/// A constant of which only what is not zero is listed.
#[derive(Clone, PartialEq, Message)]
pub struct SparseTensorProto {
    /// What is not zero.
    #[prost(message, optional, tag = "1")]
    pub values: Option<TensorProto>,
    /// Where it stands.
    #[prost(message, optional, tag = "2")]
    pub indices: Option<TensorProto>,
    /// The sizes of the whole.
    #[prost(int64, repeated, tag = "3")]
    pub dims: Vec<i64>,
}

/// Where a tensor's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum DataLocation {
    /// In this file.
    Default = 0,
    /// In a file beside it.
    External = 1,
}

/// The kinds of number that osteon meets; others stay plain numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// Not said.
    Undefined = 0,
    /// 32-bit float.
    Float = 1,
    /// 8-bit unsigned.
    Uint8 = 2,
    /// 8-bit signed.
    Int8 = 3,
    /// 16-bit unsigned.
    Uint16 = 4,
    /// 16-bit signed.
    Int16 = 5,
    /// 32-bit signed.
    Int32 = 6,
    /// 64-bit signed.
    Int64 = 7,
    /// Text.
    String = 8,
    /// Truth value.
    Bool = 9,
    /// 16-bit float.
    Float16 = 10,
    /// 64-bit float.
    Double = 11,
    /// 16-bit brain float.
    Bfloat16 = 16,
}

/// The name and type of an input or output.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// A type; only tensors are read here.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// Which type.
    #[prost(oneof = "type_proto::Value", tags = "1")]
    pub value: Option<type_proto::Value>,
}

/// The parts of [`TypeProto`].
pub mod type_proto {
    use super::{Message, Oneof, TensorShapeProto};

    /// Which type.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Value {
        /// A tensor.
        #[prost(message, tag = "1")]
        TensorType(Tensor),
    }

    /// A tensor's type.
    #[derive(Clone, PartialEq, Message)]
    pub struct Tensor {
        /// A number of [`DataType`](super::DataType).
        #[prost(int32, tag = "1")]
        pub elem_type: i32,
        /// Its sizes, where they are known.
        #[prost(message, optional, tag = "2")]
        pub shape: Option<TensorShapeProto>,
    }
}

/// A tensor's sizes.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    /// One entry for each.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<tensor_shape_proto::Dimension>,
}

/// The parts of [`TensorShapeProto`].
pub mod tensor_shape_proto {
    use super::{Message, Oneof};

    /// One size; with no value it is unknown.
    #[derive(Clone, PartialEq, Message)]
    pub struct Dimension {
        /// The size or its name.
        #[prost(oneof = "Value", tags = "1, 2")]
        pub value: Option<Value>,
    }

    /// A size or its name.
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Value {
        /// Fixed.
        #[prost(int64, tag = "1")]
        DimValue(i64),
        /// Chosen by the caller, under this name.
        #[prost(string, tag = "2")]
        DimParam(String),
    }
}

impl ModelProto {
    /// The version of ONNX's own operator set, if the file names it.
    #[must_use]
    pub fn opset(&self) -> Option<i64> {
        let own = |set: &&OperatorSetIdProto| set.domain.is_empty() || set.domain == "ai.onnx";
        self.opset_import.iter().find(own).map(|set| set.version)
    }
}

impl NodeProto {
    /// The whole number of this name, if the node has one.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        self.setting(name, AttributeType::Int).map(|setting| setting.i)
    }

    /// The whole numbers of this name, if the node has some.
    #[must_use]
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.setting(name, AttributeType::Ints)
            .map(|setting| &setting.ints[..])
    }

    /// The text of this name, if the node has one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&[u8]> {
        self.setting(name, AttributeType::String)
            .map(|setting| &setting.s[..])
    }

    fn setting(&self, name: &str, kind: AttributeType) -> Option<&AttributeProto> {
        self.attribute
            .iter()
            .find(|setting| setting.name == name && setting.r#type == kind as i32)
    }
}

impl ValueInfoProto {
    /// The number type and the sizes, for a tensor whose sizes are said; `None` in place of a size that has no number.
    #[must_use]
    pub fn tensor(&self) -> Option<(i32, Vec<Option<i64>>)> {
        let type_proto::Value::TensorType(tensor) = self.r#type.as_ref()?.value.as_ref()?;
        let size = |dimension: &tensor_shape_proto::Dimension| match dimension.value {
            Some(tensor_shape_proto::Value::DimValue(size)) => Some(size),
            _ => None,
        };
        Some((
            tensor.elem_type,
            tensor.shape.as_ref()?.dim.iter().map(size).collect(),
        ))
    }
}

#[cfg(test)]
mod tests;
