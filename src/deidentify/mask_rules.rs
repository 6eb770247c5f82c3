//! Which images have their pixels blacked out, and where: rules over the machine and the size of the image.

use dicom_dictionary_std::tags;
use serde::Deserialize;

use crate::dicom::{Instance, number, text};
use crate::image::mask::Rectangle;

/// One rule. All that it names has to be equal; a rule without rectangles says that such images were looked at and have
/// no text in their pixels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskRule {
    /// Manufacturer (0008,0070).
    pub manufacturer: Option<String>,
    /// Manufacturer's Model Name (0008,1090).
    pub model: Option<String>,
    /// Rows (0028,0010): rectangles mean nothing without the size of the image.
    pub rows: u16,
    /// Columns (0028,0011).
    pub columns: u16,
    /// What is blacked out.
    pub rectangles: Vec<Rectangle>,
}

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMaskRules {
    /// Not JSON, or not of this form.
    #[error(
        "mask rules are a JSON list of {{\"manufacturer\", \"model\", \"rows\", \"columns\", \"rectangles\": [{{\"left\", \"top\", \"width\", \"height\"}}]}}: {0}"
    )]
    Form(#[from] serde_json::Error),
    /// A rule that would match images of any machine.
    #[error("mask rule {0} names neither a manufacturer nor a model: it has to name one")]
    Machine(usize),
    /// A rectangle that is not inside.
    #[error("a rectangle of mask rule {0} is empty or reaches beyond the rows and columns of its rule")]
    Outside(usize),
}

/// Reads rules from JSON and checks them.
///
/// # Errors
/// [`InvalidMaskRules`], which counts rules from 1.
pub fn parse(json: &str) -> Result<Vec<MaskRule>, InvalidMaskRules> {
    let rules: Vec<MaskRule> = serde_json::from_str(json)?;
    for (index, rule) in rules.iter().enumerate() {
        if rule.manufacturer.is_none() && rule.model.is_none() {
            return Err(InvalidMaskRules::Machine(index + 1));
        }
        let inside = |rectangle: &Rectangle| rectangle.is_inside(rule.rows.into(), rule.columns.into());
        if !rule.rectangles.iter().all(inside) {
            return Err(InvalidMaskRules::Outside(index + 1));
        }
    }
    Ok(rules)
}

/// The rectangles of all rules that an image matches; `None` if it matches none.
pub(super) fn matching(rules: &[MaskRule], instance: &Instance) -> Option<Vec<Rectangle>> {
    let header = &instance.header;
    let says = |wanted: Option<&String>, tag| {
        wanted.is_none_or(|wanted| text(header, tag).is_some_and(|found| found == wanted.trim()))
    };
    let counts = |wanted: u16, tag| number(header, tag) == Some(f64::from(wanted));
    let mut matched = rules
        .iter()
        .filter(|rule| {
            says(rule.manufacturer.as_ref(), tags::MANUFACTURER)
                && says(rule.model.as_ref(), tags::MANUFACTURER_MODEL_NAME)
                && counts(rule.rows, tags::ROWS)
                && counts(rule.columns, tags::COLUMNS)
        })
        .peekable();
    matched.peek()?;
    Some(matched.flat_map(|rule| rule.rectangles.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_checked() {
        let rule = |machine: &str, left: u32| {
            format!(
                r#"[{{{machine} "rows": 100, "columns": 80, "rectangles": [{{"left": {left}, "top": 0, "width": 30, "height": 10}}]}}]"#
            )
        };
        assert_eq!(parse(&rule(r#""model": "X","#, 50)).unwrap().len(), 1);
        let error = |json: &str| parse(json).unwrap_err().to_string();
        assert!(error(&rule(r#""model": "X","#, 51)).contains("a rectangle of mask rule 1"));
        assert!(error(&rule("", 0)).contains("names neither"));
        assert!(error(&rule(r#""serial": "1","#, 0)).contains("unknown field"));
        assert!(error("[{\"model\": \"X\", \"rectangles\": []}]").contains("rows"));
    }
}
