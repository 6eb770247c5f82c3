//! Stories: the whole of osteon, as its users meet it. One file for each.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "stories read better without the ceremony"
)]

mod architecture;
#[path = "../stage/archive.rs"]
mod archive;
mod bad_input;
mod bench;
mod broken_models;
mod broken_repositories;
mod burned_in;
mod deadlines;
mod decode;
mod decode_memory;
mod deidentify;
mod deliveries;
mod dicomweb_client;
mod dimse;
mod distribution;
mod durable;
mod explanations;
mod exports;
mod fuzz_corpus;
mod gates;
mod grey;
mod import;
mod index;
mod index_archive;
mod inference_protocol;
mod inference_statistics;
mod left_out;
mod model_commands;
mod models;
mod networks;
mod orders;
mod panics;
mod precision;
mod reload;
mod repairs;
mod results;
mod scheduler;
mod score;
mod server;
mod signatures;
mod start;
mod structured_report;
mod studies;
mod tiny;
mod trainer;
mod training;
mod training_answers;
mod training_choices;
mod training_folds;
mod training_table;
mod unreadable_models;
mod verification;
