//! Which form of an answer a caller wants (PS3.18 section 8.7): the Accept header, or the query parameter `accept`, which browsers can
//! set.
//!
//! Invariants: values may be quoted or not; ranges are tried in the order of their `q`, equal ones as they came; no wish at all is
//! `*/*`; what cannot be had is 406 and never something else.

use axum::http::{HeaderMap, header};

use crate::dicom::media_type::MediaType;
use crate::fault::{Fault, FaultKind};

/// More than any client lists.
const MOST_RANGES: usize = 32;

/// The forms that a caller takes, the best first; none, by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Accept(Vec<MediaType>);

impl Accept {
    /// Reads what a request says; `parameter` is its `accept`, which wins over the header.
    ///
    /// # Errors
    /// `accept` where there are more media types than anyone lists, or none that can be read: one among others is passed over.
    pub(super) fn of(headers: &HeaderMap, parameter: Option<&str>) -> Result<Self, Fault> {
        let from_headers = || {
            let values = headers.get_all(header::ACCEPT).iter();
            let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
            values.join(",")
        };
        let text = parameter.map_or_else(from_headers, str::to_owned);
        let mut ranges = Vec::new();
        let mut readable = 0;
        for range in split(&text) {
            let media = MediaType::parse(range);
            let quality = |media: &MediaType| media.parameter("q").unwrap_or("1").parse::<f32>().ok();
            let Some((quality, media)) = media.and_then(|media| Some((quality(&media)?, media))) else {
                continue;
            };
            readable += 1;
            if readable > MOST_RANGES {
                return Err(malformed());
            }
            if quality > 0.0 {
                ranges.push((quality, media));
            }
        }
        if readable == 0 && !text.trim().is_empty() {
            return Err(malformed());
        }
        if text.trim().is_empty() {
            ranges.extend(MediaType::parse("*/*").map(|any| (1.0, any)));
        }
        ranges.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        Ok(Self(ranges.into_iter().map(|(_, media)| media).collect()))
    }

    /// The first form of those that are taken for which `offer` has something.
    ///
    /// # Errors
    /// `not-acceptable` with `offered`, which says what can be had.
    pub(super) fn choose<T>(
        &self,
        offered: &str,
        offer: impl FnMut(&MediaType) -> Option<T>,
    ) -> Result<T, Fault> {
        self.0.iter().find_map(offer).ok_or_else(|| {
            let message = format!("none of the accepted media types can be had here: {offered}");
            Fault::new(FaultKind::NotAcceptable, "not-acceptable", message)
        })
    }
}

/// Whether a range, such as `image/*`, takes in a media type.
pub(super) fn takes(range: &MediaType, essence: &str) -> bool {
    let kind = range.essence.strip_suffix("/*");
    range.essence == essence
        || range.essence == "*/*"
        || kind.is_some_and(|kind| essence.split('/').next() == Some(kind))
}

/// The media type of the parts where a range is one of several parts; `*/*` where it does not say.
pub(super) fn of_parts(range: &MediaType) -> Option<&str> {
    let several = matches!(
        range.essence.as_str(),
        "multipart/related" | "multipart/*" | "*/*"
    );
    several.then(|| range.parameter("type").unwrap_or("*/*"))
}

/// Whether the media type of parts, which may have `*` in it, takes in this one.
pub(super) fn parts_take(range: &str, essence: &str) -> bool {
    MediaType::parse(range).is_some_and(|range| takes(&range, essence))
}

fn malformed() -> Fault {
    let message = "Accept must be media types with commas between them, such as application/dicom+json or \
                   multipart/related; type=\"application/dicom\"";
    Fault::new(FaultKind::Invalid, "accept", message)
}

/// The parts of a list, whose commas may also be inside of quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match character {
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => {}
        }
        character == ',' && !quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &str) -> Accept {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, text.parse().unwrap());
        Accept::of(&headers, None).unwrap()
    }

    fn essences(accept: &Accept) -> Vec<&str> {
        accept.0.iter().map(|media| media.essence.as_str()).collect()
    }

    #[test]
    fn ranges_come_by_their_quality() {
        let ranges = accept("text/html;q=0.5, application/json ;q=0.9,image/*, a/b; q=0, */*;q=0.1");
        assert_eq!(
            essences(&ranges),
            ["image/*", "application/json", "text/html", "*/*"]
        );
        for none in ["", " "] {
            assert_eq!(essences(&accept(none)), ["*/*"]);
        }
        assert_eq!(essences(&Accept::of(&HeaderMap::new(), None).unwrap()), ["*/*"]);
    }

    /// What Java's `HttpURLConnection` sends where nothing is said, and what nobody can read.
    #[test]
    fn a_range_that_cannot_be_read_is_passed_over() {
        let java = accept("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2");
        assert_eq!(
            essences(&java),
            ["text/html", "image/gif", "image/jpeg", "*/*", "*/*"]
        );
        let odd = accept("nonsense, a/b; q=much, image/png;q=0.5");
        assert_eq!(essences(&odd), ["image/png"]);
    }

    #[test]
    fn values_are_quoted_or_not() {
        for text in [
            "multipart/related; type=application/octet-stream; transfer-syntax=*, a/b",
            "multipart/related; type=\"application/octet-stream\";transfer-syntax=\"*\" , a/b",
        ] {
            let ranges = accept(text);
            assert_eq!(ranges.0.len(), 2, "{text}");
            assert_eq!(of_parts(&ranges.0[0]), Some("application/octet-stream"));
            assert_eq!(ranges.0[0].parameter("transfer-syntax"), Some("*"));
            assert_eq!(of_parts(&ranges.0[1]), None);
        }
        assert_eq!(accept("a/b; x=\"1,\\\"2,\", c/d").0.len(), 2);
    }

    #[test]
    fn the_parameter_wins_over_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "text/html".parse().unwrap());
        let ranges = Accept::of(&headers, Some("image/png")).unwrap();
        assert_eq!(essences(&ranges), ["image/png"]);
    }

    #[test]
    fn what_is_no_list_of_media_types_is_said_so() {
        for wrong in ["image", "a/b; q=much", &"a/b,".repeat(MOST_RANGES + 1)] {
            let fault = Accept::of(&HeaderMap::new(), Some(wrong)).unwrap_err();
            assert_eq!(
                (fault.kind, fault.code),
                (FaultKind::Invalid, "accept"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_first_that_can_be_had_is_taken_and_none_is_406() {
        let png = |range: &MediaType| takes(range, "image/png").then_some("png");
        assert_eq!(accept("text/html, image/*").choose("x", png), Ok("png"));
        let fault = accept("text/html").choose("image/png", png).unwrap_err();
        assert_eq!(fault.kind, FaultKind::NotAcceptable);
        assert!(
            parts_take("image/*", "image/png")
                && parts_take("*/*", "image/png")
                && !parts_take("image/jpeg", "image/png")
        );
    }
}
