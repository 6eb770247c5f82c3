//! Published networks, each under the names that its own package gives to its parameters.
//!
//! The names are torchvision's, and timm's for Xception, so weights from there load by name. What a family's own package
//! puts behind its last features is here: the head of [`super::head`], into which the family's last matrix fits as a 1x1
//! convolution; with average pooling over the whole map its logits are those of the package.

mod alexnet;
mod convnext;
mod densenet;
mod efficientnet;
mod inception;
mod resnet;
mod settings;
mod trunk;
mod vgg;
mod xception;

pub use settings::Published;
use trunk::Trunk;

use super::graph::NodeId;

/// What is fixed about a published network.
pub struct Family {
    /// As recipes name it.
    pub name: &'static str,
    /// Its name and where it was published.
    pub title: &'static str,
    /// Stages that it can be cut after; with all of them it is the network as published.
    pub stages: usize,
    /// Share of features that it leaves out in training.
    dropout: f64,
    /// Share of images for which it leaves out its last residual branch in training; earlier branches less.
    stochastic_depth: Option<f64>,
    /// Channels of the two layers before the last, where it has them.
    hidden: Option<usize>,
    /// Appends stem and stages, and gives the features.
    features: fn(&mut Trunk) -> NodeId,
    /// The layer that its own package makes logits with.
    pub(super) classifier: &'static str,
    /// What its own package calls a tensor that another one calls by the given name.
    pub(super) elsewhere: fn(&str) -> Option<String>,
}

/// Names are unique.
impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// Every published network.
pub static FAMILIES: [&Family; 10] = [
    &resnet::RESNET18,
    &resnet::RESNET34,
    &resnet::RESNET50,
    &densenet::DENSENET121,
    &convnext::CONVNEXT_TINY,
    &efficientnet::EFFICIENTNET_B0,
    &vgg::VGG16,
    &inception::INCEPTION_V3,
    &xception::XCEPTION,
    &alexnet::ALEXNET,
];

/// The packages that this family's weights come from call its tensors alike.
fn same_everywhere(_: &str) -> Option<String> {
    None
}

#[cfg(test)]
mod tests;
