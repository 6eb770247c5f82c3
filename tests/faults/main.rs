//! `make faults`: the faults that the server must survive, made on purpose, with a ledger that counts from outside what they cost.
//!
//! Every server here is the real program in a process of its own; PostgreSQL and the object store are real, too. Beside each
//! fault that can have one stands a control, with the protection off, most often by a failpoint: it must show damage, else the test could not.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "stories read better without the ceremony, and a table is what the program is started for"
)]

mod clock;
mod crashing_model;
mod database_down;
mod destinations;
mod duplicates;
mod full_disk;
mod ground;
mod killed;
mod orders;
mod overload;
mod poison;
mod replicas;
mod soak;
mod stalled;
mod stopping;
mod table;

#[path = "../stage/mod.rs"]
mod stage;
#[path = "../it/tiny.rs"]
#[allow(dead_code, reason = "the stories use more of it than this program")]
mod tiny;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use futures_util::FutureExt;
use ground::{Engine, Stage};
use table::{Row, Verdict, table};
use tokio::signal::unix::{SignalKind, signal};

/// Makes the faults that the server must survive, and counts what they cost.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// Only these, such as F1,F3,soak
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Which database the servers use
    #[arg(long, value_enum, default_value = "both")]
    engine: Engines,
    /// Fewer and shorter: about ten minutes, and the soak
    #[arg(long)]
    quick: bool,
    /// Minutes of steady load at the end [default: 30, with --quick 5]
    #[arg(long)]
    soak_minutes: Option<f64>,
    /// What fails without anything lost or doubled, which a busy machine can do, is made once more; the table says so
    #[arg(long)]
    second_chance: bool,
    /// Keep the folders of what failed
    #[arg(long)]
    keep: bool,
    /// Go without what this machine does not have; it is in the table as left out
    #[arg(long, value_delimiter = ',', value_name = "postgres|s3|faketime|tmpfs")]
    without: Vec<String>,
    /// What `cargo test` adds
    #[arg(long, hide = true)]
    nocapture: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Engines {
    Sqlite,
    Postgres,
    Both,
}

impl Engines {
    fn list(self) -> &'static [Engine] {
        match self {
            Self::Sqlite => &[Engine::Sqlite],
            Self::Postgres => &[Engine::Postgres],
            Self::Both => &[Engine::Sqlite, Engine::Postgres],
        }
    }
}

/// What there is, in the order in which it runs.
const FAULTS: [(&str, &str); 14] = [
    ("F1", "SIGKILL at every stage and at random"),
    ("F2", "disk full"),
    ("F3", "poison studies"),
    ("F4", "a worker stalls past its lease"),
    ("F5", "a model fails"),
    ("F6", "ten times too much"),
    ("F7", "SIGTERM under load"),
    ("F8", "a destination misbehaves"),
    ("F9", "PostgreSQL stopped at once"),
    ("F10", "the clock jumps by an hour"),
    ("replicas", "three replicas, killed at random"),
    ("duplicates", "the same image fifty times at once"),
    ("orders", "SIGKILL while studies are ordered and fetched"),
    ("soak", "a steady load"),
];

/// What would be measured wrongly beside another one.
const ALONE: [&str; 2] = ["F6", "soak"];

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be received");
    // dropping the tests ends every process that they have started
    tokio::select! {
        code = perform(options) => code,
        _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
    }
}

/// All tests that were asked for, and the table.
async fn perform(options: Options) -> ExitCode {
    for name in &options.only {
        if !FAULTS.iter().any(|(fault, _)| fault.eq_ignore_ascii_case(name)) {
            let known: Vec<&str> = FAULTS.iter().map(|(fault, _)| *fault).collect();
            eprintln!("error: there is no {name}: choose from {}", known.join(", "));
            return ExitCode::from(2);
        }
    }
    let began = Instant::now();
    let stage = match Stage::set(options.clone()) {
        Ok(stage) => stage,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let mut rows = Vec::new();
    for (fault, title) in FAULTS {
        if options.only.is_empty() || options.only.iter().any(|name| name.eq_ignore_ascii_case(fault)) {
            println!("== {fault}: {title}");
            match options.engine.list() {
                // both engines at once, since most of the time goes by in waiting; but not where it is speed or memory that is looked at
                [first, second] if options.quick && !ALONE.contains(&fault) => {
                    let both = tokio::join!(
                        one(&stage, fault, title, *first),
                        one(&stage, fault, title, *second)
                    );
                    rows.extend(both.0.into_iter().chain(both.1));
                }
                engines => {
                    for engine in engines {
                        rows.extend(one(&stage, fault, title, *engine).await);
                    }
                }
            }
        }
    }
    println!("\n{}", table(&rows));
    let failed: Vec<&Row> = rows.iter().filter(|row| row.verdict == Verdict::Fail).collect();
    for row in &failed {
        println!("FAIL {} {} on {}:", row.fault, row.what, row.engine);
        for complaint in &row.complaints {
            println!("     {complaint}");
        }
    }
    println!(
        "{} of {} passed in {:.0} s",
        rows.len() - failed.len(),
        rows.len(),
        began.elapsed().as_secs_f64()
    );
    let failures = !failed.is_empty();
    stage.strike(failures);
    ExitCode::from(u8::from(failures || rows.is_empty()))
}

/// One fault on one engine, and once more if that is wanted and may be.
async fn one(stage: &Stage, fault: &'static str, title: &str, engine: Engine) -> Vec<Row> {
    let rows = once(stage, fault, title, engine).await;
    let failed = rows.iter().filter(|row| row.verdict == Verdict::Fail);
    let complaints: Vec<&str> = failed
        .flat_map(|row| row.complaints.iter().map(String::as_str))
        .collect();
    if !stage.options.second_chance || complaints.is_empty() || rows.iter().any(|row| row.damage) {
        return rows;
    }
    println!("   {fault} on {}: once more", engine.name());
    let before = format!("at the second try; at the first: {}", complaints.join("; "));
    let mut again = once(stage, fault, title, engine).await;
    for row in &mut again {
        row.figure(&before);
    }
    again
}

async fn once(stage: &Stage, fault: &'static str, title: &str, engine: Engine) -> Vec<Row> {
    if engine == Engine::Postgres && stage.without("postgres") {
        let row = Row::new(fault, title, engine.name()).left_out("--without postgres");
        row.print();
        return vec![row];
    }
    let began = Instant::now();
    let rows = AssertUnwindSafe(perform_one(stage, fault, engine))
        .catch_unwind()
        .await;
    let rows = rows.unwrap_or_else(|_| Err("the test itself panicked".to_owned()));
    let mut rows = rows.unwrap_or_else(|error| {
        let mut row = Row::new(fault, title, engine.name());
        row.must(false, error);
        vec![row]
    });
    for row in &mut rows {
        if row.took.is_zero() {
            row.took = began.elapsed();
        }
        row.print();
    }
    rows
}

async fn perform_one(stage: &Stage, fault: &str, engine: Engine) -> Result<Vec<Row>, String> {
    match fault {
        "F1" => killed::run(stage, engine).await,
        "F2" => full_disk::run(stage, engine).await,
        "F3" => poison::run(stage, engine).await,
        "F4" => stalled::run(stage, engine).await,
        "F5" => crashing_model::run(stage, engine).await,
        "F6" => overload::run(stage, engine).await,
        "F7" => stopping::run(stage, engine).await,
        "F8" => destinations::run(stage, engine).await,
        "F9" => database_down::run(stage, engine).await,
        "F10" => clock::run(stage, engine).await,
        "duplicates" => duplicates::run(stage, engine).await,
        "orders" => orders::run(stage, engine).await,
        "soak" => soak::run(stage, engine).await,
        "replicas" => replicas::run(stage, engine).await,
        _ => Err(format!("nothing is called {fault}")),
    }
}
