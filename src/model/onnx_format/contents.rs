//! Every tensor and every node of a file, wherever it hides: in branches, functions, attributes, sparse tensors and what is
//! said of training.

use super::{
    AttributeProto, DataLocation, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
};

/// What is anywhere in a file.
#[derive(Debug, Default)]
pub struct Contents<'a> {
    /// Every tensor.
    pub tensors: Vec<&'a TensorProto>,
    /// Every node.
    pub nodes: Vec<&'a NodeProto>,
}

impl ModelProto {
    /// Everything in the file. How deep graphs nest is bounded by reading, which gives up at a hundred messages inside each
    /// other.
    #[must_use]
    pub fn contents(&self) -> Contents<'_> {
        let mut contents = Contents::default();
        if let Some(graph) = &self.graph {
            contents.graph(graph);
        }
        for training in &self.training_info {
            for graph in [&training.initialization, &training.algorithm]
                .into_iter()
                .flatten()
            {
                contents.graph(graph);
            }
        }
        for function in &self.functions {
            contents.nodes(&function.node);
            contents.attributes(&function.attribute_proto);
        }
        contents
    }

    /// The first tensor whose values lie in another file.
    #[must_use]
    pub fn external_tensor(&self) -> Option<&TensorProto> {
        // whatever is not said to be in this file is outside: ONNX Runtime knows places that the format does not name
        self.contents().tensors.into_iter().find(|tensor| {
            tensor.data_location != DataLocation::Default as i32 || !tensor.external_data.is_empty()
        })
    }
}

impl<'a> Contents<'a> {
    fn graph(&mut self, graph: &'a GraphProto) {
        self.tensors.extend(&graph.initializer);
        self.sparse(&graph.sparse_initializer);
        self.nodes(&graph.node);
    }

    fn nodes(&mut self, nodes: &'a [NodeProto]) {
        for node in nodes {
            self.nodes.push(node);
            self.attributes(&node.attribute);
        }
    }

    fn attributes(&mut self, attributes: &'a [AttributeProto]) {
        for attribute in attributes {
            self.tensors.extend(attribute.t.iter().chain(&attribute.tensors));
            self.sparse(attribute.sparse_tensor.as_slice());
            self.sparse(&attribute.sparse_tensors);
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                self.graph(graph);
            }
        }
    }

    fn sparse(&mut self, tensors: &'a [SparseTensorProto]) {
        for tensor in tensors {
            self.tensors
                .extend(tensor.values.iter().chain(tensor.indices.iter()));
        }
    }
}
