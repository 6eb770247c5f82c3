//! Texts that a person has to replace before a file is used: no program knows them, and none must make them up.

use serde_json::Value;

/// How such a text begins.
pub const FILL_IN: &str = "FILL IN";
/// Fields that are named; of more, only how many there are.
const NAMED: usize = 12;

/// Refuses a file with such texts in it. What is no JSON at all is for its reader to say.
///
/// # Errors
/// A sentence with the places of the texts.
pub fn check(json: &str) -> Result<(), String> {
    let mut fields = Vec::new();
    if let Ok(value) = serde_json::from_str(json) {
        collect(&value, "", &mut fields);
    }
    if fields.is_empty() {
        return Ok(());
    }
    let more = fields.len().saturating_sub(NAMED);
    fields.truncate(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Err(format!(
        "{}{more} must be filled in: put your own words in the place of every text that begins with {FILL_IN}",
        fields.join(", ")
    ))
}

fn collect(value: &Value, place: &str, fields: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with(FILL_IN) => fields.push(place.to_owned()),
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                collect(item, &format!("{place}[{number}]"), fields);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if place.is_empty() { "" } else { "." };
                collect(member, &format!("{place}{dot}{name}"), fields);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_filled_in_is_named_by_its_place() {
        let text = r#"{"labels": [{}, {"code": {"value": "FILL IN: such"}}], "licence": "FILL IN", "title": "Fill in"}"#;
        let said = check(text).unwrap_err();
        assert!(
            said.starts_with("labels[1].code.value, licence must be filled in"),
            "{said}"
        );
        assert_eq!(check(r#"{"title": "FILLING"}"#), Ok(()));
        assert_eq!(check(r#"{"title": "to FILL IN"}"#), Ok(()));
        assert_eq!(check("no JSON"), Ok(()));
        let many = format!("[{}]", vec!["\"FILL IN\""; 20].join(","));
        assert!(check(&many).unwrap_err().contains("[11] and 8 more must be"));
    }
}
