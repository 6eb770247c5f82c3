//! How good an image has to be to be scored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Gate, Overrides, Verdict, Violation};
use crate::fault::Fault;
use crate::image::Quality;

/// The limits of a model. Each is a share, 0 to 1, measured as [`Quality`] says; one that a manifest leaves out has its default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QualityLimits {
    /// Most pixels of the field without a grey of their own. A half: beside a hand or a head there is much that is rightly black.
    pub saturated_at_most: f32,
    /// Least part of black to white that the middle 90 % of the pixels span. A tenth: noise alone, seen at a network's
    /// resolution, has less.
    pub contrast_at_least: f32,
    /// Least part of the image's area that is no flat border. A tenth: less is a spot in a black picture.
    pub field_at_least: f32,
}

impl Default for QualityLimits {
    fn default() -> Self {
        Self {
            saturated_at_most: 0.5,
            contrast_at_least: 0.1,
            field_at_least: 0.1,
        }
    }
}

/// What was measured of an image, and whether that was good enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityCheck {
    /// Whether it was.
    pub status: Verdict,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Quality,
    /// What was not good enough.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub violations: Vec<Violation>,
}

impl QualityLimits {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        for (field, share) in [
            ("saturated_at_most", self.saturated_at_most),
            ("contrast_at_least", self.contrast_at_least),
            ("field_at_least", self.field_at_least),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("quality.{field} must be a share, 0 to 1"));
            }
        }
        Ok(())
    }

    /// The check as an answer says it, and the refusal where the image may not go on.
    #[must_use]
    pub fn judge(&self, measured: Quality, overrides: &Overrides) -> (QualityCheck, Option<Fault>) {
        let violations = self.violations(&measured);
        let (status, refusal) = match overrides.judge(Gate::Quality, &violations) {
            Ok(status) => (status, None),
            Err(fault) => (Verdict::Refused, Some(fault)),
        };
        let check = QualityCheck {
            status,
            measured,
            violations,
        };
        (check, refusal)
    }

    fn violations(&self, measured: &Quality) -> Vec<Violation> {
        let percent = |share: f32| f64::from(share) * 100.0;
        let mut violations = Vec::new();
        let mut violated = |holds: bool, code: &str, message: String| {
            if !holds {
                violations.push(Violation {
                    code: code.to_owned(),
                    message,
                });
            }
        };
        // written so that what is no number does not hold
        violated(
            measured.saturated <= self.saturated_at_most,
            "image-saturated",
            format!(
                "{:.1} % of the pixels are at an end of the grey scale; the model takes at most {:.1} %",
                percent(measured.saturated),
                percent(self.saturated_at_most)
            ),
        );
        violated(
            measured.contrast >= self.contrast_at_least,
            "image-empty",
            format!(
                "the picture spans {:.1} % of black to white; the model takes at least {:.1} %",
                percent(measured.contrast),
                percent(self.contrast_at_least)
            ),
        );
        violated(
            measured.field >= self.field_at_least,
            "image-cropped",
            format!(
                "the exposed field is {:.1} % of the image; the model takes at least {:.1} %",
                percent(measured.field),
                percent(self.field_at_least)
            ),
        );
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Quality = Quality {
        saturated: 0.2,
        contrast: 0.6,
        field: 0.8,
        grey: 0.4,
    };

    #[test]
    fn each_limit_refuses_with_what_was_measured_and_what_is_allowed() {
        let limits = QualityLimits::default();
        let none = Overrides::default();
        let judged = |measured| limits.judge(measured, &none);
        let (check, refusal) = judged(GOOD);
        assert_eq!((check.status, refusal), (Verdict::Met, None));
        let cases = [
            (
                Quality {
                    saturated: 0.51,
                    ..GOOD
                },
                "image-saturated",
                ["51.0 %", "50.0 %"],
            ),
            (
                Quality {
                    contrast: 0.04,
                    ..GOOD
                },
                "image-empty",
                ["4.0 %", "10.0 %"],
            ),
            (
                Quality { field: 0.05, ..GOOD },
                "image-cropped",
                ["5.0 %", "10.0 %"],
            ),
        ];
        for (measured, code, said) in cases {
            let (check, refusal) = judged(measured);
            let refusal = refusal.unwrap();
            assert_eq!((refusal.code, check.status), (code, Verdict::Refused));
            assert!(
                said.iter().all(|said| refusal.message.contains(said)),
                "{refusal}"
            );
            let (check, refusal) = limits.judge(measured, &"quality".parse().unwrap());
            assert_eq!((check.status, refusal), (Verdict::Overridden, None));
            assert_eq!(check.violations[0].code, code);
        }
        let nan = Quality {
            saturated: f32::NAN,
            ..GOOD
        };
        assert!(judged(nan).1.is_some());
    }

    #[test]
    fn a_block_may_be_empty_and_has_to_hold_shares() {
        let limits: QualityLimits = serde_json::from_str("{}").unwrap();
        assert_eq!(limits, QualityLimits::default());
        assert!(serde_json::from_str::<QualityLimits>(r#"{"saturated": 1}"#).is_err());
        let odd: QualityLimits = serde_json::from_str(r#"{"field_at_least": 20}"#).unwrap();
        assert!(odd.check().unwrap_err().contains("field_at_least"));
    }
}
