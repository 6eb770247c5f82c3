//! What the families' functions build with.

use super::super::graph::{GraphBuilder, NodeId, Part};
use super::super::layer::{Convolution, Layer, Window};

/// A network under construction, up to its features, and the settings that its layers ask for.
pub(super) struct Trunk {
    pub(super) builder: GraphBuilder,
    /// The last stage that is wanted.
    pub(super) stages: usize,
    pub(super) dropout: f64,
    /// Of the last residual branch.
    pub(super) stochastic_depth: f64,
    pub(super) hidden: usize,
}

impl Trunk {
    /// Begins a stage, unless the network is to end before it.
    pub(super) fn begin(&mut self, stage: usize) -> bool {
        let wanted = stage <= self.stages;
        if wanted {
            self.builder.begin(Part::Stage(stage));
        }
        wanted
    }

    pub(super) fn convolution(&mut self, name: &str, input: NodeId, convolution: Convolution) -> NodeId {
        self.builder.node(name, Layer::Convolution(convolution), &[input])
    }

    pub(super) fn max_pool(&mut self, name: impl Into<String>, input: NodeId, window: Window) -> NodeId {
        self.builder.node(name, Layer::MaxPool(window), &[input])
    }

    pub(super) fn dropout(&mut self, name: &str, input: NodeId) -> NodeId {
        match self.dropout {
            0.0 => input,
            probability => self.builder.node(name, Layer::Dropout { probability }, &[input]),
        }
    }

    /// Leaves out a residual branch now and then: the one at `place` of `branches`, seldomer the earlier it is, by the rate of
    /// Huang 2016. `last` is the place that has the whole rate.
    pub(super) fn stochastic_depth(
        &mut self,
        name: String,
        branch: NodeId,
        place: usize,
        last: usize,
    ) -> NodeId {
        let probability = self.stochastic_depth * place as f64 / last as f64;
        if probability == 0.0 {
            return branch;
        }
        self.builder
            .node(name, Layer::StochasticDepth { probability }, &[branch])
    }

    pub(super) fn add(&mut self, name: String, left: NodeId, right: NodeId) -> NodeId {
        self.builder.node(name, Layer::Add, &[left, right])
    }
}

/// A full convolution without bias.
pub(super) fn plain(output_channels: usize, window: Window) -> Convolution {
    Convolution {
        output_channels,
        window,
        groups: 1,
        bias: false,
    }
}

/// A full convolution with bias.
pub(super) fn biased(output_channels: usize, window: Window) -> Convolution {
    Convolution {
        bias: true,
        ..plain(output_channels, window)
    }
}

/// A convolution without bias for each of `channels` alone.
pub(super) fn depthwise(channels: usize, window: Window) -> Convolution {
    Convolution {
        groups: channels,
        ..plain(channels, window)
    }
}
