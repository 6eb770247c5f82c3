//! What became of every tensor and every parameter.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What was taken from a file, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The key under which the tensors were found in the file.
    pub within: Option<String>,
    /// What stands before every name in the file.
    pub prefix: String,
    /// Parameters with numbers from the file.
    pub taken: Vec<Taken>,
    /// Parameters that start as without the file.
    pub random: Vec<Random>,
    /// Tensors of the file that were not used.
    pub left_out: Vec<LeftOut>,
    /// Tensors of whole numbers, such as counters of batches, which no network here has.
    pub whole: usize,
}

/// A parameter with numbers from the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The parameter.
    pub parameter: String,
    /// The tensor's name in the file.
    pub tensor: String,
    /// What was done to it.
    pub how: How,
}

/// What was done to a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Nothing.
    AsItIs,
    /// The same numbers in the same order in another shape, as a matrix becomes a 1x1 convolution.
    Reshaped,
    /// The kernels of three colours were added up: on one channel they do what they did on three equal ones.
    Summed,
    /// A kernel for one channel became a third of it for each of three.
    Spread,
}

/// A parameter that starts as without the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Random {
    /// The parameter.
    pub parameter: String,
    /// Why.
    pub why: String,
}

/// A tensor that was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name in the file.
    pub tensor: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Why.
    pub why: String,
}

impl Report {
    /// How many parameters have numbers from the file, of how many: `60 of 62`.
    #[must_use]
    pub fn share(&self) -> String {
        format!("{} of {}", self.taken.len(), self.taken.len() + self.random.len())
    }
}

/// A few lines for people.
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} parameters taken", self.share())?;
        let mut ways: BTreeMap<How, usize> = BTreeMap::new();
        for taken in &self.taken {
            *ways.entry(taken.how).or_default() += 1;
        }
        for (how, words) in [
            (How::Reshaped, "in another shape"),
            (How::Summed, "summed to one channel"),
            (How::Spread, "spread over three channels"),
        ] {
            if let Some(count) = ways.get(&how) {
                write!(formatter, ", {count} {words}")?;
            }
        }
        let random = self
            .random
            .iter()
            .map(|random| format!("{} ({})", random.parameter, random.why));
        several(formatter, "starting at random", &random.collect::<Vec<_>>())?;
        let left = self
            .left_out
            .iter()
            .map(|left| format!("{} {:?}", left.tensor, left.shape));
        several(formatter, "left out of the file", &left.collect::<Vec<_>>())
    }
}

/// The first few of a list, and how many there are.
fn several(formatter: &mut fmt::Formatter<'_>, what: &str, items: &[String]) -> fmt::Result {
    const SHOWN: usize = 4;
    if items.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = items.iter().take(SHOWN).map(String::as_str).collect();
    let more = if items.len() > SHOWN { ", ..." } else { "" };
    write!(formatter, "\n{what}: {}: {}{more}", items.len(), shown.join(", "))
}
