//! One data set and all in its sequences, element by element.
//!
//! What Table E.1-1 lists is treated as it says; what it does not list, as [`super::outside`] says.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::header::{HasLength, Header};
use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Length, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;

use super::elements::{is_kept, strings, texts};
use super::key::{self, Key, Patient};
use super::options::{Action, Options};
use super::private::{Blocks, Listed, PrivateAttribute};
use super::profile_option::ProfileOption;
use super::report::{Changes, Done};
use super::table::{Basic, row};
use super::terms::Terms;
use super::{codes, dates, values};

/// UIDs that the standard itself defines.
pub(super) const STANDARD: &str = "1.2.840.10008.";
/// What decides over an element.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) key: Key,
    pub(super) options: Options,
    pub(super) terms: Terms,
    pub(super) keep_private: BTreeSet<PrivateAttribute>,
}

/// The way through one instance.
pub(super) struct Walk<'a> {
    pub(super) rules: &'a Rules,
    patient: Patient,
    /// How many sequences the element is in.
    depth: usize,
    pub(super) changes: Changes,
    /// New UIDs by old.
    pub(super) uids: BTreeMap<String, String>,
}

impl<'a> Walk<'a> {
    /// Begins with an instance's data set, which says whose it is.
    pub(super) fn new(rules: &'a Rules, header: &InMemDicomObject) -> Self {
        Self {
            rules,
            patient: rules.key.patient(&key::identifier(header)),
            depth: 0,
            changes: Changes::default(),
            uids: BTreeMap::new(),
        }
    }

    pub(super) fn data_set(&mut self, source: &InMemDicomObject) -> InMemDicomObject {
        let blocks = Blocks::of(source);
        let mut kept = InMemDicomObject::new_empty();
        for element in source.iter() {
            let Tag(group, number) = element.tag();
            let new = if group % 2 == 0 {
                self.standard(element)
            } else {
                self.private(element, &blocks)
            };
            let Some(new) = new else { continue };
            if group % 2 == 1
                && number > 0xFF
                && let Some((tag, name)) = blocks.creator(new.tag())
            {
                kept.put(strings(tag, VR::LO, vec![name.to_owned()]));
            }
            kept.put(new);
        }
        kept
    }

    fn private(&mut self, element: &InMemElement, blocks: &Blocks) -> Option<InMemElement> {
        let Tag(_, number) = element.tag();
        // creators come back with what is kept of their block
        if (0x10..=0xFF).contains(&number) {
            return None;
        }
        let safe = self.rules.options.has(ProfileOption::SafePrivate);
        let values_fit = || {
            values::is_binary_number(element.vr())
                || texts(element)
                    .is_some_and(|texts| texts.iter().all(|text| values::is_valid(element.vr(), text)))
        };
        match blocks.listed(element, safe, &self.rules.keep_private) {
            Listed::ByUser if element.vr() == VR::SQ => self.sequence(element, Some(Done::Kept)),
            Listed::ByUser => self.done(Done::Kept, element.clone()),
            Listed::Safe if values_fit() => self.done(Done::Kept, element.clone()),
            Listed::Safe | Listed::No => self.removed(element),
        }
    }

    fn standard(&mut self, element: &InMemElement) -> Option<InMemElement> {
        let tag = element.tag();
        // text is written in UTF-8, whatever it was read in
        if tag == tags::SPECIFIC_CHARACTER_SET {
            return None;
        }
        // groups below 0008 are commands, file meta information and directories; 50xx and 60xx curves and overlays
        let belongs = !matches!(tag.0, 0..=7 | 0x5000..=0x50FF | 0x6000..=0x60FF | 0xFFFC..) && tag.1 != 0;
        let known = StandardDataDictionary
            .by_tag(tag)
            .is_some_and(|entry| values::fits(entry.vr(), element.vr()));
        if !belongs || !known {
            return self.removed(element);
        }
        let Some(row) = row(tag) else {
            return self.outside(element);
        };
        match self.rules.options.action(row) {
            Action::Keep => self.keep(element, row.basic),
            Action::Clean => self.clean(element, row.basic),
            Action::Basic(basic) => self.basic(element, basic),
        }
    }

    /// Actions X, Z, D and U.
    fn basic(&mut self, element: &InMemElement, basic: Basic) -> Option<InMemElement> {
        let (tag, vr) = (element.tag(), element.vr());
        let names_patient = self.depth == 0 && matches!(tag, tags::PATIENT_NAME | tags::PATIENT_ID);
        match basic {
            Basic::Empty | Basic::Dummy if names_patient => {
                let pseudonym = self.patient.pseudonym.clone();
                self.done(Done::Pseudonym, strings(tag, vr, vec![pseudonym]))
            }
            // a dummy in the place of nothing would say that there was something
            Basic::Dummy if element.is_empty() => self.emptied(element),
            Basic::Empty => self.emptied(element),
            Basic::Uid if vr == VR::SQ => self.sequence(element, None),
            // also under the root of the standard: none of its own UIDs belongs here
            Basic::Uid | Basic::Dummy if vr == VR::UI => self.new_uids(element, |_| false),
            // a sequence that is D in the table belongs to reports: in an image it is X (section E.1.1, note 13)
            Basic::Dummy if let Some(value) = values::dummy(vr) => {
                self.done(Done::Replaced, DataElement::new(tag, vr, value))
            }
            Basic::Dummy | Basic::Uid | Basic::Remove => self.removed(element),
        }
    }

    /// Action K. What is not even valid is treated as if it were not to be kept.
    fn keep(&mut self, element: &InMemElement, otherwise: Basic) -> Option<InMemElement> {
        match element.vr() {
            VR::SQ => self.sequence(element, Some(Done::Kept)),
            vr if values::is_binary_number(vr) => self.done(Done::Kept, element.clone()),
            vr if values::is_text(vr) => match texts(element) {
                // the one attribute of time that is free text
                Some(texts)
                    if element.tag() == tags::TIMEZONE_OFFSET_FROM_UTC
                        && !texts.iter().all(|text| dates::is_offset(text)) =>
                {
                    self.basic(element, otherwise)
                }
                Some(texts) if texts.iter().all(|text| is_kept(vr, text)) => {
                    self.done(Done::Kept, strings(element.tag(), vr, texts))
                }
                _ => self.basic(element, otherwise),
            },
            _ => self.basic(element, otherwise),
        }
    }

    /// Action C.
    fn clean(&mut self, element: &InMemElement, otherwise: Basic) -> Option<InMemElement> {
        let new = match element.vr() {
            VR::SQ => return self.sequence(element, Some(Done::Cleaned)),
            VR::DA | VR::DT | VR::TM => {
                return self.moved(element).or_else(|| self.basic(element, otherwise));
            }
            VR::LO | VR::LT | VR::SH | VR::ST | VR::UC | VR::UT => texts(element).map(|texts| {
                let clean = |text: &String| self.rules.terms.clean(text);
                texts.iter().map(clean).collect::<Vec<_>>()
            }),
            _ => None,
        };
        match new {
            Some(new) if new.iter().any(|text| !text.is_empty()) => {
                self.done(Done::Cleaned, strings(element.tag(), element.vr(), new))
            }
            _ => self.basic(element, otherwise),
        }
    }

    /// Dates some days earlier, times of day as they are; `None` where a value is neither.
    pub(super) fn moved(&mut self, element: &InMemElement) -> Option<InMemElement> {
        let (tag, vr, days) = (element.tag(), element.vr(), self.patient.days);
        let earlier = |text: &String| match vr {
            _ if text.is_empty() => Some(String::new()),
            VR::DA => dates::earlier(text, days),
            VR::DT => dates::earlier_datetime(text, days),
            _ => dates::is_time(text).then(|| text.clone()),
        };
        let new: Vec<String> = texts(element)?.iter().map(earlier).collect::<Option<_>>()?;
        self.done(Done::Moved, strings(tag, vr, new))
    }

    /// New UIDs for all but those that may stay.
    pub(super) fn new_uids(
        &mut self,
        element: &InMemElement,
        stays: impl Fn(&str) -> bool,
    ) -> Option<InMemElement> {
        let old = texts(element)?;
        let new: Option<Vec<String>> = old
            .iter()
            .map(|uid| {
                if stays(uid) {
                    Some(uid.clone())
                } else {
                    self.new_uid(uid)
                }
            })
            .collect();
        match new {
            Some(new) if new == old => Some(strings(element.tag(), element.vr(), new)),
            Some(new) => self.done(Done::NewUid, strings(element.tag(), element.vr(), new)),
            None => self.emptied(element),
        }
    }

    /// The UID that stands for another.
    pub(super) fn new_uid(&mut self, old: &str) -> Option<String> {
        if !is_kept(VR::UI, old) {
            return None;
        }
        if old.is_empty() {
            return Some(old.to_owned());
        }
        let new = self.rules.key.uid(old);
        self.uids.insert(old.to_owned(), new.clone());
        Some(new)
    }

    /// A sequence with its items looked into.
    pub(super) fn sequence(&mut self, element: &InMemElement, done: Option<Done>) -> Option<InMemElement> {
        self.depth += 1;
        let items = element.items().unwrap_or_default();
        let items: Vec<_> = items.iter().filter_map(|item| self.item(item)).collect();
        self.depth -= 1;
        let length = if items.is_empty() {
            Length(0)
        } else {
            Length::UNDEFINED
        };
        let new = DataElement::new(element.tag(), VR::SQ, DataSetSequence::new(items, length));
        match done {
            Some(done) => self.done(done, new),
            None => Some(new),
        }
    }

    fn item(&mut self, item: &InMemDicomObject) -> Option<InMemDicomObject> {
        if !codes::is_code(item) {
            return Some(self.data_set(item));
        }
        let Some(code) = codes::public(item, &self.rules.terms) else {
            self.changes.add(tags::CODE_VALUE, Done::Removed);
            return None;
        };
        let mut rest = item.clone();
        for tag in codes::BASIC {
            rest.remove_element(tag);
        }
        let mut new = self.data_set(&rest);
        for element in code {
            new.put(element);
        }
        Some(new)
    }

    /// Keeps `element`, and says what was done with it.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "every action ends with an element or without one"
    )]
    pub(super) fn done(&mut self, done: Done, element: InMemElement) -> Option<InMemElement> {
        self.changes.add(element.tag(), done);
        Some(element)
    }

    /// Removes an element, and says so.
    pub(super) fn removed(&mut self, element: &InMemElement) -> Option<InMemElement> {
        self.changes.add(element.tag(), Done::Removed);
        None
    }

    pub(super) fn emptied(&mut self, element: &InMemElement) -> Option<InMemElement> {
        let (tag, vr) = (element.tag(), element.vr());
        let empty = if vr == VR::SQ {
            DataElement::new(tag, vr, DataSetSequence::new(Vec::new(), Length(0)))
        } else {
            DataElement::new(tag, vr, PrimitiveValue::Empty)
        };
        if element.is_empty() {
            Some(empty)
        } else {
            self.done(Done::Emptied, empty)
        }
    }
}
