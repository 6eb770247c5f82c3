//! Where clients find the DICOMweb service, for the URLs in answers.

use axum::http::{HeaderMap, header};

/// The URL of the service: under `public_url`, as the request's Host says, or relative to the host.
pub(super) fn service_url(public_url: Option<&str>, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    match (public_url, host) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(host)) if !host.is_empty() && host.bytes().all(plain) => {
            format!("http://{host}/dicom-web")
        }
        _ => "/dicom-web".to_owned(),
    }
}
