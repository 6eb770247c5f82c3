//! How the memory that an engine may take of a GPU is shared out between its sessions.
//!
//! ONNX Runtime limits each session by itself (`gpu_mem_limit`, of the session's arena). An engine has one session for each batch size,
//! each with the weights once more, and what is computed between grows with the size.

/// What every session needs besides the weights, in images of its batch.
const BESIDES: u64 = 2;

/// The bytes that the session of each of `sizes` may take, so that all together take no more than `total`; `weights` are bytes, too.
///
/// # Errors
/// One sentence where the weights alone do not fit.
pub(super) fn shares(total: u64, weights: u64, sizes: &[usize]) -> Result<Vec<u64>, String> {
    let sessions = sizes.len() as u64;
    let all: u64 = sizes.iter().map(|size| *size as u64 + BESIDES).sum();
    let left = total.checked_sub(sessions * weights).filter(|left| *left > 0);
    let Some(left) = left else {
        return Err(format!(
            "its weights take {} MiB, once for each of {sessions} batch sizes, and what is computed between comes on top",
            (sessions * weights).div_ceil(1 << 20)
        ));
    };
    let of_size = |size: &usize| {
        let part = u128::from(left) * u128::from(*size as u64 + BESIDES) / u128::from(all.max(1));
        weights + part as u64
    };
    Ok(sizes.iter().map(of_size).collect())
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The memory that the session may take.
    Limit,
    /// That of the device, or of the machine.
    Memory,
}

/// Whether ONNX Runtime or CUDA complains that there is no memory: the arena has reached its limit, or the device its end.
pub(super) fn lack(cause: &str) -> Option<Lack> {
    if cause.contains("is smaller than requested bytes of") {
        return Some(Lack::Limit);
    }
    ["Failed to allocate memory", "out of memory", "bad_alloc"]
        .iter()
        .any(|words| cause.contains(words))
        .then_some(Lack::Memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

    #[test]
    fn sessions_together_take_no_more_than_the_engine_may() {
        let shares = shares(2048 * MIB, 45 * MIB, &SIZES).unwrap();
        let together: u64 = shares.iter().sum();
        assert!(together <= 2048 * MIB && together > 2047 * MIB, "{together}");
        assert!(shares.is_sorted());
        // each has its weights, and the largest nearly half of the rest
        assert!(shares.iter().all(|share| *share > 45 * MIB));
        assert_eq!(shares[5] / MIB, 45 + (2048 - 270) * 34 / 75);
    }

    #[test]
    fn weights_that_do_not_fit_are_said_with_what_is_needed() {
        let said = shares(270 * MIB, 45 * MIB, &SIZES).unwrap_err();
        assert!(said.contains("270 MiB, once for each of 6 batch sizes"), "{said}");
        assert!(shares(0, 0, &SIZES).is_err());
        assert!(shares(u64::MAX, 0, &SIZES).is_ok());
    }

    #[test]
    fn lack_of_memory_is_recognised_by_the_words_of_onnx_runtime_and_cuda() {
        for (said, lacks) in [
            (
                "bfc_arena.cc:376 AllocateRawInternal Available memory of 1048576 is smaller than requested bytes of 2097152",
                Some(Lack::Limit),
            ),
            (
                "bfc_arena.cc:359 AllocateRawInternal Failed to allocate memory for requested buffer of size 2097152",
                Some(Lack::Memory),
            ),
            ("CUDA failure 2: out of memory ; GPU=0", Some(Lack::Memory)),
            ("std::bad_alloc", Some(Lack::Memory)),
            ("CUDA failure 700: an illegal memory access was encountered", None),
        ] {
            assert_eq!(lack(said), lacks, "{said}");
        }
    }
}
