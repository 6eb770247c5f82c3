//! What text may stay: values that attributes are known to have, and words of descriptions of radiographs.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use dicom_core::Tag;

use super::table::{hexadecimal, lines};

static VALUES: LazyLock<HashMap<Tag, Vec<&'static str>>> = LazyLock::new(|| {
    lines(include_str!("terms.tsv"))
        .filter_map(|[tag, _, values]| Some((hexadecimal(tag)?, values.split('|').collect())))
        .collect()
});

static WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    include_str!("words.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
});

/// The built-in values and words, and those that the user knows to be harmless.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    own: HashSet<String>,
}

impl Terms {
    /// Adds a list: one term a line; lines that begin with `#` say something about it.
    #[must_use]
    pub fn with(list: &str) -> Self {
        let own = list
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_lowercase)
            .collect();
        Self { own }
    }

    /// Whether an attribute may keep this value. An attribute without known values keeps none, except user's terms where
    /// there are values to choose from.
    pub(super) fn allows(&self, tag: Tag, value: &str) -> bool {
        VALUES.get(&tag).is_some_and(|values| {
            values.iter().any(|known| known.eq_ignore_ascii_case(value))
                || self.own.contains(&value.to_lowercase())
        })
    }

    /// The words of `text` that are known, one space between them; empty if there are none.
    pub(super) fn clean(&self, text: &str) -> String {
        let known = |word: &&str| {
            let word = word.to_lowercase();
            WORDS.contains(word.as_str()) || self.own.contains(&word)
        };
        text.split(|c: char| !c.is_alphanumeric())
            .filter(known)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[cfg(test)]
mod tests {
    use dicom_dictionary_std::tags;

    use super::*;

    #[test]
    fn only_known_values_of_an_attribute_are_allowed() {
        let terms = Terms::default();
        assert!(terms.allows(tags::BODY_PART_EXAMINED, "LSPINE"));
        assert!(terms.allows(tags::RESCALE_TYPE, "US"));
        assert!(!terms.allows(tags::BODY_PART_EXAMINED, "SMITH"));
        assert!(!terms.allows(tags::LATERALITY, "LSPINE"));
        assert!(!terms.allows(tags::STUDY_DESCRIPTION, "LSPINE"));
        let own = Terms::with("# ours\nBecken ap\n\nBWS\n");
        assert!(own.allows(tags::BODY_PART_EXAMINED, "BECKEN AP"));
        assert!(!own.allows(tags::STUDY_DESCRIPTION, "BWS"));
    }

    #[test]
    fn descriptions_keep_known_words_alone() {
        let terms = Terms::default();
        assert_eq!(
            terms.clean("XR Lumbar-Spine lateral, 55F Dr. Smith (1950)"),
            "XR Lumbar Spine lateral"
        );
        assert_eq!(terms.clean("Müller^Anna 4711"), "");
        assert_eq!(Terms::with("BWS").clean("BWS ap, Meier"), "BWS ap");
    }
}
