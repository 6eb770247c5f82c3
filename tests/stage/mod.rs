//! Props for stories that need more than one process: real servers, a real PostgreSQL, senders, and a ledger that counts from outside.

#![allow(dead_code, reason = "not every story uses every prop")]

pub(crate) mod archive;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod postgres;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod study;
pub(crate) mod supervisor;
