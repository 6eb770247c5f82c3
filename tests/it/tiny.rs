//! A network small enough to be understood: it answers with the mean of its input, so that an answer tells whose image it was.
//!
//! `mean -> embedding (mean * feature_weights) -> logits = sum(embedding) * slope + intercept -> sigmoid`. Written by the project's own
//! ONNX types; the goldens are worked out from the formula, not by a runtime.

use std::collections::BTreeMap;
use std::path::Path;

use osteon::dicom::CodedValue;
use osteon::finding::{IntendedUse, Label, StudyRule, Task};
use osteon::image::preprocess::Preprocessing;
use osteon::model::onnx_format::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use osteon::model::package::{GOLDENS, MODEL};
use osteon::model::{Activation, GoldenCase, GoldenInput, Goldens, Head, ModelManifest, Package};
use prost::Message;

/// Rows and columns of its input.
pub(crate) const SIDE: usize = 16;
const PIXELS: usize = SIDE * SIDE;

/// Side of the matrices that cost time.
const LARGE: usize = 768;
/// What each feature of the embedding is of the mean.
const FEATURES: [f32; 3] = [0.5, 0.25, 0.25];

/// Inputs that are one grey all over, one after the other.
pub(crate) fn constant(greys: &[f32]) -> Vec<f32> {
    greys
        .iter()
        .flat_map(|grey| std::iter::repeat_n(*grey, PIXELS))
        .collect()
}

/// What a tiny model is like; [`Tiny::publish`] makes its package.
#[derive(Clone)]
pub(crate) struct Tiny {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    /// One label for each: its logit is `slope * mean + intercept`.
    pub(crate) labels: Vec<(&'static str, f32, f32)>,
    /// How many products of large matrices it computes on the way, for nothing but time: some 15 ms each.
    pub(crate) slow: usize,
}

impl Tiny {
    /// One label `bright`, whose logit is the mean of the input.
    pub(crate) fn new(name: &'static str, version: u32) -> Self {
        Self {
            name,
            version,
            labels: vec![("bright", 1.0, 0.0)],
            slow: 0,
        }
    }

    /// The network: `image [batch, 1, 16, 16]` to `embedding`, `logits` and `probabilities`.
    pub(crate) fn network(&self) -> ModelProto {
        let count = self.labels.len();
        let slopes: Vec<f32> = FEATURES
            .iter()
            .flat_map(|_| self.labels.iter().map(|(_, slope, _)| *slope))
            .collect();
        let intercepts: Vec<f32> = self.labels.iter().map(|(.., intercept)| *intercept).collect();
        let mut graph = GraphProto {
            name: "tiny".into(),
            node: vec![
                node("GlobalAveragePool", &["image"], "pooled", &[]),
                node("Flatten", &["pooled"], "mean", &[]),
                node("MatMul", &["mean", "features"], "embedding", &[]),
                node("Gemm", &["embedding", "slopes", "intercepts"], "logits", &[]),
                node("Sigmoid", &["logits"], "probabilities", &[]),
            ],
            initializer: vec![
                weights("features", &[1, FEATURES.len()], &FEATURES),
                weights("slopes", &[FEATURES.len(), count], &slopes),
                weights("intercepts", &[count], &intercepts),
            ],
            input: vec![value("image", &[1, SIDE, SIDE])],
            output: vec![
                value("probabilities", &[count]),
                value("logits", &[count]),
                value("embedding", &[FEATURES.len()]),
            ],
            ..GraphProto::default()
        };
        if self.slow > 0 {
            self.slow_down(&mut graph);
        }
        ModelProto {
            ir_version: 8,
            producer_name: "osteon tests".into(),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 17,
            }],
            ..ModelProto::default()
        }
    }

    /// Puts work between embedding and logits that adds zero.
    fn slow_down(&self, graph: &mut GraphProto) {
        let zeros = vec![0.0; LARGE * LARGE];
        graph.initializer.push(weights("zeros", &[LARGE, LARGE], &zeros));
        graph
            .initializer
            .push(weights("column", &[LARGE, 1], &zeros[..LARGE]));
        graph
            .initializer
            .push(weights("row", &[1, LARGE], &zeros[..LARGE]));
        let mut nodes = vec![
            // depends on the input, so that nothing of it is computed beforehand
            node("ReduceSum", &["embedding"], "sum", &[("keepdims", 1)]),
            node("Add", &["zeros", "sum"], "product-0", &[]),
        ];
        for index in 0..self.slow {
            let (from, to) = (format!("product-{index}"), format!("product-{}", index + 1));
            nodes.push(node("MatMul", &[&from, "zeros"], &to, &[]));
        }
        let last = format!("product-{}", self.slow);
        nodes.push(node("MatMul", &["row", &last], "as-row", &[]));
        nodes.push(node("MatMul", &["as-row", "column"], "nothing", &[]));
        nodes.push(node(
            "Add",
            &["embedding", "nothing"],
            "embedding-and-nothing",
            &[],
        ));
        let logits = graph.node.iter().position(|node| node.name == "logits").unwrap();
        graph.node[logits].input[0] = "embedding-and-nothing".into();
        graph.node.splice(logits..logits, nodes);
    }

    /// Its manifest; files and digests come with publication.
    pub(crate) fn manifest(&self) -> ModelManifest {
        let label = |name: &str| Label {
            name: name.to_owned(),
            code: CodedValue {
                scheme: "99TEST".into(),
                value: name.into(),
                meaning: name.into(),
            },
            threshold: Some(0.5),
            temperature: 1.0,
            operating_point: None,
            quantity: None,
        };
        ModelManifest {
            manifest_version: osteon::model::manifest::MANIFEST_VERSION,
            name: self.name.to_owned(),
            version: self.version,
            title: "The mean of an image".into(),
            notice: "For tests.".into(),
            licence: "Apache-2.0".into(),
            intended_use: IntendedUse {
                statement: "Tests.".into(),
                clinical: false,
                modalities: vec!["DX".into()],
                body_parts: vec!["LSPINE".into(), "122496007".into()],
                views: ["LL", "RL", "399067008"].map(String::from).to_vec(),
                age_years: [0, 120],
                laterality: vec![],
                image_size: None,
            },
            quality: None,
            distribution: None,
            study: StudyRule::default(),
            preprocessing: contract(),
            heads: vec![Head {
                name: "findings".into(),
                task: Task::Multilabel,
                labels: self.labels.iter().map(|(name, ..)| label(name)).collect(),
                scores: "probabilities".into(),
                activation: Activation::None,
                logits: Some("logits".into()),
                activation_map: None,
            }],
            embedding: Some("embedding".into()),
            reduced_precision: None,
            lineage: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// Goldens by the formula.
    pub(crate) fn goldens(&self) -> Goldens {
        let case = |value: f32| GoldenCase {
            name: format!("constant {value}"),
            input: GoldenInput::Constant { value },
            scores: self
                .labels
                .iter()
                .map(|(_, slope, intercept)| slope * value + intercept)
                .collect(),
        };
        Goldens {
            origin: "the formula of tests/it/tiny.rs".into(),
            tolerance: 1e-4,
            cases: vec![case(-0.5), case(0.25)],
        }
    }

    /// Writes the package into `models`, with `change` made to manifest and files before.
    pub(crate) fn publish_with(
        &self,
        models: &Path,
        change: impl FnOnce(&mut ModelManifest, &mut BTreeMap<String, Vec<u8>>),
    ) -> Package {
        let mut manifest = self.manifest();
        let mut files = BTreeMap::from([
            (MODEL.to_owned(), self.network().encode_to_vec()),
            (
                GOLDENS.to_owned(),
                serde_json::to_vec_pretty(&self.goldens()).unwrap(),
            ),
        ]);
        change(&mut manifest, &mut files);
        Package::publish(models, manifest, &files, true).unwrap()
    }

    /// Writes the package into `models`.
    pub(crate) fn publish(&self, models: &Path) -> Package {
        self.publish_with(models, |_, _| {})
    }
}

/// Grey values 0 to 1, the whole image stretched to 16 by 16.
fn contract() -> Preprocessing {
    serde_json::from_value(serde_json::json!({
        "version": 1, "voi": "file-or-percentiles", "percentiles": [0.5, 99.5], "crop_border": false,
        "rows": SIDE, "columns": SIDE, "fit": "stretch", "filter": "box", "channels": 1, "range": [0.0, 1.0],
        "mean": [0.0], "std": [1.0], "tensor": "image", "layout": "nchw"
    }))
    .unwrap()
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, i64)]) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        name: output.into(),
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        attribute: attributes
            .iter()
            .map(|&(name, i)| AttributeProto {
                name: name.into(),
                i,
                r#type: AttributeType::Int as i32,
                ..AttributeProto::default()
            })
            .collect(),
        ..NodeProto::default()
    }
}

fn weights(name: &str, sizes: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: sizes.iter().map(|&size| size as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// A tensor of any batch.
fn value(name: &str, sizes: &[usize]) -> ValueInfoProto {
    let batch = tensor_shape_proto::Value::DimParam("batch".into());
    let fixed = sizes
        .iter()
        .map(|&size| tensor_shape_proto::Value::DimValue(size as i64));
    let dim = std::iter::once(batch)
        .chain(fixed)
        .map(|value| tensor_shape_proto::Dimension { value: Some(value) })
        .collect();
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: DataType::Float as i32,
                shape: Some(TensorShapeProto { dim }),
            })),
        }),
    }
}
