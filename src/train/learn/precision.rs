//! In how many bits a training multiplies.

use serde::{Deserialize, Serialize};

use crate::runtime::Device;

/// How convolutions and matrices are multiplied in training steps. Weights, optimizer, statistics and loss have 32 bits always, and so
/// have all answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    Float32,
    /// 16 bits with the exponent of 32 (bfloat16): products are added up in 32 bits, so no loss has to be scaled.
    Bfloat16,
}

impl Precision {
    /// Whether a device multiplies so by itself; emulated, it would be slower than 32 bits.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub fn check(self, device: Device) -> Result<(), String> {
        match (self, device) {
            (Self::Float32, _) | (Self::Bfloat16, Device::Cuda(_)) => Ok(()),
            (Self::Bfloat16, Device::Cpu) if multiplies_bfloat16() => Ok(()),
            (Self::Bfloat16, Device::Cpu) => Err(
                "bfloat16 needs a processor with AVX512-BF16 or AMX (ARM: BF16), or a GPU; this one has neither: float32 is right here"
                    .to_owned(),
            ),
        }
    }
}

fn multiplies_bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_runs_everywhere_and_a_refusal_says_what_is_right() {
        assert_eq!(Precision::default().check(Device::Cpu), Ok(()));
        assert_eq!(Precision::Bfloat16.check(Device::Cuda(0)), Ok(()));
        match Precision::Bfloat16.check(Device::Cpu) {
            Ok(()) => assert!(multiplies_bfloat16()),
            Err(problem) => assert!(!multiplies_bfloat16() && problem.contains("float32"), "{problem}"),
        }
    }
}
