//! The options that PS3.15 section E.3 names, and what an attribute's row in Table E.1-1 means under those chosen.

use std::collections::BTreeSet;

use super::profile_option::ProfileOption;
use super::table::{Basic, Row};

/// Why options cannot stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dates are either kept (full-dates) or moved (modified-dates): choose one of the two")]
pub struct Contradiction;

/// The options chosen; none is the Basic Profile alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeSet<ProfileOption>);

/// What is done with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Keep, with the items of a sequence looked into.
    Keep,
    /// Replace with what is known not to identify.
    Clean,
    /// What the Basic Profile says.
    Basic(Basic),
}

impl Options {
    /// Takes a choice.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn new(chosen: impl IntoIterator<Item = ProfileOption>) -> Result<Self, Contradiction> {
        let chosen: BTreeSet<_> = chosen.into_iter().collect();
        if chosen.contains(&ProfileOption::FullDates) && chosen.contains(&ProfileOption::ModifiedDates) {
            return Err(Contradiction);
        }
        Ok(Self(chosen))
    }

    /// Whether an option was chosen.
    #[must_use]
    pub fn has(&self, option: ProfileOption) -> bool {
        self.0.contains(&option)
    }

    /// All that were chosen.
    pub(super) fn iter(&self) -> impl Iterator<Item = ProfileOption> {
        self.0.iter().copied()
    }

    /// What to do with an attribute of the table. An option overrides the profile; of two options, the one that cleans
    /// goes before the one that keeps.
    pub(super) fn action(&self, row: &Row) -> Action {
        let says = |cleans: bool| {
            row.options
                .iter()
                .any(|(option, clean)| *clean == cleans && self.has(*option))
        };
        if says(true) {
            Action::Clean
        } else if says(false) {
            Action::Keep
        } else {
            Action::Basic(row.basic)
        }
    }
}

#[cfg(test)]
mod tests {
    use dicom_dictionary_std::tags;

    use super::super::table::row;
    use super::*;

    #[test]
    fn options_override_the_profile_and_cleaning_goes_before_keeping() {
        use ProfileOption::{Descriptors, DeviceIdentity, FullDates, ModifiedDates};
        let action = |options: &[ProfileOption], tag| {
            Options::new(options.iter().copied())
                .unwrap()
                .action(row(tag).unwrap())
        };
        assert_eq!(action(&[], tags::STUDY_DATE), Action::Basic(Basic::Empty));
        assert_eq!(action(&[FullDates], tags::STUDY_DATE), Action::Keep);
        assert_eq!(action(&[ModifiedDates], tags::STUDY_DATE), Action::Clean);
        assert_eq!(action(&[DeviceIdentity], tags::STATION_NAME), Action::Keep);
        assert_eq!(
            action(&[ModifiedDates, DeviceIdentity], tags::DATE_OF_LAST_CALIBRATION),
            Action::Clean
        );
        assert_eq!(
            action(&[Descriptors], tags::PATIENT_NAME),
            Action::Basic(Basic::Empty)
        );
        assert_eq!(Options::new([FullDates, ModifiedDates]), Err(Contradiction));
    }
}
