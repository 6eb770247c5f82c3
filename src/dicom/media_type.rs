//! Media types of DICOMweb, as real clients write them: `multipart/related; type="application/dicom"; boundary=x`,
//! with values quoted or not.

/// A media type with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// `type/subtype`, lower case.
    pub essence: String,
    parameters: Vec<(String, String)>,
}

impl MediaType {
    /// Reads one; `None` where there is no `type/subtype`. An unquoted value may hold a `/`, which RFC 9110 does not
    /// allow and which widespread viewers send; and `*` is `*/*`, which Java's `HttpURLConnection` sends.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (essence, mut rest) = text.split_once(';').unwrap_or((text, ""));
        let essence = match essence.trim() {
            "*" => "*/*".to_owned(),
            essence => essence.to_ascii_lowercase(),
        };
        let (kind, subtype) = essence.split_once('/')?;
        if kind.is_empty() || subtype.is_empty() {
            return None;
        }
        let mut parameters = Vec::new();
        while let Some((name, after)) = rest.split_once('=') {
            let name = name
                .trim_matches(|c: char| c == ';' || c.is_whitespace())
                .to_ascii_lowercase();
            let (value, after) = value(after);
            parameters.push((name, value));
            rest = after;
        }
        Some(Self { essence, parameters })
    }

    /// The value of a parameter, whose name is given in lower case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The value at the start of `text`, and what comes after it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.trim_start().strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim().to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quoted_and_unquoted_values() {
        for text in [
            "multipart/related; type=\"application/dicom\"; boundary=a-b",
            "Multipart/Related;type=application/dicom;boundary=\"a-b\"",
            "multipart/related ; boundary = a-b ; TYPE = \"application\\/dicom\"",
        ] {
            let media = MediaType::parse(text).unwrap();
            assert_eq!(media.essence, "multipart/related");
            assert_eq!(media.parameter("type"), Some("application/dicom"), "{text}");
            assert_eq!(media.parameter("boundary"), Some("a-b"), "{text}");
        }
        let odd = MediaType::parse("multipart/related; boundary=\"a;b=c\"; type=x").unwrap();
        assert_eq!(
            (odd.parameter("boundary"), odd.parameter("type")),
            (Some("a;b=c"), Some("x"))
        );
    }

    #[test]
    fn what_is_no_media_type_is_none_and_never_a_panic() {
        for text in ["", ";", "text", "/x", "x/"] {
            assert_eq!(MediaType::parse(text), None, "{text}");
        }
        for text in [
            "a/b;",
            "a/b; =",
            "a/b; x=\"",
            "a/b; x=\"\\",
            "a/b;=;=;",
            "a/b; \u{e9}=\"\u{e9}\\\u{e9}",
        ] {
            let _ = MediaType::parse(text);
        }
    }
}
