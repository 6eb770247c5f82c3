//! What numbers say of one more of their kind: split conformal prediction (Vovk, Gammerman and Shafer 2005).
//!
//! Of n numbers and one more each is as likely to be the largest. So the number that a share of the n does not exceed is exceeded by new
//! ones more often than that share says, the more so the fewer they are.

/// Which one of `cases` ascending numbers, counted from 1, is no smaller than a new number of their kind with a probability of `share` or
/// more. Beyond `cases` where these are too few for that.
#[must_use]
pub fn rank_for(share: f64, cases: usize) -> usize {
    // 0.9 of 10 is 9, whatever the product rounds to
    (share * (cases + 1) as f64 - 1e-9).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_is_that_of_one_case_more() {
        // ceil(share (n + 1))
        for (share, cases, rank) in [
            (0.99, 99, 99),
            (0.99, 98, 99),
            (0.99, 200, 199),
            (0.9, 9, 9),
            (0.9, 20, 19),
            (1.0, 5, 6),
        ] {
            assert_eq!(rank_for(share, cases), rank, "{share} of {cases}");
        }
    }
}
