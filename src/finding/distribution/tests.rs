//! Of [`super`].

use super::*;

fn statistics(precision: Precision) -> EmbeddingStatistics {
    EmbeddingStatistics {
        origin: "made up".into(),
        means: vec![vec![1.0, -2.0, 0.5], vec![10.0, 10.0, 10.0]],
        precision,
        limit: 3.0,
    }
}

/// The covariance `[[2, 0.6, 0.2], [0.6, 1, 0.3], [0.2, 0.3, 0.5]]` has the inverse
/// `[[205/336, -5/14, -5/168], [-5/14, 10/7, -5/7], [-5/168, -5/7, 205/84]]`, worked out in fractions; this is its factor, and
/// `[1, 1, 0.5]` then has the squared length 25/21, and `[1, -1, 0.5]` 85/21.
fn dependent() -> Precision {
    Precision::Cholesky(vec![
        0.781_101_176_301_154_7,
        -0.457_229_956_859_212_5,
        1.104_315_260_748_465_4,
        -0.038_102_496_404_934_38,
        -0.662_589_156_449_079_2,
        std::f64::consts::SQRT_2,
    ])
}

#[test]
fn the_distance_is_that_of_the_textbook() {
    let dependent = statistics(dependent());
    for (features, squared) in [([2.0, -1.0, 1.0], 25.0_f64), ([2.0, -3.0, 1.0], 85.0)] {
        let near = dependent.distance(&features).unwrap();
        assert!((near - (squared / 21.0).sqrt()).abs() < 1e-12, "{near}");
    }
    let variances = statistics(Precision::Variances(vec![4.0, 1.0, 0.25]));
    let near = variances.distance(&[3.0, -2.0, 1.0]).unwrap();
    assert!((near - 2.0_f64.sqrt()).abs() < 1e-12, "{near}");
    assert_eq!(
        variances.distance(&[10.0, 10.0, 10.0]),
        Ok(0.0),
        "the nearest mean counts"
    );
}

#[test]
fn what_is_beyond_the_limit_is_refused_and_the_distance_is_said_either_way() {
    let statistics = statistics(Precision::Variances(vec![1.0; 3]));
    let none = Overrides::default();
    let (check, refusal) = statistics.judge(&[1.0, -2.0, 3.5], &none).unwrap();
    assert_eq!((check.status, check.distance, refusal), (Verdict::Met, 3.0, None));
    let far = [1.0, -2.0, 4.5];
    let (check, refusal) = statistics.judge(&far, &none).unwrap();
    assert_eq!((check.status, check.distance), (Verdict::Refused, 4.0));
    let refusal = refusal.unwrap();
    assert_eq!(refusal.code, "out-of-distribution");
    assert!(refusal.message.contains("4.00") && refusal.message.contains("3.00"));
    let (check, refusal) = statistics.judge(&far, &"distribution".parse().unwrap()).unwrap();
    assert_eq!((check.status, refusal), (Verdict::Overridden, None));
}

#[test]
fn what_is_no_number_is_no_distance() {
    for precision in [dependent(), Precision::Variances(vec![1.0; 3])] {
        let statistics = statistics(precision);
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(statistics.distance(&[0.0, odd, 0.0]), Err(NoDistance::NotFinite));
            assert_eq!(finite(&[0.0, odd]), Err(NoDistance::NotFinite));
        }
        assert!(matches!(
            statistics.distance(&[0.0]),
            Err(NoDistance::Width {
                found: 1,
                expected: 3
            })
        ));
    }
}

#[test]
fn statistics_that_do_not_fit_together_are_named() {
    let good = statistics(dependent());
    assert_eq!(good.check(), Ok(()));
    let said = |change: &dyn Fn(&mut EmbeddingStatistics)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.check().unwrap_err()
    };
    assert!(said(&|s| s.means.clear()).contains("means"));
    assert!(said(&|s| s.means[1].push(0.0)).contains("same number"));
    assert!(said(&|s| s.means[0][1] = f64::NAN).contains("finite"));
    assert!(said(&|s| s.precision = Precision::Cholesky(vec![1.0; 5])).contains("need 6"));
    assert!(said(&|s| s.precision = Precision::Variances(vec![1.0, 0.0, 1.0])).contains("diagonal"));
    assert!(
        said(&|s| s.precision = Precision::Cholesky(vec![1.0, 5.0, -1.0, 5.0, 5.0, 1.0]))
            .contains("diagonal")
    );
    assert!(said(&|s| s.limit = 0.0).contains("limit"));
    assert!(said(&|s| s.limit = f64::INFINITY).contains("limit"));
}
