//! The names of the options of PS3.15 section E.3.

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
