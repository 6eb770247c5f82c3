//! The weights that training from scratch starts from.
//!
//! He initialisation (He 2015): kernels are normal with variance `2 / fan_in`. Each parameter has a random source of
//! its own, from the seed and its name, so adding a layer changes no other parameter.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::graph::Graph;
use super::layer::Role;
use super::shape::GraphError;
use super::weights::{TensorF32, Weights};

/// Fresh weights for `graph`; one seed gives the same weights on every machine.
pub fn initial_weights(graph: &Graph, seed: u64) -> Result<Weights, GraphError> {
    let shapes = graph.shapes()?;
    let mut weights = Weights::default();
    for (name, parameter) in shapes.parameters(graph) {
        let values = match parameter.role {
            Role::Kernel { fan_in } => {
                let digest = Sha256::new()
                    .chain_update(seed.to_le_bytes())
                    .chain_update(&name)
                    .finalize();
                let mut random = ChaCha8Rng::from_seed(digest.into());
                let deviation = (2.0 / fan_in as f64).sqrt();
                (0..parameter.count())
                    .map(|_| (deviation * normal(&mut random)) as f32)
                    .collect()
            }
            Role::Vector | Role::Statistic | Role::Constant => vec![parameter.initial; parameter.count()],
        };
        weights.tensors.insert(
            name,
            TensorF32 {
                shape: parameter.shape,
                values,
            },
        );
    }
    Ok(weights)
}

/// One draw from the standard normal distribution (Box and Muller 1958).
fn normal(random: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::network::Residual;

    #[test]
    fn kernels_have_the_variance_of_he_and_weights_fit_the_graph() {
        let graph = Residual::default().graph("image", 2).unwrap();
        let weights = initial_weights(&graph, 1).unwrap();
        weights.check(&graph).unwrap();
        let kernel = &weights.get("stage2.block1.convolution2.weight").unwrap();
        let variance =
            kernel.values.iter().map(|value| value * value).sum::<f32>() / kernel.values.len() as f32;
        let expected = 2.0 / (9.0 * kernel.shape[1] as f32);
        assert!((variance / expected - 1.0).abs() < 0.03, "{variance} {expected}");
        assert_eq!(weights, initial_weights(&graph, 1).unwrap());
        assert_ne!(weights, initial_weights(&graph, 2).unwrap());
    }
}
