//! An ONNX file for people: what it needs, takes, gives and is made of.

use std::collections::BTreeMap;

use prost::Message;

use super::{DataType, ModelProto, ValueInfoProto};

/// What a file is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Version of the file format.
    pub ir_version: i64,
    /// Operator sets by their domain.
    pub operator_sets: Vec<(String, i64)>,
    /// What wrote it.
    pub producer: String,
    /// Name, kind and shape of each input that is no weight.
    pub inputs: Vec<String>,
    /// Name, kind and shape of each output.
    pub outputs: Vec<String>,
    /// How often each operator is used, the most frequent first.
    pub operators: Vec<(String, usize)>,
    /// How many numbers the weights are.
    pub parameters: u64,
    /// Texts about the model.
    pub metadata: Vec<(String, String)>,
}

impl ModelProto {
    /// What the bytes of a file are like; `None` where they are no ONNX file.
    #[must_use]
    pub fn summary(bytes: &[u8]) -> Option<Summary> {
        let model = Self::decode(bytes).ok()?;
        let graph = model.graph.as_ref()?;
        let weight =
            |input: &&ValueInfoProto| graph.initializer.iter().any(|weight| weight.name == input.name);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for node in model.contents().nodes {
            *counts.entry(node.op_type.as_str()).or_default() += 1;
        }
        let mut operators: Vec<(String, usize)> = counts
            .into_iter()
            .map(|(operator, count)| (operator.to_owned(), count))
            .collect();
        operators.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let size = |sizes: &[i64]| {
            sizes.iter().fold(1_u64, |size, side| {
                size.saturating_mul(u64::try_from(*side).unwrap_or(0))
            })
        };
        Some(Summary {
            ir_version: model.ir_version,
            operator_sets: model
                .opset_import
                .iter()
                .map(|set| {
                    let domain = if set.domain.is_empty() {
                        "ai.onnx"
                    } else {
                        &set.domain
                    };
                    (domain.to_owned(), set.version)
                })
                .collect(),
            producer: format!("{} {}", model.producer_name, model.producer_version)
                .trim()
                .to_owned(),
            inputs: graph
                .input
                .iter()
                .filter(|input| !weight(input))
                .map(described)
                .collect(),
            outputs: graph.output.iter().map(described).collect(),
            operators,
            parameters: graph.initializer.iter().map(|weight| size(&weight.dims)).sum(),
            metadata: model
                .metadata_props
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.clone()))
                .collect(),
        })
    }
}

/// Such as `image float [batch, 1, 256, 192]`; a size without a number is `?`, the first the batch.
fn described(value: &ValueInfoProto) -> String {
    let Some((element, sizes)) = value.tensor() else {
        return value.name.clone();
    };
    let kind = DataType::try_from(element).map_or_else(
        |_| format!("kind {element}"),
        |kind| format!("{kind:?}").to_lowercase(),
    );
    let sizes: Vec<String> = sizes
        .iter()
        .enumerate()
        .map(|(place, size)| match (size, place) {
            (Some(size), _) => size.to_string(),
            (None, 0) => "batch".to_owned(),
            (None, _) => "?".to_owned(),
        })
        .collect();
    format!("{} {kind} [{}]", value.name, sizes.join(", "))
}
