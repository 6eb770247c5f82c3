//! Which workitems a search or a filtered subscription is about (PS3.18 sections 8.3.4 and 11.9, PS3.4 section C.2.2.2).

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;
use serde_json::{Map, Value};

use super::{Attributes, tag};
use crate::dicom::date_time::Period;
use crate::fault::{Fault, FaultKind};

/// More matches are not given in one answer.
const MOST: usize = 1_000;

/// Keys that a workitem must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    keys: Vec<Key>,
}

/// Which part of the matches is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many are passed over.
    pub offset: usize,
    /// How many are given at most.
    pub limit: usize,
    /// Whether matching that is not literal was asked for, which is not done here.
    pub fuzzy: bool,
}

/// What a store can find workitems by without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// Patient ID (0010,0020).
    Patient(&'a str),
    /// Study Instance UID (0020,000D) of the input.
    Study(&'a str),
    /// Procedure Step State (0074,1000).
    State(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    /// Tags, from the outermost sequence to the element.
    path: Vec<String>,
    pattern: String,
}

impl Query {
    /// Reads the parameters of a search: `ATTRIBUTE=VALUE` by tag or keyword, of sequences `A.B=VALUE`; `limit`, `offset`,
    /// `fuzzymatching` and `includefield`, which changes nothing, since all attributes are given.
    ///
    /// # Errors
    /// `query`, which names the parameter that is wrong.
    pub fn parse(parameters: &[(String, String)]) -> Result<(Self, Page), Fault> {
        let mut query = Self::default();
        let mut page = Page {
            offset: 0,
            limit: MOST,
            fuzzy: false,
        };
        let number = |name: &str, value: &str| {
            let message = format!("{name} must be a number that is not negative");
            value.parse::<usize>().map_err(|_| wrong(message))
        };
        for (name, value) in parameters {
            match name.as_str() {
                "limit" => page.limit = number("limit", value)?.min(MOST),
                "offset" => page.offset = number("offset", value)?,
                "fuzzymatching" => {
                    page.fuzzy = value
                        .parse()
                        .map_err(|_| wrong("fuzzymatching must be true or false"))?;
                }
                "includefield" | "accept" | "charset" => {}
                attribute => query.keys.push(Key {
                    path: path(attribute)?,
                    pattern: value.trim().to_owned(),
                }),
            }
        }
        Ok((query, page))
    }

    /// Reads the `filter` of a subscription: `ATTRIBUTE=VALUE` with commas between them. At least one is needed.
    ///
    /// # Errors
    /// `query`.
    pub fn parse_filter(filter: &str) -> Result<Self, Fault> {
        let keys = filter.split(',').map(|key| {
            let (attribute, value) = key
                .split_once('=')
                .ok_or_else(|| wrong("filter is a list of ATTRIBUTE=VALUE with commas between them"))?;
            Ok(Key {
                path: path(attribute.trim())?,
                pattern: value.trim().to_owned(),
            })
        });
        let keys = keys.collect::<Result<_, Fault>>()?;
        Ok(Self { keys })
    }

    /// What every match has one known value of, and a store can look up: of several the one that few share.
    #[must_use]
    pub fn lookup(&self) -> Option<Lookup<'_>> {
        let value = |path: &[&str]| {
            let key = self.keys.iter().find(|key| key.path == path)?;
            let is_one = !key.pattern.is_empty() && !key.pattern.contains(['*', '?', ',', '\\']);
            is_one.then_some(key.pattern.as_str())
        };
        value(&[tag::INPUT_INFORMATION, tag::STUDY_UID])
            .map(Lookup::Study)
            .or_else(|| value(&[tag::PATIENT_ID]).map(Lookup::Patient))
            .or_else(|| value(&[tag::STATE]).map(Lookup::State))
    }

    /// Whether a workitem with these attributes matches every key.
    #[must_use]
    pub fn matches(&self, attributes: &Attributes) -> bool {
        self.keys.iter().all(|key| {
            key.pattern.is_empty() || {
                let first = attributes.element(&key.path[0]);
                first.is_some_and(|element| element_matches(element, &key.path[1..], &key.pattern))
            }
        })
    }
}

/// Tags of `00404021.0020000D` or `InputInformationSequence.StudyInstanceUID`.
fn path(attribute: &str) -> Result<Vec<String>, Fault> {
    let tags = attribute.split('.').map(|name| {
        if name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(name.to_ascii_uppercase());
        }
        let known = StandardDataDictionary.by_name(name);
        let tag = known.map(DataDictionaryEntry::tag);
        let tag = tag.ok_or_else(|| {
            wrong("a parameter of a search is the tag or keyword of an attribute, limit, offset, includefield or fuzzymatching")
        })?;
        Ok(format!("{:04X}{:04X}", tag.group(), tag.element()))
    });
    tags.collect()
}

fn element_matches(element: &Value, path: &[String], pattern: &str) -> bool {
    let values = element["Value"].as_array().into_iter().flatten();
    if let Some((next, rest)) = path.split_first() {
        let items = values.filter_map(Value::as_object);
        let mut within = items.filter_map(|item: &Map<String, Value>| item.get(next));
        return within.any(|element| element_matches(element, rest, pattern));
    }
    let vr = element["vr"].as_str().unwrap_or_default();
    let mut texts = values.filter_map(|value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        // of a name, the form that everyone writes
        Value::Object(name) => name.get("Alphabetic")?.as_str().map(str::to_owned),
        _ => None,
    });
    texts.any(|text| value_matches(&text, vr, pattern))
}

fn value_matches(text: &str, vr: &str, pattern: &str) -> bool {
    match vr {
        "DA" | "TM" => in_range(text, pattern),
        "DT" => {
            let periods = Period::of(text).zip(Period::of_range(pattern));
            periods.is_some_and(|(value, asked)| value.meets(&asked))
        }
        "UI" => pattern.split([',', '\\']).any(|uid| uid.trim() == text),
        "PN" => wildcard(
            &text.to_lowercase().chars().collect::<Vec<_>>(),
            &pattern.to_lowercase().chars().collect::<Vec<_>>(),
        ),
        _ => wildcard(
            &text.chars().collect::<Vec<_>>(),
            &pattern.chars().collect::<Vec<_>>(),
        ),
    }
}

/// `FROM-TO`, `FROM-`, `-TO`, or one value; each may be shorter than what it is compared with, and stands for all that begin with it.
fn in_range(text: &str, pattern: &str) -> bool {
    let within = |low: &str, high: &str| {
        let start = &text[..text.len().min(high.len())];
        text >= low && (high.is_empty() || start <= high)
    };
    match pattern.split_once('-') {
        _ if !text.is_ascii() => false,
        Some((low, high)) => within(low.trim(), high.trim()),
        None => text.starts_with(pattern),
    }
}

/// `*` stands for any characters, `?` for one; the time is bounded by the product of both lengths.
fn wildcard(text: &[char], pattern: &[char]) -> bool {
    let (mut at, mut next) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(next) {
            Some('*') => {
                star = Some((next, at));
                next += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[at] => {
                at += 1;
                next += 1;
            }
            _ => match star {
                Some((pattern_at, text_at)) => {
                    star = Some((pattern_at, text_at + 1));
                    (next, at) = (pattern_at + 1, text_at + 1);
                }
                None => return false,
            },
        }
    }
    pattern[next..].iter().all(|rest| *rest == '*')
}

fn wrong(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Invalid, "query", message)
}
