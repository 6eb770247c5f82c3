//! Stories: the whole of osteon, as its users meet it. One file for each.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "stories read better without the ceremony"
)]

mod architecture;
mod bad_input;
mod decode;
mod deidentify;
mod fuzz_corpus;
mod grey;
mod import;
mod models;
mod panics;
mod repairs;
mod scheduler;
mod score;
mod server;
mod stow_client;
mod studies;
mod tiny;
mod trainer;
