//! Inception V3 (Szegedy 2016), without the auxiliary classifier.
//!
//! Stem: five convolutions and two poolings, an eighth of the input. Stage 1: `Mixed_5b` to `5d`. Stage 2: `Mixed_6a` to `6e`.
//! Stage 3: `Mixed_7a` to `7c`. Published weights want the display range brought to -1 to 1, which is mean and standard
//! deviation 0.5 in the preprocessing contract; torchvision's `transform_input` does the same to what was brought to
//! ImageNet's mean.

use super::super::graph::NodeId;
use super::super::layer::{Layer, Window};
use super::trunk::{Trunk, plain};
use super::{Family, same_everywhere};

const EPSILON: f64 = 1e-3;

/// 22 million parameters.
pub(super) static INCEPTION_V3: Family = Family {
    name: "inception_v3",
    title: "Inception V3 (Szegedy 2016)",
    stages: 3,
    dropout: 0.5,
    stochastic_depth: None,
    hidden: None,
    features,
    classifier: "fc",
    elsewhere: same_everywhere,
};

/// One convolution of a block: where its name ends, channels, window.
type Step = (&'static str, usize, Window);

const PIXEL: Window = window([1, 1], 1, [0, 0]);
const THREE: Window = window([3, 3], 1, [1, 1]);
const FIVE: Window = window([5, 5], 1, [2, 2]);
const HALVING: Window = window([3, 3], 2, [0, 0]);
const ROW3: Window = window([1, 3], 1, [0, 1]);
const COLUMN3: Window = window([3, 1], 1, [1, 0]);
const ROW7: Window = window([1, 7], 1, [0, 3]);
const COLUMN7: Window = window([7, 1], 1, [3, 0]);

const fn window(kernel: [usize; 2], stride: usize, padding: [usize; 2]) -> Window {
    Window {
        kernel,
        stride: [stride; 2],
        padding,
    }
}

fn features(trunk: &mut Trunk) -> NodeId {
    let valid = |stride| window([3, 3], stride, [0, 0]);
    let input = trunk.builder.input();
    let first = [
        ("Conv2d_1a_3x3", 32, valid(2)),
        ("Conv2d_2a_3x3", 32, valid(1)),
        ("Conv2d_2b_3x3", 64, THREE),
    ];
    let maps = chain(trunk, "", input, &first);
    let maps = trunk.max_pool("maxpool1", maps, HALVING);
    let second = [("Conv2d_3b_1x1", 80, PIXEL), ("Conv2d_4a_3x3", 192, valid(1))];
    let maps = chain(trunk, "", maps, &second);
    let mut features = trunk.max_pool("maxpool2", maps, HALVING);
    if !trunk.begin(1) {
        return features;
    }
    for (name, pooled) in [("Mixed_5b.", 32), ("Mixed_5c.", 64), ("Mixed_5d.", 64)] {
        features = block_5(trunk, name, features, pooled);
    }
    if !trunk.begin(2) {
        return features;
    }
    features = block_6a(trunk, "Mixed_6a.", features);
    for (name, inside) in [
        ("Mixed_6b.", 128),
        ("Mixed_6c.", 160),
        ("Mixed_6d.", 160),
        ("Mixed_6e.", 192),
    ] {
        features = block_6(trunk, name, features, inside);
    }
    if !trunk.begin(3) {
        return features;
    }
    features = block_7a(trunk, "Mixed_7a.", features);
    for name in ["Mixed_7b.", "Mixed_7c."] {
        features = block_7(trunk, name, features);
    }
    features
}

/// Convolutions behind one another, each with norm and rectifier.
fn chain(trunk: &mut Trunk, block: &str, input: NodeId, steps: &[Step]) -> NodeId {
    steps.iter().fold(input, |maps, (name, channels, window)| {
        let name = format!("{block}{name}");
        let maps = trunk.convolution(&format!("{name}.conv"), maps, plain(*channels, *window));
        let maps = trunk
            .builder
            .batch_norm(&format!("{name}.bn"), maps, EPSILON, 1.0);
        trunk.builder.relu(format!("{name}.relu"), maps)
    })
}

/// A 3x3 mean that counts its padding, then a 1x1 convolution.
fn pooled(trunk: &mut Trunk, block: &str, input: NodeId, channels: usize) -> NodeId {
    let pool = Layer::AveragePool {
        window: THREE,
        padding_counts: true,
    };
    let means = trunk
        .builder
        .node(format!("{block}branch_pool.pool"), pool, &[input]);
    chain(trunk, block, means, &[("branch_pool", channels, PIXEL)])
}

fn concatenated(trunk: &mut Trunk, name: String, branches: &[NodeId]) -> NodeId {
    trunk.builder.node(name, Layer::Concatenate, branches)
}

fn block_5(trunk: &mut Trunk, block: &str, input: NodeId, pool_channels: usize) -> NodeId {
    let double = [
        ("branch3x3dbl_1", 64, PIXEL),
        ("branch3x3dbl_2", 96, THREE),
        ("branch3x3dbl_3", 96, THREE),
    ];
    let branches = [
        chain(trunk, block, input, &[("branch1x1", 64, PIXEL)]),
        chain(
            trunk,
            block,
            input,
            &[("branch5x5_1", 48, PIXEL), ("branch5x5_2", 64, FIVE)],
        ),
        chain(trunk, block, input, &double),
        pooled(trunk, block, input, pool_channels),
    ];
    concatenated(trunk, format!("{block}concatenate"), &branches)
}

fn block_6a(trunk: &mut Trunk, block: &str, input: NodeId) -> NodeId {
    let double = [
        ("branch3x3dbl_1", 64, PIXEL),
        ("branch3x3dbl_2", 96, THREE),
        ("branch3x3dbl_3", 96, HALVING),
    ];
    let branches = [
        chain(trunk, block, input, &[("branch3x3", 384, HALVING)]),
        chain(trunk, block, input, &double),
        trunk.max_pool(format!("{block}branch_pool"), input, HALVING),
    ];
    concatenated(trunk, format!("{block}concatenate"), &branches)
}

fn block_6(trunk: &mut Trunk, block: &str, input: NodeId, inside: usize) -> NodeId {
    let single = [
        ("branch7x7_1", inside, PIXEL),
        ("branch7x7_2", inside, ROW7),
        ("branch7x7_3", 192, COLUMN7),
    ];
    let double = [
        ("branch7x7dbl_1", inside, PIXEL),
        ("branch7x7dbl_2", inside, COLUMN7),
        ("branch7x7dbl_3", inside, ROW7),
        ("branch7x7dbl_4", inside, COLUMN7),
        ("branch7x7dbl_5", 192, ROW7),
    ];
    let branches = [
        chain(trunk, block, input, &[("branch1x1", 192, PIXEL)]),
        chain(trunk, block, input, &single),
        chain(trunk, block, input, &double),
        pooled(trunk, block, input, 192),
    ];
    concatenated(trunk, format!("{block}concatenate"), &branches)
}

fn block_7a(trunk: &mut Trunk, block: &str, input: NodeId) -> NodeId {
    let single = [("branch3x3_1", 192, PIXEL), ("branch3x3_2", 320, HALVING)];
    let long = [
        ("branch7x7x3_1", 192, PIXEL),
        ("branch7x7x3_2", 192, ROW7),
        ("branch7x7x3_3", 192, COLUMN7),
        ("branch7x7x3_4", 192, HALVING),
    ];
    let branches = [
        chain(trunk, block, input, &single),
        chain(trunk, block, input, &long),
        trunk.max_pool(format!("{block}branch_pool"), input, HALVING),
    ];
    concatenated(trunk, format!("{block}concatenate"), &branches)
}

fn block_7(trunk: &mut Trunk, block: &str, input: NodeId) -> NodeId {
    let single = chain(trunk, block, input, &[("branch3x3_1", 384, PIXEL)]);
    let double = [("branch3x3dbl_1", 448, PIXEL), ("branch3x3dbl_2", 384, THREE)];
    let double = chain(trunk, block, input, &double);
    // both branches end in a row and a column beside one another
    let crossed = |trunk: &mut Trunk, maps: NodeId, row: Step, column: Step, name: &str| {
        let both = [
            chain(trunk, block, maps, &[row]),
            chain(trunk, block, maps, &[column]),
        ];
        concatenated(trunk, format!("{block}{name}.concatenate"), &both)
    };
    let (row, column) = (("branch3x3_2a", 384, ROW3), ("branch3x3_2b", 384, COLUMN3));
    let single = crossed(trunk, single, row, column, "branch3x3");
    let (row, column) = (("branch3x3dbl_3a", 384, ROW3), ("branch3x3dbl_3b", 384, COLUMN3));
    let double = crossed(trunk, double, row, column, "branch3x3dbl");
    let branches = [
        chain(trunk, block, input, &[("branch1x1", 320, PIXEL)]),
        single,
        double,
        pooled(trunk, block, input, 192),
    ];
    concatenated(trunk, format!("{block}concatenate"), &branches)
}
