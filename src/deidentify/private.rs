//! Private attributes (PS3.5 section 7.8): dropped, unless the standard or the user lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::LazyLock;

use dicom_core::header::Header;
use dicom_core::{Tag, VR};
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

use super::table::lines;

/// A private attribute, as a list names it: the block in which it stands is the file's choice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrivateAttribute {
    group: u16,
    element: u8,
    creator: String,
}

/// Why a text names no private attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a private attribute is GGGG,CREATOR,EE: an odd group and the last two digits of the element, in hexadecimal"
)]
pub struct InvalidPrivateAttribute;

impl FromStr for PrivateAttribute {
    type Err = InvalidPrivateAttribute;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // a creator may have commas of its own
        let (group, rest) = text.split_once(',').ok_or(InvalidPrivateAttribute)?;
        let (creator, element) = rest.rsplit_once(',').ok_or(InvalidPrivateAttribute)?;
        let group = u16::from_str_radix(group.trim(), 16).map_err(|_| InvalidPrivateAttribute)?;
        let element = u8::from_str_radix(element.trim(), 16).map_err(|_| InvalidPrivateAttribute)?;
        if group % 2 == 0 || creator.trim().is_empty() {
            return Err(InvalidPrivateAttribute);
        }
        Ok(Self {
            group,
            element,
            creator: creator.trim().to_owned(),
        })
    }
}

static SAFE: LazyLock<BTreeMap<PrivateAttribute, VR>> = LazyLock::new(|| {
    lines(include_str!("safe_private.tsv"))
        .filter_map(|[group, element, creator, vr]| {
            let attribute = PrivateAttribute {
                group: u16::from_str_radix(group, 16).ok()?,
                element: u8::from_str_radix(element, 16).ok()?,
                creator: creator.to_owned(),
            };
            Some((attribute, VR::from_str(vr).ok()?))
        })
        .collect()
});

/// What a list says of a private attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// Not at all.
    No,
    /// In Table E.3.10-1, with the VR of this element.
    Safe,
    /// By the user.
    ByUser,
}

/// The private blocks that a data set reserves: creators by group and block.
pub(super) struct Blocks(BTreeMap<(u16, u8), String>);

impl Blocks {
    pub(super) fn of(object: &InMemDicomObject) -> Self {
        let creators = object.iter().filter_map(|element| {
            let Tag(group, number) = element.tag();
            let block = u8::try_from(number).ok().filter(|block| *block >= 0x10)?;
            let creator = element.to_str().ok()?;
            (group % 2 == 1).then(|| {
                let name = creator.trim_matches(|c: char| c == '\0' || c.is_whitespace());
                ((group, block), name.to_owned())
            })
        });
        Self(creators.collect())
    }

    /// What the lists say of an element; `safe` is whether the Retain Safe Private Option was chosen.
    pub(super) fn listed(
        &self,
        element: &InMemElement,
        safe: bool,
        by_user: &BTreeSet<PrivateAttribute>,
    ) -> Listed {
        let Tag(group, number) = element.tag();
        let Some(creator) = self.0.get(&(group, (number >> 8) as u8)) else {
            return Listed::No;
        };
        let attribute = PrivateAttribute {
            group,
            element: number as u8,
            creator: creator.clone(),
        };
        if by_user.contains(&attribute) {
            Listed::ByUser
        } else if safe && SAFE.get(&attribute) == Some(&element.vr()) {
            Listed::Safe
        } else {
            Listed::No
        }
    }

    /// The creator of the block in which a kept element stands: its tag and its name, which is on a list.
    pub(super) fn creator(&self, tag: Tag) -> Option<(Tag, &str)> {
        let block = (tag.1 >> 8) as u8;
        let name = self.0.get(&(tag.0, block))?;
        Some((Tag(tag.0, u16::from(block)), name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_list_is_read() {
        assert_eq!(SAFE.len(), 86);
        let factor: PrivateAttribute = "7053,Philips PET Private Group,09".parse().unwrap();
        assert_eq!(SAFE.get(&factor), Some(&VR::DS));
    }

    #[test]
    fn a_creator_may_have_commas() {
        let attribute: PrivateAttribute = "7e01,HOLOGIC, Inc.,1A".parse().unwrap();
        assert_eq!(
            attribute,
            PrivateAttribute {
                group: 0x7E01,
                element: 0x1A,
                creator: "HOLOGIC, Inc.".to_owned()
            }
        );
        for text in [
            "",
            "0019",
            "0019,X",
            "0018,X,01",
            "0019,,01",
            "0019,X,101",
            "é,é,é",
        ] {
            assert!(text.parse::<PrivateAttribute>().is_err(), "{text}");
        }
    }
}
