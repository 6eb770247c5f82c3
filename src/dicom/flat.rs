//! Data sets without sequences in Implicit VR Little Endian: the command sets of DIMSE messages (PS3.7 section 6.3.1), and the
//! identifiers that a query for an instance asks and answers with.
//!
//! They come from the network before anything is known of who sends them, so they are read without recursion and without trust in a
//! length.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// The elements of a flat data set, by tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlatDataSet(BTreeMap<Tag, Vec<u8>>);

/// Why bytes are not a flat data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the elements break off, repeat, are not in order or hold a sequence")]
pub struct NotFlat;

impl FlatDataSet {
    /// Reads one to its end.
    ///
    /// # Errors
    /// [`NotFlat`] where a length reaches beyond the end or is undefined, or the tags do not rise.
    pub fn read(mut bytes: &[u8]) -> Result<Self, NotFlat> {
        let mut elements = BTreeMap::new();
        while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
            let [g0, g1, e0, e1, length @ ..] = *header;
            let tag = Tag(u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1]));
            let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| NotFlat)?;
            // an undefined length is longer than anything
            let (value, rest) = rest.split_at_checked(length).ok_or(NotFlat)?;
            if elements.last_key_value().is_some_and(|(last, _)| *last >= tag) {
                return Err(NotFlat);
            }
            elements.insert(tag, value.to_vec());
            bytes = rest;
        }
        if bytes.is_empty() {
            Ok(Self(elements))
        } else {
            Err(NotFlat)
        }
    }

    /// The text of an element without its padding; `None` where it is absent, empty or not ASCII.
    #[must_use]
    pub fn text(&self, tag: Tag) -> Option<&str> {
        let text = str::from_utf8(self.0.get(&tag)?)
            .ok()
            .filter(|text| text.is_ascii())?;
        let text = text.trim_matches([' ', '\0']);
        (!text.is_empty()).then_some(text)
    }

    /// The one number of an element of VR US.
    #[must_use]
    pub fn number(&self, tag: Tag) -> Option<u16> {
        let value = self.0.get(&tag)?.as_slice();
        value.try_into().ok().map(u16::from_le_bytes)
    }

    /// The same with a UID.
    #[must_use]
    pub fn with_uid(self, tag: Tag, uid: &str) -> Self {
        self.with(tag, uid, 0)
    }

    /// The same with a text.
    #[must_use]
    pub fn with_text(self, tag: Tag, text: &str) -> Self {
        self.with(tag, text, b' ')
    }

    /// The same with a number of VR US.
    #[must_use]
    pub fn with_number(mut self, tag: Tag, number: u16) -> Self {
        self.0.insert(tag, number.to_le_bytes().to_vec());
        self
    }

    fn with(mut self, tag: Tag, text: &str, padding: u8) -> Self {
        let mut value = text.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(padding);
        }
        self.0.insert(tag, value);
        self
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (Tag(group, element), value) in &self.0 {
            bytes.extend_from_slice(&group.to_le_bytes());
            bytes.extend_from_slice(&element.to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    /// Its bytes with Command Group Length (0000,0000) before them, as a command set has it.
    #[must_use]
    pub fn command_bytes(&self) -> Vec<u8> {
        let elements = self.bytes();
        let length = (elements.len() as u32).to_le_bytes().to_vec();
        let mut bytes = Self(BTreeMap::from([(tags::COMMAND_GROUP_LENGTH, length)])).bytes();
        bytes.extend_from_slice(&elements);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A C-ECHO-RQ with message ID 1, as `echoscu -d` of DCMTK 3.6.7 shows it on the wire.
    const ECHO: [u8; 68] = [
        0, 0, 0, 0, 4, 0, 0, 0, 56, 0, 0, 0, //
        0, 0, 2, 0, 18, 0, 0, 0, 49, 46, 50, 46, 56, 52, 48, 46, 49, 48, 48, 48, 56, 46, 49, 46, 49,
        0, //
        0, 0, 0, 1, 2, 0, 0, 0, 48, 0, //
        0, 0, 16, 1, 2, 0, 0, 0, 1, 0, //
        0, 0, 0, 8, 2, 0, 0, 0, 1, 1,
    ];

    #[test]
    fn a_command_set_is_written_as_it_was_read() {
        let read = FlatDataSet::read(&ECHO).unwrap();
        assert_eq!(read.text(tags::AFFECTED_SOP_CLASS_UID), Some("1.2.840.10008.1.1"));
        assert_eq!(read.number(tags::COMMAND_FIELD), Some(0x0030));
        assert_eq!(read.number(tags::PRIORITY), None);
        let written = FlatDataSet::default()
            .with_number(tags::COMMAND_DATA_SET_TYPE, 0x0101)
            .with_number(tags::MESSAGE_ID, 1)
            .with_number(tags::COMMAND_FIELD, 0x0030)
            .with_uid(tags::AFFECTED_SOP_CLASS_UID, "1.2.840.10008.1.1");
        assert_eq!(written.command_bytes(), ECHO);
    }

    #[test]
    fn texts_have_an_even_length_and_lose_their_padding() {
        let query = FlatDataSet::default().with_text(tags::QUERY_RETRIEVE_LEVEL, "IMAGE");
        assert_eq!(query.bytes()[8..], *b"IMAGE ");
        assert_eq!(query.text(tags::QUERY_RETRIEVE_LEVEL), Some("IMAGE"));
        let odd = FlatDataSet(BTreeMap::from([
            (tags::STATUS, vec![1, 2, 3]),
            (tags::PRIORITY, b"  ".to_vec()),
        ]));
        assert_eq!((odd.number(tags::STATUS), odd.text(tags::PRIORITY)), (None, None));
    }

    #[test]
    fn lengths_that_are_wrong_and_tags_that_do_not_rise_are_refused() {
        for end in 1..ECHO.len() {
            let whole = [12, 38, 48, 58].contains(&end);
            assert_eq!(FlatDataSet::read(&ECHO[..end]).is_ok(), whole, "{end}");
        }
        let twice = [&ECHO[38..48], &ECHO[38..48]].concat();
        assert_eq!(FlatDataSet::read(&twice), Err(NotFlat));
        let undefined = [8, 0, 0x15, 0x11, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(FlatDataSet::read(&undefined), Err(NotFlat));
    }
}
