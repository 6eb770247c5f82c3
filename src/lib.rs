//! osteon: radiograph classifiers in use, from DICOM bytes to a proven score.
//!
//! This crate is one library under two programs: `osteon` serves, `osteon-train` trains. The tree is the picture of
//! the system, and the arrows point down only:
//!
//! ```text
//!   root        config  app  bin/osteon                       bin/osteon-train
//!   doors       http  dimse  intake  subnet                          |
//!   services    workflow -> inference, store, peer               train
//!   execution   runtime  model  telemetry   <----------------------'
//!   pure        deidentify  workitem  report  finding  evaluation  image  dicom  fault  pages
//! ```
//!
//! Serving and training never import each other. They meet in the two lowest layers, above all in
//! [`image::preprocess`]: one implementation makes the tensor that a network is trained on and the tensor that it is
//! served. `tests/it/architecture.rs` reads these sources and holds them to the picture.

// tests compare with exact expectations and walk small tables by index
#![cfg_attr(
    test,
    allow(
        clippy::float_cmp,
        clippy::needless_range_loop,
        clippy::too_many_lines,
        clippy::unreadable_literal
    )
)]

pub mod deidentify;
pub mod dicom;
pub mod evaluation;
pub mod fault;
pub mod finding;
pub mod image;
pub mod model;
mod pages;
pub mod report;
pub mod runtime;
pub mod telemetry;
pub mod workitem;

#[cfg(feature = "serve")]
pub mod app;
#[cfg(feature = "serve")]
pub mod config;
#[cfg(feature = "serve")]
pub mod dimse;
#[cfg(feature = "serve")]
mod failpoint;
#[cfg(feature = "serve")]
pub mod http;
#[cfg(feature = "serve")]
pub mod inference;
#[cfg(feature = "serve")]
pub mod intake;
#[cfg(feature = "serve")]
pub mod peer;
#[cfg(feature = "serve")]
pub mod store;
#[cfg(feature = "serve")]
mod subnet;
#[cfg(feature = "serve")]
pub mod workflow;

#[cfg(feature = "train")]
pub mod train;
