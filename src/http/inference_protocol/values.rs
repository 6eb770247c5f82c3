//! Values in the JSON of a request: numbers, or files in base64.

use std::borrow::Cow;
use std::fmt;

use axum::body::Bytes;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::MOST_IMAGES;
use super::error::invalid;
use crate::fault::Fault;

/// Numbers in JSON: as many as four bytes each make a body of the usual limit.
const MOST_NUMBERS: usize = 64 << 20;

/// The `data` of an input: one list, or lists in lists, of numbers or of strings.
#[derive(Debug, Default)]
pub(super) struct Values<'a> {
    numbers: Vec<f32>,
    strings: Vec<Cow<'a, str>>,
}

impl Values<'_> {
    /// As numbers.
    pub(super) fn numbers(self) -> Result<Vec<f32>, Fault> {
        if self.strings.is_empty() {
            return Ok(self.numbers);
        }
        Err(invalid("datatype", "the data of this input are numbers"))
    }

    /// As files in base64. They are smaller than `body`, which holds room for as long as one of them is there.
    pub(super) fn files(self, count: usize, body: &Bytes) -> Result<Vec<Bytes>, Fault> {
        if !self.numbers.is_empty() {
            return Err(invalid("datatype", "the data of this input are files in base64"));
        }
        let has = self.strings.len();
        if has != count {
            let message = format!("the input has {has} files: its shape makes it {count}");
            return Err(invalid("size", message));
        }
        let file = |(index, text): (usize, &Cow<'_, str>)| {
            let message = || format!("file {} is not base64 as in RFC 4648, with padding", index + 1);
            BASE64_STANDARD
                .decode(text.as_bytes())
                .map(|file| {
                    let body = body.clone();
                    Bytes::from_owner(Decoded { file, _body: body })
                })
                .map_err(|_| invalid("base64", message()))
        };
        self.strings.iter().enumerate().map(file).collect()
    }
}

struct Decoded {
    file: Vec<u8>,
    _body: Bytes,
}

impl AsRef<[u8]> for Decoded {
    fn as_ref(&self) -> &[u8] {
        &self.file
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Values<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Values::default();
        Collect(&mut values).deserialize(deserializer)?;
        Ok(values)
    }
}

/// Puts what it meets at the end of the values.
struct Collect<'v, 'a>(&'v mut Values<'a>);

impl Collect<'_, '_> {
    fn number<E: Error>(self, number: f32) -> Result<(), E> {
        if self.0.numbers.len() == MOST_NUMBERS {
            return Err(E::custom("too many numbers"));
        }
        self.0.numbers.push(number);
        Ok(())
    }
}

impl<'a> Collect<'_, 'a> {
    fn string<E: Error>(self, text: Cow<'a, str>) -> Result<(), E> {
        if self.0.strings.len() > MOST_IMAGES {
            return Err(E::custom("too many strings"));
        }
        self.0.strings.push(text);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Collect<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers or strings, in lists")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.number(number as f32)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.number(number as f32)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.number(number as f32)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.string(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.string(Cow::Owned(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Collect(self.0))?.is_some() {}
        Ok(())
    }
}
