//! Which images a model may score.
//!
//! A model states modality, body part, view and age. An image that is outside, or whose header does not say, is a
//! violation with a code; nothing is guessed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dicom::Attributes;

/// What a model is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntendedUse {
    /// In words, for people.
    pub statement: String,
    /// Whether it may be used in the care of patients.
    pub clinical: bool,
    /// Values of Modality (0008,0060).
    pub modalities: Vec<String>,
    /// Values of Body Part Examined (0018,0015) or, for headers that use codes, of Anatomic Region Sequence.
    pub body_parts: Vec<String>,
    /// Values of View Position (0018,5101) or, for headers that use codes, of View Code Sequence.
    pub views: Vec<String>,
    /// Youngest and oldest age in whole years, both included.
    pub age_years: [u16; 2],
}

/// One way in which an image is outside the intended use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// `modality`, `body-part`, `view`, `age`, or one of them with `-unknown`.
    pub code: String,
    /// What the header says and what the model takes.
    pub message: String,
}

impl IntendedUse {
    /// Every way in which an image with these attributes is outside; empty where it is inside.
    #[must_use]
    pub fn violations(&self, attributes: &Attributes) -> Vec<Violation> {
        let known = [
            one_of(
                "modality",
                "Modality",
                &self.modalities,
                [&attributes.modality, &None],
            ),
            one_of(
                "body-part",
                "Body Part",
                &self.body_parts,
                [&attributes.body_part, &attributes.region_code],
            ),
            one_of(
                "view",
                "View",
                &self.views,
                [&attributes.view_position, &attributes.view_code],
            ),
            self.age(attributes.age_years),
        ];
        known.into_iter().flatten().collect()
    }

    fn age(&self, age: Option<u16>) -> Option<Violation> {
        let [youngest, oldest] = self.age_years;
        match age {
            None => Some(Violation {
                code: "age-unknown".to_owned(),
                message: format!(
                    "the header gives no age; the model is for ages {youngest} to {oldest}: send Patient's Age or Birth Date and Study Date"
                ),
            }),
            Some(age) if (youngest..=oldest).contains(&age) => None,
            Some(_) => Some(Violation {
                code: "age".to_owned(),
                message: format!(
                    "the patient's age is outside the {youngest} to {oldest} years that the model is for"
                ),
            }),
        }
    }
}

/// Header values that are too long or odd to repeat are not repeated: an error must not carry free text.
fn shown(value: &str) -> &str {
    let plain = value.len() <= 16
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { value } else { "(another value)" }
}

/// A header may say a thing twice, as text and as code. Each must be allowed: where they contradict each other, nobody
/// knows which is true.
fn one_of(code: &str, what: &str, allowed: &[String], values: [&Option<String>; 2]) -> Option<Violation> {
    let mut present = values.into_iter().flatten().peekable();
    let unknown = present.peek().is_none();
    let outside = present.find(|value| !allowed.contains(value));
    let allowed = allowed.join(", ");
    if unknown {
        return Some(Violation {
            code: format!("{code}-unknown"),
            message: format!("the header does not say the {what}; the model is for {allowed}"),
        });
    }
    outside.map(|value| Violation {
        code: code.to_owned(),
        message: format!("{what} is {}; the model is for {allowed}", shown(value)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spine() -> IntendedUse {
        IntendedUse {
            statement: String::new(),
            clinical: false,
            modalities: vec!["DX".into(), "CR".into()],
            body_parts: vec!["LSPINE".into(), "122496007".into()],
            views: vec!["LL".into()],
            age_years: [50, 110],
        }
    }

    fn fitting() -> Attributes {
        Attributes {
            modality: Some("DX".into()),
            body_part: Some("LSPINE".into()),
            region_code: None,
            view_position: Some("LL".into()),
            view_code: None,
            age_years: Some(72),
        }
    }

    fn codes(attributes: &Attributes) -> Vec<String> {
        spine()
            .violations(attributes)
            .into_iter()
            .map(|violation| violation.code)
            .collect()
    }

    #[test]
    fn an_image_inside_has_no_violation_by_text_or_by_code() {
        assert!(codes(&fitting()).is_empty());
        let coded = Attributes {
            body_part: None,
            region_code: Some("122496007".into()),
            ..fitting()
        };
        assert!(codes(&coded).is_empty());
    }

    #[test]
    fn each_attribute_is_checked_and_silence_is_not_consent() {
        assert_eq!(
            codes(&Attributes {
                modality: Some("CT".into()),
                ..fitting()
            }),
            ["modality"]
        );
        assert_eq!(
            codes(&Attributes {
                body_part: Some("HAND".into()),
                ..fitting()
            }),
            ["body-part"]
        );
        assert_eq!(
            codes(&Attributes {
                view_position: Some("AP".into()),
                ..fitting()
            }),
            ["view"]
        );
        assert_eq!(
            codes(&Attributes {
                age_years: Some(49),
                ..fitting()
            }),
            ["age"]
        );
        assert_eq!(
            codes(&Attributes::default()),
            [
                "modality-unknown",
                "body-part-unknown",
                "view-unknown",
                "age-unknown"
            ]
        );
    }

    #[test]
    fn a_header_that_contradicts_itself_is_outside() {
        let both = |position: &str, code: &str| Attributes {
            body_part: Some(position.into()),
            region_code: Some(code.into()),
            ..fitting()
        };
        assert!(codes(&both("LSPINE", "122496007")).is_empty());
        assert_eq!(codes(&both("LSPINE", "85562004")), ["body-part"]);
        assert_eq!(codes(&both("HAND", "122496007")), ["body-part"]);
    }

    #[test]
    fn free_text_is_not_repeated() {
        let odd = Attributes {
            body_part: Some("JOHN SMITH BORN 1950".into()),
            ..fitting()
        };
        assert!(!spine().violations(&odd)[0].message.contains("SMITH"));
    }
}
