//! The second table: what each step of a study costs where few and where many studies are stored.
//!
//! The store is used as the server uses it, by one caller. Processor time is this process's and PostgreSQL's together.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use osteon::dicom::record::Record;
use osteon::dicom::{InstanceUid, SeriesUid, StudyUid};
use osteon::finding::StudyResult;
use osteon::store::{
    Accepted, Basis, Completeness, Input, Job, Kind, NewInstance, NewResult, ResultKey, Settled, Sha,
    Snapshot, Store, Stored, input_digest,
};
use serde_json::json;

use crate::fill::Stock;
use crate::ground::Ground;
use crate::table::{self, millis, quantile};
use crate::{Options, cost};

/// How much more a study may cost with the most stored studies than with the fewest.
const ALLOWED: f64 = 1.5;
const LEASE: Duration = Duration::from_mins(10);
const ATTEMPTS: u32 = 5;

/// Which steps a study takes.
const STEPS: [&str; 6] = [
    "accept",
    "enqueue",
    "claim",
    "complete",
    "claim delivery",
    "delivered",
];

/// What a step has cost, call by call.
struct Step {
    postgres: Option<u32>,
    times: Vec<Duration>,
    processor: Vec<Duration>,
}

impl Step {
    fn new(postgres: Option<u32>) -> Self {
        Self {
            postgres,
            times: Vec::new(),
            processor: Vec::new(),
        }
    }

    async fn time<T>(&mut self, call: impl Future<Output = T>) -> T {
        let of_database = || self.postgres.map(cost::of_family).unwrap_or_default();
        // what asking for the accounts costs stays outside
        let (database, own, began) = (of_database(), cost::own(), Instant::now());
        let answer = call.await;
        self.times.push(began.elapsed());
        let own = cost::own().saturating_sub(own);
        self.processor.push(own + of_database().saturating_sub(database));
        answer
    }

    fn medians(&self) -> (Duration, Duration) {
        (quantile(&self.processor, 0.5), quantile(&self.times, 0.5))
    }

    fn shown(&self) -> String {
        let (processor, time) = self.medians();
        format!("{} / {}", millis(processor), millis(time))
    }
}

/// Measures with every number of stored studies, and prints the tables and whether the cost has grown.
pub(crate) async fn table(ground: &Ground, options: &Options) -> Result<()> {
    println!(
        "Medians of processor ms / ms of one call; {} studies added to those that are stored\n",
        options.samples
    );
    for engine in &options.engines {
        let mut stock = Stock::new(ground, *engine).await?;
        let (mut rows, mut costs) = (Vec::new(), Vec::new());
        for (round, stored) in options.stored.iter().enumerate() {
            stock.fill(*stored).await?;
            let scanned = stock.scanned().await?;
            let steps = measure(&stock, round as u64, options.samples).await?;
            let scanned = stock.scanned().await?.zip(scanned);
            let whole: Duration = steps.iter().map(|step| step.medians().0).sum();
            let waited: Duration = steps.iter().map(|step| step.medians().1).sum();
            costs.push((whole, waited));
            let mut row = vec![engine.name().to_owned(), stored.to_string()];
            row.extend(steps.iter().map(Step::shown));
            row.push(format!("{} / {}", millis(whole), millis(waited)));
            row.push(scanned.map_or("-".to_owned(), |(after, before)| (after - before).to_string()));
            rows.push(row);
        }
        let headings: Vec<&str> = ["database", "stored"]
            .into_iter()
            .chain(STEPS)
            .chain(["a study", "rows scanned"])
            .collect();
        table::print(&headings, &rows);
        if let (Some(first), Some(last)) = (costs.first(), costs.last()) {
            let grown = last.0.as_secs_f64() / first.0.as_secs_f64();
            println!(
                "{}: {grown:.2} times the processor time ({:.2} times the time), {ALLOWED} allowed: {}\n",
                engine.name(),
                last.1.as_secs_f64() / first.1.as_secs_f64(),
                if grown <= ALLOWED { "PASS" } else { "FAIL" }
            );
        }
        if options.backlog > 0 {
            backlog(&mut stock, options).await?;
        }
    }
    Ok(())
}

/// What a claim costs where many jobs wait, and what the looks at the queue cost.
async fn backlog(stock: &mut Stock, options: &Options) -> Result<()> {
    stock.wait(options.backlog).await?;
    let store = Store::open(&stock.settings).await?;
    let mut looks = Step::new(stock.place.postgres);
    for _ in 0..options.samples {
        looks.time(store.due_in(Kind::Analyse)).await?;
    }
    let mut counts = Step::new(stock.place.postgres);
    for _ in 0..20 {
        counts.time(store.backlog()).await?;
    }
    let (claims, _) = claim(stock, &store, Kind::Analyse, options.samples).await?;
    let one = one_due(stock, &store, options.samples).await?;
    store.close().await;
    let headings = [
        "database",
        "waiting",
        "claim",
        "claim the one that is due",
        "due_in",
        "backlog",
    ];
    let row = vec![
        stock.engine.name().to_owned(),
        options.backlog.to_string(),
        claims.shown(),
        one.shown(),
        looks.shown(),
        counts.shown(),
    ];
    table::print(&headings, &[row]);
    Ok(())
}

/// Claims the one delivery that is due among many that are not, where four could be had, and puts it back, again and again.
async fn one_due(stock: &Stock, store: &Store, count: usize) -> Result<Step> {
    let mut step = Step::new(stock.place.postgres);
    for _ in 0..count {
        let jobs = step
            .time(store.claim(Kind::Deliver("archive"), 4, LEASE, u32::MAX))
            .await?;
        ensure!(jobs.len() == 1, "{} deliveries were due and not one", jobs.len());
        let settled = store.release(&jobs[0], Duration::ZERO).await?;
        ensure!(settled == Settled::Stored, "a delivery could not be put back");
    }
    Ok(step)
}

async fn claim(stock: &Stock, store: &Store, kind: Kind<'_>, count: usize) -> Result<(Step, Vec<Job>)> {
    let mut step = Step::new(stock.place.postgres);
    let mut jobs = Vec::new();
    for _ in 0..count {
        jobs.extend(step.time(store.claim(kind, 1, LEASE, ATTEMPTS)).await?);
    }
    ensure!(
        jobs.len() == count,
        "only {} of {count} jobs could be claimed",
        jobs.len()
    );
    Ok((step, jobs))
}

/// Takes `count` new studies through every step.
async fn measure(stock: &Stock, round: u64, count: usize) -> Result<Vec<Step>> {
    let store = Store::open(&stock.settings).await?;
    let known = store.study(&stock.original).await?;
    let body = known
        .and_then(|study| study.result)
        .ok_or_else(|| anyhow!("the original has no result"))?;
    // every connection prepares its statements once
    steps(stock, &store, &studies(2 * round, 20)?, &body).await?;
    let steps = steps(stock, &store, &studies(2 * round + 1, count as u64)?, &body).await?;
    store.close().await;
    Ok(steps)
}

async fn steps(stock: &Stock, store: &Store, new: &[NewInstance], body: &StudyResult) -> Result<Vec<Step>> {
    let postgres = stock.place.postgres;
    let at_once = |_: &Snapshot| Duration::ZERO;
    let mut accepts = Step::new(postgres);
    for instance in new {
        let record = record(instance);
        let accepted = accepts
            .time(store.accept(instance, &record, Stored::Now, &at_once))
            .await?;
        ensure!(accepted == Some(Accepted::New), "a study was there before");
    }
    let describe = |snapshot: &Snapshot| Completeness {
        basis: Basis::Quiet,
        instances: snapshot.instances,
        expected: None,
    };
    let mut enqueues = Step::new(postgres);
    for _ in new {
        let queued = enqueues.time(store.enqueue_due(1, describe)).await?;
        ensure!(queued == 1, "a study was not queued");
    }
    let (claims, jobs) = claim(stock, store, Kind::Analyse, new.len()).await?;
    let mut results = Vec::new();
    for job in jobs {
        let result = result(&job, new, body)?;
        results.push((job, result));
    }
    let mut completes = Step::new(postgres);
    for (job, result) in &results {
        let settled = completes.time(store.complete(job, result)).await?;
        ensure!(settled == Settled::Stored, "a result was not stored");
    }
    let (delivery_claims, jobs) = claim(stock, store, Kind::Deliver("archive"), new.len()).await?;
    let mut deliveries = Step::new(postgres);
    for job in &jobs {
        let settled = deliveries.time(store.delivered(job)).await?;
        ensure!(settled == Settled::Stored, "a delivery was not settled");
    }
    Ok(vec![
        accepts,
        enqueues,
        claims,
        completes,
        delivery_claims,
        deliveries,
    ])
}

/// Studies of one image, with UIDs among those that are stored.
fn studies(round: u64, count: u64) -> Result<Vec<NewInstance>> {
    let study = |number: u64| {
        let device = number % 7;
        let uid = format!(
            "1.3.6.1.4.1.99999.9.{device}.{}",
            3_000_000_000 + round * 1_000_000 + number
        );
        Ok(NewInstance {
            uid: InstanceUid::parse(&format!("{uid}.1"))?,
            study: StudyUid::parse(&uid)?,
            series: SeriesUid::parse(&format!("{uid}.0"))?,
            class: "1.2.840.10008.5.1.4.1.1.1.1".to_owned(),
            transfer_syntax: "1.2.840.10008.1.2.1".to_owned(),
            object: Sha::of(uid.as_bytes()),
            bytes: 7_000,
            urgent: false,
            expected: None,
        })
    };
    (0..count).map(study).collect()
}

/// The record of a radiograph with the attributes that every one has.
fn record(instance: &NewInstance) -> Record {
    let header = json!({
        "00080018": { "vr": "UI", "Value": [instance.uid] },
        "00080020": { "vr": "DA", "Value": ["20240517"] },
        "00080030": { "vr": "TM", "Value": ["103159"] },
        "00080050": { "vr": "SH", "Value": [instance.study.as_str().rsplit('.').next()] },
        "00080060": { "vr": "CS", "Value": ["DX"] },
        "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Bench^Study" }] },
        "00100020": { "vr": "LO", "Value": [instance.study.as_str().rsplit('.').next()] },
        "0020000D": { "vr": "UI", "Value": [instance.study] },
        "0020000E": { "vr": "UI", "Value": [instance.series] },
    });
    Record::of_header(&header.to_string(), true).unwrap_or_else(|| unreachable!("it is a JSON object"))
}

fn result(job: &Job, new: &[NewInstance], body: &StudyResult) -> Result<NewResult> {
    let instance = new.iter().find(|instance| instance.study == job.study);
    let instance = instance.ok_or_else(|| anyhow!("a job is of another study"))?;
    let inputs = vec![Input {
        instance: instance.uid.clone(),
        object: instance.object.clone(),
    }];
    let model = body.instances.first().and_then(|instance| instance.model.clone());
    let digest = model.as_ref().map_or("", |model| model.digest.as_str());
    Ok(NewResult {
        key: ResultKey::of(&job.study, digest, &input_digest(&inputs)),
        model,
        inputs,
        body: body.clone(),
    })
}
