//! What a model's outputs mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Task;
use crate::dicom::CodedValue;

/// One output of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Lower case, words joined by `-`: unique within a model.
    pub name: String,
    /// The coded concept that the probability is about.
    pub code: CodedValue,
    /// The probability from which the finding counts as present, 0 to 1. Where labels exclude each other it may be left out: then
    /// the most probable one counts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threshold: Option<f32>,
    /// The temperature that the exported network divides this label's logit by (Guo 2017, arXiv 1706.04599); an offset is in the logit.
    #[serde(default = "one")]
    pub temperature: f32,
    /// What the threshold was chosen for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub operating_point: Option<OperatingPoint>,
    /// For regression: what the number is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quantity: Option<Quantity>,
}

fn one() -> f32 {
    1.0
}

/// Sensitivity and specificity at a threshold, on the data that it was chosen on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// Share of the diseased that are called positive.
    pub sensitivity: f64,
    /// Share of the healthy that are called negative.
    pub specificity: f64,
}

/// A number with a unit: `value = output * scale + offset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// UCUM code, such as `a` for years or `g/cm2`; `1` for a number without one.
    pub unit: String,
    /// What the network's output is multiplied by.
    #[serde(default = "one")]
    pub scale: f32,
    /// What is added then.
    #[serde(default)]
    pub offset: f32,
    /// Lowest and highest possible value, both included: a number outside is no answer.
    pub range: [f32; 2],
}

impl Label {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the label.
    pub fn check(&self, task: Task) -> Result<(), String> {
        let name = &self.name;
        if self.threshold.is_some_and(|at| !(0.0..=1.0).contains(&at)) {
            return Err(format!("the threshold of label {name} must lie in 0 to 1"));
        }
        if !self.temperature.is_finite() || self.temperature <= 0.0 {
            return Err(format!(
                "the temperature of label {name} must be finite and above 0"
            ));
        }
        match task {
            Task::Binary | Task::Multilabel if self.threshold.is_none() => Err(format!(
                "label {name} needs a threshold: the probability from which the finding counts as present"
            )),
            Task::Regression => match &self.quantity {
                Some(Quantity {
                    range: [low, high],
                    scale,
                    offset,
                    ..
                }) if low < high && [low, high, scale, offset].iter().all(|value| value.is_finite()) => {
                    Ok(())
                }
                Some(_) => Err(format!(
                    "the quantity of label {name} needs a finite scale and offset, and a range of finite numbers from low to high"
                )),
                None => Err(format!("label {name} needs its quantity: unit and range")),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::label;
    use super::*;

    #[test]
    fn a_quantity_has_bounds() {
        let of = |range: &str| {
            let text = format!(r#"{{"unit": "a", "range": {range}}}"#);
            let quantity = serde_json::from_str(&text).unwrap();
            let label = Label {
                quantity: Some(quantity),
                ..label("age", None)
            };
            label.check(Task::Regression)
        };
        assert_eq!(of("[0, 120]"), Ok(()));
        // more than 32 bits can say
        for range in ["[0, 1e39]", "[-1e39, 0]", "[120, 0]"] {
            assert!(of(range).unwrap_err().contains("finite"), "{range}");
        }
    }
}
