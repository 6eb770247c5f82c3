//! Where bulk data lies in a data set.

use std::fmt;
use std::str::FromStr;

use dicom_core::Tag;
use dicom_object::InMemDicomObject;

/// The way to an attribute: `7FE00010`, or through sequences, `00283010/1/00283006`; items count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkPath {
    items: Vec<(Tag, usize)>,
    attribute: Option<Tag>,
}

/// The deepest path that is followed: as deep as data sets are read.
const MOST_ITEMS: usize = 64;

impl BulkPath {
    /// The item with this index, from 0, of a sequence here.
    pub(super) fn item(&self, sequence: Tag, index: usize) -> Self {
        let mut items = self.items.clone();
        items.push((sequence, index));
        Self {
            items,
            attribute: None,
        }
    }

    /// An attribute here.
    pub(super) fn attribute(&self, tag: Tag) -> Self {
        Self {
            items: self.items.clone(),
            attribute: Some(tag),
        }
    }

    /// The attribute, where it is one of the instance itself and of none of its sequences.
    #[must_use]
    pub fn top_level(&self) -> Option<Tag> {
        self.attribute.filter(|_| self.items.is_empty())
    }

    /// The value at this place, little endian.
    #[must_use]
    pub fn value(&self, object: &InMemDicomObject) -> Option<Vec<u8>> {
        let mut object = object;
        for (sequence, index) in &self.items {
            object = object.get(*sequence)?.items()?.get(*index)?;
        }
        let value = object.get(self.attribute?)?.to_bytes().ok()?;
        Some(value.into_owned())
    }
}

impl fmt::Display for BulkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (sequence, index) in &self.items {
            write!(f, "{}/{}/", super::key(*sequence), index + 1)?;
        }
        self.attribute.map_or(Ok(()), |tag| f.write_str(&super::key(tag)))
    }
}

/// What is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPath;

impl FromStr for BulkPath {
    type Err = NoPath;

    fn from_str(text: &str) -> Result<Self, NoPath> {
        let mut path = Self::default();
        let mut parts = text.split('/');
        loop {
            let tag = parts.next().and_then(tag).ok_or(NoPath)?;
            let Some(index) = parts.next() else {
                return Ok(path.attribute(tag));
            };
            let index = index.parse::<usize>().ok().and_then(|index| index.checked_sub(1));
            if path.items.len() >= MOST_ITEMS {
                return Err(NoPath);
            }
            path = path.item(tag, index.ok_or(NoPath)?);
        }
    }
}

fn tag(digits: &str) -> Option<Tag> {
    let hexadecimal = digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| hexadecimal)?;
    Some(Tag((number >> 16) as u16, number as u16))
}
