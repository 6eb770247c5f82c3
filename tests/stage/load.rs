//! Senders: they make studies, send them by STOW-RS to any of several doors, and try again until they are acknowledged, as a modality does.
//!
//! Invariant: the [`Ledger`] hears of an instance as acknowledged only when a whole answer said that it is stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::study::{self, Image, Study};

/// What is sent, by how many, to where.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Base URLs; a sender whose door is closed goes to the next one.
    pub(crate) doors: Vec<String>,
    pub(crate) senders: usize,
    /// What each sender waits between two studies.
    pub(crate) pause: Duration,
    /// How long a sender tries to get one study acknowledged before it gives up.
    pub(crate) patience: Duration,
    /// Tells the UIDs of this load from others.
    pub(crate) run: u64,
    /// Rows of the images, in turns.
    pub(crate) rows: Vec<u16>,
    /// Most images of a study.
    pub(crate) images: usize,
    /// Every how manieth study is poison; 0 for none.
    pub(crate) poison_every: u64,
}

impl Plan {
    pub(crate) fn new(run: u64, doors: &[String]) -> Self {
        Self {
            doors: doors.to_vec(),
            senders: 4,
            pause: Duration::from_millis(40),
            patience: Duration::from_secs(60),
            run,
            rows: vec![64],
            images: 3,
            poison_every: 0,
        }
    }

    fn study(&self, number: u64) -> Study {
        let images = 1 + number as usize % self.images;
        let rows = self.rows[number as usize % self.rows.len()];
        let uid = if self.poison_every > 0 && number % self.poison_every == self.poison_every - 1 {
            study::poison(self.run, number, 1 + number / self.poison_every % 4)
        } else {
            study::uid(self.run, number)
        };
        Study::new(&uid, images, rows)
    }
}

/// What happened to the requests so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Answers by status; 0 where there was none.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Statuses that should carry `Retry-After` and did not.
    pub(crate) without_retry_after: u64,
    /// When the latest study was acknowledged.
    pub(crate) last_acknowledged: Option<Instant>,
    /// Studies that no sender got acknowledged within its patience.
    pub(crate) given_up: u64,
    /// The longest time that an answer took.
    pub(crate) slowest: Duration,
}

impl Tally {
    fn count(&mut self, answer: &Stored, took: Duration, whole: bool, over: bool) {
        *self.statuses.entry(answer.status).or_default() += 1;
        self.slowest = self.slowest.max(took);
        self.without_retry_after += u64::from([429, 503].contains(&answer.status) && !answer.retry_after);
        if whole {
            self.last_acknowledged = Some(Instant::now());
        }
        self.given_up += u64::from(over && !whole);
    }
}

/// A load that runs; dropping it stops it.
pub(crate) struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
    senders: JoinSet<()>,
    sent: Arc<AtomicU64>,
}

impl Load {
    pub(crate) fn start(plan: Plan, ledger: &Ledger) -> Self {
        let plan = Arc::new(plan);
        let load = Self {
            tally: Arc::default(),
            stop: CancellationToken::new(),
            senders: JoinSet::new(),
            sent: Arc::default(),
        };
        let mut load = load;
        for index in 0..plan.senders {
            let sender = Sender {
                plan: Arc::clone(&plan),
                ledger: ledger.clone(),
                tally: Arc::clone(&load.tally),
                stop: load.stop.clone(),
                sent: Arc::clone(&load.sent),
                client: client(),
                door: index,
            };
            load.senders.spawn(sender.run());
        }
        load
    }

    /// What happened since this was asked last.
    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut self.tally.lock().unwrap())
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Studies that senders began to send.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Lets every sender finish or give up the study that it is at, and says how many were sent.
    pub(crate) async fn stop(mut self) -> u64 {
        self.stop.cancel();
        while self.senders.join_next().await.is_some() {}
        self.sent()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A client that does not wait for ever.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .connect_timeout(Duration::from_secs(2))
        .build()
        .expect("a client without TLS can be built")
}

struct Sender {
    plan: Arc<Plan>,
    ledger: Ledger,
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
    sent: Arc<AtomicU64>,
    client: reqwest::Client,
    door: usize,
}

impl Sender {
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            let study = self.plan.study(number);
            self.ledger.sent(&study);
            self.deliver(&study).await;
            let _ = self.stop.run_until_cancelled(sleep(self.plan.pause)).await;
        }
    }

    /// Sends a study until all of it is acknowledged.
    async fn deliver(&mut self, study: &Study) {
        let mut missing = study.images.clone();
        let began = Instant::now();
        while !missing.is_empty() {
            let door = &self.plan.doors[self.door % self.plan.doors.len()];
            let asked = Instant::now();
            let answer = store(&self.client, door, &missing).await;
            self.ledger.acknowledged(&study.uid, &answer.stored);
            missing.retain(|image| !answer.stored.contains(&image.uid));
            // when the test is over, what is not acknowledged yet is left
            let over = began.elapsed() > self.plan.patience || self.stop.is_cancelled();
            self.tally
                .lock()
                .unwrap()
                .count(&answer, asked.elapsed(), missing.is_empty(), over);
            if missing.is_empty() || over {
                return;
            }
            self.door += 1;
            sleep(Duration::from_millis(30)).await;
        }
    }
}

/// What a door said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    /// 0 where there was no whole answer.
    pub(crate) status: u16,
    /// Instances that it acknowledged.
    pub(crate) stored: Vec<String>,
    pub(crate) retry_after: bool,
}

/// One STOW request.
pub(crate) async fn store(client: &reqwest::Client, door: &str, images: &[Image]) -> Stored {
    let (media_type, body) = study::related(images);
    let request = client
        .post(format!("{door}/dicom-web/studies"))
        .header("content-type", media_type)
        .body(body);
    let Ok(response) = request.send().await else {
        return Stored::default();
    };
    let (status, retry_after) = (
        response.status().as_u16(),
        response.headers().contains_key("retry-after"),
    );
    // an answer that breaks off is no acknowledgement
    let Ok(body) = response.bytes().await else {
        return Stored::default();
    };
    let stored = match status {
        200 => images.iter().map(|image| image.uid.clone()).collect(),
        202 => serde_json::from_slice(&body)
            .map(|body| referenced(&body))
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    Stored {
        status,
        stored,
        retry_after,
    }
}

/// The SOP Instance UIDs of the Referenced SOP Sequence.
fn referenced(body: &Value) -> Vec<String> {
    let items = body["00081199"]["Value"].as_array();
    items
        .into_iter()
        .flatten()
        .filter_map(|item| Some(item["00081155"]["Value"][0].as_str()?.to_owned()))
        .collect()
}
