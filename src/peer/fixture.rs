//! For tests of whoever deals with peers: an archive and a webhook that misbehave when they are told to, on the loopback interface.

#[path = "../../tests/stage/archive.rs"]
pub(crate) mod archive;
#[path = "../../tests/stage/webhook.rs"]
pub(crate) mod webhook;
