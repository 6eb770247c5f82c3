//! F7: SIGTERM under load. Whoever began his request while the server took connections gets his answer, readiness is false at once, the
//! process ends in time, and what it had claimed is free for the next one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::time::sleep;

use crate::ground::{Engine, MODEL, Stage};
use crate::stage::ledger::Ledger;
use crate::stage::load::{Load, Plan};
use crate::stage::server::{Osteon, Settings, ready};
use crate::stage::study::{image, uid};
use crate::table::Row;
use crate::tiny::Tiny;

const GRACE: u32 = 10;
/// How long a stopping server takes connections. Balancers have taken it out by then; who comes as the port closes may be too late.
const LINGER: Duration = Duration::from_secs(1);
const CLOSES: Duration = Duration::from_millis(50);
/// Far longer than the test: only a lease that was given back can be claimed within it.
const LEASE: f64 = 600.0;
/// How long the next process may take for what is left, on a busy machine.
const TAKEN_OVER: Duration = Duration::from_secs(120);

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let mut row = Row::new("F7", "SIGTERM under load", engine.name());
    let mut ground = stage.ground("F7", engine)?;
    let models = ground.own_models()?.to_owned();
    let slow = Tiny {
        slow: 2,
        ..Tiny::new(MODEL, 1)
    };
    slow.publish(&models);
    let settings = Settings {
        lease_seconds: LEASE,
        grace_seconds: GRACE,
        ..ground.settings("stopping")
    };
    let ledger = Ledger::default();
    let body = image(&uid(ground.run, 999), 1, 64).bytes.to_vec();
    let rounds = if stage.quick() { 3 } else { 15 };
    let (mut answered, mut failed, mut too_late) = (0, Vec::new(), 0);
    let (mut unready, mut ended, mut sent) = (Duration::ZERO, Duration::ZERO, 0);
    for round in 0..rounds {
        // in the last round one analysis never ends: it has to be put back
        let hang = if round + 1 == rounds {
            "analyse.start=3*off->1*return(hang)"
        } else {
            ""
        };
        let mut server = Osteon::start(&settings.armed(hang)).await?;
        let plan = Plan {
            images: 1,
            pause: Duration::from_millis(200),
            patience: Duration::from_secs(1),
            // fresh UIDs in every round
            run: ground.run * 1000 + round,
            ..Plan::new(0, &[settings.url()])
        };
        let load = Load::start(plan, &ledger);
        let stop = Arc::new(AtomicBool::new(false));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (address, body, stop) = (settings.listen, body.clone(), Arc::clone(&stop));
                std::thread::spawn(move || call(address, &body, &stop))
            })
            .collect();
        sleep(Duration::from_millis(2000)).await;
        server.signal(Signal::TERM);
        let asked = Instant::now();
        while ready(&settings.url()).await == Some(200) && asked.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(10)).await;
        }
        unready = unready.max(asked.elapsed());
        let status = server.ended(Duration::from_secs(u64::from(GRACE) * 2)).await;
        ended = ended.max(asked.elapsed());
        stop.store(true, Ordering::Relaxed);
        row.must(
            status.is_some_and(|status| status.success()),
            format!("it ended with {status:?} {}", server.last_words()),
        );
        sent += load.stop().await;
        for caller in callers {
            let (good, bad) = caller.join().map_err(|_| "a caller panicked")?;
            answered += good;
            let (in_flight, late): (Vec<_>, Vec<_>) = bad
                .into_iter()
                .partition(|failure| failure.begun_at + CLOSES < asked + LINGER);
            too_late += late.len();
            failed.extend(in_flight.into_iter().map(|failure| failure.told(asked)));
        }
    }
    // the next process takes over at once
    let next = Osteon::start(&settings.beside("next")).await?;
    let audit = ledger.audit(&[next.settings.url()], TAKEN_OVER).await;
    row.done = format!(
        "{rounds} times; {answered} requests answered, {too_late} came as the port closed, {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.audited(&audit);
    row.must(
        audit.state("scored") == audit.studies,
        format!("not all were scored: {:?}", audit.states),
    );
    row.must(answered > 50, "hardly any request was under way");
    row.must(
        failed.is_empty(),
        format!(
            "{} requests in flight had no answer: {:?}",
            failed.len(),
            failed.first()
        ),
    );
    row.must(
        unready < Duration::from_secs(1),
        format!("it said that it was ready for {unready:?} more"),
    );
    row.must(
        ended < Duration::from_secs(u64::from(GRACE)),
        format!("it ended after {ended:?}, and the grace period is {GRACE} s"),
    );
    row.figure(format!(
        "not ready after {:.2} s, ended after {:.1} s, the rest done {:.1} s later by the next one",
        unready.as_secs_f64(),
        ended.as_secs_f64(),
        audit.settled_after.as_secs_f64()
    ));
    Ok(vec![row, control(&settings, &body, engine).await?])
}

/// A server that is not asked but killed: whoever waits for an answer must be counted as having none.
async fn control(settings: &Settings, body: &[u8], engine: Engine) -> Result<Row, String> {
    let mut row = Row::new("F7", "control: SIGKILL in its place", engine.name());
    let mut server = Osteon::start(&settings.beside("killed")).await?;
    let address = server.settings.listen;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (body, stop) = (body.to_vec(), Arc::clone(&stop));
            std::thread::spawn(move || call(address, &body, &stop))
        })
        .collect();
    sleep(Duration::from_secs(2)).await;
    server.kill();
    stop.store(true, Ordering::Relaxed);
    let (mut answered, mut failed) = (0, 0);
    for caller in callers {
        let (good, bad) = caller.join().map_err(|_| "a caller panicked")?;
        answered += good;
        failed += bad.len();
    }
    row.done = format!("{answered} requests answered, {failed} in flight had no answer");
    row.must(
        failed > 0,
        "every request had its answer though the server was killed: the test cannot fail",
    );
    Ok(row)
}

/// A request that was sent and not answered.
struct Failure {
    begun_at: Instant,
    why: String,
}

impl Failure {
    /// In words, from when the server was asked to stop.
    fn told(&self, asked: Instant) -> String {
        let millis = self.begun_at.saturating_duration_since(asked).as_millis() as i64
            - asked.saturating_duration_since(self.begun_at).as_millis() as i64;
        format!("begun {millis} ms after SIGTERM: {}", self.why)
    }
}

/// Sends one request after the other, each on a connection of its own, until nobody listens any more.
fn call(address: SocketAddr, body: &[u8], stop: &AtomicBool) -> (usize, Vec<Failure>) {
    let (mut answered, mut failed) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let begun_at = Instant::now();
        let Ok(mut connection) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) else {
            // nobody listens: this request was never begun
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let head = format!(
            "POST /v1/models/{MODEL}/score HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/dicom\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let _ = connection.set_read_timeout(Some(Duration::from_secs(30)));
        if connection.write_all(&request).is_err() {
            continue;
        }
        let mut answer = Vec::new();
        let read = connection.read_to_end(&mut answer);
        match whole(&answer) {
            Some(200) => answered += 1,
            // told to come back: an answer, too
            Some(429 | 503) => answered += 1,
            Some(status) => failed.push(Failure {
                begun_at,
                why: format!("status {status}"),
            }),
            None => failed.push(Failure {
                begun_at,
                why: format!("{read:?} after {} bytes", answer.len()),
            }),
        }
    }
    (answered, failed)
}

/// The status of an answer that is there to its last byte.
fn whole(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length:")
            .map(|length| length.trim().to_owned())
    })?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() == length.parse::<usize>().ok()?).then_some(status)
}
