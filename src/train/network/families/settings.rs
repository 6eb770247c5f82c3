//! What a recipe can say about a published network.

use serde::{Deserialize, Serialize};

use super::super::graph::{Graph, GraphBuilder};
use super::super::head::{Head, Pooling};
use super::super::shape::GraphError;
use super::Family;
use super::trunk::Trunk;

/// The sizes of a published network; what is left out is as published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Published {
    /// 1 for grey, 3 for grey replicated to weights from elsewhere.
    pub channels: usize,
    /// Rows of the input.
    pub rows: usize,
    /// Columns of the input.
    pub columns: usize,
    /// The last stage that is kept; the head stands on its features. None keeps all.
    pub stages: Option<usize>,
    /// Between the label maps and the logits.
    pub pooling: Pooling,
    /// Share of features left out in training.
    pub dropout: Option<f64>,
    /// Share of images for which the last residual branch is left out in training; the first loses none, those between
    /// accordingly. Only for networks that were published with it.
    pub stochastic_depth: Option<f64>,
    /// Channels of the two layers before the last. Only for networks that were published with them.
    pub hidden: Option<usize>,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            channels: 1,
            rows: 224,
            columns: 224,
            stages: None,
            pooling: Pooling::Average,
            dropout: None,
            stochastic_depth: None,
            hidden: None,
        }
    }
}

impl Published {
    /// The network of `family` for `labels` labels, with its input tensor called `input_name`.
    pub fn graph(&self, family: &Family, input_name: &str, labels: usize) -> Result<Graph, GraphError> {
        self.check(family)?;
        let stages = self.stages.unwrap_or(family.stages);
        let dropout = self.dropout.unwrap_or(family.dropout);
        let mut trunk = Trunk {
            builder: GraphBuilder::new(family.name, input_name, [self.channels, self.rows, self.columns]),
            stages,
            dropout,
            stochastic_depth: self.stochastic_depth.or(family.stochastic_depth).unwrap_or(0.0),
            hidden: self.hidden.or(family.hidden).unwrap_or(0),
        };
        let features = (family.features)(&mut trunk);
        let hidden_layers_drop = family.hidden.is_some() && stages == family.stages;
        let head = Head {
            labels,
            pooling: self.pooling,
            dropout: if hidden_layers_drop { 0.0 } else { dropout },
        };
        head.append(&mut trunk.builder, features);
        trunk.builder.finish()
    }

    fn check(&self, family: &Family) -> Result<(), GraphError> {
        let refuse = |setting, problem| Err(GraphError::Setting { setting, problem });
        let (name, last) = (family.name, family.stages);
        if let Some(stages) = self.stages.filter(|stages| !(1..=last).contains(stages)) {
            return refuse("stages", format!("{stages}; {name} has stages 1 to {last}"));
        }
        if self.stochastic_depth.is_some() && family.stochastic_depth.is_none() {
            return refuse("stochastic_depth", format!("{name} has none; leave it out"));
        }
        if self.hidden.is_some()
            && (family.hidden.is_none() || self.stages.is_some_and(|stages| stages < last))
        {
            return refuse(
                "hidden",
                format!("these stages of {name} have none; leave it out"),
            );
        }
        Ok(())
    }
}
