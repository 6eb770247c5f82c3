//! A network is a value: a graph of typed layers, built by one function per architecture.
//!
//! Nothing here computes with pixels. The same [`Graph`] is interpreted by libtorch in training, printed as ONNX in
//! export and tabulated by [`describe`](describe::describe), so whatever trains can be exported.

pub mod describe;
pub mod graph;
pub mod initial;
pub mod layer;
pub mod residual;
pub mod shape;
pub mod weights;

pub use graph::{Graph, GraphBuilder, Node, NodeId, Output};
pub use initial::initial_weights;
pub use layer::{Convolution, Layer, Parameter, Role, Window};
pub use residual::{Pooling, Residual};
pub use shape::{GraphError, Shape, Shapes};
pub use weights::{TensorF32, Weights, WeightsError};
