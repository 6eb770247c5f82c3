//! What a search asks for (QIDO-RS, PS3.18 sections 8.3.4 and 10.6), read from the parameters of a request.
//!
//! Invariant: what a [`Query`] holds is in the forms in which records keep their keys (see [`super::record`]), so that whoever looks
//! has only to compare.

mod value;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::json::key;
use super::record::Level;
pub use value::Matching;

/// The most conditions and values of one query: nobody asks for more, and each costs time for every record.
const MOST_CONDITIONS: usize = 32;

/// A search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// All of these hold.
    pub conditions: Vec<Condition>,
    /// Which attributes the answer has beside those that it always has.
    pub include: Include,
    /// How many results are wanted at most.
    pub limit: Option<u32>,
    /// How many results come before them.
    pub offset: u32,
    /// Whether names that sound alike were asked for, too.
    pub fuzzy: bool,
}

/// What an attribute has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The way to it: one tag, or those of sequences before it, whose first items are looked at.
    pub path: Vec<Tag>,
    /// One of these holds.
    pub any: Vec<Matching>,
}

impl Condition {
    /// The attribute, where it is in no sequence.
    #[must_use]
    pub fn attribute(&self) -> Option<Tag> {
        match self.path.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }
}

/// Attributes that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Include {
    /// All that there are.
    All,
    /// These.
    Some(Vec<Tag>),
}

impl Default for Include {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Include {
    /// Whether the attribute of this name is among them.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(tags) => tags.iter().any(|tag| key(*tag) == name),
        }
    }

    fn add(&mut self, tag: Tag) {
        if let Self::Some(tags) = self
            && !tags.contains(&tag)
        {
            tags.push(tag);
        }
    }
}

/// What is wrong with a query. Values of keys are not in it: they may name a patient.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A parameter that is neither an attribute nor one of those that steer a search.
    #[error(
        "a parameter of the query is not known: it must be an attribute's keyword or tag of eight hexadecimal digits, includefield, \
         limit, offset, fuzzymatching or accept"
    )]
    Parameter,
    /// A value that its attribute cannot have.
    #[error("the value for {attribute} cannot be matched: it must be {right}")]
    Value {
        /// Keyword or tag.
        attribute: String,
        /// What it must be.
        right: &'static str,
    },
    /// An attribute that results of this level do not have.
    #[error(
        "{0} cannot be searched for here: it belongs to a lower level, or is none of the keys that are matched"
    )]
    Level(String),
    /// `limit` or `offset`.
    #[error("{0} must be a number that is not negative")]
    Number(&'static str),
    /// `fuzzymatching`.
    #[error("fuzzymatching must be true or false")]
    Fuzzy,
    /// `includefield`.
    #[error("includefield must be keywords or tags with commas between them, or all")]
    Include,
    /// More conditions than anyone needs.
    #[error(
        "a query has at most {MOST_CONDITIONS} conditions, and 500 values in a list, 16 of them with wildcards"
    )]
    TooMany,
}

impl Query {
    /// Reads the decoded parameters of a request for results of `level`.
    ///
    /// # Errors
    /// [`QueryError`], which says what would be right.
    pub fn read<'a>(
        level: Level,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, QueryError> {
        let mut query = Self::default();
        for (name, value) in parameters {
            match name.to_ascii_lowercase().as_str() {
                "includefield" => query.include_fields(value)?,
                "limit" => query.limit = Some(value.parse().map_err(|_| QueryError::Number("limit"))?),
                "offset" => query.offset = value.parse().map_err(|_| QueryError::Number("offset"))?,
                "fuzzymatching" => {
                    query.fuzzy = match value {
                        "true" => true,
                        "false" => false,
                        _ => return Err(QueryError::Fuzzy),
                    }
                }
                // what every service takes; the answer's form is decided elsewhere
                "accept" | "charset" => {}
                _ => query.condition(level, name, value)?,
            }
        }
        Ok(query)
    }

    /// That an attribute has this value.
    pub fn require(&mut self, tag: Tag, value: &str) {
        self.conditions.push(Condition {
            path: vec![tag],
            any: vec![Matching::Exact(value.to_owned())],
        });
    }

    fn include_fields(&mut self, fields: &str) -> Result<(), QueryError> {
        for field in fields.split(',').map(str::trim).filter(|field| !field.is_empty()) {
            if field.eq_ignore_ascii_case("all") {
                self.include = Include::All;
                continue;
            }
            // of a sequence all is shown, whatever of it was asked for
            let first = path(field).and_then(|path| path.first().copied());
            self.include.add(first.ok_or(QueryError::Include)?);
        }
        Ok(())
    }

    fn condition(&mut self, level: Level, name: &str, value: &str) -> Result<(), QueryError> {
        let path = path(name).ok_or(QueryError::Parameter)?;
        let (first, last) = (path[0], path[path.len() - 1]);
        if !is_of(first, level) || vr(first).is_some_and(|vr| (vr == VR::SQ) != (path.len() > 1)) {
            return Err(QueryError::Level(shown(&path)));
        }
        self.include.add(first);
        let any = value::matchings(vr(last).unwrap_or(VR::LO), value).map_err(|right| match right {
            value::Wrong::Form(right) => QueryError::Value {
                attribute: shown(&path),
                right,
            },
            value::Wrong::Many => QueryError::TooMany,
        })?;
        if any.is_empty() {
            return Ok(());
        }
        if self.conditions.len() >= MOST_CONDITIONS {
            return Err(QueryError::TooMany);
        }
        self.conditions.push(Condition { path, any });
        Ok(())
    }
}

/// Whether results of `level` can be searched by an attribute.
fn is_of(tag: Tag, level: Level) -> bool {
    // what is counted or said of the answer, and is in no record
    const ANSWERED: [Tag; 5] = [
        tags::NUMBER_OF_STUDY_RELATED_SERIES,
        tags::NUMBER_OF_STUDY_RELATED_INSTANCES,
        tags::NUMBER_OF_SERIES_RELATED_INSTANCES,
        tags::RETRIEVE_URL,
        tags::INSTANCE_AVAILABILITY,
    ];
    if ANSWERED.contains(&tag) {
        return false;
    }
    tag == tags::MODALITIES_IN_STUDY
        || match Level::of(tag) {
            Level::Study => true,
            Level::Series => level != Level::Study,
            Level::Instance => level == Level::Instance,
        }
}

/// The tags of `PatientID`, `00100020` or, inside a sequence, `00400275.ScheduledProcedureStepID`.
fn path(name: &str) -> Option<Vec<Tag>> {
    let path: Option<Vec<Tag>> = name.split('.').map(tag).collect();
    path.filter(|path| path.len() <= 4)
}

fn tag(name: &str) -> Option<Tag> {
    if name.len() == 8 && name.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let number = u32::from_str_radix(name, 16).ok()?;
        return Some(Tag((number >> 16) as u16, number as u16));
    }
    Some(StandardDataDictionary.by_name(name)?.tag())
}

fn vr(tag: Tag) -> Option<VR> {
    Some(StandardDataDictionary.by_tag(tag)?.vr().relaxed())
}

/// An attribute as it is named to people: of the caller's own words, only what the dictionary has.
fn shown(path: &[Tag]) -> String {
    let names = path.iter().map(|tag| {
        let entry = StandardDataDictionary.by_tag(*tag);
        entry.map_or_else(|| key(*tag), |entry| entry.alias().to_owned())
    });
    names.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests;
