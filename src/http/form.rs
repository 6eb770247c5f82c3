//! The file in a form (`multipart/form-data`, RFC 7578), where it lies in the body: nothing is copied.

use axum::body::Bytes;
use memchr::memmem;

/// More fields than this are no form that a person or a library makes.
const MOST_FIELDS: usize = 64;
/// The most bytes of a field's header.
const HEADER_LIMIT: usize = 16 << 10;

/// The first field that is a file, or that has a type: a share of `body`. `None` where the body is no such form or has no file.
pub(super) fn file(boundary: &str, body: &Bytes) -> Option<Bytes> {
    let delimiter = format!("\r\n--{boundary}");
    let find = |needle: &[u8], from: usize| memmem::find(body.get(from..)?, needle).map(|at| from + at);
    // the first delimiter may stand at the very start, without a line end
    let first = &delimiter.as_bytes()[2..];
    let mut at = if body.starts_with(first) {
        first.len()
    } else {
        find(delimiter.as_bytes(), 0)? + delimiter.len()
    };
    for _ in 0..MOST_FIELDS {
        // after the last field two hyphens stand here
        let rest = body.get(at..).filter(|rest| rest.starts_with(b"\r\n"))?;
        let header = memmem::find(&rest[..rest.len().min(HEADER_LIMIT)], b"\r\n\r\n")?;
        let begin = at + header + 4;
        let end = find(delimiter.as_bytes(), begin)?;
        if is_file(&rest[..header]) {
            return Some(body.slice(begin..end));
        }
        at = end + delimiter.len();
    }
    None
}

/// Whether a field's header has a file name or a type.
fn is_file(header: &[u8]) -> bool {
    let header = String::from_utf8_lossy(header).to_ascii_lowercase();
    header.lines().any(|line| {
        line.starts_with("content-type:")
            || (line.starts_with("content-disposition:") && line.contains("filename"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Bytes {
        let field = |(header, value): &(&str, &str)| {
            format!("--b\r\nContent-Disposition: form-data; {header}\r\n\r\n{value}\r\n")
        };
        let fields: String = fields.iter().map(field).collect();
        (fields + "--b--\r\n").into()
    }

    #[test]
    fn the_file_is_a_share_of_the_body() {
        let body = form(&[
            ("name=\"comment\"", "first"),
            ("name=\"a\"; filename=\"b\"", "bytes\r\n--c"),
        ]);
        let file = file("b", &body).unwrap();
        assert_eq!(file, "bytes\r\n--c");
        assert!(body.as_ptr_range().contains(&file.as_ptr()), "it was copied");
        let typed = form(&[("name=\"a\"\r\ncontent-type: application/dicom", "x")]);
        assert_eq!(super::file("b", &typed).unwrap(), "x");
        assert_eq!(
            super::file("b", &[b"before\r\n", &body[..]].concat().into()).unwrap(),
            file
        );
    }

    #[test]
    fn what_is_no_form_or_has_no_file_gives_none() {
        let many = form(&[("name=\"a\"", ""); 100]);
        let whole = form(&[("name=\"a\"; filename=\"b\"", "bytes")]);
        for body in [
            Bytes::new(),
            Bytes::from_static(b"--b"),
            Bytes::from_static(b"--b--"),
            form(&[("name=\"a\"", "text")]),
            many,
            whole.slice(..whole.len() - 7),
        ] {
            assert_eq!(file("b", &body), None, "{body:?}");
        }
        assert_eq!(file("other", &whole), None);
        // an endless header is not searched to its end
        let header = format!("name=\"{}\"; filename=\"b\"", "a".repeat(HEADER_LIMIT));
        assert_eq!(file("b", &form(&[(header.as_str(), "x")])), None);
    }
}
