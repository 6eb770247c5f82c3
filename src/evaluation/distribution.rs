//! Quantiles of the distributions that intervals are made of: beta and Student's t.

/// The share of the beta distribution of `a` and `b`, both above 0, that is below `x`, from 0 to 1: the regularised incomplete beta function, by
/// its continued fraction (DLMF 8.17.22, evaluated as Lentz 1976 does).
#[must_use]
pub fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // beyond the mean the fraction converges slowly, and that of the other end does not
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let least = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / least(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..2000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / least(1.0 + term * d);
            c = least(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction / before - 1.0).abs() < 1e-15 {
            break;
        }
    }
    let scale = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p();
    (scale.exp() * fraction / a).clamp(0.0, 1.0)
}

/// Below which the `share` of the beta distribution of `a` and `b`, both above 0, is.
#[must_use]
pub fn beta_quantile(share: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if incomplete_beta(middle, a, b) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// What Student's t of `freedom` degrees of freedom, above 0 and not always whole, stays within on both sides with a probability of `coverage`.
#[must_use]
pub fn student(coverage: f64, freedom: f64) -> f64 {
    // from there on it is the normal distribution's to three digits
    let freedom = freedom.min(1e4);
    let x = beta_quantile(1.0 - coverage, freedom / 2.0, 0.5);
    (freedom * (1.0 - x) / x).sqrt()
}

/// The exact interval of a `share` of `cases` that are independent of each other (Clopper and Pearson 1934), whatever the true share is: of n of n
/// it begins where n in succession have half of what is left of `coverage`. Without cases it is all from 0 to 1.
#[must_use]
pub fn clopper_pearson(share: f64, cases: usize, coverage: f64) -> [f64; 2] {
    let (tail, count) = ((1.0 - coverage) / 2.0, cases as f64);
    let (hits, misses) = (share * count, (1.0 - share) * count);
    // rounding is no case
    let lower = (hits > 1e-9).then(|| beta_quantile(tail, hits, misses + 1.0));
    let upper = (misses > 1e-9).then(|| beta_quantile(1.0 - tail, hits + 1.0, misses));
    [lower.unwrap_or(0.0), upper.unwrap_or(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beta_distribution_is_scipys() {
        // SciPy 1.17.1: scipy.special.betainc(a, b, x)
        for (a, b, x, expected) in [
            (2.0, 3.0, 0.4, 0.5248),
            (0.5, 0.5, 0.2, 0.295_167_235_300_866_5),
            (30.0, 1.0, 0.9, 0.042_391_158_275_216_24),
            (150.0, 0.5, 0.97, 0.002_524_730_899_404_841),
        ] {
            let found = incomplete_beta(x, a, b);
            assert!((found - expected).abs() < 1e-12, "{a} {b} {x}: {found}");
            assert!((beta_quantile(expected, a, b) - x).abs() < 1e-10);
        }
    }

    #[test]
    fn students_t_is_scipys() {
        // SciPy 1.17.1: scipy.stats.t.ppf(0.975, freedom)
        for (freedom, expected) in [
            (1.0, 12.706_204_736_174_694),
            (2.0, 4.302_652_729_749_462),
            (2.7, 3.392_148_383_173_750_7),
            (4.0, 2.776_445_105_197_793_4),
            (30.0, 2.042_272_456_301_237_8),
        ] {
            assert!((student(0.95, freedom) - expected).abs() < 1e-9, "{freedom}");
        }
        assert!((student(0.95, 1e9) - 1.96).abs() < 5e-4);
    }

    #[test]
    fn exact_shares_are_scipys() {
        // SciPy 1.17.1: scipy.stats.beta.ppf(0.025, k, n - k + 1), scipy.stats.beta.ppf(0.975, k + 1, n - k)
        for (share, cases, expected) in [
            (1.0, 10, [0.691_502_892_181_239_2, 1.0]),
            (0.0, 25, [0.0, 0.137_185_171_530_712_5]),
            (0.9, 10, [0.554_983_882_971_804_7, 0.997_471_421_455_538_2]),
            (0.5, 10, [0.187_086_028_447_398_55, 0.812_913_971_552_601_5]),
        ] {
            let found = clopper_pearson(share, cases, 0.95);
            let near = |(found, expected): (&f64, &f64)| (found - expected).abs() < 1e-10;
            assert!(found.iter().zip(&expected).all(near), "{found:?}");
        }
        assert_eq!(clopper_pearson(1.0, 0, 0.95), [0.0, 1.0]);
    }
}
