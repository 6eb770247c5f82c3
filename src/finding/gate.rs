//! The gates that an image passes on its way to a score, and how a caller sets one of them aside.
//!
//! A gate that is closed refuses with a code and a sentence. For research it can be overridden; the answer then says which, and
//! what was wrong. A constant image and a number that is none pass no gate, whoever asks.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IntendedUseCheck, Violation};
use crate::fault::{Fault, FaultKind};

/// A gate between an image and its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// What the header says: `modality`, `body-part`, `view`, `age`, `laterality`, `image-size`.
    IntendedUse,
    /// What the pixels are like: `image-saturated`, `image-empty`, `image-cropped`.
    Quality,
    /// What the network makes of them: `out-of-distribution`.
    Distribution,
}

/// Every code of a violation; anything else would be a stranger in a metric's label.
const CODES: [&str; 15] = [
    "modality",
    "modality-unknown",
    "body-part",
    "body-part-unknown",
    "view",
    "view-unknown",
    "age",
    "age-unknown",
    "laterality",
    "laterality-unknown",
    "image-size",
    "image-saturated",
    "image-empty",
    "image-cropped",
    "out-of-distribution",
];

impl Gate {
    /// Every gate, in the order in which an image meets them.
    pub const ALL: [Self; 3] = [Self::IntendedUse, Self::Quality, Self::Distribution];

    /// How a caller names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IntendedUse => "intended-use",
            Self::Quality => "quality",
            Self::Distribution => "distribution",
        }
    }

    fn complaint(self) -> &'static str {
        match self {
            Self::IntendedUse => "outside the model's intended use",
            Self::Quality => "the image is not good enough for the model",
            Self::Distribution => "the image is unlike those that the model knows",
        }
    }

    fn refusal(self, violations: &[Violation]) -> Fault {
        let first = violations.first().map_or("", |violation| violation.code.as_str());
        let code = CODES
            .into_iter()
            .find(|code| *code == first)
            .unwrap_or(self.name());
        let all = violations
            .iter()
            .map(|violation| violation.message.as_str())
            .collect::<Vec<_>>()
            .join("; ");
        let message = format!(
            "{}: {all}; for research, ?override={} scores it all the same",
            self.complaint(),
            self.name()
        );
        Fault::new(FaultKind::Refused, code, message)
    }
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|gate| gate.name() == text)
            .ok_or_else(|| format!("override takes {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The gates that a caller sets aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(BTreeSet<Gate>);

impl Overrides {
    /// Whether an image with these violations may go on through `gate`.
    ///
    /// # Errors
    /// The refusal, under the code of the first violation and with the sentences of all of them.
    pub fn judge(&self, gate: Gate, violations: &[Violation]) -> Result<Verdict, Fault> {
        if violations.is_empty() {
            Ok(Verdict::Met)
        } else if self.0.contains(&gate) {
            Ok(Verdict::Overridden)
        } else {
            Err(gate.refusal(violations))
        }
    }

    /// [`Self::judge`] for the intended use, as an answer says it.
    ///
    /// # Errors
    /// The refusal.
    pub fn intended_use(&self, violations: Vec<Violation>) -> Result<IntendedUseCheck, Fault> {
        Ok(match self.judge(Gate::IntendedUse, &violations)? {
            Verdict::Overridden => IntendedUseCheck::Overridden { violations },
            Verdict::Met | Verdict::Refused => IntendedUseCheck::Met,
        })
    }
}

impl FromIterator<Gate> for Overrides {
    fn from_iter<I: IntoIterator<Item = Gate>>(gates: I) -> Self {
        Self(gates.into_iter().collect())
    }
}

/// A list with commas, such as `intended-use,quality`.
impl FromStr for Overrides {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|name| name.trim().parse()).collect()
    }
}

/// What became of an image at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds to what the model states.
    Met,
    /// It does not, and the caller asked for a score all the same, for research.
    Overridden,
    /// It does not.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(code: &str) -> Violation {
        Violation {
            code: code.into(),
            message: "too much of it".into(),
        }
    }

    #[test]
    fn a_closed_gate_refuses_unless_it_is_the_one_that_was_set_aside() {
        let overrides: Overrides = "quality,distribution".parse().unwrap();
        let cropped = [violation("image-cropped")];
        assert_eq!(overrides.judge(Gate::IntendedUse, &[]), Ok(Verdict::Met));
        assert_eq!(overrides.judge(Gate::Quality, &cropped), Ok(Verdict::Overridden));
        let refused = overrides
            .judge(Gate::IntendedUse, &[violation("age"), violation("view")])
            .unwrap_err();
        assert_eq!((refused.kind, refused.code), (FaultKind::Refused, "age"));
        assert!(refused.message.contains("?override=intended-use"), "{refused}");
        assert_eq!(refused.message.matches("too much of it").count(), 2);
        let strange = Overrides::default()
            .judge(Gate::Quality, &[violation("what the header says")])
            .unwrap_err();
        assert_eq!(strange.code, "quality");
    }

    #[test]
    fn an_override_is_a_list_of_gates() {
        assert_eq!(
            "intended-use, quality".parse(),
            Ok([Gate::IntendedUse, Gate::Quality]
                .into_iter()
                .collect::<Overrides>())
        );
        for odd in ["", "everything", "quality,", "quality;distribution"] {
            let said = odd.parse::<Overrides>().unwrap_err();
            assert!(said.contains("intended-use, quality, distribution"), "{odd}");
        }
    }
}
