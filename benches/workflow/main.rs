//! `make bench-workflow`: what a study costs from its arrival to its result, and whether that grows with what is stored.
//!
//! Every server is the real program in a process of its own, and PostgreSQL is a real one. The images are small and the network is next
//! to nothing, so that the workflow is what is measured. Only figures of one run may be compared.

#![allow(clippy::print_stdout, reason = "tables are what the program is started for")]

mod cost;
mod fill;
mod ground;
mod growth;
mod rate;
mod senders;
mod table;

#[path = "../../tests/stage"]
#[allow(
    dead_code,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "the props of the fault tests, of which this program uses a part"
)]
mod stage {
    pub(crate) mod archive;
    pub(crate) mod postgres;
    pub(crate) mod server;
    pub(crate) mod study;
}
#[path = "../../tests/it/tiny.rs"]
#[allow(
    dead_code,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "the network of the stories, of which this program uses a part"
)]
mod tiny;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use ground::{Engine, Ground};

/// Measures the way of studies from arrival to result.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Which tables to make
    #[arg(long, value_enum, value_delimiter = ',', default_value = "rate,growth")]
    only: Vec<Table>,
    /// Which databases to use
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sqlite,postgres")]
    engines: Vec<Engine>,
    /// Studies that are sent in each case of the first table
    #[arg(long, default_value_t = 600)]
    studies: usize,
    /// Clients that send them at the same time
    #[arg(long, default_value_t = 12)]
    clients: usize,
    /// Stored studies at which the cost of one more is measured, in rising order
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    stored: Vec<u64>,
    /// Studies that are added to measure the cost of one
    #[arg(long, default_value_t = 300)]
    samples: usize,
    /// Jobs that wait in the case of a backlog; 0 leaves it out
    #[arg(long, default_value_t = 100_000)]
    backlog: u64,
    /// Where databases and objects are kept meanwhile [default: the folder for temporary files]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Table {
    /// Studies a second through real servers.
    Rate,
    /// The cost of each step with more and more stored studies.
    Growth,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    sqlx::any::install_default_drivers();
    let ground = Ground::new(options.folder.as_deref())?;
    if options.only.contains(&Table::Rate) {
        rate::table(&ground, &options).await?;
    }
    if options.only.contains(&Table::Growth) {
        growth::table(&ground, &options).await?;
    }
    Ok(())
}
