//! Numbers in fewer bits than in training, and what that was allowed to cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a manifest says of numbers in fewer bits; absent where they are 32-bit floats, as trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReducedPrecision {
    /// How they are kept.
    pub format: NumberFormat,
    /// The most by which the AUROC of a finding, class or grade, or R squared of a number, may move.
    pub area: f64,
    /// The most by which the expected calibration error, over ten bins, may rise.
    pub calibration_error: f64,
    /// On how many images of held-out patients both were seen to hold.
    pub images: usize,
    /// The share of decisions on them that are other than those of the network as trained, 0 to 1.
    pub decisions_changed: f64,
}

/// How numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NumberFormat {
    /// Matrices as 16-bit floats (IEEE 754 binary16); computed in 32 bits, and in 16 on GPUs.
    Fp16,
    /// Convolutions between whole numbers: 7 bits in kernels, 8 between layers; what stands behind the features are 32-bit floats.
    Int8,
}

impl NumberFormat {
    /// The widest bounds that a package may name, which are those of `osteon-train export`: of the area, and of the calibration error.
    #[must_use]
    pub fn bounds(self) -> [f64; 2] {
        match self {
            Self::Fp16 => [0.002, 0.01],
            Self::Int8 => [0.005, 0.01],
        }
    }

    /// As manifests and commands write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }
}

impl ReducedPrecision {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        let [area, calibration] = self.format.bounds();
        let name = self.format.name();
        for (field, value, most) in [
            ("area", self.area, area),
            ("calibration_error", self.calibration_error, calibration),
            ("decisions_changed", self.decisions_changed, 1.0),
        ] {
            if !(0.0..=most).contains(&value) {
                return Err(format!(
                    "reduced_precision.{field} must be 0 to {most} for {name}"
                ));
            }
        }
        if self.images == 0 {
            return Err(
                "reduced_precision.images must be 1 or more: bounds that nothing was tried on say nothing"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_wider_than_what_was_proven_are_refused() {
        let good = ReducedPrecision {
            format: NumberFormat::Fp16,
            area: 0.002,
            calibration_error: 0.01,
            images: 40,
            decisions_changed: 0.025,
        };
        assert_eq!(good.check(), Ok(()));
        let said = |changed: ReducedPrecision| changed.check().unwrap_err();
        assert!(said(ReducedPrecision { area: 0.0021, ..good }).contains("area must be 0 to 0.002"));
        let wide = ReducedPrecision {
            calibration_error: f64::NAN,
            ..good
        };
        assert!(said(wide).contains("calibration_error"));
        assert!(
            said(ReducedPrecision {
                decisions_changed: 1.5,
                ..good
            })
            .contains("decisions_changed")
        );
        assert!(said(ReducedPrecision { images: 0, ..good }).contains("images"));
    }
}
