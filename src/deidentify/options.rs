//! The options that PS3.15 section E.3 names, and what an attribute's row in Table E.1-1 means under those chosen.

use std::collections::BTreeSet;

use super::table::{Basic, Row};

/// An option of PS3.15 section E.3, in the words of Table E.1-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProfileOption {
    /// Retain Safe Private Option.
    SafePrivate,
    /// Retain UIDs Option.
    Uids,
    /// Retain Device Identity Option.
    DeviceIdentity,
    /// Retain Institution Identity Option.
    InstitutionIdentity,
    /// Retain Patient Characteristics Option.
    PatientCharacteristics,
    /// Retain Longitudinal Temporal Information With Full Dates Option.
    FullDates,
    /// Retain Longitudinal Temporal Information With Modified Dates Option.
    ModifiedDates,
    /// Clean Descriptors Option.
    Descriptors,
    /// Clean Structured Content Option.
    StructuredContent,
    /// Clean Graphics Option.
    Graphics,
}

impl ProfileOption {
    /// Its name in the profile's table, and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SafePrivate => "safe-private",
            Self::Uids => "uids",
            Self::DeviceIdentity => "device-identity",
            Self::InstitutionIdentity => "institution-identity",
            Self::PatientCharacteristics => "patient-characteristics",
            Self::FullDates => "full-dates",
            Self::ModifiedDates => "modified-dates",
            Self::Descriptors => "descriptors",
            Self::StructuredContent => "structured-content",
            Self::Graphics => "graphics",
        }
    }

    /// Its code in CID 7050 (PS3.16) with the meaning.
    pub(super) fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::Graphics => ("113103", "Clean Graphics Option"),
            Self::StructuredContent => ("113104", "Clean Structured Content Option"),
            Self::Descriptors => ("113105", "Clean Descriptors Option"),
            Self::FullDates => (
                "113106",
                "Retain Longitudinal Temporal Information Full Dates Option",
            ),
            Self::ModifiedDates => (
                "113107",
                "Retain Longitudinal Temporal Information Modified Dates Option",
            ),
            Self::PatientCharacteristics => ("113108", "Retain Patient Characteristics Option"),
            Self::DeviceIdentity => ("113109", "Retain Device Identity Option"),
            Self::Uids => ("113110", "Retain UIDs Option"),
            Self::SafePrivate => ("113111", "Retain Safe Private Option"),
            Self::InstitutionIdentity => ("113112", "Retain Institution Identity Option"),
        }
    }
}

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
