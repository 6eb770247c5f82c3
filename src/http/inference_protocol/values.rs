//! Values in the JSON of a request: numbers, or files in base64.
//!
//! Invariant: they are read when it is known how many there have to be, and no more than these are kept; what is beyond is counted.

use std::borrow::Cow;
use std::fmt;

use axum::body::Bytes;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::invalid;
use crate::fault::Fault;

/// The numbers of `images` images, `each` of so many, which must be all that the data have.
///
/// # Errors
/// `size` with both numbers, `datatype`, or that the JSON is not a list of numbers.
pub(super) fn numbers(data: &RawValue, images: usize, each: usize) -> Result<Vec<Vec<f32>>, Fault> {
    let most = images * each;
    let mut numbers = Numbers {
        images: Vec::new(),
        each,
        most,
        count: 0,
        has_strings: false,
    };
    read(data, &mut numbers)?;
    let has = numbers.count;
    if numbers.has_strings {
        return Err(invalid("datatype", "the data of this input are numbers"));
    }
    if has != most {
        let message = format!("the input has {has} numbers: its shape makes it {most}");
        return Err(invalid("size", message));
    }
    Ok(numbers.images)
}

/// `count` files in base64, which must be all that the data have. They are smaller than `body`, which holds room for as long as one of
/// them is there.
///
/// # Errors
/// `size` with both numbers, `datatype`, `base64`, or that the JSON is not a list of strings.
pub(super) fn files(data: &RawValue, count: usize, body: &Bytes) -> Result<Vec<Bytes>, Fault> {
    let mut strings = Strings {
        kept: Vec::new(),
        most: count,
        count: 0,
        has_numbers: false,
    };
    read(data, &mut strings)?;
    let has = strings.count;
    if strings.has_numbers {
        return Err(invalid("datatype", "the data of this input are files in base64"));
    }
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
    strings.kept.iter().enumerate().map(file).collect()
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

/// What values are put into, one after the other.
trait Sink<'a> {
    fn number(&mut self, number: f32);
    fn string(&mut self, text: Cow<'a, str>);
}

/// Images of `each` numbers; no more than `most` are kept.
struct Numbers {
    images: Vec<Vec<f32>>,
    each: usize,
    most: usize,
    count: usize,
    has_strings: bool,
}

impl Sink<'_> for Numbers {
    fn number(&mut self, number: f32) {
        if self.count < self.most {
            if self.count.is_multiple_of(self.each) {
                self.images.push(Vec::with_capacity(self.each));
            }
            if let Some(image) = self.images.last_mut() {
                image.push(number);
            }
        }
        self.count += 1;
    }

    fn string(&mut self, _text: Cow<'_, str>) {
        self.has_strings = true;
    }
}

/// Strings, of which no more than `most` are kept.
struct Strings<'a> {
    kept: Vec<Cow<'a, str>>,
    most: usize,
    count: usize,
    has_numbers: bool,
}

impl<'a> Sink<'a> for Strings<'a> {
    fn number(&mut self, _number: f32) {
        self.has_numbers = true;
    }

    fn string(&mut self, text: Cow<'a, str>) {
        if self.count < self.most {
            self.kept.push(text);
        }
        self.count += 1;
    }
}

/// Reads one list, or lists in lists, of numbers or strings.
fn read<'a>(data: &'a RawValue, sink: &mut impl Sink<'a>) -> Result<(), Fault> {
    let mut json = serde_json::Deserializer::from_str(data.get());
    Collect(sink)
        .deserialize(&mut json)
        .map_err(|error| not_values(&error))
}

/// Where the data are no values; what stands there is not repeated.
fn not_values(error: &serde_json::Error) -> Fault {
    let place = format!("line {}, column {}", error.line(), error.column());
    let message = format!(
        "the data of the input are not what the protocol has there, at {place} of them: one list, or lists in lists, of numbers or of strings"
    );
    invalid("request", message)
}

/// Puts what it meets into the sink.
struct Collect<'s, S>(&'s mut S);

impl<'de, S: Sink<'de>> DeserializeSeed<'de> for Collect<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink<'de>> Visitor<'de> for Collect<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers or strings, in lists")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.0.number(number as f32);
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.0.number(number as f32);
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.0.number(number as f32);
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.0.string(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.string(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Collect(self.0))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_there_has_to_be_and_all_is_counted() {
        let text = format!("[{}0]", "0,".repeat(9_999));
        let data: &RawValue = serde_json::from_str(&text).unwrap();
        let mut numbers = Numbers {
            images: Vec::new(),
            each: 6,
            most: 12,
            count: 0,
            has_strings: false,
        };
        read(data, &mut numbers).unwrap();
        assert_eq!(numbers.count, 10_000);
        assert_eq!(numbers.images.iter().map(Vec::capacity).sum::<usize>(), 12);

        let text = format!("[{}\"\"]", "\"\",".repeat(9_999));
        let data: &RawValue = serde_json::from_str(&text).unwrap();
        let mut strings = Strings {
            kept: Vec::new(),
            most: 2,
            count: 0,
            has_numbers: false,
        };
        read(data, &mut strings).unwrap();
        assert_eq!((strings.count, strings.kept.len()), (10_000, 2));
    }
}
