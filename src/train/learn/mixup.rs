//! Mixup (Zhang 2018, arXiv 1710.09412): images and targets of a batch, each blended with another one's.
//!
//! What is unknown of either is unknown of the blend.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

/// Blends every image with one drawn from the batch; the share comes from Beta(alpha, alpha), and is at least one half, so that an
/// image stays itself. `batch` is images and targets of `size` images, `alpha` is above 0 and at most 1.
pub(super) fn mix(batch: [&mut [f32]; 2], size: usize, alpha: f64, random: &mut impl Rng) {
    let share = beta(alpha, random);
    let share = share.max(1.0 - share) as f32;
    let mut others: Vec<usize> = (0..size).collect();
    others.shuffle(random);
    for values in batch {
        let width = values.len() / size.max(1);
        let before = values.to_vec();
        for (place, own) in values.chunks_exact_mut(width.max(1)).enumerate() {
            let other = &before[others[place] * width..(others[place] + 1) * width];
            for (value, other) in own.iter_mut().zip(other) {
                *value = share * *value + (1.0 - share) * other;
            }
        }
    }
}

/// One draw from Beta(alpha, alpha) (Johnk 1964), which is quick for `alpha` up to 1.
fn beta(alpha: f64, random: &mut impl Rng) -> f64 {
    loop {
        let [one, other] = [0; 2].map(|_| (1.0 - random.random::<f64>()).ln() / alpha);
        let (one, other) = (one.exp(), other.exp());
        if one + other <= 1.0 {
            // both may be too small to be told apart from 0
            return if one + other > 0.0 {
                one / (one + other)
            } else {
                1.0
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::data::augment::random_for;
    use super::*;

    #[test]
    fn draws_have_the_mean_and_variance_of_the_distribution() {
        for alpha in [0.2, 1.0] {
            let mut random = random_for(1, 0, 0);
            let draws: Vec<f64> = (0..20_000).map(|_| beta(alpha, &mut random)).collect();
            let mean = draws.iter().sum::<f64>() / 2e4;
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 2e4;
            // 1/2 and 1 / (4 (2 alpha + 1))
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!(
                (variance * 4.0 * (2.0 * alpha + 1.0) - 1.0).abs() < 0.03,
                "{alpha}: {variance}"
            );
        }
    }

    #[test]
    fn images_and_targets_are_blended_alike() {
        let (mut images, mut targets) = ([0.0, 0.0, 1.0, 1.0, 2.0, 2.0], [0.0, 1.0, 2.0]);
        mix([&mut images, &mut targets], 3, 1.0, &mut random_for(4, 0, 0));
        for (image, target) in images.chunks(2).zip(&targets) {
            assert_eq!(image[0], image[1]);
            assert!((image[0] - target).abs() < 1e-6);
        }
        assert!((targets.iter().sum::<f32>() - 3.0).abs() < 1e-6);
        let (mut images, mut targets) = ([0.0; 2], [f32::NAN, 1.0]);
        for seed in 0..9 {
            let batch: [&mut [f32]; 2] = [&mut images, &mut targets];
            mix(batch, 2, 1.0, &mut random_for(seed, 0, 0));
        }
        assert!(targets.iter().all(|target| target.is_nan()));
    }
}
