//! F6: ten times as many requests as the server can answer, by REST and STOW-RS at once: it says so at once, keeps its deadlines, and its
//! memory stays bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::ground::{Engine, Ground, MODEL, Stage};
use crate::stage::ledger::Ledger;
use crate::stage::load::{Load, Plan};
use crate::stage::server::Osteon;
use crate::stage::study::{image, uid};
use crate::table::Row;
use crate::tiny::Tiny;

/// What each caller is ready to wait, and how much later it may hear that it was too long.
const DEADLINE: Duration = Duration::from_millis(1000);
const LATE: Duration = Duration::from_millis(1000);
/// `--body-memory-mib`.
const BODIES_MIB: f64 = 64.0;
/// Memory for what is not a body: connections, pixels under way, the allocator's reserve.
const BESIDE_MIB: f64 = 160.0;
/// More callers than this at once are not made: their own tasks would be what is measured.
const CALLERS: usize = 1500;

#[derive(Default)]
struct Answers {
    statuses: BTreeMap<u16, u64>,
    without_retry_after: u64,
    latencies: Vec<Duration>,
}

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let mut row = Row::new("F6", "ten times too much, REST and STOW at once", engine.name());
    let mut ground = stage.ground("F6", engine)?;
    let models = ground.own_models()?.to_owned();
    let slow = Tiny {
        slow: 4,
        ..Tiny::new(MODEL, 1)
    };
    slow.publish(&models);
    let mut settings = ground.settings("overloaded");
    settings.lease_seconds = 30.0;
    settings
        .arguments
        .extend(["--queue", "64", "--body-memory-mib", "64"].map(String::from));
    let server = Osteon::start(&settings).await?;
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| error.to_string())?;
    let image = image(&uid(ground.run, 999), 1, 320);
    let url = format!(
        "{}/v1/models/{MODEL}/score?deadline_ms={}",
        settings.url(),
        DEADLINE.as_millis()
    );
    let caller = Caller {
        client,
        url,
        body: image.bytes,
    };

    let capacity = caller.capacity(Duration::from_secs(4)).await;
    let before = server.memory_mib().unwrap_or(0.0);
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let plan = Plan {
        // what is acknowledged has to be analysed afterwards: as much as the server can do, beside ten times as much by REST
        senders: 4,
        pause: Duration::from_secs_f64(4.0 / capacity),
        images: 1,
        ..Plan::new(ground.run, &doors)
    };
    let load = Load::start(plan, &ledger);
    let seconds = if stage.quick() { 20 } else { 120 };
    let answers = Arc::<Mutex<Answers>>::default();
    let under_way = Arc::new(AtomicUsize::new(0));
    let mut tick = interval(Duration::from_secs_f64(1.0 / (capacity * 10.0)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut most, mut asked, mut looked) = (Instant::now(), before, 0_u64, Instant::now());
    while began.elapsed() < Duration::from_secs(seconds) {
        tick.tick().await;
        if looked.elapsed() > Duration::from_millis(200) {
            most = most.max(server.memory_mib().unwrap_or(0.0));
            looked = Instant::now();
        }
        if under_way.load(Ordering::Relaxed) >= CALLERS {
            continue;
        }
        asked += 1;
        under_way.fetch_add(1, Ordering::Relaxed);
        let (caller, answers, under_way) = (caller.clone(), Arc::clone(&answers), Arc::clone(&under_way));
        tokio::spawn(async move {
            caller.ask(&answers).await;
            under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }
    while under_way.load(Ordering::Relaxed) > 0 && began.elapsed() < Duration::from_secs(seconds + 40) {
        sleep(Duration::from_millis(100)).await;
    }
    let tally = load.take();
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, Duration::from_secs(180)).await;

    let mut answers = std::mem::take(&mut *answers.lock().unwrap());
    answers.latencies.sort();
    let slowest = answers.latencies.last().copied().unwrap_or_default();
    let late = answers
        .latencies
        .iter()
        .filter(|latency| **latency > DEADLINE + LATE)
        .count();
    row.done = format!(
        "capacity {capacity:.0}/s; {asked} images asked for in {seconds} s, {sent} studies sent, {} acknowledged",
        audit.studies
    );
    row.figure(format!("REST {:?}, STOW {:?}", answers.statuses, tally.statuses));
    row.figure(format!("slowest {:.2} s", slowest.as_secs_f64()));
    row.figure(format!("memory {before:.0} -> {most:.0} MiB"));
    let expected = |status: &u16| (200..300).contains(status) || [429, 503].contains(status);
    row.must(
        answers.statuses.keys().all(expected),
        format!("REST answered {:?}", answers.statuses),
    );
    row.must(
        tally.statuses.keys().all(expected),
        format!("STOW answered {:?}", tally.statuses),
    );
    let without = answers.without_retry_after + tally.without_retry_after;
    row.must(without == 0, format!("{without} answers had no Retry-After"));
    row.must(
        late == 0,
        format!("{late} answers came more than {LATE:?} after the deadline"),
    );
    let bound = before + BODIES_MIB + BESIDE_MIB;
    row.must(
        most < bound,
        format!("memory rose from {before:.0} to {most:.0} MiB, above {bound:.0}"),
    );
    let busy = answers
        .statuses
        .iter()
        .filter(|(status, _)| [429, 503].contains(*status))
        .map(|(_, count)| count)
        .sum::<u64>();
    row.must(
        busy * 4 > asked,
        format!("only {busy} of {asked} were told to come back: it was no overload"),
    );
    row.audited(&audit);
    drop(server);
    Ok(vec![row, control(&ground, &caller, capacity, engine).await?])
}

/// A server whose queue has hardly an end, and callers without a deadline: answers must come late, else nothing kept them short.
async fn control(ground: &Ground, caller: &Caller, capacity: f64, engine: Engine) -> Result<Row, String> {
    let mut row = Row::new("F6", "control: a long queue, no deadlines", engine.name());
    let mut settings = ground.settings("patient");
    settings
        .arguments
        .extend(["--queue", "100000", "--body-memory-mib", "4096"].map(String::from));
    let _server = Osteon::start(&settings).await?;
    let caller = Caller {
        url: format!("{}/v1/models/{MODEL}/score", settings.url()),
        ..caller.clone()
    };
    let answers = Arc::<Mutex<Answers>>::default();
    let asked = ((capacity * 5.0) as usize).min(CALLERS);
    let calls: Vec<_> = (0..asked)
        .map(|_| {
            let (caller, answers) = (caller.clone(), Arc::clone(&answers));
            tokio::spawn(async move { caller.ask(&answers).await })
        })
        .collect();
    for call in calls {
        let _ = call.await;
    }
    let answers = std::mem::take(&mut *answers.lock().unwrap());
    let late = answers
        .latencies
        .iter()
        .filter(|latency| **latency > DEADLINE + LATE);
    let late = late.count();
    row.done = format!("{asked} images asked for at once");
    row.figure(format!("{late} later than {:?}", DEADLINE + LATE));
    row.must(
        late > 0,
        "nothing was late without a deadline: the test cannot fail",
    );
    Ok(row)
}

#[derive(Clone)]
struct Caller {
    client: reqwest::Client,
    url: String,
    body: bytes::Bytes,
}

impl Caller {
    async fn ask(&self, answers: &Mutex<Answers>) -> Option<u16> {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/dicom")
            .body(self.body.clone());
        let began = Instant::now();
        let answer = request.send().await.ok();
        let retry_after = answer
            .as_ref()
            .is_some_and(|answer| answer.headers().contains_key("retry-after"));
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        let mut answers = answers.lock().unwrap();
        *answers.statuses.entry(status).or_default() += 1;
        answers.latencies.push(began.elapsed());
        answers.without_retry_after += u64::from([429, 503].contains(&status) && !retry_after);
        Some(status)
    }

    /// Images a second when four callers wait for their answers.
    async fn capacity(&self, time: Duration) -> f64 {
        let (answers, began) = (Arc::<Mutex<Answers>>::default(), Instant::now());
        let callers = (0..4).map(|_| async {
            while began.elapsed() < time {
                self.ask(&answers).await;
            }
        });
        futures_util::future::join_all(callers).await;
        let scored = answers.lock().unwrap().statuses.get(&200).copied().unwrap_or(0);
        (scored as f64 / began.elapsed().as_secs_f64()).max(1.0)
    }
}
