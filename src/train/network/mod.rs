//! A network is a value: a graph of typed layers, built by one function per architecture.
//!
//! Nothing here computes with pixels. The same [`Graph`] is interpreted by libtorch in training, printed as ONNX in
//! export and tabulated by [`describe`](describe::describe), so whatever trains can be exported.

pub mod architecture;
pub mod checkpoint;
pub mod describe;
pub mod families;
pub mod graph;
pub mod head;
pub mod initial;
pub mod layer;
pub mod residual;
pub mod shape;
pub mod transfer;
pub mod weights;

pub use architecture::Architecture;
pub use checkpoint::{Checkpoint, CheckpointError};
pub use families::{FAMILIES, Family, Published};
pub use graph::{Graph, GraphBuilder, Node, NodeId, Output, Part};
pub use head::{LABEL_MAP, Pooling};
pub use initial::initial_weights;
pub use layer::{Convolution, Layer, Parameter, Role, Variance, Window};
pub use residual::Residual;
pub use shape::{GraphError, Shape, Shapes};
pub use transfer::{Matching, Report, Selection, TransferError, transfer};
pub use weights::{TensorF32, Weights, WeightsError};
