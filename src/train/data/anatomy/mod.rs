//! What body part, view and side an image shows, in words of our own, from what headers and descriptions say.
//!
//! `terms.tsv` is the table: codes and terms of the standard, what devices write instead, and words of descriptions in English, German,
//! French, Italian and Spanish. Nothing is guessed from pixels. A code counts more than Body Part Examined, which is often
//! what the device was left at, and both count more than a description; what disagrees is reported, not decided.

mod vocabulary;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use vocabulary::Vocabulary;

/// Where a name was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A coded attribute, by its code value.
    Code,
    /// An attribute for it: Body Part Examined, View Position, Laterality.
    Attribute,
    /// A description in words.
    Description,
}

impl Origin {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Attribute => "attribute",
            Self::Description => "description",
        }
    }
}

/// What an image says of one thing: by code, by an attribute for it, and in words, the most specific first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// A code value.
    pub code: Option<&'a str>,
    /// The value of an attribute for it.
    pub attribute: Option<&'a str>,
    /// Descriptions.
    pub descriptions: &'a [String],
}

/// One thing that was said, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped<'a> {
    /// Where it was said.
    pub origin: Origin,
    /// What was said.
    pub said: &'a str,
    /// What it stands for; none where the table does not know it.
    pub name: Option<&'static str>,
}

/// A table of names.
pub struct Names(Vocabulary);

/// Body parts, such as `lumbar-spine`.
pub static PARTS: LazyLock<Names> = LazyLock::new(|| Names(Vocabulary::of("part")));
/// Views: `AP`, `PA`, `lateral`, `oblique`, `axial`, `frontal`, `decubitus`.
pub static VIEWS: LazyLock<Names> = LazyLock::new(|| Names(Vocabulary::of("view")));
/// Sides: `L`, `R`, `B`.
pub static SIDES: LazyLock<Names> = LazyLock::new(|| Names(Vocabulary::of("side")));

impl Names {
    /// What each of the things said stands for, in the order in which they count.
    pub fn mapped<'a>(&'a self, said: Said<'a>) -> impl Iterator<Item = Mapped<'a>> + 'a {
        let code = said.code.map(|code| (Origin::Code, code, self.0.code(code)));
        let attribute = said
            .attribute
            .map(|value| (Origin::Attribute, value, self.0.term(value)));
        let words = said
            .descriptions
            .iter()
            .map(|text| (Origin::Description, text.as_str(), self.0.words(text)));
        let all = code.into_iter().chain(attribute).chain(words);
        all.map(|(origin, said, name)| Mapped { origin, said, name })
    }

    /// The name that counts.
    #[must_use]
    pub fn of(&self, said: Said<'_>) -> Option<&'static str> {
        self.mapped(said).find_map(|mapped| mapped.name)
    }

    /// Terms of attributes that stand for `name`, upper case without spaces, and codes that do, both in their order.
    #[must_use]
    pub fn terms_and_codes(&self, name: &str) -> (Vec<&str>, Vec<&str>) {
        (self.0.terms_of(name), self.0.codes_of(name))
    }

    /// What a single word or term stands for, as in a column of a CSV.
    #[must_use]
    pub fn named(&self, text: &str) -> Option<&'static str> {
        self.0.term(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> Option<&'static str> {
        let descriptions = [text.to_owned()];
        PARTS.of(Said {
            descriptions: &descriptions,
            ..Said::default()
        })
    }

    #[test]
    fn descriptions_in_five_languages_are_understood() {
        for (text, name) in [
            ("LWS 2 Ebenen", "lumbar-spine"),
            ("LWSseitl.", "lumbar-spine"),
            ("Lendenwirbelsäule a.p.", "lumbar-spine"),
            ("BWS/LWS", "thoracolumbar-spine"),
            ("Beckenübersicht", "pelvis"),
            ("Kniegelenk re.", "knee"),
            ("Füße bds. dp", "foot"),
            ("Hüftgelenk axial links", "hip"),
            ("Rachis lombaire face/profil", "lumbar-spine"),
            ("Épaule droite", "shoulder"),
            ("Avant-bras G", "forearm"),
            ("Colonna lombo-sacrale 2P", "lumbar-spine"),
            ("RX TORACE", "chest"),
            ("Caviglia dx", "ankle"),
            ("Columna dorsolumbar", "thoracolumbar-spine"),
            ("MUÑECA IZQUIERDA", "wrist"),
            ("L-spine lateral", "lumbar-spine"),
            ("Chest PA", "chest"),
            ("Facial bones", "face"),
            ("Handgelenk", "wrist"),
            ("Hand dp", "hand"),
        ] {
            assert_eq!(part(text), Some(name), "{text}");
        }
        for text in [
            "",
            "Röntgen der Patientin",
            "digital radiography",
            "Nachbefundung",
            "zz9",
        ] {
            assert_eq!(part(text), None, "{text}");
        }
    }

    #[test]
    fn a_code_counts_more_than_an_attribute_and_that_more_than_words() {
        let words = ["Knie".to_owned()];
        let said = Said {
            code: Some("122496007"),
            attribute: Some("CHEST"),
            descriptions: &words,
        };
        assert_eq!(PARTS.of(said), Some("lumbar-spine"));
        let all: Vec<_> = PARTS.mapped(said).map(|mapped| mapped.name).collect();
        assert_eq!(all, [Some("lumbar-spine"), Some("chest"), Some("knee")]);
        assert_eq!(
            PARTS.of(Said {
                code: Some("1"),
                ..said
            }),
            Some("chest")
        );
        // what devices write where a term of the standard belongs
        for (term, name) in [
            ("L-SPINE", "lumbar-spine"),
            ("WIRBELSÄULE", "spine"),
            ("T SPINE", "thoracic-spine"),
        ] {
            assert_eq!(PARTS.named(term), Some(name), "{term}");
        }
    }

    #[test]
    fn views_and_sides_are_understood() {
        for (text, name) in [
            ("LL", "lateral"),
            ("AP", "AP"),
            ("POSTEROANTERIOR", "PA"),
            ("RLO", "oblique"),
        ] {
            assert_eq!(VIEWS.named(text), Some(name));
        }
        for (text, name) in [
            ("LWS seitlich", "lateral"),
            ("Thorax p.a.", "PA"),
            ("Genou de face", "frontal"),
        ] {
            let words = [text.to_owned()];
            let said = Said {
                descriptions: &words,
                ..Said::default()
            };
            assert_eq!(VIEWS.of(said), Some(name), "{text}");
        }
        for (text, name) in [
            ("Knie li", Some("L")),
            ("ginocchio dx", Some("R")),
            ("Füße bds", Some("B")),
            ("Röntgen der LWS", None),
        ] {
            let words = [text.to_owned()];
            let said = Said {
                descriptions: &words,
                ..Said::default()
            };
            assert_eq!(SIDES.of(said), name, "{text}");
        }
    }
}
