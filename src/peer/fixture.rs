//! For tests of whoever deals with peers: an archive and a webhook that misbehave when they are told to, on the loopback interface.

#[path = "../../tests/stage/archive.rs"]
pub(crate) mod archive;
#[path = "../../tests/stage/webhook.rs"]
pub(crate) mod webhook;

use super::{Destination, Kind, Use};

/// A peer at `url` that is used for results.
pub(crate) fn destination(name: &str, kind: Kind, url: String) -> Destination {
    Destination {
        name: name.to_owned(),
        kind,
        uses: vec![Use::Results],
        ae_title: None,
        url,
        host: None,
        port: None,
        calling_ae_title: None,
        bearer_token_file: None,
        user: None,
        password_file: None,
        timeout_seconds: 5,
        objects: None,
        format: None,
    }
}
