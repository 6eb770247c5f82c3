//! Table E.1-1 of PS3.15 as data: what the Basic Profile does with an attribute, and what options say instead.

use std::collections::HashMap;
use std::sync::LazyLock;

use dicom_core::Tag;

use super::profile_option::ProfileOption;

/// What the Basic Profile does. Where the table leaves a choice to the attribute's type in the IOD (`X/Z`, `X/D`, `Z/D`,
/// `X/Z/D`), it is the one that is valid for every type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basic {
    /// X: remove.
    Remove,
    /// Z and X/Z: no value.
    Empty,
    /// D, X/D, Z/D and X/Z/D: a value that means nothing.
    Dummy,
    /// U and X/Z/U*: a new UID, or in a sequence new UIDs.
    Uid,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) basic: Basic,
    /// Options that say something else, and whether that is to clean (C) and not to keep (K).
    pub(super) options: Vec<(ProfileOption, bool)>,
}

const OPTIONS: [ProfileOption; 9] = [
    ProfileOption::Uids,
    ProfileOption::DeviceIdentity,
    ProfileOption::InstitutionIdentity,
    ProfileOption::PatientCharacteristics,
    ProfileOption::FullDates,
    ProfileOption::ModifiedDates,
    ProfileOption::Descriptors,
    ProfileOption::StructuredContent,
    ProfileOption::Graphics,
];

static TABLE: LazyLock<HashMap<Tag, Row>> = LazyLock::new(|| {
    lines(include_str!("profile.tsv"))
        .filter_map(|[tag, basic, options, _]| Some((hexadecimal(tag)?, entry(basic, options))))
        .collect()
});

/// The rows of a table of tab-separated columns, without its comments.
pub(super) fn lines<const COLUMNS: usize>(
    table: &'static str,
) -> impl Iterator<Item = [&'static str; COLUMNS]> {
    table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('\t').collect::<Vec<_>>().try_into().ok())
}

/// A tag of eight hexadecimal digits; of a repeating group, the first.
pub(super) fn hexadecimal(tag: &str) -> Option<Tag> {
    let tag = tag.replace('x', "0");
    let number = u32::from_str_radix(&tag, 16).ok()?;
    Some(Tag((number >> 16) as u16, number as u16))
}

fn entry(basic: &str, options: &str) -> Row {
    let basic = match basic {
        "Z" | "X/Z" => Basic::Empty,
        "D" | "X/D" | "Z/D" | "X/Z/D" => Basic::Dummy,
        "U" | "X/Z/U*" => Basic::Uid,
        _ => Basic::Remove,
    };
    let options = options.split(' ').filter_map(|item| {
        let (name, action) = item.split_once(':')?;
        let option = OPTIONS.into_iter().find(|option| option.name() == name)?;
        Some((option, action == "C"))
    });
    Row {
        basic,
        options: options.collect(),
    }
}

/// The row of an attribute, if the table has one. Curves (50xx) and overlays (60xx) have none: all of a group goes.
pub(super) fn row(tag: Tag) -> Option<&'static Row> {
    TABLE.get(&tag)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dicom_dictionary_std::tags;

    use super::*;

    #[test]
    fn the_whole_table_is_read() {
        assert_eq!(TABLE.len(), 655);
        let raw: Vec<[&str; 4]> = lines(include_str!("profile.tsv")).collect();
        assert_eq!(raw.len(), 655);
        let mut actions = BTreeMap::new();
        for [_, basic, _, _] in &raw {
            *actions.entry(*basic).or_insert(0) += 1;
        }
        assert_eq!(
            actions.into_iter().collect::<Vec<_>>(),
            [
                ("D", 93),
                ("U", 55),
                ("X", 415),
                ("X/D", 23),
                ("X/Z", 11),
                ("X/Z/D", 8),
                ("X/Z/U*", 2),
                ("Z", 42),
                ("Z/D", 6)
            ]
        );
        for [tag, _, options, _] in raw {
            let named = options.split_whitespace().count();
            assert_eq!(
                row(hexadecimal(tag).unwrap()).unwrap().options.len(),
                named,
                "{tag}"
            );
        }
    }

    #[test]
    fn attributes_have_their_actions() {
        let basic = |tag| row(tag).map(|row| row.basic);
        assert_eq!(basic(tags::PATIENT_NAME), Some(Basic::Empty));
        assert_eq!(basic(tags::SOP_INSTANCE_UID), Some(Basic::Uid));
        assert_eq!(basic(tags::INSTITUTION_NAME), Some(Basic::Dummy));
        assert_eq!(basic(tags::PATIENT_COMMENTS), Some(Basic::Remove));
        assert_eq!(basic(tags::ROWS), None);
    }
}
