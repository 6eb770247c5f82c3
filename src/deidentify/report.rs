//! What was changed, without a value of the input: tags, keywords, actions and counts.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;
use serde::Serialize;

/// What was done with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It is not there any more.
    Removed,
    /// It has no value any more.
    Emptied,
    /// Its value means nothing any more.
    Replaced,
    /// Its value is the patient's pseudonym.
    Pseudonym,
    /// Its UIDs are new.
    NewUid,
    /// Its dates have moved.
    Moved,
    /// What may stay of its value stayed.
    Cleaned,
    /// An option kept it.
    Kept,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Removed => "removed",
            Self::Emptied => "emptied",
            Self::Replaced => "replaced",
            Self::Pseudonym => "pseudonymous",
            Self::NewUid => "with new UIDs",
            Self::Moved => "moved in time",
            Self::Cleaned => "cleaned",
            Self::Kept => "kept by an option",
        })
    }
}

/// An attribute and how often something was done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `(gggg,eeee)`; the block of a private attribute is `xx`.
    pub tag: String,
    /// Its keyword in PS3.6, if it has one.
    pub keyword: Option<&'static str>,
    /// What was done.
    pub action: Done,
    /// How often.
    pub count: u64,
}

/// What was done, by attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<(Tag, Done), u64>);

impl Changes {
    pub(super) fn add(&mut self, tag: Tag, done: Done) {
        *self.0.entry((tag, done)).or_default() += 1;
    }

    /// Takes over what was done in another file.
    pub fn extend(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(*what).or_default() += count;
        }
    }

    /// By tag, then action.
    #[must_use]
    pub fn list(&self) -> Vec<Change> {
        let mut merged: BTreeMap<(String, Option<&'static str>, Done), u64> = BTreeMap::new();
        for ((tag, done), count) in &self.0 {
            let Tag(group, element) = *tag;
            let (tag, keyword) = if group % 2 == 1 {
                (format!("({group:04X},xx{:02X})", element & 0xFF), None)
            } else {
                let entry = StandardDataDictionary.by_tag(*tag);
                (
                    format!("({group:04X},{element:04X})"),
                    entry.map(DataDictionaryEntry::alias),
                )
            };
            *merged.entry((tag, keyword, *done)).or_default() += count;
        }
        let change = |((tag, keyword, action), count)| Change {
            tag,
            keyword,
            action,
            count,
        };
        merged.into_iter().map(change).collect()
    }

    /// How often each action was taken.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Done, u64> {
        let mut totals = BTreeMap::new();
        for ((_, done), count) in &self.0 {
            *totals.entry(*done).or_default() += count;
        }
        totals
    }
}

/// What was done with one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Elements that changed, or that an option kept.
    pub changes: Changes,
    /// How many rectangles of its pixels were blacked out.
    pub masked: usize,
    /// What somebody should look at.
    pub warnings: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use dicom_dictionary_std::tags;

    use super::*;

    #[test]
    fn changes_are_counted_by_attribute_and_private_blocks_are_not_told_apart() {
        let mut changes = Changes::default();
        changes.add(tags::PATIENT_ID, Done::Pseudonym);
        changes.add(Tag(0x0019, 0x100C), Done::Removed);
        let mut more = Changes::default();
        more.add(Tag(0x0019, 0x110C), Done::Removed);
        changes.extend(&more);
        assert_eq!(
            changes.list(),
            [
                Change {
                    tag: "(0010,0020)".to_owned(),
                    keyword: Some("PatientID"),
                    action: Done::Pseudonym,
                    count: 1
                },
                Change {
                    tag: "(0019,xx0C)".to_owned(),
                    keyword: None,
                    action: Done::Removed,
                    count: 2
                }
            ]
        );
        assert_eq!(changes.totals()[&Done::Removed], 2);
    }
}
