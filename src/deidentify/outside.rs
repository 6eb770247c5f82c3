//! What Table E.1-1 does not list, and the standard's Basic Profile would therefore keep.
//!
//! Here it stays only if it cannot name anybody: numbers, UIDs under the key, values that the attribute is known to have.

use dicom_core::header::Header;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;

use super::data_set::{STANDARD, Walk};
use super::elements::{is_kept, strings, texts};
use super::profile_option::ProfileOption;
use super::report::Done;
use super::values;

/// What tells of the machine and is outside of the table: the Basic Profile keeps it, the Retain Device Identity Option here.
const DEVICE: [Tag; 5] = [
    tags::MANUFACTURER,
    tags::MANUFACTURER_MODEL_NAME,
    tags::SOFTWARE_VERSIONS,
    tags::DETECTOR_MANUFACTURER_NAME,
    tags::DETECTOR_MANUFACTURER_MODEL_NAME,
];

impl Walk<'_> {
    /// What the table does not list.
    pub(super) fn outside(&mut self, element: &InMemElement) -> Option<InMemElement> {
        let options = &self.rules.options;
        match element.vr() {
            VR::SQ => self.sequence(element, None),
            VR::UI if options.has(ProfileOption::Uids) => self.unchanged_if(element, is_kept),
            VR::UI => self.new_uids(element, |uid| uid.starts_with(STANDARD)),
            VR::DA | VR::DT | VR::TM if options.has(ProfileOption::FullDates) => {
                self.unchanged_if(element, is_kept)
            }
            VR::DA | VR::DT | VR::TM if options.has(ProfileOption::ModifiedDates) => {
                self.moved(element).or_else(|| self.emptied(element))
            }
            VR::DS | VR::IS => self.unchanged_if(element, is_kept),
            VR::LO if DEVICE.contains(&element.tag()) && options.has(ProfileOption::DeviceIdentity) => {
                self.unchanged_if(element, is_kept)
            }
            VR::CS | VR::LO | VR::SH => self.known_values(element),
            vr if values::is_binary_number(vr) => Some(element.clone()),
            vr if values::is_text(vr) => self.emptied(element),
            // numbers that may be written as words of bytes
            VR::OW if element.tag() == tags::LUT_DATA => Some(element.clone()),
            _ => self.removed(element),
        }
    }

    /// Keeps an element whose values all pass; otherwise keeps its place.
    fn unchanged_if(&mut self, element: &InMemElement, passes: fn(VR, &str) -> bool) -> Option<InMemElement> {
        match texts(element) {
            Some(texts) if texts.iter().all(|text| passes(element.vr(), text)) => {
                Some(strings(element.tag(), element.vr(), texts))
            }
            _ => self.emptied(element),
        }
    }

    /// Keeps the values that the attribute is known to have; the others leave their place in the list.
    fn known_values(&mut self, element: &InMemElement) -> Option<InMemElement> {
        let (tag, vr) = (element.tag(), element.vr());
        let old = texts(element)?;
        let known = |text: &String| {
            let stays = self.rules.terms.allows(tag, text);
            if stays { text.clone() } else { String::new() }
        };
        let new: Vec<String> = old.iter().map(known).collect();
        if new == old {
            Some(strings(tag, vr, new))
        } else if new.iter().all(String::is_empty) {
            self.emptied(element)
        } else {
            self.done(Done::Cleaned, strings(tag, vr, new))
        }
    }
}
