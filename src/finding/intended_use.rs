//! Which images a model may score.
//!
//! A model states modality, body part, view and age, and may state laterality and the size of the image. An image that is outside, or whose header does not say, is a
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
    /// Values of Image Laterality (0020,0062) and Laterality (0020,0060): `L`, `R`, `B` or `U`. Empty: not checked.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub laterality: Vec<String>,
    /// How large the image may be. Absent: not checked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image_size: Option<ImageSize>,
}

/// Fewest and most pixels in each direction, all included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageSize {
    /// Of Rows (0028,0010).
    pub rows: [u32; 2],
    /// Of Columns (0028,0011).
    pub columns: [u32; 2],
}

/// One way in which an image is outside the intended use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Of the intended use `modality`, `body-part`, `view`, `age` or `laterality`, each also with `-unknown`, or `image-size`;
    /// of the other gates see [`super::Gate`].
    pub code: String,
    /// What the image is and what the model takes.
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
            self.laterality(attributes),
            self.size(attributes),
        ];
        known.into_iter().flatten().collect()
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        for (field, values) in [
            ("modalities", &self.modalities),
            ("body_parts", &self.body_parts),
            ("views", &self.views),
        ] {
            if values.is_empty() {
                return Err(format!("intended_use.{field} must name at least one value"));
            }
        }
        if self
            .laterality
            .iter()
            .any(|value| !["L", "R", "B", "U"].contains(&value.as_str()))
        {
            return Err("intended_use.laterality takes L, R, B and U".to_owned());
        }
        let rises = |[fewest, most]: [u32; 2]| fewest <= most;
        if self
            .image_size
            .is_some_and(|size| !rises(size.rows) || !rises(size.columns))
        {
            return Err("intended_use.image_size must name the fewest pixels before the most".to_owned());
        }
        Ok(())
    }

    fn laterality(&self, attributes: &Attributes) -> Option<Violation> {
        if self.laterality.is_empty() {
            return None;
        }
        let values = [&attributes.image_laterality, &attributes.laterality];
        one_of("laterality", "Laterality", &self.laterality, values)
    }

    /// An image without a size cannot be decoded, and is refused there.
    fn size(&self, attributes: &Attributes) -> Option<Violation> {
        let allowed = self.image_size?;
        let (rows, columns) = (attributes.rows?, attributes.columns?);
        let within = |[fewest, most]: [u32; 2], count| (fewest..=most).contains(&count);
        if within(allowed.rows, rows) && within(allowed.columns, columns) {
            return None;
        }
        let ([fewest_rows, most_rows], [fewest_columns, most_columns]) = (allowed.rows, allowed.columns);
        Some(Violation {
            code: "image-size".to_owned(),
            message: format!(
                "the image has {rows} rows and {columns} columns; the model is for {fewest_rows} to {most_rows} rows and {fewest_columns} to {most_columns} columns"
            ),
        })
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
mod tests;
