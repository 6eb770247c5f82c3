//! Which training images may be exchanged left for right.
//!
//! In a recipe `true`, `false`, or by the words in the table's column `body_part`:
//! `{"body_part": {"chest": false, "hand": true}, "other": false}`. An image of which the table does not say what it shows is never
//! exchanged then.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

/// Which images may be mirrored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Flip {
    /// All, or none.
    Every(bool),
    /// Those of some body parts.
    ByPart(PartFlips),
}

/// What is said of body parts, in the words of the table's column `body_part`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartFlips {
    /// Each with whether its images may be mirrored.
    pub body_part: BTreeMap<String, bool>,
    /// Whether those of all other parts may.
    #[serde(default)]
    pub other: bool,
}

impl Flip {
    /// Whether an image of `part` may be mirrored; none is an image of which nobody knows.
    #[must_use]
    pub fn allows(&self, part: Option<&str>) -> bool {
        match (self, part) {
            (Self::Every(all), _) => *all,
            (Self::ByPart(_), None) => false,
            (Self::ByPart(PartFlips { body_part, other }), Some(part)) => {
                body_part.get(part).copied().unwrap_or(*other)
            }
        }
    }

    /// Whether every image may be mirrored, whatever it shows.
    #[must_use]
    pub fn allows_all(&self) -> bool {
        *self == Self::Every(true)
    }

    /// The parts that are named, where it is by body part.
    #[must_use]
    pub fn parts(&self) -> Option<impl Iterator<Item = &str>> {
        match self {
            Self::Every(_) => None,
            Self::ByPart(parts) => Some(parts.body_part.keys().map(String::as_str)),
        }
    }

    /// In words, what is done.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Every(_) => "left and right exchanged in half of the images".to_owned(),
            Self::ByPart(_) => format!(
                "left and right exchanged in half of the images of {}, by the table's column body_part; never where that is empty",
                self.whose()
            ),
        }
    }

    /// In words, whose images may be mirrored.
    #[must_use]
    pub fn whose(&self) -> String {
        let PartFlips { body_part, other } = match self {
            Self::Every(true) => return "every image".to_owned(),
            Self::Every(false) => return "no image".to_owned(),
            Self::ByPart(parts) => parts,
        };
        let named = |wanted: bool| -> Vec<&str> {
            let own = body_part.iter().filter(|(_, may)| **may == wanted);
            own.map(|(part, _)| part.as_str()).collect()
        };
        let (yes, no) = (named(true), named(false));
        match (*other, yes.is_empty(), no.is_empty()) {
            (true, _, true) => "any known body part".to_owned(),
            (true, _, false) => format!("any known body part but {}", no.join(", ")),
            (false, true, _) => "no body part".to_owned(),
            (false, false, _) => yes.join(", "),
        }
    }
}

impl<'de> Deserialize<'de> for Flip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Flip;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(
                    r#"horizontal_flip to be true, false or {"body_part": {"chest": false}, "other": true}"#,
                )
            }

            fn visit_bool<E: Error>(self, all: bool) -> Result<Flip, E> {
                Ok(Flip::Every(all))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Flip, M::Error> {
                PartFlips::deserialize(MapAccessDeserializer::new(map)).map(Flip::ByPart)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flip(text: &str) -> Flip {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn parts_are_allowed_as_the_recipe_says_and_what_is_unknown_is_not() {
        let by_part = flip(r#"{"body_part": {"chest": false, "hand": true}, "other": true}"#);
        let allowed =
            |flip: &Flip| [Some("chest"), Some("hand"), Some("knee"), None].map(|part| flip.allows(part));
        assert_eq!(allowed(&by_part), [false, true, true, false]);
        assert_eq!(
            allowed(&flip(r#"{"body_part": {"hand": true}}"#)),
            [false, true, false, false]
        );
        assert_eq!(allowed(&flip("true")), [true; 4]);
        assert!(flip("true").allows_all() && !by_part.allows_all());
        assert_eq!(by_part.parts().unwrap().collect::<Vec<_>>(), ["chest", "hand"]);
        for text in ["true", "false", r#"{"body_part":{"chest":false},"other":true}"#] {
            assert_eq!(serde_json::to_string(&flip(text)).unwrap(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for wrong in [
            r#""chest""#,
            "1",
            r#"{"part": {"chest": true}}"#,
            r#"{"body_part": {"chest": 1}}"#,
        ] {
            let problem = serde_json::from_str::<Flip>(wrong).unwrap_err().to_string();
            assert!(
                problem.contains("body_part") || problem.contains("a boolean"),
                "{wrong}: {problem}"
            );
        }
    }

    #[test]
    fn words_say_whose_images() {
        let said = |text: &str| flip(text).words();
        assert!(
            said(r#"{"body_part": {"chest": false}, "other": true}"#)
                .contains("any known body part but chest, by")
        );
        assert!(said(r#"{"body_part": {"hand": true, "chest": false}}"#).contains("images of hand, by"));
        assert_eq!(said("true"), "left and right exchanged in half of the images");
    }
}
