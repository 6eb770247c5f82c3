//! Application entity titles that are valid by construction.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The name of an application entity: 1 to 16 characters of ASCII without a backslash or control characters (PS3.5 section 6.2, VR
/// AE). Spaces around it are not part of it; case is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct AeTitle(String);

/// Why a text is not an application entity title. The text may be anything, and is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an application entity title is 1 to 16 characters of ASCII without a backslash, and not spaces alone, such as OSTEON"
)]
pub struct InvalidAeTitle;

impl AeTitle {
    /// The title's text, without the spaces around it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for AeTitle {
    /// What osteon calls itself, and is called, where nothing else was said.
    fn default() -> Self {
        Self("OSTEON".to_owned())
    }
}

impl FromStr for AeTitle {
    type Err = InvalidAeTitle;

    fn from_str(text: &str) -> Result<Self, InvalidAeTitle> {
        let title = text.trim_matches(' ');
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'\\';
        if (1..=16).contains(&title.len()) && title.bytes().all(plain) {
            Ok(Self(title.to_owned()))
        } else {
            Err(InvalidAeTitle)
        }
    }
}

impl TryFrom<String> for AeTitle {
    type Error = InvalidAeTitle;

    fn try_from(text: String) -> Result<Self, InvalidAeTitle> {
        text.parse()
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_around_a_title_do_not_count_and_case_does() {
        let title = |text: &str| text.parse::<AeTitle>().unwrap();
        assert_eq!(title(" STORE SCU 1    "), title("STORE SCU 1"));
        assert_ne!(title("osteon"), title("OSTEON"));
        assert_eq!(title("0123456789ABCDEF").as_str(), "0123456789ABCDEF");
    }

    #[test]
    fn what_the_standard_does_not_allow_is_no_title() {
        for text in ["", "    ", "0123456789ABCDEFG", "A\\B", "A\nB", "A\0", "PACSÄ"] {
            assert_eq!(text.parse::<AeTitle>(), Err(InvalidAeTitle), "{text:?}");
        }
    }
}
